//! One task's life on its node, from the master's wish to the released volumes.
//!
//! ```text
//!            Wanted                Pulled            all Acquired          Started
//!   New ───────────► Pulling ─────────────► Preparing ──────────► Starting ───────► Running
//!    │ Recorded         ▲                       │                    │                │ Stop
//!    ▼                  │ Cleaned      a failure │ or Stop           │ failed         ▼
//!  Recovering ──► Clearing                      ▼                    ▼      Ended  Stopping
//!    │                              Releasing (container, then volumes) ◄──────────────┘
//!    └──(by what was seen)──►                   │ all Released
//!                                               ▼          Forget             Cleared
//!                                             Ended ─────────────► Forgetting ───────► Forgotten
//! ```
//!
//! It never starts a container twice: the intent is on disk before the start, and after a crash
//! the container's own folder says whether its command ever ran. It holds no container and no
//! volume itself; the agent carries out its effects.

mod ending;
mod recover;
mod report;
#[cfg(test)]
mod tests;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use sutler_api::Timestamp;
use sutler_api::task::{PullProgressView, TaskSpec, TaskState};
use sutler_ids::Problem;
use sutler_ids::VolumeId;
use sutler_ids::{Boottime, Now};

use crate::Step;
use crate::container::ContainerEnd;
pub use words::{
    Act, CleanUp, Ending, Launch, Stage, TaskEffect, TaskEvent, TaskPersist, TaskRecord, VolumeAt,
};

/// A step of this machine.
pub type TaskStep = Step<TaskPersist, TaskEffect>;

/// One task on its node.
#[derive(Debug, Clone)]
pub struct Task {
    spec: TaskSpec,
    stop: bool,
    digest: Option<String>,
    state: State,
    /// The furthest state that was ever told; a report never goes behind it.
    told: TaskState,
    /// What is in the way now, while no end is decided.
    trouble: Option<Problem>,
    retries: BTreeMap<Act, Retry>,
}

#[derive(Debug, Clone)]
enum State {
    New,
    Recovering(Stage),
    Clearing,
    Pulling {
        progress: Option<PullProgressView>,
    },
    Preparing {
        waiting: BTreeSet<VolumeId>,
        ready: BTreeMap<VolumeId, VolumeAt>,
    },
    Starting,
    Running {
        started_at: Timestamp,
    },
    Stopping {
        started_at: Timestamp,
    },
    Releasing {
        ending: Ending,
        container: Option<CleanUp>,
        held: BTreeSet<VolumeId>,
    },
    Ended {
        ending: Ending,
    },
    Forgetting {
        ending: Ending,
    },
    Forgotten {
        ending: Ending,
    },
}

#[derive(Debug, Clone, Copy)]
struct Retry {
    at: Boottime,
    attempt: u32,
}

impl Task {
    /// Makes the machine of a task that has no record and no container yet.
    pub fn new(spec: TaskSpec) -> Self {
        Self {
            spec,
            stop: false,
            digest: None,
            state: State::New,
            told: TaskState::Accepted,
            trouble: None,
            retries: BTreeMap::new(),
        }
    }

    /// Gives what was asked for.
    pub fn spec(&self) -> &TaskSpec {
        &self.spec
    }

    /// Gives the digest of its image, once known.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// Tells whether it may hold volumes, or ask for them without another record.
    pub fn may_hold_volumes(&self) -> bool {
        !matches!(
            self.state,
            State::Ended { .. } | State::Forgetting { .. } | State::Forgotten { .. }
        )
    }

    /// Tells whether nothing of it is left and its owner may drop it.
    pub fn is_forgotten(&self) -> bool {
        matches!(self.state, State::Forgotten { .. })
    }

    /// Takes one event. An event that does not fit the state is a repeat or late, and ignored.
    pub fn on_event(&mut self, event: TaskEvent, now: Now) -> TaskStep {
        let step = match event {
            TaskEvent::Wanted => self.on_wanted(),
            TaskEvent::Stop => self.on_stop(now),
            TaskEvent::Recorded(record) => self.on_recorded(*record),
            TaskEvent::Observed(seen) => self.on_observed(seen, now),
            TaskEvent::PullProgress(told) => self.on_pull_progress(told),
            TaskEvent::Pulled(result) => self.on_pulled(result, now),
            TaskEvent::Acquired { volume_id, result } => self.on_acquired(volume_id, result, now),
            TaskEvent::VolumeFailed { volume_id, problem } => {
                self.on_volume_failed(volume_id, problem, now)
            }
            TaskEvent::Started(result) => self.on_started(result, now),
            TaskEvent::Ended(end) => self.on_ended(end, now),
            TaskEvent::Cleaned => self.on_cleaned(now),
            TaskEvent::Released { volume_id } => self.on_released(volume_id),
            TaskEvent::Forget => self.on_forget(),
            TaskEvent::Cleared => self.on_cleared(),
            TaskEvent::Faltered { act, problem } => self.on_faltered(act, problem, now),
            TaskEvent::Tick => self.on_tick(now),
        };
        self.told = self.state_to_tell();
        step
    }

    fn on_wanted(&mut self) -> TaskStep {
        if !matches!(self.state, State::New) {
            return TaskStep::default();
        }
        let record = self.put(Stage::Launching);
        self.begin().record(record)
    }

    /// Starts with the pull; only ever called when no container of the task exists.
    fn begin(&mut self) -> TaskStep {
        self.state = State::Pulling { progress: None };
        // A digest that an earlier start had settled on is kept: one task runs one image.
        let always = self.spec.pull_always && self.digest.is_none();
        TaskStep::act(TaskEffect::Pull { always })
    }

    fn on_stop(&mut self, now: Now) -> TaskStep {
        if self.stop {
            return TaskStep::default();
        }
        match &self.state {
            State::New => {
                self.stop = true;
                self.end(self.killed(now), None)
            }
            State::Clearing | State::Starting => {
                self.stop = true;
                let record = self.put(self.open_stage());
                TaskStep::default().record(record)
            }
            State::Pulling { .. } => {
                self.stop = true;
                let mut step = self.end(self.killed(now), None);
                step.effects.insert(0, TaskEffect::CancelPull);
                step
            }
            State::Preparing { .. } => {
                self.stop = true;
                self.end(self.killed(now), None)
            }
            State::Running { started_at } => {
                let started_at = *started_at;
                self.stop = true;
                let record = self.put(self.open_stage());
                self.stop_container(started_at).record(record)
            }
            State::Recovering(_)
            | State::Stopping { .. }
            | State::Releasing { .. }
            | State::Ended { .. }
            | State::Forgetting { .. }
            | State::Forgotten { .. } => TaskStep::default(),
        }
    }

    fn stop_container(&mut self, started_at: Timestamp) -> TaskStep {
        self.state = State::Stopping { started_at };
        TaskStep::act(TaskEffect::Stop {
            grace_ms: self.spec.stop_grace_ms,
        })
    }

    fn on_pull_progress(&mut self, told: PullProgressView) -> TaskStep {
        if let State::Pulling { progress } = &mut self.state {
            *progress = Some(told);
        }
        TaskStep::default()
    }

    fn on_pulled(&mut self, result: Result<String, Problem>, now: Now) -> TaskStep {
        if !matches!(self.state, State::Pulling { .. }) {
            return TaskStep::default();
        }
        match result {
            Ok(digest) => {
                self.digest = Some(digest);
                self.acquire_all()
            }
            Err(problem) => self.end(failed(problem, None, now), None),
        }
    }

    fn acquire_all(&mut self) -> TaskStep {
        let waiting = self.volume_ids();
        if waiting.is_empty() {
            return self.start(BTreeMap::new());
        }
        let writers: BTreeSet<VolumeId> = self
            .spec
            .volumes
            .iter()
            .filter(|v| !v.read_only)
            .map(|v| v.volume_id)
            .collect();
        let acquire = |id: &VolumeId| TaskEffect::Acquire {
            volume_id: *id,
            read_only: !writers.contains(id),
        };
        let effects = waiting.iter().map(acquire).collect();
        self.state = State::Preparing {
            waiting,
            ready: BTreeMap::new(),
        };
        TaskStep::acts(effects)
    }

    fn on_acquired(
        &mut self,
        volume_id: VolumeId,
        result: Result<VolumeAt, Problem>,
        now: Now,
    ) -> TaskStep {
        let State::Preparing { waiting, ready } = &mut self.state else {
            return TaskStep::default();
        };
        match result {
            Err(_) if !waiting.contains(&volume_id) => TaskStep::default(),
            Err(problem) => self.end(failed(problem, None, now), None),
            Ok(at) => {
                if waiting.remove(&volume_id) {
                    ready.insert(volume_id, at);
                }
                if !waiting.is_empty() {
                    return TaskStep::default();
                }
                let volumes = std::mem::take(ready);
                self.start(volumes)
            }
        }
    }

    /// Ends a pull that has become pointless. Later on the volume itself answers.
    fn on_volume_failed(&mut self, volume_id: VolumeId, problem: Problem, now: Now) -> TaskStep {
        let pulls = matches!(self.state, State::Pulling { .. });
        if !pulls || !self.volume_ids().contains(&volume_id) {
            return TaskStep::default();
        }
        let mut step = self.end(failed(problem, None, now), None);
        step.effects.insert(0, TaskEffect::CancelPull);
        step
    }

    fn start(&mut self, volumes: BTreeMap<VolumeId, VolumeAt>) -> TaskStep {
        let digest = self.digest.clone().expect("set when the pull ended");
        let record = self.put(Stage::Starting {
            digest: digest.clone(),
        });
        self.state = State::Starting;
        TaskStep::act(TaskEffect::Start(Launch { digest, volumes })).record(record)
    }

    fn on_started(&mut self, result: Result<Timestamp, Problem>, now: Now) -> TaskStep {
        if !matches!(self.state, State::Starting) {
            return TaskStep::default();
        }
        match result {
            Ok(started_at) => self.watch(started_at),
            Err(_) if self.stop => self.end(self.killed(now), Some(CleanUp::All)),
            Err(problem) => self.end(failed(problem, None, now), Some(CleanUp::All)),
        }
    }

    /// Follows a running container, and stops it at once if that is already wanted.
    fn watch(&mut self, started_at: Timestamp) -> TaskStep {
        self.state = State::Running { started_at };
        let mut step = TaskStep::act(TaskEffect::Wait);
        if self.stop {
            step.effects.extend(self.stop_container(started_at).effects);
        }
        step
    }

    fn on_ended(&mut self, end: ContainerEnd, now: Now) -> TaskStep {
        let started_at = match &self.state {
            State::Running { started_at } | State::Stopping { started_at } => *started_at,
            State::New
            | State::Recovering(_)
            | State::Clearing
            | State::Pulling { .. }
            | State::Preparing { .. }
            | State::Starting
            | State::Releasing { .. }
            | State::Ended { .. }
            | State::Forgetting { .. }
            | State::Forgotten { .. } => return TaskStep::default(),
        };
        let (ending, clean) = report::ending(self, end, Some(started_at), now);
        self.end(ending, Some(clean))
    }

    /// Gives the stage to record while no end is decided: once a start was on its way, only the
    /// container's folder tells whether it happened.
    fn open_stage(&self) -> Stage {
        match &self.digest {
            Some(digest) => Stage::Starting {
                digest: digest.clone(),
            },
            None => Stage::Launching,
        }
    }

    fn put(&self, stage: Stage) -> TaskPersist {
        TaskPersist::Put(Box::new(TaskRecord {
            spec: self.spec.clone(),
            stop: self.stop,
            stage,
        }))
    }

    fn killed(&self, now: Now) -> Ending {
        Ending {
            state: TaskState::Killed,
            exit: None,
            problem: None,
            started_at: None,
            ended_at: now.wall,
        }
    }

    fn volume_ids(&self) -> BTreeSet<VolumeId> {
        self.spec.volumes.iter().map(|v| v.volume_id).collect()
    }
}

fn failed(problem: Problem, started_at: Option<Timestamp>, now: Now) -> Ending {
    Ending {
        state: TaskState::Failed,
        exit: None,
        problem: Some(problem),
        started_at,
        ended_at: now.wall,
    }
}
