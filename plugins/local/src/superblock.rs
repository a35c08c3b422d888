//! What lies on an image, read from its first bytes.
//!
//! Owns the recognition of ext4 and xfs and of an image that is all zeros where every known
//! file system keeps its mark. Never writes.
//! Source: the kernel's Documentation/filesystems/ext4 and xfsprogs' `xfs_sb`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use uuid::Uuid;

use crate::record::FsKind;

/// How much is read: ext4's superblock lies at 1 KiB, and most others' marks below 4 KiB.
const HEAD_BYTES: usize = 4096;

const EXT_MAGIC_AT: usize = 1024 + 56;
const EXT_MAGIC: [u8; 2] = [0x53, 0xEF];
const EXT_STATE_AT: usize = 1024 + 58;
const EXT_UUID_AT: usize = 1024 + 104;
const EXT_BLOCKS_LOW_AT: usize = 1024 + 4;
const EXT_BLOCKS_HIGH_AT: usize = 1024 + 0x150;
const EXT_BLOCK_SHIFT_AT: usize = 1024 + 24;
/// A block is this many bytes shifted left; larger shifts than 6 are no ext4.
const EXT_BLOCK_BYTES_MIN: u64 = 1024;
const EXT_BLOCK_SHIFT_MAX: u32 = 6;
/// The kernel found errors; e2fsck has to run before the next mount.
const EXT_STATE_ERRORS: u8 = 0b10;
const XFS_MAGIC: [u8; 4] = *b"XFSB";
const XFS_UUID_AT: usize = 32;
const XFS_BLOCK_BYTES_AT: usize = 4;
const XFS_BLOCKS_AT: usize = 8;

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Only zeros.
    Blank,
    /// A file system that this plugin knows.
    Filesystem {
        fs: FsKind,
        uuid: Uuid,
        /// How much of the image it covers.
        bytes: u64,
        /// The kernel marked it as damaged.
        has_errors: bool,
    },
    /// Something else.
    Unknown,
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Found::Blank => f.write_str("nothing but zeros"),
            Found::Filesystem { fs, uuid, .. } => write!(f, "{fs} with UUID {uuid}"),
            Found::Unknown => f.write_str("something that is neither ext4 nor xfs"),
        }
    }
}

/// Reads the head of an image or device.
///
/// # Errors
/// The file cannot be opened or read.
pub fn probe(path: &Path) -> io::Result<Found> {
    let mut head = [0_u8; HEAD_BYTES];
    File::open(path)?.read_exact_at(&mut head, 0)?;
    Ok(recognise(&head))
}

fn recognise(head: &[u8; HEAD_BYTES]) -> Found {
    if head.iter().all(|byte| *byte == 0) {
        return Found::Blank;
    }
    if head[EXT_MAGIC_AT..EXT_MAGIC_AT + 2] == EXT_MAGIC {
        let little = |at| u32::from_le_bytes(bytes_at(head, at));
        let (low, high) = (little(EXT_BLOCKS_LOW_AT), little(EXT_BLOCKS_HIGH_AT));
        let blocks = u64::from(high) << 32 | u64::from(low);
        let shift = little(EXT_BLOCK_SHIFT_AT).min(EXT_BLOCK_SHIFT_MAX);
        return Found::Filesystem {
            fs: FsKind::Ext4,
            uuid: Uuid::from_bytes(bytes_at(head, EXT_UUID_AT)),
            bytes: blocks.saturating_mul(EXT_BLOCK_BYTES_MIN << shift),
            has_errors: head[EXT_STATE_AT] & EXT_STATE_ERRORS != 0,
        };
    }
    if head[..4] == XFS_MAGIC {
        let block_bytes = u32::from_be_bytes(bytes_at(head, XFS_BLOCK_BYTES_AT));
        let blocks = u64::from_be_bytes(bytes_at(head, XFS_BLOCKS_AT));
        return Found::Filesystem {
            fs: FsKind::Xfs,
            uuid: Uuid::from_bytes(bytes_at(head, XFS_UUID_AT)),
            bytes: blocks.saturating_mul(u64::from(block_bytes)),
            has_errors: false,
        };
    }
    Found::Unknown
}

fn bytes_at<const N: usize>(head: &[u8; HEAD_BYTES], at: usize) -> [u8; N] {
    head[at..at + N]
        .try_into()
        .expect("the head is longer than any offset here")
}
