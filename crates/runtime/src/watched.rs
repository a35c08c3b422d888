//! Waiting for a file descriptor of the kernel (pidfd, inotify) in an async task.

#![expect(
    unsafe_code,
    reason = "tokio's registration asks us to vouch for the descriptor"
)]

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers a descriptor for readability.
///
/// # Errors
/// If the kernel cannot poll it.
pub(crate) fn watch_readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` names one open file for as long as it lives; it is moved in here and
    // the `AsyncFd` gives out only shared references, so nobody closes or replaces it before
    // it is deregistered.
    let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    watched.map_err(io::Error::from)
}
