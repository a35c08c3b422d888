//! How `sutler run` ends: a task's end as exit status and words. Pure.

use sutler_api::task::{TaskState, TaskView};
use sutler_ids::{ErrorKind, Problem, SaidBy};

use crate::failure::{ExitStatus, Look, Report};

/// Added to a signal's number to make an exit status, as shells do.
const SIGNAL_BASE: i32 = 128;

/// What SIGKILL makes of a container's exit status.
const KILLED: ExitStatus = ExitStatus(137);

/// The end of a task: what to exit with, and what to say before.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct End {
    /// The container's exit status, or ours for it.
    pub status: ExitStatus,
    said: Said,
}

#[derive(Debug, PartialEq, Eq)]
enum Said {
    /// The container has said all there is.
    Nothing,
    /// How it ended, where that is no failure of ours.
    Line(String),
    Failure(Report),
}

impl End {
    /// Writes lines for stderr, of a command that exits with `status`.
    pub(super) fn words(self, status: ExitStatus, look: Look) -> String {
        match (self.said, look) {
            (Said::Nothing, _) => String::new(),
            (Said::Line(text), Look::Text { .. }) => format!("{text}\n"),
            (Said::Line(text), Look::Json) => Report::new(text).status(status).rendered(look),
            (Said::Failure(report), _) => report.status(status).rendered(look),
        }
    }
}

/// Reads the end of a task that has ended.
pub(super) fn of(task: &TaskView) -> End {
    let id = &task.task_id;
    let Some(exit) = task.exit else {
        return without_exit(task);
    };
    let status = match (exit.code, exit.signal) {
        (Some(code), _) => status_of(code),
        (None, Some(signal)) => status_of(SIGNAL_BASE + signal),
        (None, None) => ExitStatus::PLATFORM,
    };
    let said = match (&task.problem, exit.oom_killed, exit.signal) {
        (Some(problem), _, _) => Said::Failure(Report::of_problem(problem)),
        (None, true, _) => Said::Failure(out_of_memory(task, status)),
        (None, false, Some(signal)) if task.state != TaskState::Killed => {
            Said::Line(format!("task {id} was ended by signal {signal}"))
        }
        (None, false, _) if (exit.code, exit.signal) == (None, None) => {
            let what = format!("it is not known how the container of task {id} ended");
            Said::Failure(Report::new(what).hint(format!("sutler task show {id}")))
        }
        (None, false, _) => Said::Nothing,
    };
    End { status, said }
}

/// A container's status is a byte; anything else is not one of a container.
fn status_of(code: i32) -> ExitStatus {
    u8::try_from(code).map_or(ExitStatus::PLATFORM, ExitStatus)
}

/// The task ended and its container never ran, or nobody knows how it ended.
fn without_exit(task: &TaskView) -> End {
    let id = &task.task_id;
    let look_there = format!("sutler task show {id}");
    let (status, said) = match (&task.problem, task.state == TaskState::Killed) {
        (None, true) => {
            let text = format!("task {id} was stopped before its container ran");
            (ExitStatus::INTERRUPTED, Said::Line(text))
        }
        (None, false) => {
            let report = Report::new(format!("task {id} failed without a reason"));
            (ExitStatus::PLATFORM, Said::Failure(report.hint(look_there)))
        }
        (Some(problem), _) => {
            let mut report = Report::of_problem(problem);
            report.hint = report.hint.or(Some(look_there));
            (start_failure(problem), Said::Failure(report))
        }
    };
    End { status, said }
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
