//! The image of a plugin: pulled for a start, or for a change beside the container that runs.

use sutler_ids::{Now, Problem};

use super::{Plugin, PluginEffect, PluginStep, StartRecord, State, Then, Upgrade};
use crate::backoff;

impl Plugin {
    /// Gives what the wanted reference was at the last start, to go on with while its source is
    /// away. None for another reference: a change that cannot be made must not look done.
    pub fn kept_digest(&self) -> Option<&str> {
        let started = self.started.as_ref()?;
        (started.image == self.wanted.definition.image).then_some(started.digest.as_str())
    }

    pub(super) fn on_pulled(&mut self, result: Result<String, Problem>, now: Now) -> PluginStep {
        self.progress = None;
        match (&mut self.state, result) {
            (State::Pulling, Ok(digest)) => self.start(digest),
            (State::Pulling, Err(problem)) => self.back_off(problem, now),
            (
                State::Ready {
                    upgrade: upgrade @ Upgrade::Pulling,
                    ..
                },
                Ok(_),
            ) => {
                *upgrade = Upgrade::None;
                self.halt(Then::Again)
            }
            (State::Ready { upgrade, .. }, Err(problem)) => {
                let at = now.after_ms(backoff::MOST_MS);
                *upgrade = Upgrade::PullAgainAt(at);
                self.problem = Some(problem);
                PluginStep::act(PluginEffect::WakeAt(at))
            }
            (
                State::New
                | State::Recovering
                | State::Preparing
                | State::Starting
                | State::Probing { .. }
                | State::Ready { .. }
                | State::Stopping { .. }
                | State::BackingOff { .. }
                | State::Clearing { .. }
                | State::Gone,
                _,
            ) => PluginStep::default(),
        }
    }

    fn start(&mut self, digest: String) -> PluginStep {
        if self.started.is_some() {
            self.restarts += 1;
        }
        self.started = Some(StartRecord {
            generation: self.wanted.generation,
            restart: self.wanted.restart,
            image: self.wanted.definition.image.clone(),
            digest,
        });
        self.state = State::Starting;
        let record = self.put();
        PluginStep::act(PluginEffect::Start).record(record)
    }
}
