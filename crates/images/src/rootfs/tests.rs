//! Laws of the root file system. Need root, for mounts.

use super::*;
use sutler_host::remove::remove_tree;

/// Unmounts on every way out.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _gone = Rootfs::unmount(&self.0);
    }
}

fn make_layers(dir: &Path, count: usize) -> Vec<PathBuf> {
    (0..count)
        .map(|index| {
            let layer = dir.join("layers").join(format!("{index:064}")).join("fs");
            fs::create_dir_all(&layer).unwrap();
            fs::write(layer.join("top"), format!("{index}")).unwrap();
            fs::write(layer.join(format!("only-{index}")), "").unwrap();
            layer
        })
        .collect()
}

fn check_stack(method: Method, count: usize) {
    let temp = tempfile::tempdir().unwrap();
    let layers = make_layers(temp.path(), count);
    let dir = temp.path().join("container");
    let plan = Plan::new(&layers, &dir).unwrap();
    plan.mount(method)
        .expect("mount an overlay: this test needs root");
    let mounted = Mounted(dir.clone());
    let rootfs = dir.join("rootfs");
    assert_eq!(
        fs::read_to_string(rootfs.join("top")).unwrap(),
        format!("{}", count - 1)
    );
    assert!(rootfs.join("only-0").exists());
    fs::write(rootfs.join("top"), "written").unwrap();
    drop(mounted);
    assert_eq!(
        fs::read_to_string(dir.join("upper/top")).unwrap(),
        "written"
    );
    assert_eq!(
        fs::read_to_string(layers[count - 1].join("top")).unwrap(),
        format!("{}", count - 1),
        "the container wrote into the image"
    );
    remove_tree(&dir).unwrap();
}

#[test]
fn hundreds_of_layers_fit_where_the_kernel_takes_them_one_by_one() {
    check_stack(Method::PerLayer, 300);
}

#[test]
fn older_kernels_take_more_layers_than_their_paths_would_allow() {
    check_stack(Method::OptionString, 150);
}

#[test]
fn too_many_layers_for_an_older_kernel_are_refused_by_name() {
    let temp = tempfile::tempdir().unwrap();
    let layers = make_layers(temp.path(), 300);
    let plan = Plan::new(&layers, &temp.path().join("container")).unwrap();
    let error = plan.mount(Method::OptionString).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("too many layers for this kernel"),
        "{error}"
    );
}

#[test]
fn mount_and_unmount_repeat_safely() {
    let temp = tempfile::tempdir().unwrap();
    let layers = make_layers(temp.path(), 2);
    let dir = temp.path().join("container");
    Rootfs::unmount(&dir).unwrap();
    let _mounted = Mounted(dir.clone());
    let rootfs = Rootfs::mount(&layers, &dir).unwrap();
    assert!(matches!(
        Rootfs::mount(&layers, &dir),
        Err(RootfsError::AlreadyMounted { .. })
    ));
    fs::write(rootfs.join("kept"), "1").unwrap();
    Rootfs::unmount(&dir).unwrap();
    Rootfs::unmount(&dir).unwrap();
    assert!(!rootfs.join("top").exists());
    Rootfs::mount(&layers, &dir).unwrap();
    assert_eq!(fs::read_to_string(rootfs.join("kept")).unwrap(), "1");
}

#[test]
fn a_mount_inside_is_named_and_a_delete_is_refused_while_mounted() {
    let temp = tempfile::tempdir().unwrap();
    let layers = make_layers(temp.path(), 1);
    let dir = temp.path().canonicalize().unwrap().join("container");
    let mounted = Mounted(dir.clone());
    let rootfs = Rootfs::mount(&layers, &dir).unwrap();
    let inner = rootfs.join("volume");
    fs::create_dir(&inner).unwrap();
    rustix::mount::mount_bind(temp.path(), &inner).unwrap();
    let refused = Rootfs::unmount(&dir);
    let removed = remove_tree(&dir);
    rustix::mount::unmount(&inner, UnmountFlags::empty()).unwrap();
    match refused {
        Err(RootfsError::Unmount { nested, .. }) => assert_eq!(nested, [inner]),
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        removed,
        Err(sutler_host::remove::RemoveError::Mounted { .. })
    ));
    drop(mounted);
    remove_tree(&dir).unwrap();
}

#[test]
fn repeated_and_absent_layers_mount() {
    let temp = tempfile::tempdir().unwrap();
    let layers = make_layers(temp.path(), 2);
    let stack = [layers[0].clone(), layers[1].clone(), layers[0].clone()];
    let dir = temp.path().join("repeated");
    let mounted = Mounted(dir.clone());
    let rootfs = Rootfs::mount(&stack, &dir).unwrap();
    assert_eq!(fs::read_to_string(rootfs.join("top")).unwrap(), "0");
    assert!(rootfs.join("only-1").exists());
    drop(mounted);

    let dir = temp.path().join("none");
    let _mounted = Mounted(dir.clone());
    let rootfs = Rootfs::mount(&[], &dir).unwrap();
    assert_eq!(fs::read_dir(rootfs).unwrap().count(), 0);
}

#[test]
fn long_paths_mount_where_the_kernel_takes_short_strings_only() {
    let temp = tempfile::tempdir().unwrap();
    let deep = temp.path().join("d".repeat(120)).join("e:,".repeat(60));
    let layers = make_layers(&deep, 3);
    let dir = deep.join("container");
    let _mounted = Mounted(dir.clone());
    let rootfs = Rootfs::mount(&layers, &dir).unwrap();
    assert_eq!(fs::read_to_string(rootfs.join("top")).unwrap(), "2");
}

#[test]
fn a_missing_layer_is_named() {
    let temp = tempfile::tempdir().unwrap();
    let missing = temp.path().join("layers/none");
    match Rootfs::mount(
        std::slice::from_ref(&missing),
        &temp.path().join("container"),
    ) {
        Err(RootfsError::OpenLayer { path, .. }) => assert_eq!(path, missing),
        other => panic!("{other:?}"),
    }
}
