//! How many calls to one plugin may be in flight: one per volume, and so many per lane.
//!
//! Owns the waiting line of one plugin and nothing of the calls. Never times out and never
//! reorders two calls for one volume: the line is first come, first served, except that a
//! call whose volume is busy or whose lane is full is passed by those that can go.
//!
//! Attach and detach have lanes of their own, so that a storm of one never delays the other,
//! and one slow volume never delays the rest. Questions have one too: after a start of the plugin
//! each volume is asked for, and nothing that changes something waits behind that.
//!
//! The line is a lock around plain data, like a semaphore: it is held for a few steps, never
//! across an await, and nobody else owns what it guards.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::rpc::Rpc;

#[cfg(test)]
mod tests;

/// Calls of one lane in flight if nothing else is said. Back ends differ; four is what fragile
/// ones stand, and more is one line in the plugin's definition.
pub const LANE_WIDTH: usize = 4;

/// Most calls that wait for one plugin. Far more than a node has volumes: only a fault
/// fills it, and then refusing is better than growing.
pub const WAITING_MAX: usize = 10_000;

/// The lanes of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LaneKind {
    /// Creates, deletes, grows in the back end.
    Controller,
    /// Attaches.
    Attach,
    /// Detaches.
    Detach,
    /// Stages, publishes, grows on this node.
    NodeUp,
    /// Unpublishes, unstages.
    NodeDown,
    /// Asks about one volume: whether it is known, how full it is.
    Read,
}

/// How many there are.
const LANES: usize = 6;

impl LaneKind {
    /// All of them.
    pub const ALL: [LaneKind; LANES] = [
        LaneKind::Controller,
        LaneKind::Attach,
        LaneKind::Detach,
        LaneKind::NodeUp,
        LaneKind::NodeDown,
        LaneKind::Read,
    ];

    /// The value of the metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            LaneKind::Controller => "controller",
            LaneKind::Attach => "attach",
            LaneKind::Detach => "detach",
            LaneKind::NodeUp => "node_up",
            LaneKind::NodeDown => "node_down",
            LaneKind::Read => "read",
        }
    }

    /// The lane of a call; absent for calls that are about no one volume and need none.
    pub fn of(rpc: Rpc) -> Option<LaneKind> {
        match rpc {
            Rpc::CreateVolume | Rpc::DeleteVolume | Rpc::ExpandController => {
                Some(LaneKind::Controller)
            }
            Rpc::Attach => Some(LaneKind::Attach),
            Rpc::Detach => Some(LaneKind::Detach),
            Rpc::Stage | Rpc::Publish | Rpc::ExpandNode => Some(LaneKind::NodeUp),
            Rpc::Validate | Rpc::VolumeStats => Some(LaneKind::Read),
            Rpc::Unstage | Rpc::Unpublish => Some(LaneKind::NodeDown),
            Rpc::Probe
            | Rpc::PluginInfo
            | Rpc::PluginCapabilities
            | Rpc::ControllerCapabilities
            | Rpc::ListVolumes
            | Rpc::GetCapacity
            | Rpc::NodeCapabilities
            | Rpc::NodeInfo => None,
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// Calls in flight per lane, at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneWidths([NonZeroUsize; LANES]);

impl LaneWidths {
    /// The same width for every lane.
    pub fn all(width: NonZeroUsize) -> LaneWidths {
        LaneWidths([width; LANES])
    }

    /// The same, but for one lane.
    pub fn with(mut self, lane: LaneKind, width: NonZeroUsize) -> LaneWidths {
        self.0[lane.index()] = width;
        self
    }
}

impl Default for LaneWidths {
    fn default() -> LaneWidths {
        LaneWidths::all(NonZeroUsize::new(LANE_WIDTH).expect("the constant is not zero"))
    }
}

/// Says why a call may not even wait.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LaneError {
    /// Too many wait already.
    #[error("{WAITING_MAX} calls wait for the plugin already; it is stuck or far too slow")]
    Full,
}

/// How one lane does at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneStatus {
    /// The lane.
    pub lane: LaneKind,
    /// Most calls in flight.
    pub width: usize,
    /// Calls in flight.
    pub in_flight: usize,
    /// Calls that wait.
    pub waiting: usize,
    /// For how long the oldest that waits has done so; zero if none waits.
    pub oldest_age: Duration,
}

/// The waiting line of one plugin. Clones are the same line.
#[derive(Clone)]
pub struct Lanes {
    line: Arc<Mutex<Line>>,
}

impl Lanes {
    /// An empty line.
    pub fn new(widths: LaneWidths) -> Lanes {
        Lanes {
            line: Arc::new(Mutex::new(Line::new(widths))),
        }
    }

    /// Waits until a call about `volume` may be made in `lane`; it may until the permit is
    /// dropped. `volume` is any name that is the same for all calls about one volume; before
    /// the volume has an id, that is its CSI name.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the line.
    ///
    /// # Errors
    ///
    /// Too many wait already.
    pub async fn enter(&self, lane: LaneKind, volume: &str) -> Result<LanePermit, LaneError> {
        let (grant, granted) = oneshot::channel();
        let ticket = {
            let mut line = lock(&self.line);
            let waiter = Waiter {
                lane,
                volume: volume.to_owned(),
                since: Instant::now(),
                grant,
            };
            line.join(waiter)?
        };
        // From here on dropping the permit gives back the place, be it waiting or granted.
        let permit = LanePermit {
            line: Arc::clone(&self.line),
            lane,
            volume: volume.to_owned(),
            ticket,
        };
        granted
            .await
            .expect("a waiter is dropped only by its own permit");
        Ok(permit)
    }

    /// How all lanes do at `now`.
    pub fn status(&self, now: Instant) -> [LaneStatus; LANES] {
        let line = lock(&self.line);
        LaneKind::ALL.map(|lane| {
            let waiters = || {
                line.waiting
                    .values()
                    .filter(move |waiter| waiter.lane == lane)
            };
            LaneStatus {
                lane,
                width: line.widths.0[lane.index()].get(),
                in_flight: line.in_flight[lane.index()],
                waiting: waiters().count(),
                // Tickets rise, so the first is the oldest.
                oldest_age: waiters().next().map_or(Duration::ZERO, |waiter| {
                    now.saturating_duration_since(waiter.since)
                }),
            }
        })
    }
}

/// The right to make one call; gives its place back when dropped.
#[must_use = "the call may be made only while the permit lives"]
pub struct LanePermit {
    line: Arc<Mutex<Line>>,
    lane: LaneKind,
    volume: String,
    ticket: u64,
}

impl Drop for LanePermit {
    fn drop(&mut self) {
        let mut line = lock(&self.line);
        if !line.leave(self.ticket) {
            line.release(self.lane, &self.volume);
        }
    }
}

struct Waiter {
    lane: LaneKind,
    volume: String,
    since: Instant,
    grant: oneshot::Sender<()>,
}

/// Whose turn it is at one volume. Exists while a call for it is in flight or waits.
#[derive(Default)]
struct Turns {
    busy: bool,
    /// The tickets that wait, oldest first, whatever their lane.
    queue: BTreeSet<u64>,
}

/// Every step costs the logarithm of the number that waits: a long line must not become slow
/// because it is long.
struct Line {
    widths: LaneWidths,
    in_flight: [usize; LANES],
    /// By ticket, so in the order of arrival.
    waiting: BTreeMap<u64, Waiter>,
    volumes: HashMap<String, Turns>,
    /// Per lane the waiters whose volume is free and whose turn it is: they want only room.
    eligible: [BTreeSet<u64>; LANES],
    next_ticket: u64,
}

impl Line {
    fn new(widths: LaneWidths) -> Line {
        Line {
            widths,
            in_flight: [0; LANES],
            waiting: BTreeMap::new(),
            volumes: HashMap::new(),
            eligible: Default::default(),
            next_ticket: 0,
        }
    }

    fn join(&mut self, waiter: Waiter) -> Result<u64, LaneError> {
        if self.waiting.len() >= WAITING_MAX {
            return Err(LaneError::Full);
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let volume = waiter.volume.clone();
        self.waiting.insert(ticket, waiter);
        self.volumes
            .entry(volume.clone())
            .or_default()
            .queue
            .insert(ticket);
        self.promote(&volume);
        Ok(ticket)
    }

    /// Ends the wait of a ticket; false if it does not wait.
    fn leave(&mut self, ticket: u64) -> bool {
        let Some(waiter) = self.waiting.remove(&ticket) else {
            return false;
        };
        self.eligible[waiter.lane.index()].remove(&ticket);
        let turns = self
            .volumes
            .get_mut(&waiter.volume)
            .expect("a waiter is in a queue");
        turns.queue.remove(&ticket);
        self.promote(&waiter.volume);
        true
    }

    /// Ends a call in flight.
    fn release(&mut self, lane: LaneKind, volume: &str) {
        self.in_flight[lane.index()] -= 1;
        self.volumes
            .get_mut(volume)
            .expect("a call in flight keeps its volume")
            .busy = false;
        self.promote(volume);
        self.advance(lane);
    }

    /// Makes the oldest that waits for a volume eligible, if the volume is free.
    fn promote(&mut self, volume: &str) {
        let turns = self
            .volumes
            .get(volume)
            .expect("the callers have just used it");
        if turns.busy {
            return;
        }
        let Some(oldest) = turns.queue.first().copied() else {
            self.volumes.remove(volume);
            return;
        };
        let lane = self.waiting[&oldest].lane;
        self.eligible[lane.index()].insert(oldest);
        self.advance(lane);
    }

    /// Lets go as many of a lane as have room, oldest first.
    fn advance(&mut self, lane: LaneKind) {
        let index = lane.index();
        while self.in_flight[index] < self.widths.0[index].get() {
            let Some(ticket) = self.eligible[index].pop_first() else {
                break;
            };
            let waiter = self.waiting.remove(&ticket).expect("who is eligible waits");
            let turns = self
                .volumes
                .get_mut(&waiter.volume)
                .expect("a waiter is in a queue");
            turns.queue.remove(&ticket);
            turns.busy = true;
            self.in_flight[index] += 1;
            // The receiver may be gone already; its permit then gives the place back.
            let _ = waiter.grant.send(());
        }
    }
}

/// A panic while the line was locked cannot leave it half-changed in a way that matters more
/// than going on: all steps under the lock are infallible.
fn lock(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}
