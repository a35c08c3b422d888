//! Ending containers: graceful stop, signal, and removal of everything that was theirs.
//!
//! Removal works in the order in which nothing is forgotten half-way: processes, runtime state,
//! cgroups, and last the folder, which says what the others were. It never deletes across a
//! mount point and never unmounts.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::pidfd_send_signal;
use sutler_telemetry::failpoint;

use super::blocking::blocking;
use super::cgroup;
use super::error::ContainerError;
use super::folder::{self, Folder, ShimRecord, SpecRecord};
use super::manager::{Containers, readable};
use super::observe::Observed;
use super::process::ProcessRef;
use super::propagation::MountError;
use super::runc::{Runc, Runtime};
use super::signal::Signal;
use super::spec::ContainerId;
use super::status::Ended;
use sutler_host::remove::remove_tree;

/// How long a killed container may take to end: longer than a slow disk, shorter than a person
/// waits without a word.
const KILLED_WITHIN: Duration = Duration::from_secs(60);

/// Looks of a removal: one that may find a start under way, one that finds its result.
const LOOKS: u32 = 2;

impl Containers {
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
        let signal = match signal {
            Some(signal) => signal,
            None => self.stop_signal(id).await?,
        };
        self.kill(id, signal).await?;
        // Both arms are cancel-safe: waiting again starts from the state on disk.
        if let Ok(ended) = tokio::time::timeout(grace, self.wait(id)).await {
            return ended;
        }
        self.kill(id, Signal::KILL).await?;
        match tokio::time::timeout(KILLED_WITHIN, self.wait(id)).await {
            Ok(ended) => ended,
            Err(_late) => Err(ContainerError::Unkillable {
                id: id.clone(),
                waited: KILLED_WITHIN,
            }),
        }
    }

    /// Signals the container's first process; does nothing if it has ended.
    ///
    /// # Errors
    /// If it does not exist, was never started, or cannot be signalled.
    pub async fn kill(&self, id: &ContainerId, signal: Signal) -> Result<(), ContainerError> {
        loop {
            match self.observe(id).await? {
                Observed::Missing => return Err(ContainerError::NotFound { id: id.clone() }),
                Observed::NeverStarted(_) => {
                    return Err(ContainerError::NeverStarted { id: id.clone() });
                }
                Observed::Exited(_) => return Ok(()),
                Observed::Starting => self.wait_start(id).await?,
                Observed::Running { record, .. } => return send_container(id, &record, signal),
                Observed::Lost(record) => {
                    return record.map_or(Ok(()), |r| send_container(id, &r, signal));
                }
            }
        }
    }

    /// Ends whatever runs of the container and deletes its cgroups, runtime state and folder.
    /// Repeatable; an unknown id is success. Unmount its root file system first if it is mounted
    /// below the folder.
    ///
    /// # Errors
    /// `StillMounted`, before anything is ended or deleted, if something is mounted below its
    /// folder; others if a process or cgroup cannot be removed, with the folder left for another
    /// try.
    pub async fn remove(&self, id: &ContainerId) -> Result<(), ContainerError> {
        let folder = self.folder_of(id);
        if !folder.exists() {
            return Ok(());
        }
        let (checked, its_folder) = (id.clone(), folder.clone());
        blocking(move || check_unmounted(&checked, &its_folder)).await?;
        // A start under way ends first, then its container is looked at again.
        for _ in 0..LOOKS {
            self.end_shim(id).await?;
        }
        let (id, runtime) = (id.clone(), self.runtime().clone());
        blocking(move || remove_rest(&id, &folder, &runtime)).await
    }

    async fn stop_signal(&self, id: &ContainerId) -> Result<Signal, ContainerError> {
        let folder = self.folder_of(id);
        let read = blocking(move || folder.read::<SpecRecord>(folder::SPEC)).await;
        let record = read.map_err(|source| ContainerError::Folder {
            id: id.clone(),
            source,
        })?;
        Ok(record.map_or(Signal::TERM, |record| record.spec.stop_signal))
    }

    /// Ends the container and returns once its shim has ended, so that nobody else touches the
    /// folder or stays in a cgroup.
    async fn end_shim(&self, id: &ContainerId) -> Result<(), ContainerError> {
        match self.observe(id).await {
            Ok(Observed::Running { record, .. }) => {
                send_container(id, &record, Signal::KILL)?;
                shim_ended(id, &record.shim).await
            }
            Ok(Observed::Starting) => self.wait_start(id).await,
            Ok(Observed::Lost(Some(record))) => send_container(id, &record, Signal::KILL),
            // The shim of a failed start reports before it ends.
            Ok(Observed::NeverStarted(_)) => {
                let folder = self.folder_of(id);
                let read = blocking(move || folder.read::<ShimRecord>(folder::SHIM)).await;
                match read {
                    Ok(Some(record)) => shim_ended(id, &record.shim).await,
                    Ok(None) | Err(_) => Ok(()),
                }
            }
            // What cannot be read cannot be signalled; the runtime and the cgroup know more.
            Ok(Observed::Missing | Observed::Exited(_) | Observed::Lost(None)) | Err(_) => Ok(()),
        }
    }
}

/// Waits for a shim that has nothing left to wait for itself; ends it if it is late.
async fn shim_ended(id: &ContainerId, shim: &ProcessRef) -> Result<(), ContainerError> {
    let error = |source| ContainerError::Process {
        id: id.clone(),
        act: "watch",
        pid: shim.pid,
        source,
    };
    let Some(pidfd) = shim.open().map_err(error)? else {
        return Ok(());
    };
    match tokio::time::timeout(KILLED_WITHIN, readable(pidfd)).await {
        Ok(ended) => ended.map_err(error),
        // Its exit record is lost then, but the container is to go anyway.
        Err(_late) => send(shim, Signal::KILL).map_err(error),
    }
}

fn send_container(
    id: &ContainerId,
    record: &ShimRecord,
    signal: Signal,
) -> Result<(), ContainerError> {
    let Some(container) = &record.container else {
        return Ok(());
    };
    send(container, signal).map_err(|source| ContainerError::Process {
        id: id.clone(),
        act: "signal",
        pid: container.pid,
        source,
    })
}

/// Signals exactly this process; does nothing if it has ended.
fn send(process: &ProcessRef, signal: Signal) -> io::Result<()> {
    let Some(pidfd) = process.open()? else {
        return Ok(());
    };
    match pidfd_send_signal(&pidfd, signal.to_sent()) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Refuses while something is mounted below the folder.
fn check_unmounted(id: &ContainerId, folder: &Folder) -> Result<(), ContainerError> {
    let error = |source| ContainerError::ReadMounts {
        id: id.clone(),
        source: MountError {
            act: "look for mounts below",
            path: folder.path().to_owned(),
            source,
        },
    };
    let real = folder.path().canonicalize().map_err(error)?;
    let mut found =
        sutler_host::mounts::points_under(&real).map_err(|found| error(found.into()))?;
    match found.pop() {
        Some(path) => Err(ContainerError::StillMounted {
            id: id.clone(),
            path,
        }),
        None => Ok(()),
    }
}

/// The part of a removal after the shim has ended.
fn remove_rest(id: &ContainerId, folder: &Folder, current: &Runc) -> Result<(), ContainerError> {
    // A spec torn by a power cut names no cgroup, and after a restart there is none.
    let spec = folder.read::<SpecRecord>(folder::SPEC).ok().flatten();
    let runtime = spec.as_ref().map_or(current, |record| &record.runtime);
    failpoint::hit("container.remove.runtime.before");
    if runtime.has_state(id) {
        runtime
            .delete(id, true)
            .map_err(|source| ContainerError::Runtime {
                id: id.clone(),
                source,
            })?;
    }
    failpoint::hit("container.remove.cgroup.before");
    if let Some(record) = &spec {
        let cleared = cgroup::clear(&record.spec.cgroup_path());
        cleared.map_err(
            |(path, source): (PathBuf, io::Error)| ContainerError::Cgroup {
                id: id.clone(),
                path,
                source,
            },
        )?;
    }
    failpoint::hit("container.remove.folder.before");
    remove_tree(folder.path()).map_err(|source| ContainerError::DeleteFolder {
        id: id.clone(),
        source,
    })?;
    failpoint::hit("container.remove.folder.after");
    Ok(())
}
