//! Observed time: how long the cluster was seen to run, over all runs of its master. What must
//! outlast a restart and destroys something at its end (the trash) is counted in it, since the wall
//! clock may jump a day at any time and the boottime clock begins anew.
//!
//! It grows only while a master runs, and what was not recorded when it ends is lost: so
//! retention is at least as long as was said, never shorter.

use std::time::Duration;

use sutler_api::Timestamp;
use sutler_ids::{Boottime, Now};

use crate::books::{Books, Turn};
use crate::record::{Change, ClusterRecord, VolumeRecord};

/// How much of it may be lost in a crash: a hundredth of the usual day, at the cost of a commit
/// each ten minutes while the trash is not empty.
const RECORD_EVERY: Duration = Duration::from_secs(10 * 60);

impl Books {
    /// Gives observed time, in milliseconds.
    pub(crate) fn observed_ms(&self, now: Now) -> u64 {
        let running = now.boottime.since(self.observed_from).as_millis();
        let running = u64::try_from(running).unwrap_or(u64::MAX);
        self.cluster().observed_ms.saturating_add(running)
    }

    /// Gives when observed time will be this, by the wall clock as it goes now, in whole seconds;
    /// for display.
    pub(crate) fn shown(&self, until_ms: u64) -> Timestamp {
        let left_ms = until_ms.saturating_sub(self.observed_ms(self.last));
        let at = self.last.wall_of(self.last.after_ms(left_ms));
        Timestamp::from_second(at.as_second()).unwrap_or(at)
    }

    /// Gives the next time at which [`Event::Timer`](crate::Event::Timer) has something to do.
    pub fn wake_at(&self) -> Option<Boottime> {
        let (first_ms, _) = *self.durable.index.trash.first()?;
        let left_ms = first_ms.saturating_sub(self.cluster().observed_ms);
        let left = Duration::from_millis(left_ms).min(RECORD_EVERY);
        Some(self.observed_from.after(left))
    }

    /// Tells whether [`Event::Timer`](crate::Event::Timer) has something to do.
    pub fn is_due(&self, now: Now) -> bool {
        self.wake_at().is_some_and(|at| at <= now.boottime)
    }

    fn trashed_until(&self, observed_ms: u64) -> impl Iterator<Item = &VolumeRecord> {
        let trash = self.durable.index.trash.iter();
        let due = trash.take_while(move |(until_ms, _)| *until_ms <= observed_ms);
        due.filter_map(|(_, id)| self.durable.volumes.get(id))
    }
}

impl Turn<'_> {
    pub(crate) fn on_timer(&mut self) {
        let observed_ms = self.books.observed_ms(self.now);
        let due: Vec<VolumeRecord> = self.books.trashed_until(observed_ms).cloned().collect();
        for volume in due {
            self.release_from_trash(volume);
        }
        let running = self.now.boottime.since(self.books.observed_from);
        if running >= RECORD_EVERY && !self.books.durable.index.trash.is_empty() {
            self.record_observed(observed_ms);
        }
    }

    fn record_observed(&mut self, observed_ms: u64) {
        let cluster = self.books.cluster().clone();
        self.persist(Change::Cluster(ClusterRecord {
            observed_ms,
            ..cluster
        }));
        self.books.observed_from = self.now.boottime;
    }
}
