//! The agent's handle on containers: start, wait, adopt, signal, remove, read logs.
//!
//! It keeps nothing in memory that matters: every answer comes from the container's folder and
//! from the kernel, so a restarted agent knows as much as the one before. Stopping and removing
//! are in `stop.rs`, the other side of the folder is `shim.rs`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;

use super::error::{ContainerError, LogError, StartError};
use super::log_follow::LogChunk;
use super::runc::Runc;
use super::spec::{ContainerId, ContainerSpec, Signal};
use super::status::{Adopted, Ended, LogQuery, LogStream, Started};

/// Where containers live and what runs them.
#[derive(Debug, Clone)]
pub struct ContainersConfig {
    /// Folder of one folder per container; made if absent.
    pub containers_dir: PathBuf,
    /// Command line of the shim, for example `["/usr/bin/sutler", "shim"]`; `--dir DIR` follows.
    pub shim_command: Vec<OsString>,
    /// The runtime.
    pub runtime: Runc,
}

/// Starts and looks after containers; cheap to clone. Its async methods need a tokio runtime.
#[derive(Debug, Clone)]
pub struct Containers {
    config: Arc<ContainersConfig>,
}

impl Containers {
    /// A handle; touches nothing yet.
    #[must_use]
    pub fn new(config: ContainersConfig) -> Self {
        Self { config: Arc::new(config) }
    }

    /// Starts a container and returns once its command was executed.
    ///
    /// # Errors
    /// See [`StartError`]. On every error but `AlreadyExists` a folder may remain, with the logs
    /// of what was tried, until [`Containers::remove`].
    ///
    /// # Cancel safety
    /// The start goes on without us; [`Containers::adopt`] or [`Containers::remove`] find it.
    pub async fn start(&self, spec: &ContainerSpec) -> Result<Started, StartError> {
        let _ = (spec, &self.config);
        unimplemented!("front only")
    }

    /// Waits until the container has ended and its record, if any, is on disk.
    ///
    /// # Errors
    /// If it does not exist, was never started, or its folder cannot be read.
    ///
    /// # Cancel safety
    /// Safe; may be called any number of times and by several callers.
    pub async fn wait(&self, id: &ContainerId) -> Result<Ended, ContainerError> {
        let _ = id;
        unimplemented!("front only")
    }

    /// Finds every container after a restart of the agent; waits for starts under way to end.
    ///
    /// # Errors
    /// If the folder of containers cannot be listed. A folder that cannot be read counts as lost.
    pub async fn adopt(&self) -> Result<Vec<Adopted>, ContainerError> {
        unimplemented!("front only")
    }

    /// Sends `signal` (the spec's stop signal if `None`), waits up to `grace`, then kills; returns
    /// when the container has ended.
    ///
    /// # Errors
    /// As [`Containers::wait`], and `Unkillable` if not even SIGKILL ended it in time.
    pub async fn stop(
        &self,
        id: &ContainerId,
        grace: Duration,
        signal: Option<Signal>,
    ) -> Result<Ended, ContainerError> {
        let _ = (id, grace, signal);
        unimplemented!("front only")
    }

    /// Signals the container's first process; does nothing if it has ended.
    ///
    /// # Errors
    /// If it does not exist, was never started, or cannot be signalled.
    pub async fn kill(&self, id: &ContainerId, signal: Signal) -> Result<(), ContainerError> {
        let _ = (id, signal);
        unimplemented!("front only")
    }

    /// Ends whatever runs of the container and deletes its cgroups, runtime state and folder.
    /// Repeatable; an unknown id is success. Unmount its root file system first if it is mounted
    /// below the folder.
    ///
    /// # Errors
    /// `StillMounted`, before anything is deleted, if something is mounted below its folder; others if a
    /// process or cgroup cannot be removed, with the folder left for another try.
    pub async fn remove(&self, id: &ContainerId) -> Result<(), ContainerError> {
        let _ = id;
        unimplemented!("front only")
    }

    /// Reads one output; with `follow` goes on across rotations until the container has ended.
    ///
    /// # Errors
    /// If the container does not exist or its folder cannot be watched; later errors come in the
    /// stream, which ends with them.
    pub async fn read_logs(
        &self,
        id: &ContainerId,
        query: LogQuery,
    ) -> Result<impl Stream<Item = Result<LogChunk, LogError>> + Send + 'static, LogError> {
        let _ = (id, query);
        let empty: futures::stream::Empty<Result<LogChunk, LogError>> = futures::stream::empty();
        Ok(empty)
    }

    /// Last lines of one output, oldest first, invalid UTF-8 replaced.
    ///
    /// # Errors
    /// If the container does not exist or its log cannot be read.
    pub async fn tail(
        &self,
        id: &ContainerId,
        stream: LogStream,
        lines_max: usize,
    ) -> Result<Vec<String>, LogError> {
        let _ = (id, stream, lines_max);
        unimplemented!("front only")
    }

    /// The folder of a container, where the caller may keep its root file system.
    #[must_use]
    pub fn folder(&self, id: &ContainerId) -> PathBuf {
        self.config.containers_dir.join(id.as_str())
    }
}
