//! The one system call on mounts that rustix has not: mount_setattr.
//!
//! Owns forbidding writes on a mount that is not attached anywhere yet.
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

/// Forbids writing through a mount.
pub fn forbid_writing(mount: &OwnedFd) -> Result<(), Errno> {
    let attr = MountAttr {
        set: MOUNT_ATTR_RDONLY,
        clear: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the path is an empty C string, and the kernel reads one mount_attr of the size
    // that is passed along; both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}
