//! Where a volume or a task may go, and why not elsewhere.

use sutler_api::plugin::{PluginInstanceView, PluginState};
use sutler_ids::{AgentId, AgentName, ClassName};
use sutler_ids::{Bytes, ErrorKind, Problem};

use crate::books::Books;
use crate::definition::{Class, join};
use crate::record::{AgentRecord, PluginRecord};
use crate::views;

impl Books {
    /// Gives what a plugin that can serve on a node said there, or why it cannot.
    pub(crate) fn readiness(
        &self,
        plugin: &PluginRecord,
        agent_id: AgentId,
    ) -> Result<&PluginInstanceView, String> {
        if !self.belongs_on(plugin, agent_id) {
            return Err(format!("it runs on {} only", join(&plugin.on)));
        }
        let live = self
            .live
            .agents
            .get(&agent_id)
            .filter(|live| live.stream.is_some());
        let Some(live) = live else {
            return Err("the node is not connected".to_owned());
        };
        // What an older generation said does not hold for this one.
        let told = live.plugins.get(&plugin.name);
        let Some((_, instance)) = told.filter(|(told, _)| *told == plugin.generation) else {
            let former = told.filter(|told| views::held_up(told));
            let problem = former.and_then(|(_, former)| former.problem.as_ref());
            return Err(
                problem.map_or("it has not begun to start".to_owned(), |problem| {
                    let state = views::plugin_state_word(PluginState::Outdated);
                    format!("{state}: {}", problem.what)
                }),
            );
        };
        if instance.state == PluginState::Ready {
            return Ok(instance);
        }
        let state = views::plugin_state_word(instance.state);
        Err(match &instance.problem {
            Some(problem) => format!("{state}, {}", problem.what),
            None => state.to_owned(),
        })
    }

    /// Gives the nodes where a plugin is ready.
    pub(crate) fn ready_on(&self, plugin: &PluginRecord) -> Vec<AgentName> {
        let agents = self.durable.agents.values();
        let ready = agents.filter(|agent| self.readiness(plugin, agent.agent_id).is_ok());
        ready.map(|agent| agent.name.clone()).collect()
    }

    pub(crate) fn agent_called(&self, name: &AgentName) -> Result<&AgentRecord, Problem> {
        self.agent_by_name(name).ok_or_else(|| {
            let known = join(self.durable.agents.values().map(|agent| &agent.name));
            let known = if known.is_empty() {
                "none".to_owned()
            } else {
                known
            };
            Problem::new(
                ErrorKind::NotFound,
                format!("no node is called {name}; known are: {known}"),
            )
            .hint("sutler node ls")
        })
    }

    /// Chooses the node for a new volume: the wanted one, else the one with most free.
    pub(crate) fn place_volume(
        &self,
        class: &Class<'_>,
        size: Bytes,
        wanted: Option<&AgentName>,
    ) -> Result<AgentId, Problem> {
        let plugin = class.plugin;
        let (agent, instance) = match wanted {
            Some(name) => {
                let agent = self.agent_called(name)?;
                let instance = self
                    .readiness(plugin, agent.agent_id)
                    .map_err(|why| self.not_ready_on(plugin, agent, &why))?;
                (agent, instance)
            }
            None => self.roomiest(class)?,
        };
        check_fits(&class.name, size, instance, &agent.name)?;
        Ok(agent.agent_id)
    }

    fn roomiest(&self, class: &Class<'_>) -> Result<(&AgentRecord, &PluginInstanceView), Problem> {
        let plugin = class.plugin;
        let free = |instance: &PluginInstanceView| instance.free.get(&class.name).copied();
        let agents = self.durable.agents.values();
        let ready =
            agents.filter_map(|agent| Some((agent, self.readiness(plugin, agent.agent_id).ok()?)));
        // By name among equals, so that the same books give the same place.
        ready
            .max_by(|(a, on_a), (b, on_b)| free(on_a).cmp(&free(on_b)).then(b.name.cmp(&a.name)))
            .ok_or_else(|| self.ready_nowhere(plugin))
    }

    fn not_ready_on(&self, plugin: &PluginRecord, agent: &AgentRecord, why: &str) -> Problem {
        let name = &plugin.name;
        let what = format!("plugin {name} is not ready on node {}: {why}", agent.name);
        let ready = self.ready_on(plugin);
        Problem::new(ErrorKind::Unavailable, what).hint(match ready.is_empty() {
            true => format!("sutler plugin show {name}"),
            false => format!(
                "it is ready on {}; or look: sutler plugin show {name}",
                join(ready)
            ),
        })
    }

    fn ready_nowhere(&self, plugin: &PluginRecord) -> Problem {
        let name = &plugin.name;
        let why: Vec<String> = self
            .durable
            .agents
            .values()
            .filter_map(|agent| {
                let why = self.readiness(plugin, agent.agent_id).err()?;
                Some(format!("on {}: {why}", agent.name))
            })
            .collect();
        let why = if why.is_empty() {
            "there is no node".to_owned()
        } else {
            why.join("; ")
        };
        Problem::new(
            ErrorKind::Unavailable,
            format!("plugin {name} is ready nowhere: {why}"),
        )
        .hint(format!("sutler plugin show {name}"))
    }

    /// Counts the tasks of a node that have not ended.
    pub(crate) fn tasks_on(&self, agent_id: AgentId) -> usize {
        self.durable.index.open_tasks.count(&agent_id)
    }
}

/// Refuses a size over what the plugin says is free for the class; it has the last word at
/// CreateVolume.
pub(crate) fn check_fits(
    class: &ClassName,
    size: Bytes,
    instance: &PluginInstanceView,
    agent: &AgentName,
) -> Result<(), Problem> {
    match instance.free.get(class) {
        Some(free) if size > *free => Err(Problem::new(
            ErrorKind::Exhausted,
            format!(
                "{size} ({} bytes) do not fit: class {class} has {free} ({} bytes) free on \
                 node {agent}",
                size.get(),
                free.get()
            ),
        )
        .hint("ask for less, or remove volumes: sutler volume ls")),
        Some(_) | None => Ok(()),
    }
}
