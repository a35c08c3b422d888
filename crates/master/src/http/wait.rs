//! Long polls: an answer is held back until something is so, or the time is up.

use std::sync::Arc;
use std::time::Duration;

use sutler_cluster_core::Books;
use sutler_ids::Problem;
use tokio::time::{Instant, sleep_until};

use super::App;

/// Longest that one answer is held back; whoever wants more asks again.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Looks until `settled` or until `wait_ms` are over, and gives what was seen last.
///
/// # Errors
/// What `look` refuses, at once.
pub(super) async fn until<T: Send + 'static>(
    app: &Arc<App>,
    wait_ms: Option<u64>,
    look: impl Fn(&Books) -> Result<T, Problem> + Clone + Send + 'static,
    settled: impl Fn(&T) -> bool,
) -> Result<T, Problem> {
    let wait = Duration::from_millis(wait_ms.unwrap_or(0)).min(WAIT_MAX);
    let deadline = Instant::now() + wait;
    // Subscribed before the first look, so that a change in between is not missed.
    let mut version = app.shell.changes().version();
    loop {
        version.borrow_and_update();
        let seen = app.shell.read(look.clone()).await?;
        if settled(&seen) || Instant::now() >= deadline {
            return Ok(seen);
        }
        // Every arm is cancel-safe.
        tokio::select! {
            changed = version.changed() => if changed.is_err() {
                return Ok(seen);
            },
            () = sleep_until(deadline) => {}
            () = app.end.cancelled() => return Ok(seen),
        }
    }
}
