//! Waiting times between tries: doubling, saturating, without a clock.

use sutler_api::Timestamp;
use sutler_ids::{Boottime, Now};

/// First, and each doubled, wait after a failure, in milliseconds: short, because most causes
/// (a socket not there yet, a device still busy) are gone by then.
pub(crate) const FIRST_MS: u64 = 100;

/// Longest wait, in milliseconds: an operator who repaired the cause sees it taken up within
/// half a minute, and a plugin that never comes up costs nearly nothing.
pub(crate) const MOST_MS: u64 = 30_000;

/// Gives the wait before try `attempt` (0 is the first repeat), in milliseconds.
pub fn wait_ms(attempt: u32) -> u64 {
    let factor = 1_u64.checked_shl(attempt).unwrap_or(u64::MAX);
    FIRST_MS.saturating_mul(factor).min(MOST_MS)
}

/// When something is tried again, by both clocks: the deadline, and what is shown of it, which
/// stays the same however the wall clock jumps meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retry {
    pub at: Boottime,
    pub shown: Timestamp,
}

impl Retry {
    pub fn after(wait_ms: u64, now: Now) -> Self {
        let at = now.after_ms(wait_ms);
        let shown = now.wall_of(at);
        Self { at, shown }
    }

    /// Takes it once it is due.
    pub fn take_due(retry: &mut Option<Self>, now: Now) -> bool {
        retry.take_if(|retry| retry.at <= now.boottime).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_stay_at_the_longest_for_ever() {
        let waits: Vec<u64> = (0..11).map(wait_ms).collect();
        assert_eq!(
            waits,
            [
                100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000
            ]
        );
        for attempt in [63, 64, 65, u32::MAX] {
            assert_eq!(wait_ms(attempt), MOST_MS, "attempt {attempt}");
        }
    }
}
