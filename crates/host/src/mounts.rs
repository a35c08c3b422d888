//! The mount table, and changing it.
//!
//! Owns the reading of /proc/self/mountinfo and the words for mount options. Every answer
//! comes from the kernel at the moment of the question. Never mounts over anything that it
//! was not told of and never unmounts lazily: what is busy is an error.
//! Source: proc(5), mount(2).

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, move_mount, open_tree,
    unmount as unmount_at,
};

use crate::beneath::Found;

const MOUNTINFO: &str = "/proc/self/mountinfo";

/// The options that the kernel takes as flags; all others go to the file system.
const FLAGS: [(&str, MountFlags); 10] = [
    ("ro", MountFlags::RDONLY),
    ("nosuid", MountFlags::NOSUID),
    ("nodev", MountFlags::NODEV),
    ("noexec", MountFlags::NOEXEC),
    ("sync", MountFlags::SYNCHRONOUS),
    ("dirsync", MountFlags::DIRSYNC),
    ("noatime", MountFlags::NOATIME),
    ("nodiratime", MountFlags::NODIRATIME),
    ("relatime", MountFlags::RELATIME),
    ("strictatime", MountFlags::STRICTATIME),
];

/// Options that say what is so anyway.
const DEFAULTS: [&str; 2] = ["rw", "defaults"];

/// One line of the mount table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The kernel's number for this mount.
    pub id: u64,
    /// Device number of the file system, as stat gives it.
    pub dev: u64,
    /// What part of the file system is mounted.
    pub root: PathBuf,
    /// Where.
    pub target: PathBuf,
    /// Options of this mount.
    pub options: Vec<String>,
    /// Whether mounts made below it appear in its peers, and theirs in it.
    pub is_shared: bool,
    /// The file system's type.
    pub fs_type: String,
}

/// The mounts that this process sees, in the order they were made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountTable(Vec<Mount>);

/// Between tries to unmount what is busy; the kernel has no event for its end.
const BUSY_POLL: Duration = Duration::from_millis(5);

/// Why the mount table could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The table cannot be read.
    #[error("cannot read {MOUNTINFO}")]
    ReadTable {
        /// The kernel's word.
        source: io::Error,
    },
    /// A line of the table has another form than is known.
    #[error("cannot understand the line {line:?} of {MOUNTINFO}")]
    ParseTable { line: String },
    /// A mount option holds a zero byte.
    #[error("the mount option {option:?} is not text")]
    Option { option: String },
    /// The kernel would not mount.
    #[error("cannot mount {from} at {target}")]
    Mount {
        /// Device or folder.
        from: PathBuf,
        /// Where.
        target: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
    /// The kernel would not unmount.
    #[error("cannot unmount {target}")]
    Unmount {
        /// Where.
        target: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
}

impl From<MountError> for io::Error {
    fn from(error: MountError) -> Self {
        Self::other(error)
    }
}

impl MountTable {
    /// Reads the table.
    ///
    /// # Errors
    /// It cannot be read or understood.
    pub fn read() -> Result<Self, MountError> {
        let bytes = fs::read(MOUNTINFO).map_err(|source| MountError::ReadTable { source })?;
        Self::parse(&bytes)
    }

    fn parse(table: &[u8]) -> Result<Self, MountError> {
        let line = |line: &[u8]| {
            parse_line(line).ok_or_else(|| MountError::ParseTable {
                line: String::from_utf8_lossy(line).into_owned(),
            })
        };
        let lines = table.split(|byte| *byte == b'\n');
        let lines = lines.filter(|line| !line.is_empty());
        lines.map(line).collect::<Result<_, _>>().map(Self)
    }

    /// What is mounted at this path: the topmost, if there are several.
    pub fn at(&self, target: &Path) -> Option<&Mount> {
        self.0.iter().rev().find(|mount| mount.target == target)
    }

    /// Every mount at or below a folder, in the order they were made: a later one may cover an
    /// earlier. `folder` must be canonical, as the kernel prints it.
    pub fn under<'a>(&'a self, folder: &Path) -> impl Iterator<Item = &'a Mount> + use<'a> {
        let folder = folder.to_owned();
        self.0
            .iter()
            .filter(move |mount| mount.target.starts_with(&folder))
    }

    /// The mount with this number, as `statx` gives it.
    pub fn by_id(&self, id: u64) -> Option<&Mount> {
        self.0.iter().find(|mount| mount.id == id)
    }

    /// Every mount of a file system that lies on this device.
    pub fn of_device(&self, dev: u64) -> impl Iterator<Item = &Mount> {
        self.0.iter().filter(move |mount| mount.dev == dev)
    }

    /// Every mount of a device node with this name.
    pub fn of_node<'a>(&'a self, node: &Path) -> impl Iterator<Item = &'a Mount> + use<'a> {
        let name = node.file_name().expect("a device node has a name");
        let root = Path::new("/").join(name);
        self.0
            .iter()
            .filter(move |mount| mount.fs_type == "devtmpfs" && mount.root == root)
    }
}

impl Mount {
    /// Whether writing is forbidden here.
    pub fn is_read_only(&self) -> bool {
        self.options.iter().any(|option| option == "ro")
    }
}

/// Lists every mount point at or below a folder, in the order they were made.
///
/// `folder` must be canonical, as the kernel prints it.
///
/// # Errors
/// The table cannot be read or understood: then nothing is known, and nothing may be deleted.
pub fn points_under(folder: &Path) -> Result<Vec<PathBuf>, MountError> {
    let table = MountTable::read()?;
    Ok(table
        .under(folder)
        .map(|mount| mount.target.clone())
        .collect())
}

/// Tells whether something is mounted at exactly this canonical path.
///
/// # Errors
/// The table cannot be read or understood.
pub fn is_mount_point(path: &Path) -> Result<bool, MountError> {
    Ok(MountTable::read()?.at(path).is_some())
}

/// Tells whether a path is the root of a mount; false where nothing is. The path itself may not be
/// a link: whoever could write there would choose what is looked at.
///
/// Asks the kernel alone, never the server of a file system: it does not hang with one, and it
/// reads no table.
///
/// # Errors
/// The kernel will not say.
pub fn is_root_of_mount(path: &Path) -> io::Result<bool> {
    let flags = AtFlags::NO_AUTOMOUNT | AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_DONT_SYNC;
    let found = match statx(CWD, path, flags, StatxFlags::MNT_ID) {
        Ok(found) => found,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(false),
        Err(errno) => return Err(errno.into()),
    };
    let known = found
        .stx_attributes_mask
        .contains(StatxAttributes::MOUNT_ROOT);
    match known {
        true => Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)),
        // Before Linux 5.8 only the table tells.
        false => Ok(is_mount_point(&resolve(path)?)?),
    }
}

/// Source: proc(5): id, parent, device, root, target, options, optional fields, `-`, type.
fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let mut next = || fields.next();
    let (id, _parent, device) = (next()?, next()?, text(next()?)?);
    let (root, target, options) = (next()?, next()?, text(next()?)?);
    let mut rest = fields
        .by_ref()
        .map_while(|field| (field != b"-").then_some(field));
    // All of them, so that the iterator stands behind the lone `-`.
    let is_shared = rest.by_ref().filter(|f| f.starts_with(b"shared:")).count() > 0;
    let (major, minor) = device.split_once(':')?;
    Some(Mount {
        id: text(id)?.parse().ok()?,
        dev: rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?),
        root: unescape(root),
        target: unescape(target),
        options: options.split(',').map(str::to_owned).collect(),
        is_shared,
        fs_type: text(fields.next()?)?.to_owned(),
    })
}

fn text(field: &[u8]) -> Option<&str> {
    str::from_utf8(field).ok()
}

/// Undoes the kernel's `\040` for space, tab, newline and backslash. Other bytes stay as they
/// are: a path need not be UTF-8.
fn unescape(field: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(field.len());
    let mut at = 0;
    while at < field.len() {
        let code = field.get(at + 1..at + 4).filter(|_| field[at] == b'\\');
        let code = code.and_then(|code| u8::from_str_radix(text(code)?, 8).ok());
        path.push(code.unwrap_or(field[at]));
        at += if code.is_some() { 4 } else { 1 };
    }
    PathBuf::from(std::ffi::OsString::from_vec(path))
}

/// Mounts the file system on a device, without access times unless the options ask for them.
///
/// # Errors
/// An option is not text, or the kernel refused; an unknown option is refused by the kernel.
pub fn mount_device(
    device: &Path,
    target: &Path,
    fs_type: &str,
    options: &[String],
) -> Result<(), MountError> {
    let (mut flags, rest) = split_options(options);
    let atime = MountFlags::NOATIME | MountFlags::RELATIME | MountFlags::STRICTATIME;
    if !flags.intersects(atime) {
        flags |= MountFlags::NOATIME;
    }
    let data = CString::new(rest.join(",")).map_err(|_| MountError::Option {
        option: rest.join(","),
    })?;
    let failed = |error: rustix::io::Errno| MountError::Mount {
        from: device.to_owned(),
        target: target.to_owned(),
        source: error.into(),
    };
    mount(device, target, fs_type, flags, Some(data.as_c_str())).map_err(failed)
}

/// Makes what is at one path appear at another, for reading only if so asked: the target is
/// never writable for a moment first.
///
/// # Errors
/// The kernel refused. Reading only needs Linux 5.12.
pub fn bind(from: &Path, target: &Path, read_only: bool) -> Result<(), MountError> {
    let bound = || {
        let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(CWD, from, clone)?;
        if read_only {
            crate::mountattr::forbid_writing(&tree)?;
        }
        move_mount(
            tree,
            "",
            CWD,
            target,
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )
    };
    bound().map_err(|error| MountError::Mount {
        from: from.to_owned(),
        target: target.to_owned(),
        source: error.into(),
    })
}

/// Makes what a descriptor shows, with all that is mounted below it, appear at a path as well.
/// It is what was opened, whatever has become of its name; and its ties are cut, so that nothing
/// that is mounted or unmounted where it came from changes it.
///
/// # Errors
/// The kernel refused. Needs Linux 5.12.
pub fn pin(found: &Found, target: &Path) -> Result<(), MountError> {
    let pinned = || {
        let copy = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE
            | OpenTreeFlags::AT_EMPTY_PATH;
        let tree = open_tree(found, "", copy)?;
        crate::mountattr::make_private(&tree)?;
        let empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(tree, "", CWD, target, empty)
    };
    pinned().map_err(|error| MountError::Mount {
        from: found.path.clone(),
        target: target.to_owned(),
        source: error.into(),
    })
}

/// Takes away every mount at and below a folder, the last made first; gives how many there were.
/// `folder` must be canonical, as the kernel prints it.
///
/// # Errors
/// One is busy, or the table cannot be read. The others that were made later are gone.
pub fn unmount_all(folder: &Path) -> Result<usize, MountError> {
    let points = points_under(folder)?;
    points.iter().rev().try_for_each(|point| unmount(point))?;
    Ok(points.len())
}

/// Takes the topmost mount at this path away.
///
/// # Errors
/// It is busy, or the kernel refused.
pub fn unmount(target: &Path) -> Result<(), MountError> {
    unmount_at(target, UnmountFlags::NOFOLLOW).map_err(|error| MountError::Unmount {
        target: target.to_owned(),
        source: error.into(),
    })
}

/// As [`unmount`], and waits a while for whoever is just looking at the mount: a lookup of a path,
/// or a start of a container that copies all mounts, keeps it busy for moments.
///
/// # Errors
/// It is busy for longer than `patience`, or the kernel refused.
pub fn unmount_soon(target: &Path, patience: Duration) -> Result<(), MountError> {
    let start = Instant::now();
    loop {
        match unmount(target) {
            Err(MountError::Unmount { source, .. })
                if source.kind() == io::ErrorKind::ResourceBusy && start.elapsed() < patience =>
            {
                std::thread::sleep(BUSY_POLL);
            }
            done => return done,
        }
    }
}

/// The path as the mount table writes it: links before the last part are followed.
///
/// # Errors
/// The folder that holds the last part is not there or cannot be looked at.
pub fn resolve(path: &Path) -> io::Result<PathBuf> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok(fs::canonicalize(parent)?.join(name)),
        _ => fs::canonicalize(path),
    }
}

fn split_options(options: &[String]) -> (MountFlags, Vec<&str>) {
    let mut flags = MountFlags::empty();
    let mut rest = Vec::new();
    for option in options.iter().flat_map(|options| options.split(',')) {
        match FLAGS.iter().find(|(name, _)| *name == option) {
            Some((_, flag)) => flags |= *flag,
            None if option.is_empty() || DEFAULTS.contains(&option) => {}
            None => rest.push(option),
        }
    }
    (flags, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
91 22 7:3 / /var/lib/a\\040b rw,noatime shared:1 master:2 - ext4 /dev/loop3 rw
92 22 7:3 / /var/lib/target ro,noatime - ext4 /dev/loop3 rw
93 22 0:5 /loop4 /var/lib/block rw - devtmpfs udev rw
94 22 7:9 / /var/lib/target rw - xfs /dev/loop9 rw
";

    #[test]
    fn a_mount_that_is_busy_for_a_moment_is_waited_for() {
        let dir = tempfile::tempdir().expect("temp dir");
        let none = MountFlags::empty();
        rustix::mount::mount("tmpfs", dir.path(), "tmpfs", none, None).expect("run as root");
        let held = fs::File::open(dir.path()).expect("open");
        assert!(
            unmount_soon(dir.path(), Duration::ZERO).is_err(),
            "it is busy"
        );
        let path = dir.path().to_owned();
        // Only a hung test waits this long.
        let waiting = std::thread::spawn(move || unmount_soon(&path, Duration::from_secs(60)));
        drop(held);
        waiting.join().expect("no panic").expect("unmounted");
        assert!(!is_root_of_mount(dir.path()).expect("looked"));
    }

    #[test]
    fn the_table_is_read_as_the_kernel_writes_it() {
        let table = MountTable::parse(TABLE.as_bytes()).expect("a good table");
        let staged = table.at(Path::new("/var/lib/a b")).expect("a mount");
        assert_eq!(
            (staged.dev, staged.fs_type.as_str()),
            (rustix::fs::makedev(7, 3), "ext4")
        );
        assert!(!staged.is_read_only());
        let targets: Vec<_> = table
            .of_device(staged.dev)
            .map(|mount| &mount.target)
            .collect();
        assert_eq!(
            targets,
            [Path::new("/var/lib/a b"), Path::new("/var/lib/target")]
        );
        let block: Vec<_> = table.of_node(Path::new("/dev/loop4")).collect();
        assert_eq!(block.len(), 1);
        assert_eq!(table.of_node(Path::new("/dev/loop3")).count(), 0);
    }

    #[test]
    fn mounts_below_a_folder_are_found_and_neighbours_are_not() {
        let table = b"22 1 8:1 / /a rw - ext4 /dev/sda rw\n\
            23 22 0:3 / /a/b\\040c rw shared:1 - tmpfs tmpfs rw\n\
            24 22 0:4 / /ab rw master:1 - tmpfs tmpfs rw\n\
            25 22 0:4 / /a/\xff rw - tmpfs tmpfs rw\n";
        let table = MountTable::parse(table).expect("a good table");
        let below: Vec<_> = table.under(Path::new("/a")).map(|m| &m.target).collect();
        let odd = std::ffi::OsString::from_vec(b"/a/\xff".to_vec());
        assert_eq!(
            below,
            [Path::new("/a"), Path::new("/a/b c"), Path::new(&odd)]
        );
        assert_eq!(table.under(Path::new("/a/b")).count(), 0);
        let is_shared = |id| table.by_id(id).map(|mount| mount.is_shared);
        assert_eq!(
            [22, 23, 24, 9].map(is_shared),
            [Some(false), Some(true), Some(false), None]
        );
    }

    #[test]
    fn the_root_of_a_mount_is_told_from_a_folder_and_from_nothing() {
        assert!(is_root_of_mount(Path::new("/proc")).expect("asked"));
        assert!(!is_root_of_mount(Path::new("/proc/sys")).expect("asked"));
        assert!(!is_root_of_mount(Path::new("/no/such/path")).expect("asked"));
        // A link is not what it leads to.
        let dir = tempfile::tempdir().expect("a temporary folder");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/proc", &link).expect("made");
        assert!(!is_root_of_mount(&link).expect("asked"));
    }

    #[test]
    fn the_topmost_mount_of_a_path_counts() {
        let table = MountTable::parse(TABLE.as_bytes()).expect("a good table");
        let top = table.at(Path::new("/var/lib/target")).expect("a mount");
        assert_eq!(top.fs_type, "xfs");
        assert!(table.at(Path::new("/var/lib")).is_none());
    }

    #[test]
    fn a_pin_shows_what_was_opened_and_what_happens_there_later_does_not_change_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let dir = dir.path().canonicalize().expect("it is there");
        for name in ["ours", "theirs/v"] {
            fs::create_dir_all(dir.join(name)).expect("a folder");
        }
        let base = crate::beneath::Base::open(&dir).expect("it is there");
        let (theirs, pinned) = (dir.join("theirs/v"), dir.join("ours"));
        let tmpfs = |at: &Path| mount("tmpfs", at, "tmpfs", MountFlags::empty(), None);
        tmpfs(&theirs).expect("run as root");
        fs::write(theirs.join("f"), "kept").expect("a file");
        fs::create_dir(theirs.join("inner")).expect("a folder");
        let found = base.look(Path::new("theirs/v")).expect("it is there");
        pin(&found, &pinned).expect("pinned");
        // A mount is busy while somebody holds it open.
        drop(found);
        unmount_all(&theirs).expect("it goes");
        tmpfs(&theirs).expect("run as root");
        assert_eq!(fs::read(pinned.join("f")).expect("it stays"), b"kept");
        assert_eq!(
            points_under(&pinned).expect("read"),
            std::slice::from_ref(&pinned)
        );
        assert_eq!(unmount_all(&pinned).expect("it goes"), 1);
        assert!(!pinned.join("f").exists());
        unmount_all(&theirs).expect("it goes");
    }

    #[test]
    fn a_line_of_another_form_is_refused_with_its_text() {
        for line in [
            "22 1 254:0 / /",
            "22 1 254 / / rw - ext4 a b",
            "a b c d e f g",
        ] {
            let error = MountTable::parse(line.as_bytes())
                .expect_err("must be refused")
                .to_string();
            assert!(error.contains(line), "{error}");
        }
    }

    #[test]
    fn options_become_flags_or_go_to_the_file_system() {
        let options = ["ro,nosuid", "rw", "data=journal", "", "barrier=0"].map(str::to_owned);
        let (flags, rest) = split_options(&options);
        assert_eq!(flags, MountFlags::RDONLY | MountFlags::NOSUID);
        assert_eq!(rest, ["data=journal", "barrier=0"]);
    }
}
