//! Waiting for a device that goes by itself, after its last user has gone.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{Loop, LoopError, find, find_removed};

/// Between looks at a device that is about to go; the kernel has no event for it.
const DETACH_POLL: Duration = Duration::from_millis(5);

/// Looks until no device carries the image or `patience` is over; gives what is left.
///
/// # Errors
/// As [`find`].
pub fn wait_detached(image: &Path, patience: Duration) -> Result<Option<Loop>, LoopError> {
    wait_gone(|| find(image), patience)
}

/// As [`wait_detached`], for an image whose file was removed.
///
/// # Errors
/// The kernel's lists cannot be read.
pub fn wait_removed_detached(image: &Path, patience: Duration) -> Result<Option<Loop>, LoopError> {
    wait_gone(|| find_removed(image), patience)
}

/// A device that does not go by itself is not waited for.
fn wait_gone(
    look: impl Fn() -> Result<Option<Loop>, LoopError>,
    patience: Duration,
) -> Result<Option<Loop>, LoopError> {
    let start = Instant::now();
    loop {
        match look()? {
            Some(device) if !device.goes_by_itself() => return Ok(Some(device)),
            Some(device) if start.elapsed() >= patience => return Ok(Some(device)),
            // Closed before the next look, or our own handle would keep it.
            Some(device) => drop(device),
            None => return Ok(None),
        }
        std::thread::sleep(DETACH_POLL);
    }
}
