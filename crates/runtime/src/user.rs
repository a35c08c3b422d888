//! Finding the numeric user and groups of an image's user inside its root file system.
//!
//! The image is not trusted: its files are opened without leaving its root, only if regular, and
//! read up to a bound. Source: OCI image configuration, `config.User`.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};

/// Largest `/etc/passwd` or `/etc/group` of an image that is read; real ones have a few KiB.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why a user could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// The name is not in the image's `/etc/passwd`.
    #[error("user {name:?} is not in the image's /etc/passwd")]
    UnknownUser { name: String },
    /// The name is not in the image's `/etc/group`.
    #[error("group {name:?} is not in the image's /etc/group")]
    UnknownGroup { name: String },
    /// A file of the image could not be read.
    #[error("cannot read {} of the image", path.display())]
    Read {
        /// Path inside the image.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A user as numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
}

/// Resolves `""`, `uid`, `uid:gid`, `name` or `name:group` against the files of `rootfs`.
///
/// # Errors
/// If a name is unknown, or a file that is needed cannot be read.
pub fn resolve(rootfs: &Path, text: &str) -> Result<User, UserError> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let passwd = read_inside(rootfs, "etc/passwd")?;
    let groups = read_inside(rootfs, "etc/group")?;
    resolve_in(&passwd, &groups, (user, group.filter(|g| !g.is_empty())))
}

fn resolve_in(
    passwd: &str,
    group_file: &str,
    (user, group): (&str, Option<&str>),
) -> Result<User, UserError> {
    let user = if user.is_empty() { "0" } else { user };
    let number = user.parse::<u32>().ok();
    let entry =
        passwd_entries(passwd).find(|e| number.map_or(e.name == user, |number| e.uid == number));
    let (uid, gid) = match (&entry, number) {
        (Some(entry), _) => (entry.uid, entry.gid),
        (None, Some(number)) => (number, 0),
        (None, None) => {
            return Err(UserError::UnknownUser {
                name: user.to_owned(),
            });
        }
    };
    let Some(group) = group else {
        // Only a user that asks for no group gets the groups that list it.
        let name = entry.map_or("", |entry| entry.name);
        let groups = group_entries(group_file)
            .filter(|g| g.gid != gid && !name.is_empty() && g.members.split(',').any(|m| m == name))
            .map(|g| g.gid)
            .collect();
        return Ok(User { uid, gid, groups });
    };
    let named = group_entries(group_file)
        .find(|g| g.name == group)
        .map(|g| g.gid);
    let gid = group
        .parse()
        .ok()
        .or(named)
        .ok_or_else(|| UserError::UnknownGroup {
            name: group.to_owned(),
        })?;
    Ok(User {
        uid,
        gid,
        groups: Vec::new(),
    })
}

struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
}

/// Lines that are not well formed are passed over, as the C library does.
fn passwd_entries(text: &str) -> impl Iterator<Item = PasswdEntry<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(PasswdEntry { name, uid, gid })
    })
}

struct GroupEntry<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

fn group_entries(text: &str) -> impl Iterator<Item = GroupEntry<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some(GroupEntry {
            name,
            gid,
            members: fields.next().unwrap_or(""),
        })
    })
}

/// Reads a file of the image, empty if it is not there.
fn read_inside(rootfs: &Path, path: &str) -> Result<String, UserError> {
    let error = |source: io::Error| UserError::Read {
        path: Path::new("/").join(path),
        source,
    };
    let root_flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(rootfs, root_flags, Mode::empty()).map_err(|e| error(e.into()))?;
    // NONBLOCK: a FIFO in the image must not hold us.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = match rustix::fs::openat2(&root, path, flags, Mode::empty(), inside) {
        Ok(fd) => std::fs::File::from(fd),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(String::new()),
        Err(errno) => return Err(error(errno.into())),
    };
    if !file.metadata().map_err(error)?.is_file() {
        return Err(error(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        )));
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(error)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(error(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "over 1 MiB",
        )));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0::/root:/bin/sh\nbroken\napp:x:1000:1001::/:/bin/sh\n";
    const GROUP: &str = "root:x:0:\napp:x:1001:\ndisk:x:6:app,other\n";

    fn resolved(user: &str, group: Option<&str>) -> Result<User, UserError> {
        resolve_in(PASSWD, GROUP, (user, group))
    }

    #[test]
    fn users_resolve_by_name_and_number() {
        let app = User {
            uid: 1000,
            gid: 1001,
            groups: vec![6],
        };
        assert_eq!(resolved("app", None).expect("known"), app);
        assert_eq!(resolved("1000", None).expect("known number"), app);
        assert_eq!(resolved("", None).expect("root"), User::default());
        let bare = User {
            uid: 7,
            gid: 0,
            groups: vec![],
        };
        assert_eq!(resolved("7", None).expect("unknown number"), bare);
        let explicit = User {
            uid: 1000,
            gid: 6,
            groups: vec![],
        };
        assert_eq!(
            resolved("app", Some("disk")).expect("named group"),
            explicit
        );
        assert_eq!(resolved("app", Some("99")).expect("numbered group").gid, 99);
    }

    #[test]
    fn unknown_names_are_refused() {
        assert!(matches!(
            resolved("nobody", None),
            Err(UserError::UnknownUser { .. })
        ));
        assert!(matches!(
            resolved("app", Some("nope")),
            Err(UserError::UnknownGroup { .. })
        ));
    }

    #[test]
    fn links_in_the_image_cannot_reach_the_hosts_files() {
        let dir = tempfile::tempdir().expect("temp dir");
        std::fs::create_dir(dir.path().join("etc")).expect("etc");
        let link = dir.path().join("etc/passwd");
        std::os::unix::fs::symlink("../../../../../../../../etc/passwd", link).expect("link");
        // Inside its own root the link points at itself or at nothing, never at the host's.
        let found = resolve(dir.path(), "daemon");
        assert!(found.is_err(), "resolved through the host: {found:?}");
    }
}
