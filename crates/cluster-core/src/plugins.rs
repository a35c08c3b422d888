//! Plugins: adding, changing and removing them.

use sutler_api::agent::ToAgent;
use sutler_api::plugin::AddPluginRequest;
use sutler_ids::{AgentId, PluginName};
use sutler_ids::{ErrorKind, Problem};

use crate::books::{Books, Turn};
use crate::definition::{check_values, join};
use crate::record::{Change, ClusterRecord, PluginRecord, VolumeRecord};
use crate::step::Reply;

/// Volumes named in one refusal; the rest is counted.
const NAMED_MAX: usize = 5;

impl Books {
    fn check_plugin(&self, record: &PluginRecord) -> Result<(), Problem> {
        for name in &record.on {
            self.agent_called(name)?;
        }
        let existing = self.classes();
        for (class, definition) in record.definition.classes() {
            check_values(&class, &definition.parameters, &record.definition)?;
            let holder = existing.get(&class).map(|class| &class.plugin.name);
            if let Some(holder) = holder.filter(|holder| **holder != record.name) {
                return Err(Problem::new(
                    ErrorKind::Conflict,
                    format!(
                        "class {class} of plugin {} is taken by plugin {holder}",
                        record.name
                    ),
                )
                .hint("give the class, or the plugin with --name, another name"));
            }
        }
        let left_behind: Vec<&VolumeRecord> = self
            .volumes_of(&record.name)
            .filter(|volume| !self.belongs_on(record, volume.agent_id))
            .collect();
        match left_behind.first() {
            None => Ok(()),
            Some(volume) => Err(Problem::new(
                ErrorKind::Conflict,
                format!(
                    "plugin {} cannot leave machine {}, which has volumes of it: {}",
                    record.name,
                    self.agent_name(volume.agent_id),
                    some_names(&left_behind)
                ),
            )
            .hint("add that machine with --on, or remove the volumes")),
        }
    }

    pub(crate) fn volumes_of(&self, name: &PluginName) -> impl Iterator<Item = &VolumeRecord> {
        self.durable
            .volumes
            .values()
            .filter(move |volume| volume.spec.plugin == *name)
    }

    pub(crate) fn plugin_called(&self, name: &PluginName) -> Result<&PluginRecord, Problem> {
        self.durable.plugins.get(name).ok_or_else(|| {
            Problem::new(ErrorKind::NotFound, format!("no plugin is called {name}"))
                .hint("sutler plugin ls")
        })
    }
}

impl Turn<'_> {
    pub(crate) fn add_plugin(&mut self, request: AddPluginRequest) -> Result<(), Problem> {
        let definition = request.definition.checked(&request.set).map_err(|error| {
            Problem::new(ErrorKind::Invalid, error.to_string())
                .hint("the definition's keys are explained in docs/plugins.md")
        })?;
        let record = PluginRecord {
            name: definition.checked_name().clone(),
            generation: self.books.cluster().generation + 1,
            definition,
            set: request.set,
            on: request.on,
            removing: false,
            added_at: self.now,
        };
        self.books.check_plugin(&record)?;
        self.reply(Reply::Plugin(record.name.clone()));
        let old = self.books.durable.plugins.get(&record.name);
        let same = old.is_some_and(|old| {
            let (old, new) = ((&old.definition, &old.set, &old.on, old.removing), &record);
            old == (&new.definition, &new.set, &new.on, new.removing)
        });
        if same {
            return Ok(());
        }
        let cluster = self.books.cluster().clone();
        let generation = record.generation;
        self.persist(Change::Cluster(ClusterRecord {
            generation,
            ..cluster
        }));
        self.persist(Change::Plugin(record));
        self.tell_plugins();
        Ok(())
    }

    pub(crate) fn remove_plugin(&mut self, name: &PluginName) -> Result<(), Problem> {
        let record = self.books.plugin_called(name)?;
        let volumes: Vec<&VolumeRecord> = self.books.volumes_of(name).collect();
        if !volumes.is_empty() {
            return Err(Problem::new(
                ErrorKind::Conflict,
                format!("plugin {name} keeps volumes: {}", some_names(&volumes)),
            )
            .hint("remove them first: sutler volume rm NAME --purge"));
        }
        let record = record.clone();
        self.reply(Reply::Plugin(name.clone()));
        if record.removing {
            return Ok(());
        }
        self.persist(Change::Plugin(PluginRecord {
            removing: true,
            ..record
        }));
        self.tell_plugins();
        self.finish_removals();
        Ok(())
    }

    fn tell_plugins(&mut self) {
        let agents: Vec<AgentId> = self.books.durable.agents.keys().copied().collect();
        for agent_id in agents {
            let plugins = self.books.desired_plugins(agent_id);
            self.send(agent_id, ToAgent::Plugins { plugins });
        }
    }
}

fn some_names(volumes: &[&VolumeRecord]) -> String {
    let names = join(
        volumes
            .iter()
            .take(NAMED_MAX)
            .map(|volume| &volume.spec.name),
    );
    match volumes.len().checked_sub(NAMED_MAX) {
        Some(more) if more > 0 => format!("{names} and {more} more"),
        Some(_) | None => names,
    }
}
