//! A world for one test: books, what they persisted, and what they sent.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use sutler_api::Timestamp;
use sutler_api::agent::{
    OperationReport, Outcome, Register, TaskReport, ToAgent, Update, Updates, VolumeReport,
};
use sutler_api::definition::PluginDefinition;
use sutler_api::plugin::{PluginFactsView, PluginInstanceView, PluginState};
use sutler_api::task::{RunTaskRequest, TaskState};
use sutler_api::volume::{VolumeState, VolumeView};
use sutler_ids::{AgentId, OperationUuid, TaskId, TaskInstance, VolumeId};
use sutler_ids::{Boottime, Bytes, ErrorKind, Now, Problem};
use uuid::Uuid;

use crate::{Books, Change, Config, Effect, Event, Reply, Request, Step};

pub const GIB: u64 = 1 << 30;

pub struct World {
    pub books: Books,
    stored: BTreeMap<(&'static str, String), String>,
    pub now: Now,
    seed: u128,
    streams: u64,
    /// What was sent since the last look.
    pub sent: Vec<(AgentId, ToAgent)>,
    pub closed: Vec<u64>,
    /// Rebuild the books after each event; off where that would take long.
    pub replay_each: bool,
}

impl World {
    pub fn new() -> Self {
        let now = Now {
            wall: Timestamp::from_second(1_000_000).unwrap(),
            boottime: Boottime::new(Duration::from_secs(100)),
        };
        let (books, change) = Books::new(Uuid::from_u128(7), Config::default(), now);
        let mut world = Self {
            books,
            stored: BTreeMap::new(),
            now,
            seed: 100,
            streams: 0,
            sent: Vec::new(),
            closed: Vec::new(),
            replay_each: true,
        };
        world.store(&[change]);
        world
    }

    /// One node `a` with the plugin `local` ready and 10 GiB free.
    pub fn with_local() -> (Self, AgentId) {
        let mut world = Self::new();
        let a = world.agent("a");
        world.add("local").unwrap();
        world.ready(a, "local", Some(10 * GIB));
        world.sent.clear();
        (world, a)
    }

    fn store(&mut self, changes: &[Change]) {
        for change in changes {
            let written = change.written();
            let key = (written.table, written.key);
            match written.value {
                Some(value) => self.stored.insert(key, value.to_string()),
                None => self.stored.remove(&key),
            };
        }
    }

    /// Gives books rebuilt from what was persisted.
    pub fn recovered(&self) -> Books {
        let read = |((table, key), value): (&(&str, String), &String)| {
            Change::read(table, key, value.as_bytes()).unwrap()
        };
        let changes: Vec<Change> = self.stored.iter().map(read).collect();
        Books::recover(changes, Config::default(), self.now)
            .unwrap()
            .unwrap()
    }

    /// Lets both clocks go on.
    pub fn later(&mut self, wait: Duration) {
        self.now.wall += wait;
        self.now.boottime = self.now.after(wait);
    }

    pub fn hours(&mut self, hours: u32) {
        self.later(Duration::from_secs(3600) * hours);
    }

    /// Starts anew on a host that was booted just now.
    pub fn reboot(&mut self) {
        self.now.boottime = Boottime::new(Duration::from_secs(10));
        self.crash();
    }

    pub fn event(&mut self, event: Event) -> Result<Reply, Problem> {
        self.later(Duration::from_secs(1));
        let before = self.books.durable().clone();
        let step = match self.books.on_event(event, self.now) {
            Ok(step) => step,
            Err(problem) => {
                assert_eq!(*self.books.durable(), before, "a refusal changes nothing");
                return Err(problem);
            }
        };
        let Step {
            persist,
            effects,
            reply,
            changed: _,
        } = step;
        self.store(&persist);
        if self.replay_each {
            let recovered = self.recovered();
            assert_eq!(
                recovered.durable(),
                self.books.durable(),
                "books are the replay of records"
            );
        }
        for effect in effects {
            match effect {
                Effect::Send { agent_id, message } => self.sent.push((agent_id, *message)),
                Effect::CloseStream { stream } => self.closed.push(stream),
            }
        }
        Ok(reply)
    }

    pub fn seed(&mut self) -> Uuid {
        self.seed += 1;
        Uuid::from_u128(self.seed)
    }

    pub fn request(&mut self, request: Request) -> Result<Reply, Problem> {
        let seed = self.seed();
        self.event(Event::Request { seed, request })
    }

    /// Loses all that is not durable, as a crash does.
    pub fn crash(&mut self) {
        self.books = self.recovered();
        self.sent.clear();
    }

    pub fn register(&mut self, register: Register) -> Result<AgentId, Problem> {
        let seed = self.seed();
        match self.event(Event::Register { seed, register })? {
            Reply::Registered(registered) => Ok(registered.agent_id),
            other => panic!("{other:?}"),
        }
    }

    /// Admits a node and connects it.
    pub fn agent(&mut self, name: &str) -> AgentId {
        let id = self.register(announce(name, 1)).unwrap();
        self.connect(id, 1).unwrap();
        self.updates(id, vec![Update::PluginsTold]).unwrap();
        id
    }

    pub fn connect(&mut self, agent_id: AgentId, incarnation: u128) -> Result<u64, Problem> {
        self.streams += 1;
        let stream = self.streams;
        let incarnation = Uuid::from_u128(incarnation);
        self.event(Event::StreamUp {
            agent_id,
            incarnation,
            stream,
        })?;
        Ok(stream)
    }

    pub fn disconnect(&mut self, agent_id: AgentId) {
        let stream = self.books.live().agents[&agent_id].stream.unwrap();
        self.event(Event::StreamDown { agent_id, stream }).unwrap();
    }

    pub fn updates(&mut self, agent_id: AgentId, updates: Vec<Update>) -> Result<Reply, Problem> {
        let incarnation = self.books.durable().agents[&agent_id].incarnation;
        self.event(Event::Updates(Updates {
            agent_id,
            incarnation,
            updates,
        }))
    }

    pub fn add(&mut self, image: &str) -> Result<Reply, Problem> {
        self.add_definition(PluginDefinition::of_image(image))
    }

    pub fn add_definition(&mut self, definition: PluginDefinition) -> Result<Reply, Problem> {
        self.change_definition(definition, false)
    }

    /// Adds a definition, also in place of one that is in use if that is said.
    pub fn change_definition(
        &mut self,
        definition: PluginDefinition,
        in_use: bool,
    ) -> Result<Reply, Problem> {
        self.request(Request::AddPlugin(Box::new(
            sutler_api::plugin::AddPluginRequest {
                in_use,
                definition,
                set: BTreeMap::new(),
                on: Vec::new(),
            },
        )))
    }

    pub fn plugin(&mut self, agent_id: AgentId, name: &str, instance: PluginInstanceView) {
        let name = sutler_ids::PluginName::new(name).unwrap();
        let generation = self
            .books
            .durable()
            .plugins
            .get(&name)
            .map_or(1, |p| p.generation);
        let update = Update::Plugin {
            name,
            generation,
            instance,
        };
        self.updates(agent_id, vec![update]).unwrap();
    }

    pub fn ready(&mut self, agent_id: AgentId, name: &str, free: Option<u64>) {
        let mut view = instance(PluginState::Ready, self.now.wall);
        let class = |free| (name.parse().unwrap(), Bytes(free));
        view.free = free.map(class).into_iter().collect();
        view.facts = Some(PluginFactsView {
            capabilities: vec!["EXPAND_VOLUME".to_owned()],
            ..PluginFactsView::default()
        });
        self.plugin(agent_id, name, view);
    }

    pub fn create(&mut self, name: &str, size: u64) -> Result<OperationUuid, Problem> {
        let request = json!({ "name": name, "size": size });
        let reply = self.request(Request::CreateVolume(
            serde_json::from_value(request).unwrap(),
        ))?;
        Ok(accepted(reply))
    }

    /// Creates a volume and lets its owner finish it.
    pub fn created(&mut self, agent_id: AgentId, name: &str) -> VolumeId {
        let uuid = self.create(name, GIB).unwrap();
        let volume_id = VolumeId::new(uuid.uuid());
        self.end(agent_id, uuid, volume_id, Outcome::Finished);
        self.report_volume(agent_id, volume_id, VolumeState::Ready);
        self.sent.clear();
        volume_id
    }

    pub fn end(&mut self, on: AgentId, uuid: OperationUuid, volume: VolumeId, outcome: Outcome) {
        let left_behind = None;
        self.report_operation(
            on,
            OperationReport {
                operation_uuid: uuid,
                volume_id: volume,
                outcome,
                left_behind,
                at: self.now.wall,
            },
        );
    }

    pub fn report_operation(&mut self, on: AgentId, report: OperationReport) {
        self.updates(on, vec![Update::Operation(report)]).unwrap();
    }

    pub fn report_volume(&mut self, agent_id: AgentId, volume_id: VolumeId, state: VolumeState) {
        let report = volume_report(volume_id, state, self.now.wall);
        self.updates(agent_id, vec![Update::Volume(report)])
            .unwrap();
    }

    pub fn remove(&mut self, name: &str, purge: bool) -> Result<Reply, Problem> {
        self.request(Request::RemoveVolume {
            name: name.parse().unwrap(),
            purge,
        })
    }

    pub fn volume(&self, name: &str) -> VolumeView {
        self.books.volume(&name.parse().unwrap()).unwrap()
    }

    pub fn run(&mut self, task: serde_json::Value) -> Result<TaskId, Problem> {
        let request: RunTaskRequest = serde_json::from_value(task).unwrap();
        match self.request(Request::RunTask(Box::new(request)))? {
            Reply::Task(id) => Ok(id),
            other => panic!("{other:?}"),
        }
    }

    /// Runs a task that uses one volume.
    pub fn run_on(&mut self, id: &str, volume: &str, read_only: bool) -> Result<TaskId, Problem> {
        self.run(json!({
            "task_id": id, "image": "busybox",
            "volumes": [{ "name": volume, "path": "/data", "read_only": read_only }],
        }))
    }

    pub fn report_task(&mut self, agent_id: AgentId, id: &TaskId, state: TaskState) {
        let known = self.books.durable().tasks.get(id);
        let instance = known.map_or(TaskInstance::UNKNOWN, |task| task.spec.instance);
        let report = TaskReport {
            instance,
            ..task_report(id, state)
        };
        self.updates(agent_id, vec![Update::Task(report)]).unwrap();
    }

    pub fn task_state(&self, id: &TaskId) -> TaskState {
        self.books.task(id).unwrap().state
    }

    /// Gives the kinds of what was sent since the last look.
    pub fn sent_words(&mut self) -> Vec<String> {
        let sent = std::mem::take(&mut self.sent);
        let word = |(_, message): (AgentId, ToAgent)| {
            let value = serde_json::to_value(&message).unwrap();
            let act = value["act"]
                .as_object()
                .and_then(|act| act.keys().next().cloned());
            let act = act.or_else(|| value["act"].as_str().map(str::to_owned));
            match (act, value["stop"].as_bool()) {
                (Some(act), _) => format!("{} {act}", value["type"].as_str().unwrap()),
                (None, Some(true)) => "task stop".to_owned(),
                _ => value["type"].as_str().unwrap().to_owned(),
            }
        };
        sent.into_iter().map(word).collect()
    }
}

pub fn announce(name: &str, incarnation: u128) -> Register {
    Register {
        agent_id: None,
        name: name.parse().unwrap(),
        incarnation: Uuid::from_u128(incarnation),
        boot_id: "boot".to_owned(),
        version: "0.1.0".to_owned(),
        cpus: 4.0,
        memory: Bytes(8 * GIB),
    }
}

pub fn instance(state: PluginState, since: Timestamp) -> PluginInstanceView {
    PluginInstanceView {
        agent: "x".parse().unwrap(),
        state,
        since,
        restarts: 0,
        facts: None,
        problem: None,
        log_tail: Vec::new(),
        retry_at: None,
        free: BTreeMap::new(),
        image_digest: None,
        progress: None,
    }
}

pub fn volume_report(volume_id: VolumeId, state: VolumeState, since: Timestamp) -> VolumeReport {
    VolumeReport {
        volume_id,
        state,
        since,
        csi_volume_id: Some("csi-1".to_owned()),
        capacity: None,
        used: None,
        holders: Vec::new(),
        problem: None,
    }
}

pub fn task_report(id: &TaskId, state: TaskState) -> TaskReport {
    TaskReport {
        task_id: id.clone(),
        instance: TaskInstance::UNKNOWN,
        state,
        exit: None,
        problem: None,
        image_digest: None,
        started_at: (state == TaskState::Running).then_some(Timestamp::UNIX_EPOCH),
        ended_at: None,
        progress: None,
    }
}

pub fn accepted(reply: Reply) -> OperationUuid {
    match reply {
        Reply::Accepted { operation_uuid, .. } | Reply::Forgotten { operation_uuid, .. } => {
            operation_uuid
        }
        other => panic!("{other:?}"),
    }
}

/// Checks a refusal: its kind, and words of its text and hint.
pub fn refused<T: std::fmt::Debug>(result: Result<T, Problem>, kind: ErrorKind, words: &[&str]) {
    let problem = result.expect_err("must be refused");
    assert_eq!(problem.kind, kind, "{problem:?}");
    let text = format!("{problem} | {}", problem.hint.clone().unwrap_or_default());
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
}
