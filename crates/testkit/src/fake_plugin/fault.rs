//! What goes wrong with a call, and with which.
//!
//! Owns the list of faults a test has set. Each is used once unless it is set for always.

use std::time::Duration;

use sutler_csi::Rpc;
use tonic::Code;

/// What goes wrong with one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is done; this is the answer.
    Fail(Code, String),
    /// All is done; this is the answer all the same.
    DoThenFail(Code, String),
    /// Done and answered after that time; nothing is done if the caller gives up before.
    Delay(Duration),
    /// Nothing is done and there is never an answer.
    Hang,
    /// All is done and there is never an answer.
    DoThenHang,
    /// Done and answered only after the test releases what is held, and done even if the
    /// caller has gone by then. Until then other calls for the volume get ABORTED.
    Hold,
    /// All is done at once, answered only after the test releases what is held.
    DoThenHold,
    /// Nothing is done and the connection breaks.
    DropConnection,
    /// All is done and the connection breaks.
    DoThenDropConnection,
    /// The plugin dies before it does anything; the test restarts it.
    Crash,
    /// The plugin dies after it has done all; the test restarts it.
    DoThenCrash,
}

/// With which calls of one kind, counted from when the fault was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Next,
    /// The n-th, counted from one.
    Nth(u64),
    /// Every one.
    Always,
}

/// The faults set.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    rpc: Rpc,
    when: When,
    seen: u64,
    fault: Fault,
}

impl Faults {
    pub(super) fn set(&mut self, rpc: Rpc, when: When, fault: Fault) {
        self.0.push(Rule {
            rpc,
            when,
            seen: 0,
            fault,
        });
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Counts one call and takes what is to go wrong with it; the first set wins.
    pub(super) fn take(&mut self, rpc: Rpc) -> Option<Fault> {
        for rule in self.0.iter_mut().filter(|rule| rule.rpc == rpc) {
            rule.seen += 1;
        }
        let due = self
            .0
            .iter()
            .position(|rule| rule.rpc == rpc && rule.is_due())?;
        let fault = self.0[due].fault.clone();
        if self.0[due].when != When::Always {
            self.0.remove(due);
        }
        Some(fault)
    }
}

impl Rule {
    fn is_due(&self) -> bool {
        match self.when {
            When::Next | When::Always => self.seen >= 1,
            When::Nth(n) => self.seen >= n,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_hits_the_call_it_was_set_for_and_no_other() {
        let mut faults = Faults::default();
        faults.set(Rpc::Stage, When::Nth(2), Fault::Hang);
        faults.set(Rpc::Probe, When::Always, Fault::Crash);
        assert_eq!(faults.take(Rpc::Stage), None);
        assert_eq!(faults.take(Rpc::Publish), None);
        assert_eq!(faults.take(Rpc::Stage), Some(Fault::Hang));
        assert_eq!(faults.take(Rpc::Stage), None);
        assert_eq!(faults.take(Rpc::Probe), Some(Fault::Crash));
        assert_eq!(faults.take(Rpc::Probe), Some(Fault::Crash));
    }
}
