//! Loop devices, on the real kernel as root.

use std::os::unix::fs::FileExt as _;

use super::*;

/// Detaches what a test attached, also when it fails.
struct Image {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Image {
    fn new(bytes: u64) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "loop devices need root"
        );
        let folder = tempfile::tempdir().expect("temp dir");
        let path = folder.path().join("data.img");
        File::create(&path)
            .expect("create")
            .set_len(bytes)
            .expect("set length");
        Self {
            _folder: folder,
            path,
        }
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if let Ok(Some(device)) = find(&self.path) {
            let _ = device.detach();
        }
    }
}

#[test]
fn the_layouts_are_the_kernels() {
    assert_eq!(size_of::<LoopInfo>(), 232);
    assert_eq!(size_of::<LoopConfig>(), 304);
}

#[test]
fn an_attached_image_is_found_until_it_is_detached() {
    let (image, other) = (Image::new(1 << 20), Image::new(1 << 20));
    assert!(find(&image.path).expect("find").is_none());
    let device = attach(&image.path, Lifetime::UntilDetached).expect("attach");
    let number = device.number();
    drop(device);
    let found = find(&image.path).expect("find").expect("attached");
    assert_eq!(found.number(), number);
    assert!(!found.goes_by_itself());
    assert!(
        find(&other.path).expect("find").is_none(),
        "same name, another file"
    );
    found.detach().expect("detach");
    let left = wait_detached(&image.path, Duration::from_secs(5)).expect("find");
    assert!(left.is_none(), "{left:?}");
}

#[test]
fn a_device_until_unused_goes_with_its_last_handle() {
    let image = Image::new(1 << 20);
    let device = attach(&image.path, Lifetime::UntilUnused).expect("attach");
    assert!(device.goes_by_itself());
    drop(device);
    let left = wait_detached(&image.path, Duration::from_secs(5)).expect("find");
    assert!(left.is_none(), "{left:?}");
}

#[test]
fn a_renamed_image_is_still_the_same_device() {
    let image = Image::new(1 << 20);
    let device = attach(&image.path, Lifetime::UntilDetached).expect("attach");
    let link = image.path.with_file_name("elsewhere");
    fs::create_dir(&link).expect("create");
    let moved = link.join("moved.img");
    fs::rename(&image.path, &moved).expect("rename");
    let found = find(&moved).expect("find").expect("attached");
    assert_eq!(found.number(), device.number());
    drop((found, device));
    find(&moved)
        .expect("find")
        .expect("attached")
        .detach()
        .expect("detach");
}

#[test]
fn a_grown_image_shows_after_a_refresh_and_protection_holds() {
    let image = Image::new(1 << 20);
    let device = attach(&image.path, Lifetime::UntilDetached).expect("attach");
    File::options()
        .write(true)
        .open(&image.path)
        .expect("open")
        .set_len(2 << 20)
        .expect("grow");
    device.refresh_size().expect("refresh");
    let last = (2 << 20) - 512;
    let node = || File::options().write(true).open(device.path());
    node()
        .expect("open")
        .write_all_at(&[7; 512], last)
        .expect("write at the new end");
    assert!(!device.is_read_only().expect("ask"));
    device.set_read_only(true).expect("protect");
    assert!(device.is_read_only().expect("ask"));
    let written = node().and_then(|file| file.write_all_at(&[8; 512], 0));
    assert!(written.is_err(), "a protected device took a write");
}
