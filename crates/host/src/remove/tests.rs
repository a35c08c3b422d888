//! Laws of the recursive delete. Need root, for mounts.

use std::os::unix::fs::symlink;

use super::*;

/// A tmpfs that goes away with the test, whatever its outcome.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount_at(dir: &Path) -> Tmpfs {
        fs::create_dir_all(dir).unwrap();
        rustix::mount::mount(
            "tmpfs",
            dir,
            "tmpfs",
            rustix::mount::MountFlags::empty(),
            None::<&std::ffi::CStr>,
        )
        .expect("mount a tmpfs: this test needs root");
        Tmpfs(dir.into())
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _gone = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn a_mount_inside_stops_the_delete_before_the_first_file() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().canonicalize().unwrap().join("tree");
    fs::create_dir_all(dir.join("a")).unwrap();
    fs::write(dir.join("a/kept"), "1").unwrap();
    let mount = Tmpfs::mount_at(&dir.join("z/deep"));
    fs::write(dir.join("z/deep/data"), "precious").unwrap();

    match remove_tree(&dir) {
        Err(RemoveError::Mounted { mount_point, .. }) => {
            assert_eq!(mount_point, dir.join("z/deep"));
        }
        other => panic!("crossed or ignored a mount: {other:?}"),
    }
    assert_eq!(fs::read_to_string(dir.join("a/kept")).unwrap(), "1");
    assert_eq!(
        fs::read_to_string(dir.join("z/deep/data")).unwrap(),
        "precious"
    );

    drop(mount);
    remove_tree(&dir).unwrap();
    assert!(!dir.exists());
}

#[test]
fn a_mount_that_the_table_did_not_show_is_not_entered() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().canonicalize().unwrap().join("tree");
    let _mount = Tmpfs::mount_at(&dir.join("late"));
    fs::write(dir.join("late/data"), "precious").unwrap();

    let parent: OwnedFd = fs::File::open(temp.path()).unwrap().into();
    let name = c"tree".to_owned();
    let walk = Walk::enter(&parent, &name, dir.clone()).unwrap().unwrap();
    match walk.run(&parent, &name) {
        Err(RemoveError::Enter { path, source }) => {
            assert_eq!(path, dir.join("late"));
            assert_eq!(source.raw_os_error(), Some(Errno::XDEV.raw_os_error()));
        }
        other => panic!("entered a mount: {other:?}"),
    }
    assert_eq!(
        fs::read_to_string(dir.join("late/data")).unwrap(),
        "precious"
    );
}

#[test]
fn links_are_deleted_and_not_followed() {
    let temp = tempfile::tempdir().unwrap();
    let outside = temp.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("canary"), "alive").unwrap();
    let dir = temp.path().join("tree");
    fs::create_dir(&dir).unwrap();
    symlink(&outside, dir.join("link")).unwrap();
    remove_tree(&dir).unwrap();
    assert!(!dir.exists());
    assert_eq!(fs::read_to_string(outside.join("canary")).unwrap(), "alive");

    symlink(&outside, temp.path().join("top")).unwrap();
    assert!(matches!(
        remove_tree(&temp.path().join("top")),
        Err(RemoveError::Enter { .. })
    ));
    assert!(outside.join("canary").exists());
}

#[test]
fn depth_beyond_the_open_file_limit_is_no_obstacle() {
    let temp = tempfile::tempdir().unwrap();
    let top = temp.path().join("deep");
    fs::create_dir(&top).unwrap();
    let mut current: OwnedFd = fs::File::open(&top).unwrap().into();
    for _level in 0..3000 {
        rustix::fs::mkdirat(&current, "d", Mode::from_raw_mode(0o755)).unwrap();
        rustix::fs::mknodat(
            &current,
            "f",
            FileType::RegularFile,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        current = open_folder(&current, &c"d".to_owned()).unwrap();
    }
    drop(current);
    remove_tree(&top).unwrap();
    assert!(!top.exists());
}

#[test]
fn absence_is_success_and_a_nameless_path_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    remove_tree(&temp.path().join("never")).unwrap();
    remove_tree(&temp.path().join("never/there")).unwrap();
    assert!(matches!(
        remove_tree(Path::new("/")),
        Err(RemoveError::NoName { .. })
    ));
    assert!(matches!(
        remove_tree(&temp.path().join("..")),
        Err(RemoveError::NoName { .. })
    ));
}
