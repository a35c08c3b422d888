//! Plugins: adding, changing and removing them.

use std::collections::BTreeSet;

use sutler_api::agent::ToAgent;
use sutler_api::plugin::AddPluginRequest;
use sutler_api::volume::VolumeState;
use sutler_ids::{AgentId, PluginName};
use sutler_ids::{ErrorKind, Problem};

use crate::books::{Books, Turn};
use crate::definition::{check_values, join};
use crate::record::{Change, ClusterRecord, PluginRecord, VolumeRecord};
use crate::step::Reply;
use crate::unknown::UnknownVolume;
use crate::views::volume_state_word;

/// Volumes named in one refusal; the rest is counted.
const NAMED_MAX: usize = 5;

impl Books {
    fn check_plugin(&self, record: &PluginRecord) -> Result<(), Problem> {
        for name in &record.on {
            self.agent_called(name)?;
        }
        self.check_classes(record)?;
        self.check_classes_kept(record)?;
        let left_behind: Vec<&VolumeRecord> = self
            .volumes_of(&record.name)
            .filter(|volume| !self.belongs_on(record, volume.agent_id))
            .collect();
        match left_behind.first() {
            None => Ok(()),
            Some(volume) => Err(Problem::new(
                ErrorKind::Conflict,
                format!(
                    "plugin {} cannot leave node {}, which has volumes of it: {}",
                    record.name,
                    self.agent_name(volume.agent_id),
                    some_names(&left_behind)
                ),
            )
            .hint("add that node with --on, or remove the volumes")),
        }
    }

    fn check_classes(&self, record: &PluginRecord) -> Result<(), Problem> {
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
        Ok(())
    }

    /// A definition that lacks a class with volumes was most likely given by mistake, as a bare
    /// image is.
    fn check_classes_kept(&self, record: &PluginRecord) -> Result<(), Problem> {
        let kept = record.definition.classes();
        let lost: Vec<&VolumeRecord> = self
            .volumes_of(&record.name)
            .filter(|volume| !kept.contains_key(&volume.spec.class))
            .collect();
        let Some(volume) = lost.first() else {
            return Ok(());
        };
        let (name, class, names) = (&record.name, &volume.spec.class, some_names(&lost));
        let what = format!("plugin {name} cannot lose class {class}, which has volumes: {names}");
        Err(Problem::new(ErrorKind::Conflict, what)
            .hint("give its whole definition, changed; an image alone stands for a bare one"))
    }

    pub(crate) fn volumes_of(&self, name: &PluginName) -> impl Iterator<Item = &VolumeRecord> {
        let ids = self.durable.index.volumes_of.of(name);
        ids.filter_map(|id| self.durable.volumes.get(id))
    }

    /// Names the volumes that are, or may be, in use through a plugin, with who uses them. What
    /// its node has not told counts as in use.
    fn dependents_of(&self, name: &PluginName) -> Vec<String> {
        let named = |volume: &VolumeRecord| {
            let view = self.volume_view(volume);
            // A task that was accepted may hold it before its node says so.
            let accepted = self
                .holders_of(view.volume_id)
                .map(|task| &task.spec.task_id);
            let told = view.holders.iter().map(|holder| &holder.task_id);
            let tasks = join(accepted.chain(told).collect::<BTreeSet<_>>());
            let untold = !self.live.volumes.contains_key(&volume.spec.volume_id);
            match (tasks.is_empty(), untold || !at_rest(view.state)) {
                (false, _) => Some(format!("{} (task {tasks})", view.name)),
                (true, true) => Some(format!("{} ({})", view.name, volume_state_word(view.state))),
                (true, false) => None,
            }
        };
        let known = self.volumes_of(name).filter_map(named);
        let unknown = self.live.unknown.of_plugin(name);
        known.chain(unknown.map(UnknownVolume::named)).collect()
    }

    /// Refuses while volumes are, or may be, in use through a plugin that would start again:
    /// their mounts may live in its processes.
    fn check_idle(&self, name: &PluginName, anyway: &str) -> Result<(), Problem> {
        let used = self.dependents_of(name);
        if used.is_empty() {
            return Ok(());
        }
        let what = format!("plugin {name} has volumes in use: {}", some(&used));
        let hint = format!(
            "end those tasks first; or {anyway}, which breaks mounts that live in the plugin's own \
             processes"
        );
        Err(Problem::new(ErrorKind::Conflict, what).hint(hint))
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
        let mut record = PluginRecord {
            name: definition.checked_name().clone(),
            generation: self.books.cluster().generation + 1,
            definition,
            set: request.set,
            on: request.on,
            removing: false,
            restart: 0,
            added_at: self.now.wall,
        };
        self.books.check_plugin(&record)?;
        let old = self.books.durable.plugins.get(&record.name);
        record.restart = old.map_or(0, |old| old.restart);
        let same = old.is_some_and(|old| wants_the_same(old, &record));
        if !same && !request.in_use {
            self.books
                .check_idle(&record.name, "the same with --in-use")?;
        }
        self.reply(Reply::Plugin(record.name.clone()));
        if same {
            return Ok(());
        }
        self.forget_problems(&record.name);
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

    /// Starts a plugin again on each of its nodes. Mounts of volumes in use may live in its
    /// processes, so that takes the operator's word.
    pub(crate) fn restart_plugin(
        &mut self,
        name: &PluginName,
        in_use: bool,
    ) -> Result<(), Problem> {
        let record = self.books.plugin_called(name)?.clone();
        if !in_use {
            let anyway = format!("sutler plugin restart {name} --in-use");
            self.books.check_idle(name, &anyway)?;
        }
        self.reply(Reply::Plugin(name.clone()));
        let restart = record.restart + 1;
        self.persist(Change::Plugin(PluginRecord { restart, ..record }));
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
        if let Some(unknown) = self.books.live.unknown.of_plugin(name).next() {
            return Err(self.books.not_in_the_books(unknown));
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

    /// Forgets what nodes said of a plugin before it was changed: it was about what is wanted no
    /// longer.
    fn forget_problems(&mut self, name: &PluginName) {
        for live in self.books.live.agents.values_mut() {
            if let Some((_, told)) = live.plugins.get_mut(name) {
                told.problem = None;
            }
        }
    }

    fn tell_plugins(&mut self) {
        let agents: Vec<AgentId> = self.books.durable.agents.keys().copied().collect();
        for agent_id in agents {
            let plugins = self.books.desired_plugins(agent_id);
            self.send(agent_id, ToAgent::Plugins { plugins });
        }
    }
}

fn wants_the_same(old: &PluginRecord, new: &PluginRecord) -> bool {
    let (old, new) = ((&old.definition, &old.set, &old.on, old.removing), new);
    old == (&new.definition, &new.set, &new.on, new.removing)
}

/// Tells whether nothing of a volume is, or may be, on its host's mount table.
const fn at_rest(state: VolumeState) -> bool {
    match state {
        VolumeState::Creating
        | VolumeState::Ready
        | VolumeState::Missing
        | VolumeState::Unknown
        | VolumeState::Trashed
        | VolumeState::Failed => true,
        VolumeState::Preparing
        | VolumeState::InUse
        | VolumeState::Releasing
        | VolumeState::Growing
        | VolumeState::Uncertain
        | VolumeState::Deleting => false,
    }
}

pub(crate) fn some_names(volumes: &[&VolumeRecord]) -> String {
    let names: Vec<_> = volumes.iter().map(|volume| &volume.spec.name).collect();
    some(&names)
}

fn some(texts: &[impl std::fmt::Display]) -> String {
    let names = join(texts.iter().take(NAMED_MAX));
    match texts.len().checked_sub(NAMED_MAX) {
        Some(more) if more > 0 => format!("{names} and {more} more"),
        Some(_) | None => names,
    }
}
