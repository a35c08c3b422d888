//! The eyes of `sutler run`: one task follows the container's state, one each its stdout and
//! stderr. They only tell; `run` decides.
//!
//! A connection that breaks is opened again, and output that was told already is skipped, so
//! that a restart of master or agent shows neither a gap nor a repeat. Output that the agent
//! has rotated away meanwhile is the exception: then as many bytes are missing as were lost.

use std::time::Duration;

use bytes::Bytes;
use sutler_api::task::{LogStream, TaskState, TaskView};
use sutler_ids::TaskId;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::task::name_of;
use crate::client::{Answer, CallError, Client};
use crate::progress::Status;
use crate::wait::{Away, HOLD, Pace, RETRY_EVERY, rest};

/// Most things told and not yet taken; a full channel makes the connection wait, and with it
/// the container's agent, never our memory.
pub(super) const TOLD_MAX: usize = 64;

/// How long the master may hold an answer back while bytes of an image come in.
const PULL_HOLD: Duration = Duration::from_millis(500);

/// What the watchers tell.
#[derive(Debug)]
pub(super) enum Seen {
    /// The task as it is now.
    Task(Box<Answer<TaskView>>),
    /// Bytes that the container wrote.
    Output(LogStream, Bytes),
    /// All that the container wrote to one stream was told, or as much as can be had.
    OutputEnd(Option<CallError>),
    /// The master is away, and is tried again.
    Away(Status),
    /// The task cannot be followed any more.
    Lost(CallError),
}

/// Follows one task's state, which was `seen` last, until it has ended.
pub(super) async fn follow_task(
    client: Client,
    id: TaskId,
    mut seen: TaskState,
    tell: mpsc::Sender<Seen>,
) {
    let mut away = Away::default();
    let mut pace = Pace::default();
    loop {
        let asked_at = Instant::now();
        let hold = if seen == TaskState::Pulling {
            PULL_HOLD
        } else {
            HOLD
        };
        let path = format!("/v1/tasks/{id}{}", query_of(seen));
        let pause = match client.get_waiting::<TaskView>(&path, hold).await {
            Ok(answer) => {
                away = Away::default();
                let state = answer.value.state;
                let news = state != seen;
                seen = state;
                let took = asked_at.elapsed();
                if tell.send(Seen::Task(Box::new(answer))).await.is_err() || state.is_terminal() {
                    return;
                }
                pace.after(news, took)
            }
            Err(error) => {
                let told = match away.passing(error) {
                    Ok(status) => Seen::Away(status),
                    Err(error) => Seen::Lost(error),
                };
                let lost = matches!(told, Seen::Lost(_));
                if tell.send(told).await.is_err() || lost {
                    return;
                }
                RETRY_EVERY
            }
        };
        rest(pause).await;
    }
}

/// Asks for the task as soon as its state is another one.
pub(super) fn query_of(state: TaskState) -> String {
    // The wire names of states have no character that a query must escape.
    let wire = serde_json::to_value(state).expect("a plain enum has a JSON form");
    format!(
        "?seen_state={}",
        wire.as_str().expect("a plain enum is a JSON string")
    )
}

/// Follows one output of a container that was started, until all of it was told.
pub(super) async fn follow_output(client: Client, output: Output, tell: mpsc::Sender<Seen>) {
    let mut told: u64 = 0;
    let mut away = Away::default();
    loop {
        let part = copy_output(&client, &output, told, &tell).await;
        let Some(part) = part else { return };
        if part.told > told {
            away = Away::default();
        }
        told = part.told;
        let end = match part.end {
            Ok(()) if ended(&client, &output.id).await => Some(None),
            // The agent went away, or the master has not heard yet that the container ended.
            Ok(()) => None,
            Err(error) => away.passing(error).err().map(Some),
        };
        if let Some(end) = end {
            let _ = tell.send(Seen::OutputEnd(end)).await;
            return;
        }
        rest(RETRY_EVERY).await;
    }
}

/// One connection's share of an output.
struct Copied {
    /// Bytes told in all.
    told: u64,
    /// How the connection ended.
    end: Result<(), CallError>,
}

/// An output of a task's container.
pub(super) struct Output {
    pub id: TaskId,
    pub stream: LogStream,
}

/// Tells what one connection brings beyond the first `told` bytes; `None` if nobody listens.
async fn copy_output(
    client: &Client,
    output: &Output,
    mut told: u64,
    tell: &mpsc::Sender<Seen>,
) -> Option<Copied> {
    let id = &output.id;
    let name = match output.stream {
        LogStream::Both => "both",
        LogStream::Stdout => "stdout",
        LogStream::Stderr => "stderr",
    };
    let path = format!("/v1/tasks/{id}/logs?stream={name}&follow=true");
    let mut bytes = match client.stream(&path).await {
        Ok(bytes) => bytes,
        Err(error) => {
            return Some(Copied {
                told,
                end: Err(error),
            });
        }
    };
    let mut skip = told;
    while let Some(part) = bytes.next().await {
        let mut part = match part {
            Ok(part) => part,
            Err(error) => {
                return Some(Copied {
                    told,
                    end: Err(error),
                });
            }
        };
        let known = usize::try_from(skip).unwrap_or(usize::MAX).min(part.len());
        skip -= known as u64;
        let new = part.split_off(known);
        if new.is_empty() {
            continue;
        }
        told += new.len() as u64;
        tell.send(Seen::Output(output.stream, new)).await.ok()?;
    }
    Some(Copied { told, end: Ok(()) })
}

/// Whether the container has ended, as far as the master knows; it may hold its answers back.
async fn ended(client: &Client, id: &TaskId) -> bool {
    // A task that is being stopped goes through one state between its run and its end.
    let mut seen = TaskState::Running;
    for _ in 0..2 {
        let path = format!("/v1/tasks/{id}{}", query_of(seen));
        match client.get_waiting::<TaskView>(&path, HOLD).await {
            Ok(answer) if answer.value.state == seen => return false,
            Ok(answer) => seen = answer.value.state,
            Err(error) => return !error.is_passing(),
        }
        if seen.is_terminal() || seen == TaskState::Releasing {
            return true;
        }
    }
    false
}

/// Writes where a task is, as one line without ages.
pub(crate) fn status(task: &TaskView) -> Status {
    let doing = match task.state {
        TaskState::Pulling => format!("pulling {}", task.image),
        TaskState::Preparing => "making its volumes ready".to_owned(),
        TaskState::Accepted
        | TaskState::Starting
        | TaskState::Running
        | TaskState::Stopping
        | TaskState::Releasing
        | TaskState::Finished
        | TaskState::Failed
        | TaskState::Killed => name_of(task.state).to_owned(),
    };
    let text = match &task.problem {
        // Why it failed is told once, at its end.
        Some(problem) if task.state != TaskState::Releasing => {
            format!("task {}: {doing}: {}", task.task_id, problem.what)
        }
        Some(_) | None => format!("task {}: {doing}", task.task_id),
    };
    Status {
        text,
        pull: task.progress,
    }
}
