//! Counting, with strace, how often a process makes the disk sync.
//!
//! Counts calls and takes no time from them: a traced process is slow.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use sutler_api::Timestamp;
use sutler_testkit::poll;

/// Every call that makes the disk sync.
const CALLS: [&str; 6] = [
    "fsync",
    "fdatasync",
    "sync_file_range",
    "syncfs",
    "sync",
    "msync",
];

/// Longest time for strace to attach and to let go.
const STRACE_WITHIN: Duration = Duration::from_secs(10);

/// How long nothing may be synced before a process counts as idle.
const QUIET: Duration = Duration::from_secs(2);

/// Longest wait for a process to become idle.
const IDLE_WITHIN: Duration = Duration::from_secs(60);

/// A running trace of one process and its threads.
#[derive(Debug)]
pub(super) struct SyncTrace {
    strace: Child,
    output: PathBuf,
}

impl SyncTrace {
    /// Attaches to a process; returns once it is traced.
    pub(super) fn attach(pid: i32, folder: &Path) -> Result<Self> {
        let output = folder.join("syncs.strace");
        let mut strace = Command::new("strace");
        strace.args(["--follow-forks", "--absolute-timestamps=unix,us"]);
        strace.arg(format!("--trace={}", CALLS.join(",")));
        strace.arg("--output").arg(&output);
        strace.arg(format!("--attach={pid}"));
        strace.stdin(Stdio::null()).stderr(Stdio::null());
        let strace = strace.spawn().context("start strace")?;
        let trace = Self { strace, output };
        let status = format!("/proc/{pid}/status");
        poll::until("strace has attached", STRACE_WITHIN, || {
            let status = fs::read_to_string(&status).map_err(|error| error.to_string())?;
            poll::holds(!status.contains("TracerPid:\t0\n"), || status)
        })?;
        Ok(trace)
    }

    /// Waits until nothing has been synced for a while.
    pub(super) fn wait_idle(&self) -> Result<()> {
        let mut seen = (0, Instant::now());
        poll::until("nothing is synced any more", IDLE_WITHIN, || {
            let length = fs::metadata(&self.output).map_or(0, |about| about.len());
            if length != seen.0 {
                seen = (length, Instant::now());
            }
            poll::holds(seen.1.elapsed() >= QUIET, || format!("{length} bytes"))
        })
    }

    /// Lets go of the process and gives when each sync began.
    pub(super) fn finish(mut self) -> Result<Vec<Timestamp>> {
        self.interrupt();
        poll::until("strace has let go", STRACE_WITHIN, || {
            match self.strace.try_wait() {
                Ok(Some(_)) => Ok(()),
                Ok(None) => Err("it runs".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        })?;
        let text = fs::read_to_string(&self.output).context("what strace wrote")?;
        Ok(text.lines().filter_map(parse_sync).collect())
    }

    fn interrupt(&self) {
        let pid = i32::try_from(self.strace.id()).ok().and_then(Pid::from_raw);
        // Fails only when it has ended.
        let _ = pid.map(|pid| kill_process(pid, Signal::INT));
    }
}

impl Drop for SyncTrace {
    fn drop(&mut self) {
        self.interrupt();
        // Fails only when it has ended; a tracer that ends lets its process go on.
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}

/// Gives when a call began; `None` for lines that tell anything else, such as its end alone.
fn parse_sync(line: &str) -> Option<Timestamp> {
    let (_thread, rest) = line.split_once(' ')?;
    let (stamp, call) = rest.trim_start().split_once(' ')?;
    let (name, _) = call.split_once('(')?;
    if !CALLS.contains(&name) {
        return None;
    }
    let (seconds, micros) = stamp.split_once('.')?;
    let nanos = micros.parse::<i32>().ok()? * 1_000;
    Timestamp::new(seconds.parse().ok()?, nanos).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_counts_once_however_it_is_written() {
        let lines = [
            ("41  1700000000.000250 fdatasync(9)             = 0", true),
            ("41234 1700000000.000250 fsync(9 <unfinished ...>", true),
            ("41 1700000000.500250 <... fsync resumed>)      = 0", false),
            ("41 1700000000.500250 +++ exited with 0 +++", false),
            (
                "41 1700000000.500250 --- SIGCHLD {si_signo=SIGCHLD} ---",
                false,
            ),
        ];
        for (line, counts) in lines {
            assert_eq!(parse_sync(line).is_some(), counts, "{line}");
        }
        let stamp = parse_sync(lines[0].0).expect("counts");
        assert_eq!(stamp.as_microsecond(), 1_700_000_000_000_250);
    }

    #[test]
    fn syncs_of_a_process_are_counted() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = "read go; for i in 1 2 3; do \
            dd if=/dev/zero of=$1/f bs=1 count=1 conv=fsync 2>/dev/null; done; read end";
        let mut shell = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(folder.path())
            .stdin(Stdio::piped())
            .spawn()
            .expect("sh is everywhere");
        let pid = i32::try_from(shell.id()).expect("pids are small");
        let trace = SyncTrace::attach(pid, folder.path()).expect("strace is there");
        let mut input = shell.stdin.take().expect("a pipe");
        std::io::Write::write_all(&mut input, b"go\n").expect("it reads");
        trace.wait_idle().expect("three syncs end");
        let counted = trace.finish().expect("strace ends").len();
        drop(input);
        shell.wait().expect("was started here");
        assert_eq!(counted, 3);
    }
}
