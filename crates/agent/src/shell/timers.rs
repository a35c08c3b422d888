//! Times at which the shell looks again at something.

use std::collections::BTreeSet;
use std::time::Duration;

use sutler_api::Timestamp;
use sutler_ids::{PluginName, TaskId};
use tokio::time::Instant;

/// Longest sleep: a step of the wall clock is noticed after this time at the latest.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wake {
    Task(TaskId),
    Plugin(PluginName),
    Capacity,
    Collect,
}

/// Times set; each object has few, so their number is bounded by the objects'.
#[derive(Debug, Default)]
pub(super) struct Timers {
    set: BTreeSet<(Timestamp, Wake)>,
}

impl Timers {
    pub(super) fn set(&mut self, at: Timestamp, wake: Wake) {
        self.set.insert((at, wake));
    }

    /// Sets a timer unless an earlier one of its kind is set already.
    pub(super) fn set_at_latest(&mut self, at: Timestamp, wake: Wake) {
        if self
            .set
            .iter()
            .any(|(set, kind)| *kind == wake && *set <= at)
        {
            return;
        }
        self.set.retain(|(_, kind)| *kind != wake);
        self.set(at, wake);
    }

    pub(super) fn next_instant(&self) -> Instant {
        let wait = match self.set.first() {
            Some((at, _)) => {
                let ms = at
                    .as_millisecond()
                    .saturating_sub(Timestamp::now().as_millisecond());
                // One more, for timers have whole milliseconds and must not fire early.
                Duration::from_millis(u64::try_from(ms).map_or(0, |ms| ms.saturating_add(1)))
            }
            None => SLEEP_MAX,
        };
        Instant::now() + wait.min(SLEEP_MAX)
    }

    /// Takes what is due, each once.
    pub(super) fn take_due(&mut self) -> BTreeSet<Wake> {
        let now = Timestamp::now();
        let mut due = BTreeSet::new();
        while self.set.first().is_some_and(|(at, _)| *at <= now) {
            due.extend(self.set.pop_first().map(|(_, wake)| wake));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_comes_once_and_the_rest_waits() {
        let mut timers = Timers::default();
        let past = Timestamp::UNIX_EPOCH;
        timers.set(past, Wake::Capacity);
        timers.set(Timestamp::from_second(1).expect("in range"), Wake::Capacity);
        timers.set(Timestamp::MAX, Wake::Collect);
        assert_eq!(timers.take_due(), BTreeSet::from([Wake::Capacity]));
        assert!(timers.take_due().is_empty());
        assert!(timers.next_instant() > Instant::now() + SLEEP_MAX / 2);
        timers.set_at_latest(past, Wake::Collect);
        timers.set_at_latest(Timestamp::MAX, Wake::Collect);
        assert_eq!(timers.take_due(), BTreeSet::from([Wake::Collect]));
        assert!(timers.set.is_empty());
    }
}
