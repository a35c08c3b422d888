//! What the kernel and the file system say of a volume on this machine.
//!
//! Makes and removes only empty folders below the volumes folder: whatever is in one of
//! them, or mounted on it, belongs to a plugin and is never deleted here.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use sutler_api::volume::AccessType;
use sutler_host::mounts::is_root_of_mount;
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

    pub(crate) fn of(&self, mount: Mount) -> PathBuf {
        match mount {
            Mount::Staging => self.staging(),
            Mount::Target => self.target(),
        }
    }

    /// Tells whether a plugin that was told to make a mount has made one that the kernel
    /// shows: some make a plain folder.
    pub(crate) fn shows(&self, mount: Mount, access: AccessType) -> bool {
        let path = self.of(mount);
        is_root_of_mount(&path).unwrap_or(false)
            || (access == AccessType::Block && is_device(&path))
    }

    /// Tells whether a mount that was shown before is still there and answers. May block as
    /// long as its file system does.
    ///
    /// # Errors
    /// The kernel will not say.
    pub(crate) fn stands(&self, mount: Mount, access: AccessType) -> io::Result<bool> {
        let path = self.of(mount);
        if !is_root_of_mount(&path)? {
            return Ok(access == AccessType::Block && is_device(&path));
        }
        match std::fs::metadata(&path) {
            Ok(_) => Ok(true),
            // The server of the file system is gone; the mount point alone remains. Any other
            // error is a file system in trouble, and its holders' to see.
            Err(error) => {
                let errno = error.raw_os_error().map(Errno::from_raw_os_error);
                Ok(!matches!(errno, Some(Errno::NOTCONN | Errno::STALE)))
            }
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
    std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_block_device())
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
