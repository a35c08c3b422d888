//! What the kernel says is mounted below a path.
//! Reads `/proc/self/mountinfo` afresh each time and remembers nothing; it never mounts.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Returns every mount point at or below `dir`, in mount order (a later one may cover an earlier).
///
/// `dir` must be canonical, as the kernel prints it.
pub(crate) fn mount_points_under(dir: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(select_under(&fs::read("/proc/self/mountinfo")?, dir))
}

/// Tells whether something is mounted at exactly `dir`.
pub(crate) fn is_mount_point(dir: &Path) -> io::Result<bool> {
    Ok(mount_points_under(dir)?.iter().any(|point| point == dir))
}

fn select_under(mountinfo: &[u8], dir: &Path) -> Vec<PathBuf> {
    const MOUNT_POINT_FIELD: usize = 4;
    mountinfo
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(MOUNT_POINT_FIELD))
        .map(unescape)
        .filter(|point| point.starts_with(dir))
        .collect()
}

/// Undoes the kernel's `\ooo` for space, tab, newline and backslash.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        if let (b'\\', Some(octal)) = (first, tail.get(..3).and_then(parse_octal)) {
            bytes.push(octal);
            rest = &tail[3..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

fn parse_octal(digits: &[u8]) -> Option<u8> {
    let text = std::ffi::OsStr::from_bytes(digits).to_str()?;
    u8::from_str_radix(text, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_mount_points_are_found_and_neighbours_are_not() {
        let table = b"22 1 8:1 / /a rw - ext4 /dev/sda rw\n\
            23 22 0:3 / /a/b\\040c rw shared:1 - tmpfs tmpfs rw\n\
            24 22 0:4 / /ab rw - tmpfs tmpfs rw\n";
        assert_eq!(
            select_under(table, Path::new("/a")),
            [PathBuf::from("/a"), PathBuf::from("/a/b c")]
        );
        assert_eq!(select_under(table, Path::new("/a/b")), [] as [PathBuf; 0]);
    }
}
