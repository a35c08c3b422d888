//! What the shell is told by its own effects.

use std::collections::BTreeMap;
use std::sync::Arc;

use sutler_csi::{PluginClient, PluginFacts};
use sutler_ids::{Bytes, Problem};
use sutler_ids::{ClassName, PluginName, TaskId};
use sutler_images::{GcReport, Image};
use sutler_node_core::plugin::{PluginEvent, ProbeOutcome};
use sutler_node_core::task::TaskEvent;

/// The way from an effect back to the shell. Unbounded: every effect sends one event at its
/// end (a pull besides a few a second), and the cores bound the number of effects.
pub(crate) type Events = tokio::sync::mpsc::UnboundedSender<Event>;

/// What an effect tells the shell.
pub(crate) enum Event {
    /// For a task's core.
    Task(TaskId, TaskEvent),
    /// A task's image is here, or cannot be.
    TaskPulled(TaskId, Result<Arc<Image>, Problem>),
    /// For a plugin's core.
    Plugin(PluginName, PluginEvent),
    /// A plugin's image is here, or cannot be.
    PluginPulled(PluginName, u64, Result<Arc<Image>, Problem>),
    /// A conversation with a plugin has ended; what it said, if it answered.
    PluginProbed(PluginName, u64, ProbeOutcome, Option<Talk>),
    /// What a plugin told of the room that is left for its classes.
    Capacity(PluginName, u64, BTreeMap<ClassName, Bytes>),
    /// Images were collected.
    Collected(Result<GcReport, String>),
    /// An effect without an end to tell is done.
    Done,
}

/// A plugin that answered, and what it said of itself.
#[derive(Clone)]
pub(crate) struct Talk {
    pub client: PluginClient,
    pub facts: Arc<PluginFacts>,
    /// Calls that it had answered at the last look; more of them are a sign of life.
    pub heard: u64,
}
