//! Times at which the shell looks again at something.

use std::collections::BTreeSet;

use sutler_host::clock;
use sutler_ids::{Boottime, PluginName, TaskId};
use tokio::time::Instant;

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
    set: BTreeSet<(Boottime, Wake)>,
}

impl Timers {
    pub(super) fn set(&mut self, at: Boottime, wake: Wake) {
        self.set.insert((at, wake));
    }

    /// Sets a timer unless an earlier one of its kind is set already.
    pub(super) fn set_at_latest(&mut self, at: Boottime, wake: Wake) {
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
        Instant::now() + clock::sleep_until(self.set.first().map(|(at, _)| *at))
    }

    /// Takes what is due, each once.
    pub(super) fn take_due(&mut self) -> BTreeSet<Wake> {
        let now = clock::now().boottime;
        let mut due = BTreeSet::new();
        while self.set.first().is_some_and(|(at, _)| *at <= now) {
            due.extend(self.set.pop_first().map(|(_, wake)| wake));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_due_comes_once_and_the_rest_waits() {
        let mut timers = Timers::default();
        let past = Boottime::default();
        timers.set(past, Wake::Capacity);
        let later = past.after(Duration::from_millis(1));
        timers.set(later, Wake::Capacity);
        timers.set(Boottime::MAX, Wake::Collect);
        assert_eq!(timers.take_due(), BTreeSet::from([Wake::Capacity]));
        assert!(timers.take_due().is_empty());
        assert!(timers.next_instant() > Instant::now() + Duration::from_secs(30));
        timers.set_at_latest(past, Wake::Collect);
        timers.set_at_latest(Boottime::MAX, Wake::Collect);
        assert_eq!(timers.take_due(), BTreeSet::from([Wake::Collect]));
        assert!(timers.set.is_empty());
    }
}
