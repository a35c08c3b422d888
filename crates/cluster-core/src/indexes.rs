//! Ways into the durable facts that need no search: kept as changes are applied, so that no event
//! costs more with many volumes than with few.
//!
//! Decides nothing and is never durable: what replays the changes has them again.

use std::collections::{BTreeMap, BTreeSet};

use sutler_api::Timestamp;
use sutler_ids::{AgentId, AgentName, OperationUuid, PluginName, TaskId, VolumeId, VolumeName};

use crate::record::{OperationRecord, TaskRecord, VolumePhase, VolumeRecord};

/// Keys of records, by what they are looked for.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Indexes {
    /// Nodes that were not removed, by name.
    pub agent_names: BTreeMap<AgentName, AgentId>,
    /// Volumes, by name.
    pub volume_names: BTreeMap<VolumeName, VolumeId>,
    /// Volumes, by node.
    pub volumes_on: Sets<AgentId, VolumeId>,
    /// Volumes, by plugin.
    pub volumes_of: Sets<PluginName, VolumeId>,
    /// Volumes in the trash, by the end of their time there.
    pub trash: BTreeSet<(u64, VolumeId)>,
    /// Operations that have not ended, by volume.
    pub open_operations: Sets<VolumeId, OperationUuid>,
    /// Operations that have, oldest first.
    pub ended_operations: BTreeSet<(Timestamp, OperationUuid)>,
    /// Tasks that have not ended, by volume.
    pub holders: Sets<VolumeId, TaskId>,
    /// Tasks that have not ended, by node.
    pub open_tasks: Sets<AgentId, TaskId>,
    /// Tasks that have, oldest first.
    pub ended_tasks: BTreeSet<(Timestamp, TaskId)>,
}

/// Sets of values by key; none is empty, so that two of the same content are equal.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sets<K, V>(BTreeMap<K, BTreeSet<V>>);

impl<K, V> Default for Sets<K, V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Clone, V: Ord> Sets<K, V> {
    /// Gives a key's values, in their order.
    pub(crate) fn of<'a>(&'a self, key: &K) -> impl Iterator<Item = &'a V> + use<'a, K, V> {
        self.0.get(key).into_iter().flatten()
    }

    /// Counts a key's values.
    pub(crate) fn count(&self, key: &K) -> usize {
        self.0.get(key).map_or(0, BTreeSet::len)
    }

    fn insert(&mut self, key: &K, value: V) {
        match self.0.get_mut(key) {
            Some(set) => set.insert(value),
            None => self.0.entry(key.clone()).or_default().insert(value),
        };
    }

    fn remove(&mut self, key: &K, value: &V) {
        let Some(set) = self.0.get_mut(key) else {
            return;
        };
        set.remove(value);
        if set.is_empty() {
            self.0.remove(key);
        }
    }
}

impl Indexes {
    /// A volume is no longer as it was.
    pub(crate) fn volume_was(&mut self, old: &VolumeRecord) {
        let id = old.spec.volume_id;
        self.volume_names.remove(&old.spec.name);
        self.volumes_on.remove(&old.agent_id, &id);
        self.volumes_of.remove(&old.spec.plugin, &id);
        if let VolumePhase::Trashed { until_ms, .. } = &old.phase {
            self.trash.remove(&(*until_ms, id));
        }
    }

    /// A volume is this now.
    pub(crate) fn volume_is(&mut self, new: &VolumeRecord) {
        let id = new.spec.volume_id;
        self.volume_names.insert(new.spec.name.clone(), id);
        self.volumes_on.insert(&new.agent_id, id);
        self.volumes_of.insert(&new.spec.plugin, id);
        if let VolumePhase::Trashed { until_ms, .. } = &new.phase {
            self.trash.insert((*until_ms, id));
        }
    }

    /// An operation is no longer as it was.
    pub(crate) fn operation_was(&mut self, old: &OperationRecord) {
        let uuid = old.operation_uuid;
        match &old.ended {
            None => self.open_operations.remove(&old.volume_id, &uuid),
            Some(ended) => {
                self.ended_operations.remove(&(ended.at, uuid));
            }
        }
    }

    /// An operation is this now.
    pub(crate) fn operation_is(&mut self, new: &OperationRecord) {
        let uuid = new.operation_uuid;
        match &new.ended {
            None => self.open_operations.insert(&new.volume_id, uuid),
            Some(ended) => {
                self.ended_operations.insert((ended.at, uuid));
            }
        }
    }

    /// A task is no longer as it was.
    pub(crate) fn task_was(&mut self, old: &TaskRecord) {
        let id = &old.spec.task_id;
        if let Some(end) = &old.end {
            self.ended_tasks.remove(&(end.recorded_at, id.clone()));
            return;
        }
        self.open_tasks.remove(&old.agent_id, id);
        for volume in &old.spec.volumes {
            self.holders.remove(&volume.volume_id, id);
        }
    }

    /// A task is this now.
    pub(crate) fn task_is(&mut self, new: &TaskRecord) {
        let id = &new.spec.task_id;
        if let Some(end) = &new.end {
            self.ended_tasks.insert((end.recorded_at, id.clone()));
            return;
        }
        self.open_tasks.insert(&new.agent_id, id.clone());
        for volume in &new.spec.volumes {
            self.holders.insert(&volume.volume_id, id.clone());
        }
    }
}
