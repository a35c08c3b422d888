//! Device nodes of the host: their numbers, and the list of all of them.
//!
//! It reads `/dev` and gives nothing away: `oci.rs` decides who gets what.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Deepest folder of `/dev` that is looked into; udev's deepest is `/dev/disk/by-id` at 2.
const DEPTH_MAX: usize = 8;

/// Made by the runtime for each container, so the host's are not copied.
const MADE_PER_CONTAINER: [&str; 6] = ["pts", "shm", "mqueue", "fd", "console", "ptmx"];

/// One device node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Path on the host and in the container.
    pub path: PathBuf,
    /// Whether it is a block device; else a character device.
    pub block: bool,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Whether it may not be opened for writing.
    pub read_only: bool,
}

impl Device {
    /// Reads a device node, following symbolic links (`/dev/disk/by-id/…`), under its given path.
    ///
    /// # Errors
    /// If it does not exist or is no device.
    pub fn read(path: &Path) -> io::Result<Self> {
        let meta = std::fs::metadata(path)?;
        Self::from_metadata(path, &meta)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a device node"))
    }

    fn from_metadata(path: &Path, meta: &std::fs::Metadata) -> Option<Self> {
        let block = meta.file_type().is_block_device();
        (block || meta.file_type().is_char_device()).then(|| Self {
            path: path.to_owned(),
            block,
            major: rustix::fs::major(meta.rdev()),
            minor: rustix::fs::minor(meta.rdev()),
            mode: meta.mode() & 0o7777,
            uid: meta.uid(),
            gid: meta.gid(),
            read_only: false,
        })
    }
}

/// Every device node below a `/dev`, in name order; symbolic links are not followed.
///
/// # Errors
/// If `dev` itself cannot be listed; nodes that vanish meanwhile are left out.
pub(crate) fn all_devices(dev: &Path) -> io::Result<Vec<Device>> {
    let mut found = Vec::new();
    let skipped = |name: &std::ffi::OsStr| MADE_PER_CONTAINER.iter().any(|made| name == *made);
    for entry in std::fs::read_dir(dev)? {
        let entry = entry?;
        if !skipped(&entry.file_name()) {
            collect(&entry.path(), 0, &mut found);
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn collect(path: &Path, depth: usize, found: &mut Vec<Device>) {
    let Ok(meta) = std::fs::symlink_metadata(path) else {
        return;
    };
    if meta.is_dir() && depth < DEPTH_MAX {
        let Ok(entries) = std::fs::read_dir(path) else {
            return;
        };
        for entry in entries.flatten() {
            collect(&entry.path(), depth + 1, found);
        }
    } else {
        found.extend(Device::from_metadata(path, &meta));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_read_with_its_numbers_and_a_file_is_refused() {
        let null = Device::read(Path::new("/dev/null")).expect("every host has it");
        assert_eq!((null.block, null.major, null.minor), (false, 1, 3));
        assert!(Device::read(Path::new("/proc/version")).is_err());
        assert!(Device::read(Path::new("/dev/no-such-device")).is_err());
    }

    #[test]
    fn all_devices_leave_out_what_each_container_has_of_its_own() {
        let all = all_devices(Path::new("/dev")).expect("listed");
        assert!(all.iter().any(|d| d.path == Path::new("/dev/null")));
        assert!(!all.iter().any(|d| d.path.starts_with("/dev/pts")));
        assert!(!all.iter().any(|d| d.path == Path::new("/dev/ptmx")));
    }
}
