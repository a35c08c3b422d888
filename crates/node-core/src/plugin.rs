//! One plugin's life on one node: started, watched, started again, and stopped last.
//!
//! ```text
//!         Wanted              Prepared        Pulled          Started          Answered
//!   New ─────────► Preparing ─────────► Pulling ─────► Starting ─────► Probing ─────► Ready
//!    │ Recorded        ▲  │ something missing │            │ failed      │ ended,      │ ended,
//!    ▼                 │  ▼                   ▼            ▼             ▼ timeout     ▼ 3 misses
//!  Recovering     Tick │ BackingOff ◄──────────────── Stopping ◄───────────────────────┘
//!    │                 └────┘            Halted           │ Halted, to be removed
//!    └─(runs)─► Probing                                   ▼           Cleared
//!                                                      Clearing ─────────────► Gone
//! ```
//!
//! Of a ready plugin there is a [`Voice`]: it is heard, says that it is not ready, or is silent.
//! Only silence may end it, and only while no volume depends on it; see `alive.rs`.
//!
//! A plugin to be removed works on until no volume of it is left on the node. An upgrade
//! pulls the new image while the old one serves, then restarts in place: mounts belong to the
//! kernel and stay. It never takes the agent down: every failure is a state with a reason.

mod alive;
mod cause;
mod pull;
mod report;
mod stop;
#[cfg(test)]
mod tests;
mod tick;
mod watch;
mod words;

use sutler_api::plugin::{DesiredPlugin, PluginFactsView, PluginState};
use sutler_api::task::PullProgressView;
use sutler_ids::{Boottime, Now, Problem};

use crate::Step;
use crate::backoff::Retry;
use crate::container::ContainerSeen;
use cause::Cause;
pub use words::{
    Evidence, PluginEffect, PluginEvent, PluginPersist, PluginRecord, ProbeOutcome, StartRecord,
};

/// A plugin that was ready for so long, in milliseconds, has recovered: its next failure is
/// treated as the first.
pub(crate) const HEALTHY_AFTER_MS: u64 = 60_000;

/// Time between two looks at a ready plugin, in milliseconds.
pub(crate) const PROBE_EVERY_MS: u64 = 10_000;

/// Failed looks in a row after which a plugin counts as silent: one or two may be a host
/// under load.
pub(crate) const MISSES_MAX: u32 = 3;

/// First and longest time between two looks at a plugin that is coming up, in milliseconds:
/// most sockets appear within a blink, and a look costs one stat.
const LOOK_FIRST_MS: u64 = 20;
const LOOK_MOST_MS: u64 = 250;

/// Time between two looks at a plugin whose time to come up is over and that is left alone, in
/// milliseconds: it may take hours, and an operator who looks notices no second.
const LOOK_LATE_MS: u64 = 1_000;

/// Time between two counts of the volumes of a plugin to be removed, in milliseconds.
const COUNT_EVERY_MS: u64 = 1_000;

/// Used when a definition was recorded with an unreadable time; `checked` refuses those.
const STARTUP_DEFAULT_MS: u64 = 60_000;

/// A step of this machine.
pub type PluginStep = Step<PluginPersist, PluginEffect>;

/// One plugin on its node.
#[derive(Debug, Clone)]
pub struct Plugin {
    wanted: DesiredPlugin,
    removing: bool,
    started: Option<StartRecord>,
    facts: Option<PluginFactsView>,
    state: State,
    since: Now,
    run: u64,
    /// Failures in a row.
    attempt: u32,
    restarts: u64,
    problem: Option<Problem>,
    log_tail: Vec<String>,
    progress: Option<PullProgressView>,
    /// When the volumes of a plugin to be removed are counted next.
    count_at: Option<Boottime>,
}

#[derive(Debug, Clone, PartialEq)]
enum State {
    New,
    Recovering,
    Preparing,
    Pulling,
    Starting,
    Probing {
        deadline: Boottime,
        look_at: Option<Boottime>,
        looks: u32,
        last: Last,
        /// Its container was found running when the agent started: volumes may depend on it.
        adopted: bool,
        late: Option<Late>,
    },
    Ready {
        look_at: Option<Boottime>,
        misses: u32,
        upgrade: Upgrade,
        voice: Voice,
        /// How the last look went that gave no sign of life.
        last: Last,
        /// Whether calls go to it.
        up: bool,
    },
    Stopping {
        then: Then,
        retry: Option<Retry>,
    },
    BackingOff {
        retry: Retry,
    },
    Clearing {
        retry: Option<Retry>,
    },
    Gone,
}

type Last = Option<ProbeOutcome>;

/// A plugin whose time to come up is over and that is left alone all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Late {
    /// It says itself that it is not ready: an answer, and no reason to begin anew.
    NotReady {
        /// Looks since, in a row, that it did not answer.
        misses: u32,
    },
    /// It does not answer. Until the volumes here are counted, some may depend on it.
    Silent,
}

/// What is heard of a plugin that was ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Voice {
    /// It answers.
    Heard,
    /// It says itself that it is not ready: calls wait.
    NotReady,
    /// It does not answer. Until the volumes here are counted, some may depend on it.
    Silent {
        /// Whether they are being counted.
        counting: bool,
    },
    /// It does not answer and no volume depended on it; calls wait while that is made sure.
    Judged,
}

/// A newer definition that a ready plugin does not run yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upgrade {
    None,
    Pulling,
    PullAgainAt(Boottime),
}

/// What follows a stop.
#[derive(Debug, Clone, PartialEq)]
enum Then {
    BackOff(Cause),
    Again,
    Remove,
}

impl Plugin {
    /// Makes the machine of a plugin that has no record and no container yet.
    pub fn new(wanted: DesiredPlugin, now: Now) -> Self {
        Self {
            wanted,
            removing: false,
            started: None,
            facts: None,
            state: State::New,
            since: now,
            run: 0,
            attempt: 0,
            restarts: 0,
            problem: None,
            log_tail: Vec::new(),
            progress: None,
            count_at: None,
        }
    }

    /// Gives what the master wants.
    pub fn wanted(&self) -> &DesiredPlugin {
        &self.wanted
    }

    /// Gives the number of the present start, which effects carry.
    pub fn run(&self) -> u64 {
        self.run
    }

    /// Gives the image of its container, once one was started.
    pub fn digest(&self) -> Option<&str> {
        self.started.as_ref().map(|s| s.digest.as_str())
    }

    /// Tells whether a container was started from an older definition than the wanted one, so
    /// that a reference without digest must be looked up anew.
    pub fn is_upgrade(&self) -> bool {
        self.started
            .as_ref()
            .is_some_and(|s| s.generation != self.wanted.generation)
    }

    /// Tells whether nothing of it is left and its owner may drop it.
    pub fn is_gone(&self) -> bool {
        self.state == State::Gone
    }

    /// Tells whether it serves volumes now.
    pub fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready { up: true, .. })
    }

    /// Takes one event. What does not fit the state or belongs to an earlier start is ignored.
    pub fn on_event(&mut self, event: PluginEvent, now: Now) -> PluginStep {
        let before = self.state_to_tell();
        let step = self.apply(event, now);
        if self.state_to_tell() != before {
            self.since = now;
        }
        step
    }

    fn apply(&mut self, event: PluginEvent, now: Now) -> PluginStep {
        match event {
            PluginEvent::Wanted(wanted) => self.on_wanted(*wanted),
            PluginEvent::Unwanted => self.on_unwanted(),
            PluginEvent::VolumesHere(count) => self.on_volumes_here(count, now),
            PluginEvent::Recorded(record) => self.on_recorded(*record),
            PluginEvent::Observed(seen) => self.on_observed(seen, now),
            PluginEvent::Prepared { run, result } if run == self.run => {
                self.on_prepared(result, now)
            }
            PluginEvent::PullProgress { run, progress } if run == self.run => {
                self.progress = Some(progress);
                PluginStep::default()
            }
            PluginEvent::Pulled { run, result } if run == self.run => self.on_pulled(result, now),
            PluginEvent::Started { run, result } if run == self.run => self.on_started(result, now),
            PluginEvent::Ended { run, end } if run == self.run => self.on_ended(end, now),
            PluginEvent::Probed { run, outcome } if run == self.run => self.on_probed(outcome, now),
            PluginEvent::Halted { run, evidence } if run == self.run => {
                self.on_halted(evidence, now)
            }
            PluginEvent::Faltered { run, problem } if run == self.run => {
                self.on_faltered(problem, now)
            }
            PluginEvent::Cleared => self.on_cleared(),
            PluginEvent::Tick => self.on_tick(now),
            PluginEvent::Prepared { .. }
            | PluginEvent::PullProgress { .. }
            | PluginEvent::Pulled { .. }
            | PluginEvent::Started { .. }
            | PluginEvent::Ended { .. }
            | PluginEvent::Probed { .. }
            | PluginEvent::Halted { .. }
            | PluginEvent::Faltered { .. } => PluginStep::default(),
        }
    }

    fn on_wanted(&mut self, wanted: DesiredPlugin) -> PluginStep {
        let newer =
            (wanted.generation, wanted.restart) > (self.wanted.generation, self.wanted.restart);
        let kept = self.removing;
        self.removing = false;
        self.count_at = None;
        // One that is gone may be wanted again before its owner has dropped it.
        if matches!(self.state, State::New | State::Gone) {
            self.wanted = wanted;
            let record = self.put();
            return self.begin().record(record);
        }
        if !newer {
            return if kept {
                PluginStep::default().record(self.put())
            } else {
                PluginStep::default()
            };
        }
        self.wanted = wanted;
        self.attempt = 0;
        let record = self.put();
        self.take_up_newer().record(record)
    }

    fn take_up_newer(&mut self) -> PluginStep {
        match &mut self.state {
            State::Pulling => {
                let mut step = self.begin();
                step.effects.insert(0, PluginEffect::CancelPull);
                step
            }
            State::Preparing | State::BackingOff { .. } => self.begin(),
            State::Probing { .. } => self.halt(Then::Again),
            State::Ready {
                upgrade: upgrade @ (Upgrade::None | Upgrade::PullAgainAt(_)),
                ..
            } => {
                if matches!(upgrade, Upgrade::PullAgainAt(_)) {
                    // It was about the change before this one.
                    self.problem = None;
                }
                *upgrade = Upgrade::Pulling;
                PluginStep::act(PluginEffect::Pull)
            }
            State::Ready {
                upgrade: Upgrade::Pulling,
                ..
            } => PluginStep::acts(vec![PluginEffect::CancelPull, PluginEffect::Pull]),
            State::Stopping { then, .. } => {
                *then = Then::Again;
                PluginStep::default()
            }
            // A start cannot be called back: its end is looked at by generation.
            State::New
            | State::Recovering
            | State::Starting
            | State::Clearing { .. }
            | State::Gone => PluginStep::default(),
        }
    }

    fn on_recorded(&mut self, record: PluginRecord) -> PluginStep {
        if self.state == State::New {
            self.wanted = record.wanted;
            self.removing = record.removing;
            self.started = record.started;
            self.facts = record.facts;
            self.state = State::Recovering;
        }
        PluginStep::default()
    }

    fn on_observed(&mut self, seen: ContainerSeen, now: Now) -> PluginStep {
        if self.state != State::Recovering {
            return PluginStep::default();
        }
        let mut step = match seen {
            ContainerSeen::Running { .. } if self.runs_wanted() => self.watch(true, now),
            ContainerSeen::Running { .. } => self.halt(Then::Again),
            ContainerSeen::Absent | ContainerSeen::NeverStarted(_) | ContainerSeen::Ended(_) => {
                self.begin()
            }
        };
        if self.removing {
            step.effects.push(PluginEffect::CountVolumes);
        }
        step
    }

    fn runs_wanted(&self) -> bool {
        let wanted = (self.wanted.generation, self.wanted.restart);
        self.started
            .as_ref()
            .is_some_and(|s| (s.generation, s.restart) == wanted)
    }

    /// Begins a new run; no container of an earlier one is running.
    fn begin(&mut self) -> PluginStep {
        self.run += 1;
        self.progress = None;
        self.state = State::Preparing;
        PluginStep::act(PluginEffect::Prepare)
    }

    fn on_prepared(&mut self, result: Result<(), Problem>, now: Now) -> PluginStep {
        if self.state != State::Preparing {
            return PluginStep::default();
        }
        match result {
            Ok(()) => {
                self.state = State::Pulling;
                PluginStep::act(PluginEffect::Pull)
            }
            Err(problem) => self.back_off(problem, now),
        }
    }

    fn on_started(&mut self, result: Result<(), Problem>, now: Now) -> PluginStep {
        if self.state != State::Starting {
            return PluginStep::default();
        }
        match result {
            Err(problem) => self.halt(Then::BackOff(Cause::NotStarted(problem))),
            Ok(()) if !self.runs_wanted() => self.halt(Then::Again),
            Ok(()) => {
                let mut step = self.watch(false, now);
                if self.removing {
                    step.effects.push(PluginEffect::CountVolumes);
                }
                step
            }
        }
    }

    fn put(&self) -> PluginPersist {
        PluginPersist::Put(Box::new(PluginRecord {
            wanted: self.wanted.clone(),
            removing: self.removing,
            started: self.started.clone(),
            facts: self.facts.clone(),
        }))
    }

    fn state_to_tell(&self) -> PluginState {
        match &self.state {
            State::New | State::Recovering | State::Preparing => PluginState::Waiting,
            State::Pulling => PluginState::Pulling,
            State::Starting => PluginState::Starting,
            State::Probing { late: None, .. } => PluginState::Probing,
            State::Probing {
                late: Some(Late::NotReady { .. }),
                ..
            }
            | State::Ready {
                voice: Voice::NotReady,
                ..
            } => PluginState::NotReady,
            State::Probing {
                late: Some(Late::Silent),
                ..
            }
            | State::Ready {
                voice: Voice::Silent { .. } | Voice::Judged,
                ..
            } => PluginState::Silent,
            State::Ready {
                voice: Voice::Heard,
                ..
            } => PluginState::Ready,
            State::Stopping { .. } | State::Clearing { .. } => PluginState::Stopping,
            State::BackingOff { .. } => PluginState::BackingOff,
            State::Gone => PluginState::Stopped,
        }
    }
}
