//! Writes the entries of a layer into a folder, trusting none of them.
//!
//! Five files share the work: `name` decides what an entry may be called, `place` finds the
//! folder it goes into (links inside the layer are followed, but never out of it), this one
//! creates it, `data` fills it and `metadata` says whose it is. Whiteouts become what overlayfs
//! understands.
//!
//! # Guarantees
//!
//! Nothing outside the folder is created, changed, removed or read, whatever the archive holds:
//! every path is resolved by the kernel with the folder as root (`RESOLVE_IN_ROOT`), and the
//! last component is never followed.
//!
//! Source: OCI image specification, `layer.md`; kernel `Documentation/filesystems/overlayfs.rst`.

mod data;
mod error;
mod metadata;
mod name;
mod place;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use self::data::Data;
pub use self::error::UnpackError;
use self::error::act;
use self::metadata::Metadata;
use self::name::EntryName;
use self::place::Root;
use super::limits::ImageLimits;
use super::tar_stream::{Entry, EntryKind, TarStream};

/// Prefix of the names that delete something from the layers below.
const WHITEOUT: &[u8] = b".wh.";
/// The name that hides everything below in its folder.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Other names of the old union file system; they carry nothing.
const UNION_METADATA: &[u8] = b".wh..wh.";
/// How overlayfs marks an opaque folder.
const OPAQUE_XATTR: &str = "trusted.overlay.opaque";

/// Unpacks a whole tar into the empty folder `into`, and reads the stream to its end. Bytes of
/// the stream that take nothing on the disk are added to `holes` as they go by.
pub(crate) fn unpack_tar<R: Read>(
    reader: R,
    into: &Path,
    limits: &ImageLimits,
    holes: &Cell<u64>,
) -> Result<(), UnpackError> {
    let root = Root::open(into)?;
    let mut unpacker = Unpacker {
        root,
        limits,
        holes,
        folders: BTreeMap::new(),
        names_bytes: 0,
    };
    let mut stream = TarStream::new(reader, limits);
    let mut entries = 0;
    while let Some(entry) = stream
        .next_entry()
        .map_err(|source| UnpackError::Tar { source })?
    {
        entries += 1;
        if entries > limits.entries_max {
            return Err(UnpackError::TooManyEntries {
                max: limits.entries_max,
            });
        }
        unpacker.unpack(&entry, &mut stream)?;
    }
    stream
        .finish()
        .map_err(|source| UnpackError::Tar { source })?;
    unpacker.finish_folders()
}

struct Unpacker<'a> {
    root: Root,
    limits: &'a ImageLimits,
    holes: &'a Cell<u64>,
    /// Times of the folders, set at the end because entries inside change them.
    folders: BTreeMap<EntryName, (i64, u32)>,
    /// Bytes of the names in it.
    names_bytes: u64,
}

impl Unpacker<'_> {
    fn unpack<R: Read>(
        &mut self,
        entry: &Entry,
        stream: &mut TarStream<'_, R>,
    ) -> Result<(), UnpackError> {
        let name = EntryName::parse(&entry.path, self.limits)?;
        if name.is_root() {
            return self.root_folder(&name, entry);
        }
        let file_name = name.file_name();
        if file_name.starts_with(WHITEOUT) {
            return self.whiteout(&name);
        }
        let parent = self.root.parent_of(&name)?;
        match &entry.kind {
            EntryKind::Directory => self.folder(&parent, name, entry),
            EntryKind::File => self.file(&parent, &name, entry, stream),
            EntryKind::Symlink => self.symlink(&parent, &name, entry),
            EntryKind::HardLink => self.hard_link(&parent, &name, entry),
            EntryKind::CharDevice { major, minor } => {
                let device = rustix::fs::makedev(*major, *minor);
                self.node(&parent, &name, entry, (FileType::CharacterDevice, device))
            }
            EntryKind::BlockDevice { major, minor } => {
                let device = rustix::fs::makedev(*major, *minor);
                self.node(&parent, &name, entry, (FileType::BlockDevice, device))
            }
            EntryKind::Fifo => self.node(&parent, &name, entry, (FileType::Fifo, 0)),
        }
    }

    fn root_folder(&mut self, name: &EntryName, entry: &Entry) -> Result<(), UnpackError> {
        if entry.kind != EntryKind::Directory {
            return Err(UnpackError::ReplacesFolder { name: name.shown() });
        }
        let folder = self.root.reopen(name)?;
        Metadata::of(entry, name).apply_to_fd(&folder)?;
        self.note_folder(name.clone(), entry)
    }

    /// Makes a folder, or takes over one that an earlier entry made.
    fn folder(
        &mut self,
        parent: &OwnedFd,
        name: EntryName,
        entry: &Entry,
    ) -> Result<(), UnpackError> {
        let existing = type_of(parent, &name)?;
        let hides_lower = match existing {
            Some(FileType::Directory) => false,
            None => {
                self.make_folder(parent, &name)?;
                false
            }
            Some(_other) => {
                let hides_lower = is_whiteout(parent, &name)?;
                remove_file(parent, &name)?;
                self.make_folder(parent, &name)?;
                hides_lower
            }
        };
        let folder = self.open_folder(parent, &name)?;
        Metadata::of(entry, &name).apply_to_fd(&folder)?;
        if hides_lower {
            set_opaque(&folder, &name)?;
        }
        self.note_folder(name, entry)
    }

    fn note_folder(&mut self, name: EntryName, entry: &Entry) -> Result<(), UnpackError> {
        let bytes = name.as_bytes().len() as u64;
        if self.folders.insert(name, entry.mtime).is_none() {
            self.names_bytes += bytes;
        }
        let max = self.limits.folder_names_bytes_max;
        match self.names_bytes > max {
            true => Err(UnpackError::FolderNames { max }),
            false => Ok(()),
        }
    }

    fn file<R: Read>(
        &self,
        parent: &OwnedFd,
        name: &EntryName,
        entry: &Entry,
        stream: &mut TarStream<'_, R>,
    ) -> Result<(), UnpackError> {
        make_room(parent, name)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        let file = rustix::fs::openat(parent, name.file_name(), flags, mode)
            .map_err(act("create", name))?;
        let file = std::fs::File::from(file);
        let mut data = Data {
            file: &file,
            name,
            holes: self.holes,
        };
        data.write(entry, stream, self.limits)?;
        let metadata = Metadata::of(entry, name);
        let file = OwnedFd::from(file);
        metadata.apply_to_fd(&file)?;
        metadata.set_times(&file)
    }

    fn symlink(
        &self,
        parent: &OwnedFd,
        name: &EntryName,
        entry: &Entry,
    ) -> Result<(), UnpackError> {
        if entry.link.is_empty()
            || entry.link.contains(&0)
            || entry.link.len() > self.limits.path_bytes_max
        {
            return Err(UnpackError::LinkTarget { name: name.shown() });
        }
        make_room(parent, name)?;
        rustix::fs::symlinkat(entry.link.as_slice(), parent, name.file_name())
            .map_err(act("create the link", name))?;
        Metadata::of(entry, name).apply_to_link(parent)
    }

    /// Links only to a file that this same layer has made, never to a folder or through a link.
    fn hard_link(
        &self,
        parent: &OwnedFd,
        name: &EntryName,
        entry: &Entry,
    ) -> Result<(), UnpackError> {
        let refused = || UnpackError::HardLinkTarget {
            name: name.shown(),
            target: name::shown(&entry.link),
        };
        let target = EntryName::parse(&entry.link, self.limits).map_err(|_why| refused())?;
        if target.is_root() {
            return Err(refused());
        }
        let target_parent = self
            .root
            .existing_parent_of(&target)
            .map_err(|_why| refused())?;
        match type_of(&target_parent, &target)? {
            None | Some(FileType::Directory) => return Err(refused()),
            Some(_file) => {}
        }
        if target == *name {
            return Ok(());
        }
        make_room(parent, name)?;
        let flags = AtFlags::empty();
        rustix::fs::linkat(
            &target_parent,
            target.file_name(),
            parent,
            name.file_name(),
            flags,
        )
        .map_err(|errno| match errno {
            // Target and name were two names of one entry, and making room removed it.
            Errno::NOENT => refused(),
            errno => act("create the hard link", name)(errno),
        })
    }

    fn node(
        &self,
        parent: &OwnedFd,
        name: &EntryName,
        entry: &Entry,
        (kind, device): (FileType, u64),
    ) -> Result<(), UnpackError> {
        make_room(parent, name)?;
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(parent, name.file_name(), kind, mode, device)
            .map_err(act("create the device", name))?;
        Metadata::of(entry, name).apply_to_node(parent)
    }

    /// Deletes something of the layers below: a device 0:0 in its place, or an opaque folder.
    fn whiteout(&self, name: &EntryName) -> Result<(), UnpackError> {
        let parent = self.root.parent_of(name)?;
        if name.file_name() == OPAQUE {
            let parent = self.root.reopen(&name.parent())?;
            return set_opaque(&parent, name);
        }
        if name.file_name().starts_with(UNION_METADATA) {
            return Ok(());
        }
        let hidden = name
            .sibling(&name.file_name()[WHITEOUT.len()..])
            .ok_or_else(|| UnpackError::Whiteout { name: name.shown() })?;
        match type_of(&parent, &hidden)? {
            // A whiteout hides what is below, not what this layer itself brings.
            Some(FileType::Directory) => set_opaque(&self.open_folder(&parent, &hidden)?, name),
            Some(_file) => Ok(()),
            None => {
                let (mode, device) = (Mode::empty(), rustix::fs::makedev(0, 0));
                let kind = FileType::CharacterDevice;
                rustix::fs::mknodat(&parent, hidden.file_name(), kind, mode, device)
                    .map_err(act("create the whiteout", name))
            }
        }
    }

    fn make_folder(&self, parent: &OwnedFd, name: &EntryName) -> Result<(), UnpackError> {
        rustix::fs::mkdirat(parent, name.file_name(), Mode::from_raw_mode(0o700))
            .map_err(act("create the folder", name))
    }

    fn open_folder(&self, parent: &OwnedFd, name: &EntryName) -> Result<OwnedFd, UnpackError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(parent, name.file_name(), flags, Mode::empty())
            .map_err(act("open the folder", name))
    }

    fn finish_folders(self) -> Result<(), UnpackError> {
        for (name, mtime) in &self.folders {
            let folder = self.root.reopen(name)?;
            metadata::set_mtime(&folder, *mtime).map_err(act("set the time of", name))?;
        }
        Ok(())
    }
}

/// What is there under a name, links not followed.
fn type_of(parent: &OwnedFd, name: &EntryName) -> Result<Option<FileType>, UnpackError> {
    match rustix::fs::statat(parent, name.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(act("look at", name)(errno)),
    }
}

fn is_whiteout(parent: &OwnedFd, name: &EntryName) -> Result<bool, UnpackError> {
    let stat = rustix::fs::statat(parent, name.file_name(), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(act("look at", name))?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    Ok(kind == FileType::CharacterDevice && stat.st_rdev == 0)
}

/// Removes an earlier entry of this name, so that the later one counts; folders are not replaced.
fn make_room(parent: &OwnedFd, name: &EntryName) -> Result<(), UnpackError> {
    match type_of(parent, name)? {
        None => Ok(()),
        Some(FileType::Directory) => Err(UnpackError::ReplacesFolder { name: name.shown() }),
        Some(_file) => remove_file(parent, name),
    }
}

fn remove_file(parent: &OwnedFd, name: &EntryName) -> Result<(), UnpackError> {
    rustix::fs::unlinkat(parent, name.file_name(), AtFlags::empty()).map_err(act("replace", name))
}

fn set_opaque(folder: &OwnedFd, name: &EntryName) -> Result<(), UnpackError> {
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::fsetxattr(folder, OPAQUE_XATTR, b"y", flags)
        .map_err(act("make the folder opaque for", name))
}
