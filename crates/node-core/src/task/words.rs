//! The task machine's vocabulary: events in, records and effects out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sutler_api::Timestamp;
use sutler_api::task::{PullProgressView, TaskExit, TaskSpec, TaskState};
use sutler_api::volume::AccessType;
use sutler_ids::{Boottime, Now};
use sutler_ids::{ErrorKind, Problem};
use sutler_ids::{PluginName, TaskId, TaskInstance, VolumeId};

use crate::container::{ContainerEnd, ContainerSeen};

/// What a task machine is told.
#[derive(Debug, Clone, PartialEq)]
pub enum TaskEvent {
    /// The master wants it; the first event of a new task.
    Wanted,
    /// Somebody wants it to end.
    Stop,
    /// Its record was read; the first event after a restart.
    Recorded(Box<TaskRecord>),
    /// What is there of its container after a restart; the second event.
    Observed(ContainerSeen),
    /// The pull goes on.
    PullProgress(PullProgressView),
    /// The pull has ended, with the digest.
    Pulled(Result<String, Problem>),
    /// A volume is ready, or cannot be had.
    Acquired {
        volume_id: VolumeId,
        /// Where it is.
        result: Result<VolumeAt, Problem>,
    },
    /// A volume could not be made, as its creation has told.
    VolumeFailed {
        volume_id: VolumeId,
        /// Why.
        problem: Problem,
    },
    /// The container's command runs since then, or could not be run.
    Started(Result<Timestamp, Problem>),
    Ended(ContainerEnd),
    /// What remained of the container is gone (its logs stay unless all was to go).
    Cleaned,
    /// A volume is no longer held by this task.
    Released {
        volume_id: VolumeId,
    },
    /// The master has no more use for it.
    Forget,
    /// Everything of it is gone from the node.
    Cleared,
    /// An act failed in a way that may pass.
    Faltered {
        act: Act,
        /// Why.
        problem: Problem,
    },
    /// A time asked for by [`TaskEffect::WakeAt`] has come.
    Tick,
}

/// Acts that are repeated until they succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Act {
    /// Watching the container.
    Wait,
    /// Stopping the container.
    Stop,
    /// Cleaning up after the container.
    Clean,
    /// Removing everything of the task.
    Clear,
}

/// Where a volume can be bind-mounted from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeAt {
    /// The plugin that has made what is there, and may change it.
    pub plugin: PluginName,
    /// Folder, or device node for a block volume, on the host.
    pub path: String,
    /// Which of the two.
    pub access: AccessType,
}

/// What a start needs beyond the task's own specification.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch {
    /// The image.
    pub digest: String,
    /// Where each volume is.
    pub volumes: BTreeMap<VolumeId, VolumeAt>,
}

/// How much of a container goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CleanUp {
    /// Its root file system; its logs stay to be read.
    KeepLogs,
    /// All of it, with every process that may still run.
    All,
}

/// What a task machine wants done. Every effect but `CancelPull` and `WakeAt` ends in exactly
/// one event; `Pull` and `Wait` may be cut short.
#[derive(Debug, Clone, PartialEq)]
pub enum TaskEffect {
    /// Have the image here: `Pulled`.
    Pull {
        /// Whether to ask the registry even if it is here.
        always: bool,
    },
    /// Nobody waits for the pull any more.
    CancelPull,
    /// Have a volume published for this task: `Acquired`.
    Acquire {
        volume_id: VolumeId,
        /// Whether the task may only read.
        read_only: bool,
    },
    /// Make and start the container: `Started`.
    Start(Launch),
    /// Watch the container: `Ended`, or `Faltered(Wait)`.
    Wait,
    /// Stop the container, which ends the watch: nothing, or `Faltered(Stop)`.
    Stop {
        /// Time to end by itself, in milliseconds.
        grace_ms: u64,
    },
    /// Clean up after the container: `Cleaned`, or `Faltered(Clean)`.
    Clean(CleanUp),
    /// Give a volume back: `Released`.
    Release { volume_id: VolumeId },
    /// Remove everything of the task from the node: `Cleared`, or `Faltered(Clear)`.
    Clear,
    /// Tell `Tick` at that time.
    WakeAt(Boottime),
}

impl TaskEffect {
    /// Names the effect in failpoints and logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Pull { .. } => "pull",
            Self::CancelPull => "cancel_pull",
            Self::Acquire { .. } => "acquire",
            Self::Start(_) => "start",
            Self::Wait => "wait",
            Self::Stop { .. } => "stop",
            Self::Clean(_) => "clean",
            Self::Release { .. } => "release",
            Self::Clear => "clear",
            Self::WakeAt(_) => "wake",
        }
    }
}

/// What a task machine wants written down.
#[derive(Debug, Clone, PartialEq)]
pub enum TaskPersist {
    Put(Box<TaskRecord>),
    /// The task is forgotten.
    Delete(TaskId),
}

impl TaskPersist {
    /// Names the record in failpoints and logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Put(record) => record.stage.name(),
            Self::Delete(_) => "forget",
        }
    }
}

/// A task on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// What was asked for.
    pub spec: TaskSpec,
    /// Whether somebody wants it to end.
    pub stop: bool,
    /// How far it is.
    pub stage: Stage,
}

/// How far a task is, as far as it must survive a crash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Taken on. Its volumes may be acquired; no container was started.
    Launching,
    /// Its container is about to be started; the container's folder tells whether it was.
    Starting {
        /// The image.
        digest: String,
    },
    /// Its container has ended; how is decided. Its volumes may still be held.
    Releasing {
        /// The image.
        digest: Option<String>,
        /// How.
        ending: Ending,
    },
    /// Nothing is held.
    Ended {
        /// The image.
        digest: Option<String>,
        /// How.
        ending: Ending,
    },
}

impl Stage {
    const fn name(&self) -> &'static str {
        match self {
            Self::Launching => "launch",
            Self::Starting { .. } => "start",
            Self::Releasing { .. } => "release",
            Self::Ended { .. } => "end",
        }
    }
}

/// A task's end, decided once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// `Finished`, `Failed` or `Killed`.
    pub state: TaskState,
    /// How its container ended, if it ran and somebody saw.
    pub exit: Option<TaskExit>,
    /// Why it failed.
    pub problem: Option<Problem>,
    /// When its container started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Timestamp,
}

impl TaskRecord {
    /// Makes the record of a task whose own record cannot be read: ended, with the reason.
    pub fn unreadable(task_id: TaskId, what: &str, now: Now) -> Self {
        let problem = Problem::new(
            ErrorKind::Internal,
            format!("the record of task {task_id} is damaged, so the task was ended"),
        )
        .raw(what)
        .hint("check the disk under the state directory, then run the task again");
        let spec = TaskSpec {
            task_id,
            instance: TaskInstance::UNKNOWN,
            image: String::new(),
            command: Vec::new(),
            env: BTreeMap::new(),
            volumes: Vec::new(),
            cpus: None,
            memory: None,
            stop_grace_ms: 0,
            pull_always: false,
        };
        let ending = Ending {
            state: TaskState::Failed,
            exit: None,
            problem: Some(problem),
            started_at: None,
            ended_at: now.wall,
        };
        Self {
            spec,
            stop: false,
            stage: Stage::Releasing {
                digest: None,
                ending,
            },
        }
    }
}
