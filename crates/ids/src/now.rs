//! The two clocks that every core is given.

use std::time::Duration;

use jiff::Timestamp;

/// Time since the host's boot, suspends included; nobody can set it.
/// Deadlines are of this clock. It means nothing after the next boot, so it is in no record.
/// Source: clock_gettime(2), `CLOCK_BOOTTIME`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Boottime(Duration);

impl Boottime {
    /// Never.
    pub const MAX: Self = Self(Duration::MAX);

    /// Takes the time since boot.
    pub const fn new(since_boot: Duration) -> Self {
        Self(since_boot)
    }

    /// Gives the time so much later, or never.
    #[must_use]
    pub const fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(wait))
    }

    /// Gives how long it is from `earlier` until this, zero if it has passed.
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// One moment by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// For people and for records that tell when something was: it may jump, either way.
    pub wall: Timestamp,
    /// For deadlines.
    pub boottime: Boottime,
}

impl Now {
    /// Gives the deadline so much later.
    pub const fn after(self, wait: Duration) -> Boottime {
        self.boottime.after(wait)
    }

    /// Gives the deadline so many milliseconds later.
    pub const fn after_ms(self, wait_ms: u64) -> Boottime {
        self.after(Duration::from_millis(wait_ms))
    }

    /// Gives how long it is until a deadline, zero if it has passed.
    pub const fn until(self, deadline: Boottime) -> Duration {
        deadline.since(self.boottime)
    }

    /// Gives when a deadline will be by the wall clock, as it goes now; for display.
    pub fn wall_of(self, deadline: Boottime) -> Timestamp {
        self.wall
            .saturating_add(self.until(deadline))
            .unwrap_or(Timestamp::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_seen_from_now_and_saturates_at_both_ends() {
        let at = |seconds| Boottime::new(Duration::from_secs(seconds));
        let now = Now {
            wall: Timestamp::UNIX_EPOCH,
            boottime: at(100),
        };
        assert_eq!(now.after_ms(2_000), at(102));
        assert_eq!(now.until(at(103)), Duration::from_secs(3));
        assert_eq!(now.until(at(7)), Duration::ZERO);
        assert_eq!(now.after(Duration::MAX), Boottime::MAX);
        assert_eq!(now.wall_of(at(103)).as_second(), 3);
        assert_eq!(now.wall_of(at(7)), now.wall);
        assert_eq!(now.wall_of(Boottime::MAX), Timestamp::MAX);
    }
}
