//! What the master wants of one node, worked out from the books alone.

use sutler_api::agent::{Desired, DesiredTask, VolumeAct, VolumeOperation};
use sutler_api::plugin::DesiredPlugin;
use sutler_ids::AgentId;

use crate::books::Books;
use crate::record::{OperationAct, OperationRecord, PluginRecord, TaskRecord, VolumePhase};

impl Books {
    /// Works out everything that is wanted of a node.
    pub(crate) fn desired_of(&self, agent_id: AgentId) -> Desired {
        let durable = &self.durable;
        let tasks = || {
            durable
                .tasks
                .values()
                .filter(move |task| task.agent_id == agent_id)
        };
        Desired {
            plugins: self.desired_plugins(agent_id),
            operations: self.desired_operations(agent_id),
            tasks: tasks().filter_map(|task| self.desired_task(task)).collect(),
            kept_tasks: tasks()
                .filter(|task| task.end.is_some())
                .map(|task| (task.spec.task_id.clone(), task.spec.instance))
                .collect(),
            volumes: durable.index.volumes_on.of(&agent_id).copied().collect(),
        }
    }

    /// Gives the operations that a node is to carry out, those of one volume in the order
    /// of its life: a node that meets a deletion before the creation it follows would
    /// refuse the one and carry out the other.
    fn desired_operations(&self, agent_id: AgentId) -> Vec<VolumeOperation> {
        let records = self.durable.operations.values();
        let mut operations: Vec<VolumeOperation> = records
            .filter(|record| record.agent_id == agent_id)
            .filter_map(|record| self.desired_operation(record))
            .collect();
        operations.sort_by_key(|operation| match operation.act {
            VolumeAct::Create(_) => 0,
            VolumeAct::Grow { .. } => 1,
            VolumeAct::Delete => 2,
            VolumeAct::Forget => 3,
        });
        operations
    }

    /// Gives the plugins that a node should run.
    pub(crate) fn desired_plugins(&self, agent_id: AgentId) -> Vec<DesiredPlugin> {
        let plugins = self.durable.plugins.values();
        plugins
            .filter(|plugin| !plugin.removing && self.belongs_on(plugin, agent_id))
            .map(|plugin| DesiredPlugin {
                name: plugin.name.clone(),
                generation: plugin.generation,
                definition: plugin.definition.clone(),
                set: plugin.set.clone(),
                restart: plugin.restart,
            })
            .collect()
    }

    pub(crate) fn belongs_on(&self, plugin: &PluginRecord, agent_id: AgentId) -> bool {
        plugin.on.is_empty() || plugin.on.contains(&self.agent_name(agent_id))
    }

    /// Gives an operation as its agent gets it: none if it has ended or must not begin yet.
    pub(crate) fn desired_operation(&self, record: &OperationRecord) -> Option<VolumeOperation> {
        if record.ended.is_some() {
            return None;
        }
        let volume = self.durable.volumes.get(&record.volume_id)?;
        let act = match record.act {
            OperationAct::Create => VolumeAct::Create(volume.spec.clone()),
            OperationAct::Grow { capacity } => VolumeAct::Grow { capacity },
            OperationAct::Delete | OperationAct::Forget => match &volume.phase {
                VolumePhase::Deleting { deletion } if *deletion == record.operation_uuid => {
                    match record.act == OperationAct::Forget {
                        true => VolumeAct::Forget,
                        false => VolumeAct::Delete,
                    }
                }
                // Held back by the trash, or overtaken.
                VolumePhase::Deleting { .. }
                | VolumePhase::Trashed { .. }
                | VolumePhase::Creating
                | VolumePhase::Live { .. }
                | VolumePhase::Failed { .. } => return None,
            },
        };
        Some(VolumeOperation {
            operation_uuid: record.operation_uuid,
            volume_id: record.volume_id,
            act,
        })
    }

    /// Gives a task as its agent gets it: none if it has ended.
    ///
    /// A volume of it may still be being made: its operation went to the same node before,
    /// and there the task pulls its image meanwhile.
    pub(crate) fn desired_task(&self, record: &TaskRecord) -> Option<DesiredTask> {
        if record.end.is_some() {
            return None;
        }
        Some(DesiredTask {
            spec: record.spec.clone(),
            stop: record.stop,
        })
    }
}
