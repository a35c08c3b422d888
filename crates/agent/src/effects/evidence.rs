//! Where a plugin listens when it does not listen where it should.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Folders deep and entries in all that are looked at: sockets lie in `/tmp`, `/var/run/x` and
/// the like, and an image may write a whole tree at its start.
const DEPTH_MAX: usize = 6;
const ENTRIES_MAX: usize = 20_000;

/// Sockets that are named at most.
const SOCKETS_MAX: usize = 5;

/// Finds sockets below a folder, as paths that begin with `prefix`, shortest first.
pub(crate) fn sockets_below(root: &Path, prefix: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut entries_left = ENTRIES_MAX;
    let mut folders = vec![(root.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            if entries_left == 0 {
                return shortest(found);
            }
            entries_left -= 1;
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if kind.is_socket() {
                found.extend(inside(&entry.path(), root, prefix));
            } else if kind.is_dir() && depth < DEPTH_MAX {
                folders.push((entry.path(), depth + 1));
            }
        }
    }
    shortest(found)
}

fn inside(path: &Path, root: &Path, prefix: &Path) -> Option<String> {
    let below: PathBuf = prefix.join(path.strip_prefix(root).ok()?);
    Some(below.to_string_lossy().into_owned())
}

fn shortest(mut found: Vec<String>) -> Vec<String> {
    found.sort_by_key(|path| (path.len(), path.clone()));
    found.truncate(SOCKETS_MAX);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_found_as_the_container_sees_them() {
        let dir = tempfile::tempdir().expect("a folder");
        let deep = dir.path().join("var/run");
        fs::create_dir_all(&deep).expect("folders");
        fs::write(dir.path().join("file"), "").expect("a file");
        let _a = std::os::unix::net::UnixListener::bind(deep.join("a.sock")).expect("a socket");
        let _b = std::os::unix::net::UnixListener::bind(dir.path().join("b")).expect("a socket");
        assert_eq!(
            sockets_below(dir.path(), Path::new("/")),
            ["/b", "/var/run/a.sock"]
        );
        assert!(sockets_below(Path::new("/nowhere"), Path::new("/")).is_empty());
    }
}
