//! Loop devices, on the real kernel as root.

use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use rustix::ioctl::IntegerSetter;

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
fn an_image_removed_while_attached_is_still_seen() {
    let image = Image::new(1 << 20);
    let removed = || {
        find_removed(&image.path)
            .expect("find")
            .map(|found| found.number())
    };
    assert_eq!(removed(), None);
    let device = attach(&image.path, Lifetime::UntilDetached).expect("attach");
    assert_eq!(removed(), None);
    std::fs::remove_file(&image.path).expect("remove");
    assert_eq!(removed(), Some(device.number()));
    let waited = || wait_removed_detached(&image.path, Duration::from_secs(5)).expect("find");
    assert!(waited().is_some(), "one that lasts is told at once");
    device.detach().expect("detach");
    assert!(
        waited().is_none(),
        "and one that is given back is waited for"
    );
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

#[test]
fn write_protection_is_not_left_to_the_next_user_of_a_device() {
    let image = Image::new(1 << 20);
    let device = attach(&image.path, Lifetime::UntilDetached).expect("attach");
    device.set_read_only(true).expect("protect");
    // A second handle keeps the device from being taken by others before the look.
    let second = Loop::open(device.number()).expect("open");
    device.detach().expect("detach");
    assert!(!second.is_read_only().expect("ask"));
}

#[test]
fn write_protection_left_by_a_former_user_is_lifted() {
    let image = Image::new(1 << 20);
    let own = OwnDevice::new();
    let device = Loop::open(own.0).expect("open");
    device.set_read_only(true).expect("protect");
    let file = File::options().read(true).write(true).open(&image.path);
    let taken = device.take(&file.expect("open"), Lifetime::UntilUnused);
    taken.expect("attach");
    assert!(!device.is_read_only().expect("ask"));
}

/// A loop device that the kernel gives to nobody who asks for a free one while there are
/// others; it goes with the test.
struct OwnDevice(u32);

impl OwnDevice {
    const LOOP_CTL_ADD: Opcode = 0x4C80;
    const LOOP_CTL_REMOVE: Opcode = 0x4C81;

    fn new() -> Self {
        // Far above what the kernel counts up from, below its 2^20 minor numbers.
        let number = 500_000 + std::process::id() % 500_000;
        let control = File::open(CONTROL).expect("open");
        let number_given = usize::try_from(number).expect("fits");
        // SAFETY: LOOP_CTL_ADD takes a number, not a pointer.
        let added = unsafe {
            let add = IntegerSetter::<{ Self::LOOP_CTL_ADD }>::new_usize(number_given);
            ioctl(&control, add)
        };
        added.expect("add a loop device");
        Self(number)
    }
}

impl Drop for OwnDevice {
    fn drop(&mut self) {
        let number = usize::try_from(self.0).expect("fits");
        if let Ok(control) = File::open(CONTROL) {
            // SAFETY: LOOP_CTL_REMOVE takes a number, not a pointer.
            let _ = unsafe {
                let remove = IntegerSetter::<{ Self::LOOP_CTL_REMOVE }>::new_usize(number);
                ioctl(&control, remove)
            };
        }
    }
}
