//! What time alone brings about: looks, ends of pauses, the deadline of a start.

use super::{Plugin, PluginEffect, PluginStep, State, Upgrade};
use crate::backoff::Retry;
use sutler_ids::{Boottime, Now};

impl Plugin {
    pub(super) fn on_tick(&mut self, now: Now) -> PluginStep {
        let mut step = self.on_tick_of_state(now);
        if self.count_at.is_some_and(|at| at <= now.boottime) {
            self.count_at = None;
            step.effects.push(PluginEffect::CountVolumes);
        }
        step
    }

    pub(super) fn on_tick_of_state(&mut self, now: Now) -> PluginStep {
        let due = |at: &mut Option<Boottime>| at.take_if(|at| *at <= now.boottime).is_some();
        match &mut self.state {
            State::Probing {
                deadline,
                late: None,
                look_at,
                ..
            } if *deadline <= now.boottime => {
                let asked = look_at.is_none();
                self.not_ready_in_time(asked, now)
            }
            State::Probing { look_at, .. } => {
                if due(look_at) {
                    PluginStep::act(PluginEffect::Probe)
                } else {
                    PluginStep::default()
                }
            }
            State::Ready {
                look_at, upgrade, ..
            } => {
                let mut step = PluginStep::default();
                if due(look_at) {
                    step.effects.push(PluginEffect::Probe);
                }
                if matches!(upgrade, Upgrade::PullAgainAt(at) if *at <= now.boottime) {
                    *upgrade = Upgrade::Pulling;
                    step.effects.push(PluginEffect::Pull);
                }
                step
            }
            State::BackingOff { retry } if retry.at <= now.boottime => self.begin(),
            State::Stopping { retry, .. } => {
                if Retry::take_due(retry, now) {
                    PluginStep::act(PluginEffect::Halt)
                } else {
                    PluginStep::default()
                }
            }
            State::Clearing { retry } => {
                if Retry::take_due(retry, now) {
                    PluginStep::act(PluginEffect::Clear)
                } else {
                    PluginStep::default()
                }
            }
            State::New
            | State::Recovering
            | State::Preparing
            | State::Pulling
            | State::Starting
            | State::BackingOff { .. }
            | State::Gone => PluginStep::default(),
        }
    }
}
