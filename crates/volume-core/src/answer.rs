//! What the end of a call means for the volume.

use sutler_api::agent::{OperationReport, Outcome};
use sutler_ids::{Now, OperationUuid, Problem};

use crate::call::Rpc;
use crate::event::{Answer, CallId, Effect, Expanded, Failure, Shown, Step, Verdict};
use crate::evidence::{self, Finding, There};
use crate::machine::Volume;
use crate::plan;
use crate::record::{Created, Ended, InFlight, Known, Phase, Settled};
use crate::verify::Verify;
use crate::{ENDED_MAX, SLOW_RETRY_MS};

impl Volume {
    /// Takes the end of a call. A late or repeated one changes nothing.
    pub(crate) fn on_ended(
        &mut self,
        call_id: CallId,
        (result, shown): (Result<Answer, Failure>, Shown),
        now: Now,
    ) -> &'static str {
        let Some(open) = self.live.open.take_if(|open| open.call_id == call_id) else {
            return "stale_answer";
        };
        if open.rpc == Rpc::Verify {
            self.live
                .story
                .end(result.as_ref().err().map(|failure| &failure.problem), now);
            self.on_verified(result, now);
            return "verify_result";
        }
        let Phase::InFlight(flight) = self.record.phase.clone() else {
            return "stale_answer";
        };
        let abilities = self.abilities().unwrap_or_default();
        let finding = evidence::weigh(flight.rpc, &self.record, abilities, (result, shown));
        self.live.story.end(finding.problem(), now);
        self.on_finding(&flight, finding, now);
        flight.rpc.result_label()
    }

    fn on_finding(&mut self, flight: &InFlight, finding: Finding, now: Now) {
        if finding.problem().is_none() {
            self.live.unverified = None;
        }
        match finding {
            Finding::Created(created) => self.on_created(created, now),
            Finding::Attached(context) => {
                if let Some(created) = flight.from.created() {
                    self.settle(Settled::NodeReady(created.clone(), context));
                }
            }
            Finding::Expanded(expanded) => self.on_expanded(flight, expanded),
            Finding::Done(there) => self.on_done(flight, there, now),
            Finding::Failed(failure) => self.on_failure(flight, failure, now),
            // Said to be up and not seen: whatever was done is undone by the inverse call.
            Finding::NotUp(problem) => self.climb_failed(flight, problem, true, now),
            Finding::NotDown(problem) => self.repeat(problem, now),
            Finding::Others(problem) => self.fail_creation(problem, now),
            Finding::Unfit(created, problem) => self.keep_unfit(created, problem, now),
            Finding::Short(expanded, problem) => {
                self.on_short_growth(flight, expanded, problem, now);
            }
        }
    }

    fn on_created(&mut self, created: Created, now: Now) {
        self.record.known = Known::Yes;
        self.settle(Settled::Created(created));
        if !self.record.deleting() {
            self.end_operation(Outcome::Finished, now);
        }
    }

    pub(crate) fn fail_creation(&mut self, problem: Problem, now: Now) {
        self.live.doubt_since = None;
        self.live.problem = None;
        // Nobody can have a volume that was never made, a holder from before a restart neither.
        self.live.told.clear();
        self.fail_holders(&problem);
        if self.record.deleting() {
            self.record.phase = Phase::Gone;
            self.end_operation(Outcome::Finished, now);
        } else {
            self.record.phase = Phase::Failed(problem.clone());
            self.end_operation(Outcome::Failed(problem), now);
        }
    }

    /// What was made is not what was asked for. It stays, named, until somebody has it deleted: a
    /// class that fixes one share answers with somebody's data, so nothing is undone by itself.
    fn keep_unfit(&mut self, created: Created, problem: Problem, now: Now) {
        self.live.told.clear();
        self.fail_holders(&problem);
        self.record.known = Known::Yes;
        self.settle(Settled::Created(created));
        self.record.unfit = Some(problem.clone());
        // Also a deletion that has overtaken the creation: whoever asked for it has not seen what
        // it would delete.
        self.end_operation(Outcome::Failed(problem), now);
    }

    fn on_done(&mut self, flight: &InFlight, there: There, now: Now) {
        match flight.rpc {
            Rpc::NodeExpand(_) => {
                self.record.node_expand_due = None;
                self.settle(flight.from.clone());
                self.watch_mount();
            }
            Rpc::Delete => self.on_deleted(now),
            rpc => {
                self.note_mount(rpc, there);
                let abilities = self.abilities().unwrap_or_default();
                if let Some(settled) = plan::settle_down(rpc, &flight.from, abilities) {
                    self.settle(settled);
                }
            }
        }
    }

    fn on_expanded(&mut self, flight: &InFlight, expanded: Expanded) {
        let mut from = flight.from.clone();
        if let Some(created) = from.created_mut() {
            created.capacity = expanded.capacity;
        }
        if expanded.node_expansion_required {
            self.record.node_expand_due = Some(expanded.capacity);
            self.live.node_expand_failed = false;
        }
        self.settle(from);
    }

    /// The growth has failed, and the volume has the size that it has.
    fn on_short_growth(
        &mut self,
        flight: &InFlight,
        expanded: Expanded,
        problem: Problem,
        now: Now,
    ) {
        let had = flight.from.created().map(|created| created.capacity);
        let capacity = had.map_or(expanded.capacity, |had| had.max(expanded.capacity));
        self.on_expanded(
            flight,
            Expanded {
                capacity,
                ..expanded
            },
        );
        self.live.problem = Some(problem.clone());
        if !self.record.deleting() {
            self.end_operation(Outcome::Failed(problem), now);
        }
    }

    fn on_failure(&mut self, flight: &InFlight, failure: Failure, now: Now) {
        if failure.verdict == Verdict::Uncertain {
            return self.doubt(failure.problem, now);
        }
        match flight.rpc {
            Rpc::Create => self.on_create_failure(failure, now),
            Rpc::Delete => self.on_delete_failure(flight, failure, now),
            Rpc::Attach | Rpc::Stage | Rpc::Publish => {
                self.on_up_failure(flight, failure, now);
            }
            Rpc::Detach | Rpc::Unstage | Rpc::Unpublish => {
                self.on_down_failure(flight, failure, now);
            }
            Rpc::ControllerExpand(_) | Rpc::NodeExpand(_) => {
                self.on_expand_failure(flight, failure, now);
            }
            Rpc::Verify => {}
        }
    }

    fn doubt(&mut self, problem: Problem, now: Now) {
        self.live.doubt_since.get_or_insert(now.wall);
        self.watch_mount();
        self.repeat(problem, now);
    }

    /// The same call again, soon at first: a mount may go a moment after the plugin has answered.
    fn repeat(&mut self, problem: Problem, now: Now) {
        self.live.problem = Some(problem);
        self.live.attempt = self.live.attempt.saturating_add(1);
        self.retry_later(self.backoff_ms(), now);
    }

    pub(crate) fn wait_slowly(&mut self, problem: Problem, now: Now) {
        self.live.problem = Some(problem);
        self.live.attempt = self.live.attempt.saturating_add(1);
        self.retry_later(SLOW_RETRY_MS, now);
    }

    fn on_create_failure(&mut self, failure: Failure, now: Now) {
        let in_doubt = self.live.doubt_since.is_some();
        match failure.verdict {
            // Something bears our name. If an earlier attempt may have made it, it may be
            // ours, and only the operator may say otherwise.
            Verdict::AlreadyExists if in_doubt => self.wait_slowly(failure.problem, now),
            // Nothing was done, and nobody wants it done any more.
            Verdict::NotNow if self.record.deleting() && !in_doubt => {
                self.fail_creation(failure.problem, now);
            }
            // As after a refusal: the list must show that no earlier attempt has made it.
            Verdict::NotNow if self.record.deleting() => {
                self.live.refused = Some(failure.problem);
            }
            Verdict::NotNow => self.wait_slowly(failure.problem, now),
            Verdict::Refused
            | Verdict::Exhausted
            | Verdict::AlreadyExists
            | Verdict::NotFound
            | Verdict::Uncertain => {
                // Plugins exist that check for space before they look for the name.
                if in_doubt {
                    self.live.refused = Some(failure.problem);
                } else {
                    self.fail_creation(failure.problem, now);
                }
            }
        }
    }

    /// Nothing exists any more; the plugin need not be there for the rest.
    fn on_deleted(&mut self, now: Now) {
        self.move_to(Phase::Gone);
        self.end_operation(Outcome::Finished, now);
    }

    fn on_delete_failure(&mut self, flight: &InFlight, failure: Failure, now: Now) {
        if failure.verdict == Verdict::NotFound {
            return self.on_deleted(now);
        }
        // An earlier attempt may still be at it, and a limit may be met half-way: no refusal says
        // that the data stays.
        if self.live.doubt_since.is_some() || failure.verdict == Verdict::Exhausted {
            return self.doubt(failure.problem, now);
        }
        self.settle(flight.from.clone());
        self.end_operation(Outcome::Failed(failure.problem), now);
        self.live.verify = Verify::Due;
    }

    fn on_up_failure(&mut self, flight: &InFlight, failure: Failure, now: Now) {
        // A limit may be met half-way, and gRPC itself says "exhausted" of an answer that
        // is too large, so that refusal proves nothing.
        let in_doubt = self.live.doubt_since.is_some() || failure.verdict == Verdict::Exhausted;
        if failure.verdict == Verdict::NotFound {
            self.live.verify = Verify::Due;
        }
        self.climb_failed(flight, failure.problem, in_doubt, now);
    }

    fn climb_failed(&mut self, flight: &InFlight, problem: Problem, in_doubt: bool, now: Now) {
        self.fail_holders(&problem);
        // An earlier attempt may have done it: come down by the inverse call. Whoever still wants
        // it (a holder of before a restart, who is not told) gets it by a new climb.
        let back = match in_doubt {
            true => plan::inverse(flight, now),
            false => None,
        };
        self.move_to(back.unwrap_or_else(|| Phase::Settled(flight.from.clone())));
        // Holders of before a restart are not known to wait and stay: without a pause the same call
        // would be made and refused for ever.
        if !self.record.holders.is_empty() {
            self.wait_slowly(problem, now);
        }
    }

    /// Tells every holder that was not told yet that it failed, and lets it go.
    pub(crate) fn fail_holders(&mut self, problem: &Problem) {
        let told = std::mem::take(&mut self.live.told);
        let waiting: Vec<_> = self
            .record
            .holders
            .keys()
            .filter(|task| !told.contains(*task))
            .cloned()
            .collect();
        for task_id in waiting {
            self.record.holders.remove(&task_id);
            let result = Err(problem.clone());
            self.live
                .effects
                .push(Effect::TellAcquired { task_id, result });
        }
        self.live.told = told;
    }

    fn on_down_failure(&mut self, flight: &InFlight, failure: Failure, now: Now) {
        if failure.verdict != Verdict::NotFound {
            return self.wait_slowly(failure.problem, now);
        }
        self.note_mount(flight.rpc, There::No);
        let abilities = self.abilities().unwrap_or_default();
        if let Some(settled) = plan::settle_down(flight.rpc, &flight.from, abilities) {
            self.settle(settled);
        }
        self.live.verify = Verify::Due;
    }

    fn on_expand_failure(&mut self, flight: &InFlight, failure: Failure, now: Now) {
        self.settle(flight.from.clone());
        self.watch_mount();
        if failure.verdict == Verdict::NotFound {
            self.live.verify = Verify::Due;
        }
        self.live.problem = Some(failure.problem.clone());
        // The volume itself has grown when only its file system could not: that follows at
        // the next publish, and the problem stays in sight until then. The growth that waits
        // may be a later, larger one, so whether it has ended is for the sizes to say.
        if matches!(flight.rpc, Rpc::NodeExpand(_)) {
            self.live.node_expand_failed = true;
        } else if !self.record.deleting() && self.record.pending.is_some() {
            self.end_operation(Outcome::Failed(failure.problem), now);
        }
    }

    pub(crate) fn end_operation(&mut self, outcome: Outcome, now: Now) {
        if let Some(pending) = self.record.pending.take() {
            self.keep_end(pending.operation_uuid, outcome, now);
        }
    }

    /// Ends an operation that was denied: a repeat of it is told the same, whatever else is
    /// possible by then.
    ///
    /// The master may have recorded the denial and not have heard that we know; an operation
    /// that was told as failed must never be carried out.
    pub fn refuse(&mut self, operation_uuid: OperationUuid, problem: Problem, now: Now) -> Step {
        let before = self.record.clone();
        self.keep_end(operation_uuid, Outcome::Failed(problem), now);
        self.step_since(&before, "operation")
    }

    fn keep_end(&mut self, operation_uuid: OperationUuid, outcome: Outcome, now: Now) {
        if self.record.ended.len() == ENDED_MAX {
            self.record.ended.remove(0);
        }
        self.record.ended.push(Ended {
            operation_uuid,
            outcome,
            at: now.wall,
        });
        self.retell(operation_uuid);
    }

    pub(crate) fn retell(&mut self, operation_uuid: OperationUuid) {
        let report = self.operation_report(operation_uuid);
        self.live.effects.extend(report.map(Effect::TellOperation));
    }

    fn operation_report(&self, operation_uuid: OperationUuid) -> Option<OperationReport> {
        let ended = self
            .record
            .ended
            .iter()
            .find(|e| e.operation_uuid == operation_uuid)?;
        Some(OperationReport {
            operation_uuid,
            volume_id: self.record.spec.volume_id,
            outcome: ended.outcome.clone(),
            left_behind: self.left_behind(),
            at: ended.at,
        })
    }

    /// What a failed creation has made, and only a deletion ends.
    fn left_behind(&self) -> Option<String> {
        let unfit = self.record.unfit.as_ref();
        let created = unfit.and_then(|_| self.record.created());
        created.map(|created| created.csi_volume_id.clone())
    }

    /// Gives the outcomes of all operations whose end the record keeps, oldest first.
    pub fn operation_reports(&self) -> Vec<OperationReport> {
        let uuids = self.record.ended.iter().map(|ended| ended.operation_uuid);
        uuids
            .filter_map(|uuid| self.operation_report(uuid))
            .collect()
    }
}
