//! The one system call on mounts that rustix has not: mount_setattr.
//!
//! Owns forbidding writes on a mount that is not attached anywhere yet, and cutting its ties.
//! Source: mount_setattr(2), Linux 5.12.
#![expect(unsafe_code, reason = "rustix has no mount_setattr")]

use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::io::Errno;

/// The kernel's `struct mount_attr`.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

const MOUNT_ATTR_RDONLY: u64 = 1;

/// The kernel's `MS_PRIVATE`.
const MS_PRIVATE: u64 = 1 << 18;

/// Forbids writing through a mount.
pub(crate) fn forbid_writing(mount: &OwnedFd) -> Result<(), Errno> {
    let attr = MountAttr {
        set: MOUNT_ATTR_RDONLY,
        clear: 0,
        propagation: 0,
        userns_fd: 0,
    };
    set(mount, libc::AT_EMPTY_PATH, &attr)
}

/// Cuts the ties of a mount and of all below it: what is mounted elsewhere does not appear here.
pub(crate) fn make_private(mount: &OwnedFd) -> Result<(), Errno> {
    let attr = MountAttr {
        set: 0,
        clear: 0,
        propagation: MS_PRIVATE,
        userns_fd: 0,
    };
    set(mount, libc::AT_EMPTY_PATH | libc::AT_RECURSIVE, &attr)
}

fn set(mount: &OwnedFd, flags: libc::c_int, attr: &MountAttr) -> Result<(), Errno> {
    // SAFETY: the path is an empty C string, and the kernel reads one mount_attr of the size
    // that is passed along; both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}
