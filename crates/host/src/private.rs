//! Folders and files that only their owner may enter and read, whoever made them.
//!
//! What is there already with looser modes is tightened; what belongs to somebody else is
//! refused, for its owner can change it, and its modes, at any time.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::Path;

const FILE: u32 = 0o600;
const FOLDER: u32 = 0o700;

/// Every right of others than the owner.
const OF_OTHERS: u32 = 0o077;

/// The right of others than the owner to put in, rename and remove.
const WRITE_OF_OTHERS: u32 = 0o022;

/// With it, only an entry's owner renames and removes it, as in /tmp.
const STICKY: u32 = 0o1000;

/// Makes a folder and those above it, and makes it private if it was there. A link in its place
/// is refused: whoever made it chose what would be made private.
///
/// # Errors
/// If it cannot be made, is no folder, or belongs to another user.
pub fn ensure_folder(path: &Path) -> io::Result<()> {
    let (folder, found) = open_folder(path, libc::O_NOFOLLOW)?;
    match found.mode() & 0o777 == FOLDER {
        true => Ok(()),
        false => folder.set_permissions(Permissions::from_mode(FOLDER)),
    }
}

/// Makes a folder and those above it. If it was there it becomes private where it is empty or
/// holds nothing but `ours`; a folder that others use too keeps their right to read, and loses
/// their right to put something in the place of ours. It may be a link, as an operator makes it.
///
/// # Errors
/// As [`ensure_folder`].
pub fn ensure_folder_of(path: &Path, ours: &[&str]) -> io::Result<()> {
    let (folder, found) = open_folder(path, 0)?;
    let mode = found.mode() & 0o7777;
    if mode & OF_OTHERS == 0 {
        return Ok(());
    }
    let wanted = if holds_only(path, ours)? {
        FOLDER
    } else if mode & STICKY != 0 {
        mode
    } else {
        mode & !WRITE_OF_OTHERS
    };
    match wanted == mode {
        true => Ok(()),
        false => folder.set_permissions(Permissions::from_mode(wanted)),
    }
}

/// Makes an open file private; tells whether others could read or write it until now.
///
/// # Errors
/// If it belongs to another user, or its mode cannot be changed.
pub fn ensure_file(file: &File) -> io::Result<bool> {
    let found = file.metadata()?;
    ensure_own(&found)?;
    if found.mode() & OF_OTHERS == 0 {
        return Ok(false);
    }
    file.set_permissions(Permissions::from_mode(FILE))?;
    Ok(true)
}

fn open_folder(path: &Path, flags: i32) -> io::Result<(File, Metadata)> {
    DirBuilder::new()
        .recursive(true)
        .mode(FOLDER)
        .create(path)?;
    let folder = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    let found = folder.metadata()?;
    if !found.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    ensure_own(&found)?;
    Ok((folder, found))
}

/// Root's is as good as ours: it can do everything anyway.
fn ensure_own(found: &Metadata) -> io::Result<()> {
    let owner = found.uid();
    if owner == 0 || owner == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!("it belongs to user {owner}, who can read and change what is in it"),
    ))
}

fn holds_only(path: &Path, ours: &[&str]) -> io::Result<bool> {
    for entry in path.read_dir()? {
        let name = entry?.file_name();
        // What mkfs makes in a file system of one's own.
        if name != "lost+found" && !ours.iter().any(|ours| name == *ours) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn with_mode(mode: u32) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("state");
        fs::create_dir(&path).expect("made");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("ours");
        (dir, path)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").mode() & 0o7777
    }

    #[test]
    fn a_folder_of_others_making_becomes_private() {
        for loose in [0o755, 0o777, 0o1777, 0o500] {
            let (_dir, path) = with_mode(loose);
            ensure_folder(&path).expect("ours");
            assert_eq!(mode(&path), 0o700, "was {loose:o}");
        }
    }

    #[test]
    fn a_folder_that_others_use_stays_readable_and_nobody_replaces_ours() {
        for (loose, empty, shared) in [
            (0o755, 0o700, 0o755),
            (0o777, 0o700, 0o755),
            (0o1777, 0o700, 0o1777),
        ] {
            let (_dir, path) = with_mode(loose);
            fs::write(path.join("theirs"), "").expect("writable");
            ensure_folder_of(&path, &["ours"]).expect("ours");
            assert_eq!(mode(&path), shared, "was {loose:o}");
            let (_dir, path) = with_mode(loose);
            fs::write(path.join("ours"), "").expect("writable");
            ensure_folder_of(&path, &["ours"]).expect("ours");
            assert_eq!(mode(&path), empty, "was {loose:o}");
        }
    }

    #[test]
    fn what_belongs_to_another_user_is_refused() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let (_dir, path) = with_mode(0o700);
        let file = path.join("token");
        fs::write(&file, "").expect("writable");
        for path in [&file, &path] {
            std::os::unix::fs::chown(path, Some(12345), None).expect("root may");
        }
        let error = ensure_folder(&path).expect_err("theirs").to_string();
        assert!(error.contains("user 12345"), "{error}");
        assert!(ensure_folder_of(&path, &[]).is_err());
        assert!(ensure_file(&File::open(&file).expect("there")).is_err());
    }

    #[test]
    fn a_loose_file_is_tightened_and_that_is_told() {
        let (_dir, path) = with_mode(0o700);
        let path = path.join("token");
        fs::write(&path, "").expect("writable");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("ours");
        let file = File::open(&path).expect("there");
        assert!(ensure_file(&file).expect("ours"));
        assert_eq!(mode(&path), 0o600);
        assert!(!ensure_file(&file).expect("ours"));
    }
}
