//! The shim's first half: from a prepared folder to a container whose command runs, or the exact
//! reason why it does not.
//!
//! The reason a command cannot be executed comes at two moments: the runtime looks it up when it
//! makes the container, but the kernel refuses a program (wrong architecture, missing
//! interpreter) only when the container's process executes it, after the runtime has reported
//! success. `executed` tells by the process itself: its file, or its name once it has ended.

use std::fs;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, waitpid};
use sutler_telemetry::{chain, failpoint};

use super::failure::StartFailure;
use super::folder::{self, Folder, FolderError, ShimRecord, SpecRecord};
use super::log_write::LogFile;
use super::process::{self, ProcessRef};
use super::runc::{Runtime, RuntimeError};
use super::spec::{ContainerSpec, MountKind};
use super::status::{LogStream, Started};

/// A container whose command runs.
#[derive(Debug)]
pub struct Running {
    /// Its first process and when it was started.
    pub started: Started,
    /// Read end of its standard output.
    pub stdout: OwnedFd,
    /// Read end of its standard error.
    pub stderr: OwnedFd,
}

/// Why a start did not come to an end; what is told and kept is a [`StartFailure`].
#[derive(Debug, thiserror::Error)]
pub enum ShimError {
    /// A record could not be used.
    #[error("cannot use the container's folder")]
    Folder(#[source] FolderError),
    /// The kernel refused the shim something it needs.
    #[error("cannot {act}")]
    Kernel {
        /// What was tried.
        act: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The runtime refused or could not be run.
    #[error(transparent)]
    Runtime(RuntimeError),
    /// The kernel did not execute the command.
    #[error("{raw}")]
    NotExecuted {
        /// What the container's process said.
        raw: String,
    },
}

impl ShimError {
    /// A refusal of the kernel.
    pub fn kernel(act: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Kernel { act, source }
    }

    fn errno(act: &'static str) -> impl Fn(rustix::io::Errno) -> Self {
        move |errno| Self::Kernel {
            act,
            source: errno.into(),
        }
    }
}

/// Makes the container and runs its command.
///
/// # Errors
/// Why not, to be told to whoever asked; nothing of the container is left then but its folder.
///
/// # Durability
/// `shim.json` names the container's process before its command runs.
pub fn start(folder: &Folder, record: &SpecRecord) -> Result<Running, StartFailure> {
    try_start(folder, record).map_err(|error| {
        if let Err(left) = record.runtime.delete(&record.spec.id, true) {
            eprintln!("shim: cannot clear the failed start: {}", chain(&left));
        }
        failure(&record.spec, &error)
    })
}

fn try_start(folder: &Folder, record: &SpecRecord) -> Result<Running, ShimError> {
    let own_pid = rustix::process::getpid().as_raw_nonzero().get();
    let shim = ProcessRef::of(own_pid).map_err(ShimError::kernel("name the shim"))?;
    let mut watch = ShimRecord {
        shim,
        container: None,
        started_at: None,
    };
    folder
        .write(folder::SHIM, &watch)
        .map_err(ShimError::Folder)?;
    folder.reserve_exit().map_err(ShimError::Folder)?;

    let (stdout, stdout_end) = pipe()?;
    let (stderr, stderr_end) = pipe()?;
    let (runtime, id) = (&record.runtime, &record.spec.id);
    failpoint::hit("shim.start.create.before");
    let pid = runtime
        .create(id, folder.path(), (stdout_end, stderr_end))
        .map_err(ShimError::Runtime)?;
    failpoint::hit("shim.start.create.after");

    let container = ProcessRef::of(pid).map_err(ShimError::kernel("name the container"))?;
    let waiting = executable(pid).map_err(ShimError::kernel("look at the container"))?;
    let started = Started {
        pid,
        started_at: Timestamp::now(),
    };
    watch.container = Some(container);
    watch.started_at = Some(started.started_at);
    folder
        .write(folder::SHIM, &watch)
        .map_err(ShimError::Folder)?;
    failpoint::hit("shim.start.run.before");
    runtime.start(id).map_err(ShimError::Runtime)?;
    failpoint::hit("shim.start.run.after");
    if executed(&watch, waiting)? {
        return Ok(Running {
            started,
            stdout,
            stderr,
        });
    }
    Err(ShimError::NotExecuted {
        raw: keep_words(folder, record, stderr),
    })
}

fn pipe() -> Result<(OwnedFd, OwnedFd), ShimError> {
    let act = "make a pipe";
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(ShimError::errno(act))?;
    // Only our end: a container expects its output to block.
    rustix::fs::fcntl_setfl(&read, rustix::fs::OFlags::NONBLOCK).map_err(ShimError::errno(act))?;
    Ok((read, write))
}

/// The file that a process executes, as device and inode.
fn executable(pid: i32) -> io::Result<(u64, u64)> {
    let meta = fs::metadata(format!("/proc/{pid}/exe"))?;
    Ok((meta.dev(), meta.ino()))
}

/// How long the container's process may take to execute its command or to fail to: it has only
/// that system call left, but the host may be overloaded or the file on a slow network.
const EXECUTES_WITHIN: Duration = Duration::from_secs(30);

/// The kernel tells of an end but not of an execution, so that one is looked for this often.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Name of the runtime's process in the container until the command replaces it.
const RUNTIME_PROCESS: &str = "runc:[";

/// Whether the command was executed in place of the runtime's process, whose file was `waiting`;
/// returns once either that or the end of the process is sure.
fn executed(watch: &ShimRecord, waiting: (u64, u64)) -> Result<bool, ShimError> {
    let container = watch
        .container
        .as_ref()
        .expect("set before the command was told to run");
    let pid = container.pid;
    let error = ShimError::kernel("watch the container");
    let deadline = Instant::now() + EXECUTES_WITHIN;
    while let Some(pidfd) = container.open().map_err(&error)? {
        match executable(pid) {
            Ok(now) if now != waiting => return Ok(true),
            Ok(_) => {}
            Err(gone) if process::is_gone(&gone) => {}
            Err(other) => return Err(error(other)),
        }
        if Instant::now() > deadline {
            return Err(error(io::Error::new(
                io::ErrorKind::TimedOut,
                "neither ran nor ended",
            )));
        }
        process::wait_end(&pidfd, LOOK_EVERY).map_err(&error)?;
    }
    // A zombie has no file any more, but keeps its name until we reap it.
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).map_err(&error)?;
    if !name.starts_with(RUNTIME_PROCESS) {
        return Ok(true);
    }
    let reaped = Pid::from_raw(pid);
    waitpid(reaped, WaitOptions::NOHANG).map_err(ShimError::errno("reap the container"))?;
    Ok(false)
}

/// Most words of a failed start that are kept.
const WORDS_BYTES_MAX: u64 = 16 << 10;

/// What the runtime's process wrote before it ended, which is also the container's error log.
fn keep_words(folder: &Folder, record: &SpecRecord, stderr: OwnedFd) -> String {
    let mut bytes = Vec::new();
    // Ends with an error where the pipe is empty but not closed; what was read counts.
    let _ = fs::File::from(stderr)
        .take(WORDS_BYTES_MAX)
        .read_to_end(&mut bytes);
    LogFile::new(folder.path(), LogStream::Stderr, record.spec.log_limits).append(&bytes);
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

/// Sorts an error by what an operator would do about it; the words stay.
fn failure(spec: &ContainerSpec, error: &ShimError) -> StartFailure {
    match error {
        ShimError::Runtime(RuntimeError::Refused { raw, .. }) => refused(spec, raw),
        ShimError::NotExecuted { raw } => {
            command_failure(spec, raw).unwrap_or_else(|| StartFailure::Runtime { raw: raw.clone() })
        }
        ShimError::Runtime(_) | ShimError::Folder(_) | ShimError::Kernel { .. } => {
            StartFailure::Runtime { raw: chain(error) }
        }
    }
}

/// Begins what runc says of the command itself.
const OF_COMMAND: &str = "exec: \"";

fn refused(spec: &ContainerSpec, raw: &str) -> StartFailure {
    if let Some(at) = raw.find(OF_COMMAND)
        && let Some(failure) = command_failure(spec, &raw[at..])
    {
        return failure;
    }
    let missing = raw.contains("no such file or directory");
    let quoted = |path: &Path| raw.contains(&format!("{:?}", path.display().to_string()));
    let mut binds = spec.mounts.iter().filter(|m| m.kind == MountKind::Bind);
    match binds.find(|m| missing && quoted(&m.source)) {
        Some(mount) => StartFailure::MountSource {
            path: mount.source.clone(),
            raw: raw.to_owned(),
        },
        None => StartFailure::Runtime {
            raw: raw.to_owned(),
        },
    }
}

fn command_failure(spec: &ContainerSpec, words: &str) -> Option<StartFailure> {
    let command = spec.args.first().cloned().unwrap_or_default();
    let raw = words.to_owned();
    let says = |part: &str| words.contains(part);
    if says("executable file not found") || says("no such file or directory") {
        Some(StartFailure::CommandNotFound { command, raw })
    } else if says("permission denied") || says("is a directory") {
        Some(StartFailure::PermissionDenied { command, raw })
    } else if says("exec format error") {
        Some(StartFailure::ExecFormat { command, raw })
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{ContainerId, MountSpec};

    fn sorted(raw: &str) -> StartFailure {
        let id = ContainerId::new("c").expect("valid");
        let mut spec = ContainerSpec::new(id, "/r", vec!["tool".into()]);
        spec.mounts.push(MountSpec::bind("/srv/gone", "/data"));
        refused(&spec, raw)
    }

    #[test]
    fn what_the_runtime_says_of_the_command_is_told_apart() {
        let said = |rest: &str| sorted(&format!("runc create failed: unable to start: {rest}"));
        assert!(matches!(
            said("exec: \"tool\": executable file not found in $PATH"),
            StartFailure::CommandNotFound { command, .. } if command == "tool"
        ));
        assert!(matches!(
            said("exec: \"/tool\": permission denied"),
            StartFailure::PermissionDenied { .. }
        ));
        assert!(matches!(
            said("exec: \"/tool\": exec format error"),
            StartFailure::ExecFormat { .. }
        ));
    }

    #[test]
    fn other_refusals_are_not_blamed_on_the_command() {
        let cwd = "chdir to cwd (\"/x\") set in config.json failed: permission denied";
        assert!(matches!(sorted(cwd), StartFailure::Runtime { raw } if raw == cwd));
        let mount = "error mounting \"/srv/gone\" to rootfs: no such file or directory";
        assert!(matches!(
            sorted(mount),
            StartFailure::MountSource { path, .. } if path == Path::new("/srv/gone")
        ));
    }
}
