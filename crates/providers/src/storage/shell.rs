//! The loop: events in, one durable commit, effects out. Makes no decision of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sutler_api::agent::{OperationReport, Outcome, VolumeAct, VolumeOperation};
use sutler_csi::{LaneWidths, Lanes};
use sutler_host::clock;
use sutler_ids::{Boottime, Problem};
use sutler_ids::{PluginName, TaskId, VolumeId};
use sutler_store::{Batch, CommitError, Loaded};
use sutler_telemetry::failpoint;
use sutler_volume_core::{Call, Denied, Effect, Event, Rpc, Step, Volume, VolumeRecord};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};

use super::calls::{Job, Plugin};
use super::host_state::VolumePaths;
use super::identities::Identities;
use super::introduction::{introduced, plugin_gone};
use super::look::Looks;
use super::outbox::Outbox;
use super::says::{denial, no_record};
use super::wakes::Wakes;
use super::{Input, PluginUp, Published, StorageConfig, StorageEvent, VOLUMES};

/// Most inputs gathered into one commit: enough for group commit to pay, few enough that
/// the first of them does not wait long.
const BATCH_MAX: usize = 256;
/// How often bytes used are asked for of volumes in use.
const STATS_EVERY: Duration = Duration::from_secs(60);
/// How long calls in flight are waited for when the journal has failed.
const DRAIN_WAIT: Duration = Duration::from_secs(10);

pub(crate) struct Shell {
    pub(crate) config: StorageConfig,
    // Boxed: a table of large values is mostly room for more.
    pub(crate) volumes: HashMap<VolumeId, Box<Volume>>,
    pub(crate) plugins: HashMap<PluginName, Arc<Plugin>>,
    wakes: Wakes,
    pub(crate) identities: Identities,
    pub(crate) outbox: Outbox,
    // Weak, so that the loop ends with its last handle.
    pub(crate) inputs: mpsc::WeakUnboundedSender<Input>,
    pub(crate) out: mpsc::UnboundedSender<StorageEvent>,
    pub(crate) calls: JoinSet<()>,
    /// Volumes of which the use was asked and not told yet.
    pub(crate) stats_open: HashSet<VolumeId>,
    pub(crate) looks: Looks,
    /// Plugins whose list failed; tried again by and by.
    pub(crate) audits_due: BTreeSet<PluginName>,
    /// Mounts of no volume, as last told.
    pub(crate) nobodys: BTreeSet<PathBuf>,
    /// Records that cannot be read, by key, and why.
    pub(crate) damaged: BTreeMap<String, String>,
    /// Volumes that the master's books have here, since it has told.
    pub(crate) wanted: Option<HashSet<VolumeId>>,
    /// Steps of the batch that is being gathered.
    steps: Vec<(VolumeId, Step)>,
    pub(crate) forgotten: Vec<VolumeId>,
}

impl Shell {
    pub(crate) fn new(
        config: StorageConfig,
        loaded: Loaded,
        inputs: mpsc::WeakUnboundedSender<Input>,
        out: mpsc::UnboundedSender<StorageEvent>,
    ) -> Self {
        let mut shell = Self {
            looks: Looks::new(config.look_within),
            config,
            volumes: HashMap::new(),
            plugins: HashMap::new(),
            wakes: Wakes::default(),
            identities: Identities::default(),
            outbox: Outbox::default(),
            inputs,
            out,
            calls: JoinSet::new(),
            stats_open: HashSet::new(),
            audits_due: BTreeSet::new(),
            nobodys: BTreeSet::new(),
            damaged: BTreeMap::new(),
            wanted: None,
            steps: Vec::new(),
            forgotten: Vec::new(),
        };
        for damaged in loaded.damaged {
            shell.damaged(&damaged.key, damaged.what);
        }
        for (key, bytes) in &loaded.records {
            shell.recover_one(key, bytes);
        }
        shell.tell_problem();
        shell
    }

    fn recover_one(&mut self, key: &str, bytes: &[u8]) {
        match serde_json::from_slice::<VolumeRecord>(bytes) {
            Ok(record) if record.spec.volume_id.to_string() == key => {
                let volume_id = record.spec.volume_id;
                let (volume, step) = Volume::recover(record, &self.config.boot_id, clock::now());
                self.identities.is(volume_id, volume.record().created());
                self.volumes.insert(volume_id, Box::new(volume));
                self.steps.push((volume_id, step));
            }
            Ok(_) => self.damaged(key, "is filed under another id".to_owned()),
            Err(error) => self.damaged(key, error.to_string()),
        }
    }

    /// Runs until every handle is gone or the journal fails.
    pub(crate) async fn run(mut self, mut inputs: mpsc::UnboundedReceiver<Input>) {
        let mut stats = tokio::time::interval(STATS_EVERY);
        stats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            // An effect may lead to a step at once; none is left behind when we wait.
            while !(self.steps.is_empty() && self.forgotten.is_empty()) {
                if let Err(error) = self.commit_and_act().await {
                    return self.fail(error).await;
                }
            }
            // Cancel-safe: `recv` loses nothing, the timers are re-made each round, and a
            // finished call has already sent its end as an input.
            tokio::select! {
                input = inputs.recv() => match input {
                    Some(input) => self.take_batch(input, &mut inputs),
                    None => return,
                },
                () = sleep_until(self.wakes.first()) => self.wake(),
                _ = stats.tick() => {
                    self.watch_mounts();
                    self.ask_stats();
                    self.audit_again();
                    self.sweep();
                }
                Some(ended) = self.calls.join_next() => no_panic(ended),
            }
        }
    }

    fn take_batch(&mut self, first: Input, inputs: &mut mpsc::UnboundedReceiver<Input>) {
        self.take(first);
        for _ in 1..BATCH_MAX {
            match inputs.try_recv() {
                Ok(input) => self.take(input),
                Err(_) => return,
            }
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Submit(operation) => self.submit(operation),
            Input::Acquire {
                volume_id,
                task_id,
                read_only,
            } => {
                self.acquire(volume_id, task_id, read_only);
            }
            Input::Release { volume_id, task_id } => self.release(volume_id, task_id),
            Input::RetainHolders(holders) => self.retain_holders(&holders),
            Input::Forget(volume_id) => self.forget(volume_id),
            Input::Wanted(volume_ids) => self.compare(volume_ids),
            Input::PluginUp(name, up) => self.plugin_up(name, *up),
            Input::PluginDown(name) => {
                self.plugins.remove(&name);
                self.send_to_volumes_of(&name, &Event::PluginDown);
            }
            Input::TellAll => self.tell_all(),
            Input::Why(volume_id, answer) => {
                let volume = self.volumes.get(&volume_id);
                let why = volume.map(|volume| volume.why(clock::now()));
                let _ = answer.send(why);
            }
            Input::VolumesOf(name, answer) => {
                let records = self.volumes.values().map(|volume| volume.record());
                let of_plugin = records.filter(|record| record.spec.plugin == name);
                let _ = answer.send(of_plugin.filter(|r| r.maybe_on_host()).count());
            }
            Input::Ended(ended) => self.ended(ended),
            Input::Listed(audit) => self.audited(*audit),
            Input::Mounted(found) => self.mounted(found),
            Input::Looked(volume_id, call_id, seen) => {
                self.send(volume_id, Event::Looked { call_id, seen });
            }
            Input::Used(volume_id, used) => self.used(volume_id, used),
        }
    }

    pub(crate) fn send(&mut self, volume_id: VolumeId, event: Event) -> Option<Denied> {
        let volume = self.volumes.get_mut(&volume_id)?;
        match volume.on_event(event, clock::now()) {
            Ok(step) => {
                if step.persist.is_some() {
                    let created = volume.record().created();
                    self.identities.is(volume_id, created);
                }
                self.steps.push((volume_id, step));
                None
            }
            Err(denied) => Some(denied),
        }
    }

    fn submit(&mut self, operation: VolumeOperation) {
        let (volume_id, operation_uuid) = (operation.volume_id, operation.operation_uuid);
        let forgets = matches!(operation.act, VolumeAct::Forget);
        let denied = if let Some(mounted) = self.still_mounted(&operation) {
            Some(mounted)
        } else if self.volumes.contains_key(&volume_id) {
            self.send(volume_id, Event::Operation(operation))
        } else if matches!(operation.act, VolumeAct::Create(_)) {
            self.create(&operation)
        } else if forgets {
            self.nobodys_mount(volume_id).or(Some(Denied::Absent))
        } else {
            Some(Denied::Absent)
        };
        let Some(denied) = denied else { return };
        let problem = denial(&denied);
        let now = clock::now();
        if let Some(volume) = self.volumes.get_mut(&volume_id) {
            let step = volume.refuse(operation_uuid, problem, now);
            self.steps.push((volume_id, step));
            return;
        }
        let report = OperationReport {
            operation_uuid,
            volume_id,
            outcome: match denied {
                // There is nothing to forget.
                Denied::Absent if forgets => Outcome::Finished,
                _ => Outcome::Failed(problem),
            },
            left_behind: None,
            at: now.wall,
        };
        let _ = self.out.send(StorageEvent::Operation(report));
    }

    fn create(&mut self, operation: &VolumeOperation) -> Option<Denied> {
        let now = clock::now();
        match Volume::create(operation, &self.config.boot_id, now) {
            Ok((volume, step)) => {
                let volume_id = operation.volume_id;
                self.is_wanted(volume_id);
                let plugin = volume.record().spec.plugin.clone();
                self.volumes.insert(volume_id, Box::new(volume));
                self.steps.push((volume_id, step));
                if let Some(up) = self.plugins.get(&plugin) {
                    let up = introduced(&up.up);
                    self.send(volume_id, up);
                }
                None
            }
            Err(denied) => Some(denied),
        }
    }

    fn acquire(&mut self, volume_id: VolumeId, task_id: TaskId, read_only: bool) {
        if self.volumes.contains_key(&volume_id) {
            self.send(volume_id, Event::Acquire { task_id, read_only });
            return;
        }
        let result = Err(no_record(volume_id));
        let _ = self.out.send(StorageEvent::Acquired {
            volume_id,
            task_id,
            result,
        });
    }

    fn release(&mut self, volume_id: VolumeId, task_id: TaskId) {
        if self.volumes.contains_key(&volume_id) {
            self.send(volume_id, Event::Release { task_id });
        } else {
            let _ = self.out.send(StorageEvent::Released { volume_id, task_id });
        }
    }

    fn retain_holders(&mut self, holders: &[(VolumeId, TaskId)]) {
        let mut of_volume: HashMap<VolumeId, BTreeSet<TaskId>> = HashMap::new();
        for (volume_id, task_id) in holders {
            let tasks = of_volume.entry(*volume_id).or_default();
            tasks.insert(task_id.clone());
        }
        // The others have nobody to let go.
        let held = self.volumes.iter().filter(|(_, volume)| volume.is_held());
        for volume_id in held.map(|(id, _)| *id).collect::<Vec<_>>() {
            let tasks = of_volume.remove(&volume_id).unwrap_or_default();
            self.send(volume_id, Event::RetainHolders(tasks));
        }
    }

    fn forget(&mut self, volume_id: VolumeId) {
        self.forget_damaged(volume_id);
        let over = |volume: &Volume| {
            matches!(
                volume.record().phase,
                sutler_volume_core::Phase::Gone | sutler_volume_core::Phase::Failed(_)
            )
        };
        if self
            .volumes
            .get(&volume_id)
            .is_some_and(|volume| over(volume))
        {
            self.volumes.remove(&volume_id);
            self.wakes.forget(volume_id);
            self.identities.is(volume_id, None);
            self.outbox.forget(volume_id);
            self.forgotten.push(volume_id);
        }
    }

    fn plugin_up(&mut self, name: PluginName, up: PluginUp) {
        let event = introduced(&up);
        let width = NonZeroUsize::try_from(up.lanes).unwrap_or(NonZeroUsize::MAX);
        let lanes = Lanes::new(LaneWidths::all(width));
        let plugin = Plugin {
            up,
            lanes,
            name: name.to_string(),
        };
        self.plugins.insert(name.clone(), Arc::new(plugin));
        self.send_to_volumes_of(&name, &event);
        self.audit(&name);
        // What its former run was still at has ended by now.
        self.sweep();
    }

    fn send_to_volumes_of(&mut self, plugin: &PluginName, event: &Event) {
        let of_plugin = self
            .volumes
            .iter()
            .filter(|(_, v)| v.record().spec.plugin == *plugin);
        let volume_ids: Vec<VolumeId> = of_plugin.map(|(id, _)| *id).collect();
        for volume_id in volume_ids {
            self.send(volume_id, event.clone());
        }
    }

    fn wake(&mut self) {
        for volume_id in self.wakes.take_due(clock::now().boottime) {
            self.send(volume_id, Event::Due);
        }
    }

    /// Makes the gathered steps durable, then acts on them. Nothing is told or called
    /// before.
    async fn commit_and_act(&mut self) -> Result<(), CommitError> {
        let steps = std::mem::take(&mut self.steps);
        let forgotten = std::mem::take(&mut self.forgotten);
        let mut batch = Batch::new();
        let mut causes = Vec::new();
        for (volume_id, step) in &steps {
            // A volume forgotten within this batch must not come back.
            if let Some(record) = &step.persist
                && !forgotten.contains(volume_id)
            {
                batch.put(VOLUMES, &volume_id.to_string(), record);
                causes.push(step.cause);
            }
        }
        for volume_id in &forgotten {
            batch.delete(VOLUMES, &volume_id.to_string());
            causes.push("forget");
        }
        if !batch.is_empty() {
            hit_all(&causes, "before");
            self.config.store.commit(batch).await?;
            hit_all(&causes, "after");
        }
        for (volume_id, step) in steps {
            for effect in step.effects {
                self.act(volume_id, effect);
            }
            self.tell(volume_id);
        }
        Ok(())
    }

    fn act(&mut self, volume_id: VolumeId, effect: Effect) {
        match effect {
            Effect::Call(call) => self.call(*call),
            Effect::Look { call_id, mount } => self.look(volume_id, call_id, mount),
            Effect::WakeAt(at) => {
                self.wakes.set(volume_id, at);
            }
            Effect::TellOperation(report) => {
                let _ = self.out.send(StorageEvent::Operation(report));
            }
            Effect::TellAcquired { task_id, result } => {
                let result = result.and_then(|()| self.published(volume_id));
                let _ = self.out.send(StorageEvent::Acquired {
                    volume_id,
                    task_id,
                    result,
                });
            }
            Effect::TellReleased { task_id } => {
                let _ = self.out.send(StorageEvent::Released { volume_id, task_id });
            }
        }
    }

    fn published(&self, volume_id: VolumeId) -> Result<Published, Problem> {
        let volume = self.volumes.get(&volume_id);
        let spec = &volume.ok_or_else(|| no_record(volume_id))?.record().spec;
        let (plugin, access) = (spec.plugin.clone(), spec.access);
        let path = VolumePaths::new(&self.config.volumes_dir, &plugin, volume_id).target();
        Ok(Published {
            plugin,
            path,
            access,
        })
    }

    fn call(&mut self, call: Call) {
        let spec = &call.spec;
        // Overtaken within its batch: no intent of it was written.
        let volume = self.volumes.get(&spec.volume_id);
        if volume.is_none_or(|volume| volume.is_gone()) {
            return;
        }
        let Some(plugin) = self.plugins.get(&spec.plugin) else {
            // The plugin went down in this very batch; its return begins the call anew.
            let volume_id = spec.volume_id;
            self.send(volume_id, plugin_gone(&call));
            return;
        };
        let job = Job {
            plugin: Arc::clone(plugin),
            paths: VolumePaths::new(&self.config.volumes_dir, &spec.plugin, spec.volume_id),
            booked: match call.rpc == Rpc::Verify && call.created.is_none() {
                true => self.booked(&spec.plugin),
                false => BTreeSet::new(),
            },
            call,
        };
        let Some(inputs) = self.inputs.upgrade() else {
            return;
        };
        self.calls.spawn(async move {
            let _ = inputs.send(Input::Ended(job.run().await));
        });
    }

    async fn fail(mut self, error: CommitError) {
        tracing::error!(cause = %sutler_telemetry::chain(&error), "the agent's journal failed");
        // Calls in flight are waited for, so that a recovered provider does not repeat one
        // while the first still runs.
        let drain = async { while self.calls.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(DRAIN_WAIT, drain).await;
        let _ = self.out.send(StorageEvent::Failed(error));
    }
}

/// A panic in a call is a broken invariant; its volume would wait for ever.
fn no_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}

fn hit_all(causes: &[&str], side: &str) {
    for cause in causes {
        failpoint::hit(&format!("agent.volume.record.{cause}.{side}"));
    }
}

async fn sleep_until(deadline: Option<Boottime>) {
    match deadline {
        None => std::future::pending().await,
        Some(_) => tokio::time::sleep(clock::sleep_until(deadline)).await,
    }
}
