//! The master–agent protocol: JSON over HTTP, the agent always calls.
//!
//! The agent registers, then holds one stream open on which the master sends what it wants
//! (one JSON object a line), and posts what is true. Both directions are level-triggered: a
//! message tells a state, not a change, so a repeat is harmless, and on every connection
//! each side tells all it has. A posted update is acknowledged by its 200 answer, which the
//! master gives only when it is durable.
//!
//! | call | body → answer |
//! |---|---|
//! | `POST /agent/v1/register` | [`Register`] → [`Registered`] |
//! | `GET /agent/v1/events?agent_id=A&incarnation=I` | → stream of [`ToAgent`] lines |
//! | `POST /agent/v1/updates` | [`Updates`] → `{}` |
//! | `POST /agent/v1/answers/{request_id}` | raw bytes as they come → `{}` |

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Timestamp;
use crate::plugin::{DesiredPlugin, PluginInstanceView};
use crate::task::{LogQuery, PullProgressView, TaskExit, TaskSpec, TaskState};
use crate::volume::{VolumeHolder, VolumeSpec, VolumeState};
use sutler_ids::{
    AgentId, AgentName, OperationUuid, PluginName, RequestId, TaskId, TaskInstance, VolumeId,
};
use sutler_ids::{Bytes, Problem};

/// How often each side says something on an otherwise silent connection, in milliseconds.
pub const HEARTBEAT_MS: u64 = 5_000;

/// A node announces itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Register {
    /// The identity from an earlier registration, read from the agent's journal.
    pub agent_id: Option<AgentId>,
    /// The operator's name for the node.
    pub name: AgentName,
    /// This run of the agent process; an older one's messages are stale.
    pub incarnation: Uuid,
    /// Changes with each boot of the host.
    pub boot_id: String,
    /// Version of the program.
    pub version: String,
    /// Cores.
    pub cpus: f64,
    /// Memory.
    pub memory: Bytes,
}

/// The master admits a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Registered {
    /// The node's identity; the agent records it before it acts on anything.
    pub agent_id: AgentId,
    /// The cluster's identity; an agent that knows another one refuses.
    pub cluster_id: Uuid,
}

/// One line of the master's stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToAgent {
    /// The whole wanted state; the first line of each stream.
    Desired(Desired),
    /// The whole set of plugins wanted on this node.
    Plugins {
        /// The set.
        plugins: Vec<DesiredPlugin>,
    },
    /// An operation to carry out; repeated until its outcome is recorded.
    Operation(VolumeOperation),
    /// A task to run or to stop.
    Task(DesiredTask),
    /// The master has forgotten an ended task: drop its record and logs.
    ForgetTask {
        /// Which.
        task_id: TaskId,
        /// Which of that id; a later one stays.
        #[serde(default)]
        instance: TaskInstance,
    },
    /// The master has recorded a volume's end: drop the tombstone.
    ForgetVolume {
        /// Which.
        volume_id: VolumeId,
    },
    /// A question; answered at `/agent/v1/answers/{request_id}`.
    Query {
        /// Its identity.
        request_id: RequestId,
        /// The question.
        query: AgentQuery,
    },
    /// Nothing new.
    Heartbeat,
}

/// Everything that the master wants of one node.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Desired {
    /// Plugins.
    pub plugins: Vec<DesiredPlugin>,
    /// Operations whose outcome the master does not have.
    pub operations: Vec<VolumeOperation>,
    /// Tasks that have not ended in the master's books.
    pub tasks: Vec<DesiredTask>,
    /// Ended tasks that the master still keeps; the agent forgets every other ended one.
    pub kept_tasks: BTreeMap<TaskId, TaskInstance>,
    /// Volumes that the master's books give to this node.
    pub volumes: Vec<VolumeId>,
}

/// A change to a volume that its owner carries out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VolumeOperation {
    /// Its identity.
    pub operation_uuid: OperationUuid,
    /// The volume.
    pub volume_id: VolumeId,
    /// The change.
    pub act: VolumeAct,
}

/// What to do with a volume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VolumeAct {
    /// Make it.
    Create(VolumeSpec),
    /// Make it at least this large.
    Grow {
        /// The new size.
        capacity: Bytes,
    },
    /// Delete it in the back end.
    Delete,
    /// Forget it, whatever the back end has of it; nothing of it may be mounted.
    Forget,
}

/// A task and whether it should run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DesiredTask {
    /// The task.
    pub spec: TaskSpec,
    /// Whether it should end now.
    pub stop: bool,
}

/// What the master asks a node on behalf of a user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentQuery {
    /// A task's output, as bytes.
    TaskLogs {
        /// Which.
        task_id: TaskId,
        /// What of it.
        log: LogQuery,
    },
    /// A plugin's output, as bytes.
    PluginLogs {
        /// Which.
        plugin: PluginName,
        /// What of it.
        log: LogQuery,
    },
    /// A volume's story, as JSON of [`AgentWhy`].
    Why {
        /// Which.
        volume_id: VolumeId,
    },
}

/// What a node knows of a volume's story.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentWhy {
    /// The steps so far, oldest first; bounded.
    pub steps: Vec<crate::volume::WhyStep>,
    /// One sentence of cause.
    pub cause: Option<String>,
    /// The raw text that came with it.
    pub raw: Option<String>,
    /// What happens next by itself, or what to do.
    pub next: String,
}

/// What is true on a node; order within one message is order of happening.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Updates {
    /// The node.
    pub agent_id: AgentId,
    /// The run of its process.
    pub incarnation: Uuid,
    /// The truths.
    pub updates: Vec<Update>,
}

/// One truth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Update {
    /// An operation has ended. The master records it before it answers.
    Operation(OperationReport),
    /// A volume's state changed. A copy for display, kept in memory.
    Volume(VolumeReport),
    /// A volume that this node has and the master's books do not, as far as [`Desired`] tells.
    UnknownVolume {
        /// What it was made with.
        spec: VolumeSpec,
        /// Its state.
        report: VolumeReport,
    },
    /// All volumes of that kind were told since the stream came up: others are none any more.
    VolumesCompared,
    /// A task's state changed. Recorded by the master when terminal.
    Task(TaskReport),
    /// A plugin's state changed. A copy for display, kept in memory.
    Plugin {
        /// Which.
        name: PluginName,
        /// The generation that the report is about.
        generation: u64,
        /// Its state on this node.
        instance: PluginInstanceView,
    },
    /// The whole set of plugins that run or ran here was told: others are gone.
    PluginsTold,
    /// Something is wrong with the node itself, or no longer.
    Agent {
        /// What.
        problem: Option<Problem>,
    },
}

/// How an operation ended, durable at the volume's owner before it is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OperationReport {
    /// Which.
    pub operation_uuid: OperationUuid,
    /// The volume.
    pub volume_id: VolumeId,
    /// How.
    pub outcome: Outcome,
    /// What a failed creation has left in the back end, by the plugin's identity of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_behind: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// The end of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Done.
    Finished,
    /// Ended without effect.
    Failed(Problem),
}

/// A volume's state at its owner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VolumeReport {
    /// Which.
    pub volume_id: VolumeId,
    /// Where it is in its life; never `Trashed`, which only the master knows.
    pub state: VolumeState,
    /// Since when.
    pub since: Timestamp,
    /// The plugin's identity of it.
    pub csi_volume_id: Option<String>,
    /// Its size as the plugin returned it.
    pub capacity: Option<Bytes>,
    /// Bytes used, when last seen published.
    pub used: Option<Bytes>,
    /// Its holders.
    pub holders: Vec<VolumeHolder>,
    /// What is wrong.
    pub problem: Option<Problem>,
}

/// A task's state at its agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskReport {
    /// Which.
    pub task_id: TaskId,
    /// Which of that id; the master ignores what is told of another than its own.
    #[serde(default)]
    pub instance: TaskInstance,
    /// Where it is in its life.
    pub state: TaskState,
    /// How its container ended.
    pub exit: Option<TaskExit>,
    /// What is wrong.
    pub problem: Option<Problem>,
    /// The digest that runs.
    pub image_digest: Option<String>,
    /// When its container started.
    pub started_at: Option<Timestamp>,
    /// When its container ended.
    pub ended_at: Option<Timestamp>,
    /// Progress of the pull.
    pub progress: Option<PullProgressView>,
}
