//! What holders, and people who look, are told of a volume.

use sutler_api::agent::{AgentWhy, VolumeReport};
use sutler_api::volume::{VolumeHolder, VolumeState};
use sutler_ids::Problem;
use sutler_ids::{ErrorKind, Now};

use crate::call::Rpc;
use crate::event::Effect;
use crate::machine::Volume;
use crate::plan::{self, Goal};
use crate::record::{Known, Phase, Settled};

impl Volume {
    /// Tells holders what has become of their wishes.
    pub(crate) fn tell(&mut self, now: Now) {
        let state = self.state();
        // The first state that a process sees is no change: a restart keeps `since`.
        if self.live.story.set_state(state) {
            self.record.since = now.wall;
        }
        self.tell_acquired();
        self.tell_released();
    }

    fn tell_acquired(&mut self) {
        let published = match &self.record.phase {
            Phase::Settled(settled) => matches!(settled, Settled::Published(..)),
            // A file system that is being grown is waited for, unless that is in trouble.
            Phase::InFlight(flight) => {
                matches!(flight.from, Settled::Published(..))
                    && match flight.rpc {
                        Rpc::ControllerExpand(_) => true,
                        Rpc::NodeExpand(_) => self.live.doubt_since.is_some(),
                        Rpc::Create
                        | Rpc::Delete
                        | Rpc::Attach
                        | Rpc::Detach
                        | Rpc::Stage
                        | Rpc::Unstage
                        | Rpc::Publish
                        | Rpc::Unpublish
                        | Rpc::Verify => false,
                    }
            }
            Phase::Failed(_) | Phase::Gone => false,
        };
        if !published || self.record.coming_down || !self.mount_is_trusted() {
            return;
        }
        let live = &mut self.live;
        for task_id in self.record.holders.keys() {
            if live.told.insert(task_id.clone()) {
                let task_id = task_id.clone();
                live.effects.push(Effect::TellAcquired {
                    task_id,
                    result: Ok(()),
                });
            }
        }
    }

    /// A former holder is told at once when others hold the volume, or when coming down has
    /// met trouble: its own end must not wait for that.
    fn tell_released(&mut self) {
        if self.live.leaving.is_empty() {
            return;
        }
        let down = match &self.record.phase {
            Phase::Settled(settled) => {
                matches!(settled, Settled::Absent | Settled::Created(_))
            }
            Phase::InFlight(flight) => matches!(flight.rpc, Rpc::Create | Rpc::Delete),
            Phase::Failed(_) | Phase::Gone => true,
        };
        let trouble = self.live.problem.is_some() || self.live.up.is_none();
        if down || trouble || !self.record.holders.is_empty() {
            for task_id in std::mem::take(&mut self.live.leaving) {
                self.live.effects.push(Effect::TellReleased { task_id });
            }
        }
    }

    /// Gives where the volume is in its life, in the words that users see.
    pub fn state(&self) -> VolumeState {
        if matches!(self.record.known, Known::No { .. }) && !self.record.deleting() {
            return VolumeState::Missing;
        }
        if self.live.doubt_since.is_some() {
            return VolumeState::Uncertain;
        }
        if self.record.unfit.is_some() && !self.record.deleting() {
            return VolumeState::Failed;
        }
        match &self.record.phase {
            Phase::Failed(_) => VolumeState::Failed,
            Phase::Gone => VolumeState::Deleting,
            Phase::InFlight(flight) => match flight.rpc {
                Rpc::Create => VolumeState::Creating,
                Rpc::Delete => VolumeState::Deleting,
                Rpc::ControllerExpand(_) | Rpc::NodeExpand(_) => VolumeState::Growing,
                Rpc::Attach | Rpc::Stage | Rpc::Publish => VolumeState::Preparing,
                Rpc::Detach | Rpc::Unstage | Rpc::Unpublish => self.coming_down(),
                Rpc::Verify => VolumeState::Ready,
            },
            Phase::Settled(settled) => self.settled_state(settled),
        }
    }

    fn coming_down(&self) -> VolumeState {
        if self.record.deleting() {
            VolumeState::Deleting
        } else if self.record.holders.is_empty() {
            VolumeState::Releasing
        } else {
            // A lost mount is cleared away for somebody who waits for it.
            VolumeState::Preparing
        }
    }

    fn settled_state(&self, settled: &Settled) -> VolumeState {
        match (self.goal(), settled) {
            (Goal::Absent, _) => VolumeState::Deleting,
            (Goal::Created | Goal::Published, Settled::Absent) => VolumeState::Creating,
            (Goal::Published, Settled::Published(..)) => VolumeState::InUse,
            (Goal::Published, _) => VolumeState::Preparing,
            (Goal::Created, Settled::Created(_)) => VolumeState::Ready,
            (Goal::Created, _) => VolumeState::Releasing,
        }
    }

    /// Gives what is wrong with the volume, if something is.
    pub fn problem(&self) -> Option<Problem> {
        if let Phase::Failed(problem) = &self.record.phase {
            return Some(problem.clone());
        }
        if let Some(problem) = self
            .record
            .unfit
            .as_ref()
            .filter(|_| !self.record.deleting())
        {
            return Some(problem.clone());
        }
        if matches!(self.record.known, Known::No { .. }) && !self.record.deleting() {
            return Some(self.missing_problem());
        }
        let live = &self.live;
        let problem = live.problem.as_ref().or(self.mount_problem());
        let problem = problem.or(live.unverified.as_ref()).cloned();
        problem.or_else(|| self.waits_for_plugin().then(|| self.plugin_away()))
    }

    /// Whether there is a call to make and no plugin to make it to.
    fn waits_for_plugin(&self) -> bool {
        let owed = match &self.record.phase {
            Phase::InFlight(_) => true,
            Phase::Settled(_) => {
                let abilities = self.abilities().unwrap_or_default();
                plan::next_rpc(&self.record, abilities).is_some()
            }
            Phase::Failed(_) | Phase::Gone => false,
        };
        owed && self.live.up.is_none() && self.live.open.is_none()
    }

    fn plugin_away(&self) -> Problem {
        let plugin = &self.record.spec.plugin;
        let what = format!("waits for plugin {plugin}, which does not answer");
        let hint = format!("sutler plugin show {plugin}");
        Problem::new(ErrorKind::Unavailable, what).hint(hint)
    }

    /// Gives the volume's state for the master.
    pub fn report(&self) -> VolumeReport {
        let created = self.record.created();
        let holders = self
            .record
            .holders
            .iter()
            .map(|(task_id, read_only)| VolumeHolder {
                task_id: task_id.clone(),
                read_only: *read_only,
            });
        VolumeReport {
            volume_id: self.record.spec.volume_id,
            state: self.state(),
            since: self.live.doubt_since.unwrap_or(self.record.since),
            csi_volume_id: created.map(|created| created.csi_volume_id.clone()),
            capacity: created.map(|created| created.capacity),
            used: None,
            holders: holders.collect(),
            problem: self.problem(),
        }
    }

    /// Tells the volume's story.
    pub fn why(&self, now: Now) -> AgentWhy {
        let problem = self.problem();
        AgentWhy {
            steps: self.live.story.steps(),
            cause: problem.as_ref().map(|problem| problem.what.clone()),
            raw: problem.as_ref().and_then(|problem| problem.raw.clone()),
            next: self.next_sentence(now, problem.as_ref()),
        }
    }

    fn next_sentence(&self, now: Now, problem: Option<&Problem>) -> String {
        if let Some(open) = self.live.open {
            return format!("waiting for the plugin to answer {}", open.rpc.csi_name());
        }
        let plugin = &self.record.spec.plugin;
        let hint = problem.and_then(|problem| problem.hint.clone());
        if self.waits_for_plugin() {
            return format!(
                "waits for plugin {plugin} to answer again: sutler plugin show {plugin}"
            );
        }
        if let Some(at) = self.live.retry_at {
            let wait_s = now.until(at).as_secs();
            return match &self.record.phase {
                Phase::InFlight(flight) => {
                    format!("{} is repeated in {wait_s} s", flight.rpc.csi_name())
                }
                Phase::Settled(_) | Phase::Failed(_) | Phase::Gone => {
                    format!("looks again in {wait_s} s")
                }
            };
        }
        if let Some(at) = self.looks_again_at() {
            let wait_s = now.until(at).as_secs();
            let looks = format!("looks at its mount again in {wait_s} s");
            return hint.map_or(looks.clone(), |hint| format!("{looks}; or: {hint}"));
        }
        if self.is_looking() {
            return "waits for a look at its mount".to_owned();
        }
        match (hint, self.growth_owed()) {
            (None, None) => "nothing to do".to_owned(),
            (None, Some(owed)) => format!("nothing to do now; {owed}"),
            (Some(hint), None) => hint,
            (Some(hint), Some(owed)) => format!("{hint}; {owed}"),
        }
    }

    /// Says that the volume's file system is smaller than the volume, until it is grown.
    fn growth_owed(&self) -> Option<String> {
        let to = self.record.node_expand_due?;
        let grows = self.abilities().is_some_and(|able| able.expands_node);
        grows.then(|| format!("its file system is grown to {to} at the next use"))
    }
}
