//! What the kernel and the file system say of a volume on this host.
//!
//! Makes and removes only empty folders below the plugin's volumes folder: whatever is in one of
//! them, or mounted on it, belongs to a plugin and is never deleted here. The plugin may write
//! there, so nothing is followed that it could have put in the way.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use sutler_api::volume::AccessType;
use sutler_host::beneath::{Base, Kind};
use sutler_host::mounts::is_root_of_mount;
use sutler_ids::{ErrorKind, PluginName, Problem, SaidBy, VolumeId};
use sutler_volume_core::{Denied, Mount, Seen, Shown};
use tokio::time::{Instant, sleep};

/// How long a mount is waited for that a plugin says it has made.
const LATE_WITHIN: Duration = Duration::from_secs(10);

/// Between looks for a late mount; the kernel tells of new mounts by a file of all of them, which
/// costs more to read than this look does.
const LATE_POLL: Duration = Duration::from_millis(50);

const STAGING: &str = "staging";
const TARGET: &str = "target";

/// Gives the place that a folder of a volume is by its name.
pub(crate) fn mount_of(name: &str) -> Option<Mount> {
    match name {
        STAGING => Some(Mount::Staging),
        TARGET => Some(Mount::Target),
        _other => None,
    }
}

/// The paths of one volume.
#[derive(Debug, Clone)]
pub(crate) struct VolumePaths {
    /// The plugin's own volumes folder. Nobody else can change what this path means.
    base: PathBuf,
    /// The volume's folder in it.
    name: String,
}

impl VolumePaths {
    pub(crate) fn new(volumes_dir: &Path, plugin: &PluginName, volume_id: VolumeId) -> Self {
        Self {
            base: volumes_dir.join(plugin.as_str()),
            name: volume_id.to_string(),
        }
    }

    /// Where the plugin stages it.
    pub(crate) fn staging(&self) -> PathBuf {
        self.base.join(self.below(STAGING))
    }

    /// Where the plugin publishes it. The plugin makes and removes this one itself.
    pub(crate) fn target(&self) -> PathBuf {
        self.base.join(self.below(TARGET))
    }

    fn below(&self, name: &str) -> PathBuf {
        Path::new(&self.name).join(name)
    }

    pub(crate) fn of(&self, mount: Mount) -> PathBuf {
        match mount {
            Mount::Staging => self.staging(),
            Mount::Target => self.target(),
        }
    }

    /// Says whether the kernel shows what a plugin was told to make: a mount, or for a block
    /// volume a device. Some make a plain folder.
    pub(crate) fn shown(&self, mount: Mount, access: AccessType) -> Shown {
        match self.shown_mounted(mount) {
            Shown::Nothing(path) if access == AccessType::Block && self.has_device(mount) => {
                Shown::Mounted(path)
            }
            shown => shown,
        }
    }

    /// As [`Self::shown`], and waits a while for it: some answer before their FUSE mount is there.
    pub(crate) async fn shown_soon(&self, mount: Mount, access: AccessType) -> Shown {
        let until = Instant::now() + LATE_WITHIN;
        loop {
            match self.shown(mount, access) {
                Shown::Nothing(_) if Instant::now() < until => sleep(LATE_POLL).await,
                shown => return shown,
            }
        }
    }

    /// Says whether the kernel shows a mount.
    pub(crate) fn shown_mounted(&self, mount: Mount) -> Shown {
        let path = self.of(mount);
        match is_root_of_mount(&path) {
            Ok(true) => Shown::Mounted(path.display().to_string()),
            Ok(false) => Shown::Nothing(path.display().to_string()),
            Err(error) => match what_error_shows(&path, &error) {
                // A dead mount is a mount.
                Seen::Stands | Seen::Gone(_) => Shown::Mounted(path.display().to_string()),
                Seen::NotKnown(problem) => Shown::NotKnown(problem),
            },
        }
    }

    /// Says why the volume cannot be taken to be mounted nowhere.
    pub(crate) fn still_mounted(&self) -> Option<Denied> {
        let mut places = [Mount::Target, Mount::Staging].into_iter();
        places.find_map(|mount| match self.shown_mounted(mount) {
            Shown::Mounted(path) => Some(Denied::Mounted(path)),
            Shown::NotKnown(_) => {
                let path = self.of(mount).display().to_string();
                Some(Denied::MountNotKnown(path))
            }
            Shown::Nothing(_) | Shown::NotAsked => None,
        })
    }

    /// Whether the target is a plain folder with something in it.
    pub(crate) fn target_holds_files(&self) -> bool {
        let found = Base::open(&self.base).and_then(|base| base.look(&self.below(TARGET)));
        let is_folder = found.is_ok_and(|found| found.kind == Kind::Folder);
        is_folder
            && matches!(self.shown_mounted(Mount::Target), Shown::Nothing(_))
            && std::fs::read_dir(self.target()).is_ok_and(|mut entries| entries.next().is_some())
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
            Ok(false) if access == AccessType::Block && self.has_device(mount) => Seen::Stands,
            Ok(false) => gone(&path, "nothing is mounted there".to_owned()),
            Err(error) => what_error_shows(&path, &error),
        }
    }

    fn has_device(&self, mount: Mount) -> bool {
        let name = match mount {
            Mount::Staging => STAGING,
            Mount::Target => TARGET,
        };
        let found = Base::open(&self.base).and_then(|base| base.look(&self.below(name)));
        found.is_ok_and(|found| found.kind == Kind::BlockDevice)
    }

    pub(crate) fn ensure_staging(&self) -> io::Result<()> {
        self.ensure(&self.below(STAGING))
    }

    pub(crate) fn ensure_target_parent(&self) -> io::Result<()> {
        self.ensure(Path::new(&self.name))
    }

    pub(crate) fn ensure_target(&self) -> io::Result<()> {
        self.ensure(&self.below(TARGET))
    }

    fn ensure(&self, below: &Path) -> io::Result<()> {
        std::fs::create_dir_all(&self.base)?;
        Ok(Base::open(&self.base)?.make_folder(below)?)
    }

    /// Removes what an unpublish leaves empty. The staging folder stays: a staged volume need
    /// not be mounted there, and its next publish names it.
    pub(crate) fn remove_target(&self) {
        self.remove(&[&self.below(TARGET), Path::new(&self.name)]);
    }

    /// Removes what is left empty of a volume that is no longer staged; what is not empty
    /// stays.
    pub(crate) fn remove_empty(&self) {
        let (staging, target) = (self.below(STAGING), self.below(TARGET));
        self.remove(&[&staging, &target, Path::new(&self.name)]);
    }

    fn remove(&self, folders: &[&Path]) {
        let Ok(base) = Base::open(&self.base) else {
            return;
        };
        for below in folders {
            // What stays is in use or not ours, and the next publish finds it.
            let _ = base.remove_folder(below);
        }
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
        let paths = VolumePaths::new(dir.path(), &"p".parse().unwrap(), id);
        paths.ensure_staging().unwrap();
        paths.ensure_target().unwrap();
        paths.remove_target();
        assert!(paths.staging().exists() && !paths.target().exists());
        paths.remove_empty();
        assert!(!dir.path().join("p").join(id.to_string()).exists());
    }

    #[test]
    fn a_link_in_the_way_is_neither_followed_nor_removed() {
        let (dir, host) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let id = VolumeId::new(uuid::Uuid::from_u128(1));
        let paths = VolumePaths::new(dir.path(), &"p".parse().unwrap(), id);
        let link = dir.path().join("p").join(id.to_string());
        std::fs::create_dir_all(dir.path().join("p")).unwrap();
        std::fs::create_dir(host.path().join("target")).unwrap();
        std::os::unix::fs::symlink(host.path(), &link).unwrap();
        for made in [
            paths.ensure_staging(),
            paths.ensure_target(),
            paths.ensure_target_parent(),
        ] {
            let told = made.unwrap_err().to_string();
            assert!(told.contains("is a symbolic link to"), "{told}");
        }
        paths.remove_empty();
        assert!(link.is_symlink() && host.path().join("target").exists());
        assert!(!host.path().join("staging").exists());
    }
}
