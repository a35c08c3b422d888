//! Lines that come in floods, told at most once a minute with their count.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Often enough to see that it goes on, seldom enough not to fill a disk.
const EVERY: Duration = Duration::from_secs(60);

/// One kind of line.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    told: Option<Instant>,
    since: u64,
}

impl Seldom {
    /// Counts one occurrence; gives how many there were since the last line if it is time for
    /// another. Those after the last line are told with the next.
    pub(crate) fn count(&self, now: Instant) -> Option<u64> {
        // Nothing is left half done under this lock.
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.since += 1;
        if counted.told.is_some_and(|told| now < told + EVERY) {
            return None;
        }
        counted.told = Some(now);
        Some(std::mem::take(&mut counted.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_line_a_minute_and_every_occurrence_is_counted() {
        let (seldom, start) = (Seldom::default(), Instant::now());
        let at = |ms: u64| seldom.count(start + Duration::from_millis(ms));
        assert_eq!(at(0), Some(1));
        let told: Vec<u64> = (1..=600).filter_map(|tenth| at(tenth * 100)).collect();
        assert_eq!(told, [600]);
        assert_eq!(at(60_001), None);
        assert_eq!(at(500_000), Some(2));
    }
}
