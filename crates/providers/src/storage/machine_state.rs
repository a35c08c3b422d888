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
use sutler_ids::{ErrorKind, Problem, SaidBy, VolumeId};
use sutler_volume_core::{Mount, Seen};

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
        // A mount that is noted as never seen is never missed later, so an error notes it as there:
        // it is looked at again before it is used again.
        is_root_of_mount(&path).unwrap_or(true) || (access == AccessType::Block && is_device(&path))
    }

    /// Looks whether a mount that was shown before is still there and answers. May block as long
    /// as its file system does.
    pub(crate) fn look(&self, mount: Mount, access: AccessType) -> Seen {
        let path = self.of(mount);
        match is_root_of_mount(&path) {
            Ok(true) => match std::fs::metadata(&path) {
                Ok(_) => Seen::Stands,
                Err(error) => what_error_shows(&path, &error),
            },
            Ok(false) if access == AccessType::Block && is_device(&path) => Seen::Stands,
            Ok(false) => gone(&path, "nothing is mounted there".to_owned()),
            Err(error) => what_error_shows(&path, &error),
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

/// Says what an error of a file system tells of its mount.
fn what_error_shows(path: &Path, error: &io::Error) -> Seen {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        // What serves it has died (FUSE), has forgotten it (NFS), has shut it down after a failed
        // write (XFS, ext4), or is away for good (CIFS); the mount point alone remains.
        Some(Errno::NOTCONN | Errno::STALE | Errno::IO | Errno::SHUTDOWN | Errno::HOSTDOWN) => {
            gone(path, error.to_string())
        }
        // It lives, and has rules of its own: a FUSE mount may be its owner's alone.
        Some(Errno::ACCESS | Errno::PERM) => Seen::Stands,
        // A time that ran out (NFS mounted soft) is silence, and so is what we do not know.
        Some(_) | None => not_known(path, error.to_string()),
    }
}

fn gone(path: &Path, raw: String) -> Seen {
    let what = format!("the mount at {} is gone or dead", path.display());
    Seen::Gone(kernel_says(what, raw))
}

/// A look that tells nothing, and why.
pub(crate) fn not_known(path: &Path, raw: String) -> Seen {
    let what = format!("whether {} is still mounted is not known", path.display());
    Seen::NotKnown(kernel_says(what, raw))
}

fn kernel_says(what: String, raw: String) -> Problem {
    Problem::new(ErrorKind::Unavailable, what)
        .said_by(SaidBy::Kernel)
        .raw(raw)
}

fn is_device(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_block_device())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_dead_by_definite_errors_alone_and_silence_is_none() {
        let seen = |errno: Errno| what_error_shows(Path::new("/v/target"), &errno.into());
        for dead in [
            Errno::NOTCONN,
            Errno::STALE,
            Errno::IO,
            Errno::SHUTDOWN,
            Errno::HOSTDOWN,
        ] {
            assert!(matches!(seen(dead), Seen::Gone(_)), "{dead}");
        }
        for silent in [Errno::TIMEDOUT, Errno::AGAIN, Errno::INTR, Errno::NOMEM] {
            let Seen::NotKnown(problem) = seen(silent) else {
                panic!("{silent} is taken for evidence");
            };
            assert!(problem.what.contains("/v/target"), "{problem}");
        }
        assert_eq!(seen(Errno::ACCESS), Seen::Stands);
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
}
