//! The books themselves: durable facts, live copies, and the one way to change the facts.

use std::collections::{BTreeMap, BTreeSet};

use sutler_api::Timestamp;
use sutler_api::agent::{Register, TaskReport, ToAgent, VolumeReport};
use sutler_api::plugin::PluginInstanceView;
use sutler_ids::{AgentId, AgentName, OperationUuid, PluginName, TaskId, VolumeId, VolumeName};
use sutler_ids::{Boottime, Now, Problem};
use uuid::Uuid;

use crate::indexes::Indexes;
use crate::record::{
    AgentRecord, Change, ClusterRecord, OperationRecord, PluginRecord, TaskRecord, VolumeRecord,
};
use crate::step::{Effect, Event, Reply, Request, Step, Subject};
use crate::unknown::UnknownVolumes;

/// What an operator may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// How long removed volumes stay in the trash, in milliseconds.
    pub trash_retention_ms: u64,
}

impl Default for Config {
    /// A day in the trash: long enough to notice a mistake the next morning.
    fn default() -> Self {
        Self {
            trash_retention_ms: 24 * 60 * 60 * 1000,
        }
    }
}

/// The durable facts: exactly what the persisted changes say.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Durable {
    pub cluster: Option<ClusterRecord>,
    /// Nodes.
    pub agents: BTreeMap<AgentId, AgentRecord>,
    /// Nodes that were removed.
    pub(crate) removed_agents: BTreeMap<AgentId, AgentRecord>,
    pub plugins: BTreeMap<PluginName, PluginRecord>,
    pub volumes: BTreeMap<VolumeId, VolumeRecord>,
    pub operations: BTreeMap<OperationUuid, OperationRecord>,
    pub tasks: BTreeMap<TaskId, TaskRecord>,
    /// Kept by `apply` alone.
    pub(crate) index: Indexes,
}

/// Copies of what agents tell; lost with the process and told again.
#[derive(Debug, Default)]
pub struct Live {
    /// Nodes.
    pub agents: BTreeMap<AgentId, LiveAgent>,
    /// Volumes, by their owners.
    pub volumes: BTreeMap<VolumeId, VolumeReport>,
    /// Tasks that have not ended.
    pub tasks: BTreeMap<TaskId, TaskReport>,
    /// Volumes that nodes have and the books do not, by name; several may have one.
    pub(crate) unknown: UnknownVolumes,
}

/// What we know of a node beyond the books.
#[derive(Debug, Clone)]
pub struct LiveAgent {
    /// Its connection.
    pub stream: Option<u64>,
    /// Since when it is or is not connected.
    pub since: Timestamp,
    /// The same for deadlines, while it is not connected.
    pub(crate) away_from: Boottime,
    /// What it says is wrong with itself.
    pub problem: Option<Problem>,
    /// Its plugins: generation and state.
    pub plugins: BTreeMap<PluginName, (u64, PluginInstanceView)>,
    /// Plugins told of since the connection came up.
    pub(crate) fresh: BTreeSet<PluginName>,
    /// Whether it has told all of its plugins since then.
    pub(crate) told_plugins: bool,
}

/// The cluster's books.
#[derive(Debug)]
pub struct Books {
    pub(crate) durable: Durable,
    pub(crate) live: Live,
    pub(crate) config: Config,
    pub(crate) recovered_at: Timestamp,
    pub(crate) recovered_from: Boottime,
    /// When the cluster's record said how much time was observed.
    pub(crate) observed_from: Boottime,
    /// The moment of the last event.
    pub(crate) last: Now,
}

/// Says why books cannot be rebuilt from records.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoverError {
    /// Records without the cluster's own.
    #[error("the books have records but no cluster record")]
    NoCluster,
}

impl Books {
    /// Starts the books of a new cluster; the change must be persisted first of all.
    pub fn new(cluster_id: Uuid, config: Config, now: Now) -> (Self, Change) {
        let cluster = ClusterRecord {
            cluster_id,
            created_at: now.wall,
            generation: 0,
            observed_ms: 0,
        };
        let change = Change::Cluster(cluster);
        let mut durable = Durable::default();
        durable.apply(&change);
        (
            Self {
                durable,
                live: Live::default(),
                config,
                recovered_at: now.wall,
                recovered_from: now.boottime,
                observed_from: now.boottime,
                last: now,
            },
            change,
        )
    }

    /// Rebuilds the books from their records, in any order. None at all gives `None`.
    ///
    /// # Errors
    /// [`RecoverError`] if records contradict each other.
    pub fn recover(
        records: impl IntoIterator<Item = Change>,
        config: Config,
        now: Now,
    ) -> Result<Option<Self>, RecoverError> {
        let mut durable = Durable::default();
        for change in records {
            durable.apply(&change);
        }
        if durable == Durable::default() {
            return Ok(None);
        }
        if durable.cluster.is_none() {
            return Err(RecoverError::NoCluster);
        }
        Ok(Some(Self {
            durable,
            live: Live::default(),
            config,
            recovered_at: now.wall,
            recovered_from: now.boottime,
            observed_from: now.boottime,
            last: now,
        }))
    }

    /// Decides what follows from an event, and takes it as done.
    ///
    /// # Errors
    /// The refusal, as the asker is to see it; nothing has changed then.
    pub fn on_event(&mut self, event: Event, now: Now) -> Result<Step, Problem> {
        self.last = now;
        let mut turn = Turn {
            books: self,
            step: Step::default(),
            now,
        };
        turn.on_event(event)?;
        Ok(turn.step)
    }

    /// Gives the durable facts.
    pub fn durable(&self) -> &Durable {
        &self.durable
    }

    /// Gives the live copies.
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// Gives the cluster's record.
    pub fn cluster(&self) -> &ClusterRecord {
        self.durable
            .cluster
            .as_ref()
            .expect("books are made with a cluster record")
    }

    /// Tells whether a node is connected.
    pub fn connected(&self, agent_id: AgentId) -> bool {
        self.live
            .agents
            .get(&agent_id)
            .is_some_and(|agent| agent.stream.is_some())
    }

    pub(crate) fn agent_name(&self, agent_id: AgentId) -> AgentName {
        let durable = &self.durable;
        let agent = durable.agents.get(&agent_id);
        let agent = agent.or_else(|| durable.removed_agents.get(&agent_id));
        agent
            .expect("records name admitted agents only, and what those were stays")
            .name
            .clone()
    }

    pub(crate) fn agent_by_name(&self, name: &AgentName) -> Option<&AgentRecord> {
        let id = self.durable.index.agent_names.get(name)?;
        self.durable.agents.get(id)
    }

    pub(crate) fn volume_by_name(&self, name: &VolumeName) -> Option<&VolumeRecord> {
        let id = self.durable.index.volume_names.get(name)?;
        self.durable.volumes.get(id)
    }

    /// Gives the tasks that have not ended and name the volume.
    pub(crate) fn holders_of(&self, id: VolumeId) -> impl Iterator<Item = &TaskRecord> {
        let ids = self.durable.index.holders.of(&id);
        ids.filter_map(|id| self.durable.tasks.get(id))
    }
}

impl Durable {
    /// Applies one change: the only way in which durable facts change, live and at recovery.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Cluster(record) => self.cluster = Some(record.clone()),
            Change::Agent(record) => self.apply_agent(record),
            Change::Plugin(record) => {
                self.plugins.insert(record.name.clone(), record.clone());
            }
            Change::ForgetPlugin(name) => {
                self.plugins.remove(name);
            }
            Change::Volume(record) => {
                self.index_volume(record.spec.volume_id, Some(record));
                self.volumes.insert(record.spec.volume_id, record.clone());
            }
            Change::ForgetVolume(id) => {
                self.index_volume(*id, None);
                self.volumes.remove(id);
            }
            Change::Operation(record) => {
                self.index_operation(record.operation_uuid, Some(record));
                self.operations
                    .insert(record.operation_uuid, record.clone());
            }
            Change::ForgetOperation(uuid) => {
                self.index_operation(*uuid, None);
                self.operations.remove(uuid);
            }
            Change::Task(record) => {
                self.index_task(&record.spec.task_id, Some(record));
                self.tasks
                    .insert(record.spec.task_id.clone(), record.clone());
            }
            Change::ForgetTask(id) => {
                self.index_task(id, None);
                self.tasks.remove(id);
            }
        }
    }

    fn index_volume(&mut self, id: VolumeId, new: Option<&VolumeRecord>) {
        if let Some(old) = self.volumes.get(&id) {
            self.index.volume_was(old);
        }
        if let Some(new) = new {
            self.index.volume_is(new);
        }
    }

    fn index_operation(&mut self, uuid: OperationUuid, new: Option<&OperationRecord>) {
        if let Some(old) = self.operations.get(&uuid) {
            self.index.operation_was(old);
        }
        if let Some(new) = new {
            self.index.operation_is(new);
        }
    }

    fn index_task(&mut self, id: &TaskId, new: Option<&TaskRecord>) {
        if let Some(old) = self.tasks.get(id) {
            self.index.task_was(old);
        }
        if let Some(new) = new {
            self.index.task_is(new);
        }
    }

    fn apply_agent(&mut self, record: &AgentRecord) {
        let id = record.agent_id;
        if let Some(old) = self.agents.remove(&id) {
            self.index.agent_names.remove(&old.name);
        }
        self.removed_agents.remove(&id);
        match record.removed_at {
            None => {
                self.index.agent_names.insert(record.name.clone(), id);
                self.agents.insert(id, record.clone());
            }
            Some(_) => {
                self.removed_agents.insert(id, record.clone());
            }
        }
    }
}

impl LiveAgent {
    pub(crate) fn disconnected(now: Now) -> Self {
        Self {
            stream: None,
            since: now.wall,
            away_from: now.boottime,
            problem: None,
            plugins: BTreeMap::new(),
            fresh: BTreeSet::new(),
            told_plugins: false,
        }
    }
}

/// One event being worked: the books and what has been decided so far. Handlers check all
/// first and change then, so that a refusal changes nothing.
pub(crate) struct Turn<'a> {
    pub books: &'a mut Books,
    pub step: Step,
    pub now: Now,
}

impl Turn<'_> {
    fn on_event(&mut self, event: Event) -> Result<(), Problem> {
        match event {
            Event::Request { seed, request } => self.on_request(seed, request),
            Event::Register { seed, register } => self.on_register(seed, register),
            Event::StreamUp {
                agent_id,
                incarnation,
                stream,
            } => self.on_stream_up(agent_id, incarnation, stream),
            Event::StreamDown { agent_id, stream } => {
                self.on_stream_down(agent_id, stream);
                Ok(())
            }
            Event::Updates(updates) => self.on_updates(updates),
            Event::Timer => {
                self.on_timer();
                Ok(())
            }
        }
    }

    fn on_request(&mut self, seed: Uuid, request: Request) -> Result<(), Problem> {
        match request {
            Request::CreateVolume(request) => self.create_volume(seed, &request),
            Request::GrowVolume { name, size } => self.grow_volume(seed, &name, size),
            Request::RemoveVolume { name, purge } => self.remove_volume(seed, &name, purge),
            Request::ForgetVolume { name } => self.forget_by_word(seed, &name),
            Request::RemoveNode {
                name,
                forget_volumes,
            } => self.remove_node(&name, forget_volumes),
            Request::RestoreVolume { name } => self.restore_volume(&name),
            Request::AdoptVolume {
                name,
                agent,
                new_name,
            } => self.adopt_volume(&name, agent.as_ref(), new_name),
            Request::RunTask(request) => self.run_task(seed, *request),
            Request::StopTask { task_id } => self.stop_task(&task_id),
            Request::RemoveTask { task_id } => self.remove_task(&task_id),
            Request::AddPlugin(request) => self.add_plugin(*request),
            Request::RestartPlugin { name, in_use } => self.restart_plugin(&name, in_use),
            Request::RemovePlugin { name } => self.remove_plugin(&name),
        }
    }

    fn on_register(&mut self, seed: Uuid, register: Register) -> Result<(), Problem> {
        self.register(seed, register)
    }

    /// Makes a change true here and durable before any effect.
    pub(crate) fn persist(&mut self, change: Change) {
        let subject = match &change {
            Change::Cluster(_) => None,
            Change::Agent(r) => Some(Subject::Agent(r.agent_id)),
            Change::Plugin(r) => Some(Subject::Plugin(r.name.clone())),
            Change::ForgetPlugin(name) => Some(Subject::Plugin(name.clone())),
            Change::Volume(r) => Some(Subject::Volume(r.spec.volume_id)),
            Change::ForgetVolume(id) => Some(Subject::Volume(*id)),
            Change::Operation(r) => Some(Subject::Operation(r.operation_uuid)),
            Change::Task(r) => Some(Subject::Task(r.spec.task_id.clone())),
            // Forgetting the old is no news to anyone.
            Change::ForgetOperation(_) | Change::ForgetTask(_) => None,
        };
        self.step.changed.extend(subject);
        self.books.durable.apply(&change);
        self.step.persist.push(change);
    }

    pub(crate) fn send(&mut self, agent_id: AgentId, message: ToAgent) {
        self.step.effects.push(Effect::Send {
            agent_id,
            message: Box::new(message),
        });
    }

    pub(crate) fn reply(&mut self, reply: Reply) {
        self.step.reply = reply;
    }
}
