//! What is written about a volume beside its image, and how it gets onto the disk.
//!
//! Owns `volume.json` and its format. Never decides what to write: the pool does.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// File name of the record inside the volume's folder.
pub(crate) const RECORD_FILE: &str = "volume.json";
/// File name of a record that is about to replace the old one.
pub(crate) const NEW_RECORD_FILE: &str = "volume.json.new";
/// File name of the image inside the volume's folder.
pub const IMAGE_FILE: &str = "data.img";

/// The format this program writes; a record with a higher one is refused.
const FORMAT: u32 = 1;
/// Longest record that is read; ours are below 2 KiB plus a name of 128 bytes.
const RECORD_BYTES_MAX: u64 = 64 * 1024;

/// A file system this plugin makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FsKind {
    /// ext4, the default.
    Ext4,
    Xfs,
}

impl FsKind {
    /// Both, the default first.
    pub const ALL: [FsKind; 2] = [FsKind::Ext4, FsKind::Xfs];

    /// The kernel's name, which is also CSI's `fs_type`.
    pub const fn name(self) -> &'static str {
        match self {
            FsKind::Ext4 => "ext4",
            FsKind::Xfs => "xfs",
        }
    }
}

impl fmt::Display for FsKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a volume carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Content {
    /// Bytes that only its holder understands.
    Block,
    /// A file system that we made.
    Filesystem {
        fs: FsKind,
        /// Its UUID; the volume is never formatted again.
        formatted: Uuid,
    },
}

/// Everything known of a volume that its image cannot say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeRecord {
    /// Version of this format.
    pub format: u32,
    /// The volume id, which is also the folder's name.
    pub id: String,
    /// The name in CreateVolume.
    pub name: String,
    /// Size in bytes.
    pub capacity_bytes: u64,
    /// What it carries.
    pub content: Content,
    /// True when no room on the disk is held for it.
    pub thin: bool,
    /// The parameters in CreateVolume.
    pub parameters: BTreeMap<String, String>,
    /// Seconds since 1970.
    pub created_unix_s: u64,
}

impl VolumeRecord {
    /// A record of the present format.
    pub fn new(id: String, name: String, capacity_bytes: u64, content: Content) -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self {
            format: FORMAT,
            id,
            name,
            capacity_bytes,
            content,
            thin: false,
            parameters: BTreeMap::new(),
            created_unix_s: since.map_or(0, |age| age.as_secs()),
        }
    }
}

/// Why a record could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file cannot be read.
    #[error("cannot read the volume record {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
    /// The file is no record.
    #[error("the volume record {path} is damaged")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The file was written by a newer version.
    #[error("the volume record {path} has format {found}; this version reads up to {FORMAT}")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The file speaks of another volume than its folder.
    #[error("the volume record {path} speaks of volume {found}")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The id in it.
        found: String,
    },
    /// The file cannot be written.
    #[error("cannot write the volume record {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
}

/// Reads the record of the volume whose folder this is.
///
/// # Errors
/// Unreadable, damaged, newer, or about another volume than the folder's name says.
pub fn read(folder: &Path) -> Result<VolumeRecord, RecordError> {
    let path = folder.join(RECORD_FILE);
    let read = |path: &Path| {
        let length = fs::metadata(path)?.len();
        match length <= RECORD_BYTES_MAX {
            true => fs::read(path),
            false => Err(io::Error::other(format!(
                "{length} bytes are too many for a record"
            ))),
        }
    };
    let bytes = read(&path).map_err(|source| RecordError::Read {
        path: path.clone(),
        source,
    })?;
    parse(&bytes, folder, path)
}

fn parse(bytes: &[u8], folder: &Path, path: PathBuf) -> Result<VolumeRecord, RecordError> {
    // The format first: a newer record may have fields that the strict reading refuses.
    #[derive(Deserialize)]
    struct Head {
        format: u32,
    }
    let head: Head = match serde_json::from_slice(bytes) {
        Ok(head) => head,
        Err(source) => return Err(RecordError::Parse { path, source }),
    };
    if head.format > FORMAT {
        return Err(RecordError::Newer {
            path,
            found: head.format,
        });
    }
    let record: VolumeRecord = match serde_json::from_slice(bytes) {
        Ok(record) => record,
        Err(source) => return Err(RecordError::Parse { path, source }),
    };
    match folder
        .file_name()
        .is_some_and(|name| name == record.id.as_str())
    {
        true => Ok(record),
        false => Err(RecordError::Foreign {
            path,
            found: record.id,
        }),
    }
}

/// Writes the record into the folder under `file_name`.
///
/// # Durability
/// The file's content is on the disk on return; its name is after the folder is synced.
///
/// # Errors
/// The kernel refused; the file may be there in part.
pub fn write(folder: &Path, file_name: &str, record: &VolumeRecord) -> Result<(), RecordError> {
    let path = folder.join(file_name);
    let mut bytes = serde_json::to_vec_pretty(record).expect("a record has only string keys");
    bytes.push(b'\n');
    let write = |path: &Path| {
        let mut file = File::create(path)?;
        file.write_all(&bytes)?;
        file.sync_all()
    };
    write(&path).map_err(|source| RecordError::Write { path, source })
}
