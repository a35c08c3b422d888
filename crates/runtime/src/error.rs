//! Why containers fail to start, to be looked after, or to have their logs read.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::failure::StartFailure;
use super::folder::FolderError;
use super::propagation::MountError;
use super::runc::RuntimeError;
use super::spec::ContainerId;
use super::user::UserError;
use sutler_host::remove::RemoveError;

/// Why `Containers::start` failed; its folder may remain until `Containers::remove`.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The container itself could not be started.
    #[error(transparent)]
    Failed(#[from] StartFailure),
    /// A container of this id has a folder already.
    #[error("container {id} exists already")]
    AlreadyExists { id: ContainerId },
    /// The spec contradicts itself or asks for what this host cannot give.
    #[error("container {id}: {reason}")]
    InvalidSpec {
        id: ContainerId,
        /// What is wrong with it.
        reason: String,
    },
    /// The user is not known inside the root file system.
    #[error("container {id}: cannot resolve user {user:?}")]
    ResolveUser {
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
        id: ContainerId,
        /// Why.
        source: FolderError,
    },
    /// The shim process could not be run.
    #[error("container {id}: cannot run shim {command:?}")]
    SpawnShim {
        id: ContainerId,
        /// Its command line.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// The shim ended without telling whether the container started.
    #[error("container {id}: shim ended before it reported; its words: {words:?}")]
    ShimDied {
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
    NotFound { id: ContainerId },
    /// The container was never started, so it has no end to wait for.
    #[error("container {id} was never started")]
    NeverStarted { id: ContainerId },
    /// Its folder or a record in it could not be read or removed.
    #[error("container {id}: cannot use its folder")]
    Folder {
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
        id: ContainerId,
        /// How long we waited.
        waited: Duration,
    },
    /// The runtime refused.
    #[error("container {id}: runtime failed")]
    Runtime {
        id: ContainerId,
        /// Why.
        source: RuntimeError,
    },
    /// Its cgroup could not be emptied or removed.
    #[error("container {id}: cannot remove cgroup {}", path.display())]
    Cgroup {
        id: ContainerId,
        /// The cgroup folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something is still mounted below its folder; unmount it first.
    #[error("container {id}: {} is still mounted", path.display())]
    StillMounted {
        id: ContainerId,
        /// The mount point.
        path: PathBuf,
    },
    /// The mount table could not be read.
    #[error("container {id}: cannot look for mounts below its folder")]
    ReadMounts {
        id: ContainerId,
        /// Why.
        source: MountError,
    },
    /// Its folder could not be deleted.
    #[error("container {id}: cannot delete its folder")]
    DeleteFolder {
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
    NotFound { id: ContainerId },
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
