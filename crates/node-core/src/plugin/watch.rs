//! A plugin whose container runs: until it answers, and while it serves.
//!
//! Decides from answers, silence and the container's end whether it may serve or must be stopped.

use sutler_api::plugin::PluginFactsView;
use sutler_ids::Now;

use super::cause::{Cause, left_running};
use super::{
    Evidence, LOOK_FIRST_MS, LOOK_LATE_MS, LOOK_MOST_MS, Late, MISSES_MAX, Plugin, PluginEffect,
    PluginStep, ProbeOutcome, STARTUP_DEFAULT_MS, State, Then, Upgrade, Voice,
};
use crate::container::ContainerEnd;

impl Plugin {
    /// Follows a running container until it answers.
    pub(super) fn watch(&mut self, adopted: bool, now: Now) -> PluginStep {
        if self.run == 0 {
            self.run = 1;
        }
        let limit = self
            .wanted
            .definition
            .startup_timeout_ms()
            .unwrap_or(STARTUP_DEFAULT_MS);
        let deadline = now.after_ms(limit);
        self.state = State::Probing {
            deadline,
            look_at: None,
            looks: 0,
            last: None,
            adopted,
            late: None,
        };
        PluginStep::acts(vec![
            PluginEffect::Watch,
            PluginEffect::Probe,
            PluginEffect::WakeAt(deadline),
        ])
    }

    pub(super) fn on_ended(&mut self, end: ContainerEnd, now: Now) -> PluginStep {
        match self.state {
            State::Probing { .. } => self.halt(Then::BackOff(Cause::Ended {
                end,
                was_ready: false,
            })),
            State::Ready { .. } => self.fail(
                Cause::Ended {
                    end,
                    was_ready: true,
                },
                now,
            ),
            State::New
            | State::Recovering
            | State::Preparing
            | State::Pulling
            | State::Starting
            | State::Stopping { .. }
            | State::BackingOff { .. }
            | State::Clearing { .. }
            | State::Gone => PluginStep::default(),
        }
    }

    pub(super) fn on_probed(&mut self, outcome: ProbeOutcome, now: Now) -> PluginStep {
        match (&self.state, outcome) {
            (State::Probing { .. } | State::Ready { .. }, ProbeOutcome::Answered(facts)) => {
                self.on_answered(*facts, now)
            }
            (State::Probing { .. }, outcome) => self.not_yet(outcome, now),
            (State::Ready { .. }, ProbeOutcome::NotReady) => self.says_not_ready(now),
            (State::Ready { .. }, ProbeOutcome::Busy { .. }) => self.heard(now),
            (
                State::Ready { .. },
                last @ (ProbeOutcome::NoSocket
                | ProbeOutcome::NoAnswer { .. }
                | ProbeOutcome::Refused { .. }),
            ) => self.missed(last, now),
            (
                State::New
                | State::Recovering
                | State::Preparing
                | State::Pulling
                | State::Starting
                | State::Stopping { .. }
                | State::BackingOff { .. }
                | State::Clearing { .. }
                | State::Gone,
                _,
            ) => PluginStep::default(),
        }
    }

    /// A plugin that is coming up has not said that it is ready.
    fn not_yet(&mut self, outcome: ProbeOutcome, now: Now) -> PluginStep {
        let State::Probing {
            deadline,
            look_at,
            looks,
            last,
            late,
            ..
        } = &mut self.state
        else {
            return PluginStep::default();
        };
        let refused = matches!(outcome, ProbeOutcome::Refused { .. });
        if refused {
            // Its own words, which need not wait until it has had its time.
            let last = Some(outcome.clone());
            let cause = Cause::NotReadyInTime { last };
            self.problem = Some(cause.problem(&self.wanted, &Evidence::default()));
        } else if matches!(last, Some(ProbeOutcome::Refused { .. })) {
            self.problem = None;
        }
        *last = Some(outcome);
        if late.is_some() || now.boottime >= *deadline {
            return self.not_ready_in_time(false, now);
        }
        let factor = 1_u64.checked_shl(*looks).unwrap_or(u64::MAX);
        let wait = LOOK_FIRST_MS.saturating_mul(factor).min(LOOK_MOST_MS);
        let at = now.after_ms(wait).min(*deadline);
        *looks = looks.saturating_add(1);
        *look_at = Some(at);
        PluginStep::act(PluginEffect::WakeAt(at))
    }

    pub(super) fn on_answered(&mut self, facts: PluginFactsView, now: Now) -> PluginStep {
        let told = facts.driver_name.clone();
        if self
            .wanted
            .definition
            .driver
            .as_ref()
            .is_some_and(|driver| *driver != told)
        {
            return self.fail(Cause::OtherDriver { told }, now);
        }
        if !matches!(self.state, State::Ready { .. }) {
            self.state = State::Ready {
                look_at: None,
                misses: 0,
                upgrade: Upgrade::None,
                voice: Voice::Heard,
                last: None,
                up: false,
            };
            self.problem = None;
            self.log_tail.clear();
        }
        let mut step = self.says_ready(now);
        if self.facts.as_ref() != Some(&facts) {
            self.facts = Some(facts);
            step.persist.push(self.put());
        }
        step
    }

    /// The time to come up is over. One that says itself that it is not ready goes on waiting,
    /// as CSI has it; one that an earlier agent started may serve volumes and is asked about
    /// them first. Any other begins anew. `asked` tells whether an answer is still awaited.
    pub(super) fn not_ready_in_time(&mut self, asked: bool, now: Now) -> PluginStep {
        let State::Probing {
            last,
            late,
            adopted,
            look_at,
            ..
        } = &mut self.state
        else {
            return PluginStep::default();
        };
        let honest = matches!(last, Some(ProbeOutcome::NotReady));
        let misses = match late {
            Some(Late::NotReady { misses }) => *misses + 1,
            Some(Late::Silent) | None => MISSES_MAX,
        };
        let (now_late, problem) = if honest {
            (Late::NotReady { misses: 0 }, None)
        } else if *adopted {
            (Late::Silent, Some(left_running(&self.wanted, last.clone())))
        } else if misses < MISSES_MAX {
            (Late::NotReady { misses }, None)
        } else {
            let last = last.take();
            return self.halt(Then::BackOff(Cause::NotReadyInTime { last }));
        };
        *late = Some(now_late);
        let at = now.after_ms(LOOK_LATE_MS);
        let mut step = PluginStep::default();
        if !asked {
            *look_at = Some(at);
            step.effects.push(PluginEffect::WakeAt(at));
        }
        if now_late == Late::Silent {
            step.effects.push(PluginEffect::CountVolumes);
        }
        let in_time = |last| {
            let cause = Cause::NotReadyInTime { last };
            cause.problem(&self.wanted, &Evidence::default())
        };
        self.problem = Some(problem.unwrap_or_else(|| in_time(Some(ProbeOutcome::NotReady))));
        step
    }

    /// Stops a plugin that cannot go on; a long healthy life forgives earlier failures.
    pub(super) fn fail(&mut self, cause: Cause, now: Now) -> PluginStep {
        self.forgive(now);
        self.halt(Then::BackOff(cause))
    }
}
