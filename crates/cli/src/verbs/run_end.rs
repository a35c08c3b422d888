//! How `sutler run` ends: a task's end as exit status and words. Pure.

use sutler_api::task::{TaskState, TaskView};
use sutler_ids::{ErrorKind, Problem, SaidBy};

use crate::failure::{ExitStatus, Report};

/// Added to a signal's number to make an exit status, as shells do.
const SIGNAL_BASE: i32 = 128;

/// What SIGKILL makes of a container's exit status.
const KILLED: ExitStatus = ExitStatus(137);

/// The end of a task: what to exit with, and what to say before.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct End {
    /// The container's exit status, or ours for it.
    pub status: ExitStatus,
    /// Lines for stderr; empty when the container has said all there is.
    pub words: String,
}

/// Reads the end of a task that has ended.
pub(super) fn of(task: &TaskView, colour: bool) -> End {
    let id = &task.task_id;
    let Some(exit) = task.exit else {
        return without_exit(task, colour);
    };
    let status = match (exit.code, exit.signal) {
        (Some(code), _) => status_of(code),
        (None, Some(signal)) => status_of(SIGNAL_BASE + signal),
        (None, None) => ExitStatus::PLATFORM,
    };
    let mut words = match (&task.problem, exit.oom_killed, exit.signal) {
        (Some(problem), _, _) => Report::of_problem(problem).render(colour),
        (None, true, _) => out_of_memory(task, status).render(colour),
        (None, false, Some(signal)) if task.state != TaskState::Killed => {
            format!("task {id} was ended by signal {signal}\n")
        }
        (None, false, _) => String::new(),
    };
    if (exit.code, exit.signal) == (None, None) && words.is_empty() {
        words = Report::new(format!(
            "it is not known how the container of task {id} ended"
        ))
        .hint(format!("sutler task show {id}"))
        .render(colour);
    }
    End { status, words }
}

/// A container's status is a byte; anything else is not one of a container.
fn status_of(code: i32) -> ExitStatus {
    u8::try_from(code).map_or(ExitStatus::PLATFORM, ExitStatus)
}

/// The task ended and its container never ran, or nobody knows how it ended.
fn without_exit(task: &TaskView, colour: bool) -> End {
    let id = &task.task_id;
    let Some(problem) = &task.problem else {
        return match task.state {
            TaskState::Killed => {
                let words = format!("task {id} was stopped before its container ran\n");
                End {
                    status: ExitStatus::INTERRUPTED,
                    words,
                }
            }
            TaskState::Accepted
            | TaskState::Pulling
            | TaskState::Preparing
            | TaskState::Starting
            | TaskState::Running
            | TaskState::Stopping
            | TaskState::Releasing
            | TaskState::Finished
            | TaskState::Failed => {
                let report = Report::new(format!("task {id} failed without a reason"))
                    .hint(format!("sutler task show {id}"));
                End {
                    status: ExitStatus::PLATFORM,
                    words: report.render(colour),
                }
            }
        };
    };
    let mut report = Report::of_problem(problem);
    report.hint = report
        .hint
        .or_else(|| Some(format!("sutler task show {id}")));
    End {
        status: start_failure(problem),
        words: report.render(colour),
    }
}

/// The status of a container that could not be started, as shells and docker have it.
fn start_failure(problem: &Problem) -> ExitStatus {
    match (&problem.said_by, problem.kind) {
        (SaidBy::Runtime, ErrorKind::NotFound) => ExitStatus::NOT_FOUND,
        (SaidBy::Runtime, ErrorKind::Invalid) => ExitStatus::NOT_EXECUTABLE,
        (SaidBy::Runtime, _)
        | (SaidBy::Sutler | SaidBy::Plugin(_) | SaidBy::Kernel | SaidBy::Registry(_), _) => {
            ExitStatus::PLATFORM
        }
    }
}

/// The kernel killed the container's first process, or another one that it lived on without.
fn out_of_memory(task: &TaskView, status: ExitStatus) -> Report {
    let limit = task
        .memory
        .map(|limit| format!(" of {limit}"))
        .unwrap_or_default();
    let killed = match status == KILLED {
        true => format!("task {}", task.task_id),
        false => format!("a process of task {}", task.task_id),
    };
    Report::new(format!(
        "the kernel killed {killed}: it was out of its memory{limit}"
    ))
    .hint("give it more with --mem")
}
