//! Why containers fail to start, to be looked after, or to have their logs read.
//!
//! [`StartFailure`] is what the runtime or kernel said of the container itself: it is kept in
//! `start-error.json`, so it carries text instead of live causes.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::folder::FolderError;
use super::propagation::MountError;
use super::runc::RuntimeError;
use super::spec::ContainerId;
use super::user::UserError;
use sutler_host::remove::RemoveError;

/// The container could not be started as it was asked for; retrying the same spec is useless
/// unless the image or host changes. `raw` keeps the runtime's own words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum StartFailure {
    /// The command, or the interpreter its first line names, is not in the image or its `PATH`.
    #[error("command {command:?} not found in the container: {raw}")]
    CommandNotFound {
        /// First argument of the spec.
        command: String,
        /// The runtime's words.
        raw: String,
    },
    /// The command is no executable file, or the user may not execute it.
    #[error("command {command:?} cannot be executed: {raw}")]
    PermissionDenied {
        /// First argument of the spec.
        command: String,
        /// The runtime's words.
        raw: String,
    },
    /// The command is no program of this host's architecture.
    #[error(
        "command {command:?} is not a program for this host ({}): {raw}",
        std::env::consts::ARCH
    )]
    ExecFormat {
        /// First argument of the spec.
        command: String,
        /// The runtime's words.
        raw: String,
    },
    /// The host path of a bind mount cannot be used.
    #[error("mount source {} cannot be used: {raw}", path.display())]
    MountSource {
        /// The host path.
        path: PathBuf,
        /// The system's words.
        raw: String,
    },
    /// The runtime refused for another reason.
    #[error("container runtime: {raw}")]
    Runtime {
        /// The runtime's words.
        raw: String,
    },
}

/// Why `Containers::start` failed; its folder may remain until `Containers::remove`.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The container itself could not be started.
    #[error(transparent)]
    Failed(#[from] StartFailure),
    /// A container of this id has a folder already.
    #[error("container {id} exists already")]
    AlreadyExists {
        /// The id.
        id: ContainerId,
    },
    /// The spec contradicts itself or asks for what this host cannot give.
    #[error("container {id}: {reason}")]
    InvalidSpec {
        /// The id.
        id: ContainerId,
        /// What is wrong with it.
        reason: String,
    },
    /// The user is not known inside the root file system.
    #[error("container {id}: cannot resolve user {user:?}")]
    ResolveUser {
        /// The id.
        id: ContainerId,
        /// As in the spec.
        user: String,
        /// Why.
        source: UserError,
    },
    /// The host's facts (capabilities, cgroups, devices) could not be read.
    #[error("cannot read {}", path.display())]
    ReadHost {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The container's folder could not be written.
    #[error("container {id}: cannot prepare its folder")]
    PrepareFolder {
        /// The id.
        id: ContainerId,
        /// Why.
        source: FolderError,
    },
    /// The shim process could not be run.
    #[error("container {id}: cannot run shim {command:?}")]
    SpawnShim {
        /// The id.
        id: ContainerId,
        /// Its command line.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// The shim ended without telling whether the container started.
    #[error("container {id}: shim ended before it reported; its words: {words:?}")]
    ShimDied {
        /// The id.
        id: ContainerId,
        /// End of `shim.log`.
        words: String,
    },
}

/// Why looking after a container failed.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// No container of this id is known.
    #[error("container {id} does not exist")]
    NotFound {
        /// The id.
        id: ContainerId,
    },
    /// The container was never started, so it has no end to wait for.
    #[error("container {id} was never started")]
    NeverStarted {
        /// The id.
        id: ContainerId,
    },
    /// Its folder or a record in it could not be read or removed.
    #[error("container {id}: cannot use its folder")]
    Folder {
        /// The id.
        id: ContainerId,
        /// Why.
        source: FolderError,
    },
    /// The folder of all containers could not be read.
    #[error("cannot list containers in {}", path.display())]
    List {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A process of it could not be watched or signalled.
    #[error("container {id}: cannot {act} process {pid}")]
    Process {
        /// The id.
        id: ContainerId,
        /// What was tried.
        act: &'static str,
        /// The process.
        pid: i32,
        /// Why.
        source: io::Error,
    },
    /// It did not end although it was killed: a process hangs in the kernel, usually on storage.
    #[error("container {id}: still running {} s after it was killed", waited.as_secs())]
    Unkillable {
        /// The id.
        id: ContainerId,
        /// How long we waited.
        waited: Duration,
    },
    /// The runtime refused.
    #[error("container {id}: runtime failed")]
    Runtime {
        /// The id.
        id: ContainerId,
        /// Why.
        source: RuntimeError,
    },
    /// Its cgroup could not be emptied or removed.
    #[error("container {id}: cannot remove cgroup {}", path.display())]
    Cgroup {
        /// The id.
        id: ContainerId,
        /// The cgroup folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something is still mounted below its folder; unmount it first.
    #[error("container {id}: {} is still mounted", path.display())]
    StillMounted {
        /// The id.
        id: ContainerId,
        /// The mount point.
        path: PathBuf,
    },
    /// The mount table could not be read.
    #[error("container {id}: cannot look for mounts below its folder")]
    ReadMounts {
        /// The id.
        id: ContainerId,
        /// Why.
        source: MountError,
    },
    /// Its folder could not be deleted.
    #[error("container {id}: cannot delete its folder")]
    DeleteFolder {
        /// The id.
        id: ContainerId,
        /// Why.
        source: RemoveError,
    },
}

/// Why a log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// No container of this id is known.
    #[error("container {id} does not exist")]
    NotFound {
        /// The id.
        id: ContainerId,
    },
    /// A log file could not be read.
    #[error("cannot read log {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Changes of the log could not be watched; `fs.inotify.max_user_instances` bounds how many
    /// logs can be followed at once.
    #[error("cannot watch {}", path.display())]
    Watch {
        /// The container's folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}
