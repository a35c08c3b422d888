//! What is told of a plugin on this node.

use std::collections::BTreeMap;

use sutler_api::plugin::PluginInstanceView;
use sutler_ids::Bytes;
use sutler_ids::{AgentName, ClassName};

use super::{Plugin, State};

impl Plugin {
    /// Gives the generation that [`Plugin::report`] is about: the container's while there is one,
    /// else the wanted one.
    pub fn generation_told(&self) -> u64 {
        match (&self.state, &self.started) {
            (
                State::Starting
                | State::Probing { .. }
                | State::Ready { .. }
                | State::Stopping { .. },
                Some(started),
            ) => started.generation,
            (
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
                | State::Gone,
                _,
            ) => self.wanted.generation,
        }
    }

    /// Gives the plugin's state as the master is told it; `free` is what it last told of its
    /// capacity.
    pub fn report(
        &self,
        agent: &AgentName,
        free: &BTreeMap<ClassName, Bytes>,
    ) -> PluginInstanceView {
        let retry_at = match &self.state {
            State::BackingOff { retry } => Some(retry.shown),
            State::Stopping { retry, .. } | State::Clearing { retry } => {
                retry.as_ref().map(|retry| retry.shown)
            }
            State::New
            | State::Recovering
            | State::Preparing
            | State::Pulling
            | State::Starting
            | State::Probing { .. }
            | State::Ready { .. }
            | State::Gone => None,
        };
        PluginInstanceView {
            agent: agent.clone(),
            state: self.state_to_tell(),
            since: self.since.wall,
            restarts: self.restarts,
            facts: self.facts.clone(),
            problem: self.problem.clone(),
            log_tail: self.log_tail.clone(),
            retry_at,
            free: free.clone(),
            image_digest: self.started.as_ref().map(|s| s.digest.clone()),
            progress: self.progress,
        }
    }
}
