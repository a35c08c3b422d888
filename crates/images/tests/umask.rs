//! A root file system is the same whatever the umask of whoever started us. A program of its own:
//! the umask belongs to the whole process.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustix::fs::Mode;
use rustix::process::umask;
use sutler_images::Rootfs;

#[test]
fn the_root_of_a_container_is_open_to_all_under_any_umask() {
    for mask in [0o077, 0o027, 0o000] {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let layer = dir.path().join("layer");
        fs::create_dir(&layer).expect("made");
        fs::set_permissions(&layer, fs::Permissions::from_mode(0o755)).expect("ours");
        for layers in [vec![layer], Vec::new()] {
            let container = dir.path().join(format!("c{}", layers.len()));
            fs::create_dir(&container).expect("made");
            let before = umask(Mode::from_raw_mode(mask));
            let mounted = Rootfs::mount(&layers, &container);
            umask(before);
            let root = mounted.expect("mounted");
            let mode = fs::metadata(&root).expect("there").permissions().mode() & 0o7777;
            Rootfs::unmount(&container).expect("unmounted");
            assert_eq!(mode, 0o755, "umask {mask:03o}, {} layers", layers.len());
        }
    }
}
