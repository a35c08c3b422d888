//! The agent's handle on containers: start, wait, adopt, signal, remove, read logs.
//!
//! It keeps nothing in memory that matters: every answer comes from the container's folder and
//! from the kernel, so a restarted agent knows as much as the one before. Stopping and removing
//! are in `stop.rs`, the other side of the folder is `shim.rs`.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use futures::Stream;
use sutler_telemetry::failpoint;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

use super::blocking::blocking;
use super::error::{ContainerError, LogError, StartError};
use super::folder::{self, FOLDER_VERSION, Folder, ShimRecord, SpecRecord};
use super::host::HostFacts;
use super::log_follow::{LogChunk, follow};
use super::log_read::{LogCursor, TAIL_BYTES_MAX};
use super::observe::{Observed, observe};
use super::runc::Runc;
use super::shim::StartReport;
use super::spec::{ContainerId, ContainerSpec};
use super::status::{Adopted, AdoptedState, Ended, LogQuery, LogStream, Started};
use super::watched::watch_readable;
use super::{oci, user};

/// Where containers live and what runs them.
#[derive(Debug, Clone)]
pub struct ContainersConfig {
    /// Folder of one folder per container; made if absent.
    pub containers_dir: PathBuf,
    /// Command line of the shim, for example `["/usr/bin/sutler", "shim"]`; `--dir DIR` follows.
    pub shim_command: Vec<OsString>,
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
        Self {
            config: Arc::new(config),
        }
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
        let folder = self.folder_of(&spec.id);
        let (config, owned) = (Arc::clone(&self.config), spec.clone());
        let lock = blocking(move || prepare(&config, &owned)).await?;
        let mut shim = self
            .spawn_shim(&folder, lock)
            .map_err(|source| StartError::SpawnShim {
                id: spec.id.clone(),
                command: format!("{:?}", self.config.shim_command),
                source,
            })?;
        let report = read_report(&mut shim).await;
        // Reaps the shim when it ends, whoever waits for the container.
        tokio::spawn(async move { shim.wait().await });
        match report {
            Some(StartReport::Started(started)) => Ok(started),
            Some(StartReport::Failed(failure)) => Err(failure.into()),
            None => {
                let words = std::fs::read_to_string(folder.file(folder::SHIM_LOG));
                let words = words.unwrap_or_default().trim().to_owned();
                Err(StartError::ShimDied {
                    id: spec.id.clone(),
                    words,
                })
            }
        }
    }

    /// Waits until the container has ended and its record, if any, is on disk.
    ///
    /// # Errors
    /// If it does not exist, was never started, or its folder cannot be read.
    ///
    /// # Cancel safety
    /// Safe; may be called any number of times and by several callers.
    pub async fn wait(&self, id: &ContainerId) -> Result<Ended, ContainerError> {
        loop {
            match self.observe(id).await? {
                Observed::Missing => return Err(ContainerError::NotFound { id: id.clone() }),
                Observed::NeverStarted(_) => {
                    return Err(ContainerError::NeverStarted { id: id.clone() });
                }
                Observed::Exited(record) => return Ok(Ended::Exited(record)),
                Observed::Lost(_) => return Ok(Ended::Lost),
                Observed::Starting => self.wait_start(id).await?,
                Observed::Running { shim, record } => {
                    readable(shim)
                        .await
                        .map_err(|source| ContainerError::Process {
                            id: id.clone(),
                            act: "watch",
                            pid: record.shim.pid,
                            source,
                        })?;
                }
            }
        }
    }

    /// Finds every container after a restart of the agent; waits for starts under way to end.
    ///
    /// # Errors
    /// If the folder of containers cannot be listed. A folder that cannot be read counts as lost.
    pub async fn adopt(&self) -> Result<Vec<Adopted>, ContainerError> {
        let dir = self.config.containers_dir.clone();
        let listed = blocking(move || list_ids(&dir)).await;
        let ids = listed.map_err(|source| ContainerError::List {
            path: self.config.containers_dir.clone(),
            source,
        })?;
        let mut adopted = Vec::new();
        for id in ids {
            if let Some((state, shares_our_mounts)) = self.adopt_one(&id).await {
                adopted.push(Adopted {
                    id,
                    state,
                    shares_our_mounts,
                });
            }
        }
        Ok(adopted)
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
        follow(self.existing(id)?, query).await
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
        let folder = self.existing(id)?;
        let text = blocking(move || last_bytes(&folder, stream, lines_max)).await?;
        let text = String::from_utf8_lossy(&text);
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// The folder of a container, where the caller may keep its root file system.
    #[must_use]
    pub fn folder(&self, id: &ContainerId) -> PathBuf {
        self.config.containers_dir.join(id.as_str())
    }

    pub(super) fn folder_of(&self, id: &ContainerId) -> Folder {
        Folder::at(self.folder(id))
    }

    pub(super) fn runtime(&self) -> &Runc {
        &self.config.runtime
    }

    fn existing(&self, id: &ContainerId) -> Result<Folder, LogError> {
        let folder = self.folder_of(id);
        if folder.exists() {
            Ok(folder)
        } else {
            Err(LogError::NotFound { id: id.clone() })
        }
    }

    pub(super) async fn observe(&self, id: &ContainerId) -> Result<Observed, ContainerError> {
        let folder = self.folder_of(id);
        let looked = blocking(move || observe(&folder)).await;
        looked.map_err(|source| ContainerError::Folder {
            id: id.clone(),
            source,
        })
    }

    /// Bounded by the shim, which gives the runtime only so long.
    pub(super) async fn wait_start(&self, id: &ContainerId) -> Result<(), ContainerError> {
        let folder = self.folder_of(id);
        let waited = blocking(move || folder.wait_start()).await;
        waited.map_err(|source| ContainerError::Folder {
            id: id.clone(),
            source,
        })
    }

    async fn adopt_one(&self, id: &ContainerId) -> Option<(AdoptedState, bool)> {
        let mut shares_our_mounts = true;
        loop {
            let state = match self.observe(id).await {
                Ok(Observed::Missing) => return None,
                Ok(Observed::Starting) => match self.wait_start(id).await {
                    Ok(()) => continue,
                    Err(error) => unreadable(id, &error),
                },
                Ok(Observed::NeverStarted(failure)) => AdoptedState::NeverStarted(failure),
                Ok(Observed::Running { record, .. }) => {
                    shares_our_mounts = record.shim.shares_our_mounts();
                    running(&record)
                }
                Ok(Observed::Exited(record)) => AdoptedState::Exited(record),
                Ok(Observed::Lost(_)) => AdoptedState::Lost,
                Err(error) => unreadable(id, &error),
            };
            return Some((state, shares_our_mounts));
        }
    }

    /// The shim's standard input is the start lock, its output the status pipe, so no other file
    /// of ours needs to be inherited.
    fn spawn_shim(&self, folder: &Folder, lock: File) -> io::Result<Child> {
        let no_command = || io::Error::new(io::ErrorKind::InvalidInput, "empty shim command");
        let (program, args) = self
            .config
            .shim_command
            .split_first()
            .ok_or_else(no_command)?;
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600);
        let words = options.open(folder.file(folder::SHIM_LOG))?;
        let mut command = Command::new(program);
        command.args(args).arg("--dir").arg(folder.path());
        command
            .current_dir("/")
            .stdin(lock)
            .stdout(Stdio::piped())
            .stderr(words);
        // The agent's environment may hold secrets; the shim needs none of it.
        command
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| is_passed_on(name)));
        failpoint::hit("container.start.spawn_shim.before");
        let shim = command.spawn();
        failpoint::hit("container.start.spawn_shim.after");
        shim
    }
}

fn is_passed_on(name: &std::ffi::OsStr) -> bool {
    name == "PATH" || name.to_string_lossy().starts_with("SUTLER_FAILPOINT")
}

fn running(record: &ShimRecord) -> AdoptedState {
    match (&record.container, record.started_at) {
        (Some(container), Some(started_at)) => AdoptedState::Running(Started {
            pid: container.pid,
            started_at,
        }),
        (None, _) | (_, None) => AdoptedState::Lost,
    }
}

fn unreadable(id: &ContainerId, error: &ContainerError) -> AdoptedState {
    tracing::warn!(container_id = %id, error = %sutler_telemetry::chain(error), "container lost");
    AdoptedState::Lost
}

/// Everything of a start that needs no shim: checks, folder, records, lock.
fn prepare(config: &ContainersConfig, spec: &ContainerSpec) -> Result<File, StartError> {
    let id = &spec.id;
    let host = HostFacts::gather(spec)?;
    let user =
        user::resolve(&spec.rootfs, &spec.user).map_err(|source| StartError::ResolveUser {
            id: id.clone(),
            user: spec.user.clone(),
            source,
        })?;
    let oci = oci::config(spec, &host, &user).map_err(|reason| StartError::InvalidSpec {
        id: id.clone(),
        reason,
    })?;
    let record = SpecRecord {
        version: FOLDER_VERSION,
        runtime: config.runtime.clone(),
        spec: spec.clone(),
    };
    let folder = Folder::at(config.containers_dir.join(id.as_str()));
    let written = (|| {
        failpoint::hit("container.start.folder.before");
        if !folder.create()? {
            return Ok(None);
        }
        // The lock before the records: whoever sees a folder without a lock sees a start that
        // will not go on.
        let lock = folder.lock_start()?;
        folder.write(folder::SPEC, &record)?;
        folder.write(folder::CONFIG, &oci)?;
        failpoint::hit("container.start.folder.after");
        Ok(Some(lock))
    })();
    match written {
        Ok(Some(lock)) => Ok(lock),
        Ok(None) => Err(StartError::AlreadyExists { id: id.clone() }),
        Err(source) => Err(StartError::PrepareFolder {
            id: id.clone(),
            source,
        }),
    }
}

/// Longest report read: a failure with the runtime's words.
const REPORT_BYTES_MAX: u64 = 1 << 20;

/// Waits for the shim's one line; `None` if it ended without.
async fn read_report(shim: &mut Child) -> Option<StartReport> {
    let pipe = shim
        .stdout
        .take()
        .expect("the shim was spawned with a pipe");
    let mut line = String::new();
    let mut reader = BufReader::new(pipe).take(REPORT_BYTES_MAX);
    reader.read_line(&mut line).await.ok()?;
    serde_json::from_str(&line).ok()
}

fn list_ids(dir: &Path) -> io::Result<Vec<ContainerId>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut ids = Vec::new();
    for entry in entries {
        match entry?.file_name().into_string().map(ContainerId::new) {
            Ok(Ok(id)) => ids.push(id),
            Ok(Err(error)) => tracing::warn!(%error, "folder is no container's"),
            Err(name) => tracing::warn!(?name, "folder is no container's"),
        }
    }
    ids.sort();
    Ok(ids)
}

fn last_bytes(folder: &Folder, stream: LogStream, lines: usize) -> Result<Vec<u8>, LogError> {
    let error = |source| LogError::Read {
        path: folder.file(stream.file_name()),
        source,
    };
    let mut cursor = LogCursor::at_last_lines(folder.path(), stream, lines).map_err(error)?;
    let mut bytes = Vec::new();
    while let Some((_, chunk)) = cursor.read().map_err(error)? {
        bytes.extend(chunk);
        // A container that writes faster than we read must not hold us.
        if bytes.len() > TAIL_BYTES_MAX as usize {
            break;
        }
    }
    Ok(bytes)
}

/// Waits until a pidfd turns readable: its process has ended.
pub(super) async fn readable(pidfd: OwnedFd) -> io::Result<()> {
    watch_readable(pidfd)?.readable().await.map(|_| ())
}
