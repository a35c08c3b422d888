//! Formatting: what comes out, and what is never touched.

use super::*;
use crate::size::MIB;

fn blank_image(folder: &Path, bytes: u64) -> PathBuf {
    let path = folder.join("data.img");
    File::create(&path)
        .expect("create")
        .set_len(bytes)
        .expect("set length");
    path
}

#[test]
fn a_new_file_system_has_the_uuid_that_was_chosen_and_passes_its_check() {
    let folder = tempfile::tempdir().expect("temp dir");
    for fs in FsKind::ALL {
        let image = blank_image(folder.path(), 300 * MIB);
        let uuid = Uuid::new_v4();
        format(&image, fs, uuid).expect("format");
        let found = superblock::probe(&image).expect("probe");
        assert_eq!(
            found,
            Found::Filesystem {
                fs,
                uuid,
                bytes: 300 * MIB,
                has_errors: false
            }
        );
        let check = match fs {
            FsKind::Ext4 => ["e2fsck", "-f", "-n"],
            FsKind::Xfs => ["xfs_repair", "-n", "-f"],
        };
        let mut command = std::process::Command::new(check[0]);
        let checked = command
            .args(&check[1..])
            .arg(&image)
            .output()
            .expect("start the check");
        assert!(checked.status.success(), "{fs}: {checked:?}");
    }
}

#[test]
fn the_smallest_ext4_volume_has_a_journal() {
    let folder = tempfile::tempdir().expect("temp dir");
    let image = blank_image(folder.path(), crate::size::least(Some(FsKind::Ext4)));
    format(&image, FsKind::Ext4, Uuid::new_v4()).expect("format");
    let mut features = [0_u8; 4];
    File::open(&image)
        .expect("open")
        .read_exact_at(&mut features, 1024 + 92)
        .expect("read");
    assert_ne!(u32::from_le_bytes(features) & 0x4, 0, "has_journal");
}

#[test]
fn an_image_that_holds_anything_is_never_formatted() {
    let folder = tempfile::tempdir().expect("temp dir");
    let image = blank_image(folder.path(), 16 * MIB);
    let file = File::options().write(true).open(&image).expect("open");
    for (at, bytes) in [
        (0, &b"some user's bytes"[..]),
        (1080, &[0x53, 0xEF]),
        (0, b"XFSB"),
    ] {
        file.set_len(0).expect("clear");
        file.set_len(16 * MIB).expect("set length");
        file.write_all_at(bytes, at).expect("write");
        let before = std::fs::read(&image).expect("read");
        let error = format(&image, FsKind::Ext4, Uuid::new_v4()).expect_err("must be refused");
        assert!(matches!(error, MkfsError::NotBlank { .. }), "{error}");
        assert_eq!(before, std::fs::read(&image).expect("read"));
    }
}

#[test]
fn a_tool_that_fails_says_why() {
    let folder = tempfile::tempdir().expect("temp dir");
    let image = blank_image(folder.path(), 64 * 1024);
    let error = format(&image, FsKind::Xfs, Uuid::new_v4()).expect_err("too small for xfs");
    let MkfsError::Tool { source, .. } = error else {
        panic!("{error}")
    };
    assert!(
        source
            .to_string()
            .starts_with("mkfs.xfs failed (exit status: 1): "),
        "{source}"
    );
}

#[test]
fn an_ext4_image_grows_while_nobody_uses_it_and_passes_its_check() {
    let folder = tempfile::tempdir().expect("temp dir");
    let image = blank_image(folder.path(), 64 * MIB);
    let uuid = Uuid::new_v4();
    format(&image, FsKind::Ext4, uuid).expect("format");
    File::options()
        .write(true)
        .open(&image)
        .expect("open")
        .set_len(200 * MIB)
        .expect("extend");
    grow_unused_ext4(&image).expect("grow");
    let found = superblock::probe(&image).expect("probe");
    let fs = FsKind::Ext4;
    assert_eq!(
        found,
        Found::Filesystem {
            fs,
            uuid,
            bytes: 200 * MIB,
            has_errors: false
        }
    );
    check_ext4(&image).expect("clean");
}
