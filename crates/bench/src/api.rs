//! The measured side: the cluster's public HTTP API, timed on the caller's clock.
//!
//! One connection, kept open, as a scheduler would have it. Waits are the API's own long polls.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use sutler_api::Timestamp;
use sutler_api::operation::{OperationState, OperationView};
use sutler_api::task::{RunTaskRequest, TaskState, TaskView, TaskVolumeRequest};
use sutler_api::volume::{Accepted, AccessType, CreateVolumeRequest, VolumeView};
use sutler_cli::client::{Client, Target};
use sutler_ids::Bytes;
use sutler_ids::{ClassName, OperationUuid, TaskId, VolumeName};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// How long the master may hold one answer back.
const HOLD: Duration = Duration::from_secs(10);

/// Longest time of one operation or task: far beyond any figure worth having.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// The cluster as its users see it.
pub(super) struct Api {
    runtime: Runtime,
    client: Client,
}

/// When the steps of one task had come, counted from before its POST.
#[derive(Debug, Clone, Copy)]
pub(super) struct TaskTimes {
    /// The caller was told that its volumes were published.
    pub prepared: Duration,
    /// The container was made, as stamped on the agent.
    pub made: Duration,
    /// Its process had ended, as stamped on the agent.
    pub ended: Duration,
    /// The caller was told that all was over.
    pub told: Duration,
}

/// When one request was sent, and when its end was told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    /// Before the POST, on the wall clock.
    pub from: Timestamp,
    /// From before the POST to the answer that told the end.
    pub took: Duration,
}

impl Api {
    /// Connects as the operator of a state folder.
    pub(super) fn connect(state_dir: &Path) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let client = Client::new(&Target::of_state_dir(state_dir)?)?;
        Ok(Self { runtime, client })
    }

    /// Makes a volume of a class.
    pub(super) fn create(&self, name: &str, class: &str, size: Bytes) -> Result<Told> {
        let (from, began) = (Timestamp::now(), Instant::now());
        self.runtime
            .block_on(create(&self.client, name, class, size))?;
        let took = began.elapsed();
        Ok(Told { from, took })
    }

    /// Makes volumes of a class, so many callers at once.
    pub(super) fn create_all(
        &self,
        names: Vec<String>,
        class: &str,
        size: Bytes,
        callers: usize,
    ) -> Result<()> {
        let names = Arc::new(Mutex::new(names));
        self.runtime.block_on(async {
            let mut all = JoinSet::new();
            for _ in 0..callers {
                let (client, class) = (self.client.clone(), class.to_owned());
                let names = Arc::clone(&names);
                all.spawn(async move {
                    let next = || names.lock().expect("nobody panics with it").pop();
                    while let Some(name) = next() {
                        create(&client, &name, &class, size).await?;
                    }
                    anyhow::Ok(())
                });
            }
            while let Some(ended) = all.join_next().await {
                ended??;
            }
            Ok(())
        })
    }

    /// Makes sure that a volume is told.
    pub(super) fn knows(&self, name: &str) -> Result<()> {
        let path = format!("/v1/volumes/{name}");
        let told = self.client.get::<VolumeView>(&path);
        Ok(self.runtime.block_on(told).map(|_| ())?)
    }

    /// Deletes a volume in the back end.
    pub(super) fn remove(&self, name: &str) -> Result<()> {
        let path = format!("/v1/volumes/{name}?purge=true");
        self.runtime.block_on(async {
            let answer = self.client.delete::<Accepted>(&path).await;
            let accepted = answer.with_context(|| format!("remove {name}"))?;
            finished(&self.client, accepted.value.operation_uuid).await
        })
    }

    /// Runs a command to its successful end.
    pub(super) fn run(&self, request: &RunTaskRequest) -> Result<TaskTimes> {
        let (from, began) = (Timestamp::now(), Instant::now());
        let (task, prepared) = self.runtime.block_on(async {
            let task = self.post_task(request).await?;
            let task = self.seen(task, is_prepared).await?;
            let prepared = began.elapsed();
            anyhow::Ok((self.seen(task, TaskState::is_terminal).await?, prepared))
        })?;
        let told = began.elapsed();
        ensure!(
            task.state == TaskState::Finished,
            "{} ended {:?}: {:?}",
            task.task_id,
            task.state,
            task.problem
        );
        Ok(TaskTimes {
            prepared,
            made: since(from, task.started_at).context("no stamp of its start")?,
            ended: since(from, task.ended_at).context("no stamp of its end")?,
            told,
        })
    }

    /// Starts a command that stays, and gives its id once it runs.
    pub(super) fn start(&self, request: &RunTaskRequest) -> Result<TaskId> {
        let runs = |state: TaskState| state == TaskState::Running || state.is_terminal();
        let task = self.runtime.block_on(async {
            let task = self.post_task(request).await?;
            self.seen(task, runs).await
        })?;
        ensure!(
            task.state == TaskState::Running,
            "{} does not run: {:?}",
            task.task_id,
            task.problem
        );
        Ok(task.task_id)
    }

    async fn post_task(&self, request: &RunTaskRequest) -> Result<TaskView> {
        let answer = self.client.post("/v1/tasks", request).await;
        Ok(answer.context("start a task")?.value)
    }

    /// Follows a task until its state is one that is looked for.
    async fn seen(
        &self,
        mut task: TaskView,
        wanted: impl Fn(TaskState) -> bool,
    ) -> Result<TaskView> {
        let began = Instant::now();
        while !wanted(task.state) {
            ensure!(
                began.elapsed() < SETTLED_WITHIN,
                "still {:?}: {task:?}",
                task.state
            );
            let seen = serde_json::to_value(task.state)?;
            let seen = seen.as_str().context("a state is a word")?;
            let path = format!("/v1/tasks/{}?seen_state={seen}", task.task_id);
            task = self.client.get_waiting(&path, HOLD).await?.value;
        }
        Ok(task)
    }
}

async fn create(client: &Client, name: &str, class: &str, size: Bytes) -> Result<()> {
    let request = CreateVolumeRequest {
        name: VolumeName::new(name)?,
        class: Some(ClassName::new(class)?),
        size,
        access: AccessType::Mount,
        fs_type: None,
        agent: None,
    };
    let answer = client.post::<Accepted>("/v1/volumes", &request).await;
    let accepted = answer.with_context(|| format!("create {name}"))?;
    finished(client, accepted.value.operation_uuid).await
}

/// Follows an operation to its successful end.
async fn finished(client: &Client, operation: OperationUuid) -> Result<()> {
    let began = Instant::now();
    let path = format!("/v1/operations/{operation}");
    while began.elapsed() < SETTLED_WITHIN {
        let answer = client.get_waiting::<OperationView>(&path, HOLD).await;
        let view = answer?.value;
        match view.state {
            OperationState::Pending => {}
            OperationState::Finished => return Ok(()),
            OperationState::Failed => bail!("{:?} failed: {:?}", view.kind, view.problem),
        }
    }
    bail!("operation {operation} has not ended within {SETTLED_WITHIN:?}")
}

/// Describes a task of an image.
pub(super) fn task(image: &str, command: &[&str]) -> RunTaskRequest {
    RunTaskRequest {
        task_id: None,
        image: image.to_owned(),
        command: command.iter().map(ToString::to_string).collect(),
        env: Default::default(),
        volumes: Vec::new(),
        cpus: None,
        memory: None,
        agent: None,
        stop_grace_ms: None,
        pull_always: false,
    }
}

/// Describes the use of a volume that exists.
pub(super) fn known_volume(name: &str) -> Result<TaskVolumeRequest> {
    Ok(TaskVolumeRequest {
        name: VolumeName::new(name)?,
        size: None,
        class: None,
        path: "/data".to_owned(),
        read_only: false,
    })
}

/// Describes a volume that is made on the way to its task.
pub(super) fn new_volume(name: &str, class: &str, size: Bytes) -> Result<TaskVolumeRequest> {
    Ok(TaskVolumeRequest {
        size: Some(size),
        class: Some(ClassName::new(class)?),
        ..known_volume(name)?
    })
}

/// Tells whether a task is past the making and publishing of its volumes.
fn is_prepared(state: TaskState) -> bool {
    match state {
        TaskState::Accepted | TaskState::Pulling | TaskState::Preparing => false,
        TaskState::Starting
        | TaskState::Running
        | TaskState::Stopping
        | TaskState::Releasing
        | TaskState::Finished
        | TaskState::Failed
        | TaskState::Killed => true,
    }
}

/// Both stamps are of this machine's one wall clock; a step back of it makes the run fail.
fn since(from: Timestamp, stamp: Option<Timestamp>) -> Option<Duration> {
    Duration::try_from(stamp?.duration_since(from)).ok()
}
