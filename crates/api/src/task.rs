//! Tasks, as the public API and the master–agent protocol speak of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;
use sutler_ids::{AgentName, ClassName, TaskId, TaskInstance, VolumeId, VolumeName};
use sutler_ids::{Bytes, Problem};

/// A volume as a task asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskVolumeRequest {
    /// Its name. Made on the way if absent in the books and a size is given.
    pub name: VolumeName,
    /// Size for making it; checked against the present size when it exists.
    #[serde(default)]
    pub size: Option<Bytes>,
    /// Class for making it.
    #[serde(default)]
    pub class: Option<ClassName>,
    /// Absolute path inside the container.
    pub path: String,
    /// Whether the task may only read.
    #[serde(default)]
    pub read_only: bool,
}

/// A request to run a container: `POST /v1/tasks`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RunTaskRequest {
    /// Its id; made when absent.
    #[serde(default)]
    pub task_id: Option<TaskId>,
    /// Image reference.
    pub image: String,
    /// Command and arguments; the image's own when empty.
    #[serde(default)]
    pub command: Vec<String>,
    /// Environment beyond the image's.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Volumes.
    #[serde(default)]
    pub volumes: Vec<TaskVolumeRequest>,
    /// CPU limit in cores.
    #[serde(default)]
    pub cpus: Option<f64>,
    /// Memory limit in bytes.
    #[serde(default)]
    pub memory: Option<Bytes>,
    /// The node; where its volumes are, or any, when absent.
    #[serde(default)]
    pub agent: Option<AgentName>,
    /// How long a stop waits before it kills, in milliseconds.
    #[serde(default)]
    pub stop_grace_ms: Option<u64>,
    /// Keep what the image is now rather than asking the registry again.
    #[serde(default)]
    pub pull_always: bool,
}

/// A volume of a task, resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskVolume {
    /// The volume's identity.
    pub volume_id: VolumeId,
    /// Its name.
    pub name: VolumeName,
    /// Absolute path inside the container.
    pub path: String,
    /// Whether the task may only read.
    pub read_only: bool,
}

/// A task as an agent gets it; never changes for one task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskSpec {
    /// Its id.
    pub task_id: TaskId,
    /// Which of the tasks that ever had this id.
    #[serde(default)]
    pub instance: TaskInstance,
    /// Image reference.
    pub image: String,
    /// Command and arguments; the image's own when empty.
    pub command: Vec<String>,
    /// Environment beyond the image's.
    pub env: BTreeMap<String, String>,
    /// Volumes.
    pub volumes: Vec<TaskVolume>,
    /// CPU limit in cores.
    pub cpus: Option<f64>,
    /// Memory limit in bytes.
    pub memory: Option<Bytes>,
    /// How long a stop waits before it kills, in milliseconds.
    pub stop_grace_ms: u64,
    /// Ask the registry even if the image is here.
    #[serde(default)]
    pub pull_always: bool,
}

/// Where a task is in its life. The last three never change again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// In the books; its agent has not begun.
    Accepted,
    /// The agent pulls its image.
    Pulling,
    /// The agent makes its volumes ready.
    Preparing,
    /// The container is being started.
    Starting,
    /// The container runs.
    Running,
    /// It was told to stop and has not ended.
    Stopping,
    /// The container has ended; its volumes are being released.
    Releasing,
    /// Ended with status 0.
    Finished,
    /// Ended otherwise, or never started.
    Failed,
    /// Ended because somebody stopped it.
    Killed,
}

impl TaskState {
    /// Tells whether the task has ended for good.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Killed)
    }
}

/// How a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct TaskExit {
    /// Exit status, if it exited.
    pub code: Option<i32>,
    /// Signal number, if one ended it.
    pub signal: Option<i32>,
    /// Whether the kernel killed it for memory.
    pub oom_killed: bool,
}

/// A task as `GET /v1/tasks` shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskView {
    /// Its id.
    pub task_id: TaskId,
    /// Image reference.
    pub image: String,
    /// The digest that ran, once known.
    pub image_digest: Option<String>,
    /// Command and arguments.
    pub command: Vec<String>,
    /// The node it is on.
    pub agent: AgentName,
    /// Where it is in its life.
    pub state: TaskState,
    /// How it ended.
    pub exit: Option<TaskExit>,
    /// What is wrong, or why it failed.
    pub problem: Option<Problem>,
    /// Its volumes.
    pub volumes: Vec<TaskVolume>,
    /// CPU limit in cores.
    pub cpus: Option<f64>,
    /// Memory limit in bytes.
    pub memory: Option<Bytes>,
    /// When it was asked for.
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    /// When its container started.
    #[schema(value_type = Option<String>)]
    pub started_at: Option<Timestamp>,
    /// When its container ended.
    #[schema(value_type = Option<String>)]
    pub ended_at: Option<Timestamp>,
    /// Progress of the pull, while one runs.
    pub progress: Option<PullProgressView>,
}

/// How far a pull is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PullProgressView {
    /// Bytes here.
    pub done: Bytes,
    /// Bytes in all, once known.
    pub total: Bytes,
}

/// Which stream of a container's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogStream {
    /// Both, in the order of lines as written to each.
    #[default]
    Both,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What to read of a log: the query of `GET /v1/tasks/{id}/logs`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
pub struct LogQuery {
    /// Which stream.
    pub stream: LogStream,
    /// Only the last lines.
    pub tail: Option<usize>,
    /// Stay until the container ends.
    pub follow: bool,
    /// The node, for a plugin that runs on several.
    #[param(value_type = Option<String>)]
    pub agent: Option<AgentName>,
}
