//! The only recursive delete of the project.
//! It never crosses a mount point, never follows a link, and looks at the mount table before it
//! takes the first file away. Everything that removes a folder goes through here.

use std::ffi::{CString, OsStr};
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, DirEntry, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::mounts;

/// How often one folder is listed again because entries were found in it: deleting while listing
/// may skip some, and a writer that never stops must not hold us for ever.
const PASSES_MAX: u32 = 64;

/// Why a folder was not removed, or not wholly.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// Something is mounted at or below the folder; nothing was deleted.
    #[error("refused to delete {}: {} is mounted there; unmount it first", dir.display(),
        mount_point.display())]
    Mounted {
        /// The folder that was to go.
        dir: PathBuf,
        /// One of the mount points found.
        mount_point: PathBuf,
    },
    /// The path has no last component (`/`, `..`).
    #[error("refused to delete {}: it is not a folder with a name", dir.display())]
    NoName {
        /// The path as given.
        dir: PathBuf,
    },
    /// The mount table or the parent could not be read; nothing was deleted.
    #[error("look for mounts below {}", dir.display())]
    Inspect {
        /// The folder that was to go.
        dir: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A folder inside could not be entered; `EXDEV` means a mount appeared meanwhile.
    #[error("enter {} to delete it", path.display())]
    Enter {
        /// The folder.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// One entry could not be deleted.
    #[error("delete {}", path.display())]
    Delete {
        /// The entry.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Somebody moved a folder while it was being deleted.
    #[error("{} was moved while it was being deleted", path.display())]
    Moved {
        /// Where the folder was.
        path: PathBuf,
    },
}

/// Deletes `dir` and all below it; a folder that is not there is a success.
///
/// Refuses, before anything is deleted, when a mount point lies at or below `dir`; a mount that
/// appears later stops it at that point. Links are deleted, never followed.
///
/// # Errors
///
/// See [`RemoveError`]; after `Enter`, `Delete` or `Moved` part of the tree may be gone and the
/// call can be repeated.
pub fn remove_tree(dir: &Path) -> Result<(), RemoveError> {
    let no_name = || RemoveError::NoName { dir: dir.into() };
    let file_name = dir.file_name().ok_or_else(no_name)?;
    let name = CString::new(file_name.as_bytes()).map_err(|_nul| no_name())?;
    let parent = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _no_parent => Path::new("."),
    };
    let inspect = |source| RemoveError::Inspect {
        dir: dir.into(),
        source,
    };
    let parent = match fs::canonicalize(parent) {
        Ok(parent) => parent,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(inspect(source)),
    };
    let whole = parent.join(file_name);
    if let Some(mount_point) = mounts::points_under(&whole)
        .map_err(|error| inspect(error.into()))?
        .pop()
    {
        return Err(RemoveError::Mounted {
            dir: whole,
            mount_point,
        });
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent_fd = rustix::fs::openat(CWD, &parent, flags, Mode::empty())
        .map_err(|errno| inspect(errno.into()))?;
    match Walk::enter(&parent_fd, &name, whole)? {
        Some(walk) => walk.run(&parent_fd, &name),
        None => Ok(()),
    }
}

/// A folder between the root of the walk and where it is now.
struct Level {
    name: CString,
    parent_inode: (u64, u64),
}

/// Holds one folder open at a time, so that depth costs memory, not file descriptors.
struct Walk {
    current: OwnedFd,
    path: PathBuf,
    levels: Vec<Level>,
}

impl Walk {
    fn enter(parent: &OwnedFd, name: &CString, path: PathBuf) -> Result<Option<Walk>, RemoveError> {
        match open_folder(parent, name) {
            Ok(current) => Ok(Some(Walk {
                current,
                path,
                levels: Vec::new(),
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(RemoveError::Enter {
                path,
                source: errno.into(),
            }),
        }
    }

    fn run(mut self, parent: &OwnedFd, name: &CString) -> Result<(), RemoveError> {
        loop {
            if let Some(child) = self.clear_until_folder()? {
                self.descend(child)?;
            } else if let Some(level) = self.levels.pop() {
                self.ascend(&level)?;
            } else {
                return remove_folder(parent, name, &self.path);
            }
        }
    }

    /// Deletes entries until a folder is met, which it returns, or none is left.
    fn clear_until_folder(&self) -> Result<Option<CString>, RemoveError> {
        let enter = |errno: Errno| RemoveError::Enter {
            path: self.path.clone(),
            source: errno.into(),
        };
        for _pass in 0..PASSES_MAX {
            let mut seen = false;
            for entry in Dir::read_from(&self.current).map_err(enter)? {
                let entry = entry.map_err(enter)?;
                if entry.file_name() == c"." || entry.file_name() == c".." {
                    continue;
                }
                seen = true;
                if let Some(folder) = self.unlink(&entry)? {
                    return Ok(Some(folder));
                }
            }
            if !seen {
                break;
            }
        }
        Ok(None)
    }

    /// Deletes one entry; a folder is left and returned.
    fn unlink(&self, entry: &DirEntry) -> Result<Option<CString>, RemoveError> {
        let name = entry.file_name();
        if entry.file_type() == FileType::Directory {
            return Ok(Some(name.to_owned()));
        }
        match rustix::fs::unlinkat(&self.current, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(None),
            // File systems that do not report types: the kernel tells it here.
            Err(Errno::ISDIR) => Ok(Some(name.to_owned())),
            Err(errno) => {
                let path = self.path.join(OsStr::from_bytes(name.to_bytes()));
                Err(RemoveError::Delete {
                    path,
                    source: errno.into(),
                })
            }
        }
    }

    fn descend(&mut self, name: CString) -> Result<(), RemoveError> {
        let path = self.path.join(OsStr::from_bytes(name.to_bytes()));
        let enter = |errno: Errno| RemoveError::Enter {
            path: path.clone(),
            source: errno.into(),
        };
        let parent_inode = inode(&self.current).map_err(enter)?;
        let child = open_folder(&self.current, &name).map_err(enter)?;
        self.current = child;
        self.path = path;
        self.levels.push(Level { name, parent_inode });
        Ok(())
    }

    fn ascend(&mut self, level: &Level) -> Result<(), RemoveError> {
        let enter = |errno: Errno| RemoveError::Enter {
            path: self.path.clone(),
            source: errno.into(),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = rustix::fs::openat2(
            &self.current,
            c"..",
            flags,
            Mode::empty(),
            ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS,
        )
        .map_err(enter)?;
        if inode(&parent).map_err(enter)? != level.parent_inode {
            return Err(RemoveError::Moved {
                path: self.path.clone(),
            });
        }
        self.current = parent;
        remove_folder(&self.current, &level.name, &self.path)?;
        self.path.pop();
        Ok(())
    }
}

fn remove_folder(parent: &OwnedFd, name: &CString, path: &Path) -> Result<(), RemoveError> {
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(RemoveError::Delete {
            path: path.into(),
            source: errno.into(),
        }),
    }
}

/// Opens a child folder, refusing links and mount points.
fn open_folder(parent: &OwnedFd, name: &CString) -> Result<OwnedFd, Errno> {
    rustix::fs::openat2(
        parent,
        name,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_XDEV
            | ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS,
    )
}

fn inode(folder: impl AsFd) -> Result<(u64, u64), Errno> {
    let stat = rustix::fs::fstat(folder)?;
    Ok((stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests;
