//! `sutler run`: a container with volumes, its output here, its exit status ours.
//!
//! Ctrl-C (and SIGTERM) asks the task to stop, as it would for a program run without us; the
//! output goes on until the container has ended. A second one leaves it to itself. With
//! `--detach` nothing is asked of the task: Ctrl-C only ends the wait for its start.

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use clap::{Args, ValueEnum};
use sutler_api::task::{LogStream, RunTaskRequest, TaskState, TaskView};
use sutler_ids::Bytes;
use sutler_ids::{AgentName, TaskId};
use tokio::sync::mpsc;

use super::plugin_ready::{self, Asked};
use super::run_watch::{Output, Seen, TOLD_MAX, follow_output, follow_task, query_of, status};
use super::{Outcome, run_end};
use crate::client::Answer;
use crate::context::{Context, pretty};
use crate::failure::{ExitStatus, Failure, Report};
use crate::progress::Progress;
use crate::values::image::absolute;
use crate::values::key_value::{KeyValue, key_value};
use crate::values::limits::{cpus, memory};
use crate::values::time::time;
use crate::values::volume_arg::{FORM, VolumeArg};
use crate::wait::{HOLD, Judged, WaitArgs, Waiting, until};

const EXAMPLES: &str = "\
Examples:
  sutler run busybox -- echo hello
  sutler run -v data:1G:/data busybox -- sh -c 'date >> /data/log; cat /data/log'
  sutler run -v data:/data:ro busybox -- cat /data/log
  sutler run -d --name web --mem 256M --cpus 0.5 -v www:/srv registry.example.org/web:1

A volume that does not exist is made when a size is given. With --json the task is printed
at the end, and its output stays in `sutler task logs`.

Ctrl-C asks the task to stop; a second one does not wait for that. Start with --detach what should
not depend on this terminal, and look again with `sutler task logs -f`.

Exit status:
  the container's own, or 128 + N if signal N ended it
  125  the platform failed or refused, not the container
  126  the command cannot be executed
  127  the command was not found in the image
  130  stopped before a container ran
  3    left with a second Ctrl-C: still going
  With --detach: as every other command.";

/// When the registry is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Pull {
    /// If the image is not here.
    Missing,
    /// Each time.
    Always,
}

/// Options of `sutler run`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RunArgs {
    /// Mount a volume; may be repeated
    #[arg(short, long = "volume", value_name = FORM)]
    pub volume: Vec<VolumeArg>,
    /// Most cores it may use, such as 0.5
    #[arg(long, value_name = "CORES", value_parser = cpus, allow_negative_numbers = true)]
    pub cpus: Option<f64>,
    /// Most memory it may use, such as 64M
    #[arg(long, value_name = "SIZE", value_parser = memory, allow_hyphen_values = true)]
    pub mem: Option<Bytes>,
    /// Set an environment variable; may be repeated
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub env: Vec<KeyValue>,
    /// Its name [default: made]
    #[arg(long, value_name = "NAME")]
    pub name: Option<TaskId>,
    /// The node [default: where its volumes are, else any]
    #[arg(long, visible_alias = "node", value_name = "NODE")]
    pub agent: Option<AgentName>,
    /// Time between the stop signal and SIGKILL [default: the platform's]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub stop_grace: Option<Duration>,
    /// When to ask the registry for the image
    #[arg(long, value_enum, default_value_t = Pull::Missing)]
    pub pull: Pull,
    /// Return once the container runs, and print the task's name
    #[arg(short, long)]
    pub detach: bool,
    /// With --detach: return as soon as the task is recorded
    #[arg(long, requires = "detach")]
    pub no_wait: bool,
    /// With --detach: stop waiting for the start after this time; it goes on (exit status 3)
    #[arg(
        long,
        value_name = "TIME",
        default_value = "10m",
        value_parser = time,
        requires = "detach"
    )]
    pub timeout: Duration,
    /// The image: a reference, oci:FOLDER, oci-archive:FILE or docker-archive:FILE
    pub image: String,
    /// Command and arguments [default: the image's]
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    pub command: Vec<String>,
}

impl RunArgs {
    fn request(&self) -> RunTaskRequest {
        RunTaskRequest {
            task_id: self.name.clone(),
            image: absolute(&self.image, Path::new(".")),
            command: self.command.clone(),
            env: self.env.iter().cloned().collect(),
            volumes: self.volume.iter().map(|volume| volume.0.clone()).collect(),
            cpus: self.cpus,
            memory: self.mem,
            agent: self.agent.clone(),
            stop_grace_ms: self.stop_grace.map(|grace| grace.as_millis() as u64),
            pull_always: self.pull == Pull::Always,
        }
    }
}

/// Runs the task.
///
/// # Errors
/// Whatever keeps it from running; all with exit status 125 unless detached, so that it is
/// never taken for the container's.
pub async fn run(args: RunArgs, context: &mut Context) -> Outcome {
    let request = args.request();
    let made = request
        .volumes
        .iter()
        .filter(|volume| volume.size.is_some());
    let asked = Asked {
        path: "/v1/tasks",
        body: &request,
        classes: made.map(|volume| volume.class.as_ref()).collect(),
        node: request.agent.as_ref(),
        patience: (!args.no_wait).then_some(args.timeout),
    };
    let answer = plugin_ready::post(context, asked).await;
    match args.detach {
        true => detach(args, answer?, context).await,
        false => attached(answer.map_err(platform)?, context).await,
    }
}

/// Gives a failure the exit status that no container's can be mistaken for.
fn platform(failure: Failure) -> Failure {
    match failure {
        Failure::Told(report) if report.status == ExitStatus::STILL_GOING => Failure::Told(report),
        Failure::Told(report) => report.status(ExitStatus::PLATFORM).into(),
        Failure::OutputClosed => Failure::OutputClosed,
    }
}

/// Waits for the start only.
async fn detach(args: RunArgs, mut answer: Answer<TaskView>, context: &mut Context) -> Outcome {
    let id = answer.value.task_id.clone();
    let wait = WaitArgs {
        no_wait: args.no_wait,
        timeout: args.timeout,
    };
    if !wait.no_wait {
        let waiting = Waiting {
            what: format!("task {id} to start"),
            look_again: format!("sutler task show {id}"),
            timeout: wait.timeout,
        };
        // The master holds an answer back until the state is another one than we know.
        let seen = Cell::new(answer.value.state);
        answer = until(
            context,
            &waiting,
            async |client| {
                let path = format!("/v1/tasks/{id}{}", query_of(seen.get()));
                let answer = client.get_waiting::<TaskView>(&path, HOLD).await?;
                seen.set(answer.value.state);
                Ok(answer)
            },
            |answer| match started(&answer.value) || answer.value.state.is_terminal() {
                true => Judged::Settled,
                false => Judged::Going(status(&answer.value)),
            },
        )
        .await?;
    }
    context.show(&answer, |task, _| format!("{}\n", task.task_id))?;
    match &answer.value {
        task if task.state == TaskState::Failed && !started(task) => {
            let words = run_end::of(task).words(ExitStatus::FAILED, context.look());
            context.io.aside(words.as_bytes());
            Ok(ExitStatus::FAILED)
        }
        _ => Ok(ExitStatus::OK),
    }
}

/// Whether the container was started at some time.
fn started(task: &TaskView) -> bool {
    match task.state {
        TaskState::Running => true,
        TaskState::Accepted | TaskState::Pulling | TaskState::Preparing | TaskState::Starting => {
            false
        }
        TaskState::Stopping
        | TaskState::Releasing
        | TaskState::Finished
        | TaskState::Failed
        | TaskState::Killed => task.started_at.is_some(),
    }
}

/// Shows the output and waits for the end.
async fn attached(answer: Answer<TaskView>, context: &mut Context) -> Outcome {
    let id = answer.value.task_id.clone();
    let (tell, mut seen) = mpsc::channel(TOLD_MAX);
    let mut attached = Attached::new(id.clone(), tell.clone());
    let state = answer.value.state;
    attached.on_task(Box::new(answer), context);
    if !state.is_terminal() {
        // Ends with the task, or when `seen` is dropped.
        tokio::spawn(follow_task(context.client.clone(), id, state, tell));
    }
    loop {
        if let Some(answer) = attached.take_ended() {
            if context.json {
                context.io.line(&pretty(&answer.raw))?;
            }
            let end = run_end::of(&answer.value);
            let status = end.status;
            let words = end.words(status, context.look());
            context.io.aside(words.as_bytes());
            return Ok(status);
        }
        // Both arms are cancel-safe: what was not received stays where it is.
        let step = tokio::select! {
            next = seen.recv() => match next {
                Some(next) => attached.on_seen(next, context),
                None => Err(Report::new("lost the task; its end is not known").into()),
            },
            () = context.interrupts.next() => attached.on_interrupt(context).await,
        };
        if let Err(failure) = step {
            return Err(platform(failure));
        }
    }
}

/// What `run` knows of its task.
struct Attached {
    id: TaskId,
    tell: mpsc::Sender<Seen>,
    progress: Progress,
    last: Option<Box<Answer<TaskView>>>,
    /// Outputs being followed; `None` before the container was started.
    outputs: Option<usize>,
    /// Whether Ctrl-C was pressed.
    stopping: bool,
    /// Whether the reader of our stdout is still there.
    heard: bool,
}

impl Attached {
    fn new(id: TaskId, tell: mpsc::Sender<Seen>) -> Self {
        let progress = Progress::default();
        Self {
            id,
            tell,
            progress,
            last: None,
            outputs: None,
            stopping: false,
            heard: true,
        }
    }

    /// The task's last state, once it has ended and all of its output was shown.
    fn take_ended(&mut self) -> Option<Box<Answer<TaskView>>> {
        let shown = self.outputs.unwrap_or(0) == 0;
        let last = self
            .last
            .take_if(|last| shown && last.value.state.is_terminal())?;
        self.progress.clear();
        Some(last)
    }

    fn on_seen(&mut self, seen: Seen, context: &mut Context) -> Result<(), Failure> {
        match seen {
            Seen::Task(answer) => self.on_task(answer, context),
            Seen::Away(status) => self.progress.say(&mut context.io, &status),
            Seen::Lost(error) => return Err(self.lost(error.into())),
            Seen::Output(stream, bytes) => self.on_output(stream, &bytes, context)?,
            Seen::OutputEnd(error) => {
                self.outputs = self.outputs.map(|count| count.saturating_sub(1));
                if let Some(error) = error {
                    let text = format!("warning: some output of the task is not shown: {error}");
                    self.progress.note(&mut context.io, &text);
                }
            }
        }
        Ok(())
    }

    fn on_task(&mut self, answer: Box<Answer<TaskView>>, context: &mut Context) {
        let task = &answer.value;
        if started(task) {
            self.progress.clear();
            if self.outputs.is_none() && !context.json {
                self.follow_outputs(context);
            }
        } else if !task.state.is_terminal() {
            self.progress.say(&mut context.io, &status(task));
        }
        self.last = Some(answer);
    }

    fn follow_outputs(&mut self, context: &Context) {
        let streams = [LogStream::Stdout, LogStream::Stderr];
        self.outputs = Some(streams.len());
        for stream in streams {
            let (client, tell) = (context.client.clone(), self.tell.clone());
            // Ends with the output, or when nobody listens any more.
            let output = Output {
                id: self.id.clone(),
                stream,
            };
            tokio::spawn(follow_output(client, output, tell));
        }
    }

    /// Shows output. A reader that went away does not end the task: its status still counts.
    fn on_output(
        &mut self,
        stream: LogStream,
        bytes: &[u8],
        context: &mut Context,
    ) -> Result<(), Failure> {
        self.progress.clear();
        match stream {
            LogStream::Stderr => context.io.aside(bytes),
            LogStream::Stdout | LogStream::Both if self.heard => match context.io.data(bytes) {
                Err(Failure::OutputClosed) => self.heard = false,
                other => return other,
            },
            LogStream::Stdout | LogStream::Both => {}
        }
        Ok(())
    }

    async fn on_interrupt(&mut self, context: &mut Context) -> Result<(), Failure> {
        if self.stopping {
            return Err(
                Report::new(format!("left task {}; it is being stopped", self.id))
                    .status(ExitStatus::STILL_GOING)
                    .hint(format!("look again: sutler task show {}", self.id))
                    .into(),
            );
        }
        self.stopping = true;
        let text = format!(
            "stopping task {}; Ctrl-C again leaves it to itself",
            self.id
        );
        self.progress.note(&mut context.io, &text);
        let path = format!("/v1/tasks/{}/stop", self.id);
        match context.client.post_empty::<TaskView>(&path).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.lost(error.into())),
        }
    }

    /// The task goes on, but we cannot follow it.
    fn lost(&self, failure: Failure) -> Failure {
        match failure {
            Failure::Told(report) => {
                let hint = format!("the task may still run: sutler task show {}", self.id);
                report.hint(hint).into()
            }
            Failure::OutputClosed => Failure::OutputClosed,
        }
    }
}
