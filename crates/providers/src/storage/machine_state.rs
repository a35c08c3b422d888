//! What the kernel and the file system say of a volume on this machine.
//!
//! Makes and removes only empty folders below the volumes folder: whatever is in one of
//! them, or mounted on it, belongs to a plugin and is never deleted here.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use sutler_api::volume::AccessType;
use sutler_ids::VolumeId;
use sutler_volume_core::Mount;

/// The paths of one volume.
#[derive(Debug, Clone)]
pub(crate) struct VolumePaths {
    dir: PathBuf,
}

impl VolumePaths {
    pub(crate) fn new(volumes_dir: &Path, volume_id: VolumeId) -> Self {
        Self {
            dir: volumes_dir.join(volume_id.to_string()),
        }
    }

    /// Where the plugin stages it.
    pub(crate) fn staging(&self) -> PathBuf {
        self.dir.join("staging")
    }

    /// Where the plugin publishes it. The plugin makes and removes this one itself.
    pub(crate) fn target(&self) -> PathBuf {
        self.dir.join("target")
    }

    fn of(&self, mount: Mount) -> PathBuf {
        match mount {
            Mount::Staging => self.staging(),
            Mount::Target => self.target(),
        }
    }

    /// Tells whether a plugin that was told to make a mount has made one that the kernel
    /// shows: some make a plain folder.
    pub(crate) fn shows(&self, mount: Mount, access: AccessType) -> bool {
        let path = self.of(mount);
        is_mounted(&path).unwrap_or(false) || (access == AccessType::Block && is_device(&path))
    }

    /// Tells whether a mount that was shown before is still there and answers. May block as
    /// long as its file system does.
    pub(crate) fn stands(&self, mount: Mount, access: AccessType) -> bool {
        let path = self.of(mount);
        match is_mounted(&path) {
            // The server of the file system is gone; the mount point alone remains.
            Ok(true) => !std::fs::metadata(&path).is_err_and(|error| {
                let errno = error.raw_os_error().map(Errno::from_raw_os_error);
                matches!(errno, Some(Errno::NOTCONN | Errno::STALE))
            }),
            Ok(false) => access == AccessType::Block && is_device(&path),
            // Nothing was seen, so what the books say holds.
            Err(_) => true,
        }
    }

    pub(crate) fn ensure_staging(&self) -> io::Result<()> {
        std::fs::create_dir_all(self.staging())
    }

    pub(crate) fn ensure_target_parent(&self) -> io::Result<()> {
        std::fs::create_dir_all(&self.dir)
    }

    pub(crate) fn ensure_target(&self) -> io::Result<()> {
        std::fs::create_dir_all(self.target())
    }

    /// Removes what an unpublish leaves empty. The staging folder stays: a staged volume need
    /// not be mounted there, and its next publish names it.
    pub(crate) fn remove_target(&self) {
        for path in [self.target(), self.dir.clone()] {
            let _ = std::fs::remove_dir(path);
        }
    }

    /// Removes what is left empty of a volume that is no longer staged; what is not empty
    /// stays.
    pub(crate) fn remove_empty(&self) {
        let _ = std::fs::remove_dir(self.staging());
        self.remove_target();
    }
}

fn is_device(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.file_type().is_block_device())
}

/// Tells whether something is mounted at a path, from the kernel's own table.
pub(crate) fn is_mounted(path: &Path) -> io::Result<bool> {
    let table = std::fs::read_to_string("/proc/self/mountinfo")?;
    Ok(mount_points(&table).any(|point| Path::new(&point) == path))
}

/// Gives the mount points of a mount table, with its octal escapes undone (proc(5)).
fn mount_points(table: &str) -> impl Iterator<Item = String> + '_ {
    table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(unescape)
}

fn unescape(field: &str) -> String {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let octal = (*first == b'\\')
            .then(|| tail.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_with_a_space_is_read_as_it_is() {
        let table = "22 27 0:21 / /a\\040b rw - proc proc rw\n23 1 0:2 / /c rw - x y rw\n";
        assert_eq!(mount_points(table).collect::<Vec<_>>(), ["/a b", "/c"]);
    }

    #[test]
    fn an_unpublished_volume_keeps_its_staging_folder_and_an_unstaged_one_keeps_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let id = VolumeId::new(uuid::Uuid::from_u128(1));
        let paths = VolumePaths::new(dir.path(), id);
        paths.ensure_staging().unwrap();
        paths.ensure_target().unwrap();
        paths.remove_target();
        assert!(paths.staging().exists() && !paths.target().exists());
        paths.remove_empty();
        assert!(!dir.path().join(id.to_string()).exists());
    }

    #[test]
    fn the_root_is_mounted_and_an_absent_path_is_not() {
        assert!(is_mounted(Path::new("/")).unwrap());
        assert!(!is_mounted(Path::new("/no/such/path")).unwrap());
    }
}
