//! Plugins, as the public API and the master–agent protocol speak of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;
use crate::definition::PluginDefinition;
use crate::volume::VolumeView;
use sutler_ids::{AgentId, AgentName, ClassName, PluginName};
use sutler_ids::{Bytes, Problem};

/// A request to add a plugin: `POST /v1/plugins`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddPluginRequest {
    /// The definition; of an image alone all the rest has defaults.
    pub definition: PluginDefinition,
    /// Values for `{{set.KEY}}`.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// Nodes it runs on; all when empty.
    #[serde(default)]
    pub on: Vec<AgentName>,
    /// A change starts the plugin again: also while volumes of it are in use, whose mounts may
    /// live in its processes.
    #[serde(default)]
    pub in_use: bool,
}

/// A request to start a plugin again: `POST /v1/plugins/{name}/restart`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RestartPluginRequest {
    /// Also while volumes of it are in use, whose mounts may live in its processes.
    #[serde(default)]
    pub in_use: bool,
}

/// A plugin as an agent gets it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DesiredPlugin {
    /// Our name for it.
    pub name: PluginName,
    /// Grows with each change; a report of an older one is stale.
    pub generation: u64,
    /// The definition with every default filled in, templates still in it.
    pub definition: PluginDefinition,
    /// Values for `{{set.KEY}}`.
    pub set: BTreeMap<String, String>,
    /// Grows each time that an operator wants it started again.
    #[serde(default)]
    pub restart: u64,
}

/// Where one instance of a plugin is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PluginState {
    /// Its agent has not begun.
    Waiting,
    /// The image is being pulled.
    Pulling,
    /// The container is being started.
    Starting,
    /// The container runs; the socket or Probe has not answered yet.
    Probing,
    /// It answers.
    Ready,
    /// It says itself that it is not ready: calls wait until it does, and it is left running.
    NotReady,
    /// It does not answer, and is left running while volumes may depend on it.
    Silent,
    /// It failed and will be started again.
    BackingOff,
    /// What an earlier definition started runs on: the wanted one could not be.
    Outdated,
    /// It is being stopped.
    Stopping,
    /// It is gone.
    Stopped,
}

/// What a plugin says of itself, in words of the CSI spec.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct PluginFactsView {
    /// The name that the plugin reports.
    pub driver_name: String,
    /// The version that it reports.
    pub vendor_version: String,
    /// Plugin, controller and node capabilities by their CSI names, sorted.
    pub capabilities: Vec<String>,
    /// Its name for this node.
    pub node_id: String,
    /// Most volumes on this node; 0 means no limit told.
    pub max_volumes: i64,
    /// Its topology segments.
    pub topology: BTreeMap<String, String>,
}

/// One instance of a plugin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PluginInstanceView {
    /// The node.
    pub agent: AgentName,
    /// Where it is in its life.
    pub state: PluginState,
    /// Since when.
    #[schema(value_type = String)]
    pub since: Timestamp,
    /// How often it was started again.
    pub restarts: u64,
    /// What it says of itself.
    pub facts: Option<PluginFactsView>,
    /// What is wrong, if something is.
    pub problem: Option<Problem>,
    /// Its last log lines, when something is wrong.
    pub log_tail: Vec<String>,
    /// When it is started again.
    #[schema(value_type = Option<String>)]
    pub retry_at: Option<Timestamp>,
    /// Free bytes by class, where the plugin tells.
    #[schema(value_type = BTreeMap<String, Bytes>)]
    pub free: BTreeMap<ClassName, Bytes>,
    /// The image digest that runs.
    pub image_digest: Option<String>,
    /// Progress of the pull, while one runs.
    pub progress: Option<crate::task::PullProgressView>,
}

/// A plugin as `GET /v1/plugins` shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PluginView {
    /// Our name for it.
    pub name: PluginName,
    /// Grows with each change.
    pub generation: u64,
    /// The definition in force.
    pub definition: PluginDefinition,
    /// Whether it is being removed.
    pub removing: bool,
    /// Its classes.
    pub classes: Vec<ClassName>,
    /// One entry for each node it belongs on.
    pub instances: Vec<PluginInstanceView>,
    /// How many volumes it keeps.
    pub volumes: usize,
}

/// The answer to a node's removal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RemovedNode {
    /// The node as it last was.
    pub node: AgentView,
    /// Its volumes as they last were: whatever there is of them is where it was.
    pub forgotten_volumes: Vec<VolumeView>,
}

/// A node as `GET /v1/agents` shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentView {
    /// Its name.
    pub name: AgentName,
    /// Its identity.
    pub agent_id: AgentId,
    /// Whether it is connected now.
    pub connected: bool,
    /// Since when.
    #[schema(value_type = String)]
    pub since: Timestamp,
    /// Its version.
    pub version: String,
    /// Cores.
    pub cpus: f64,
    /// Memory.
    pub memory: Bytes,
    /// Tasks that have not ended.
    pub tasks: usize,
    /// Volumes it owns.
    pub volumes: usize,
    /// What is wrong, if something is.
    pub problem: Option<Problem>,
}
