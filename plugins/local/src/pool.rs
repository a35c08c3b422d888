//! The volumes of this node: files in the state directory, and the books about them.
//!
//! Owns `<state>/volumes`:
//!
//! ```text
//! volumes/<id>/volume.json + data.img    a volume, complete
//! volumes/.creating-<id>-<nonce>/        not yet a volume; swept at start
//! volumes/.deleting-<id>-<nonce>/        no longer a volume; swept at start
//! ```
//!
//! A volume begins and ends with one rename of its folder, so after a kill at any point it is
//! either complete or not listed. The books in memory are read from the folders at start and
//! changed after the disk; a lock on the state directory keeps a second process out. Never
//! attaches or mounts anything, and never removes a name that is not its own.

mod books;
mod create;
mod grow;
mod remove;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sutler_host::lock::{Lock, LockError};
use uuid::Uuid;

pub use books::{Page, Space};
pub use create::{ContentAsked, VolumeAsked};

use crate::mkfs::MkfsError;
use crate::record::{self, IMAGE_FILE, NEW_RECORD_FILE, RECORD_FILE, RecordError, VolumeRecord};
use crate::size::{MIB, SizeError};
use books::Books;

const VOLUMES: &str = "volumes";
const LOCK: &str = "lock";
const CREATING: &str = ".creating-";
const DELETING: &str = ".deleting-";

/// Left to the rest of the host when no pool size is given: one part in this many …
const RESERVE_PART: u64 = 20;
/// … but no more than this.
const RESERVE_BYTES_MAX: u64 = 10 * 1024 * MIB;

/// Namespace of volume ids: the same CSI name gives the same id, for ever.
const ID_NAMESPACE: Uuid = Uuid::from_u128(0x6c_1f_d3_0a_52_4e_4b_7e_9d_3c_0f_6a_81_e2_57_b4);

/// The volumes of one state directory.
#[derive(Debug)]
pub struct Pool {
    volumes: PathBuf,
    /// Given by the operator; otherwise the file system minus a reserve.
    capacity_bytes: Option<u64>,
    books: Mutex<Books>,
    /// Open as long as this process owns the directory.
    _lock: Lock,
}

/// Why the pool did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// The state directory cannot be used.
    #[error("cannot prepare the state directory {path}")]
    Prepare {
        /// The directory or a part of it.
        path: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
    /// Another process owns the state directory.
    #[error("another sutler-local is at work on the state directory {path}")]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The room on the disk cannot be learnt.
    #[error("cannot ask for the free space at {path}")]
    Measure {
        /// The volumes folder.
        path: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
    /// The name is taken by a different volume.
    #[error("volume {name:?} exists with {what}")]
    Different {
        name: String,
        /// How it differs.
        what: String,
    },
    /// No size fits.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// More than the whole pool.
    #[error("{asked} bytes are more than the whole pool of {pool} bytes")]
    AbovePool { asked: u64, pool: u64 },
    /// More than is left.
    #[error("{asked} bytes asked, {available} available of {pool} in the pool")]
    Exhausted {
        asked: u64,
        /// Left.
        available: u64,
        pool: u64,
    },
    /// The disk filled up while the room was taken.
    #[error("no room for {asked} bytes at {path}; nothing was kept")]
    DiskFull {
        asked: u64,
        /// The image.
        path: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
    /// The file system under the pool cannot hold room.
    #[error("the file system at {path} cannot reserve room; parameter thin=true goes without")]
    CannotReserve {
        /// The image.
        path: PathBuf,
    },
    /// There is no such volume.
    #[error("volume {id} does not exist")]
    Unknown { id: String },
    /// The folder of the volume is there, but cannot be understood.
    #[error("volume {id} is damaged ({cause}); its files are left as they are")]
    Damaged {
        id: String,
        /// Why.
        cause: String,
    },
    /// An act on a file failed.
    #[error("cannot {act} {path}")]
    File {
        act: &'static str,
        /// The file.
        path: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
    /// The file system could not be made.
    #[error("cannot make the file system")]
    Format(#[source] MkfsError),
    /// The record could not be written.
    #[error("cannot keep the volume record")]
    Record(#[source] RecordError),
}

impl Pool {
    /// Takes the state directory over, sweeps what was half done and reads the volumes.
    ///
    /// # Errors
    /// The directory cannot be used, or another process owns it. A single volume that cannot
    /// be read is not an error: it is left alone, logged, and named when it is asked for.
    pub fn open(state_dir: &Path, capacity_bytes: Option<u64>) -> Result<Self, PoolError> {
        let volumes = state_dir.join(VOLUMES);
        let prepare = |source| PoolError::Prepare {
            path: volumes.clone(),
            source,
        };
        fs::create_dir_all(&volumes).map_err(prepare)?;
        let lock = lock(state_dir)?;
        let books = sweep_and_read(&volumes).map_err(prepare)?;
        Ok(Self {
            volumes,
            capacity_bytes,
            books: Mutex::new(books),
            _lock: lock,
        })
    }

    /// The volume with this id.
    ///
    /// # Errors
    /// Unknown, or its record is damaged.
    pub fn get(&self, id: &str) -> Result<VolumeRecord, PoolError> {
        self.books().get(id)
    }

    /// Whether there is a volume with this id, damaged ones included.
    pub fn has(&self, id: &str) -> bool {
        self.books().has(id)
    }

    /// At most `max` volumes in the order of their ids, after the one named.
    pub fn list(&self, after: Option<&str>, max: usize) -> Page {
        self.books().page(after, max)
    }

    /// How much room there is.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn space(&self) -> Result<Space, PoolError> {
        let measured = self.measure()?;
        Ok(self.books().space(measured))
    }

    /// The image of a volume.
    pub fn image(&self, id: &str) -> PathBuf {
        self.folder(id).join(IMAGE_FILE)
    }

    /// The id of the volume with this CSI name.
    pub fn id_of(name: &str) -> String {
        Uuid::new_v5(&ID_NAMESPACE, name.as_bytes()).to_string()
    }

    fn folder(&self, id: &str) -> PathBuf {
        self.volumes.join(id)
    }

    /// A name for a folder that is not a volume; never used twice, so that a tool which
    /// outlived a killed plugin cannot meet the next attempt's file.
    fn side_folder(&self, prefix: &str, id: &str) -> PathBuf {
        self.volumes
            .join(format!("{prefix}{id}-{}", Uuid::new_v4().simple()))
    }

    /// Changes to the books are single inserts and removals: a panic leaves none half done.
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The size of the pool and what the disk has left for it, in bytes.
    fn measure(&self) -> Result<books::Measured, PoolError> {
        let stat = rustix::fs::statvfs(&self.volumes).map_err(|error| PoolError::Measure {
            path: self.volumes.clone(),
            source: error.into(),
        })?;
        let total = stat.f_blocks.saturating_mul(stat.f_frsize);
        let left = stat.f_bavail.saturating_mul(stat.f_frsize);
        let reserve = match self.capacity_bytes {
            Some(_) => 0,
            None => (total / RESERVE_PART).min(RESERVE_BYTES_MAX),
        };
        Ok(books::Measured {
            pool_bytes: self.capacity_bytes.unwrap_or(total - reserve),
            disk_bytes: left.saturating_sub(reserve),
        })
    }

    /// Makes every rename in the volumes folder so far last.
    fn sync_names(&self) -> Result<(), PoolError> {
        sync_folder(&self.volumes)
    }
}

fn sync_folder(path: &Path) -> Result<(), PoolError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| PoolError::File {
            act: "sync",
            path: path.to_owned(),
            source,
        })
}

fn lock(state_dir: &Path) -> Result<Lock, PoolError> {
    let path = state_dir.join(LOCK);
    Lock::take(&path).map_err(|error| match error {
        LockError::Held { .. } => PoolError::Locked {
            path: state_dir.to_owned(),
        },
        LockError::File { source } => PoolError::Prepare { path, source },
    })
}

fn sweep_and_read(volumes: &Path) -> io::Result<Books> {
    let mut books = Books::default();
    for entry in fs::read_dir(volumes)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(CREATING) || name.starts_with(DELETING) {
            sweep(&entry.path());
        } else if Uuid::try_parse(&name).is_err() {
            tracing::warn!(path = %entry.path().display(), "not ours, left as it is");
        } else {
            read_volume(&mut books, &entry.path(), name);
        }
    }
    Ok(books)
}

fn sweep(folder: &Path) {
    match clear_folder(folder) {
        Ok(()) => tracing::info!(path = %folder.display(), "swept what was half done"),
        Err(error) => tracing::error!(path = %folder.display(), %error, "cannot sweep"),
    }
}

fn read_volume(books: &mut Books, folder: &Path, id: String) {
    let record = match record::read(folder) {
        Ok(record) => record,
        Err(error) => {
            let cause = sutler_telemetry::chain(&error);
            tracing::error!(volume_id = %id, %cause, "a volume cannot be read; left as it is");
            return books.put_damaged(id, cause);
        }
    };
    match fs::metadata(folder.join(IMAGE_FILE)) {
        Ok(meta) if meta.len() >= record.capacity_bytes => books.put(record),
        Ok(meta) => {
            let (has, needs) = (meta.len(), record.capacity_bytes);
            let cause = format!("the image has {has} bytes of {needs}");
            tracing::error!(volume_id = %id, %cause, "a volume is short; left as it is");
            books.put_damaged(id, cause);
        }
        Err(error) => {
            let cause = format!("the image cannot be found: {error}");
            tracing::error!(volume_id = %id, %cause, "a volume is lost; left as it is");
            books.put_damaged(id, cause);
        }
    }
}

/// Removes a folder of ours with the files of ours; anything else in it keeps it alive.
fn clear_folder(folder: &Path) -> io::Result<()> {
    for file in [IMAGE_FILE, RECORD_FILE, NEW_RECORD_FILE] {
        match fs::remove_file(folder.join(file)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    fs::remove_dir(folder)
}

#[cfg(test)]
mod tests;
