//! What is told of a task, and how a container's end becomes the task's.

use sutler_api::Timestamp;
use sutler_api::agent::TaskReport;
use sutler_api::task::{PullProgressView, TaskState};
use sutler_ids::Now;
use sutler_ids::{ErrorKind, Problem, SaidBy};

use super::{CleanUp, Ending, State, Task, failed};
use crate::container::{ContainerEnd, exit_text};

impl Task {
    /// Gives the task's state as the master is told it. Terminal states are told only when the
    /// volumes are released and the end is recorded.
    pub fn report(&self) -> TaskReport {
        let ending = self.ending();
        let started_at = match &self.state {
            State::Running { started_at } | State::Stopping { started_at } => Some(*started_at),
            State::New
            | State::Recovering(_)
            | State::Clearing
            | State::Pulling { .. }
            | State::Preparing { .. }
            | State::Starting
            | State::Releasing { .. }
            | State::Ended { .. }
            | State::Forgetting { .. }
            | State::Forgotten { .. } => ending.and_then(|e| e.started_at),
        };
        TaskReport {
            task_id: self.spec.task_id.clone(),
            instance: self.spec.instance,
            state: self.state_to_tell(),
            exit: ending.and_then(|e| e.exit),
            problem: ending
                .and_then(|e| e.problem.clone())
                .or_else(|| self.trouble.clone()),
            image_digest: self.digest.clone(),
            started_at,
            ended_at: ending.map(|e| e.ended_at),
            progress: self.progress(),
        }
    }

    /// Tells whether the task has ended and its end is recorded.
    pub fn has_ended(&self) -> bool {
        self.told.is_terminal()
    }

    pub(super) fn state_to_tell(&self) -> TaskState {
        let now = match &self.state {
            State::New | State::Recovering(_) => TaskState::Accepted,
            State::Clearing | State::Pulling { .. } => TaskState::Pulling,
            State::Preparing { .. } => TaskState::Preparing,
            State::Starting => TaskState::Starting,
            State::Running { .. } => TaskState::Running,
            State::Stopping { .. } => TaskState::Stopping,
            State::Releasing { .. } => TaskState::Releasing,
            State::Ended { ending }
            | State::Forgetting { ending }
            | State::Forgotten { ending } => ending.state,
        };
        if rank(now) < rank(self.told) {
            self.told
        } else {
            now
        }
    }

    fn ending(&self) -> Option<&Ending> {
        match &self.state {
            State::Releasing { ending, .. }
            | State::Ended { ending }
            | State::Forgetting { ending }
            | State::Forgotten { ending } => Some(ending),
            State::New
            | State::Recovering(_)
            | State::Clearing
            | State::Pulling { .. }
            | State::Preparing { .. }
            | State::Starting
            | State::Running { .. }
            | State::Stopping { .. } => None,
        }
    }

    fn progress(&self) -> Option<PullProgressView> {
        match &self.state {
            State::Pulling { progress } => *progress,
            State::New
            | State::Recovering(_)
            | State::Clearing
            | State::Preparing { .. }
            | State::Starting
            | State::Running { .. }
            | State::Stopping { .. }
            | State::Releasing { .. }
            | State::Ended { .. }
            | State::Forgetting { .. }
            | State::Forgotten { .. } => None,
        }
    }
}

/// Orders states by the task's life; the three ends are equal.
pub(super) fn rank(state: TaskState) -> u8 {
    match state {
        TaskState::Accepted => 0,
        TaskState::Pulling => 1,
        TaskState::Preparing => 2,
        TaskState::Starting => 3,
        TaskState::Running => 4,
        TaskState::Stopping => 5,
        TaskState::Releasing => 6,
        TaskState::Finished | TaskState::Failed | TaskState::Killed => 7,
    }
}

/// Turns a container's end into the task's, with how much of the container must go.
pub(super) fn ending(
    task: &Task,
    end: ContainerEnd,
    started_at: Option<Timestamp>,
    now: Now,
) -> (Ending, CleanUp) {
    match end {
        ContainerEnd::Exited {
            exit,
            started_at,
            ended_at,
        } => {
            let state = match (task.stop, exit.code) {
                (true, _) => TaskState::Killed,
                (false, Some(0)) => TaskState::Finished,
                (false, _) => TaskState::Failed,
            };
            let problem = (state == TaskState::Failed && exit.oom_killed)
                .then(|| out_of_memory(task, exit_text(&exit)));
            let ending = Ending {
                state,
                exit: Some(exit),
                problem,
                started_at: Some(started_at),
                ended_at,
            };
            (ending, CleanUp::KeepLogs)
        }
        ContainerEnd::Lost { rebooted, log_tail } => {
            let mut ending = failed(lost(task, rebooted, &log_tail), started_at, now);
            if task.stop {
                ending.state = TaskState::Killed;
            }
            (ending, CleanUp::All)
        }
    }
}

fn out_of_memory(task: &Task, end: String) -> Problem {
    let id = &task.spec.task_id;
    let what = match task.spec.memory {
        Some(limit) => format!("task {id} needed more than its memory limit of {limit}"),
        None => format!("the host of task {id} ran out of memory"),
    };
    Problem::new(ErrorKind::Exhausted, what)
        .said_by(SaidBy::Kernel)
        .raw(end)
        .hint("run it again with a larger --mem")
}

fn lost(task: &Task, rebooted: bool, log_tail: &[String]) -> Problem {
    let id = &task.spec.task_id;
    let cause = if rebooted {
        format!("the host was started again while task {id} ran")
    } else {
        format!("the process that looked after task {id} was killed, so its end is not known")
    };
    let problem = Problem::new(ErrorKind::Unavailable, cause).hint("run the task again");
    if log_tail.is_empty() {
        problem
    } else {
        problem.raw(log_tail.join("\n"))
    }
}
