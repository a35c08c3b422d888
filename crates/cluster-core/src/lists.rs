//! Lists of the books, each in the order of its keys and from after one of them: a page costs by
//! how long it is, not by how much there is.

use std::collections::BTreeMap;
use std::ops::Bound;

use sutler_api::plugin::{AgentView, PluginView};
use sutler_api::task::TaskView;
use sutler_api::volume::{ClassView, VolumeView};
use sutler_ids::{AgentName, ClassName, PluginName, TaskId, VolumeName};

use crate::books::Books;
use crate::views::volume_state_word;

/// How many volumes are alike: of a class, on a node, in a state.
pub type VolumeCounts = BTreeMap<(ClassName, AgentName, &'static str), usize>;

impl Books {
    /// Shows volumes by name, so many after one.
    pub fn volume_page(&self, after: Option<&VolumeName>, limit: usize) -> Vec<VolumeView> {
        let names = self.durable.index.volume_names.range(beyond(after));
        let volumes = names.filter_map(|(_, id)| self.durable.volumes.get(id));
        let known = volumes.map(|volume| self.volume_view(volume));
        let mut page: Vec<VolumeView> = known.take(limit).collect();
        let unknown = self.live.unknown.after(after).take(limit);
        page.extend(unknown.map(|one| self.unknown_view(one)));
        // Both are in order, so this merges them; of one name the known one is first.
        page.sort_by(|a, b| a.name.cmp(&b.name));
        page.truncate(limit);
        page
    }

    /// Shows tasks by id, so many after one.
    pub fn task_page(&self, after: Option<&TaskId>, limit: usize) -> Vec<TaskView> {
        let tasks = self.durable.tasks.range(beyond(after));
        let views = tasks.map(|(_, task)| self.task_view(task));
        views.take(limit).collect()
    }

    /// Shows plugins by name, so many after one.
    pub fn plugin_page(&self, after: Option<&PluginName>, limit: usize) -> Vec<PluginView> {
        let plugins = self.durable.plugins.range(beyond(after));
        let views = plugins.map(|(_, plugin)| self.plugin_view(plugin));
        views.take(limit).collect()
    }

    /// Shows nodes by name, so many after one.
    pub fn agent_page(&self, after: Option<&AgentName>, limit: usize) -> Vec<AgentView> {
        let names = self.durable.index.agent_names.range(beyond(after));
        let agents = names.filter_map(|(_, id)| self.durable.agents.get(id));
        let views = agents.map(|agent| self.agent_view(agent));
        views.take(limit).collect()
    }

    /// Shows classes by name, so many after one.
    pub fn class_page(&self, after: Option<&ClassName>, limit: usize) -> Vec<ClassView> {
        let default = self.default_class();
        let mut classes = self.classes();
        let later = match after {
            None => classes,
            Some(after) => {
                let mut later = classes.split_off(after);
                later.remove(after);
                later
            }
        };
        let views = later.into_values();
        let views = views.map(|class| self.class_view(class, default.as_ref()));
        views.take(limit).collect()
    }

    /// Counts volumes that are alike.
    pub fn volume_counts(&self) -> VolumeCounts {
        let mut counts = VolumeCounts::new();
        for volume in self.durable.volumes.values() {
            let state = volume_state_word(self.volume_state(volume));
            let node = self.agent_name(volume.agent_id);
            let alike = (volume.spec.class.clone(), node, state);
            *counts.entry(alike).or_default() += 1;
        }
        counts
    }
}

/// Everything after a key.
fn beyond<K>(after: Option<&K>) -> (Bound<&K>, Bound<&K>) {
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    (from, Bound::Unbounded)
}
