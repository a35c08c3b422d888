//! Volumes, as the public API and the master–agent protocol speak of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;
use sutler_ids::{AgentName, ClassName, OperationUuid, PluginName, TaskId, VolumeId, VolumeName};
use sutler_ids::{Bytes, Problem};

/// How a task sees a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccessType {
    /// A file system mounted at a path.
    #[default]
    Mount,
    /// A block device.
    Block,
}

/// Everything that CreateVolume is called with; never changes for one volume, so that a
/// replay is identical.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VolumeSpec {
    /// Our identity, also the creating operation's UUID.
    pub volume_id: VolumeId,
    /// The user's name.
    pub name: VolumeName,
    /// The class it was made from.
    pub class: ClassName,
    /// The plugin that keeps it.
    pub plugin: PluginName,
    /// The size asked for at creation.
    pub capacity: Bytes,
    /// File system or block device.
    pub access: AccessType,
    /// File system, if the user or class chose one.
    pub fs_type: Option<String>,
    /// Mount flags of the class.
    pub mount_flags: Vec<String>,
    /// Parameters of the class.
    pub parameters: BTreeMap<String, String>,
}

/// A request to make a volume: `POST /v1/volumes`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateVolumeRequest {
    /// The user's name for it; unique.
    pub name: VolumeName,
    /// The class; the default class when absent.
    #[serde(default)]
    pub class: Option<ClassName>,
    /// The size in bytes.
    pub size: Bytes,
    /// File system or block device.
    #[serde(default)]
    pub access: AccessType,
    /// File system; the class's or the plugin's choice when absent.
    #[serde(default)]
    pub fs_type: Option<String>,
    /// The node; any that has the plugin ready when absent.
    #[serde(default)]
    pub agent: Option<AgentName>,
}

/// A request to take a volume into the books that its node has and they do not:
/// `POST /v1/volumes/{name}/adopt`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AdoptVolumeRequest {
    /// The node; needed when volumes of that name are on several.
    #[serde(default)]
    pub agent: Option<AgentName>,
    /// Another name for it, when its own is taken by now.
    #[serde(default)]
    pub new_name: Option<VolumeName>,
}

/// A request to make a volume larger: `POST /v1/volumes/{name}/grow`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GrowVolumeRequest {
    /// The new size in bytes; not below the present one.
    pub size: Bytes,
}

/// Where a volume is in its life. Every volume is in exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum VolumeState {
    /// CreateVolume is under way.
    Creating,
    /// Exists; nobody uses it.
    Ready,
    /// On its way to a task: being attached, staged or published.
    Preparing,
    /// Published for the tasks named as holders.
    InUse,
    /// On its way back: being unpublished, unstaged or detached.
    Releasing,
    /// Being made larger.
    Growing,
    /// The last call's outcome is not known; the same call or its inverse will tell.
    Uncertain,
    /// The plugin no longer knows it. Our books are kept.
    Missing,
    /// In the trash until its retention ends; can be restored.
    Trashed,
    /// DeleteVolume is under way.
    Deleting,
    /// Could not be created; nothing exists in the back end.
    Failed,
    /// Its node has it and the cluster's books do not: they are an older copy. It can be adopted.
    Unknown,
}

/// One holder of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VolumeHolder {
    /// The task.
    pub task_id: TaskId,
    /// Whether it may only read.
    pub read_only: bool,
}

/// A volume as `GET /v1/volumes` shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VolumeView {
    /// The user's name.
    pub name: VolumeName,
    /// Our identity.
    pub volume_id: VolumeId,
    /// The class it was made from.
    pub class: ClassName,
    /// The plugin that keeps it.
    pub plugin: PluginName,
    /// The node that owns it.
    pub agent: AgentName,
    /// The plugin's identity of it, once known.
    pub csi_volume_id: Option<String>,
    /// Its size in bytes: as the plugin returned it, else as asked for.
    pub capacity: Bytes,
    /// Bytes used, when last seen published.
    pub used: Option<Bytes>,
    /// File system or block device.
    pub access: AccessType,
    /// Where it is in its life.
    pub state: VolumeState,
    /// Since when.
    #[schema(value_type = String)]
    pub state_since: Timestamp,
    /// The tasks that hold it.
    pub holders: Vec<VolumeHolder>,
    /// When the trash lets it go.
    #[schema(value_type = Option<String>)]
    pub trash_until: Option<Timestamp>,
    /// What is wrong, if something is.
    pub problem: Option<Problem>,
    /// When it was asked for.
    #[schema(value_type = String)]
    pub created_at: Timestamp,
}

/// One step in the story of a volume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WhyStep {
    /// How it went.
    pub mark: WhyMark,
    /// The step: a call or a change.
    pub text: String,
    /// When, if it happened.
    #[schema(value_type = Option<String>)]
    pub at: Option<Timestamp>,
    /// How long it took, in milliseconds.
    pub took_ms: Option<u64>,
}

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhyMark {
    /// Done.
    Done,
    /// Under way or waiting.
    Pending,
    /// Failed.
    Failed,
}

/// The answer of `GET /v1/volumes/{name}/why`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WhyView {
    /// The volume as the books have it.
    pub volume: VolumeView,
    /// One sentence: what state it is in, for how long.
    pub summary: String,
    /// The steps so far, oldest first; bounded.
    pub steps: Vec<WhyStep>,
    /// One sentence of cause.
    pub cause: Option<String>,
    /// The raw text that came with it.
    pub raw: Option<String>,
    /// What happens next by itself, or what to do.
    pub next: String,
}

/// A class as `GET /v1/classes` shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ClassView {
    /// Its name.
    pub name: ClassName,
    /// The plugin behind it.
    pub plugin: PluginName,
    /// Parameters passed to CreateVolume.
    pub parameters: BTreeMap<String, String>,
    /// The file system, if the class chooses one.
    pub fs_type: Option<String>,
    /// Whether it is used when none is named.
    pub default: bool,
    /// Free bytes per node, where the plugin tells.
    pub free: BTreeMap<String, Bytes>,
    /// Nodes where the plugin is ready.
    pub ready_on: Vec<AgentName>,
}

/// Accepted change of a volume: the body of a 202 answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Accepted {
    /// The operation to watch at `GET /v1/operations/{uuid}`.
    pub operation_uuid: OperationUuid,
    /// The volume as it is now.
    pub volume: VolumeView,
}
