//! Mounts of the host that containers depend on.

use std::io;
use std::path::{Path, PathBuf};

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

/// Makes a host folder a fit source for [`Propagation::RShared`](super::Propagation): binds it on
/// itself and makes that mount shared, unless it lies on a shared mount already. Repeatable.
///
/// # Errors
/// If the mount table cannot be read or the mount not made.
pub fn ensure_shared_mount(path: &Path) -> Result<(), MountError> {
    let _ = path;
    unimplemented!("front only")
}

/// Undoes [`ensure_shared_mount`]; does nothing if the folder is no mount point.
///
/// # Errors
/// If something is mounted below it or in use.
pub fn remove_shared_mount(path: &Path) -> Result<(), MountError> {
    let _ = path;
    unimplemented!("front only")
}
