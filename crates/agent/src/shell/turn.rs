//! One turn of the shell: what its inputs lead to, until it is carried out.

use std::collections::BTreeSet;

use sutler_api::agent::Update;
use sutler_ids::{PluginName, TaskId};
use sutler_node_core::plugin::PluginEffect;
use sutler_node_core::task::TaskEffect;
use tokio::sync::oneshot;

use crate::journal::Pages;

/// An act that waits for the turn's records to be durable.
pub(super) enum Todo {
    Task(TaskId, TaskEffect),
    Plugin(PluginName, PluginEffect),
    Capacity(PluginName),
}

/// Records, acts and news of one turn.
#[derive(Default)]
pub(super) struct Turn {
    pub pages: Pages,
    pub todo: Vec<Todo>,
    pub tell: Vec<Update>,
    /// Which of them were told before, by their place: the order among all of them is kept.
    pub again: BTreeSet<usize>,
    /// Tasks and plugins whose report may have changed.
    pub tasks: BTreeSet<TaskId>,
    pub plugins: BTreeSet<PluginName>,
    /// Who waits for the turn's records.
    pub recorded: Vec<oneshot::Sender<()>>,
}

impl Turn {
    /// Takes the records out, leaving what must wait for them.
    pub(super) fn split(mut self) -> (Pages, Self) {
        (std::mem::take(&mut self.pages), self)
    }
}
