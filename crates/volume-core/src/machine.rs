//! The machine itself: one volume, its record and what is known only while it runs.

use std::collections::BTreeSet;

use sutler_api::Timestamp;
use sutler_api::agent::{Outcome, VolumeAct, VolumeOperation};
use sutler_ids::TaskId;
use sutler_ids::{Boottime, Now};
use sutler_ids::{ErrorKind, Problem};

use crate::call::{Abilities, Rpc};
use crate::event::{Call, CallId, Denied, Effect, Event, Step};
use crate::look::Look;
use crate::plan::{self, Goal};
use crate::record::{InFlight, Known, Mounts, PendingOperation, Phase, Settled, VolumeRecord};
use crate::story::Story;
use crate::verify::Verify;
use crate::{RETRY_MS_MAX, RETRY_MS_MIN};

/// One volume.
#[derive(Debug)]
pub struct Volume {
    pub(crate) record: VolumeRecord,
    pub(crate) live: Live,
}

/// What is not durable, because a restart learns it anew.
#[derive(Debug, Default)]
pub(crate) struct Live {
    /// What the plugin can do, while it answers.
    pub(crate) up: Option<Abilities>,
    /// What the plugin has called this node when it last came up.
    pub(crate) csi_node_id: String,
    pub(crate) open: Option<Open>,
    pub(crate) last_call: u64,
    pub(crate) attempt: u32,
    /// Since when the open call's outcome is not known.
    pub(crate) doubt_since: Option<Timestamp>,
    /// What holds the volume up.
    pub(crate) problem: Option<Problem>,
    pub(crate) retry_at: Option<Boottime>,
    /// When the plugin is asked whether it knows the volume.
    pub(crate) verify: Verify,
    /// A creation of unknown outcome was then refused: the plugin's list must show that
    /// nothing was made before that is believed.
    pub(crate) refused: Option<Problem>,
    /// What the plugin said when it was last asked whether it knows the volume.
    pub(crate) unverified: Option<Problem>,
    /// The file system could not be grown; tried again at the next publish only.
    pub(crate) node_expand_failed: bool,
    pub(crate) look: Look,
    /// Holders that were told of their acquisition.
    pub(crate) told: BTreeSet<TaskId>,
    /// Former holders that were not told yet of their release.
    pub(crate) leaving: BTreeSet<TaskId>,
    pub(crate) story: Story,
    pub(crate) effects: Vec<Effect>,
}

/// A call that was made and has not answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Open {
    pub(crate) call_id: CallId,
    pub(crate) rpc: Rpc,
}

impl Volume {
    /// Takes a Create operation for a volume that has no record.
    ///
    /// The plugin's state is unknown until [`Event::PluginUp`] comes.
    pub fn create(
        operation: &VolumeOperation,
        boot_id: &str,
        now: Now,
    ) -> Result<(Self, Step), Denied> {
        let VolumeAct::Create(spec) = &operation.act else {
            return Err(Denied::Absent);
        };
        let record = VolumeRecord {
            spec: spec.clone(),
            phase: Phase::Settled(Settled::Absent),
            known: Known::Yes,
            holders: Default::default(),
            pending: Some(PendingOperation {
                operation_uuid: operation.operation_uuid,
                act: operation.act.clone(),
            }),
            ended: Vec::new(),
            abilities: None,
            node_expand_due: None,
            mounts: Mounts::default(),
            attached_as: None,
            coming_down: false,
            unfit: None,
            boot_id: boot_id.to_owned(),
            since: now.wall,
        };
        let step = Step {
            persist: Some(Box::new(record.clone())),
            cause: "operation",
            effects: Vec::new(),
        };
        let live = Live::default();
        Ok((Self { record, live }, step))
    }

    /// Takes up a volume from its record after a restart of the process or the host.
    pub fn recover(record: VolumeRecord, boot_id: &str, now: Now) -> (Self, Step) {
        // Holders wait for nothing that they have not asked for again since.
        let live = Live {
            told: record.holders.keys().cloned().collect(),
            ..Live::default()
        };
        let mut volume = Self { record, live };
        let before = volume.record.clone();
        if volume.record.boot_id != boot_id {
            let attaches = volume.abilities().unwrap_or_default().attaches;
            volume.record.phase = plan::after_boot(&volume.record.phase, attaches);
            volume.record.boot_id = boot_id.to_owned();
            volume.record.coming_down &= volume.record.is_up();
            volume
                .live
                .story
                .note("the host has booted; its mounts are gone", now);
        }
        if let Phase::InFlight(flight) = &volume.record.phase {
            let (rpc, since) = (flight.rpc, flight.since);
            volume.live.doubt_since = Some(since);
            volume.live.problem = Some(interrupted(rpc));
            volume.live.story.note(
                format!(
                    "{} was under way when this process started again",
                    rpc.csi_name()
                ),
                now,
            );
        }
        let step = volume.step_since(&before, "recover");
        (volume, step)
    }

    /// Gives the durable truth.
    pub fn record(&self) -> &VolumeRecord {
        &self.record
    }

    /// Tells whether the master has been told everything and the record may go.
    pub fn is_gone(&self) -> bool {
        self.record.phase == Phase::Gone
    }

    /// Takes one event.
    ///
    /// # Errors
    /// [`Denied`] says why an operation is not taken; nothing has changed then.
    pub fn on_event(&mut self, event: Event, now: Now) -> Result<Step, Denied> {
        let before = self.record.clone();
        let cause = self.take(event, now)?;
        self.advance(now);
        self.tell(now);
        Ok(self.step_since(&before, cause))
    }

    pub(crate) fn step_since(&mut self, before: &VolumeRecord, cause: &'static str) -> Step {
        let changed = self.record != *before;
        // A new open call is what the record is about, whatever led to it.
        let cause = match (&self.record.phase, &before.phase) {
            (Phase::InFlight(now), Phase::InFlight(old)) if now == old => cause,
            (Phase::InFlight(flight), _) => flight.rpc.intent_label(),
            (Phase::Settled(_) | Phase::Failed(_) | Phase::Gone, _) => cause,
        };
        Step {
            persist: changed.then(|| Box::new(self.record.clone())),
            cause,
            effects: std::mem::take(&mut self.live.effects),
        }
    }

    /// Changes what the event says, and names the change as failpoints do.
    fn take(&mut self, event: Event, now: Now) -> Result<&'static str, Denied> {
        let label = event.label();
        match event {
            Event::Operation(operation) => self.on_operation(operation, now)?,
            Event::Acquire { task_id, read_only } => self.on_acquire(task_id, read_only),
            Event::Release { task_id } => self.on_release(task_id),
            Event::RetainHolders(tasks) => self.retain_holders(&tasks),
            Event::PluginUp {
                abilities,
                csi_node_id,
            } => self.on_plugin_up(abilities, csi_node_id, now),
            Event::PluginDown => self.live.up = None,
            Event::Listed { listed } => self.on_listed(listed),
            Event::Ended {
                call_id,
                result,
                shown,
            } => return Ok(self.on_ended(call_id, (result, shown), now)),
            Event::Watch => self.watch_mount(),
            Event::Stray { mount } => self.on_stray(mount, now),
            Event::Looked { call_id, seen } => self.on_looked(call_id, seen, now),
            Event::Due => self.on_due(now),
        }
        Ok(label)
    }

    fn on_due(&mut self, now: Now) {
        if self.live.retry_at.is_some_and(|at| at <= now.boottime) {
            self.live.retry_at = None;
        }
    }

    fn on_operation(&mut self, operation: VolumeOperation, now: Now) -> Result<(), Denied> {
        let uuid = operation.operation_uuid;
        let mut ended = self.record.ended.iter();
        if ended.any(|ended| ended.operation_uuid == uuid) {
            self.retell(uuid);
            return Ok(());
        }
        if self
            .record
            .pending
            .as_ref()
            .is_some_and(|p| p.operation_uuid == uuid)
        {
            return Ok(());
        }
        match &operation.act {
            VolumeAct::Create(_) => return Err(Denied::Exists),
            VolumeAct::Grow { .. } => self.check_grow()?,
            VolumeAct::Delete => self.make_way_for_delete(now)?,
            VolumeAct::Forget => return self.forget(operation, now),
        }
        self.record.pending = Some(PendingOperation {
            operation_uuid: uuid,
            act: operation.act,
        });
        self.live.retry_at = None;
        // Nothing exists, so no plugin has to be asked.
        let nothing_made = matches!(
            self.record.phase,
            Phase::Failed(_) | Phase::Gone | Phase::Settled(Settled::Absent)
        );
        if nothing_made && self.record.deleting() {
            self.record.phase = Phase::Gone;
            self.end_operation(Outcome::Finished, now);
        }
        Ok(())
    }

    /// The operator's last word: the volume ends here, whatever its plugin has of it. The shell
    /// has seen that nothing of it is mounted; an open call's answer will find nobody.
    fn forget(&mut self, operation: VolumeOperation, now: Now) -> Result<(), Denied> {
        if let Some(holder) = self.record.holders.keys().next() {
            return Err(Denied::InUse(holder.to_string()));
        }
        let problem = Problem::new(ErrorKind::Conflict, "the volume was forgotten");
        self.end_operation(Outcome::Failed(problem), now);
        self.live.open = None;
        self.move_to(Phase::Gone);
        self.record.pending = Some(PendingOperation {
            operation_uuid: operation.operation_uuid,
            act: operation.act,
        });
        self.end_operation(Outcome::Finished, now);
        Ok(())
    }

    fn check_grow(&self) -> Result<(), Denied> {
        if let Some(problem) = &self.record.unfit {
            return Err(Denied::Unable(problem.what.clone()));
        }
        if let Some(pending) = &self.record.pending {
            return Err(Denied::Busy(pending.operation_uuid.to_string()));
        }
        let Some(base) = self.record.base() else {
            return Err(Denied::Absent);
        };
        let Some(abilities) = self.abilities() else {
            return Ok(());
        };
        match plan::growth_refused(base, abilities, self.record.spec.plugin.as_str()) {
            Some(reason) => Err(Denied::Unable(reason)),
            None => Ok(()),
        }
    }

    fn make_way_for_delete(&mut self, now: Now) -> Result<(), Denied> {
        if let Some(holder) = self.record.holders.keys().next() {
            return Err(Denied::InUse(holder.to_string()));
        }
        if self.record.deleting() {
            let pending = self
                .record
                .pending
                .as_ref()
                .expect("deleting() has seen it");
            return Err(Denied::Busy(pending.operation_uuid.to_string()));
        }
        if self.record.pending.is_some() {
            let problem = Problem::new(ErrorKind::Conflict, "the volume's deletion was asked for");
            self.end_operation(Outcome::Failed(problem), now);
        }
        Ok(())
    }

    fn on_plugin_up(&mut self, abilities: Abilities, csi_node_id: String, now: Now) {
        self.live.up = Some(abilities);
        self.note_node_id(&csi_node_id, now);
        self.live.csi_node_id = csi_node_id;
        // Its mounts may have died with the former process.
        self.watch_mount();
        self.live.retry_at = None;
        self.live.attempt = 0;
        self.verify_after_start();
        // What a climb was made with decides how it comes down, so the record's copy only
        // changes at the foot of the ladder.
        let at_foot = match &self.record.phase {
            Phase::Settled(settled) => matches!(settled, Settled::Absent | Settled::Created(_)),
            // Its arguments are those of the first attempt.
            Phase::InFlight(_) | Phase::Failed(_) | Phase::Gone => false,
        };
        if at_foot || self.record.abilities.is_none() {
            self.record.abilities = Some(abilities);
        }
    }

    pub(crate) fn abilities(&self) -> Option<Abilities> {
        self.record.abilities.or(self.live.up)
    }

    /// Makes the next call, if there is one to make.
    fn advance(&mut self, now: Now) {
        self.look(now);
        if self.live.open.is_some() || self.live.up.is_none() {
            return;
        }
        if let Some(at) = self.live.retry_at {
            self.live.effects.push(Effect::WakeAt(at));
            return;
        }
        if let Phase::InFlight(flight) = &self.record.phase {
            let (rpc, goal) = (flight.rpc, plan::goal(&self.record));
            if rpc == Rpc::Create && self.live.refused.is_some() {
                return self.call(Rpc::Verify, now);
            }
            match plan::give_up(flight, goal, now) {
                None => return self.call(rpc, now),
                Some(phase) => self.move_to(phase),
            }
            if let Phase::InFlight(flight) = &self.record.phase {
                return self.call(flight.rpc, now);
            }
        }
        self.advance_settled(now);
    }

    fn advance_settled(&mut self, now: Now) {
        let abilities = self.abilities().expect("the plugin is up, so it has told");
        // Coming down waits for no question: it must be possible of a volume that nobody can or
        // will speak of any more.
        let next = plan::next_rpc(&self.record, abilities);
        let down = next.is_some_and(Rpc::is_down);
        if self.asks_before(next) && !down {
            return self.call(Rpc::Verify, now);
        }
        self.finish_settled_operations(abilities, now);
        let rpc = match self.clear_lost() {
            Some(rpc) => rpc,
            // What is known of the mount decides where to go.
            None if !self.mount_is_trusted() => return,
            None => match plan::next_rpc(&self.record, abilities) {
                Some(rpc) => rpc,
                None => return,
            },
        };
        if matches!(rpc, Rpc::NodeExpand(_)) && self.live.node_expand_failed {
            return;
        }
        let Phase::Settled(from) = &self.record.phase else {
            return;
        };
        self.record.phase = Phase::InFlight(InFlight {
            rpc,
            from: from.clone(),
            since: now.wall,
        });
        if rpc == Rpc::Attach {
            self.record.attached_as = Some(self.live.csi_node_id.clone());
        }
        self.live.attempt = 0;
        self.live.doubt_since = None;
        self.call(rpc, now);
    }

    /// Ends operations that a settled volume has already fulfilled.
    fn finish_settled_operations(&mut self, abilities: Abilities, now: Now) {
        let Phase::Settled(settled) = &self.record.phase else {
            return;
        };
        let Some(pending) = &self.record.pending else {
            return;
        };
        match &pending.act {
            VolumeAct::Grow { capacity } => {
                let Some(created) = settled.created() else {
                    return;
                };
                if *capacity > created.capacity {
                    let plugin = self.record.spec.plugin.as_str();
                    if let Some(reason) = plan::growth_refused(settled, abilities, plugin) {
                        let problem = Problem::new(ErrorKind::Conflict, reason);
                        self.end_operation(Outcome::Failed(problem), now);
                    }
                    return;
                }
                // A node that cannot grow file systems is not waited for.
                let fs_waits = self.record.node_expand_due.is_some()
                    && abilities.expands_node
                    && settled.on_host()
                    && !self.live.node_expand_failed;
                if !fs_waits {
                    self.end_operation(Outcome::Finished, now);
                }
            }
            // A volume that was removed is gone with the answer to its DeleteVolume, and one that
            // is forgotten at once.
            VolumeAct::Delete | VolumeAct::Create(_) | VolumeAct::Forget => {}
        }
    }

    pub(crate) fn settle(&mut self, settled: Settled) {
        self.move_to(Phase::Settled(settled));
    }

    pub(crate) fn move_to(&mut self, phase: Phase) {
        self.record.phase = phase;
        self.record.coming_down &= self.record.is_up();
        self.live.attempt = 0;
        self.live.doubt_since = None;
        self.live.problem = None;
        self.live.retry_at = None;
    }

    fn call(&mut self, rpc: Rpc, now: Now) {
        let call_id = self.next_call_id();
        self.live.open = Some(Open { call_id, rpc });
        self.live.story.begin(rpc, self.live.attempt, now);
        let base = self.record.base();
        let call = Call {
            call_id,
            rpc,
            spec: self.record.spec.clone(),
            created: base.and_then(Settled::created).cloned(),
            publish_context: base.map(Settled::context).unwrap_or_default(),
            csi_node_id: self.csi_node_id_for(rpc),
            abilities: self.abilities().unwrap_or_default(),
        };
        self.live.effects.push(Effect::Call(Box::new(call)));
    }

    pub(crate) fn next_call_id(&mut self) -> CallId {
        self.live.last_call += 1;
        CallId(self.live.last_call)
    }

    pub(crate) fn retry_later(&mut self, wait_ms: u64, now: Now) {
        self.live.retry_at = Some(now.after_ms(wait_ms));
    }

    /// Gives the wait before the next attempt: doubling, saturating.
    pub(crate) fn backoff_ms(&self) -> u64 {
        let factor = 1_u64.checked_shl(self.live.attempt).unwrap_or(u64::MAX);
        RETRY_MS_MIN.saturating_mul(factor).min(RETRY_MS_MAX)
    }

    pub(crate) fn goal(&self) -> Goal {
        plan::goal(&self.record)
    }
}

fn interrupted(rpc: Rpc) -> Problem {
    Problem::new(
        ErrorKind::Unavailable,
        format!(
            "{} was interrupted; its outcome is not known",
            rpc.csi_name()
        ),
    )
}
