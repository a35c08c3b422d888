//! Whether the plugin still knows a volume, and when it is asked.
//!
//! A question of each volume at each start of its plugin would cost by how many there are, for
//! those that nobody wants. So it is asked before a volume is used; and of those that are missing
//! in the plugin's own list, which is one call for all of them.

use sutler_ids::{Now, Problem};

use crate::call::Rpc;
use crate::event::{Answer, Failure, Verdict};
use crate::machine::Volume;
use crate::record::Known;

/// When the plugin is asked whether it knows the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Verify {
    /// There is no reason to.
    #[default]
    Never,
    /// Before it is used: nobody has spoken of it since the plugin came up. A question of each
    /// volume at each start would cost by how many there are, for those that nobody wants.
    BeforeUse,
    /// Now.
    Due,
}

impl Volume {
    /// The plugin has come up: it may be another one, or have forgotten what it knew.
    pub(crate) fn verify_after_start(&mut self) {
        let in_doubt = self.record.known != Known::Yes || self.live.unverified.is_some();
        self.live.verify = match self.live.verify {
            _ if self.record.created().is_none() => Verify::Never,
            Verify::Due => Verify::Due,
            _ if in_doubt => Verify::Due,
            Verify::Never | Verify::BeforeUse => Verify::BeforeUse,
        };
    }

    /// Tells whether it is to be asked before this call, or now if there is none to make.
    pub(crate) fn asks_before(&self, next: Option<Rpc>) -> bool {
        let asks = match self.live.verify {
            Verify::Never => false,
            Verify::BeforeUse => next.is_some(),
            Verify::Due => true,
        };
        asks && self.record.created().is_some()
    }

    /// The plugin's list has it, or has not. That it is not there is believed only once the plugin
    /// has said so of this very volume: a list may be older than the volume, or lie.
    pub(crate) fn on_listed(&mut self, listed: bool) {
        let trusted = self.record.known == Known::Yes && self.live.unverified.is_none();
        self.live.verify = match (self.live.verify, listed) {
            (Verify::BeforeUse, true) if trusted => Verify::Never,
            (verify, true) => verify,
            (_, false) if self.record.created().is_some() => Verify::Due,
            (verify, false) => verify,
        };
    }

    pub(crate) fn on_verified(&mut self, result: Result<Answer, Failure>, now: Now) {
        if let Some(problem) = self.live.refused.take() {
            return self.on_creation_verified(problem, result, now);
        }
        self.live.verify = Verify::Never;
        self.live.unverified = None;
        let Failure { verdict, problem } = match result {
            Ok(_) => {
                self.record.known = Known::Yes;
                return;
            }
            Err(failure) => failure,
        };
        match verdict {
            Verdict::NotFound => {
                if self.record.known == Known::Yes {
                    let (since, raw) = (now.wall, problem.raw.unwrap_or(problem.what));
                    self.record.known = Known::No { since, raw };
                }
                let problem = self.missing_problem();
                self.fail_holders(&problem);
            }
            Verdict::Uncertain => {
                self.live.unverified = Some(problem);
                self.live.verify = Verify::Due;
                self.live.attempt = self.live.attempt.saturating_add(1);
                self.retry_later(self.backoff_ms(), now);
            }
            // It is known, and something is wrong with it. What that means for a use, the use
            // will tell; until then it is in sight.
            Verdict::NotNow => self.live.unverified = Some(problem),
            // A plugin that cannot or will not say keeps our trust.
            Verdict::Refused | Verdict::Exhausted | Verdict::AlreadyExists => {}
        }
    }

    /// A creation was refused after its outcome had been unknown. A good answer says that
    /// the plugin lists nothing but what the books have.
    fn on_creation_verified(
        &mut self,
        problem: Problem,
        result: Result<Answer, Failure>,
        now: Now,
    ) {
        match result.err().map(|failure| failure.verdict) {
            None => self.fail_creation(problem, now),
            // The plugin cannot list: only the operator, by removing it, can end this.
            Some(Verdict::Refused) if self.record.deleting() => self.fail_creation(problem, now),
            Some(_) => self.wait_slowly(problem, now),
        }
    }
}
