//! One container's folder: its file names, its records, and how they are written.
//!
//! Every record is written beside its name and renamed, so a reader sees the whole record or
//! none. Only final records are synced: the others describe processes, which no power cut
//! leaves behind. Nothing here knows what the records mean.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::process::ProcessRef;
use super::runc::Runc;
use super::spec::ContainerSpec;
use super::status::ExitRecord;

/// A file of a container's folder could not be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {act} {}", path.display())]
pub struct FolderError {
    /// What was tried.
    pub act: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// `spec.json`: all that the shim needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SpecRecord {
    /// Layout of this folder; a shim refuses one it does not know.
    pub version: u32,
    /// The runtime to drive.
    pub runtime: Runc,
    /// What was asked.
    pub spec: ContainerSpec,
}

/// `shim.json`: who looks after the container, and who it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ShimRecord {
    pub shim: ProcessRef,
    /// The container's first process, once the runtime has made it.
    pub container: Option<ProcessRef>,
    /// Set once its command was told to run.
    pub started_at: Option<jiff::Timestamp>,
}

/// Version of the folder's layout that this build writes and reads.
pub(crate) const FOLDER_VERSION: u32 = 1;

/// Records and files of a container's folder, by name.
pub(crate) const SPEC: &str = "spec.json";
/// The OCI configuration.
pub(crate) const CONFIG: &str = "config.json";
/// See [`ShimRecord`].
pub(crate) const SHIM: &str = "shim.json";
/// A `StartFailure`, final.
pub(crate) const START_ERROR: &str = "start-error.json";
/// An `ExitRecord`, final.
pub const EXIT: &str = "exit.json";
/// Locked while a start is under way.
pub(crate) const START_LOCK: &str = "start.lock";
/// What the shim itself had to say.
pub(crate) const SHIM_LOG: &str = "shim.log";

/// Largest record that is read; a spec with 2 MiB of arguments is beyond what exec takes.
const RECORD_BYTES_MAX: u64 = 16 << 20;

/// Bytes of `exit.json`, blank-padded and reserved at the start, so that a full disk cannot take
/// the exit status: overwriting needs no new block.
const EXIT_BYTES: usize = 1024;

/// Paths and records of one container's folder.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder at this path, which need not exist.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether it is there.
    pub fn exists(&self) -> bool {
        self.path.is_dir()
    }

    /// Makes it, readable by us alone, for records hold environments; `false` if it was there.
    ///
    /// # Errors
    /// If it or its parent cannot be made.
    pub fn create(&self) -> Result<bool, FolderError> {
        let mut builder = DirBuilder::new();
        builder.mode(0o700);
        if let Some(parent) = self.path.parent() {
            let made = builder.recursive(true).create(parent);
            made.map_err(|e| FolderError::new("make", parent, e))?;
        }
        match builder.recursive(false).create(&self.path) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(e) => Err(FolderError::new("make", &self.path, e)),
        }
    }

    /// Writes a record whole, replacing the one before.
    ///
    /// # Errors
    /// If it cannot be written.
    ///
    /// # Durability
    /// Survives the death of any process, not a power cut.
    pub fn write<T: Serialize>(&self, name: &str, record: &T) -> Result<(), FolderError> {
        let path = self.file(name);
        let new = self.file(&format!("{name}.new"));
        let written = private_file(&new)
            .and_then(|mut file| file.write_all(&to_bytes(record)))
            .and_then(|()| fs::rename(&new, &path));
        written.map_err(|e| FolderError::new("write", &path, e))
    }

    /// Reads a record; `None` if it is not there.
    ///
    /// # Errors
    /// If it cannot be read or is no record of its kind.
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, FolderError> {
        let path = self.file(name);
        let error = |e| FolderError::new("read", &path, e);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(error(e)),
        };
        let mut bytes = Vec::new();
        file.take(RECORD_BYTES_MAX)
            .read_to_end(&mut bytes)
            .map_err(error)?;
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|e| error(e.into()))
    }

    /// Sets aside the room that [`Folder::persist_exit`] will need.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn reserve_exit(&self) -> Result<(), FolderError> {
        let path = self.file(EXIT_NEW);
        private_file(&path)
            .and_then(|mut file| file.write_all(&[b' '; EXIT_BYTES]))
            .map_err(|e| FolderError::new("reserve", &path, e))
    }

    /// Writes how the container ended.
    ///
    /// # Errors
    /// If it cannot be written; may be called again.
    ///
    /// # Durability
    /// On disk on return.
    pub(crate) fn persist_exit(&self, record: &ExitRecord) -> Result<(), FolderError> {
        let new = self.file(EXIT_NEW);
        let mut bytes = to_bytes(record);
        bytes.resize(EXIT_BYTES.max(bytes.len()), b' ');
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&new)
            .and_then(|file| file.write_all_at(&bytes, 0).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&new, self.file(EXIT)))
            .and_then(|()| File::open(&self.path)?.sync_all());
        written.map_err(|e| FolderError::new("write", &self.file(EXIT), e))
    }

    /// Takes the start lock; whoever inherits the file holds it too.
    ///
    /// # Errors
    /// If it cannot be made or is held.
    pub(crate) fn lock_start(&self) -> Result<File, FolderError> {
        let path = self.file(START_LOCK);
        let error = |e: io::Error| FolderError::new("lock", &path, e);
        let file = private_file(&path).map_err(error)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|e| error(e.into()))?;
        Ok(file)
    }

    /// Whether a start is under way: the manager or the shim holds the start lock.
    ///
    /// # Errors
    /// If the lock cannot be tried.
    pub(crate) fn is_starting(&self) -> Result<bool, FolderError> {
        self.try_lock(FlockOperation::NonBlockingLockShared)
    }

    /// Blocks until no start is under way.
    ///
    /// # Errors
    /// If the lock cannot be waited for.
    pub(crate) fn wait_start(&self) -> Result<(), FolderError> {
        self.try_lock(FlockOperation::LockShared).map(|_| ())
    }

    fn try_lock(&self, operation: FlockOperation) -> Result<bool, FolderError> {
        let path = self.file(START_LOCK);
        let error = |e: io::Error| FolderError::new("lock", &path, e);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(error(e)),
        };
        loop {
            match flock(&file, operation) {
                Ok(()) => {
                    // Not left to the close: a fork of ours that has yet to execute has a copy,
                    // and the next start would find the lock taken.
                    flock(&file, FlockOperation::Unlock).map_err(|e| error(e.into()))?;
                    return Ok(false);
                }
                Err(Errno::WOULDBLOCK) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(error(errno.into())),
            }
        }
    }
}

impl FolderError {
    fn new(act: &'static str, path: &Path, source: io::Error) -> Self {
        Self {
            act,
            path: path.to_owned(),
            source,
        }
    }
}

const EXIT_NEW: &str = "exit.json.new";

fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

fn to_bytes<T: Serialize>(record: &T) -> Vec<u8> {
    serde_json::to_vec_pretty(record).expect("our records have text keys and finite numbers")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::ExitStatus;

    fn record() -> ExitRecord {
        ExitRecord {
            status: ExitStatus::Signal(9),
            oom_killed: true,
            started_at: jiff::Timestamp::UNIX_EPOCH,
            ended_at: jiff::Timestamp::MAX,
            log_bytes_dropped: u64::MAX,
        }
    }

    #[test]
    fn an_exit_record_fits_its_reserved_room_and_reads_back() {
        let dir = tempfile::tempdir().expect("temp dir");
        let folder = Folder::at(dir.path().join("c"));
        assert!(folder.create().expect("made"));
        assert!(!folder.create().expect("there already"));
        folder.reserve_exit().expect("room");
        folder.persist_exit(&record()).expect("written");
        assert_eq!(folder.read(EXIT).expect("readable"), Some(record()));
        let length = fs::metadata(folder.file(EXIT)).expect("there").len();
        assert_eq!(
            length, EXIT_BYTES as u64,
            "the record outgrew what is reserved for it"
        );
    }

    #[test]
    fn a_torn_record_is_an_error_and_an_absent_one_is_none() {
        let dir = tempfile::tempdir().expect("temp dir");
        let folder = Folder::at(dir.path());
        assert_eq!(folder.read::<ExitRecord>(EXIT).expect("absent"), None);
        fs::write(folder.file(EXIT), b"{\"status\":").expect("torn");
        assert!(folder.read::<ExitRecord>(EXIT).is_err());
    }

    #[test]
    fn a_start_is_under_way_exactly_while_its_lock_is_held() {
        let dir = tempfile::tempdir().expect("temp dir");
        let folder = Folder::at(dir.path());
        assert!(!folder.is_starting().expect("no lock yet"));
        let lock = folder.lock_start().expect("locked");
        assert!(folder.is_starting().expect("tried"));
        drop(lock);
        assert!(!folder.is_starting().expect("tried"));
    }
}
