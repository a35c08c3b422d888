//! Who may hold a volume: one writer, any number of readers, on one node.

use std::collections::BTreeSet;

use sutler_ids::TaskId;
use sutler_ids::{ErrorKind, Problem, SaidBy};

use crate::event::Effect;
use crate::look::Look;
use crate::machine::Volume;
use crate::plan;
use crate::record::{Known, Phase};
use crate::verify::Verify;

impl Volume {
    /// Tells whether some task holds it.
    pub fn is_held(&self) -> bool {
        !self.record.holders.is_empty()
    }

    pub(crate) fn on_acquire(&mut self, task_id: TaskId, read_only: bool) {
        if self.record.holders.contains_key(&task_id) {
            self.live.told.remove(&task_id);
            self.live.look = Look::Due;
            return;
        }
        if let Some(problem) = self.acquire_refused(read_only) {
            // The plugin may have been wrong about it; whoever comes next hears what it says now.
            if matches!(self.record.known, Known::No { .. }) {
                self.live.verify = Verify::Due;
                self.live.retry_at = None;
            }
            self.live.effects.push(Effect::TellAcquired {
                task_id,
                result: Err(problem),
            });
            return;
        }
        self.live.leaving.remove(&task_id);
        self.record.holders.insert(task_id, read_only);
        self.live.node_expand_failed = false;
        self.live.look = Look::Due;
        self.live.retry_at = None;
    }

    pub(crate) fn on_release(&mut self, task_id: TaskId) {
        self.record.holders.remove(&task_id);
        self.live.told.remove(&task_id);
        self.live.leaving.insert(task_id);
        self.live.retry_at = None;
        self.look_after_release();
    }

    pub(crate) fn retain_holders(&mut self, tasks: &BTreeSet<TaskId>) {
        let holders = &mut self.record.holders;
        holders.retain(|task_id, _| tasks.contains(task_id));
        self.look_after_release();
    }

    fn acquire_refused(&self, read_only: bool) -> Option<Problem> {
        let name = &self.record.spec.name;
        if let Phase::Failed(problem) = &self.record.phase {
            return Some(problem.clone());
        }
        if let Some(problem) = &self.record.unfit {
            return Some(problem.clone());
        }
        if self.record.deleting() || self.record.phase == Phase::Gone {
            let what = format!("volume {name} is being deleted");
            return Some(Problem::new(ErrorKind::Conflict, what));
        }
        // A volume that is being made may be held already: its holder waits for it.
        if self.record.created().is_none() && !plan::wants_creation(&self.record) {
            let what = format!("volume {name} does not exist");
            return Some(
                Problem::new(ErrorKind::Unavailable, what)
                    .hint(format!("sutler volume why {name}")),
            );
        }
        if let Known::No { .. } = self.record.known {
            return Some(self.missing_problem());
        }
        if read_only {
            return None;
        }
        let holder = self
            .record
            .holders
            .iter()
            .find(|(_, read_only)| !**read_only)?
            .0;
        let what = format!("volume {name} takes one writer and is held by task {holder}");
        Some(Problem::new(ErrorKind::Conflict, what).hint(format!("sutler task stop {holder}")))
    }

    /// Gives one of those that were told that they have the volume: its container may run. After a
    /// restart everybody counts as told who has not asked again.
    pub(crate) fn holder(&self) -> Option<&TaskId> {
        let holders = self.record.holders.keys();
        holders
            .into_iter()
            .find(|task_id| self.live.told.contains(*task_id))
    }

    pub(crate) fn missing_problem(&self) -> Problem {
        let spec = &self.record.spec;
        let raw = match &self.record.known {
            Known::No { raw, .. } => raw.clone(),
            Known::Yes => String::new(),
        };
        Problem::new(
            ErrorKind::NotFound,
            format!(
                "plugin {} no longer knows volume {}",
                spec.plugin, spec.name
            ),
        )
        .said_by(SaidBy::Plugin(spec.plugin.to_string()))
        .raw(raw)
        .hint(format!(
            "sutler plugin logs {}; if the data is lost for good: sutler volume rm {} --purge",
            spec.plugin, spec.name
        ))
    }
}
