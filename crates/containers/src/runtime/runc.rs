//! The OCI runtime behind a trait, and runc as the one we use.
//!
//! Every call is one run of the runtime's binary, bounded in time; its errors keep the binary's
//! own text, read from its JSON log. Nothing here retries or decides.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::spec::{ContainerId, Signal};

/// Why a call of the runtime failed.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// Its binary could not be run.
    #[error("cannot run {}", binary.display())]
    Run {
        /// The binary.
        binary: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It did not end in time and was killed.
    #[error("{} {act} did not end within {} s", binary.display(), limit.as_secs())]
    TimedOut {
        /// The binary.
        binary: PathBuf,
        /// Its subcommand.
        act: &'static str,
        /// The time it had.
        limit: Duration,
    },
    /// It refused.
    #[error("{act}: {raw}")]
    Refused {
        /// Its subcommand.
        act: &'static str,
        /// Its own words.
        raw: String,
    },
    /// What it printed could not be read.
    #[error("{act}: unreadable answer {raw:?}")]
    Answer {
        /// Its subcommand.
        act: &'static str,
        /// What it printed.
        raw: String,
    },
}

/// The runtime's view of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuntimeState {
    /// Being made.
    Creating,
    /// Made; its command does not run yet.
    Created,
    /// Its command runs.
    Running,
    /// Frozen.
    Paused,
    /// Its first process ended.
    Stopped,
}

/// The five acts of an OCI runtime (OCI runtime specification, "Operations").
pub trait Runtime {
    /// Makes the container of a bundle, outputs connected, command not yet run; gives its pid.
    ///
    /// # Errors
    /// If the runtime refuses or cannot be run.
    fn create(
        &self,
        id: &ContainerId,
        bundle: &Path,
        outputs: (OwnedFd, OwnedFd),
    ) -> Result<i32, RuntimeError>;

    /// Runs the command of a made container; returns once it was executed or has failed to.
    ///
    /// # Errors
    /// If the runtime refuses or cannot be run.
    fn start(&self, id: &ContainerId) -> Result<(), RuntimeError>;

    /// Signals the first process, or with `all` every process of the container.
    ///
    /// # Errors
    /// If the runtime refuses (for example because it has ended) or cannot be run.
    fn kill(&self, id: &ContainerId, signal: Signal, all: bool) -> Result<(), RuntimeError>;

    /// Removes an ended container's cgroups and state; with `force` ends it first. Repeatable
    /// with `force`.
    ///
    /// # Errors
    /// If the runtime refuses or cannot be run.
    fn delete(&self, id: &ContainerId, force: bool) -> Result<(), RuntimeError>;

    /// What the runtime knows of the container; `None` if nothing.
    ///
    /// # Errors
    /// If the runtime cannot be run or its answer not read.
    fn state(&self, id: &ContainerId) -> Result<Option<RuntimeState>, RuntimeError>;
}

/// runc 1.1 or later (or a runtime with its command line).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runc {
    /// Its binary.
    pub binary: PathBuf,
    /// Folder of its state, one per agent; best on a file system that a restart empties.
    pub root: PathBuf,
}
