//! The durable facts of the master, and how each is named in the store.
//!
//! Decides nothing: a record says what is true, and only `books` applies it.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sutler_api::Timestamp;
use sutler_api::agent::Outcome;
use sutler_api::definition::PluginDefinition;
use sutler_api::operation::OperationKind;
use sutler_api::task::{TaskExit, TaskSpec, TaskState};
use sutler_api::volume::VolumeSpec;
use sutler_ids::{AgentId, AgentName, OperationUuid, PluginName, TaskId, VolumeId, VolumeName};
use sutler_ids::{Bytes, Problem};
use uuid::Uuid;

/// The cluster itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterRecord {
    /// Its identity; an agent that knows another one refuses to serve.
    pub cluster_id: Uuid,
    /// When it was made.
    pub created_at: Timestamp,
    /// The last generation given to a plugin; never goes back, also over a removal.
    pub generation: u64,
    /// How long masters were seen to run, in milliseconds, when this was written.
    pub observed_ms: u64,
}

/// An admitted node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentRecord {
    /// Its identity.
    pub agent_id: AgentId,
    /// The operator's name for it.
    pub name: AgentName,
    /// The latest run of its process; messages of others are stale.
    pub incarnation: Uuid,
    /// Version of its program.
    pub version: String,
    pub cpus: f64,
    pub memory: Bytes,
    /// When it was admitted.
    pub admitted_at: Timestamp,
    /// When an operator removed it. What it was is kept: ended tasks name it, and it must not come
    /// back as if nothing had happened.
    pub removed_at: Option<Timestamp>,
}

/// A plugin that should run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PluginRecord {
    pub name: PluginName,
    /// Grows with each change.
    pub generation: u64,
    /// The checked definition.
    pub definition: PluginDefinition,
    /// Values for `{{set.KEY}}`.
    pub set: BTreeMap<String, String>,
    /// Nodes it runs on; all when empty.
    pub on: Vec<AgentName>,
    /// Whether it is being removed: no node should run it.
    pub removing: bool,
    /// Grows each time that an operator wants it started again.
    #[serde(default)]
    pub restart: u64,
    /// When this generation was added.
    pub added_at: Timestamp,
}

/// A volume, from acceptance of its creation to the recorded end of its deletion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VolumeRecord {
    /// What it was made with; never changes.
    pub spec: VolumeSpec,
    /// The node that owns it.
    pub agent_id: AgentId,
    /// Its size: as asked for, then as grown.
    pub capacity: Bytes,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// Since when it is in its phase.
    pub since: Timestamp,
    /// Where it is in its life here.
    pub phase: VolumePhase,
}

/// Where a volume is in its life at the master.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VolumePhase {
    /// Its creation was accepted; the outcome is not recorded. The operation is the volume's
    /// own UUID.
    Creating,
    /// It exists.
    Live {
        /// A growth under way.
        growing: Option<OperationUuid>,
        /// Why its last change failed.
        problem: Option<Problem>,
    },
    Trashed {
        /// When it is let go, in observed time, milliseconds.
        until_ms: u64,
        /// The deletion that begins then.
        deletion: OperationUuid,
    },
    /// Its deletion is under way.
    Deleting { deletion: OperationUuid },
    /// It could not be made.
    Failed {
        /// Why.
        problem: Problem,
        /// What was made all the same, by the plugin's identity of it: no use of it is allowed,
        /// and only an operator's word deletes it.
        left_behind: Option<String>,
    },
}

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationAct {
    /// Make the volume.
    Create,
    /// Make it larger.
    Grow {
        /// The new size.
        capacity: Bytes,
    },
    Delete,
    /// Forget the volume, whatever the back end has of it.
    Forget,
}

/// An accepted request for change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OperationRecord {
    /// Its identity.
    pub operation_uuid: OperationUuid,
    /// What it does.
    pub act: OperationAct,
    pub volume_id: VolumeId,
    /// The volume's name, for those who ask when it is gone.
    pub volume: VolumeName,
    /// Who carries it out.
    pub agent_id: AgentId,
    /// When it was accepted.
    pub started_at: Timestamp,
    /// How it ended; never changes again.
    pub ended: Option<EndedOperation>,
}

/// The end of an operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndedOperation {
    /// How.
    pub outcome: Outcome,
    /// When, by the owner's clock.
    pub at: Timestamp,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// What runs; never changes.
    pub spec: TaskSpec,
    /// The node it is on.
    pub agent_id: AgentId,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// Whether it should end; never taken back.
    pub stop: bool,
    /// When its container was first told to run.
    pub started_at: Option<Timestamp>,
    /// Its end; never changes again.
    pub end: Option<TaskEnd>,
}

/// The end of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskEnd {
    /// `Finished`, `Failed` or `Killed`.
    pub state: TaskState,
    /// How its container ended.
    pub exit: Option<TaskExit>,
    /// Why it failed.
    pub problem: Option<Problem>,
    /// The digest that ran.
    pub image_digest: Option<String>,
    /// When it ended, by its agent's clock.
    pub at: Timestamp,
    /// When the end was recorded here: the order in which ended tasks are forgotten.
    pub recorded_at: Timestamp,
}

/// One change of the durable books.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    Cluster(ClusterRecord),
    /// A node.
    Agent(AgentRecord),
    Plugin(PluginRecord),
    /// A plugin is gone.
    ForgetPlugin(PluginName),
    Volume(VolumeRecord),
    /// A volume is gone.
    ForgetVolume(VolumeId),
    Operation(OperationRecord),
    /// An old operation is no longer told.
    ForgetOperation(OperationUuid),
    Task(TaskRecord),
    /// An old task is no longer told.
    ForgetTask(TaskId),
}

/// A change in the store's words.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    pub table: &'static str,
    pub key: String,
    /// The new value; none deletes the record.
    pub value: Option<serde_json::Value>,
}

/// Every table that the books use.
pub const TABLES: [&str; 6] = [
    "cluster",
    "agents",
    "plugins",
    "volumes",
    "operations",
    "tasks",
];

/// Says why a stored record cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("record {key:?} of table {table} cannot be read")]
pub struct ReadError {
    pub table: String,
    pub key: String,
    /// What is wrong with it.
    pub source: serde_json::Error,
}

impl Change {
    /// Writes the change in the store's words.
    pub fn written(&self) -> Written {
        match self {
            Self::Cluster(r) => put("cluster", "cluster", r),
            Self::Agent(r) => put("agents", r.agent_id, r),
            Self::Plugin(r) => put("plugins", &r.name, r),
            Self::ForgetPlugin(name) => delete("plugins", name),
            Self::Volume(r) => put("volumes", r.spec.volume_id, r),
            Self::ForgetVolume(id) => delete("volumes", id),
            Self::Operation(r) => put("operations", r.operation_uuid, r),
            Self::ForgetOperation(uuid) => delete("operations", uuid),
            Self::Task(r) => put("tasks", &r.spec.task_id, r),
            Self::ForgetTask(id) => delete("tasks", id),
        }
    }

    /// Reads a stored record back as the change that wrote it.
    ///
    /// # Errors
    /// [`ReadError`] names the record; also for a table that is not ours.
    pub fn read(table: &str, key: &str, value: &[u8]) -> Result<Self, ReadError> {
        fn json<T: DeserializeOwned>(value: &[u8]) -> Result<T, serde_json::Error> {
            serde_json::from_slice(value)
        }
        let read = match table {
            "cluster" => json(value).map(Self::Cluster),
            "agents" => json(value).map(Self::Agent),
            "plugins" => json(value).map(Self::Plugin),
            "volumes" => json(value).map(Self::Volume),
            "operations" => json(value).map(Self::Operation),
            "tasks" => json(value).map(Self::Task),
            other => Err(serde::de::Error::custom(format!(
                "table {other} is not ours"
            ))),
        };
        read.map_err(|source| ReadError {
            table: table.to_owned(),
            key: key.to_owned(),
            source,
        })
    }

    /// Names what the change makes durable, as failpoints and logs spell it.
    pub fn step(&self) -> &'static str {
        match self {
            Self::Cluster(_) => "cluster",
            Self::Agent(r) if r.removed_at.is_some() => "agent_removed",
            Self::Agent(_) => "agent_admitted",
            Self::Plugin(r) if r.removing => "plugin_removing",
            Self::Plugin(_) => "plugin_added",
            Self::ForgetPlugin(_) => "plugin_gone",
            Self::Volume(r) => match &r.phase {
                VolumePhase::Creating => "volume_creating",
                VolumePhase::Live { growing: None, .. } => "volume_live",
                VolumePhase::Live {
                    growing: Some(_), ..
                } => "volume_growing",
                VolumePhase::Trashed { .. } => "volume_trashed",
                VolumePhase::Deleting { .. } => "volume_deleting",
                VolumePhase::Failed { .. } => "volume_failed",
            },
            Self::ForgetVolume(_) => "volume_gone",
            Self::Operation(r) if r.ended.is_some() => "operation_ended",
            Self::Operation(_) => "operation_accepted",
            Self::ForgetOperation(_) => "operation_forgotten",
            Self::Task(r) if r.end.is_some() => "task_ended",
            Self::Task(r) if r.stop => "task_stop",
            Self::Task(r) if r.started_at.is_some() => "task_running",
            Self::Task(_) => "task_accepted",
            Self::ForgetTask(_) => "task_forgotten",
        }
    }
}

impl OperationRecord {
    /// Gives what it changes, as the public API says it.
    pub fn kind(&self) -> OperationKind {
        match self.act {
            OperationAct::Create => OperationKind::CreateVolume,
            OperationAct::Grow { .. } => OperationKind::GrowVolume,
            OperationAct::Delete => OperationKind::DeleteVolume,
            OperationAct::Forget => OperationKind::ForgetVolume,
        }
    }
}

fn put(table: &'static str, key: impl ToString, record: &impl Serialize) -> Written {
    let value = serde_json::to_value(record).expect("our records have string keys only");
    Written {
        table,
        key: key.to_string(),
        value: Some(value),
    }
}

fn delete(table: &'static str, key: impl ToString) -> Written {
    Written {
        table,
        key: key.to_string(),
        value: None,
    }
}
