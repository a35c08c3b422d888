//! `sutler task`: containers that were run.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use sutler_api::task::{TaskExit, TaskState, TaskView};
use sutler_ids::TaskId;

use super::logs::{self, LogArgs};
use super::{Outcome, run_watch};
use crate::context::Context;
use crate::failure::{ExitStatus, Report};
use crate::show::human::{age, list, moment, or_dash};
use crate::show::table::{fields, table};
use crate::wait::{HOLD, Judged, WaitArgs, Waiting, until};

const LS_EXAMPLES: &str = "\
Examples:
  sutler task ls
  sutler task ls --json | jq -r '.[] | select(.state == \"running\") | .task_id'";

const LOGS_EXAMPLES: &str = "\
Examples:
  sutler task logs web
  sutler task logs -f --tail 20 web
  sutler task logs --stderr web";

const STOP_EXAMPLES: &str = "\
Examples:
  sutler task stop web

The container gets its stop signal, and SIGKILL after the grace that `sutler run` was given.";

const RM_EXAMPLES: &str = "\
Examples:
  sutler task rm web

Its name is free then. Ended tasks leave by themselves too, the oldest of 500 first.";

/// Most characters of a command in the list.
const COMMAND_MAX: usize = 40;

/// Verbs of `sutler task`.
#[derive(Debug, Subcommand)]
pub enum TaskVerb {
    /// List tasks, ended ones too
    #[command(visible_alias = "list", after_help = LS_EXAMPLES)]
    Ls,
    /// Show one task
    Show {
        /// The task
        id: TaskId,
    },
    /// Print a task's output
    #[command(after_help = LOGS_EXAMPLES)]
    Logs {
        /// The task
        id: TaskId,
        /// What of it.
        #[command(flatten)]
        log: LogArgs,
    },
    /// Stop a task
    #[command(after_help = STOP_EXAMPLES)]
    Stop(StopArgs),
    /// Forget an ended task, with its output
    #[command(visible_alias = "remove", after_help = RM_EXAMPLES)]
    Rm {
        /// The task
        id: TaskId,
    },
}

/// Options of `sutler task stop`.
#[derive(Debug, Args)]
pub struct StopArgs {
    /// The task
    pub id: TaskId,
    /// Of waiting.
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// Carries out a verb of `sutler task`.
///
/// # Errors
/// The call's failure.
pub async fn run(verb: TaskVerb, context: &mut Context) -> Outcome {
    match verb {
        TaskVerb::Ls => {
            let answer = context.client.get_all::<TaskView>("/v1/tasks").await?;
            context.show(&answer, |tasks, now| rows(tasks, now))?;
        }
        TaskVerb::Show { id } => {
            let answer = context
                .client
                .get::<TaskView>(&format!("/v1/tasks/{id}"))
                .await?;
            context.show(&answer, one)?;
        }
        TaskVerb::Logs { id, log } => {
            return logs::print(context, &format!("/v1/tasks/{id}/logs"), &log).await;
        }
        TaskVerb::Stop(args) => return stop(args, context).await,
        TaskVerb::Rm { id } => {
            let path = format!("/v1/tasks/{id}");
            let answer = context.client.delete::<TaskView>(&path).await?;
            context.show(&answer, |task, _| format!("{}\n", task.task_id))?;
        }
    }
    Ok(ExitStatus::OK)
}

async fn stop(args: StopArgs, context: &mut Context) -> Outcome {
    let path = format!("/v1/tasks/{}", args.id);
    let mut answer = context
        .client
        .post_empty::<TaskView>(&format!("{path}/stop"))
        .await?;
    if !args.wait.no_wait && !answer.value.state.is_terminal() {
        context.io.note(&format!(
            "task {} has its stop signal; it is killed if it has not ended after its grace",
            args.id
        ));
        let waiting = Waiting {
            what: format!("task {} to end", args.id),
            look_again: format!("sutler task show {}", args.id),
            timeout: args.wait.timeout,
        };
        answer = until(
            context,
            &waiting,
            async |client| client.get_waiting::<TaskView>(&path, HOLD).await,
            |answer| match answer.value.state.is_terminal() {
                true => Judged::Settled,
                false => Judged::Going(run_watch::status(&answer.value)),
            },
        )
        .await?;
    }
    context.show(&answer, |task, _| format!("{}\n", task.task_id))?;
    Ok(ExitStatus::OK)
}

/// Writes the list.
pub(crate) fn rows(tasks: &[TaskView], now: Timestamp) -> String {
    let header = [
        "TASK", "IMAGE", "COMMAND", "STATE", "EXIT", "NODE", "VOLUMES", "AGE",
    ];
    let mut tasks: Vec<&TaskView> = tasks.iter().collect();
    // What somebody has just started is what he looks for.
    tasks.sort_by_key(|task| std::cmp::Reverse(task.created_at));
    let rows = tasks.into_iter().map(|task| {
        vec![
            task.task_id.to_string(),
            task.image.clone(),
            shortened(&command(task)),
            state(task),
            or_dash(task.exit.map(exit_text)),
            task.agent.to_string(),
            list(task.volumes.iter().map(|volume| &volume.name)),
            age(task.created_at, now),
        ]
    });
    table(&header, rows)
}

/// Writes one.
pub(crate) fn one(task: &TaskView, now: Timestamp) -> String {
    let problem = task
        .problem
        .as_ref()
        .map(|problem| Report::of_problem(problem).render(false));
    let volumes = task.volumes.iter().map(|volume| {
        let suffix = if volume.read_only { ":ro" } else { "" };
        format!("{}:{}{suffix}", volume.name, volume.path)
    });
    fields([
        ("task", task.task_id.to_string()),
        ("state", name_of(task.state).to_owned()),
        ("exit", or_dash(task.exit.map(exit_text))),
        ("image", task.image.clone()),
        ("digest", or_dash(task.image_digest.as_ref())),
        ("command", command(task)),
        ("node", task.agent.to_string()),
        ("volumes", list(volumes)),
        ("cpus", or_dash(task.cpus)),
        ("memory", or_dash(task.memory)),
        ("created", moment(task.created_at, now)),
        (
            "started",
            or_dash(task.started_at.map(|at| moment(at, now))),
        ),
        ("ended", or_dash(task.ended_at.map(|at| moment(at, now)))),
        (
            "problem",
            problem.map_or_else(|| "-".to_owned(), |text| text.trim_end().to_owned()),
        ),
    ])
}

/// Names a state.
pub(crate) fn name_of(state: TaskState) -> &'static str {
    match state {
        TaskState::Accepted => "accepted",
        TaskState::Pulling => "pulling",
        TaskState::Preparing => "preparing",
        TaskState::Starting => "starting",
        TaskState::Running => "running",
        TaskState::Stopping => "stopping",
        TaskState::Releasing => "releasing",
        TaskState::Finished => "finished",
        TaskState::Failed => "failed",
        TaskState::Killed => "killed",
    }
}

fn state(task: &TaskView) -> String {
    let name = name_of(task.state);
    match task.problem {
        Some(_) => format!("{name}, see show"),
        None => name.to_owned(),
    }
}

/// Says how a container ended.
pub(crate) fn exit_text(exit: TaskExit) -> String {
    let text = match (exit.code, exit.signal) {
        (Some(code), _) => code.to_string(),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown".to_owned(),
    };
    if exit.oom_killed {
        format!("{text} (out of memory)")
    } else {
        text
    }
}

fn command(task: &TaskView) -> String {
    if task.command.is_empty() {
        "(the image's)".to_owned()
    } else {
        task.command.join(" ")
    }
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= COMMAND_MAX {
        return text.to_owned();
    }
    text.chars().take(COMMAND_MAX - 1).chain(['…']).collect()
}
