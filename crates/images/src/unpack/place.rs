//! Finds the folder that an entry goes into, with the layer's folder as the root of the world.
//! Links on the way are resolved by the kernel inside that root; one that leads to nothing there
//! is refused, not created.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::error::{UnpackError, act};
use super::name::EntryName;

/// `openat2` asks to be called again when a rename elsewhere on the host raced with a `..`.
const RACES_MAX: u32 = 64;

/// The folder that a layer is unpacked into.
pub(super) struct Root(OwnedFd);

impl Root {
    pub(super) fn open(path: &Path) -> Result<Root, UnpackError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(CWD, path, flags, Mode::empty())
            .map(Root)
            .map_err(|errno| UnpackError::OpenRoot {
                source: errno.into(),
            })
    }

    /// Opens the folder of an entry, making the missing ones.
    pub(super) fn parent_of(&self, name: &EntryName) -> Result<OwnedFd, UnpackError> {
        match self.existing_parent_of(name) {
            Err(UnpackError::ThroughLink { .. }) => self.make_parents(name),
            other => other,
        }
    }

    /// Opens the folder of an entry, which must be there.
    pub(super) fn existing_parent_of(&self, name: &EntryName) -> Result<OwnedFd, UnpackError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        self.resolve(&name.parent(), flags).map_err(refuse(name))
    }

    /// Opens a folder for reading, wherever in the layer its name leads.
    pub(super) fn reopen(&self, name: &EntryName) -> Result<OwnedFd, UnpackError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        self.resolve(name, flags).map_err(refuse(name))
    }

    fn make_parents(&self, name: &EntryName) -> Result<OwnedFd, UnpackError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = name.parent();
        let mut at = self
            .resolve(&EntryName::root(), flags)
            .map_err(refuse(name))?;
        for prefix in parent.prefixes() {
            at = match self.resolve(&prefix, flags) {
                Ok(folder) => folder,
                Err(Errno::NOENT) => self.make(&at, &prefix, name)?,
                Err(errno) => return Err(refuse(name)(errno)),
            };
        }
        Ok(at)
    }

    fn make(
        &self,
        parent: &OwnedFd,
        folder: &EntryName,
        name: &EntryName,
    ) -> Result<OwnedFd, UnpackError> {
        match rustix::fs::mkdirat(parent, folder.file_name(), Mode::from_raw_mode(0o755)) {
            Ok(()) => {}
            // Something is there although it resolves to nothing: a link out of the layer.
            Err(Errno::EXIST) => return Err(refuse(name)(Errno::NOENT)),
            Err(errno) => return Err(act("create the folder of", name)(errno)),
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(parent, folder.file_name(), flags, Mode::empty())
            .map_err(act("open the folder of", name))?;
        // Not subject to the process' umask, so that one archive gives one result everywhere.
        rustix::fs::chmodat(
            parent,
            folder.file_name(),
            Mode::from_raw_mode(0o755),
            rustix::fs::AtFlags::empty(),
        )
        .map_err(act("set the mode of the folder of", name))?;
        Ok(made)
    }

    fn resolve(&self, name: &EntryName, flags: OFlags) -> Result<OwnedFd, Errno> {
        let path: &[u8] = if name.is_root() {
            b"."
        } else {
            name.as_bytes()
        };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        for _race in 0..RACES_MAX {
            match rustix::fs::openat2(&self.0, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN) => {}
                result => return result,
            }
        }
        Err(Errno::AGAIN)
    }
}

/// Says what it means that the way to an entry does not resolve.
fn refuse(name: &EntryName) -> impl Fn(Errno) -> UnpackError + '_ {
    move |errno| match errno {
        Errno::NOENT | Errno::LOOP | Errno::XDEV => UnpackError::ThroughLink { name: name.shown() },
        Errno::NOTDIR => UnpackError::BelowFile { name: name.shown() },
        errno => act("find the folder of", name)(errno),
    }
}
