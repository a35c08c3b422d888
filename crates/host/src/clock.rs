//! The host's clocks, read at the edge and given to cores as one [`Now`].

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use sutler_ids::{Boottime, Now};

/// Longest sleep until a deadline. Timers stand still while the host is suspended and the boottime
/// clock does not: after a resume a deadline is met this much late at most.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// Reads both clocks.
pub fn now() -> Now {
    let since_boot = clock_gettime(ClockId::Boottime);
    // Never negative: the clock begins with the boot.
    let seconds = u64::try_from(since_boot.tv_sec).unwrap_or_default();
    let nanos = u32::try_from(since_boot.tv_nsec).unwrap_or_default();
    Now {
        wall: Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::MAX),
        boottime: Boottime::new(Duration::new(seconds, nanos)),
    }
}

/// Gives how long to sleep for a deadline before looking at the clock again.
pub fn sleep_until(deadline: Option<Boottime>) -> Duration {
    // One more, for timers have whole milliseconds and must not fire early.
    let wait = deadline.map(|deadline| now().until(deadline) + Duration::from_millis(1));
    wait.unwrap_or(SLEEP_MAX).min(SLEEP_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boottime_clock_goes_forward_and_a_sleep_is_bounded() {
        let (first, second) = (now(), now());
        assert!(second.boottime >= first.boottime);
        let uptime = std::fs::read_to_string("/proc/uptime").expect("a Linux host");
        let uptime: f64 = uptime
            .split(' ')
            .next()
            .expect("a field")
            .parse()
            .expect("a number");
        let told = first.boottime.since(Boottime::default()).as_secs_f64();
        // The container of the tests may have a time namespace; then both are of it.
        assert!(told <= uptime + 0.1, "{told} {uptime}");
        assert_eq!(sleep_until(None), SLEEP_MAX);
        assert_eq!(sleep_until(Some(Boottime::MAX)), SLEEP_MAX);
        assert_eq!(sleep_until(Some(first.boottime)), Duration::from_millis(1));
        let soon = sleep_until(Some(now().after_ms(5_000)));
        assert!(soon > Duration::from_secs(4) && soon <= Duration::from_millis(5_001));
    }
}
