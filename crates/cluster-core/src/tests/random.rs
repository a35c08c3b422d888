//! Laws over random sequences of events.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;
use sutler_api::agent::{OperationReport, Outcome, Update, VolumeReport};
use sutler_api::task::TaskState;
use sutler_api::volume::VolumeState;
use sutler_ids::{AgentId, OperationUuid, TaskId};
use sutler_ids::{Bytes, ErrorKind, Problem};

use super::world::{GIB, World, announce, task_report};
use crate::record::{OperationRecord, VolumePhase};
use crate::tasks::rank;
use crate::{Event, Request};

#[derive(Debug, Clone)]
enum Act {
    Create {
        name: u8,
        size: u8,
        agent: Option<bool>,
    },
    Grow {
        name: u8,
        size: u8,
    },
    Remove {
        name: u8,
        purge: bool,
    },
    Forget {
        name: u8,
    },
    RemoveNode {
        agent: bool,
        forget_volumes: bool,
    },
    Restore {
        name: u8,
    },
    Run {
        id: u8,
        volumes: Vec<(u8, bool, bool)>,
    },
    Stop {
        pick: usize,
    },
    AddPlugin {
        lanes: u8,
    },
    RemovePlugin,
    Outcome {
        pick: usize,
        from: bool,
        good: bool,
    },
    Volume {
        pick: usize,
        from: bool,
        state: usize,
    },
    Task {
        pick: usize,
        from: bool,
        state: usize,
    },
    Down {
        agent: bool,
    },
    Up {
        agent: bool,
    },
    NewRun {
        agent: bool,
        incarnation: u8,
    },
    Later {
        hours: u8,
    },
    Crash,
}

const TASK_STATES: [TaskState; 10] = [
    TaskState::Accepted,
    TaskState::Pulling,
    TaskState::Preparing,
    TaskState::Starting,
    TaskState::Running,
    TaskState::Stopping,
    TaskState::Releasing,
    TaskState::Finished,
    TaskState::Failed,
    TaskState::Killed,
];

const VOLUME_STATES: [VolumeState; 6] = [
    VolumeState::Creating,
    VolumeState::Ready,
    VolumeState::InUse,
    VolumeState::Uncertain,
    VolumeState::Missing,
    VolumeState::Failed,
];

fn act() -> impl Strategy<Value = Act> {
    let name = 0..4u8;
    prop_oneof![
        4 => (name.clone(), 0..12u8, any::<Option<bool>>())
            .prop_map(|(name, size, agent)| Act::Create { name, size, agent }),
        1 => (name.clone(), 0..12u8).prop_map(|(name, size)| Act::Grow { name, size }),
        2 => (name.clone(), any::<bool>()).prop_map(|(name, purge)| Act::Remove { name, purge }),
        1 => name.clone().prop_map(|name| Act::Restore { name }),
        1 => name.clone().prop_map(|name| Act::Forget { name }),
        1 => (any::<bool>(), any::<bool>())
            .prop_map(|(agent, forget_volumes)| Act::RemoveNode { agent, forget_volumes }),
        4 => (0..6u8, prop::collection::vec((name, any::<bool>(), any::<bool>()), 0..3))
            .prop_map(|(id, volumes)| Act::Run { id, volumes }),
        2 => any::<usize>().prop_map(|pick| Act::Stop { pick }),
        1 => (1..4u8).prop_map(|lanes| Act::AddPlugin { lanes }),
        1 => Just(Act::RemovePlugin),
        8 => (any::<usize>(), any::<bool>(), any::<bool>())
            .prop_map(|(pick, from, good)| Act::Outcome { pick, from, good }),
        3 => (any::<usize>(), any::<bool>(), 0..VOLUME_STATES.len())
            .prop_map(|(pick, from, state)| Act::Volume { pick, from, state }),
        8 => (any::<usize>(), any::<bool>(), 0..TASK_STATES.len())
            .prop_map(|(pick, from, state)| Act::Task { pick, from, state }),
        1 => any::<bool>().prop_map(|agent| Act::Down { agent }),
        2 => any::<bool>().prop_map(|agent| Act::Up { agent }),
        1 => (any::<bool>(), 0..3u8)
            .prop_map(|(agent, incarnation)| Act::NewRun { agent, incarnation }),
        1 => (0..40u8).prop_map(|hours| Act::Later { hours }),
        1 => Just(Act::Crash),
    ]
}

struct Run {
    world: World,
    agents: [AgentId; 2],
    operations: BTreeMap<OperationUuid, OperationRecord>,
    tasks: BTreeMap<TaskId, (TaskState, bool)>,
}

impl Run {
    fn new() -> Self {
        let mut world = World::new();
        let agents = [world.agent("a"), world.agent("b")];
        world.add("local").unwrap();
        let mut run = Self {
            world,
            agents,
            operations: BTreeMap::new(),
            tasks: BTreeMap::new(),
        };
        run.ready();
        run
    }

    /// Every connected node tells that the plugin is ready.
    fn ready(&mut self) {
        for agent in self.agents {
            if self.world.books.connected(agent) {
                self.world.ready(agent, "local", Some(10 * GIB));
            }
        }
    }

    /// Does one act; a refusal is as good as a success, `World` checks what it changed.
    fn act(&mut self, act: Act) {
        let agents = self.agents;
        let agent = |which: bool| agents[usize::from(which)];
        let world = &mut self.world;
        let named = |name: u8| format!("v{name}").parse().unwrap();
        match act {
            Act::Create { name, size, agent } => {
                let agent = agent.map(|which| if which { "b" } else { "a" });
                let request = json!({
                    "name": format!("v{name}"), "size": u64::from(size) * GIB, "agent": agent,
                });
                let request = serde_json::from_value(request).unwrap();
                drop(world.request(Request::CreateVolume(request)));
            }
            Act::Grow { name, size } => {
                let size = Bytes(u64::from(size) * GIB);
                drop(world.request(Request::GrowVolume {
                    name: named(name),
                    size,
                }));
            }
            Act::Remove { name, purge } => {
                drop(world.request(Request::RemoveVolume {
                    name: named(name),
                    purge,
                }));
            }
            Act::Forget { name } => {
                drop(world.request(Request::ForgetVolume { name: named(name) }));
            }
            Act::RemoveNode {
                agent: which,
                forget_volumes,
            } => {
                let called = if which { "b" } else { "a" };
                let name = called.parse().unwrap();
                let request = Request::RemoveNode {
                    name,
                    forget_volumes,
                };
                if world.request(request).is_ok() {
                    // A new machine of the same name takes its place.
                    self.agents[usize::from(which)] = world.agent(called);
                }
            }
            Act::Restore { name } => {
                drop(world.request(Request::RestoreVolume { name: named(name) }));
            }
            Act::Run { id, volumes } => {
                let volumes: Vec<_> = volumes
                    .iter()
                    .map(|(name, read_only, size)| {
                        json!({
                            "name": format!("v{name}"), "path": format!("/{name}"),
                            "read_only": read_only, "size": size.then_some(GIB),
                        })
                    })
                    .collect();
                drop(
                    world.run(
                        json!({ "image": "x", "task_id": format!("t{id}"), "volumes": volumes }),
                    ),
                );
            }
            Act::Stop { pick } => {
                let ids: Vec<TaskId> = world.books.durable().tasks.keys().cloned().collect();
                if let Some(task_id) = ids.get(pick % ids.len().max(1)).cloned() {
                    world.request(Request::StopTask { task_id }).unwrap();
                }
            }
            Act::AddPlugin { lanes } => {
                let mut definition = sutler_api::definition::PluginDefinition::of_image("local");
                definition.lanes = std::num::NonZeroU32::MIN.saturating_add(u32::from(lanes));
                // Refused while something uses it, unless that is said.
                let in_use = lanes == 3;
                let told = world.change_definition(definition, in_use);
                assert!(told.is_ok() || !in_use, "{told:?}");
            }
            Act::RemovePlugin => {
                let name = "local".parse().unwrap();
                drop(world.request(Request::RemovePlugin { name }));
            }
            Act::Outcome { pick, from, good } => {
                let operations: Vec<_> = world.books.durable().operations.values().collect();
                let Some(operation) = operations.get(pick % operations.len().max(1)) else {
                    return;
                };
                let report = OperationReport {
                    operation_uuid: operation.operation_uuid,
                    volume_id: operation.volume_id,
                    outcome: match good {
                        true => Outcome::Finished,
                        false => Outcome::Failed(Problem::new(ErrorKind::Internal, "no")),
                    },
                    left_behind: None,
                    at: world.now.wall,
                };
                world
                    .updates(agent(from), vec![Update::Operation(report)])
                    .unwrap();
            }
            Act::Volume { pick, from, state } => {
                let volumes: Vec<_> = world.books.durable().volumes.keys().copied().collect();
                let Some(volume_id) = volumes.get(pick % volumes.len().max(1)).copied() else {
                    return;
                };
                let report = VolumeReport {
                    volume_id,
                    state: VOLUME_STATES[state],
                    since: world.now.wall,
                    csi_volume_id: None,
                    capacity: None,
                    used: None,
                    holders: Vec::new(),
                    problem: None,
                };
                world
                    .updates(agent(from), vec![Update::Volume(report)])
                    .unwrap();
            }
            Act::Task { pick, from, state } => {
                let ids: Vec<TaskId> = world.books.durable().tasks.keys().cloned().collect();
                if let Some(id) = ids.get(pick % ids.len().max(1)) {
                    let report = task_report(id, TASK_STATES[state]);
                    world
                        .updates(agent(from), vec![Update::Task(report)])
                        .unwrap();
                }
            }
            Act::Down { agent: which } => {
                if world.books.connected(agent(which)) {
                    world.disconnect(agent(which));
                }
            }
            Act::Up { agent: which } => {
                let id = agent(which);
                let run = world.books.durable().agents[&id].incarnation.as_u128();
                world.connect(id, run).unwrap();
                world.updates(id, vec![Update::PluginsTold]).unwrap();
            }
            Act::NewRun {
                agent: which,
                incarnation,
            } => {
                let name = if which { "b" } else { "a" };
                let mut register = announce(name, u128::from(incarnation));
                register.agent_id = Some(agent(which));
                world.register(register).unwrap();
            }
            Act::Later { hours } => {
                world.hours(u32::from(hours));
                world.event(Event::Timer).unwrap();
            }
            Act::Crash => world.crash(),
        }
        self.ready();
    }

    fn check(&mut self, crashed: bool) {
        let books = &self.world.books;
        let durable = books.durable();
        for (uuid, record) in &durable.operations {
            if let Some(old) = self.operations.get(uuid).filter(|old| old.ended.is_some()) {
                assert_eq!(old, record, "an operation ends once");
            }
        }
        self.operations = durable.operations.clone();
        for (id, task) in &durable.tasks {
            let state = books.task(id).unwrap().state;
            let ended = task.end.is_some();
            if let Some((old, _)) = self.tasks.get(id).filter(|(_, e)| *e || !crashed) {
                assert!(
                    rank(*old) <= rank(state),
                    "{id} went from {old:?} to {state:?}"
                );
                assert!(!old.is_terminal() || *old == state, "{id} ended twice");
            }
            self.tasks.insert(id.clone(), (state, ended));
        }
        for volume in durable.volumes.values() {
            let holders: Vec<_> = books.holders_of(volume.spec.volume_id).collect();
            let id = volume.spec.volume_id;
            let writers = holders.iter().filter(|task| {
                task.spec
                    .volumes
                    .iter()
                    .any(|v| v.volume_id == id && !v.read_only)
            });
            assert!(writers.count() <= 1, "one writer of {}", volume.spec.name);
            let away = matches!(
                volume.phase,
                VolumePhase::Trashed { .. } | VolumePhase::Deleting { .. }
            );
            assert!(
                !away || holders.is_empty(),
                "{} is going and has holders",
                volume.spec.name
            );
            assert!(holders.iter().all(|task| task.agent_id == volume.agent_id));
            assert!(
                durable.plugins.contains_key(&volume.spec.plugin),
                "its plugin stays"
            );
        }
        for task in durable.tasks.values().filter(|task| task.end.is_none()) {
            for volume in &task.spec.volumes {
                assert!(
                    durable.volumes.contains_key(&volume.volume_id),
                    "its volumes stay"
                );
            }
        }
        for agent in self.agents {
            let desired = books.desired_of(agent);
            for operation in &desired.operations {
                assert_eq!(durable.operations[&operation.operation_uuid].ended, None);
            }
            for task in &desired.tasks {
                let record = &durable.tasks[&task.spec.task_id];
                assert!(record.end.is_none());
            }
        }
    }
}

proptest! {
    #![proptest_config(sutler_cases::config())]

    #[test]
    fn the_laws_hold_over_any_sequence(acts in prop::collection::vec(act(), 1..80)) {
        let mut run = Run::new();
        for act in acts {
            let crashed = matches!(act, Act::Crash);
            run.act(act);
            run.check(crashed);
        }
    }
}
