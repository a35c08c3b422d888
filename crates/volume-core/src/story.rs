//! The last steps of a volume's life, for `volume why`. In memory only, bounded.

use std::collections::VecDeque;

use sutler_api::volume::{VolumeState, WhyMark, WhyStep};
use sutler_ids::{Boottime, Now, Problem};

use crate::STORY_STEPS_MAX;
use crate::call::Rpc;

/// What has happened to a volume since this process started.
#[derive(Debug, Default)]
pub(crate) struct Story {
    steps: VecDeque<WhyStep>,
    state: Option<VolumeState>,
    /// When the step that is not done began.
    begun: Option<Boottime>,
}

impl Story {
    /// Remembers the state that users see; tells whether it differs from the one before.
    pub(crate) fn set_state(&mut self, state: VolumeState) -> bool {
        self.state
            .replace(state)
            .is_some_and(|before| before != state)
    }

    pub(crate) fn note(&mut self, text: impl Into<String>, now: Now) {
        self.push(WhyStep {
            mark: WhyMark::Done,
            text: text.into(),
            at: Some(now.wall),
            took_ms: None,
        });
    }

    pub(crate) fn begin(&mut self, rpc: Rpc, attempt: u32, now: Now) {
        let text = match attempt {
            0 => rpc.csi_name().to_owned(),
            n => format!("{}, attempt {}", rpc.csi_name(), n.saturating_add(1)),
        };
        // Repeats of one call take one line.
        let repeat = self
            .steps
            .back()
            .is_some_and(|last| attempt > 0 && last.text.starts_with(rpc.csi_name()));
        if repeat {
            self.steps.pop_back();
        }
        self.begun = Some(now.boottime);
        self.push(WhyStep {
            mark: WhyMark::Pending,
            text,
            at: Some(now.wall),
            took_ms: None,
        });
    }

    pub(crate) fn end(&mut self, problem: Option<&Problem>, now: Now) {
        let Some(last) = self
            .steps
            .iter_mut()
            .rev()
            .find(|s| s.mark == WhyMark::Pending)
        else {
            return;
        };
        let took = self.begun.take().map(|begun| now.boottime.since(begun));
        last.took_ms = took.map(|took| took.as_millis().try_into().unwrap_or(u64::MAX));
        match problem {
            None => last.mark = WhyMark::Done,
            Some(problem) => {
                last.mark = WhyMark::Failed;
                let said = problem.raw.as_ref().unwrap_or(&problem.what);
                last.text = format!("{}: {said}", last.text);
            }
        }
    }

    pub(crate) fn steps(&self) -> Vec<WhyStep> {
        self.steps.iter().cloned().collect()
    }

    fn push(&mut self, step: WhyStep) {
        if self.steps.len() == STORY_STEPS_MAX {
            self.steps.pop_front();
        }
        self.steps.push_back(step);
    }
}
