//! A plugin that is stopped: to be started again after a pause, at once, or never.
//!
//! Removal waits until no volume of the plugin is left on the node; nothing here deletes the
//! plugin's own data.

use sutler_ids::Now;
use sutler_ids::Problem;

use super::{
    COUNT_EVERY_MS, Evidence, Plugin, PluginEffect, PluginPersist, PluginStep, State, Then, Upgrade,
};
use crate::backoff::{self, Retry};

impl Plugin {
    pub(super) fn on_unwanted(&mut self) -> PluginStep {
        if self.removing || self.state == State::Gone {
            return PluginStep::default();
        }
        self.removing = true;
        let record = self.put();
        PluginStep::act(PluginEffect::CountVolumes).record(record)
    }

    pub(super) fn on_volumes_here(&mut self, count: usize, now: Now) -> PluginStep {
        if !self.removing {
            return self.on_dependents(count, now);
        }
        if count > 0 {
            let at = now.after_ms(COUNT_EVERY_MS);
            self.count_at = Some(at);
            return PluginStep::act(PluginEffect::WakeAt(at));
        }
        self.count_at = None;
        match &mut self.state {
            State::Stopping { then, .. } => {
                *then = Then::Remove;
                PluginStep::default()
            }
            // A start cannot be called back: its end is followed by the stop.
            State::Starting => PluginStep::default(),
            State::New | State::Clearing { .. } | State::Gone => PluginStep::default(),
            State::Recovering
            | State::Preparing
            | State::Pulling
            | State::Probing { .. }
            | State::Ready { .. }
            | State::BackingOff { .. } => self.halt(Then::Remove),
        }
    }

    pub(super) fn halt(&mut self, then: Then) -> PluginStep {
        let mut effects = match &self.state {
            State::Ready {
                upgrade: Upgrade::Pulling,
                ..
            } => {
                vec![PluginEffect::CancelPull, PluginEffect::Down]
            }
            State::Ready { .. } => vec![PluginEffect::Down],
            State::Pulling => vec![PluginEffect::CancelPull],
            State::New
            | State::Recovering
            | State::Preparing
            | State::Starting
            | State::Probing { .. }
            | State::Stopping { .. }
            | State::BackingOff { .. }
            | State::Clearing { .. }
            | State::Gone => Vec::new(),
        };
        effects.push(PluginEffect::Halt);
        if let Then::BackOff(cause) = &then {
            // Told at once, because the stop may take long; what it finds is added at its end.
            let evidence = Evidence::default();
            self.problem = Some(cause.clone().problem(&self.wanted, &evidence));
        }
        self.state = State::Stopping { then, retry: None };
        PluginStep::acts(effects)
    }

    pub(super) fn on_halted(&mut self, evidence: Evidence, now: Now) -> PluginStep {
        let State::Stopping { then, .. } = &self.state else {
            return PluginStep::default();
        };
        match then.clone() {
            Then::BackOff(cause) => {
                let problem = cause.problem(&self.wanted, &evidence);
                self.log_tail = evidence.log_tail;
                self.back_off(problem, now)
            }
            Then::Again => self.begin(),
            Then::Remove if !self.removing => self.begin(),
            Then::Remove => {
                self.state = State::Clearing { retry: None };
                PluginStep::act(PluginEffect::Clear)
            }
        }
    }

    pub(super) fn back_off(&mut self, problem: Problem, now: Now) -> PluginStep {
        let retry = Retry::after(backoff::wait_ms(self.attempt), now);
        self.attempt = self.attempt.saturating_add(1);
        self.problem = Some(problem);
        self.state = State::BackingOff { retry };
        let mut step = PluginStep::act(PluginEffect::WakeAt(retry.at));
        if self.removing {
            step.effects.push(PluginEffect::CountVolumes);
        }
        step
    }

    pub(super) fn on_faltered(&mut self, problem: Problem, now: Now) -> PluginStep {
        match &mut self.state {
            State::Stopping { retry, .. } | State::Clearing { retry } => {
                let again = Retry::after(backoff::wait_ms(self.attempt), now);
                self.attempt = self.attempt.saturating_add(1);
                *retry = Some(again);
                self.problem = Some(problem);
                PluginStep::act(PluginEffect::WakeAt(again.at))
            }
            State::New
            | State::Recovering
            | State::Preparing
            | State::Pulling
            | State::Starting
            | State::Probing { .. }
            | State::Ready { .. }
            | State::BackingOff { .. }
            | State::Gone => PluginStep::default(),
        }
    }

    pub(super) fn on_cleared(&mut self) -> PluginStep {
        if !matches!(self.state, State::Clearing { .. }) {
            return PluginStep::default();
        }
        if !self.removing {
            return self.begin();
        }
        self.state = State::Gone;
        PluginStep::default().record(PluginPersist::Delete(self.wanted.name.clone()))
    }
}
