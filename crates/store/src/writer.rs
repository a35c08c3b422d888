//! The one writer: collects waiting batches, commits them together, answers each.
//!
//! Owns the open file. After a full disk it opens the file again at the next call; after
//! any other I/O error it stops for good.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use redb::Database;
use sutler_host::lock::{Lock, LockError};
use tokio::sync::{mpsc, oneshot};

use crate::error::is_full;
use crate::{
    Batch, CommitError, LoadError, Loaded, OpenError, Schema, Table, beside, database, private,
};

/// Batches that may wait; a caller beyond that waits to hand its own over.
const WAITING_MAX: usize = 1024;

/// Batches in one commit, so that one commit stays short when many wait.
const GROUP_MAX: usize = 256;

struct Job {
    batch: Batch,
    done: oneshot::Sender<Result<(), CommitError>>,
}

enum Status {
    Open(Database),
    /// A commit found the disk full; the file is to be opened again.
    Closed,
    Stopped(String),
}

struct Backend {
    path: PathBuf,
    schema: Schema,
    status: Status,
    _lock: Lock,
}

/// The thread and the way to it.
pub(crate) struct Writer {
    path: PathBuf,
    backend: Arc<Mutex<Backend>>,
    commits: Arc<AtomicU64>,
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(crate) fn start(path: &Path, schema: Schema) -> Result<Self, OpenError> {
        let fault = |source| OpenError::from_io(path.to_owned(), source);
        if let Some(folder) = path.parent() {
            private::make_folder(folder).map_err(fault)?;
        }
        let lock = Lock::take(&beside(path, ".lock")).map_err(|error| match error {
            LockError::Held { pid } => OpenError::Locked {
                path: path.to_owned(),
                pid,
            },
            LockError::File { source } => fault(source),
        })?;
        let status = Status::Open(database::open(path, schema)?);
        let backend = Arc::new(Mutex::new(Backend {
            path: path.to_owned(),
            schema,
            status,
            _lock: lock,
        }));
        let commits = Arc::new(AtomicU64::new(0));
        let (jobs, waiting) = mpsc::channel(WAITING_MAX);
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn({
                let (backend, commits) = (backend.clone(), commits.clone());
                move || run(waiting, &backend, &commits)
            })
            .map_err(fault)?;
        let path = path.to_owned();
        Ok(Self {
            path,
            backend,
            commits,
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    pub(crate) async fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        if batch.is_empty() {
            return Ok(());
        }
        let (done, answer) = oneshot::channel();
        let jobs = self
            .jobs
            .as_ref()
            .expect("taken only when the writer is dropped");
        let gone = |()| CommitError::Stopped {
            path: self.path.clone(),
            cause: "its writer thread has ended".to_owned(),
        };
        jobs.send(Job { batch, done }).await.map_err(|_| gone(()))?;
        answer.await.map_err(|_| gone(()))?
    }

    pub(crate) fn load(&self, table: Table) -> Result<Loaded, LoadError> {
        locked(&self.backend).load(table)
    }

    pub(crate) fn commits(&self) -> u64 {
        // Relaxed, here and where it grows: a figure for metrics, which orders nothing.
        self.commits.load(Ordering::Relaxed)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Writer {
    /// Ends the thread, so that the file is closed and unlocked when this returns.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(path = %self.path.display(), "the store's writer thread panicked");
        }
    }
}

fn run(mut waiting: mpsc::Receiver<Job>, backend: &Mutex<Backend>, commits: &AtomicU64) {
    while let Some(first) = waiting.blocking_recv() {
        let mut batches = vec![first.batch];
        let mut askers = vec![first.done];
        while batches.len() < GROUP_MAX
            && let Ok(next) = waiting.try_recv()
        {
            batches.push(next.batch);
            askers.push(next.done);
        }
        let result = locked(backend).commit(&batches);
        if result.is_ok() {
            commits.fetch_add(1, Ordering::Relaxed);
        }
        for asker in askers {
            // An asker that went away does not need its answer.
            let _ = asker.send(result.clone());
        }
    }
}

fn locked(backend: &Mutex<Backend>) -> MutexGuard<'_, Backend> {
    // Every panic of the library is caught inside, so a poisoned lock hides no half-done act.
    backend.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Backend {
    fn commit(&mut self, batches: &[Batch]) -> Result<(), CommitError> {
        let database = match self.ensure_open() {
            Ok(database) => database,
            Err(Refused::Stopped(cause)) => {
                return Err(CommitError::Stopped {
                    path: self.path.clone(),
                    cause,
                });
            }
            Err(Refused::Open(error)) => return Err(self.cannot_reopen(&error)),
        };
        let failure = match database::guarded(|| database::write(database, batches)) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error,
            Err(panic) => redb::Error::Corrupted(panic),
        };
        let (path, cause) = (self.path.clone(), failure.to_string());
        if let redb::Error::Io(source) = &failure
            && is_full(source)
        {
            self.close();
            return Err(CommitError::Full { path, cause });
        }
        self.status = Status::Stopped(cause.clone());
        Err(CommitError::Io { path, cause })
    }

    fn load(&mut self, table: Table) -> Result<Loaded, LoadError> {
        let path = self.path.clone();
        let database = match self.ensure_open() {
            Ok(database) => database,
            Err(Refused::Stopped(cause)) => return Err(LoadError::Stopped { path, cause }),
            Err(Refused::Open(source)) => {
                return Err(LoadError::Reopen {
                    table: table.0,
                    source,
                });
            }
        };
        let what = match database::guarded(|| database::read(database, table)) {
            Ok(Ok(Ok(loaded))) => return Ok(loaded),
            Ok(Err(redb::Error::Io(source))) => {
                return Err(LoadError::Io {
                    path,
                    table: table.0,
                    source,
                });
            }
            Ok(Err(other)) => other.to_string(),
            Ok(Ok(Err(what))) | Err(what) => what,
        };
        Err(LoadError::Corrupt {
            path,
            table: table.0,
            what,
        })
    }

    fn ensure_open(&mut self) -> Result<&Database, Refused> {
        if matches!(self.status, Status::Closed) {
            database::forget_cached_pages(&self.path);
            let opened = database::reopen(&self.path, self.schema).map_err(Refused::Open)?;
            self.status = Status::Open(opened);
        }
        match &self.status {
            Status::Open(database) => Ok(database),
            Status::Stopped(cause) => Err(Refused::Stopped(cause.clone())),
            Status::Closed => unreachable!("opened above"),
        }
    }

    /// Sorts a failed reopening: still no space, or a reason to stop.
    fn cannot_reopen(&mut self, error: &OpenError) -> CommitError {
        let cause = match std::error::Error::source(error) {
            Some(source) => source.to_string(),
            None => error.to_string(),
        };
        let path = self.path.clone();
        if matches!(error, OpenError::Full { .. }) {
            return CommitError::Full { path, cause };
        }
        self.status = Status::Stopped(cause.clone());
        CommitError::Io { path, cause }
    }

    fn close(&mut self) {
        self.status = Status::Closed;
    }
}

enum Refused {
    Open(OpenError),
    Stopped(String),
}
