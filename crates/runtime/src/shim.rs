//! The process behind `sutler shim --dir DIR`: one per container, from its start to its end.
//!
//! It needs nobody: it runs the container, keeps its output, persists how it ended, and is gone.
//! No tokio and two small threads beside the main one, for there is a shim per container:
//!
//! ```text
//! main     polls stdout, stderr and the reaper's pipe ──▶ queue
//! writer   queue ──▶ rotated files
//! reaper   waits for every child (host-pid containers leave us their orphans)
//! ```

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, wait};
use serde::{Deserialize, Serialize};
use sutler_telemetry::{chain, failpoint};

use super::cgroup;
use super::failure::StartFailure;
use super::folder::{self, FOLDER_VERSION, Folder, FolderError, SpecRecord};
use super::inherited;
use super::log_write::{LogFile, LogQueue};
use super::runc::Runtime;
use super::scope;
use super::shim_start::{self, Running, ShimError};
use super::status::{ExitRecord, ExitStatus, LogStream, Started};

/// The one line that a shim writes to its status pipe.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartReport {
    /// The command runs.
    Started(Started),
    /// It does not.
    Failed(StartFailure),
}

/// Stack of the writer and of the reaper: both only loop over system calls.
const STACK_BYTES: usize = 128 << 10;

/// Bytes read from a pipe at once: what a pipe holds.
const READ_BYTES: usize = 64 << 10;

/// Most output taken after the container's first process has ended, per stream: what the pipe
/// holds and some that a straggler adds; a straggler that writes for ever must not hold the end.
const LAST_BYTES_MAX: usize = 1 << 20;

/// A full disk may refuse the exit record although its room was reserved (a copy-on-write file
/// system); for ten minutes someone may make room.
const EXIT_TRIES_MAX: u32 = 600;
const EXIT_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Runs the container of a folder that [`Containers::start`](super::Containers::start) prepared,
/// until it has ended. Standard input is the start lock, standard output the status pipe,
/// standard error the shim's log. Call it before any thread or async runtime exists.
pub fn shim_main(dir: &Path) -> ExitCode {
    if let Err(error) = inherited::shed() {
        eprintln!("shim: cannot close what it inherited: {error}");
        return ExitCode::FAILURE;
    }
    let folder = Folder::at(dir);
    match run(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shim: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(folder: &Folder) -> Result<(), ShimError> {
    let started = detach().and_then(|()| read_spec(folder)).map(|record| {
        cgroup::enter_shims(&record.spec.cgroup_parent);
        let running = scope_sockets(&record).and_then(|()| shim_start::start(folder, &record));
        running.map(|running| (record, running))
    });
    let failure = match started {
        Ok(Ok((record, running))) => {
            report(&StartReport::Started(running.started));
            return Shim { folder, record }.look_after(running);
        }
        Ok(Err(failure)) => failure,
        Err(error) => StartFailure::Runtime {
            raw: format!("shim: {}", chain(&error)),
        },
    };
    let written = folder
        .write(folder::START_ERROR, &failure)
        .map_err(ShimError::Folder);
    report(&StartReport::Failed(failure));
    written
}

/// Keeps what is about to start from abstract sockets of the host, where it could reach them.
fn scope_sockets(record: &SpecRecord) -> Result<(), StartFailure> {
    if record.spec.privileged || !record.spec.host_network {
        return Ok(());
    }
    match scope::abstract_sockets() {
        Ok(true) => Ok(()),
        Ok(false) => {
            eprintln!("shim: this kernel cannot keep it from abstract sockets of the host");
            Ok(())
        }
        Err(error) => Err(StartFailure::Runtime {
            raw: format!("shim: cannot be kept from abstract sockets of the host: {error}"),
        }),
    }
}

/// Leaves the agent's session, and takes in the container's process when the runtime ends.
fn detach() -> Result<(), ShimError> {
    let error = |act| move |errno: Errno| ShimError::kernel(act)(errno.into());
    match rustix::process::setsid() {
        // PERM: we lead a group already, so a signal to the agent's does not reach us.
        Ok(_) | Err(Errno::PERM) => {}
        Err(errno) => return Err(error("begin a session")(errno)),
    }
    rustix::process::chdir("/").map_err(error("change to /"))?;
    let myself = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(myself)).map_err(error("become a reaper"))
}

fn read_spec(folder: &Folder) -> Result<SpecRecord, ShimError> {
    let record: Option<SpecRecord> = folder.read(folder::SPEC).map_err(ShimError::Folder)?;
    let error = |kind, text: &str| {
        ShimError::Folder(FolderError {
            act: "read",
            path: folder.file(folder::SPEC),
            source: io::Error::new(kind, text.to_owned()),
        })
    };
    let record = record.ok_or_else(|| error(io::ErrorKind::NotFound, "not there"))?;
    if record.version != FOLDER_VERSION {
        return Err(error(
            io::ErrorKind::Unsupported,
            "written by another version",
        ));
    }
    Ok(record)
}

/// Tells whoever waits, and lets go of the start lock; nobody may be there any more.
fn report(report: &StartReport) {
    let mut line = serde_json::to_vec(report).expect("text keys only");
    line.push(b'\n');
    let mut pipe = io::stdout().lock();
    if let Err(error) = pipe.write_all(&line).and_then(|()| pipe.flush()) {
        eprintln!("shim: nobody took the start report: {error}");
    }
    if let Err(errno) = flock(io::stdin(), FlockOperation::Unlock) {
        eprintln!("shim: cannot let go of the start lock: {errno}");
    }
}

struct Shim<'a> {
    folder: &'a Folder,
    record: SpecRecord,
}

/// How the container's first process ended, and when that was seen.
struct End {
    status: ExitStatus,
    at: Timestamp,
}

impl Shim<'_> {
    fn look_after(&self, running: Running) -> Result<(), ShimError> {
        let started_at = running.started.started_at;
        let queue = Arc::new(LogQueue::default());
        let writer = self.spawn_writer(&queue)?;
        let end = drain_until_end(running, &queue)?;
        // Counted in the container's cgroup, which the deletion takes away.
        let oom_killed = cgroup::oom_kills(&self.record.spec.cgroup_path()) > 0;
        queue.close();
        let unwritten = writer.join().unwrap_or_else(|_| {
            eprintln!("shim: the log writer panicked");
            0
        });
        self.persist(&ExitRecord {
            status: end.status,
            oom_killed,
            started_at,
            ended_at: end.at,
            log_bytes_dropped: queue.dropped() + unwritten,
        })?;
        failpoint::hit("shim.exit.delete.before");
        let deleted = self.record.runtime.delete(&self.record.spec.id, true);
        self.clear_cgroup();
        failpoint::hit("shim.exit.delete.after");
        deleted.map_err(ShimError::Runtime)
    }

    /// Takes away what the runtime left: on version 2 it tries once, while processes that it
    /// has just killed may still be ending, and says nothing.
    fn clear_cgroup(&self) {
        // Not an error: the container's removal does the same and reports it.
        if let Err((path, error)) = cgroup::clear(&self.record.spec.cgroup_path()) {
            eprintln!("shim: cannot clear {}: {error}", path.display());
        }
    }

    fn spawn_writer(&self, queue: &Arc<LogQueue>) -> Result<JoinHandle<u64>, ShimError> {
        let file = |stream| LogFile::new(self.folder.path(), stream, self.record.spec.log_limits);
        let (stdout, stderr) = (file(LogStream::Stdout), file(LogStream::Stderr));
        let queue = Arc::clone(queue);
        std::thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn(move || queue.write_out(stdout, stderr))
            .map_err(ShimError::kernel("start the log writer"))
    }

    fn persist(&self, record: &ExitRecord) -> Result<(), ShimError> {
        failpoint::hit("shim.exit.persist.before");
        for _ in 0..EXIT_TRIES_MAX {
            match self.folder.persist_exit(record) {
                Ok(()) => break,
                Err(error) if error.source.kind() == io::ErrorKind::StorageFull => {
                    eprintln!("shim: {}", chain(&error));
                    std::thread::sleep(EXIT_RETRY_AFTER);
                }
                Err(error) => return Err(ShimError::Folder(error)),
            }
        }
        failpoint::hit("shim.exit.persist.after");
        Ok(())
    }
}

/// One output of the container, until it is closed.
struct Output {
    stream: LogStream,
    pipe: Option<OwnedFd>,
}

/// What one read of a pipe gave.
enum Taken {
    Some(usize),
    NothingYet,
}

impl Output {
    /// Reads once and hands over what came; forgets a closed pipe.
    fn take(&mut self, buffer: &mut [u8], queue: &LogQueue) -> Taken {
        let Some(pipe) = &self.pipe else {
            return Taken::NothingYet;
        };
        match rustix::io::read(pipe, &mut *buffer) {
            Ok(0) => {
                self.pipe = None;
                Taken::NothingYet
            }
            Ok(count) => {
                queue.push(self.stream, &buffer[..count]);
                Taken::Some(count)
            }
            Err(Errno::AGAIN | Errno::INTR) => Taken::NothingYet,
            Err(errno) => {
                eprintln!("shim: cannot read the container's output: {errno}");
                self.pipe = None;
                Taken::NothingYet
            }
        }
    }
}

fn drain_until_end(running: Running, queue: &LogQueue) -> Result<End, ShimError> {
    let init = Pid::from_raw(running.started.pid).expect("a process that ran has a pid");
    let (ended, reaper) = spawn_reaper(init)?;
    let mut outputs = [
        Output {
            stream: LogStream::Stdout,
            pipe: Some(running.stdout),
        },
        Output {
            stream: LogStream::Stderr,
            pipe: Some(running.stderr),
        },
    ];
    let mut buffer = vec![0; READ_BYTES];
    while !wait_ready(&outputs, &ended)? {
        for output in &mut outputs {
            output.take(&mut buffer, queue);
        }
    }
    for output in &mut outputs {
        take_rest(output, &mut buffer, queue);
    }
    let end = reaper.join().map_err(|_| {
        ShimError::kernel("reap the container")(io::Error::other("the reaper panicked"))
    })?;
    end.map_err(ShimError::kernel("reap the container"))
}

/// Blocks until there is output or the container has ended; `true` if it has.
fn wait_ready(outputs: &[Output], ended: &OwnedFd) -> Result<bool, ShimError> {
    let open = outputs.iter().filter_map(|output| output.pipe.as_ref());
    let mut fds = vec![PollFd::new(ended, PollFlags::IN)];
    fds.extend(open.map(|pipe| PollFd::new(pipe, PollFlags::IN)));
    match poll(&mut fds, None) {
        Ok(_) => Ok(!fds[0].revents().is_empty()),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(ShimError::kernel("wait for the container")(errno.into())),
    }
}

fn take_rest(output: &mut Output, buffer: &mut [u8], queue: &LogQueue) {
    let mut taken = 0;
    while taken < LAST_BYTES_MAX {
        match output.take(buffer, queue) {
            Taken::Some(count) => taken += count,
            Taken::NothingYet => return,
        }
    }
}

type Reaper = JoinHandle<io::Result<End>>;

/// The pipe turns readable (closed) when the container's first process has ended.
fn spawn_reaper(init: Pid) -> Result<(OwnedFd, Reaper), ShimError> {
    let act = "start the reaper";
    let (ended, open_until_end) =
        pipe_with(PipeFlags::CLOEXEC).map_err(|errno| ShimError::kernel(act)(errno.into()))?;
    let reap = move || {
        let end = reap_until(init);
        drop(open_until_end);
        end
    };
    let reaper = std::thread::Builder::new()
        .stack_size(STACK_BYTES)
        .spawn(reap);
    Ok((ended, reaper.map_err(ShimError::kernel(act))?))
}

fn reap_until(init: Pid) -> io::Result<End> {
    loop {
        let (pid, status) = match wait(WaitOptions::empty()) {
            Ok(Some(ended)) => ended,
            Ok(None) | Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
        };
        if pid != init {
            continue;
        }
        let code = status.exit_status().map(ExitStatus::Code);
        let signal = status.terminating_signal().map(ExitStatus::Signal);
        if let Some(status) = code.or(signal) {
            return Ok(End {
                status,
                at: Timestamp::now(),
            });
        }
    }
}
