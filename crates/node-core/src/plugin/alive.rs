//! A plugin that was ready: heard, not ready by its own word, or silent.
//!
//! "Not ready" is an honest answer: calls wait, nothing is started again. Silence ends a plugin
//! only when no volume depends on it, because mounts may live in its processes; as long as that
//! is not known, some do. Nothing here is written down: after a restart of the agent it is asked
//! anew before anything is stopped.

use super::cause::{Cause, left_running, says_not_ready};
use super::{
    HEALTHY_AFTER_MS, Late, MISSES_MAX, PROBE_EVERY_MS, Plugin, PluginEffect, PluginStep,
    ProbeOutcome, State, Voice,
};
use sutler_ids::Now;

impl Plugin {
    /// It says that it is ready.
    pub(super) fn says_ready(&mut self, now: Now) -> PluginStep {
        self.found(Voice::Heard, now)
    }

    /// It says that it is not.
    pub(super) fn says_not_ready(&mut self, now: Now) -> PluginStep {
        self.forgive(now);
        let step = self.found(Voice::NotReady, now);
        self.problem = Some(says_not_ready(&self.wanted));
        step
    }

    /// It did not answer Probe, but another call: a sign of life, and no word on readiness.
    pub(super) fn heard(&mut self, now: Now) -> PluginStep {
        match &self.state {
            State::Ready {
                voice: voice @ (Voice::Heard | Voice::NotReady),
                ..
            } => self.found(*voice, now),
            State::Ready {
                voice: Voice::Silent { .. } | Voice::Judged,
                ..
            } => self.found(Voice::Heard, now),
            State::New
            | State::Recovering
            | State::Preparing
            | State::Pulling
            | State::Starting
            | State::Probing { .. }
            | State::Stopping { .. }
            | State::BackingOff { .. }
            | State::Clearing { .. }
            | State::Gone => PluginStep::default(),
        }
    }

    /// It gave a sign of life.
    fn found(&mut self, next: Voice, now: Now) -> PluginStep {
        let State::Ready {
            look_at,
            misses,
            voice,
            up,
            ..
        } = &mut self.state
        else {
            return PluginStep::default();
        };
        let at = now.after_ms(PROBE_EVERY_MS);
        let mut effects = Vec::new();
        let serves = next == Voice::Heard;
        if serves != *up {
            effects.push(match serves {
                true => PluginEffect::Up,
                false => PluginEffect::Down,
            });
        }
        // A word about a failed upgrade stays.
        if serves && *voice != Voice::Heard {
            self.problem = None;
        }
        (*look_at, *misses, *voice, *up) = (Some(at), 0, next, serves);
        effects.push(PluginEffect::WakeAt(at));
        PluginStep::acts(effects)
    }

    /// It gave none.
    pub(super) fn missed(&mut self, outcome: ProbeOutcome, now: Now) -> PluginStep {
        self.forgive(now);
        let State::Ready {
            look_at,
            misses,
            voice,
            last,
            ..
        } = &mut self.state
        else {
            return PluginStep::default();
        };
        let at = now.after_ms(PROBE_EVERY_MS);
        *look_at = Some(at);
        *misses = misses.saturating_add(1);
        let mut step = PluginStep::act(PluginEffect::WakeAt(at));
        if *misses < MISSES_MAX {
            return step;
        }
        match voice {
            Voice::Heard | Voice::NotReady | Voice::Silent { counting: false } => {
                *voice = Voice::Silent { counting: true };
                step.effects.push(PluginEffect::CountVolumes);
            }
            Voice::Silent { counting: true } | Voice::Judged => {}
        }
        *last = Some(outcome);
        self.problem = Some(left_running(&self.wanted, last.clone()));
        step
    }

    /// Volumes that depend on a silent plugin were counted. A count of none is made sure while
    /// no call can begin: the one before it may have been overtaken by a call.
    pub(super) fn on_dependents(&mut self, count: usize, now: Now) -> PluginStep {
        match &mut self.state {
            State::Probing {
                late: Some(Late::Silent),
                last,
                ..
            } if count == 0 => {
                let last = last.take();
                self.fail(Cause::NotReadyInTime { last }, now)
            }
            State::Ready {
                voice: voice @ Voice::Silent { counting: true },
                ..
            } if count > 0 => {
                *voice = Voice::Silent { counting: false };
                PluginStep::default()
            }
            State::Ready {
                voice: voice @ Voice::Silent { counting: true },
                up,
                ..
            } => {
                *voice = Voice::Judged;
                *up = false;
                PluginStep::acts(vec![PluginEffect::Down, PluginEffect::CountVolumes])
            }
            State::Ready {
                voice: Voice::Judged,
                last,
                ..
            } if count == 0 => {
                let last = last.take();
                self.fail(Cause::Silent { last }, now)
            }
            State::Ready {
                voice: voice @ Voice::Judged,
                up,
                ..
            } => {
                *voice = Voice::Silent { counting: false };
                *up = true;
                PluginStep::act(PluginEffect::Up)
            }
            State::New
            | State::Recovering
            | State::Preparing
            | State::Pulling
            | State::Starting
            | State::Probing { .. }
            | State::Ready { .. }
            | State::Stopping { .. }
            | State::BackingOff { .. }
            | State::Clearing { .. }
            | State::Gone => PluginStep::default(),
        }
    }

    /// A long healthy life forgives earlier failures.
    pub(super) fn forgive(&mut self, now: Now) {
        let healthy = matches!(
            self.state,
            State::Ready {
                voice: Voice::Heard,
                ..
            }
        );
        if healthy && self.since.after_ms(HEALTHY_AFTER_MS) <= now.boottime {
            self.attempt = 0;
        }
    }
}
