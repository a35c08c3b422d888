//! What goes into the core and what comes out.

use std::collections::BTreeSet;

use sutler_api::agent::{Register, Registered, ToAgent, Updates};
use sutler_api::plugin::{AddPluginRequest, AgentView};
use sutler_api::task::RunTaskRequest;
use sutler_api::volume::{CreateVolumeRequest, VolumeView};
use sutler_ids::Bytes;
use sutler_ids::{AgentId, AgentName, OperationUuid, PluginName, TaskId, VolumeId, VolumeName};
use uuid::Uuid;

use crate::record::Change;

/// Something happened outside.
#[derive(Debug, Clone)]
pub enum Event {
    /// A user asks for a change.
    Request {
        /// Fresh and random: every identifier of the outcome is made from it.
        seed: Uuid,
        /// The change.
        request: Request,
    },
    /// A node announces itself.
    Register {
        /// Fresh and random: the identity if the node is new.
        seed: Uuid,
        /// The announcement.
        register: Register,
    },
    /// A node listens.
    StreamUp {
        /// The node.
        agent_id: AgentId,
        /// The run of its process.
        incarnation: Uuid,
        /// The connection; a later one replaces it.
        stream: u64,
    },
    /// A connection has ended.
    StreamDown {
        /// The node.
        agent_id: AgentId,
        /// The connection.
        stream: u64,
    },
    /// A node tells what is true there.
    Updates(Updates),
    /// Time has passed; see [`crate::Books::wake_at`].
    Timer,
}

/// A change that a user asks for.
#[derive(Debug, Clone)]
pub enum Request {
    /// Make a volume.
    CreateVolume(CreateVolumeRequest),
    /// Make a volume larger.
    GrowVolume {
        name: VolumeName,
        /// The new size.
        size: Bytes,
    },
    /// Put a volume into the trash, or delete it.
    RemoveVolume {
        name: VolumeName,
        /// Delete it now, past the trash.
        purge: bool,
    },
    /// Forget a volume, whatever its back end has of it.
    ForgetVolume {
        name: VolumeName,
    },
    /// Take a node out of the books that never comes back.
    RemoveNode {
        name: AgentName,
        /// Also with volumes, which are forgotten.
        forget_volumes: bool,
    },
    /// Take a volume out of the trash.
    RestoreVolume {
        name: VolumeName,
    },
    /// Take a volume into the books that its node has and they do not.
    AdoptVolume {
        name: VolumeName,
        /// The node, when several have one of that name.
        agent: Option<AgentName>,
        /// Another name for it.
        new_name: Option<VolumeName>,
    },
    RunTask(Box<RunTaskRequest>),
    /// End a task.
    StopTask {
        task_id: TaskId,
    },
    /// Forget an ended task, with its logs.
    RemoveTask {
        task_id: TaskId,
    },
    /// Add a plugin, or change it.
    AddPlugin(Box<AddPluginRequest>),
    /// Start a plugin again.
    RestartPlugin {
        name: PluginName,
        /// Also while volumes of it are in use.
        in_use: bool,
    },
    RemovePlugin {
        name: PluginName,
    },
}

/// What follows from an event.
#[derive(Debug, Default, PartialEq)]
pub struct Step {
    /// Facts to make durable before anything else happens.
    pub persist: Vec<Change>,
    /// Acts once they are durable.
    pub effects: Vec<Effect>,
    /// What the asker is told once they are durable.
    pub reply: Reply,
    /// What looks different now.
    pub changed: BTreeSet<Subject>,
}

/// One outside act.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Tell a node something, if it listens; a lost message is told again on its next
    /// connection.
    Send {
        /// The node.
        agent_id: AgentId,
        message: Box<ToAgent>,
    },
    /// End a node's older connection.
    CloseStream {
        /// The connection.
        stream: u64,
    },
}

/// What the asker is told.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Reply {
    /// That it is done.
    #[default]
    Done,
    /// The accepted operation and its volume.
    Accepted {
        operation_uuid: OperationUuid,
        volume_id: VolumeId,
    },
    /// A volume was deleted at once, because nothing of it exists.
    Forgotten {
        operation_uuid: OperationUuid,
        /// The volume as it last was.
        volume: Box<VolumeView>,
    },
    Volume(VolumeId),
    Task(TaskId),
    Plugin(PluginName),
    /// A node was removed, with what may be left of its volumes.
    NodeRemoved {
        /// The node as it last was.
        node: Box<AgentView>,
        /// Its volumes as they last were.
        forgotten: Vec<VolumeView>,
    },
    /// The node is admitted.
    Registered(Registered),
}

/// An object of the public API.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A node.
    Agent(AgentId),
    Plugin(PluginName),
    Volume(VolumeId),
    Operation(OperationUuid),
    Task(TaskId),
}
