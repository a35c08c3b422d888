//! A volume that is in use takes over its new size.
//!
//! Owns the second half of growing: the device and the file system. Never changes the image.

use std::path::Path;

use crate::host::Volume;
use crate::mkfs::{self, MkfsError};
use crate::publish::Located;
use crate::record::{Content, FsKind};
use crate::steps::{Step, passed};
use crate::superblock::{self, Found};
use sutler_host::loopdev::LoopError;

/// Why the new size could not be taken over.
#[derive(Debug, thiserror::Error)]
pub enum ExpandError {
    /// The image has not grown that far.
    #[error("{asked} bytes asked, but volume {id} has {has}; it has to grow in the pool first")]
    BackEndSmaller {
        /// The volume.
        id: String,
        asked: u64,
        /// Its size.
        has: u64,
    },
    /// The kernel does not let this process grow a mounted ext4.
    #[error(
        "volume {id}: growing a mounted ext4 needs CAP_SYS_RESOURCE, which this plugin was not \
         given; the device has the new size, and the file system takes it at the next stage: \
         stop its holders once"
    )]
    NotAllowed {
        /// The volume.
        id: String,
    },
    /// The image cannot be read.
    #[error("cannot read the size of the file system on volume {id}")]
    Probe {
        /// The volume.
        id: String,
        /// The kernel's word.
        source: std::io::Error,
    },
    /// The file system did not grow.
    #[error("the file system did not grow")]
    Grow(#[source] MkfsError),
    /// The loop device failed.
    #[error("the loop device failed")]
    Loop(#[from] LoopError),
}

/// Lets device and file system fill the image; gives the size in bytes.
///
/// # Errors
/// The image is smaller than asked, or device or file system refused.
pub fn expand(volume: &Volume, located: &Located, required: u64) -> Result<u64, ExpandError> {
    let has = volume.record.capacity_bytes;
    if required > has {
        let id = volume.record.id.clone();
        return Err(ExpandError::BackEndSmaller {
            id,
            asked: required,
            has,
        });
    }
    let (device, mounted_at): (_, Option<&Path>) = match located {
        Located::Mounted { device, mount } => (device, Some(&mount.target)),
        Located::Node { device } | Located::MayBeStaged { device } => (device, None),
    };
    device.refresh_size()?;
    passed(Step::ExpandDevice);
    if let (Content::Filesystem { fs, .. }, Some(target)) = (volume.record.content, mounted_at) {
        if is_to_grow(volume, fs)? {
            mkfs::grow(fs, &device.path(), target).map_err(ExpandError::Grow)?;
        }
        passed(Step::ExpandFilesystem);
    }
    Ok(has)
}

/// Always, except where it is not allowed: there the size on the disk decides, which nobody
/// can have changed since the mount.
fn is_to_grow(volume: &Volume, fs: FsKind) -> Result<bool, ExpandError> {
    if fs != FsKind::Ext4 || mkfs::may_grow_mounted_ext4() {
        return Ok(true);
    }
    let id = || volume.record.id.clone();
    match superblock::probe(&volume.image) {
        Ok(Found::Filesystem { bytes, .. }) if mkfs::fills(bytes, volume.record.capacity_bytes) => {
            Ok(false)
        }
        Ok(_) => Err(ExpandError::NotAllowed { id: id() }),
        Err(source) => Err(ExpandError::Probe { id: id(), source }),
    }
}
