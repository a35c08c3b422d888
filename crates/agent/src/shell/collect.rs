//! Collecting images that nobody uses: when, and which ones stay.
//!
//! An image stays while a task or plugin has it and for a day after its last start. Pulls wait
//! while images are collected, and collection waits for pulls, so that an image between its
//! pull and its record is never taken.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use sutler_api::Timestamp;
use sutler_images::{Digest, GcReport};
use sutler_telemetry::chain;
use tokio::sync::{RwLock, oneshot};

use super::Shell;
use super::timers::Wake;
use super::turn::Turn;
use crate::event::Event;
use crate::host::{Host, blocking};
use crate::journal::ImageUseRecord;

/// Time between two collections, in milliseconds.
const COLLECT_EVERY_MS: u64 = 3_600_000;

/// Pause before a collection that pulls kept from running is tried again, in milliseconds.
const COLLECT_AGAIN_MS: u64 = 30_000;

/// An image is kept for so long after its last start, in milliseconds: whatever is run daily
/// need not be pulled daily.
const KEPT_MS: u64 = 24 * 3_600_000;

/// Share of the disk in use, in percent, above which the end of a task starts a collection.
const DISK_FULL_PERCENT: u64 = 85;

/// When images are collected, and who waits for it.
#[derive(Default)]
pub(super) struct Collector {
    last_used: BTreeMap<String, ImageUseRecord>,
    gate: Arc<RwLock<()>>,
    asked: bool,
    running: bool,
    waiting: Vec<oneshot::Sender<u64>>,
}

impl Collector {
    pub(super) fn new(last_used: BTreeMap<String, ImageUseRecord>) -> Self {
        Self {
            last_used,
            ..Self::default()
        }
    }

    /// Held for reading by pulls and for writing by a collection.
    pub(super) fn gate(&self) -> Arc<RwLock<()>> {
        Arc::clone(&self.gate)
    }

    pub(super) fn due(&mut self) {
        self.asked = true;
    }

    pub(super) fn ask(&mut self, answer: oneshot::Sender<u64>) {
        self.asked = true;
        self.waiting.push(answer);
    }

    /// A task ended, so its image may be free; looked at only when the disk asks for it.
    pub(super) fn task_ended(&mut self, host: &Host) {
        if disk_used_percent(host.layout.root()) > DISK_FULL_PERCENT {
            self.asked = true;
        }
    }
}

impl Shell {
    /// Starts a collection if one is asked for and no pull is under way.
    pub(super) fn collect_if_asked(&mut self) {
        if !self.collector.asked || self.collector.running {
            return;
        }
        let pulling = self.tasks.values().any(super::TaskCell::is_pulling)
            || self.plugins.values().any(super::PluginCell::is_pulling);
        self.collector.asked = false;
        if pulling {
            let at = Self::now().after_ms(COLLECT_AGAIN_MS);
            return self.timers.set_at_latest(at, Wake::Collect);
        }
        let in_use = self.images_in_use();
        let images = self.ground.host.images.clone();
        let gate = self.collector.gate();
        self.collector.running = true;
        self.spawn("agent.images.collect".to_owned(), async move {
            let _shut = gate.write_owned().await;
            let collect = move || images.collect_garbage(&in_use).map_err(|e| chain(&e));
            Event::Collected(blocking(collect).await)
        });
        self.timers
            .set_at_latest(Self::now().after_ms(COLLECT_EVERY_MS), Wake::Collect);
    }

    fn images_in_use(&self) -> BTreeSet<Digest> {
        let tasks = self.tasks.values().filter_map(|cell| cell.machine.digest());
        let plugins = self
            .plugins
            .values()
            .filter_map(|cell| cell.machine.digest());
        let old = before(Self::now().wall, KEPT_MS);
        let fresh = self
            .collector
            .last_used
            .iter()
            .filter(|(_, used)| used.last_used > old);
        let named = tasks
            .chain(plugins)
            .chain(fresh.map(|(digest, _)| digest.as_str()));
        let held = self.tasks.values().filter_map(|cell| cell.image.as_deref());
        let held = held.chain(
            self.plugins
                .values()
                .filter_map(|cell| cell.image.as_deref()),
        );
        named
            .filter_map(|text| text.parse().ok())
            .chain(held.map(|i| i.digest))
            .collect()
    }

    pub(super) fn on_collected(&mut self, result: Result<GcReport, String>, turn: &mut Turn) {
        self.collector.running = false;
        let freed = match result {
            Ok(report) if report.deferred => {
                self.timers
                    .set_at_latest(Self::now().after_ms(COLLECT_AGAIN_MS), Wake::Collect);
                0
            }
            Ok(report) => {
                if report.bytes_freed > 0 {
                    tracing::info!(bytes = report.bytes_freed, "unused images were removed");
                }
                self.forget_old_uses(turn);
                report.bytes_freed
            }
            Err(cause) => {
                tracing::warn!(cause, "unused images cannot be removed");
                0
            }
        };
        for waiting in self.collector.waiting.drain(..) {
            // Whoever asked may have gone.
            let _ = waiting.send(freed);
        }
    }

    fn forget_old_uses(&mut self, turn: &mut Turn) {
        let old = before(Self::now().wall, KEPT_MS);
        let gone = self
            .collector
            .last_used
            .extract_if(.., |_, used| used.last_used <= old);
        for (digest, _) in gone {
            turn.pages.image_forgotten(&digest);
        }
    }

    /// Notes that an image is started from now.
    pub(super) fn image_used(&mut self, digest: &str, turn: &mut Turn) {
        let last_used = Self::now().wall;
        self.collector
            .last_used
            .insert(digest.to_owned(), ImageUseRecord { last_used });
        turn.pages.image_used(digest, last_used);
    }
}

fn before(now: Timestamp, ms: u64) -> Timestamp {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(now.as_millisecond().saturating_sub(ms)).unwrap_or(Timestamp::MIN)
}

/// Gives how much of the file system is in use; 0 where that cannot be read.
fn disk_used_percent(path: &Path) -> u64 {
    let Ok(stat) = rustix::fs::statvfs(path) else {
        return 0;
    };
    let used = stat.f_blocks.saturating_sub(stat.f_bfree);
    let usable = used.saturating_add(stat.f_bavail);
    used.saturating_mul(100).checked_div(usable).unwrap_or(0)
}
