//! A volume begins.
//!
//! Owns the order of acts: room, file system, record, sync, rename, sync. All of it happens
//! in a half-made folder; the rename makes it a volume. The names inside that folder need no
//! sync of their own: journaling file systems write them with the files they were made with.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};
use uuid::Uuid;

use super::{CREATING, Pool, PoolError, clear_folder};
use crate::mkfs;
use crate::record::{self, Content, FsKind, IMAGE_FILE, RECORD_FILE, VolumeRecord};
use crate::size::{self, SizeAsked};
use crate::steps::{Step, passed};

/// What a new volume shall carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentAsked {
    /// Raw bytes.
    Block,
    /// A file system; ext4 when none is named.
    Filesystem(Option<FsKind>),
}

/// A volume as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeAsked {
    /// The CSI name.
    pub name: String,
    /// How large.
    pub size: SizeAsked,
    pub content: ContentAsked,
    /// Without holding room for it.
    pub thin: bool,
    /// The parameters, to be kept.
    pub parameters: BTreeMap<String, String>,
}

impl ContentAsked {
    fn fs(self) -> Option<FsKind> {
        match self {
            ContentAsked::Block => None,
            ContentAsked::Filesystem(fs) => Some(fs.unwrap_or(FsKind::Ext4)),
        }
    }
}

impl Pool {
    /// Makes a volume, or finds the one that an earlier call made. The caller holds the
    /// volume's lock.
    ///
    /// # Durability
    /// The volume outlives a power cut on return: two syncs at the same time (image, record),
    /// then one (folder).
    ///
    /// # Errors
    /// No room, no fitting size, the name taken by something else, or a failing disk. Nothing
    /// is left behind.
    pub fn create(&self, asked: &VolumeAsked) -> Result<VolumeRecord, PoolError> {
        match self.get(&Self::id_of(&asked.name)) {
            Ok(record) => return same_or_different(record, asked),
            Err(PoolError::Unknown { .. }) => {}
            Err(error) => return Err(error),
        }
        let bytes = size::choose(asked.size, asked.content.fs())?;
        // A thin volume may be larger than what is left, never than the pool.
        let promised = if asked.thin { 0 } else { bytes };
        let measured = self.measure()?;
        if bytes > measured.pool_bytes {
            return Err(PoolError::AbovePool {
                asked: bytes,
                pool: measured.pool_bytes,
            });
        }
        self.books().promise(promised, measured)?;
        let made = self.make(&record_of(asked, bytes));
        let mut books = self.books();
        books.settle(promised);
        let record = made?;
        books.put(record.clone());
        Ok(record)
    }

    fn make(&self, record: &VolumeRecord) -> Result<VolumeRecord, PoolError> {
        let half = HalfMade::new(self.side_folder(CREATING, &record.id))?;
        passed(Step::CreateFolder);
        let image = half.path.join(IMAGE_FILE);
        take_room(&image, record)?;
        passed(Step::CreateReserved);
        if let Content::Filesystem { fs, formatted } = record.content {
            mkfs::format(&image, fs, formatted).map_err(PoolError::Format)?;
        }
        passed(Step::CreateFormatted);
        sync_both(&half.path, &image, record)?;
        passed(Step::CreateSynced);
        let folder = half.become_volume(&self.folder(&record.id))?;
        passed(Step::CreateRenamed);
        if let Err(error) = self.sync_names() {
            // Not listed and not certain: back to nothing, which the next start sweeps.
            let aside = self.side_folder(CREATING, &record.id);
            if fs::rename(&folder, &aside)
                .and_then(|()| clear_folder(&aside))
                .is_err()
            {
                tracing::error!(path = %folder.display(), "cannot undo a volume half made");
            }
            return Err(error);
        }
        passed(Step::CreateDurable);
        Ok(record.clone())
    }
}

fn record_of(asked: &VolumeAsked, bytes: u64) -> VolumeRecord {
    let content = match asked.content.fs() {
        None => Content::Block,
        Some(fs) => Content::Filesystem {
            fs,
            formatted: Uuid::new_v4(),
        },
    };
    let id = Pool::id_of(&asked.name);
    let mut record = VolumeRecord::new(id, asked.name.clone(), bytes, content);
    record.thin = asked.thin;
    record.parameters.clone_from(&asked.parameters);
    record
}

/// Whether the volume that has the name is the one that is asked for.
fn same_or_different(found: VolumeRecord, asked: &VolumeAsked) -> Result<VolumeRecord, PoolError> {
    let other_content = match (found.content, asked.content) {
        (Content::Block, ContentAsked::Block) => None,
        (Content::Block, ContentAsked::Filesystem(_)) => Some("as a block volume".to_owned()),
        (Content::Filesystem { fs, .. }, ContentAsked::Filesystem(asked))
            if asked.unwrap_or(FsKind::Ext4) == fs =>
        {
            None
        }
        (Content::Filesystem { fs, .. }, _) => Some(format!("{fs} on it")),
    };
    let other_size = (!asked.size.admits(found.capacity_bytes))
        .then(|| format!("{} bytes", found.capacity_bytes));
    let other_room = (found.thin != asked.thin).then(|| format!("thin={}", found.thin));
    match other_content.or(other_size).or(other_room) {
        None => Ok(found),
        Some(what) => Err(PoolError::Different {
            name: found.name,
            what,
        }),
    }
}

/// Gives the image its size, and holds the room for it unless it is thin.
fn take_room(image: &Path, record: &VolumeRecord) -> Result<(), PoolError> {
    let file = File::create_new(image);
    let file = file.map_err(|source| PoolError::File {
        act: "create",
        path: image.to_owned(),
        source,
    })?;
    extend(&file, image, 0..record.capacity_bytes, record.thin)
}

/// Makes the image longer; an image that has the length already stays as it is.
pub(super) fn extend(
    file: &File,
    image: &Path,
    bytes: std::ops::Range<u64>,
    thin: bool,
) -> Result<(), PoolError> {
    let asked = bytes.end - bytes.start;
    let done = match thin {
        true => file.set_len(bytes.end),
        false => fallocate(file, FallocateFlags::empty(), bytes.start, asked).map_err(Into::into),
    };
    let path = image.to_owned();
    done.map_err(|source| match source.kind() {
        io::ErrorKind::Unsupported => PoolError::CannotReserve { path },
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            PoolError::DiskFull {
                asked,
                path,
                source,
            }
        }
        _ => PoolError::File {
            act: "extend",
            path,
            source,
        },
    })
}

/// Syncs the image while the record is written and synced: one wait of the journal for both.
fn sync_both(folder: &Path, image: &Path, record: &VolumeRecord) -> Result<(), PoolError> {
    std::thread::scope(|scope| {
        let image_synced = scope.spawn(|| File::open(image)?.sync_all());
        record::write(folder, RECORD_FILE, record).map_err(PoolError::Record)?;
        image_synced
            .join()
            .expect("opening and syncing a file does not panic")
            .map_err(|source| PoolError::File {
                act: "sync",
                path: image.to_owned(),
                source,
            })
    })
}

/// A folder that is not a volume yet; removed again unless it becomes one.
struct HalfMade {
    path: PathBuf,
    is_volume: bool,
}

impl HalfMade {
    fn new(path: PathBuf) -> Result<Self, PoolError> {
        match fs::create_dir(&path) {
            Ok(()) => Ok(Self {
                path,
                is_volume: false,
            }),
            Err(source) => Err(PoolError::File {
                act: "create",
                path,
                source,
            }),
        }
    }

    fn become_volume(mut self, folder: &Path) -> Result<PathBuf, PoolError> {
        fs::rename(&self.path, folder).map_err(|source| PoolError::File {
            act: "give its name to",
            path: folder.to_owned(),
            source,
        })?;
        self.is_volume = true;
        Ok(folder.to_owned())
    }
}

impl Drop for HalfMade {
    fn drop(&mut self) {
        if self.is_volume {
            return;
        }
        if let Err(error) = clear_folder(&self.path) {
            let path = self.path.display();
            tracing::error!(%path, %error, "cannot remove a half-made volume");
        }
    }
}
