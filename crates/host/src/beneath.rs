//! Looking at what others have made below a folder of ours, and changing it, without ever being
//! led out of it.
//!
//! Every step goes from a descriptor of that folder, refuses links, and says what stands in the
//! way. What was looked at stays the same thing, whatever is renamed meanwhile.
//! Source: openat2(2), Linux 5.6.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Statx, StatxAttributes, StatxFlags,
    readlinkat, statx,
};
use rustix::io::Errno;

/// Mode of the folders that are made: whoever may go in is said by the folder they lie in, and a
/// plugin that mounts nothing gives them to programs that are not root.
const FOLDER: Mode = Mode::from_raw_mode(0o755);

const NEVER_OUT: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS);

/// A folder of ours in which others may write.
#[derive(Debug)]
pub struct Base {
    fd: OwnedFd,
    path: PathBuf,
}

/// What a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Folder,
    /// A file with bytes.
    File,
    /// A symbolic link.
    Link,
    /// A node of a block device.
    BlockDevice,
    /// A node of a character device.
    CharDevice,
    /// A pipe with a name.
    Pipe,
    Socket,
    /// Something that this program does not know.
    Other,
}

/// What was found, held open without being opened for reading or writing.
#[derive(Debug)]
pub struct Found {
    fd: OwnedFd,
    /// Where.
    pub path: PathBuf,
    pub kind: Kind,
    /// Whether something is mounted exactly there.
    pub is_mount_root: bool,
}

/// Why nothing could be done below a folder.
#[derive(Debug, thiserror::Error)]
pub enum BeneathError {
    /// A path that is not made of names alone.
    #[error("{} does not lie below {}", path.display(), base.display())]
    Outside {
        path: PathBuf,
        /// The folder.
        base: PathBuf,
    },
    /// Something that is no folder is on the way; links are not followed.
    #[error("{found}")]
    InTheWay { found: Found },
    /// The kernel refused.
    #[error("cannot {act} {}", path.display())]
    Refused {
        /// What was tried.
        act: &'static str,
        path: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
}

impl BeneathError {
    /// Whether there is nothing at the path.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        match self {
            Self::Refused { source, .. } => source.kind() == io::ErrorKind::NotFound,
            Self::Outside { .. } | Self::InTheWay { .. } => false,
        }
    }
}

impl From<BeneathError> for io::Error {
    fn from(error: BeneathError) -> Self {
        match error {
            BeneathError::Refused { ref source, .. } => Self::new(source.kind(), error.told()),
            BeneathError::Outside { .. } | BeneathError::InTheWay { .. } => Self::other(error),
        }
    }
}

impl BeneathError {
    fn told(&self) -> String {
        match self {
            Self::Refused { source, .. } => format!("{self}: {source}"),
            Self::Outside { .. } | Self::InTheWay { .. } => self.to_string(),
        }
    }
}

impl Base {
    /// Opens a folder whose own path nobody but us can change.
    ///
    /// # Errors
    /// It is not there, or no folder.
    pub fn open(path: &Path) -> Result<Self, BeneathError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(CWD, path, flags, Mode::empty());
        let fd = opened.map_err(|errno| refused("open", path, errno))?;
        let path = path.to_owned();
        Ok(Self { fd, path })
    }

    /// Looks at what is at a path. A link at its end is told as [`Kind::Link`].
    ///
    /// # Errors
    /// Nothing is there, or what is there cannot be reached through folders alone.
    pub fn look(&self, below: &Path) -> Result<Found, BeneathError> {
        self.check(below)?;
        match self.open_at(below) {
            Ok(fd) => self.found(fd, below),
            Err(Errno::LOOP | Errno::NOTDIR) => Err(self.in_the_way(below)),
            Err(errno) => Err(refused("open", &self.path.join(below), errno)),
        }
    }

    /// Makes a folder and those above it, if they are not there.
    ///
    /// # Errors
    /// Something else is there, or the kernel refused.
    pub fn make_folder(&self, below: &Path) -> Result<(), BeneathError> {
        self.check(below)?;
        let mut made = PathBuf::new();
        for part in below.components() {
            let parent = match made.as_os_str().is_empty() {
                true => None,
                false => Some(self.folder(&made)?),
            };
            let parent = parent.as_ref().map_or(self.fd.as_fd(), AsFd::as_fd);
            made.push(part);
            match rustix::fs::mkdirat(parent, part.as_os_str(), FOLDER) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(refused("make", &self.path.join(&made), errno)),
            }
        }
        self.folder(below).map(drop)
    }

    /// Removes a folder that is empty and no mount point; the kernel refuses all else.
    ///
    /// # Errors
    /// It is not empty, not there, or something else.
    pub fn remove_folder(&self, below: &Path) -> Result<(), BeneathError> {
        self.check(below)?;
        let name = below.file_name().unwrap_or_default();
        let parent = match below.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => Some(self.folder(parent)?),
            Some(_) | None => None,
        };
        let parent = parent.as_ref().map_or(self.fd.as_fd(), AsFd::as_fd);
        rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
            .map_err(|errno| refused("remove", &self.path.join(below), errno))
    }

    fn folder(&self, below: &Path) -> Result<Found, BeneathError> {
        let found = self.look(below)?;
        match found.kind == Kind::Folder {
            true => Ok(found),
            false => Err(BeneathError::InTheWay { found }),
        }
    }

    fn check(&self, below: &Path) -> Result<(), BeneathError> {
        let mut parts = below.components();
        let names_alone = parts.all(|part| matches!(part, Component::Normal(_)));
        match names_alone && !below.as_os_str().is_empty() {
            true => Ok(()),
            false => Err(BeneathError::Outside {
                path: below.to_owned(),
                base: self.path.clone(),
            }),
        }
    }

    /// With `NOFOLLOW` a link at the end is opened itself instead of being an error.
    fn open_at(&self, below: &Path) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat2(&self.fd, below, flags, Mode::empty(), NEVER_OUT)
    }

    fn found(&self, fd: OwnedFd, below: &Path) -> Result<Found, BeneathError> {
        let path = self.path.join(below);
        let seen = look_at(&fd).map_err(|errno| refused("look at", &path, errno))?;
        let attribute = StatxAttributes::MOUNT_ROOT;
        Ok(Found {
            fd,
            path,
            kind: Kind::of(FileType::from_raw_mode(seen.stx_mode.into())),
            is_mount_root: seen.stx_attributes.contains(attribute),
        })
    }

    /// The first part of a path that is no folder.
    fn in_the_way(&self, below: &Path) -> BeneathError {
        let mut upto = PathBuf::new();
        for part in below.components() {
            upto.push(part);
            let looked = self.open_at(&upto);
            match looked.map(|fd| self.found(fd, &upto)) {
                Ok(Ok(found)) if found.kind == Kind::Folder => {}
                Ok(Ok(found)) => return BeneathError::InTheWay { found },
                Ok(Err(error)) => return error,
                Err(errno) => return refused("open", &self.path.join(&upto), errno),
            }
        }
        // Put in order between the two looks.
        refused("open", &self.path.join(below), Errno::AGAIN)
    }
}

impl Found {
    /// Where a link leads, for telling it; it is not followed.
    #[must_use]
    pub(crate) fn leads_to(&self) -> Option<PathBuf> {
        if self.kind != Kind::Link {
            return None;
        }
        let to = readlinkat(&self.fd, c"", Vec::new()).ok()?;
        Some(PathBuf::from(to.to_string_lossy().into_owned()))
    }
}

impl AsFd for Found {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}", self.path.display(), self.kind)?;
        match self.leads_to() {
            Some(to) => write!(f, " to {}", to.display()),
            None => Ok(()),
        }
    }
}

impl Kind {
    /// What a file type of the kernel is.
    #[must_use]
    pub fn of(file_type: FileType) -> Self {
        match file_type {
            FileType::Directory => Self::Folder,
            FileType::RegularFile => Self::File,
            FileType::Symlink => Self::Link,
            FileType::BlockDevice => Self::BlockDevice,
            FileType::CharacterDevice => Self::CharDevice,
            FileType::Fifo => Self::Pipe,
            FileType::Socket => Self::Socket,
            FileType::Unknown => Self::Other,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Folder => "a folder",
            Self::File => "a file",
            Self::Link => "a symbolic link",
            Self::BlockDevice => "a block device",
            Self::CharDevice => "a character device",
            Self::Pipe => "a pipe",
            Self::Socket => "a socket",
            Self::Other => "of an unknown kind",
        })
    }
}

/// What the kernel knows without asking the server of a file system, which may hang.
fn look_at(fd: &OwnedFd) -> Result<Statx, Errno> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
    statx(fd, c"", flags, StatxFlags::TYPE)
}

fn refused(act: &'static str, path: &Path, errno: Errno) -> BeneathError {
    BeneathError::Refused {
        act,
        path: path.to_owned(),
        source: errno.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn base() -> (tempfile::TempDir, Base) {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(dir.path().join("v/real")).expect("folders");
        symlink("/etc", dir.path().join("v/link")).expect("a link");
        fs::write(dir.path().join("v/file"), "").expect("a file");
        let base = Base::open(dir.path()).expect("it is there");
        (dir, base)
    }

    fn told(result: Result<impl fmt::Debug, BeneathError>) -> String {
        result.expect_err("refused").to_string()
    }

    #[test]
    fn what_is_there_is_told_by_its_kind_and_a_link_is_not_followed() {
        let (_dir, base) = base();
        let kind = |below: &str| base.look(Path::new(below)).expect("it is there").kind;
        assert_eq!(kind("v/real"), Kind::Folder);
        assert_eq!(kind("v/file"), Kind::File);
        assert_eq!(kind("v/link"), Kind::Link);
        let link = base.look(Path::new("v/link")).expect("it is there");
        assert!(link.to_string().ends_with("is a symbolic link to /etc"));
        assert!(!link.is_mount_root);
        let absent = base.look(Path::new("v/none")).expect_err("it is not");
        assert!(absent.is_absent());
    }

    #[test]
    fn the_root_of_a_mount_is_known_by_its_descriptor() {
        let root = Base::open(Path::new("/")).expect("it is there");
        assert!(root.look(Path::new("proc")).expect("there").is_mount_root);
        let below = root.look(Path::new("proc/sys")).expect("there");
        assert!(!below.is_mount_root);
    }

    #[test]
    fn no_way_leads_through_a_link_a_file_or_upwards() {
        let (dir, base) = base();
        for act in [
            |base: &Base, path: &Path| base.look(path).map(drop),
            |base: &Base, path: &Path| base.make_folder(path),
            |base: &Base, path: &Path| base.remove_folder(path),
        ] {
            let told = |below: &str| told(act(&base, Path::new(below)));
            assert!(told("v/link/x").contains("v/link is a symbolic link to /etc"));
            assert!(told("v/file/x").contains("v/file is a file"));
            assert!(told("../x").contains("does not lie below"));
            assert!(told("/etc").contains("does not lie below"));
            assert!(told("").contains("does not lie below"));
        }
        assert!(!Path::new("/etc/x").exists());
        assert!(dir.path().join("v/real").exists());
    }

    #[test]
    fn folders_are_made_once_and_only_empty_ones_are_removed() {
        let (dir, base) = base();
        let below = Path::new("v/new/deep");
        base.make_folder(below).expect("made");
        base.make_folder(below).expect("it is there");
        assert!(told(base.make_folder(Path::new("v/link"))).contains("symbolic link"));
        assert!(base.remove_folder(Path::new("v/new")).is_err());
        assert!(base.remove_folder(Path::new("v/link")).is_err());
        base.remove_folder(below).expect("it is empty");
        base.remove_folder(Path::new("v/new")).expect("it is empty");
        assert!(!dir.path().join("v/new").exists());
    }

    #[test]
    fn what_was_looked_at_stays_the_same_thing() {
        let (dir, base) = base();
        let found = base.look(Path::new("v/real")).expect("it is there");
        fs::rename(dir.path().join("v/real"), dir.path().join("v/old")).expect("moved");
        symlink("/etc", dir.path().join("v/real")).expect("a link");
        fs::write(dir.path().join("v/old/mark"), "").expect("a file");
        let inside =
            rustix::fs::accessat(&found, "mark", rustix::fs::Access::EXISTS, AtFlags::empty());
        assert_eq!(inside, Ok(()));
    }
}
