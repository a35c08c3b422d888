//! Making, checking and growing file systems.
//!
//! Owns the options. Never formats anything but the image of a volume that nobody has been
//! told of: [`format`] demands an image that is blank.
//!
//! mke2fs syncs its device four times. So ext4 is made on a file in memory, where a sync
//! costs nothing, and the parts that were written are copied; the caller syncs once. This
//! takes 0.6 MiB of memory for 1 GiB and 16 MiB for 1 TiB. mkfs.xfs may clear a log of 2 GiB,
//! too much for memory, and syncs twice: it works on the image itself.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, SeekFrom, memfd_create, seek};
use rustix::thread::CapabilitySet;
use uuid::Uuid;

use crate::record::FsKind;
use crate::superblock::{self, Found};
use crate::tools::{self, ToolError};

/// Copied at a time.
const COPY_BYTES: usize = 256 * 1024;

/// ext4 leaves a last group unused that is too small for its own tables: about 600 blocks.
const EXT4_TAIL_BYTES: u64 = 4 * 1024 * 1024;

/// e2fsck: 1 is "errors corrected"; higher ones leave the file system damaged.
const E2FSCK_CORRECTED: i32 = 1;

/// Why a file system could not be made, checked or grown.
#[derive(Debug, thiserror::Error)]
pub enum MkfsError {
    /// The image cannot be read.
    #[error("cannot read {path}")]
    Probe {
        /// The image.
        path: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
    /// The image is not blank.
    #[error("will not format {path}: it holds {found}")]
    NotBlank {
        /// The image.
        path: PathBuf,
        /// What it holds.
        found: Found,
    },
    /// The file system made in memory could not be copied to the image.
    #[error("cannot copy the new file system to {path}")]
    Copy {
        /// The image.
        path: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
    /// The tool failed.
    #[error("on {path}")]
    Tool {
        /// The image, device or mount point.
        path: PathBuf,
        /// What happened.
        source: ToolError,
    },
}

/// Makes a file system with this UUID on a blank image.
///
/// # Durability
/// None: the caller syncs the image.
///
/// # Errors
/// The image holds something, the tool failed, or the disk is full.
pub fn format(image: &Path, fs: FsKind, uuid: Uuid) -> Result<(), MkfsError> {
    match superblock::probe(image) {
        Ok(Found::Blank) => {}
        Ok(found) => {
            return Err(MkfsError::NotBlank {
                path: image.to_owned(),
                found,
            });
        }
        Err(source) => {
            return Err(MkfsError::Probe {
                path: image.to_owned(),
                source,
            });
        }
    }
    let uuid = uuid.to_string();
    match fs {
        FsKind::Ext4 => format_ext4(image, &uuid),
        FsKind::Xfs => format_xfs(image, &uuid),
    }
}

fn format_ext4(image: &Path, uuid: &str) -> Result<(), MkfsError> {
    let copy = |source| MkfsError::Copy {
        path: image.to_owned(),
        source,
    };
    let (target, scratch) = ext4_scratch(image).map_err(copy)?;
    let name = format!("/proc/{}/fd/{}", std::process::id(), scratch.as_raw_fd());
    // The image is fresh, so the kernel need not clear inode tables and journal later.
    let prepared = "nodiscard,assume_storage_prezeroed=1";
    let args = [
        "-q", "-F", "-b", "4096", "-m", "0", "-U", uuid, "-E", prepared, &name,
    ];
    tools::run("mkfs.ext4", args, 0).map_err(|source| MkfsError::Tool {
        path: image.to_owned(),
        source,
    })?;
    copy_written(&scratch, &target).map_err(copy)
}

/// The image, and a file in memory as long as it.
fn ext4_scratch(image: &Path) -> io::Result<(File, File)> {
    let target = File::options().write(true).open(image)?;
    let scratch = File::from(memfd_create("sutler-local-mkfs", MemfdFlags::CLOEXEC)?);
    scratch.set_len(target.metadata()?.len())?;
    Ok((target, scratch))
}

/// Copies what was written to a sparse file; the rest of the target is zeros already.
fn copy_written(from: &File, to: &File) -> io::Result<()> {
    let mut buffer = vec![0_u8; COPY_BYTES];
    let mut at = 0;
    // Bounded by the length of the file: each turn moves `at` forward.
    while let Some(start) = next_data(from, at)? {
        let end = seek(from, SeekFrom::Hole(start))?;
        at = start;
        while at < end {
            let length = usize::try_from(end - at).map_or(COPY_BYTES, |n| n.min(COPY_BYTES));
            from.read_exact_at(&mut buffer[..length], at)?;
            to.write_all_at(&buffer[..length], at)?;
            at += length as u64;
        }
    }
    Ok(())
}

fn next_data(file: &File, at: u64) -> io::Result<Option<u64>> {
    match seek(file, SeekFrom::Data(at)) {
        Ok(start) => Ok(Some(start)),
        Err(rustix::io::Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn format_xfs(image: &Path, uuid: &str) -> Result<(), MkfsError> {
    let id = format!("uuid={uuid}");
    let name = image.as_os_str();
    // 4 KiB sectors mount on disks of 512-byte sectors and of 4 KiB sectors.
    let args = ["-q", "-K", "-s", "size=4096", "-m", &id].map(AsRef::as_ref);
    tools::run("mkfs.xfs", args.into_iter().chain([name]), 0).map_err(|source| MkfsError::Tool {
        path: image.to_owned(),
        source,
    })
}

/// Repairs an ext4 image that the kernel marked as damaged and that nobody uses.
///
/// # Errors
/// Damage is left, or the check could not run.
pub(crate) fn check_ext4(image: &Path) -> Result<(), MkfsError> {
    tools::run(
        "e2fsck",
        ["-p".as_ref(), image.as_os_str()],
        E2FSCK_CORRECTED,
    )
    .map_err(|source| MkfsError::Tool {
        path: image.to_owned(),
        source,
    })
}

/// Lets an ext4 file system that nobody uses fill its image.
///
/// # Errors
/// The check found damage that it cannot repair, or the tool failed.
pub(crate) fn grow_unused_ext4(image: &Path) -> Result<(), MkfsError> {
    let on_image = |source| MkfsError::Tool {
        path: image.to_owned(),
        source,
    };
    // resize2fs insists on a full check.
    let check = ["-f".as_ref(), "-p".as_ref(), image.as_os_str()];
    tools::run("e2fsck", check, E2FSCK_CORRECTED).map_err(on_image)?;
    tools::run("resize2fs", [image], 0).map_err(on_image)
}

/// Whether a file system of this size is as large as its image lets it be.
pub fn fills(fs_bytes: u64, image_bytes: u64) -> bool {
    fs_bytes.saturating_add(EXT4_TAIL_BYTES) > image_bytes
}

/// Whether the kernel lets this process grow a mounted ext4.
/// Source: the kernel's `ext4_resize_begin`.
pub fn may_grow_mounted_ext4() -> bool {
    let sets = rustix::thread::capabilities(None);
    sets.is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_RESOURCE))
}

/// Lets a mounted file system fill its device.
///
/// # Errors
/// The tool failed; the file system keeps its size and works.
pub fn grow(fs: FsKind, device: &Path, mounted_at: &Path) -> Result<(), MkfsError> {
    let (tool, on) = match fs {
        FsKind::Ext4 => ("resize2fs", device),
        FsKind::Xfs => ("xfs_growfs", mounted_at),
    };
    tools::run(tool, [on], 0).map_err(|source| MkfsError::Tool {
        path: on.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests;
