//! A staged volume appears where its holder looks for it.
//!
//! Owns target paths: makes them, binds the volume to them, removes them. A target is removed
//! only when it is empty. Where a volume is published is read from the mount table.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::host::Volume;
use crate::record::Content;
use crate::stage::{BUSY_PATIENCE, LAYERS_MAX};
use crate::steps::{Step, passed};
use sutler_host::loopdev::{self, Loop, LoopError};
use sutler_host::mounts::{self, Mount, MountError, MountTable};

/// Where and how a volume shall appear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishAsked {
    /// Where it is staged.
    pub staging: PathBuf,
    /// Where it shall appear.
    pub target: PathBuf,
    /// Without writing.
    pub read_only: bool,
    /// At no second target.
    pub single_writer: bool,
}

/// A volume found at a path.
#[derive(Debug)]
pub enum Located {
    /// Its file system is mounted there.
    Mounted {
        /// The device under it.
        device: Loop,
        mount: Mount,
    },
    /// Its device node is there.
    Node { device: Loop },
    /// The path is a folder and the block volume is attached: it may be staged there, which
    /// leaves no mark.
    MayBeStaged { device: Loop },
}

/// Why a volume could not be published, unpublished or found.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The volume is not staged there.
    #[error("volume {id} is not staged at {staging}")]
    NotStaged {
        /// The volume.
        id: String,
        staging: PathBuf,
    },
    /// The target is not ours to use.
    #[error("the target {target} is taken: {by}")]
    Occupied { target: PathBuf, by: &'static str },
    /// The volume is there, with the other right to write.
    #[error("volume {id} is published at {target} with readonly={read_only}")]
    OtherMode {
        /// The volume.
        id: String,
        target: PathBuf,
        read_only: bool,
    },
    /// The volume may have one target only and has one.
    #[error("volume {id} has its single writer at {at}")]
    SecondWriter {
        /// The volume.
        id: String,
        /// The other target.
        at: PathBuf,
    },
    /// A block device is either writable or not, everywhere.
    #[error("volume {id} is published at {at} with readonly={read_only}, which holds for all")]
    Protection {
        /// The volume.
        id: String,
        /// The other target.
        at: PathBuf,
        read_only: bool,
    },
    /// The volume is not at that path.
    #[error("volume {id} is not at {path}")]
    NotThere {
        /// The volume.
        id: String,
        path: PathBuf,
    },
    /// The target cannot be made or removed.
    #[error("cannot {act} the target {path}")]
    Target {
        act: &'static str,
        /// The target.
        path: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
    /// The loop device failed.
    #[error("the loop device failed")]
    Loop(#[from] LoopError),
    /// The mount failed.
    #[error("mounting failed")]
    Mount(#[from] MountError),
}

/// Makes the volume appear at the target.
///
/// # Errors
/// Not staged, the target taken, or a second writer where one is allowed. A target that was
/// made for a failed call is removed by the unpublish that follows.
pub fn publish(volume: &Volume, asked: &PublishAsked) -> Result<(), PublishError> {
    let id = || volume.record.id.clone();
    let not_staged = || PublishError::NotStaged {
        id: id(),
        staging: asked.staging.clone(),
    };
    let device = loopdev::find(&volume.image)?.ok_or_else(not_staged)?;
    let table = MountTable::read()?;
    let staging = mounts::resolve(&asked.staging).map_err(|_| not_staged())?;
    let target = mounts::resolve(&asked.target).map_err(|source| PublishError::Target {
        act: "find the folder of",
        path: asked.target.clone(),
        source,
    })?;
    let source = match volume.record.content {
        Content::Block => device.path(),
        Content::Filesystem { .. } => match table.at(&staging) {
            Some(mount) if mount.dev == device.dev() => staging.clone(),
            Some(_) | None => return Err(not_staged()),
        },
    };
    let places = places(volume, &device, &table);
    if let Some(top) = table.at(&target) {
        return already_there(volume, asked, top, places.contains(&top));
    }
    let others: Vec<_> = places
        .into_iter()
        .filter(|place| place.target != staging)
        .collect();
    if let (true, Some(other)) = (asked.single_writer, others.first()) {
        return Err(PublishError::SecondWriter {
            id: id(),
            at: other.target.clone(),
        });
    }
    make_target(volume, &target)?;
    passed(Step::PublishTarget);
    if volume.record.content == Content::Block {
        protect(volume, &device, &others, asked.read_only)?;
    }
    passed(Step::PublishProtected);
    mounts::bind(&source, &target, asked.read_only)?;
    passed(Step::PublishBound);
    Ok(())
}

/// Every mount of the volume, the staging path among them.
fn places<'a>(volume: &Volume, device: &Loop, table: &'a MountTable) -> Vec<&'a Mount> {
    match volume.record.content {
        Content::Block => table.of_node(&device.path()).collect(),
        Content::Filesystem { .. } => table.of_device(device.dev()).collect(),
    }
}

fn already_there(
    volume: &Volume,
    asked: &PublishAsked,
    top: &Mount,
    ours: bool,
) -> Result<(), PublishError> {
    let target = asked.target.clone();
    if !ours {
        return Err(PublishError::Occupied {
            target,
            by: "something else is mounted there",
        });
    }
    match top.is_read_only() == asked.read_only {
        true => Ok(()),
        false => {
            let id = volume.record.id.clone();
            Err(PublishError::OtherMode {
                id,
                target,
                read_only: top.is_read_only(),
            })
        }
    }
}

/// Gives the block device the write protection asked for, unless that changes it for others.
fn protect(
    volume: &Volume,
    device: &Loop,
    others: &[&Mount],
    read_only: bool,
) -> Result<(), PublishError> {
    let present = device.is_read_only()?;
    if present == read_only {
        return Ok(());
    }
    if let Some(other) = others.first() {
        let (id, at) = (volume.record.id.clone(), other.target.clone());
        return Err(PublishError::Protection {
            id,
            at,
            read_only: present,
        });
    }
    Ok(device.set_read_only(read_only)?)
}

/// Makes a folder or, for a block volume, a file; an empty one from an earlier call is fine.
fn make_target(volume: &Volume, target: &Path) -> Result<(), PublishError> {
    let made = match volume.record.content {
        Content::Block => File::create_new(target).map(drop),
        Content::Filesystem { .. } => fs::create_dir(target),
    };
    match made {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            check_empty(volume.record.content, target)
        }
        Err(source) => Err(PublishError::Target {
            act: "make",
            path: target.to_owned(),
            source,
        }),
    }
}

fn check_empty(content: Content, target: &Path) -> Result<(), PublishError> {
    let look = |source| PublishError::Target {
        act: "look at",
        path: target.to_owned(),
        source,
    };
    let meta = fs::symlink_metadata(target).map_err(look)?;
    let fits = match content {
        Content::Block => meta.is_file() && meta.len() == 0,
        Content::Filesystem { .. } => {
            meta.is_dir() && fs::read_dir(target).map_err(look)?.next().is_none()
        }
    };
    let by = match content {
        Content::Block => "it is not an empty file",
        Content::Filesystem { .. } => "it is not an empty folder",
    };
    fits.then_some(()).ok_or_else(|| PublishError::Occupied {
        target: target.to_owned(),
        by,
    })
}

/// Makes the volume disappear from the target and removes the target; what is gone already
/// is fine. A volume that is unknown cannot be anywhere.
///
/// # Errors
/// The target carries something else, or is busy.
pub fn unpublish(
    volume: Option<&Volume>,
    volume_id: &str,
    target: &Path,
) -> Result<(), PublishError> {
    // Without its folder there is no target.
    let Ok(target) = mounts::resolve(target) else {
        return Ok(());
    };
    let table = MountTable::read()?;
    if table.at(&target).is_some() {
        let not_there = || PublishError::NotThere {
            id: volume_id.to_owned(),
            path: target.clone(),
        };
        unmount_target(volume.ok_or_else(not_there)?, &target, &table)?;
    }
    passed(Step::UnpublishUnmounted);
    remove_target(&target)?;
    passed(Step::UnpublishRemoved);
    Ok(())
}

fn unmount_target(volume: &Volume, target: &Path, table: &MountTable) -> Result<(), PublishError> {
    let taken = || PublishError::Occupied {
        target: target.to_owned(),
        by: "something else is mounted there",
    };
    let device = loopdev::find(&volume.image)?.ok_or_else(taken)?;
    let ours = places(volume, &device, table);
    // Only the topmost mounts that are ours, never one under or over a stranger's.
    if !table.at(target).is_some_and(|top| ours.contains(&top)) {
        return Err(taken());
    }
    let layers = ours
        .iter()
        .filter(|mount| mount.target == target)
        .count()
        .min(LAYERS_MAX);
    for _ in 0..layers {
        mounts::unmount_soon(target, BUSY_PATIENCE)?;
    }
    Ok(())
}

fn remove_target(target: &Path) -> Result<(), PublishError> {
    let removed = match fs::symlink_metadata(target) {
        Ok(meta) if meta.is_dir() => fs::remove_dir(target),
        Ok(meta) if meta.is_file() && meta.len() == 0 => fs::remove_file(target),
        Ok(_) => {
            let by = "it is neither an empty file nor a folder";
            return Err(PublishError::Occupied {
                target: target.to_owned(),
                by,
            });
        }
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(PublishError::Target {
            act: "remove",
            path: target.to_owned(),
            source,
        }),
        Ok(()) => Ok(()),
    }
}

/// Finds the volume at a path where it is staged or published.
///
/// # Errors
/// It is not there.
pub fn locate(volume: &Volume, path: &Path) -> Result<Located, PublishError> {
    let not_there = || PublishError::NotThere {
        id: volume.record.id.clone(),
        path: path.to_owned(),
    };
    let resolved = mounts::resolve(path).map_err(|_| not_there())?;
    let device = loopdev::find(&volume.image)?.ok_or_else(not_there)?;
    let table = MountTable::read()?;
    match volume.record.content {
        Content::Filesystem { .. } => {
            let top = table
                .at(&resolved)
                .filter(|mount| mount.dev == device.dev());
            let mount = top.ok_or_else(not_there)?.clone();
            Ok(Located::Mounted { device, mount })
        }
        Content::Block => match table.at(&resolved) {
            Some(top) if table.of_node(&device.path()).any(|mount| mount == top) => {
                Ok(Located::Node { device })
            }
            None if resolved.is_dir() => Ok(Located::MayBeStaged { device }),
            Some(_) | None => Err(not_there()),
        },
    }
}
