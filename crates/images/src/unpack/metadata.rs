//! Owner, mode, times and attributes of an entry, in the order in which the kernel keeps them:
//! a change of owner clears setuid and capabilities, so the owner comes first.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::Errno;

use super::super::tar_stream::Entry;
use super::error::{UnpackError, act};
use super::name::{self, EntryName};

/// What an entry says about itself beside its data.
pub(super) struct Metadata<'a> {
    entry: &'a Entry,
    name: &'a EntryName,
}

impl<'a> Metadata<'a> {
    pub(super) fn of(entry: &'a Entry, name: &'a EntryName) -> Metadata<'a> {
        Metadata { entry, name }
    }

    /// Sets owner, attributes and mode of an open file or folder.
    pub(super) fn apply_to_fd(&self, fd: &OwnedFd) -> Result<(), UnpackError> {
        let (uid, gid) = self.owner();
        rustix::fs::fchown(fd, uid, gid).map_err(act("set the owner of", self.name))?;
        for (xattr, value) in &self.entry.xattrs {
            self.set_xattr(fd, xattr, value)?;
        }
        rustix::fs::fchmod(fd, self.mode()).map_err(act("set the mode of", self.name))
    }

    /// Sets owner and time of a link that was just made.
    pub(super) fn apply_to_link(&self, parent: &OwnedFd) -> Result<(), UnpackError> {
        let (uid, gid) = self.owner();
        let (name, nofollow) = (self.name.file_name(), AtFlags::SYMLINK_NOFOLLOW);
        rustix::fs::chownat(parent, name, uid, gid, nofollow)
            .map_err(act("set the owner of", self.name))?;
        rustix::fs::utimensat(parent, name, &times(self.entry.mtime), nofollow)
            .map_err(act("set the time of", self.name))
    }

    /// Sets owner, mode and time of a device or pipe that was just made; it is never opened.
    pub(super) fn apply_to_node(&self, parent: &OwnedFd) -> Result<(), UnpackError> {
        let (uid, gid) = self.owner();
        let (name, nofollow) = (self.name.file_name(), AtFlags::SYMLINK_NOFOLLOW);
        rustix::fs::chownat(parent, name, uid, gid, nofollow)
            .map_err(act("set the owner of", self.name))?;
        // Linux has no chmod that does not follow; this name is no link, we have just made it.
        rustix::fs::chmodat(parent, name, self.mode(), AtFlags::empty())
            .map_err(act("set the mode of", self.name))?;
        rustix::fs::utimensat(parent, name, &times(self.entry.mtime), nofollow)
            .map_err(act("set the time of", self.name))
    }

    pub(super) fn set_times(&self, fd: &OwnedFd) -> Result<(), UnpackError> {
        set_mtime(fd, self.entry.mtime).map_err(act("set the time of", self.name))
    }

    fn owner(&self) -> (Option<Uid>, Option<Gid>) {
        (
            Some(Uid::from_raw(self.entry.uid)),
            Some(Gid::from_raw(self.entry.gid)),
        )
    }

    fn mode(&self) -> Mode {
        Mode::from_raw_mode(self.entry.mode)
    }

    fn set_xattr(&self, fd: &OwnedFd, xattr: &[u8], value: &[u8]) -> Result<(), UnpackError> {
        match Treatment::of(xattr) {
            Treatment::Skip => Ok(()),
            Treatment::Refuse => Err(UnpackError::Xattr {
                name: self.name.shown(),
                xattr: name::shown(xattr),
            }),
            Treatment::Set { needed } => {
                match rustix::fs::fsetxattr(fd, xattr, value, XattrFlags::empty()) {
                    // The file system has no room for such attributes: a comment is dropped, a
                    // capability is not.
                    Err(Errno::OPNOTSUPP) if !needed => Ok(()),
                    result => result.map_err(act("set an attribute of", self.name)),
                }
            }
        }
    }
}

/// What happens to an attribute.
enum Treatment {
    Set { needed: bool },
    Skip,
    Refuse,
}

impl Treatment {
    fn of(xattr: &[u8]) -> Treatment {
        if xattr.is_empty() || xattr.contains(&0) {
            Treatment::Refuse
        } else if xattr.starts_with(b"trusted.overlay.") || xattr.starts_with(b"user.overlay.") {
            // overlayfs reads its orders from these; `redirect` and `metacopy` would reach into
            // other layers. Rootless builders leave their own storage's in sound images, so they
            // are left out, not a reason to refuse: one that is not written orders nothing.
            Treatment::Skip
        } else if xattr == b"security.capability" || xattr.starts_with(b"system.posix_acl_") {
            Treatment::Set { needed: true }
        } else if xattr.starts_with(b"user.") {
            Treatment::Set { needed: false }
        } else {
            // Security labels of the builder's host mean nothing on this one.
            Treatment::Skip
        }
    }
}

pub(super) fn set_mtime(fd: &OwnedFd, mtime: (i64, u32)) -> Result<(), Errno> {
    rustix::fs::futimens(fd, &times(mtime))
}

fn times((tv_sec, nanoseconds): (i64, u32)) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec,
            tv_nsec: nanoseconds.into(),
        },
    }
}
