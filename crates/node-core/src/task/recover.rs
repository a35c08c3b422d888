//! A task after a restart: first its record, then what was seen of its container.
//!
//! Decides whether to go on, to begin again or to end. It begins again only when the container's
//! command never ran.

use sutler_api::task::TaskState;
use sutler_ids::Now;

use super::{CleanUp, Stage, State, Task, TaskEffect, TaskRecord, TaskStep, failed, report};
use crate::container::{ContainerEnd, ContainerSeen};

impl Task {
    pub(super) fn on_recorded(&mut self, record: TaskRecord) -> TaskStep {
        if !matches!(self.state, State::New) {
            return TaskStep::default();
        }
        self.stop = record.stop;
        self.digest = match &record.stage {
            Stage::Launching => None,
            Stage::Starting { digest } => Some(digest.clone()),
            Stage::Releasing { digest, .. } | Stage::Ended { digest, .. } => digest.clone(),
        };
        // An earlier run may have told as much as this, and a status never goes backwards.
        self.told = match &record.stage {
            Stage::Launching => TaskState::Preparing,
            Stage::Starting { .. } => TaskState::Starting,
            Stage::Releasing { .. } => TaskState::Releasing,
            Stage::Ended { ending, .. } => ending.state,
        };
        self.state = match record.stage {
            Stage::Ended { ending, .. } => State::Ended { ending },
            open @ (Stage::Launching | Stage::Starting { .. } | Stage::Releasing { .. }) => {
                State::Recovering(open)
            }
        };
        TaskStep::default()
    }

    pub(super) fn on_observed(&mut self, seen: ContainerSeen, now: Now) -> TaskStep {
        let State::Recovering(stage) = &self.state else {
            return TaskStep::default();
        };
        match stage.clone() {
            Stage::Launching | Stage::Starting { .. } => self.resume(seen, now),
            Stage::Releasing { ending, .. } | Stage::Ended { ending, .. } => {
                let clean = clean_up_of(&seen);
                let held = self.volume_ids();
                self.state = State::Releasing {
                    ending,
                    container: Some(clean),
                    held,
                };
                TaskStep::act(TaskEffect::Clean(clean))
            }
        }
    }

    fn resume(&mut self, seen: ContainerSeen, now: Now) -> TaskStep {
        match seen {
            ContainerSeen::Running { started_at } => self.watch(started_at),
            ContainerSeen::Ended(end) => {
                let (ending, clean) = report::ending(self, end, None, now);
                self.end(ending, Some(clean))
            }
            ContainerSeen::NeverStarted(_) if self.stop => {
                self.end(self.killed(now), Some(CleanUp::All))
            }
            ContainerSeen::NeverStarted(Some(problem)) => {
                self.end(failed(problem, None, now), Some(CleanUp::All))
            }
            // A root file system may be mounted even where no container was begun.
            ContainerSeen::NeverStarted(None) | ContainerSeen::Absent => {
                self.state = State::Clearing;
                TaskStep::act(TaskEffect::Clean(CleanUp::All))
            }
        }
    }
}

impl TaskRecord {
    /// Corrects what is seen of the task's container when the host has booted since the
    /// record was written. The container's folder survives the death of processes but not
    /// a power cut, so after one it cannot say that a command never ran.
    pub fn seen_after_boot(&self, seen: ContainerSeen) -> ContainerSeen {
        let may_have_run = match &self.stage {
            Stage::Starting { .. } => true,
            Stage::Launching | Stage::Releasing { .. } | Stage::Ended { .. } => false,
        };
        match seen {
            ContainerSeen::Absent | ContainerSeen::NeverStarted(None) if may_have_run => {
                ContainerSeen::Ended(ContainerEnd::Lost {
                    rebooted: true,
                    log_tail: Vec::new(),
                })
            }
            ContainerSeen::Absent
            | ContainerSeen::NeverStarted(_)
            | ContainerSeen::Running { .. }
            | ContainerSeen::Ended(_) => seen,
        }
    }
}

fn clean_up_of(seen: &ContainerSeen) -> CleanUp {
    match seen {
        ContainerSeen::Absent | ContainerSeen::Ended(ContainerEnd::Exited { .. }) => {
            CleanUp::KeepLogs
        }
        ContainerSeen::NeverStarted(_)
        | ContainerSeen::Running { .. }
        | ContainerSeen::Ended(ContainerEnd::Lost { .. }) => CleanUp::All,
    }
}
