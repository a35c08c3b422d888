//! Long polls: an answer is held back until something is so, or the time is up.

use std::sync::Arc;
use std::time::Duration;

use sutler_cluster_core::{Books, Subject};
use sutler_ids::Problem;
use tokio::time::{Instant, sleep_until};

use super::App;

/// Longest that one answer is held back; whoever wants more asks again.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// What is waited on, and for how long.
pub(super) struct Wait {
    /// In milliseconds; none to look once.
    pub ms: Option<u64>,
    /// Whose changes lead to another look; everybody's if there is none.
    pub on: Option<Subject>,
}

/// Looks until `settled` or until the time is over, and gives what was seen last.
///
/// # Errors
/// What `look` refuses, at once.
pub(super) async fn until<T: Send + 'static>(
    app: &Arc<App>,
    wait: Wait,
    look: impl Fn(&Books) -> Result<T, Problem> + Clone + Send + 'static,
    settled: impl Fn(&T) -> bool,
) -> Result<T, Problem> {
    let longest = Duration::from_millis(wait.ms.unwrap_or(0)).min(WAIT_MAX);
    let deadline = Instant::now() + longest;
    // Subscribed before the first look, so that a change in between is not missed.
    let mut changes = app.shell.changes().watch(wait.on);
    loop {
        changes.seen();
        let seen = app.shell.read(look.clone()).await?;
        if settled(&seen) || Instant::now() >= deadline {
            return Ok(seen);
        }
        // Every arm is cancel-safe.
        tokio::select! {
            more = changes.changed() => if !more {
                return Ok(seen);
            },
            () = sleep_until(deadline) => {}
            () = app.end.cancelled() => return Ok(seen),
        }
    }
}
