//! A volume becomes a device, and a mounted file system, on this node.
//!
//! Owns attaching and the mount at the staging path. Every step asks the kernel what is there
//! already, so a repeat after a kill goes on where the first call ended. Never formats.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use uuid::Uuid;

use crate::host::Volume;
use crate::mkfs::{self, MkfsError};
use crate::record::{Content, FsKind};
use crate::steps::{Step, passed};
use crate::superblock::{self, Found};
use sutler_host::loopdev::{self, Lifetime, Loop, LoopError};
use sutler_host::mounts::{self, MountError, MountTable};

/// Mounts on top of each other at one path that one call takes away.
pub(crate) const LAYERS_MAX: usize = 16;

/// How long an unmounted volume's device may take to go: something may look at a new disk
/// (udev, a monitor), and a container that starts holds a copy of every mount of the host for
/// the milliseconds until it has taken them down.
const DETACH_PATIENCE: Duration = Duration::from_secs(2);

/// How long a mount may be busy before a call says so.
pub(crate) const BUSY_PATIENCE: Duration = Duration::from_secs(2);

/// How a volume is to be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// As a block device.
    Block,
    /// As a mounted file system.
    Mount {
        /// Which, if that matters.
        fs: Option<FsKind>,
        /// Mount options.
        options: Vec<String>,
    },
}

/// Why a volume could not be staged or unstaged.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The volume was made for another use.
    #[error("volume {id} carries {has}, which cannot be used as {asked}")]
    WrongAccess {
        /// The volume.
        id: String,
        /// What it carries.
        has: &'static str,
        asked: &'static str,
    },
    /// The staging path is not there.
    #[error("the staging path {path} cannot be used")]
    NoPath {
        path: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
    /// Something else is mounted there.
    #[error("{path} is a mount of something else than volume {id}")]
    Occupied {
        path: PathBuf,
        /// The volume.
        id: String,
    },
    /// The image does not carry the file system that was made on it.
    #[error(
        "volume {id} must carry {fs} with UUID {expected}, but {image} holds {found}; \
         refusing to use or to format it"
    )]
    NotTheFilesystem {
        /// The volume.
        id: String,
        /// The file system of the record.
        fs: FsKind,
        expected: Uuid,
        image: PathBuf,
        /// What it holds.
        found: Found,
    },
    /// The volume still appears at a target.
    #[error("volume {id} is still published at {target}")]
    Published {
        /// The volume.
        id: String,
        target: PathBuf,
    },
    /// The volume is attached.
    #[error("volume {id} is in use: {how}")]
    InUse {
        /// The volume.
        id: String,
        /// Device or mount.
        how: String,
    },
    /// The image cannot be read.
    #[error("cannot read {path}")]
    ReadImage {
        /// The image.
        path: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
    /// The file system is damaged and could not be repaired, or could not be grown.
    #[error("cannot check or grow the file system before its mount")]
    Prepare(#[source] MkfsError),
    /// The loop device failed.
    #[error("the loop device failed")]
    Loop(#[from] LoopError),
    /// The mount failed.
    #[error("mounting failed")]
    Mount(#[from] MountError),
}

/// Attaches the volume and mounts its file system at the staging path.
///
/// # Errors
/// The volume is of another kind, its file system is not the one we made, the path is taken
/// or absent, or the kernel refused. A device attached for a failed mount goes by itself.
pub fn stage(volume: &Volume, staging: &Path, access: &Access) -> Result<(), StageError> {
    check_access(volume, access)?;
    let no_path = |source| StageError::NoPath {
        path: staging.to_owned(),
        source,
    };
    let staging = fs::canonicalize(staging).map_err(no_path)?;
    match (volume.record.content, access) {
        (Content::Filesystem { fs, formatted }, Access::Mount { options, .. }) => {
            stage_mount(volume, &staging, (fs, formatted), options)
        }
        (Content::Filesystem { .. } | Content::Block, Access::Block | Access::Mount { .. }) => {
            stage_block(volume)
        }
    }
}

fn stage_block(volume: &Volume) -> Result<(), StageError> {
    if loopdev::find(&volume.image)?.is_none() {
        loopdev::attach(&volume.image, Lifetime::UntilDetached)?;
        passed(Step::StageAttached);
    }
    Ok(())
}

fn stage_mount(
    volume: &Volume,
    staging: &Path,
    made: (FsKind, Uuid),
    options: &[String],
) -> Result<(), StageError> {
    let attached = loopdev::find(&volume.image)?;
    let dev = attached.as_ref().map(Loop::dev);
    if let Some(mount) = MountTable::read()?.at(staging) {
        return match Some(mount.dev) == dev {
            true => Ok(()),
            false => Err(occupied(volume, staging)),
        };
    }
    check_filesystem(volume, made, attached.is_some())?;
    let device = match attached {
        Some(device) => device,
        None => loopdev::attach(&volume.image, Lifetime::UntilUnused)?,
    };
    passed(Step::StageAttached);
    mounts::mount_device(&device.path(), staging, made.0.name(), options)?;
    passed(Step::StageMounted);
    Ok(())
}

/// Refuses an image that is not as we made it; repairs and grows ext4 that nobody uses.
fn check_filesystem(
    volume: &Volume,
    (fs, expected): (FsKind, Uuid),
    in_use: bool,
) -> Result<(), StageError> {
    let found = superblock::probe(&volume.image).map_err(|source| StageError::ReadImage {
        path: volume.image.clone(),
        source,
    })?;
    match found {
        Found::Filesystem {
            fs: of,
            uuid,
            bytes,
            has_errors,
        } if (of, uuid) == (fs, expected) => {
            if fs == FsKind::Ext4 && !in_use {
                prepare_ext4(volume, bytes, has_errors).map_err(StageError::Prepare)?;
            }
            Ok(())
        }
        Found::Blank | Found::Unknown | Found::Filesystem { .. } => {
            let (id, image) = (volume.record.id.clone(), volume.image.clone());
            let error = StageError::NotTheFilesystem {
                id,
                fs,
                expected,
                image,
                found,
            };
            tracing::error!(volume_id = %volume.record.id, "{error}");
            Err(error)
        }
    }
}

/// What has to be done to ext4 before it is mounted. Growing is left to the mounted file
/// system, which does it in its journal, unless this process is not allowed to.
fn prepare_ext4(volume: &Volume, bytes: u64, has_errors: bool) -> Result<(), MkfsError> {
    if has_errors {
        tracing::warn!(volume_id = %volume.record.id, "marked as damaged, checking it");
        mkfs::check_ext4(&volume.image)?;
    }
    if !mkfs::fills(bytes, volume.record.capacity_bytes) && !mkfs::may_grow_mounted_ext4() {
        tracing::info!(volume_id = %volume.record.id, "growing before the mount");
        mkfs::grow_unused_ext4(&volume.image)?;
    }
    Ok(())
}

/// Says whether the volume can be used like this at all.
///
/// # Errors
/// It carries something else.
pub(crate) fn check_access(volume: &Volume, access: &Access) -> Result<(), StageError> {
    let (has, asked) = match (volume.record.content, access) {
        (Content::Block, Access::Block) => return Ok(()),
        (Content::Block, Access::Mount { .. }) => ("a raw block device", "a mounted file system"),
        (Content::Filesystem { fs, .. }, Access::Block) => (fs.name(), "a raw block device"),
        (Content::Filesystem { fs, .. }, Access::Mount { fs: asked, .. }) => match asked {
            Some(asked) if *asked != fs => (fs.name(), asked.name()),
            Some(_) | None => return Ok(()),
        },
    };
    Err(StageError::WrongAccess {
        id: volume.record.id.clone(),
        has,
        asked,
    })
}

/// Unmounts the staging path and gives the device back; what is gone already is fine.
///
/// # Errors
/// The volume still appears at a target, the path carries something else, or is busy.
pub fn unstage(volume: &Volume, staging: &Path) -> Result<(), StageError> {
    let Some(device) = loopdev::find(&volume.image)? else {
        return nothing_at(staging, &volume.record.id);
    };
    match volume.record.content {
        Content::Block => {
            let node = device.path();
            if let Some(mount) = MountTable::read()?.of_node(&node).next() {
                return Err(published(volume, &mount.target));
            }
        }
        Content::Filesystem { .. } => {
            unmount_staged(volume, staging, device.dev())?;
            passed(Step::UnstageUnmounted);
            if MountTable::read()?.of_device(device.dev()).next().is_some() {
                return Ok(());
            }
        }
    }
    device.detach()?;
    passed(Step::UnstageDetached);
    wait_given_back(volume)
}

/// The answer means that nothing holds the bytes any more. A copy of the mount that stays, in
/// the namespace of some service of the host, does not keep the volume from going down: no
/// other node can have it, and its removal is refused as long as the device is there.
fn wait_given_back(volume: &Volume) -> Result<(), StageError> {
    if let Some(left) = loopdev::wait_detached(&volume.image, DETACH_PATIENCE)? {
        tracing::warn!(
            volume_id = %volume.record.id,
            device = %left.path().display(),
            "unstaged, but some process keeps the device, perhaps in its own mount namespace"
        );
    }
    Ok(())
}

/// Nothing of ours can be mounted without a device: all is well unless a mount is there.
///
/// # Errors
/// Something else is mounted there.
pub(crate) fn nothing_at(staging: &Path, volume_id: &str) -> Result<(), StageError> {
    let Ok(path) = mounts::resolve(staging) else {
        return Ok(());
    };
    match MountTable::read()?.at(&path) {
        None => Ok(()),
        Some(_) => Err(StageError::Occupied {
            path,
            id: volume_id.to_owned(),
        }),
    }
}

fn unmount_staged(volume: &Volume, staging: &Path, dev: u64) -> Result<(), StageError> {
    let Ok(staging) = mounts::resolve(staging) else {
        return Ok(());
    };
    let table = MountTable::read()?;
    match table.at(&staging) {
        None => return Ok(()),
        Some(mount) if mount.dev != dev => return Err(occupied(volume, &staging)),
        Some(_) => {}
    }
    if let Some(other) = table.of_device(dev).find(|mount| mount.target != staging) {
        return Err(published(volume, &other.target));
    }
    let layers = table.of_device(dev).count().min(LAYERS_MAX);
    for _ in 0..layers {
        mounts::unmount_soon(&staging, BUSY_PATIENCE)?;
    }
    Ok(())
}

/// Makes sure that nobody uses the volume, so that it can be removed.
///
/// # Errors
/// It is mounted or attached.
pub(crate) fn ensure_unused(id: &str, image: &Path) -> Result<(), StageError> {
    let id = id.to_owned();
    // An image that somebody removed by hand may live on in its device.
    if let Some(device) = loopdev::wait_removed_detached(image, DETACH_PATIENCE)? {
        let how = format!(
            "attached as {}, though its image was removed",
            device.path().display()
        );
        return Err(StageError::InUse { id, how });
    }
    let Some(device) = loopdev::find(image)? else {
        return Ok(());
    };
    let (node, dev) = (device.path(), device.dev());
    drop(device);
    let table = MountTable::read()?;
    if let Some(mount) = table.of_device(dev).chain(table.of_node(&node)).next() {
        let how = format!("mounted at {}", mount.target.display());
        return Err(StageError::InUse { id, how });
    }
    match loopdev::wait_detached(image, DETACH_PATIENCE)? {
        None => Ok(()),
        Some(device) => {
            let how = format!(
                "attached as {}, which is staged, or mounted where this plugin cannot see it",
                device.path().display()
            );
            Err(StageError::InUse { id, how })
        }
    }
}

fn occupied(volume: &Volume, path: &Path) -> StageError {
    StageError::Occupied {
        path: path.to_owned(),
        id: volume.record.id.clone(),
    }
}

fn published(volume: &Volume, target: &Path) -> StageError {
    StageError::Published {
        id: volume.record.id.clone(),
        target: target.to_owned(),
    }
}
