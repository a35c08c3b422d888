//! Where a program lies: the one way to look for it, for whoever starts it and whoever tells
//! whether it is there.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The usual folders of system programs: a service's PATH, or a user's, may lack them.
const USUAL: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/usr/local/sbin"];

/// Finds a program by its name in the folders of `path`, the text of a PATH, then in the usual
/// ones. One that is named with its folder is only looked at.
pub fn find(name: &Path, path: &OsStr) -> Option<PathBuf> {
    find_below(Path::new("/"), name, path)
}

/// As [`find`], with `root` in the place of `/`; the answer has it in front.
pub fn find_below(root: &Path, name: &Path, path: &OsStr) -> Option<PathBuf> {
    let there = |file: &Path| {
        // A relative folder of PATH stays one: only what begins at `/` begins at `root`.
        let file = match file.strip_prefix("/") {
            Ok(below) => root.join(below),
            Err(_) => file.to_owned(),
        };
        file.is_file().then_some(file)
    };
    if name.components().count() > 1 {
        return there(name);
    }
    std::env::split_paths(path)
        .chain(USUAL.map(PathBuf::from))
        .find_map(|folder| there(&folder.join(name)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn path_comes_first_and_the_usual_folders_follow() {
        let dir = tempfile::tempdir().expect("a folder");
        let find = |name: &str, path: &str| {
            let found = find_below(dir.path(), Path::new(name), OsStr::new(path))?;
            Some(Path::new("/").join(found.strip_prefix(dir.path()).expect("below")))
        };
        assert_eq!(find("runc", "/opt/bin:/bin"), None);
        for folder in ["usr/sbin", "opt/bin"] {
            fs::create_dir_all(dir.path().join(folder)).expect("made");
            fs::write(dir.path().join(folder).join("runc"), "").expect("made");
        }
        assert_eq!(find("runc", "/opt/bin:/bin"), Some("/opt/bin/runc".into()));
        assert_eq!(find("runc", ""), Some("/usr/sbin/runc".into()));
        assert_eq!(
            find("/usr/sbin/runc", "/opt/bin"),
            Some("/usr/sbin/runc".into())
        );
        assert_eq!(find("/bin/runc", "/opt/bin"), None);
    }
}
