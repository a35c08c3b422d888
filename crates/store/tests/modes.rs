//! The law of modes: only the owner may read a store. One test, for a umask is the process's.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::Mode;
use rustix::process::umask;
use sutler_store::{Schema, Store};

const SCHEMA: Schema = Schema {
    kind: "test",
    version: 1,
};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn files_are_for_their_owner_whatever_the_umask_and_whoever_made_them() {
    for mask in [0o022, 0o000, 0o277] {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("made");
        let files = ["books.redb", "books.redb.lock"].map(|name| folder.join(name));
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
        umask(Mode::from_raw_mode(mask));
        Store::open(&files[0], SCHEMA).unwrap();
        assert_eq!(files.each_ref().map(|file| mode(file) & 0o077), [0, 0]);
        assert_eq!(mode(&files[0]), 0o600, "with umask {mask:03o}");
        for loose in [0o644, 0o666] {
            for file in &files {
                fs::set_permissions(file, Permissions::from_mode(loose)).unwrap();
            }
            Store::open(&files[0], SCHEMA).unwrap();
            assert_eq!(files.each_ref().map(|file| mode(file)), [0o600; 2]);
        }
        umask(Mode::from_raw_mode(0o022));
    }
}
