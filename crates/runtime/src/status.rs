//! What was last seen of containers: how a start and an end are reported, and what logs to read.
//!
//! These are values; `folder.rs` keeps them on disk and `manager.rs` hands them out.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::failure::StartFailure;
use super::spec::ContainerId;

/// How the container's first process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitStatus {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

impl ExitStatus {
    /// Whether it exited with code 0.
    #[must_use]
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(number) => write!(f, "signal {number}"),
        }
    }
}

/// How a container ended; final once read, kept as `exit.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// End of its first process.
    pub status: ExitStatus,
    /// Whether the kernel killed a process of it for want of memory.
    pub oom_killed: bool,
    /// When its first process was started.
    pub started_at: Timestamp,
    /// When its first process ended.
    pub ended_at: Timestamp,
    /// Log bytes that could not be written (full or stalled disk) and are gone.
    pub log_bytes_dropped: u64,
}

/// How waiting for a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It ended and its status is known.
    Exited(ExitRecord),
    /// Its shim died first, so its status is unknown and processes of it may still run:
    /// `Containers::remove` ends them.
    Lost,
}

/// A container that was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Its first process, as the host numbers it.
    pub pid: i32,
    /// When it was started.
    pub started_at: Timestamp,
}

/// A container found after a restart of the agent.
#[derive(Debug)]
pub struct Adopted {
    /// Its name.
    pub id: ContainerId,
    /// What became of it.
    pub state: AdoptedState,
    /// Whether what is mounted here reaches it and the other way round, as far as its shim's mount
    /// namespace says. After a start of ours in a mount namespace of our own it does not.
    pub shares_our_mounts: bool,
}

/// What became of a container while the agent was away.
#[derive(Debug)]
pub enum AdoptedState {
    /// It runs; `Containers::wait` works as before.
    Running(Started),
    /// It ended and its status was kept.
    Exited(ExitRecord),
    /// Its shim is gone without a record (killed, or the host was restarted): the container's
    /// end is unknown; `Containers::remove` ends what may still run.
    Lost,
    /// Its command was never run: the start was cut short, or failed as given.
    NeverStarted(Option<StartFailure>),
}

/// One of a container's two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl LogStream {
    /// Name of its current log file in the container's folder.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout.log",
            Self::Stderr => "stderr.log",
        }
    }
}

/// Where to begin reading a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStart {
    /// At the oldest byte still kept.
    Oldest,
    /// So many lines before the end.
    TailLines(usize),
    /// At this byte counted from the container's start; if it was rotated away, at the oldest.
    Offset(u64),
}

/// Which log to read, from where, and whether to wait for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogQuery {
    /// The output.
    pub stream: LogStream,
    /// The beginning.
    pub start: LogStart,
    /// Whether to go on until the container has ended.
    pub follow: bool,
}
