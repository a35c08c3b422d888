//! Nodes: admission, connections, and what they tell of themselves and their plugins.

use sutler_api::agent::{Register, Registered, ToAgent, Update, Updates};
use sutler_api::plugin::{PluginInstanceView, PluginState};
use sutler_ids::{AgentId, PluginName};
use sutler_ids::{ErrorKind, Problem};
use uuid::Uuid;

use crate::books::{LiveAgent, Turn};
use crate::record::{AgentRecord, Change};
use crate::step::{Effect, Reply, Subject};
use crate::views::held_up;

impl Turn<'_> {
    pub(crate) fn register(&mut self, seed: Uuid, register: Register) -> Result<(), Problem> {
        let agent_id = self.identity(seed, &register)?;
        let old = self.books.durable.agents.get(&agent_id);
        let record = AgentRecord {
            agent_id,
            name: register.name,
            incarnation: register.incarnation,
            version: register.version,
            cpus: register.cpus,
            memory: register.memory,
            admitted_at: old.map_or(self.now.wall, |old| old.admitted_at),
            removed_at: None,
        };
        if old != Some(&record) {
            let another_run = old.is_some_and(|old| old.incarnation != record.incarnation);
            self.persist(Change::Agent(record));
            if another_run {
                self.close_stream(agent_id);
            }
        }
        let now = self.now;
        let live = &mut self.books.live.agents;
        live.entry(agent_id)
            .or_insert_with(|| LiveAgent::disconnected(now));
        let cluster_id = self.books.cluster().cluster_id;
        self.reply(Reply::Registered(Registered {
            agent_id,
            cluster_id,
        }));
        Ok(())
    }

    /// Finds out who is announcing itself.
    fn identity(&self, seed: Uuid, register: &Register) -> Result<AgentId, Problem> {
        let holder = self.books.agent_by_name(&register.name);
        let taken = |holder: &AgentRecord| {
            Problem::new(
                ErrorKind::Conflict,
                format!(
                    "the name {} is taken by another node ({})",
                    register.name, holder.agent_id
                ),
            )
            .hint("start this node's agent with another --name")
        };
        match (register.agent_id, holder) {
            (Some(id), Some(holder)) if holder.agent_id == id => Ok(id),
            (Some(id), _) if self.books.durable.removed_agents.contains_key(&id) => {
                Err(self.removed(id))
            }
            (Some(id), _) if !self.books.durable.agents.contains_key(&id) => {
                let (name, cluster) = (&register.name, self.books.cluster().cluster_id);
                let what =
                    format!("node {name} says it is {id}, whom cluster {cluster} does not know");
                Err(Problem::new(ErrorKind::Conflict, what).hint(
                    "it belongs to another cluster: give it that one's join file, or a fresh \
                     state directory",
                ))
            }
            (Some(_), Some(holder)) => Err(taken(holder)),
            (Some(id), None) => Ok(id),
            (None, None) => Ok(AgentId::new(seed)),
            // Its first registration was recorded here and its own record of that was lost:
            // nothing can depend on an identity that never did anything.
            (None, Some(holder))
                if holder.incarnation == register.incarnation || self.unused(holder.agent_id) =>
            {
                Ok(holder.agent_id)
            }
            (None, Some(holder)) => Err(taken(holder)),
        }
    }

    fn removed(&self, agent_id: AgentId) -> Problem {
        let name = self.books.agent_name(agent_id);
        let what = format!("node {name} ({agent_id}) was removed from this cluster");
        Problem::new(ErrorKind::Conflict, what).hint(
            "give its agent a fresh state directory to join as a new node; what the old one holds \
             (tasks, volumes of its own disk) is left as it is",
        )
    }

    fn unused(&self, agent_id: AgentId) -> bool {
        let durable = &self.books.durable;
        !self.books.connected(agent_id)
            && durable.index.volumes_on.count(&agent_id) == 0
            && durable.tasks.values().all(|task| task.agent_id != agent_id)
    }

    pub(crate) fn on_stream_up(
        &mut self,
        agent_id: AgentId,
        incarnation: Uuid,
        stream: u64,
    ) -> Result<(), Problem> {
        self.check_incarnation(agent_id, incarnation)?;
        self.close_stream(agent_id);
        let now = self.now;
        let live = self.books.live.agents.entry(agent_id);
        let live = live.or_insert_with(|| LiveAgent::disconnected(now));
        live.stream = Some(stream);
        live.since = now.wall;
        live.fresh.clear();
        live.told_plugins = false;
        self.unknown_are_stale(agent_id);
        let desired = self.books.desired_of(agent_id);
        self.send(agent_id, ToAgent::Desired(desired));
        self.step.changed.insert(Subject::Agent(agent_id));
        Ok(())
    }

    pub(crate) fn on_stream_down(&mut self, agent_id: AgentId, stream: u64) {
        let Some(live) = self.books.live.agents.get_mut(&agent_id) else {
            return;
        };
        if live.stream != Some(stream) {
            return;
        }
        live.stream = None;
        live.since = self.now.wall;
        live.away_from = self.now.boottime;
        self.step.changed.insert(Subject::Agent(agent_id));
        self.finish_removals();
    }

    fn close_stream(&mut self, agent_id: AgentId) {
        let Some(live) = self.books.live.agents.get_mut(&agent_id) else {
            return;
        };
        if let Some(stream) = live.stream.take() {
            live.since = self.now.wall;
            live.away_from = self.now.boottime;
            self.step.effects.push(Effect::CloseStream { stream });
            self.step.changed.insert(Subject::Agent(agent_id));
        }
    }

    fn check_incarnation(&self, agent_id: AgentId, incarnation: Uuid) -> Result<(), Problem> {
        let Some(agent) = self.books.durable.agents.get(&agent_id) else {
            return Err(Problem::new(
                ErrorKind::NotFound,
                format!("no node {agent_id} is admitted; register first"),
            ));
        };
        if agent.incarnation != incarnation {
            return Err(Problem::new(
                ErrorKind::Conflict,
                format!(
                    "this run of the agent of node {} is no longer the latest",
                    agent.name
                ),
            )
            .hint("two agents run with one identity: stop one, or register again"));
        }
        Ok(())
    }

    pub(crate) fn on_updates(&mut self, updates: Updates) -> Result<(), Problem> {
        self.check_incarnation(updates.agent_id, updates.incarnation)?;
        let agent_id = updates.agent_id;
        let now = self.now;
        let live = &mut self.books.live.agents;
        live.entry(agent_id)
            .or_insert_with(|| LiveAgent::disconnected(now));
        for update in updates.updates {
            match update {
                Update::Operation(report) => self.on_operation_report(agent_id, report),
                Update::Volume(report) => self.on_volume_report(agent_id, report),
                Update::VolumesCompared => self.on_volumes_compared(agent_id),
                Update::UnknownVolume { spec, report } => {
                    self.on_unknown_volume(agent_id, spec, report);
                }
                Update::Task(report) => self.on_task_report(agent_id, report),
                Update::Plugin {
                    name,
                    generation,
                    instance,
                } => {
                    self.on_plugin_report(agent_id, name, generation, instance);
                }
                Update::PluginsTold => self.on_plugins_told(agent_id),
                Update::Agent { problem } => {
                    self.live_agent(agent_id).problem = problem;
                    self.step.changed.insert(Subject::Agent(agent_id));
                }
            }
        }
        Ok(())
    }

    fn live_agent(&mut self, agent_id: AgentId) -> &mut LiveAgent {
        let live = self.books.live.agents.get_mut(&agent_id);
        live.expect("made at the start of each message")
    }

    fn on_plugin_report(
        &mut self,
        agent_id: AgentId,
        name: PluginName,
        generation: u64,
        mut instance: PluginInstanceView,
    ) {
        let record = self.books.durable.plugins.get(&name);
        let older =
            record.is_some_and(|record| !record.removing && record.generation != generation);
        instance.agent = self.books.agent_name(agent_id);
        let told = (generation, instance);
        // A report of an older generation would hide what the newer one is doing, unless it says
        // what keeps that from beginning.
        if older && !held_up(&told) {
            return;
        }
        let live = self.live_agent(agent_id);
        live.fresh.insert(name.clone());
        live.plugins.insert(name.clone(), told);
        self.step.changed.insert(Subject::Plugin(name));
        self.finish_removals();
    }

    fn on_plugins_told(&mut self, agent_id: AgentId) {
        let live = self.live_agent(agent_id);
        live.told_plugins = true;
        let fresh = std::mem::take(&mut live.fresh);
        live.plugins.retain(|name, _| fresh.contains(name));
        live.fresh = fresh;
        self.finish_removals();
    }

    /// Forgets each removed plugin that no connected node still runs. A node that is
    /// away stops it when it comes back, because the plugin is not wanted there.
    pub(crate) fn finish_removals(&mut self) {
        let removing = self
            .books
            .durable
            .plugins
            .values()
            .filter(|plugin| plugin.removing);
        let gone: Vec<PluginName> = removing
            .map(|plugin| plugin.name.clone())
            .filter(|name| !self.runs(name))
            .collect();
        for name in gone {
            for live in self.books.live.agents.values_mut() {
                live.plugins.remove(&name);
            }
            self.persist(Change::ForgetPlugin(name));
        }
    }

    fn runs(&self, name: &PluginName) -> bool {
        self.books
            .live
            .agents
            .values()
            .filter(|live| live.stream.is_some())
            .any(|live| {
                !live.told_plugins
                    || live
                        .plugins
                        .get(name)
                        .is_some_and(|(_, i)| i.state != PluginState::Stopped)
            })
    }
}
