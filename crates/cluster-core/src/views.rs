//! The books as the public API shows them: the owner's telling laid over the records.
//!
//! Changes nothing. What a node that is not connected last told stays visible, with a
//! problem that says so.

use std::collections::BTreeMap;

use sutler_api::agent::Outcome;
use sutler_api::operation::{OperationState, OperationView};
use sutler_api::plugin::{AgentView, PluginInstanceView, PluginState, PluginView};
use sutler_api::task::{TaskState, TaskView};
use sutler_api::volume::{ClassView, VolumeHolder, VolumeState, VolumeView};
use sutler_ids::{AgentId, ClassName, OperationUuid, PluginName, TaskId, VolumeName};
use sutler_ids::{Bytes, ErrorKind, Problem};

use crate::books::Books;
use crate::definition::Class;
use crate::record::{
    AgentRecord, OperationRecord, PluginRecord, TaskRecord, VolumePhase, VolumeRecord,
};

impl Books {
    /// Shows one volume.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn volume(&self, name: &VolumeName) -> Result<VolumeView, Problem> {
        match self.volume_by_name(name) {
            Some(volume) => Ok(self.volume_view(volume)),
            None => self.unknown_called(name).map_or_else(
                || {
                    self.volume_called(name)
                        .map(|volume| self.volume_view(volume))
                },
                |unknown| Ok(self.unknown_view(unknown)),
            ),
        }
    }

    /// Shows a volume's record.
    pub fn volume_view(&self, volume: &VolumeRecord) -> VolumeView {
        let report = self.live.volumes.get(&volume.spec.volume_id);
        let state = self.volume_state(volume);
        let holders = match report {
            Some(report) => report.holders.clone(),
            None => self.recorded_holders(volume),
        };
        VolumeView {
            name: volume.spec.name.clone(),
            volume_id: volume.spec.volume_id,
            class: volume.spec.class.clone(),
            plugin: volume.spec.plugin.clone(),
            agent: self.agent_name(volume.agent_id),
            csi_volume_id: report.and_then(|report| report.csi_volume_id.clone()),
            capacity: self.volume_capacity(volume),
            used: report.and_then(|report| report.used),
            access: volume.spec.access,
            state,
            state_since: match report {
                Some(report) if report.state == state => report.since,
                Some(_) | None => volume.since,
            },
            holders,
            trash_until: match &volume.phase {
                VolumePhase::Trashed { until_ms, .. } => Some(self.shown(*until_ms)),
                VolumePhase::Creating
                | VolumePhase::Live { .. }
                | VolumePhase::Deleting { .. }
                | VolumePhase::Failed { .. } => None,
            },
            problem: self.volume_problem(volume),
            created_at: volume.created_at,
        }
    }

    fn recorded_holders(&self, volume: &VolumeRecord) -> Vec<VolumeHolder> {
        let id = volume.spec.volume_id;
        let holder = |task: &TaskRecord| VolumeHolder {
            task_id: task.spec.task_id.clone(),
            read_only: task
                .spec
                .volumes
                .iter()
                .all(|v| v.volume_id != id || v.read_only),
        };
        self.holders_of(id).map(holder).collect()
    }

    /// Gives a volume's size: as its plugin returned it, else as the books have it.
    pub(crate) fn volume_capacity(&self, volume: &VolumeRecord) -> Bytes {
        let report = self.live.volumes.get(&volume.spec.volume_id);
        report
            .and_then(|report| report.capacity)
            .unwrap_or(volume.capacity)
    }

    /// Gives a volume's state: the books decide over its life, the owner over its use.
    pub(crate) fn volume_state(&self, volume: &VolumeRecord) -> VolumeState {
        use VolumeState::{
            Creating, Deleting, Failed, Growing, InUse, Missing, Preparing, Ready, Releasing,
            Trashed, Uncertain, Unknown,
        };
        let told = self
            .live
            .volumes
            .get(&volume.spec.volume_id)
            .map(|report| report.state);
        match (&volume.phase, told) {
            (VolumePhase::Creating | VolumePhase::Deleting { .. }, Some(Uncertain)) => Uncertain,
            (VolumePhase::Creating, _) => Creating,
            (VolumePhase::Deleting { .. }, _) => Deleting,
            (VolumePhase::Trashed { .. }, _) => Trashed,
            (VolumePhase::Failed { .. }, _) => Failed,
            (
                VolumePhase::Live {
                    growing: Some(_), ..
                },
                Some(Uncertain),
            ) => Uncertain,
            (
                VolumePhase::Live {
                    growing: Some(_), ..
                },
                _,
            ) => Growing,
            // A growth that the books have ended, told before the owner heard of it.
            (VolumePhase::Live { growing: None, .. }, Some(Growing)) => Ready,
            (
                VolumePhase::Live { growing: None, .. },
                Some(told @ (Ready | Preparing | InUse | Releasing | Uncertain | Missing)),
            ) => told,
            // States that the books decide over, and have decided otherwise.
            (
                VolumePhase::Live { growing: None, .. },
                Some(Creating | Deleting | Trashed | Failed | Unknown) | None,
            ) => Ready,
        }
    }

    fn volume_problem(&self, volume: &VolumeRecord) -> Option<Problem> {
        if let VolumePhase::Failed { problem, .. } = &volume.phase {
            return Some(problem.clone());
        }
        let recorded = match &volume.phase {
            VolumePhase::Live { problem, .. } => problem.clone(),
            VolumePhase::Creating
            | VolumePhase::Trashed { .. }
            | VolumePhase::Deleting { .. }
            | VolumePhase::Failed { .. } => None,
        };
        let report = self.live.volumes.get(&volume.spec.volume_id);
        self.away(volume.agent_id)
            .or_else(|| report.and_then(|report| report.problem.clone()))
            .or(recorded)
    }

    /// Gives the problem of everything whose node is not connected.
    fn away(&self, agent_id: AgentId) -> Option<Problem> {
        if self.connected(agent_id) {
            return None;
        }
        let name = self.agent_name(agent_id);
        let since = self
            .live
            .agents
            .get(&agent_id)
            .map_or(self.recovered_at, |live| live.since);
        Some(
            Problem::new(
                ErrorKind::Unavailable,
                format!("the agent of node {name} is not connected since {since}"),
            )
            .hint(format!(
                "start it on {name} (sutler agent), or look: sutler node ls"
            )),
        )
    }

    /// Shows one operation.
    ///
    /// # Errors
    /// `NotFound`, also for one that ended long ago.
    pub fn operation(&self, uuid: OperationUuid) -> Result<OperationView, Problem> {
        let record = self.durable.operations.get(&uuid).ok_or_else(|| {
            let what = format!("no operation {uuid} is known; old ones are forgotten");
            Problem::new(ErrorKind::NotFound, what)
        })?;
        Ok(self.operation_view(record))
    }

    fn operation_view(&self, record: &OperationRecord) -> OperationView {
        let (state, problem) = match &record.ended {
            None => (OperationState::Pending, self.held_up(record)),
            Some(ended) => match &ended.outcome {
                Outcome::Finished => (OperationState::Finished, None),
                Outcome::Failed(problem) => (OperationState::Failed, Some(problem.clone())),
            },
        };
        OperationView {
            operation_uuid: record.operation_uuid,
            kind: record.kind(),
            volume: record.volume.clone(),
            state,
            started_at: record.started_at,
            ended_at: record.ended.as_ref().map(|ended| ended.at),
            problem,
        }
    }

    fn held_up(&self, record: &OperationRecord) -> Option<Problem> {
        let volume = self.durable.volumes.get(&record.volume_id)?;
        if let VolumePhase::Trashed { until_ms, deletion } = &volume.phase
            && *deletion == record.operation_uuid
        {
            let name = &record.volume;
            let what = format!(
                "volume {name} stays in the trash until {}",
                self.shown(*until_ms)
            );
            let hint = format!("sutler volume restore {name}, or: sutler volume rm {name} --purge");
            return Some(Problem::new(ErrorKind::Unavailable, what).hint(hint));
        }
        self.volume_problem(volume)
    }

    /// Shows one task.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn task(&self, id: &TaskId) -> Result<TaskView, Problem> {
        self.task_called(id).map(|task| self.task_view(task))
    }

    /// Gives the node that a task is on.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn task_agent(&self, id: &TaskId) -> Result<AgentId, Problem> {
        self.task_called(id).map(|task| task.agent_id)
    }

    pub(crate) fn task_view(&self, task: &TaskRecord) -> TaskView {
        let report = self.live.tasks.get(&task.spec.task_id);
        let end = task.end.as_ref();
        let problem = match end {
            Some(end) => end.problem.clone(),
            None => self
                .away(task.agent_id)
                .or_else(|| self.waited_for(task))
                .or_else(|| report.and_then(|r| r.problem.clone())),
        };
        let digest = end.and_then(|end| end.image_digest.clone());
        TaskView {
            task_id: task.spec.task_id.clone(),
            image: task.spec.image.clone(),
            image_digest: digest.or_else(|| report.and_then(|r| r.image_digest.clone())),
            command: task.spec.command.clone(),
            agent: self.agent_name(task.agent_id),
            state: self.task_state(task),
            exit: end
                .and_then(|end| end.exit)
                .or_else(|| report.and_then(|r| r.exit)),
            problem,
            volumes: task.spec.volumes.clone(),
            cpus: task.spec.cpus,
            memory: task.spec.memory,
            created_at: task.created_at,
            started_at: task
                .started_at
                .or_else(|| report.and_then(|r| r.started_at)),
            ended_at: end
                .map(|end| end.at)
                .or_else(|| report.and_then(|r| r.ended_at)),
            progress: report.and_then(|report| report.progress),
        }
    }

    /// Gives the problem of a volume that is still being made for a task, or that its node
    /// cannot make ready for it.
    fn waited_for(&self, task: &TaskRecord) -> Option<Problem> {
        let preparing = self.task_state(task) == TaskState::Preparing;
        let holds_up = |volume: &&VolumeRecord| {
            let ready = || self.volume_state(volume) == VolumeState::InUse;
            volume.phase == VolumePhase::Creating || (preparing && !ready())
        };
        let volumes = task.spec.volumes.iter();
        volumes
            .filter_map(|volume| self.durable.volumes.get(&volume.volume_id))
            .filter(holds_up)
            .find_map(|volume| self.volume_problem(volume))
    }

    /// Shows one plugin.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn plugin(&self, name: &PluginName) -> Result<PluginView, Problem> {
        self.plugin_called(name)
            .map(|plugin| self.plugin_view(plugin))
    }

    pub(crate) fn plugin_view(&self, plugin: &PluginRecord) -> PluginView {
        let agents = self.durable.agents.values();
        let instances = agents
            .filter(|agent| self.belongs_on(plugin, agent.agent_id))
            .filter_map(|agent| self.instance_view(plugin, agent))
            .collect();
        PluginView {
            name: plugin.name.clone(),
            generation: plugin.generation,
            definition: plugin.definition.clone(),
            removing: plugin.removing,
            classes: plugin.definition.classes().into_keys().collect(),
            instances,
            volumes: self.durable.index.volumes_of.count(&plugin.name),
        }
    }

    /// Shows a plugin on a node; none if it is being removed and is gone there.
    fn instance_view(
        &self,
        plugin: &PluginRecord,
        agent: &AgentRecord,
    ) -> Option<PluginInstanceView> {
        let live = self.live.agents.get(&agent.agent_id);
        let told = live.and_then(|live| live.plugins.get(&plugin.name));
        let current = told.filter(|(g, _)| plugin.removing || *g == plugin.generation);
        let held = told
            .filter(|_| current.is_none())
            .filter(|told| held_up(told));
        let mut instance = match (current, held) {
            (Some((_, instance)), _) => instance.clone(),
            (None, Some((_, instance))) => PluginInstanceView {
                state: PluginState::Outdated,
                ..instance.clone()
            },
            (None, None) if plugin.removing => return None,
            (None, None) => PluginInstanceView {
                agent: agent.name.clone(),
                state: PluginState::Waiting,
                since: plugin.added_at,
                restarts: 0,
                facts: None,
                problem: None,
                log_tail: Vec::new(),
                retry_at: None,
                free: BTreeMap::new(),
                image_digest: None,
                progress: None,
            },
        };
        instance.agent = agent.name.clone();
        instance.problem = self.away(agent.agent_id).or(instance.problem);
        Some(instance)
    }

    /// Shows one node, if it is admitted.
    pub fn agent(&self, id: AgentId) -> Option<AgentView> {
        self.durable
            .agents
            .get(&id)
            .map(|agent| self.agent_view(agent))
    }

    pub(crate) fn agent_view(&self, agent: &AgentRecord) -> AgentView {
        let id = agent.agent_id;
        let live = self.live.agents.get(&id);
        AgentView {
            name: agent.name.clone(),
            agent_id: id,
            connected: self.connected(id),
            since: live.map_or(self.recovered_at, |live| live.since),
            version: agent.version.clone(),
            cpus: agent.cpus,
            memory: agent.memory,
            tasks: self.tasks_on(id),
            volumes: self.durable.index.volumes_on.count(&id),
            problem: self
                .away(id)
                .or_else(|| live.and_then(|live| live.problem.clone())),
        }
    }

    pub(crate) fn class_view(&self, class: Class<'_>, default: Option<&ClassName>) -> ClassView {
        let agents = self.durable.agents.values();
        let free = agents.filter_map(|agent| {
            let instance = self.readiness(class.plugin, agent.agent_id).ok()?;
            Some((agent.name.to_string(), *instance.free.get(&class.name)?))
        });
        ClassView {
            plugin: class.plugin.name.clone(),
            parameters: class.definition.parameters.clone(),
            fs_type: class.definition.fs_type.clone(),
            default: default == Some(&class.name),
            free: free.collect(),
            ready_on: self.ready_on(class.plugin),
            name: class.name,
        }
    }
}

/// Gives a volume state as users read it, and as metrics label it.
pub const fn volume_state_word(state: VolumeState) -> &'static str {
    match state {
        VolumeState::Creating => "creating",
        VolumeState::Ready => "ready",
        VolumeState::Preparing => "preparing",
        VolumeState::InUse => "in use",
        VolumeState::Releasing => "releasing",
        VolumeState::Growing => "growing",
        VolumeState::Uncertain => "uncertain",
        VolumeState::Missing => "missing",
        VolumeState::Trashed => "trashed",
        VolumeState::Deleting => "deleting",
        VolumeState::Failed => "failed",
        VolumeState::Unknown => "unknown",
    }
}

/// Whether an earlier generation serves and its node says what keeps it from the wanted one. What
/// it said before the change is forgotten when that is accepted.
pub(crate) fn held_up((_, instance): &(u64, PluginInstanceView)) -> bool {
    instance.state == PluginState::Ready && instance.problem.is_some()
}

/// Gives a plugin state as users read it.
pub(crate) const fn plugin_state_word(state: PluginState) -> &'static str {
    match state {
        PluginState::Waiting => "waiting",
        PluginState::Pulling => "pulling its image",
        PluginState::Starting => "starting",
        PluginState::Probing => "not answering yet",
        PluginState::Ready => "ready",
        PluginState::NotReady => "not ready: says so itself",
        PluginState::Silent => "silent, left running",
        PluginState::Outdated => "running as before a change, which cannot be made",
        PluginState::BackingOff => "failed and waiting to be started again",
        PluginState::Stopping => "stopping",
        PluginState::Stopped => "stopped",
    }
}

/// Tells whether a task's state is worth waiting past for someone who has seen `seen`.
pub fn differs(state: TaskState, seen: Option<TaskState>) -> bool {
    state.is_terminal() || seen.is_some_and(|seen| seen != state)
}
