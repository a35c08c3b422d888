//! A plugin whose container runs: until it answers, and while it serves.
//!
//! Decides from answers, silence and the container's end whether it may serve or must be stopped.

use sutler_api::Timestamp;
use sutler_api::plugin::PluginFactsView;

use super::cause::Cause;
use super::{
    Evidence, HEALTHY_AFTER_MS, LOOK_FIRST_MS, LOOK_MOST_MS, MISSES_MAX, PROBE_EVERY_MS, Plugin,
    PluginEffect, PluginStep, ProbeOutcome, STARTUP_DEFAULT_MS, State, Then, Upgrade,
};
use crate::backoff::after;
use crate::container::ContainerEnd;

impl Plugin {
    /// Follows a running container until it answers.
    pub(super) fn watch(&mut self, now: Timestamp) -> PluginStep {
        if self.run == 0 {
            self.run = 1;
        }
        let limit = self
            .wanted
            .definition
            .startup_timeout_ms()
            .unwrap_or(STARTUP_DEFAULT_MS);
        let deadline = after(now, limit);
        self.state = State::Probing {
            deadline,
            look_at: None,
            looks: 0,
            last: None,
        };
        PluginStep::acts(vec![
            PluginEffect::Watch,
            PluginEffect::Probe,
            PluginEffect::WakeAt(deadline),
        ])
    }

    pub(super) fn on_ended(&mut self, end: ContainerEnd, now: Timestamp) -> PluginStep {
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

    pub(super) fn on_probed(&mut self, outcome: ProbeOutcome, now: Timestamp) -> PluginStep {
        match (&mut self.state, outcome) {
            (State::Probing { .. } | State::Ready { .. }, ProbeOutcome::Answered(facts)) => {
                self.on_answered(*facts, now)
            }
            (
                State::Probing {
                    deadline,
                    look_at,
                    looks,
                    last,
                },
                outcome,
            ) => {
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
                if now >= *deadline {
                    return self.not_ready_in_time();
                }
                let factor = 1_u64.checked_shl(*looks).unwrap_or(u64::MAX);
                let wait = LOOK_FIRST_MS.saturating_mul(factor).min(LOOK_MOST_MS);
                let at = after(now, wait).min(*deadline);
                *looks = looks.saturating_add(1);
                *look_at = Some(at);
                PluginStep::act(PluginEffect::WakeAt(at))
            }
            (
                State::Ready {
                    look_at, misses, ..
                },
                last,
            ) => {
                *misses += 1;
                if *misses >= MISSES_MAX {
                    return self.fail(Cause::Silent { last }, now);
                }
                let at = after(now, PROBE_EVERY_MS);
                *look_at = Some(at);
                PluginStep::act(PluginEffect::WakeAt(at))
            }
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

    pub(super) fn on_answered(&mut self, facts: PluginFactsView, now: Timestamp) -> PluginStep {
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
        let at = after(now, PROBE_EVERY_MS);
        let mut step = PluginStep::act(PluginEffect::WakeAt(at));
        if let State::Ready {
            look_at, misses, ..
        } = &mut self.state
        {
            *look_at = Some(at);
            *misses = 0;
        } else {
            let upgrade = Upgrade::None;
            self.state = State::Ready {
                look_at: Some(at),
                misses: 0,
                upgrade,
            };
            self.problem = None;
            self.log_tail.clear();
            step.effects.insert(0, PluginEffect::Up);
        }
        if self.facts.as_ref() != Some(&facts) {
            self.facts = Some(facts);
            step.persist.push(self.put());
        }
        step
    }

    pub(super) fn not_ready_in_time(&mut self) -> PluginStep {
        let State::Probing { last, .. } = &mut self.state else {
            return PluginStep::default();
        };
        let last = last.take();
        self.halt(Then::BackOff(Cause::NotReadyInTime { last }))
    }

    /// Stops a plugin that cannot go on; a long healthy life forgives earlier failures.
    pub(super) fn fail(&mut self, cause: Cause, now: Timestamp) -> PluginStep {
        let ready = matches!(self.state, State::Ready { .. });
        if ready && after(self.since, HEALTHY_AFTER_MS) <= now {
            self.attempt = 0;
        }
        self.halt(Then::BackOff(cause))
    }
}
