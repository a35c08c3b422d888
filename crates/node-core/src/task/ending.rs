//! A task's end: the container first, then the volumes, then the record; and trying again.

use sutler_ids::Problem;
use sutler_ids::VolumeId;
use sutler_ids::{Boottime, Now};

use super::{Act, CleanUp, Ending, Retry, Stage, State, Task, TaskEffect, TaskPersist, TaskStep};
use crate::backoff;

impl Task {
    /// Decides the end: the record first, then the container, then the volumes.
    pub(super) fn end(&mut self, ending: Ending, container: Option<CleanUp>) -> TaskStep {
        self.trouble = None;
        self.retries.clear();
        let stage = Stage::Releasing {
            digest: self.digest.clone(),
            ending: ending.clone(),
        };
        let record = self.put(stage);
        let held = self.volume_ids();
        self.state = State::Releasing {
            ending,
            container,
            held,
        };
        let step = match container {
            Some(clean) => TaskStep::act(TaskEffect::Clean(clean)),
            None => self.release_all(),
        };
        TaskStep {
            persist: std::iter::once(record).chain(step.persist).collect(),
            effects: step.effects,
        }
    }

    pub(super) fn on_cleaned(&mut self, now: Now) -> TaskStep {
        self.retries.remove(&Act::Clean);
        self.trouble = None;
        match &mut self.state {
            State::Clearing if self.stop => self.end(self.killed(now), None),
            State::Clearing => self.begin(),
            State::Releasing {
                container: container @ Some(_),
                ..
            } => {
                *container = None;
                self.release_all()
            }
            State::New
            | State::Recovering(_)
            | State::Pulling { .. }
            | State::Preparing { .. }
            | State::Starting
            | State::Running { .. }
            | State::Stopping { .. }
            | State::Releasing {
                container: None, ..
            }
            | State::Ended { .. }
            | State::Forgetting { .. }
            | State::Forgotten { .. } => TaskStep::default(),
        }
    }

    pub(super) fn release_all(&mut self) -> TaskStep {
        match &self.state {
            State::Releasing { held, .. } if !held.is_empty() => {
                let release = |id: &VolumeId| TaskEffect::Release { volume_id: *id };
                TaskStep::acts(held.iter().map(release).collect())
            }
            State::Releasing { ending, .. } => {
                let ending = ending.clone();
                self.finish(ending)
            }
            State::New
            | State::Recovering(_)
            | State::Clearing
            | State::Pulling { .. }
            | State::Preparing { .. }
            | State::Starting
            | State::Running { .. }
            | State::Stopping { .. }
            | State::Ended { .. }
            | State::Forgetting { .. }
            | State::Forgotten { .. } => TaskStep::default(),
        }
    }

    pub(super) fn on_released(&mut self, volume_id: VolumeId) -> TaskStep {
        let State::Releasing {
            held,
            container: None,
            ending,
        } = &mut self.state
        else {
            return TaskStep::default();
        };
        held.remove(&volume_id);
        if !held.is_empty() {
            return TaskStep::default();
        }
        let ending = ending.clone();
        self.finish(ending)
    }

    pub(super) fn finish(&mut self, ending: Ending) -> TaskStep {
        let record = self.put(Stage::Ended {
            digest: self.digest.clone(),
            ending: ending.clone(),
        });
        self.state = State::Ended { ending };
        TaskStep::default().record(record)
    }

    pub(super) fn on_forget(&mut self) -> TaskStep {
        let State::Ended { ending } = &self.state else {
            return TaskStep::default();
        };
        self.state = State::Forgetting {
            ending: ending.clone(),
        };
        TaskStep::act(TaskEffect::Clear)
    }

    pub(super) fn on_cleared(&mut self) -> TaskStep {
        let State::Forgetting { ending } = &self.state else {
            return TaskStep::default();
        };
        self.state = State::Forgotten {
            ending: ending.clone(),
        };
        TaskStep::default().record(TaskPersist::Delete(self.spec.task_id.clone()))
    }

    pub(super) fn on_faltered(&mut self, act: Act, problem: Problem, now: Now) -> TaskStep {
        if self.effect_of(act).is_none() {
            return TaskStep::default();
        }
        let attempt = self
            .retries
            .get(&act)
            .map_or(0, |retry| retry.attempt.saturating_add(1));
        let at = now.after_ms(backoff::wait_ms(attempt));
        self.retries.insert(act, Retry { at, attempt });
        self.trouble = Some(problem);
        TaskStep::act(TaskEffect::WakeAt(at))
    }

    pub(super) fn on_tick(&mut self, now: Now) -> TaskStep {
        let due: Vec<Act> = self
            .retries
            .iter()
            .filter(|(_, r)| r.at <= now.boottime)
            .map(|(act, _)| *act)
            .collect();
        let mut effects = Vec::new();
        for act in due {
            // Out of reach until the act falters again; its count goes on.
            if let Some(retry) = self.retries.get_mut(&act) {
                retry.at = Boottime::MAX;
            }
            effects.extend(self.effect_of(act));
        }
        TaskStep::acts(effects)
    }

    /// Gives the effect that carries out `act`, if the task's state still asks for it.
    pub(super) fn effect_of(&self, act: Act) -> Option<TaskEffect> {
        match (act, &self.state) {
            (Act::Wait, State::Running { .. } | State::Stopping { .. }) => Some(TaskEffect::Wait),
            (Act::Stop, State::Stopping { .. }) => Some(TaskEffect::Stop {
                grace_ms: self.spec.stop_grace_ms,
            }),
            (Act::Clean, State::Clearing) => Some(TaskEffect::Clean(CleanUp::All)),
            (
                Act::Clean,
                State::Releasing {
                    container: Some(clean),
                    ..
                },
            ) => Some(TaskEffect::Clean(*clean)),
            (Act::Clear, State::Forgetting { .. }) => Some(TaskEffect::Clear),
            (Act::Wait | Act::Stop | Act::Clean | Act::Clear, _) => None,
        }
    }
}
