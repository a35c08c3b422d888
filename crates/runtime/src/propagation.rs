//! Making a folder of the host shared, so that mounts made inside a container show outside.
//!
//! It changes only the mount it makes itself: a host's own mounts keep their propagation.
//! Source: kernel `sharedsubtree.rst`, proc(5) `mountinfo`.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use rustix::mount::{
    MountPropagationFlags, UnmountFlags, mount_bind_recursive, mount_change, unmount,
};
use sutler_host::mounts::{self, MountTable};

/// Why a mount could not be looked at or changed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {act} {}", path.display())]
pub struct MountError {
    /// What was tried.
    pub act: &'static str,
    /// The mount point or table.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

impl MountError {
    fn new(act: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self {
            act,
            path: path.to_owned(),
            source: source.into(),
        }
    }
}

/// Makes a host folder a fit source for [`Propagation::RShared`](super::Propagation): binds it on
/// itself and makes that mount shared, unless it lies on a shared mount already. Repeatable.
///
/// # Errors
/// If the mount table cannot be read or the mount not made.
pub fn ensure_shared_mount(path: &Path) -> Result<(), MountError> {
    if is_shared(path)? {
        return Ok(());
    }
    if !is_mount_point(path)? {
        mount_bind_recursive(path, path).map_err(|e| MountError::new("bind on itself", path, e))?;
    }
    mount_change(path, MountPropagationFlags::SHARED)
        .map_err(|e| MountError::new("make shared", path, e))
}

/// Undoes [`ensure_shared_mount`]; does nothing if the folder is no mount point.
///
/// # Errors
/// If something is mounted below it or in use.
pub fn remove_shared_mount(path: &Path) -> Result<(), MountError> {
    if !path.exists() || !is_mount_point(path)? {
        return Ok(());
    }
    unmount(path, UnmountFlags::NOFOLLOW).map_err(|e| MountError::new("unmount", path, e))
}

fn is_mount_point(path: &Path) -> Result<bool, MountError> {
    let real = path
        .canonicalize()
        .map_err(|e| MountError::new("resolve", path, e))?;
    mounts::is_mount_point(&real).map_err(|e| MountError::new("look for", path, e))
}

fn is_shared(path: &Path) -> Result<bool, MountError> {
    let stat = statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID)
        .map_err(|e| MountError::new("look at", path, e))?;
    let table = MountTable::read().map_err(|e| MountError::new("look for", path, e))?;
    Ok(table
        .by_id(stat.stx_mnt_id)
        .is_some_and(|mount| mount.is_shared))
}
