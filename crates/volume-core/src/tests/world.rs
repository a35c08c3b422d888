//! A back end that follows the CSI spec and counts breaches of it, and a shell that loses
//! its memory on demand.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sutler_api::Timestamp;
use sutler_api::agent::{Outcome, VolumeAct, VolumeOperation};
use sutler_api::volume::{AccessType, VolumeSpec};
use sutler_ids::{Boottime, Bytes, ErrorKind, Now, Problem};
use sutler_ids::{OperationUuid, TaskId, VolumeId};
use uuid::Uuid;

use crate::*;

pub const ALL: Abilities = Abilities {
    attaches: true,
    stages: true,
    expands_controller: true,
    expands_node: true,
    expands_online: true,
    single_node_modes: false,
    mounts_nothing: false,
};

pub const NONE: Abilities = Abilities {
    attaches: false,
    stages: false,
    expands_controller: false,
    expands_node: false,
    expands_online: false,
    single_node_modes: false,
    mounts_nothing: false,
};

/// The moment so many milliseconds after the start. Its wall clock jumps by up to weeks at each
/// millisecond, either way, so nothing that must happen in time can rest on it.
pub fn at(ms: u64) -> Now {
    let jumps = ms.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    let wall = 1_700_000_000_000 + i64::try_from(jumps).unwrap();
    Now {
        wall: Timestamp::from_millisecond(wall).unwrap(),
        boottime: Boottime::new(Duration::from_millis(ms)),
    }
}

/// The milliseconds that [`at`] was given for this.
pub fn ms_of(deadline: Boottime) -> u64 {
    let since_start = deadline.since(Boottime::default());
    since_start.as_millis().try_into().unwrap()
}

pub fn spec() -> VolumeSpec {
    VolumeSpec {
        volume_id: VolumeId::new(Uuid::from_u128(1)),
        name: "data".parse().unwrap(),
        class: "local".parse().unwrap(),
        plugin: "local".parse().unwrap(),
        capacity: Bytes::mib(10),
        access: AccessType::Mount,
        fs_type: None,
        mount_flags: Vec::new(),
        parameters: BTreeMap::new(),
    }
}

pub fn operation(n: u128, act: VolumeAct) -> VolumeOperation {
    VolumeOperation {
        operation_uuid: OperationUuid::new(Uuid::from_u128(n)),
        volume_id: spec().volume_id,
        act,
    }
}

pub fn task(name: &str) -> TaskId {
    TaskId::new(name).unwrap()
}

pub fn failure(verdict: Verdict, text: &str) -> Failure {
    Failure {
        verdict,
        problem: Problem::new(ErrorKind::Unavailable, text).raw(text),
    }
}

/// The end of a call without a place.
pub fn ended(call_id: CallId, result: Result<Answer, Failure>) -> Event {
    Event::Ended {
        call_id,
        result,
        shown: Shown::NotAsked,
    }
}

pub fn plugin_up(abilities: Abilities) -> Event {
    plugin_up_as(abilities, "node-1")
}

pub fn plugin_up_as(abilities: Abilities, csi_node_id: &str) -> Event {
    Event::PluginUp {
        abilities,
        csi_node_id: csi_node_id.to_owned(),
    }
}

/// The plugin's list, with the volume or without.
pub fn listed(listed: bool) -> Event {
    Event::Listed { listed }
}

/// What a plugin says of a volume that it has made here.
pub fn made(id: &str, capacity: Bytes) -> Made {
    Made {
        csi_volume_id: id.to_owned(),
        driver: "local.example".to_owned(),
        capacity: Some(capacity),
        volume_context: BTreeMap::new(),
        topology: Vec::new(),
        here: Segments::new(),
        also: None,
    }
}

/// What the back end and the host really hold.
#[derive(Debug, Clone, Default)]
pub struct Backend {
    pub volumes: BTreeMap<String, Bytes>,
    pub attached: bool,
    pub staged: bool,
    pub published: bool,
    /// Whether the kernel shows what was staged and published.
    pub staging_mounted: bool,
    pub target_mounted: bool,
    pub creations: u32,
    pub breaches: Vec<String>,
}

impl Backend {
    /// A boot forgets every mount.
    pub fn forget_mounts(&mut self) {
        self.staged = false;
        self.published = false;
        self.staging_mounted = false;
        self.target_mounted = false;
    }

    pub fn shows(&self, mount: Mount) -> bool {
        match mount {
            Mount::Staging => self.staging_mounted,
            Mount::Target => self.target_mounted,
        }
    }

    fn breach(&mut self, law: &str) {
        self.breaches.push(law.to_owned());
    }

    /// What the kernel shows at the place of a call that has ended.
    pub fn shown_after(&self, rpc: Rpc, result: &Result<Answer, Failure>) -> Shown {
        let (mount, path) = match rpc {
            Rpc::Stage | Rpc::Unstage => (Mount::Staging, "/v/staging"),
            Rpc::Publish | Rpc::Unpublish => (Mount::Target, "/v/target"),
            _ => return Shown::NotAsked,
        };
        let up = matches!(rpc, Rpc::Stage | Rpc::Publish);
        let not_found = |failure: &Failure| failure.verdict == Verdict::NotFound;
        match result {
            Err(failure) if up || !not_found(failure) => Shown::NotAsked,
            Ok(_) | Err(_) if self.shows(mount) => Shown::Mounted(path.to_owned()),
            Ok(_) | Err(_) => Shown::Nothing(path.to_owned()),
        }
    }

    /// Carries a call out as a faithful plugin would.
    pub fn carry_out(&mut self, call: &Call) -> Result<Answer, Failure> {
        let id = call.spec.volume_id.csi_name();
        if call.rpc == Rpc::Create {
            if !self.volumes.contains_key(&id) {
                self.creations += 1;
                self.volumes.insert(id.clone(), call.spec.capacity);
            }
            return Ok(Answer::Made(made(&id, call.spec.capacity)));
        }
        let known = self.volumes.contains_key(&id);
        if call.rpc == Rpc::Verify && call.created.is_none() {
            let found = failure(Verdict::Uncertain, "lists an unknown volume");
            return if known { Err(found) } else { Ok(Answer::Done) };
        }
        if !known && !matches!(call.rpc, Rpc::Delete) {
            return Err(failure(Verdict::NotFound, "no such volume"));
        }
        self.carry_out_known(call, &id)
    }

    fn carry_out_known(&mut self, call: &Call, id: &str) -> Result<Answer, Failure> {
        let able = match call.rpc {
            Rpc::Attach | Rpc::Detach => call.abilities.attaches,
            Rpc::Stage | Rpc::Unstage => call.abilities.stages,
            Rpc::ControllerExpand(_) => call.abilities.expands_controller,
            Rpc::NodeExpand(_) => call.abilities.expands_node,
            Rpc::Create | Rpc::Delete | Rpc::Publish | Rpc::Unpublish | Rpc::Verify => true,
        };
        if !able {
            self.breach("asked for what it never said it could do");
        }
        match call.rpc {
            Rpc::Attach => {
                self.attached = true;
                return Ok(Answer::Attached(BTreeMap::from([(
                    "dev".into(),
                    "x".into(),
                )])));
            }
            Rpc::Stage => {
                self.staged = true;
                self.staging_mounted = true;
            }
            Rpc::Publish => {
                if call.abilities.stages && !self.staged {
                    self.breach("published before staged");
                }
                self.published = true;
                self.target_mounted = true;
            }
            Rpc::Unpublish => {
                self.published = false;
                self.target_mounted = false;
            }
            Rpc::Unstage => {
                if self.published {
                    self.breach("unstaged while published");
                }
                self.staged = false;
                self.staging_mounted = false;
            }
            Rpc::Detach => {
                if self.published || self.staged {
                    self.breach("detached while in use");
                }
                self.attached = false;
            }
            Rpc::Delete => {
                if self.published || self.staged || self.attached {
                    self.breach("deleted while in use");
                }
                self.volumes.remove(id);
            }
            Rpc::ControllerExpand(to) => {
                self.volumes.insert(id.to_owned(), to);
                return Ok(Answer::Expanded(Expanded {
                    capacity: to,
                    node_expansion_required: true,
                }));
            }
            Rpc::NodeExpand(_) => {
                if !self.published && !self.staged {
                    self.breach("file system grown while not here");
                }
            }
            Rpc::Create | Rpc::Verify => {}
        }
        Ok(Answer::Done)
    }
}

/// A shell with one volume, a disk that keeps its record, and a budget of steps after
/// which it dies.
pub struct World {
    pub backend: Backend,
    pub disk: Option<VolumeRecord>,
    pub volume: Option<Volume>,
    pub abilities: Abilities,
    pub clock_ms: u64,
    pub boot: u32,
    /// Dies when this many places were passed; every durable write and every call has one
    /// before and one after.
    pub dies_after: Option<u32>,
    pub places: u32,
    /// Answers instead of work, each once: the plugin says so and has done nothing.
    pub lies: Vec<(Rpc, Answer)>,
    /// What the driver calls this node.
    pub csi_node_id: &'static str,
    /// The calls that were made.
    pub calls: Vec<Call>,
    pub left_behind: BTreeMap<OperationUuid, Option<String>>,
    pub outcomes: BTreeMap<OperationUuid, Outcome>,
    pub acquired: BTreeMap<TaskId, Result<(), String>>,
    pub released: BTreeSet<TaskId>,
    pub trail: Vec<String>,
}

/// The shell has died.
#[derive(Debug)]
pub struct Died;

impl World {
    pub fn new(abilities: Abilities) -> Self {
        Self {
            backend: Backend::default(),
            disk: None,
            volume: None,
            abilities,
            clock_ms: 0,
            boot: 1,
            dies_after: None,
            places: 0,
            lies: Vec::new(),
            csi_node_id: "node-1",
            calls: Vec::new(),
            left_behind: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            acquired: BTreeMap::new(),
            released: BTreeSet::new(),
            trail: Vec::new(),
        }
    }

    pub fn now(&mut self) -> Now {
        self.clock_ms += 1;
        at(self.clock_ms)
    }

    fn place(&mut self) -> Result<(), Died> {
        self.places += 1;
        match self.dies_after {
            Some(n) if self.places > n => {
                self.volume = None;
                self.dies_after = None;
                Err(Died)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Starts again from the disk, as the shell does.
    pub fn restart(&mut self) -> Result<(), Died> {
        self.volume = None;
        let Some(record) = self.disk.clone() else {
            return Ok(());
        };
        let now = self.now();
        let (volume, step) = Volume::recover(record, &self.boot.to_string(), now);
        self.volume = Some(volume);
        self.act(step)?;
        self.send(plugin_up_as(self.abilities, self.csi_node_id))
    }

    /// The host boots: mounts are gone.
    pub fn reboot(&mut self) -> Result<(), Died> {
        self.boot += 1;
        self.backend.forget_mounts();
        self.restart()
    }

    pub fn operate(&mut self, operation: VolumeOperation) -> Result<(), Died> {
        if self.volume.is_some() || self.disk.is_some() {
            return self.send(Event::Operation(operation));
        }
        let now = self.now();
        let (volume, step) =
            Volume::create(&operation, &self.boot.to_string(), now).expect("is a Create");
        self.volume = Some(volume);
        self.act(step)?;
        self.send(plugin_up_as(self.abilities, self.csi_node_id))
    }

    pub fn send(&mut self, event: Event) -> Result<(), Died> {
        let now = self.now();
        let Some(volume) = self.volume.as_mut() else {
            return Ok(());
        };
        match volume.on_event(event, now) {
            Ok(step) => self.act(step),
            Err(_denied) => Ok(()),
        }
    }

    fn looks_again(&self) -> bool {
        let at = self.volume.as_ref().and_then(Volume::looks_again_at);
        at.is_some()
    }

    fn act(&mut self, step: Step) -> Result<(), Died> {
        if let Some(record) = step.persist {
            self.place()?;
            self.disk = Some(*record);
            self.place()?;
        }
        for effect in step.effects {
            self.do_effect(effect)?;
        }
        Ok(())
    }

    fn do_effect(&mut self, effect: Effect) -> Result<(), Died> {
        match effect {
            Effect::Call(call) => {
                self.trail.push(call.rpc.label().to_owned());
                self.calls.push((*call).clone());
                self.place()?;
                let lie = self.lies.iter().position(|(rpc, _)| *rpc == call.rpc);
                let result = match lie {
                    Some(n) => Ok(self.lies.remove(n).1),
                    None => self.backend.carry_out(&call),
                };
                self.place()?;
                let shown = self.backend.shown_after(call.rpc, &result);
                return self.send(Event::Ended {
                    call_id: call.call_id,
                    result,
                    shown,
                });
            }
            Effect::Look { call_id, mount } => {
                let seen = seen(self.backend.shows(mount));
                return self.send(Event::Looked { call_id, seen });
            }
            // A look that is repeated for ever shows the same until the test does something.
            Effect::WakeAt(_) if self.looks_again() => {}
            Effect::WakeAt(time) => {
                self.clock_ms = self.clock_ms.max(ms_of(time));
                return self.send(Event::Due);
            }
            Effect::TellOperation(report) => {
                let outcome = report.outcome.clone();
                self.left_behind
                    .insert(report.operation_uuid, report.left_behind);
                let before = self.outcomes.insert(report.operation_uuid, report.outcome);
                assert!(
                    before.is_none_or(|before| before == outcome),
                    "an operation's outcome changed"
                );
            }
            Effect::TellAcquired { task_id, result } => {
                if result.is_ok() {
                    assert!(
                        self.backend.published && self.backend.target_mounted,
                        "told of a publication that is not there"
                    );
                }
                self.acquired
                    .insert(task_id, result.map_err(|problem| problem.what));
            }
            Effect::TellReleased { task_id } => {
                self.released.insert(task_id);
            }
        }
        Ok(())
    }

    /// Checks the laws that hold at rest.
    pub fn check(&self) {
        assert_eq!(
            self.backend.breaches,
            Vec::<String>::new(),
            "trail {:?}",
            self.trail
        );
        let id = spec().volume_id.csi_name();
        let exists = self.backend.volumes.contains_key(&id);
        let Some(record) = &self.disk else {
            assert!(!exists, "a volume without a record: leaked");
            return;
        };
        // A volume that the books call missing is not in the back end.
        let booked = record.created().is_some() && record.known == Known::Yes;
        assert_eq!(exists, booked, "books differ from the back end: {record:?}");
        let outcome = self.outcomes.get(&OperationUuid::new(Uuid::from_u128(1)));
        if outcome == Some(&Outcome::Finished) && !record.ended.iter().any(|_| !exists) {
            assert!(exists, "told FINISHED, and it is not there");
        }
        if record.holders.is_empty() {
            assert!(!self.backend.published && !self.backend.staged && !self.backend.attached);
        }
    }
}

/// What a look tells that has an answer.
pub(super) fn seen(stands: bool) -> Seen {
    match stands {
        true => Seen::Stands,
        false => Seen::Gone(Problem::new(ErrorKind::Unavailable, "it is gone")),
    }
}
