//! Keeps a container on the host's network from unix sockets that have no file.
//!
//! Abstract sockets belong to the network namespace. Programs of the host that listen there
//! (iscsid, multipathd) believe whoever comes as root, and root in a container without a user
//! namespace is root to them. Landlock refuses it: a process may connect to abstract sockets of
//! its own container alone. Kernels before 6.12 cannot; docs/specification.md says so.
//! Source: landlock(7), ABI version 6; CVE-2020-15257 is of the same kind.
#![expect(unsafe_code, reason = "rustix has no landlock")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// The kernel's `struct landlock_ruleset_attr`.
#[repr(C)]
struct Ruleset {
    access_fs: u64,
    access_net: u64,
    scoped: u64,
}

const SCOPE_ABSTRACT_UNIX_SOCKET: u64 = 1;

/// Scopes this thread, and all that it starts from now on, for ever. Tells whether the kernel
/// can. Needs root, or no_new_privs.
///
/// # Errors
/// The kernel can and does not.
pub(crate) fn abstract_sockets() -> io::Result<bool> {
    let ruleset = Ruleset {
        access_fs: 0,
        access_net: 0,
        scoped: SCOPE_ABSTRACT_UNIX_SOCKET,
    };
    let no_flags: libc::c_uint = 0;
    // SAFETY: the kernel reads one ruleset of the size that is passed along.
    let made = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const ruleset,
            size_of::<Ruleset>(),
            no_flags,
        )
    };
    let Ok(made @ 0..) = i32::try_from(made) else {
        let error = io::Error::last_os_error();
        // No landlock, landlock switched off, or an older one that does not know the field.
        let unable = [libc::ENOSYS, libc::EOPNOTSUPP, libc::E2BIG, libc::EINVAL];
        return match error.raw_os_error() {
            Some(errno) if unable.contains(&errno) => Ok(false),
            Some(_) | None => Err(error),
        };
    };
    // SAFETY: the kernel has just given it to us.
    let made = unsafe { OwnedFd::from_raw_fd(made) };
    // SAFETY: takes numbers alone.
    let scoped =
        unsafe { libc::syscall(libc::SYS_landlock_restrict_self, made.as_raw_fd(), no_flags) };
    match scoped {
        0 => Ok(true),
        _failed => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

    use super::*;

    #[test]
    fn a_scoped_thread_reaches_its_own_abstract_sockets_and_no_others() {
        let name = |of: &str| {
            let name = format!("sutler-scope-{of}-{}", std::process::id());
            SocketAddr::from_abstract_name(name).expect("a short name")
        };
        let outside = UnixListener::bind_addr(&name("outside")).expect("a new name");
        UnixStream::connect_addr(&name("outside")).expect("nothing holds us yet");
        let scoped = std::thread::spawn(move || {
            if !abstract_sockets().expect("run as root") {
                println!("this kernel cannot: not tested here");
                return;
            }
            let refused = UnixStream::connect_addr(&name("outside")).expect_err("it is another's");
            assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied, "{refused}");
            let _own = UnixListener::bind_addr(&name("own")).expect("a new name");
            UnixStream::connect_addr(&name("own")).expect("it is ours");
        });
        scoped.join().expect("the thread tells");
        drop(outside);
    }
}
