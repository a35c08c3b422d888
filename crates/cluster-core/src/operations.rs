//! How operations end, and what follows for their volumes.

use sutler_api::agent::{OperationReport, Outcome, ToAgent};
use sutler_ids::{AgentId, OperationUuid, VolumeId};
use sutler_ids::{Bytes, ErrorKind, Problem};

use crate::books::{Books, Turn};
use crate::record::{
    Change, EndedOperation, OperationAct, OperationRecord, VolumePhase, VolumeRecord,
};

/// Ended operations that are still told: enough to look back on a day of work by hand.
pub(crate) const ENDED_OPERATIONS_MAX: usize = 1000;

impl Books {
    /// Gives the operations of a volume that have not ended.
    pub(crate) fn open_operations(&self, id: VolumeId) -> impl Iterator<Item = &OperationRecord> {
        let uuids = self.durable.index.open_operations.of(&id);
        uuids.filter_map(|uuid| self.durable.operations.get(uuid))
    }
}

impl Turn<'_> {
    /// Records an operation's end, once.
    pub(crate) fn end_operation(&mut self, uuid: OperationUuid, ended: EndedOperation) {
        let Some(record) = self.books.durable.operations.get(&uuid) else {
            return;
        };
        if record.ended.is_some() {
            return;
        }
        self.persist(Change::Operation(OperationRecord {
            ended: Some(ended),
            ..record.clone()
        }));
        while let ended = &self.books.durable.index.ended_operations
            && ended.len() > ENDED_OPERATIONS_MAX
            && let Some((_, oldest)) = ended.first().copied()
        {
            self.persist(Change::ForgetOperation(oldest));
        }
    }

    pub(crate) fn on_operation_report(&mut self, agent_id: AgentId, report: OperationReport) {
        let volume = self.books.durable.volumes.get(&report.volume_id).cloned();
        let Some(volume) = volume else {
            // Told again because it did not hear that we know.
            let volume_id = report.volume_id;
            self.send(agent_id, ToAgent::ForgetVolume { volume_id });
            return;
        };
        let Some(operation) = self.books.durable.operations.get(&report.operation_uuid) else {
            return;
        };
        let held_back = matches!(volume.phase, VolumePhase::Trashed { .. })
            && operation.act == OperationAct::Delete;
        if operation.ended.is_some() || operation.agent_id != agent_id || held_back {
            return;
        }
        let (act, uuid) = (operation.act, operation.operation_uuid);
        let (outcome, left_behind) = (report.outcome.clone(), report.left_behind);
        self.end_operation(
            uuid,
            EndedOperation {
                outcome: report.outcome,
                at: report.at,
            },
        );
        match act {
            OperationAct::Create => self.creation_ended(volume, outcome, left_behind),
            OperationAct::Grow { capacity } => self.growth_ended(volume, uuid, capacity, outcome),
            OperationAct::Delete | OperationAct::Forget if outcome == Outcome::Finished => {
                self.end_others(&volume, "was deleted or forgotten");
                self.forget_volume(&volume);
            }
            // Overtaken by another: that one decides.
            OperationAct::Delete | OperationAct::Forget
                if volume.phase != (VolumePhase::Deleting { deletion: uuid }) => {}
            OperationAct::Delete => self.deletion_failed(volume, outcome, left_behind),
            OperationAct::Forget => self.forgetting_failed(volume, outcome, left_behind),
        }
    }

    fn creation_ended(
        &mut self,
        mut volume: VolumeRecord,
        outcome: Outcome,
        left_behind: Option<String>,
    ) {
        if volume.phase != VolumePhase::Creating {
            // Its deletion was asked for meanwhile, and that decides.
            return;
        }
        volume.since = self.now.wall;
        match outcome {
            Outcome::Finished => {
                volume.phase = VolumePhase::Live {
                    growing: None,
                    problem: None,
                };
                self.persist(Change::Volume(volume));
            }
            Outcome::Failed(problem) => {
                // Tasks that want it are ended by their node, which knows what they hold.
                volume.phase = VolumePhase::Failed {
                    problem,
                    left_behind,
                };
                self.persist(Change::Volume(volume));
            }
        }
    }

    fn growth_ended(
        &mut self,
        mut volume: VolumeRecord,
        uuid: OperationUuid,
        capacity: Bytes,
        outcome: Outcome,
    ) {
        let VolumePhase::Live {
            growing: Some(growing),
            ..
        } = volume.phase
        else {
            return;
        };
        if growing != uuid {
            return;
        }
        volume.since = self.now.wall;
        let problem = match outcome {
            Outcome::Finished => {
                volume.capacity = volume.capacity.max(capacity);
                None
            }
            Outcome::Failed(problem) => Some(problem),
        };
        volume.phase = VolumePhase::Live {
            growing: None,
            problem,
        };
        self.persist(Change::Volume(volume));
    }

    fn deletion_failed(
        &mut self,
        mut volume: VolumeRecord,
        outcome: Outcome,
        left_behind: Option<String>,
    ) {
        volume.since = self.now.wall;
        volume.phase = settled(outcome, left_behind);
        self.persist(Change::Volume(volume));
    }

    /// A volume that could not be forgotten is what it was before that was asked.
    fn forgetting_failed(
        &mut self,
        mut volume: VolumeRecord,
        outcome: Outcome,
        left_behind: Option<String>,
    ) {
        let open = self.books.open_operations(volume.spec.volume_id);
        // A deletion that waits decides over whatever it has overtaken.
        let deciding = open.max_by_key(|o| matches!(o.act, OperationAct::Delete));
        volume.phase = match deciding.map(|o| (o.act, o.operation_uuid)) {
            Some((OperationAct::Create, _)) => VolumePhase::Creating,
            Some((OperationAct::Delete, deletion)) => VolumePhase::Deleting { deletion },
            Some((OperationAct::Grow { .. }, uuid)) => VolumePhase::Live {
                growing: Some(uuid),
                problem: None,
            },
            Some((OperationAct::Forget, _)) | None => settled(outcome, left_behind),
        };
        volume.since = self.now.wall;
        self.persist(Change::Volume(volume));
    }

    /// Ends what a finished deletion has overtaken.
    pub(crate) fn end_others(&mut self, volume: &VolumeRecord, fate: &str) {
        let open = self.books.open_operations(volume.spec.volume_id);
        let open: Vec<OperationUuid> = open.map(|o| o.operation_uuid).collect();
        for uuid in open {
            let what = format!("volume {} {fate}", volume.spec.name);
            let problem = Problem::new(ErrorKind::Conflict, what);
            let ended = EndedOperation {
                outcome: Outcome::Failed(problem),
                at: self.now.wall,
            };
            self.end_operation(uuid, ended);
        }
    }
}

/// What a volume is whose end has failed. What was never fit for use is not by that.
fn settled(outcome: Outcome, left_behind: Option<String>) -> VolumePhase {
    match (outcome, left_behind) {
        (Outcome::Failed(problem), Some(id)) => VolumePhase::Failed {
            problem,
            left_behind: Some(id),
        },
        (Outcome::Failed(problem), None) => VolumePhase::Live {
            growing: None,
            problem: Some(problem),
        },
        (Outcome::Finished, _) => VolumePhase::Live {
            growing: None,
            problem: None,
        },
    }
}
