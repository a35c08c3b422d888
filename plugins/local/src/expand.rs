//! A volume that is in use takes over its new size.
//!
//! Owns the second half of growing: the device and the file system. Never changes the image.

use std::path::Path;

use crate::loopdev::LoopError;
use crate::machine::Volume;
use crate::mkfs::{self, MkfsError};
use crate::publish::Located;
use crate::record::Content;
use crate::steps::{Step, passed};

/// Why the new size could not be taken over.
#[derive(Debug, thiserror::Error)]
pub enum ExpandError {
    /// The image has not grown that far.
    #[error("{asked} bytes asked, but volume {id} has {has}; it has to grow in the pool first")]
    BackEndSmaller {
        /// The volume.
        id: String,
        /// Asked.
        asked: u64,
        /// Its size.
        has: u64,
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
        return Err(ExpandError::BackEndSmaller { id, asked: required, has });
    }
    let (device, mounted_at): (_, Option<&Path>) = match located {
        Located::Mounted { device, mount } => (device, Some(&mount.target)),
        Located::Node { device } | Located::MayBeStaged { device } => (device, None),
    };
    device.refresh_size()?;
    passed(Step::ExpandDevice);
    if let (Content::Filesystem { fs, .. }, Some(target)) = (volume.record.content, mounted_at) {
        mkfs::grow(fs, &device.path(), target).map_err(ExpandError::Grow)?;
        passed(Step::ExpandFilesystem);
    }
    Ok(has)
}
