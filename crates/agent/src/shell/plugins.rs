//! Plugins in the shell: their machines, their effects, their reports.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use sutler_api::agent::Update;
use sutler_api::plugin::{DesiredPlugin, PluginInstanceView};
use sutler_ids::{Bytes, Problem};
use sutler_ids::{ClassName, PluginName};
use sutler_images::Image;
use sutler_node_core::plugin::{Plugin, PluginEffect, PluginEvent, ProbeOutcome};
use sutler_providers::storage::PluginUp;
use sutler_telemetry::failpoint;
use tokio::task::AbortHandle;

use super::Shell;
use super::timers::Wake;
use super::turn::{Todo, Turn};
use crate::effects::plugin::{Subject, owner};
use crate::effects::probe::{Classes, capacities, probe};
use crate::effects::pull::{Wanted, pull};
use crate::event::{Event, Talk};

/// Time between two questions for capacity, in milliseconds. Changes of ours are asked about
/// at once; room that others free on the same disk must not keep volumes from being made for
/// longer than a person waits.
const CAPACITY_EVERY_MS: u64 = 10_000;

/// Used when a definition was recorded with an unreadable time; `checked` refuses those.
const PROBE_DEFAULT: Duration = Duration::from_secs(15);
const CALL_DEFAULT: Duration = Duration::from_secs(120);

/// A plugin and what belongs to it in memory only.
pub(super) struct PluginCell {
    pub machine: Plugin,
    pub image: Option<Arc<Image>>,
    /// What it said in this run.
    pub talk: Option<Talk>,
    free: BTreeMap<ClassName, Bytes>,
    /// Whether it is being asked for its capacity: it may take longer than the pause between.
    asked: bool,
    told: Option<PluginInstanceView>,
    pull: Option<AbortHandle>,
    watch: Option<AbortHandle>,
    probe: Option<AbortHandle>,
}

impl PluginCell {
    pub(super) fn new(machine: Plugin) -> Self {
        Self {
            machine,
            image: None,
            talk: None,
            free: BTreeMap::new(),
            asked: false,
            told: None,
            pull: None,
            watch: None,
            probe: None,
        }
    }

    /// Ends what only waits; acts are left to end by themselves.
    pub(super) fn abort_waits(&self) {
        let waits = self.pull.iter().chain(&self.watch).chain(&self.probe);
        waits.for_each(AbortHandle::abort);
    }

    pub(super) fn is_pulling(&self) -> bool {
        self.pull.is_some()
    }
}

impl Shell {
    /// Takes up the whole set of plugins: new ones, changed ones, and those that are to go.
    pub(super) fn want_plugins(&mut self, desired: Vec<DesiredPlugin>, turn: &mut Turn) {
        let wanted: BTreeSet<PluginName> = desired.iter().map(|p| p.name.clone()).collect();
        let gone: Vec<PluginName> = self
            .plugins
            .keys()
            .filter(|name| !wanted.contains(*name))
            .cloned()
            .collect();
        for name in gone {
            self.plugin_event(&name, PluginEvent::Unwanted, turn);
        }
        for plugin in desired {
            let name = plugin.name.clone();
            self.plugins
                .entry(name.clone())
                .or_insert_with(|| PluginCell::new(Plugin::new(plugin.clone(), Self::now())));
            self.plugin_event(&name, PluginEvent::Wanted(Box::new(plugin)), turn);
        }
    }

    pub(super) fn plugin_event(&mut self, name: &PluginName, event: PluginEvent, turn: &mut Turn) {
        let Some(cell) = self.plugins.get_mut(name) else {
            return;
        };
        let agent = &self.ground.host.name;
        let before = cell.machine.report(agent, &cell.free);
        let run = cell.machine.run();
        let step = cell.machine.on_event(event, Self::now());
        let told = cell.machine.report(agent, &cell.free);
        if before.state != told.state {
            let cause = told.problem.as_ref().map(ToString::to_string);
            tracing::info!(plugin = %name, from = ?before.state, to = ?told.state, cause, "plugin");
        }
        if cell.machine.run() != run {
            cell.asked = false;
            cell.talk = None;
        }
        for record in &step.persist {
            turn.pages.plugin(record);
        }
        let started = step
            .effects
            .iter()
            .any(|e| matches!(e, PluginEffect::Start));
        if let (true, Some(digest)) = (started, cell.machine.digest()) {
            let digest = digest.to_owned();
            self.image_used(&digest, turn);
        }
        let todo = step
            .effects
            .into_iter()
            .map(|e| Todo::Plugin(name.clone(), e));
        turn.todo.extend(todo);
        turn.plugins.insert(name.clone());
    }

    pub(super) fn plugin_pulled(
        &mut self,
        name: &PluginName,
        run: u64,
        result: Result<Arc<Image>, Problem>,
        turn: &mut Turn,
    ) {
        let Some(cell) = self.plugins.get_mut(name) else {
            return;
        };
        cell.pull = None;
        let result = result.map(|image| {
            let digest = image.digest.to_string();
            cell.image = Some(image);
            digest
        });
        self.plugin_event(name, PluginEvent::Pulled { run, result }, turn);
    }

    /// Carries out one effect.
    pub(super) fn act_for_plugin(&mut self, plugin: PluginName, effect: PluginEffect) {
        let name = format!("agent.plugin.{}", effect.name());
        let Some(subject) = self.subject(&plugin) else {
            return;
        };
        let Some(cell) = self.plugins.get_mut(&plugin) else {
            return;
        };
        let run = cell.machine.run();
        match effect {
            PluginEffect::Pull => self.pull_for_plugin(plugin, name, run),
            PluginEffect::CancelPull => cell.pull.take().iter().for_each(AbortHandle::abort),
            PluginEffect::Watch => {
                let id = plugin.clone();
                let watch = self.spawn(name, async move {
                    let end = subject.watch().await;
                    Event::Plugin(id, PluginEvent::Ended { run, end })
                });
                self.with_cell(&plugin, |cell| cell.watch = Some(watch));
            }
            PluginEffect::Probe => self.probe_plugin(subject, name),
            PluginEffect::Up => self.plugin_up(&plugin, &name),
            PluginEffect::Down => {
                failpoint::hit(&format!("{name}.before"));
                self.storage.plugin_down(plugin);
                failpoint::hit(&format!("{name}.after"));
            }
            PluginEffect::CountVolumes => {
                let storage = self.storage.clone();
                self.spawn(name, async move {
                    let count = storage.volumes_of(plugin.clone()).await;
                    Event::Plugin(plugin, PluginEvent::VolumesHere(count))
                });
            }
            PluginEffect::WakeAt(at) => self.timers.set(at, Wake::Plugin(plugin)),
            PluginEffect::Prepare => {
                self.spawn(name, async move {
                    let result = subject.prepare().await;
                    Event::Plugin(plugin, PluginEvent::Prepared { run, result })
                });
            }
            PluginEffect::Start => {
                let image = cell
                    .image
                    .clone()
                    .expect("a start follows the pull of its image");
                self.spawn(name, async move {
                    let result = subject.start(image).await;
                    Event::Plugin(plugin, PluginEvent::Started { run, result })
                });
            }
            PluginEffect::Halt => {
                cell.probe.take().iter().for_each(AbortHandle::abort);
                self.spawn(name, async move {
                    Event::Plugin(plugin, subject.halt(run).await)
                });
            }
            PluginEffect::Clear => {
                self.spawn(name, async move {
                    Event::Plugin(plugin, subject.clear(run).await)
                });
            }
        }
    }

    fn probe_plugin(&mut self, subject: Subject, name: String) {
        let plugin = subject.wanted.name.clone();
        let Some(cell) = self.plugins.get(&plugin) else {
            return;
        };
        let (known, run) = (cell.talk.clone(), cell.machine.run());
        let within = probe_timeout(cell);
        let id = plugin.clone();
        let probe = self.spawn(name, async move {
            let (outcome, talk) = match subject.rendered() {
                Ok(filled) => probe(filled.socket, known, within).await,
                Err(problem) => {
                    let raw = problem.to_string();
                    (ProbeOutcome::NoAnswer { raw }, None)
                }
            };
            Event::PluginProbed(id, run, outcome, talk)
        });
        self.with_cell(&plugin, |cell| cell.probe = Some(probe));
    }

    fn plugin_up(&mut self, plugin: &PluginName, name: &str) {
        let Some(cell) = self.plugins.get(plugin) else {
            return;
        };
        let talk = cell.talk.clone().expect("a plugin is up once it answered");
        let definition = &cell.machine.wanted().definition;
        let up = PluginUp {
            client: talk.client,
            facts: (*talk.facts).clone(),
            lanes: definition.lanes,
            pre_create_target: definition.pre_create_target,
            mounts_volumes: definition.mounts_volumes,
            call_timeout: definition.call_timeout().unwrap_or(CALL_DEFAULT),
            secrets: definition.secrets.clone(),
        };
        failpoint::hit(&format!("{name}.before"));
        self.storage.plugin_up(plugin.clone(), up);
        failpoint::hit(&format!("{name}.after"));
        self.ask_capacity(plugin.clone());
    }

    fn pull_for_plugin(&mut self, plugin: PluginName, name: String, run: u64) {
        let Some(cell) = self.plugins.get(&plugin) else {
            return;
        };
        let wanted = Wanted {
            owner: owner(&plugin),
            reference: cell.machine.wanted().definition.image.clone(),
            always: cell.machine.is_upgrade(),
            pinned: None,
            // A plugin whose volumes are in use must come back even if its source is gone.
            fallback: cell.machine.kept_digest().map(str::to_owned),
        };
        let host = Arc::clone(&self.ground.host);
        let gate = self.collector.gate();
        let (events, id) = (self.events.clone(), plugin.clone());
        let tell = move |progress| {
            let event = PluginEvent::PullProgress { run, progress };
            // Nobody reads once the shell is torn down.
            let _ = events.send(Event::Plugin(id.clone(), event));
        };
        let id = plugin.clone();
        let pull = self.spawn(name, async move {
            let _open = gate.read_owned().await;
            let result = pull(&host, wanted, tell).await;
            Event::PluginPulled(id, run, result)
        });
        self.with_cell(&plugin, |cell| cell.pull = Some(pull));
    }

    fn with_cell(&mut self, plugin: &PluginName, change: impl FnOnce(&mut PluginCell)) {
        if let Some(cell) = self.plugins.get_mut(plugin) {
            change(cell);
        }
    }

    fn subject(&self, plugin: &PluginName) -> Option<Subject> {
        Some(Subject {
            host: Arc::clone(&self.ground.host),
            agent_id: self.identity.map(|identity| identity.agent_id),
            wanted: self.plugins.get(plugin)?.machine.wanted().clone(),
        })
    }

    /// Asks every ready plugin how much room is left, at the end of this turn.
    pub(super) fn ask_capacities(&mut self, turn: &mut Turn) {
        let ready = self
            .plugins
            .iter()
            .filter(|(_, cell)| cell.machine.is_ready());
        turn.todo
            .extend(ready.map(|(name, _)| Todo::Capacity(name.clone())));
        self.timers
            .set_at_latest(Self::now().after_ms(CAPACITY_EVERY_MS), Wake::Capacity);
    }

    /// Something changed that may have changed the room that is left.
    pub(super) fn capacity_soon(&mut self) {
        self.timers
            .set_at_latest(Self::now().boottime, Wake::Capacity);
    }

    pub(super) fn ask_capacity(&mut self, plugin: PluginName) {
        let Some(cell) = self.plugins.get_mut(&plugin) else {
            return;
        };
        let Some(talk) = cell.talk.clone().filter(|_| !cell.asked) else {
            return;
        };
        cell.asked = true;
        let run = cell.machine.run();
        let (classes, within) = (classes(cell), probe_timeout(cell));
        self.spawn("agent.plugin.capacity".to_owned(), async move {
            let free = capacities(talk, classes, within).await;
            Event::Capacity(plugin, run, free)
        });
    }

    pub(super) fn on_capacity(
        &mut self,
        plugin: &PluginName,
        run: u64,
        free: BTreeMap<ClassName, Bytes>,
        turn: &mut Turn,
    ) {
        let Some(cell) = self.plugins.get_mut(plugin) else {
            return;
        };
        if cell.machine.run() == run {
            cell.asked = false;
        }
        // A failed question keeps the last answer: it is advisory either way.
        if cell.machine.run() == run && !free.is_empty() {
            cell.free.extend(free);
            let classes: BTreeSet<ClassName> = classes(cell).into_iter().map(|c| c.0).collect();
            cell.free.retain(|class, _| classes.contains(class));
            turn.plugins.insert(plugin.clone());
        }
    }

    /// Tells the master of plugins whose report has changed, and drops those that are gone.
    pub(super) fn tell_plugins(&mut self, touched: &BTreeSet<PluginName>) {
        let agent = self.ground.host.name.clone();
        for name in touched {
            let Some(cell) = self.plugins.get_mut(name) else {
                continue;
            };
            let instance = cell.machine.report(&agent, &cell.free);
            let gone = cell.machine.is_gone();
            if cell.told.as_ref() != Some(&instance) {
                cell.told = Some(instance.clone());
                let generation = cell.machine.generation_told();
                self.tell(vec![Update::Plugin {
                    name: name.clone(),
                    generation,
                    instance,
                }]);
            }
            if gone {
                self.plugins.remove(name);
                self.tell(vec![Update::PluginsTold]);
            }
        }
    }

    /// Tells the master of every plugin, and that these are all.
    pub(super) fn tell_all_plugins(&mut self) {
        let all: BTreeSet<PluginName> = self.plugins.keys().cloned().collect();
        self.plugins.values_mut().for_each(|cell| cell.told = None);
        self.tell_plugins(&all);
        self.tell(vec![Update::PluginsTold]);
    }
}

fn probe_timeout(cell: &PluginCell) -> Duration {
    let definition = &cell.machine.wanted().definition;
    definition.probe_timeout().unwrap_or(PROBE_DEFAULT)
}

/// Gives the classes of a plugin with the parameters that `CreateVolume` would get.
fn classes(cell: &PluginCell) -> Classes {
    let definition = &cell.machine.wanted().definition;
    let classes = definition.classes().into_iter();
    classes
        .map(|(name, class)| (name, definition.parameters_of(&class)))
        .collect()
}
