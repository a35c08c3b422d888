//! What a failed call means for the thing it was about.
//!
//! Owns the one table from (call, code, attempt) to a verdict. Pure. Two questions are kept
//! apart: what may be true now ([`Verdict`]), and how soon another try makes sense
//! ([`Code::pace`]).
//!
//! The rule behind the table: only a plugin's clear refusal of the *first* attempt proves
//! that nothing was done. After an attempt that ended in doubt, a refusal speaks of the
//! repeat alone, and only the same call or its inverse, answered, ends the doubt.
//!
//! Source: CSI spec, "Error Scheme" and the tables of the RPCs, read against what plugins do.

use serde::{Deserialize, Serialize};

use crate::error::{Code, CsiError};
use crate::rpc::{Rpc, RpcKind};

#[cfg(test)]
mod tests;

/// What may be true after a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Refused, and nothing was done by this attempt or an earlier one.
    Definite(Refused),
    /// Refused, but an attempt may have left something behind: make the inverse call until
    /// it is answered, then it is as `Definite`.
    InvertFirst(Refused),
    /// May or may not have been done: repeat the same call, or make its inverse. Of a call
    /// that only reads: nothing was learnt.
    Uncertain,
    /// The plugin does not know the volume (or the node, or the volume is not there). Of a
    /// call that unmakes, success only after the absence was verified in another way.
    NotFound,
}

/// Why a call was refused, by what helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refused {
    /// The request itself is wrong; the same one never succeeds.
    Request,
    /// The same name or path is taken with other arguments; the same one never succeeds.
    Conflict,
    /// No room, quota or slot; another place or later may do.
    Exhausted,
    /// In use, in the wrong state, or the plugin lacks something; clear the cause first.
    Precondition,
    /// The plugin's credentials do not suffice; an operator has to act.
    Forbidden,
    /// The plugin cannot do this at all; read its capabilities again.
    Unimplemented,
}

/// How soon another try makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// With the ordinary back-off.
    Normal,
    /// Slowly: something has to be cleared first.
    Slow,
    /// Very slowly, with an alert: an operator has to act.
    VerySlow,
    /// Not at all.
    Never,
}

/// Says what a failed call means. `attempt_was_first` is false if any earlier attempt of the
/// same call may have reached the plugin and was not answered definitely.
pub fn classify(rpc: Rpc, error: &CsiError, attempt_was_first: bool) -> Verdict {
    let Some(refused) = refusal(rpc, error.code) else {
        return match is_absence(rpc, error.code) {
            true => Verdict::NotFound,
            false => Verdict::Uncertain,
        };
    };
    match rpc.kind() {
        RpcKind::Read => read_verdict(refused),
        RpcKind::Do => do_verdict(refused, attempt_was_first),
        RpcKind::Undo => undo_verdict(refused, attempt_was_first),
        RpcKind::Grow => grow_verdict(refused, attempt_was_first),
    }
}

impl Code {
    /// How soon the call may be tried again, if it may.
    pub fn pace(self) -> Pace {
        match self {
            Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::NotFound
            | Code::Aborted
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
            | Code::Transport
            | Code::BadAnswer => Pace::Normal,
            Code::ResourceExhausted | Code::FailedPrecondition => Pace::Slow,
            Code::PermissionDenied | Code::Unauthenticated => Pace::VerySlow,
            Code::InvalidArgument
            | Code::AlreadyExists
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::NotSent => Pace::Never,
        }
    }
}

/// What the plugin refused, if it refused rather than failed.
fn refusal(rpc: Rpc, code: Code) -> Option<Refused> {
    match code {
        Code::InvalidArgument | Code::OutOfRange | Code::NotSent => Some(Refused::Request),
        // Of a new volume only its source can be missing.
        Code::NotFound if rpc == Rpc::CreateVolume => Some(Refused::Request),
        // CSI forbids to repeat this one.
        Code::FailedPrecondition if rpc == Rpc::ExpandNode => Some(Refused::Request),
        Code::AlreadyExists => Some(Refused::Conflict),
        Code::ResourceExhausted => Some(Refused::Exhausted),
        Code::FailedPrecondition => Some(Refused::Precondition),
        Code::PermissionDenied | Code::Unauthenticated => Some(Refused::Forbidden),
        Code::Unimplemented => Some(Refused::Unimplemented),
        Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss
        | Code::Transport
        | Code::BadAnswer => None,
    }
}

fn is_absence(rpc: Rpc, code: Code) -> bool {
    code == Code::NotFound && rpc != Rpc::CreateVolume
}

fn read_verdict(refused: Refused) -> Verdict {
    match refused {
        // Too busy, or its answer is too large: nothing was learnt.
        Refused::Exhausted => Verdict::Uncertain,
        Refused::Request
        | Refused::Conflict
        | Refused::Precondition
        | Refused::Forbidden
        | Refused::Unimplemented => Verdict::Definite(refused),
    }
}

/// "No room" is also what gRPC says when an *answer* is too large to be sent, after the work
/// was done (spec#419): never take it as proof.
fn do_verdict(refused: Refused, attempt_was_first: bool) -> Verdict {
    match attempt_was_first && refused != Refused::Exhausted {
        true => Verdict::Definite(refused),
        false => Verdict::InvertFirst(refused),
    }
}

/// What unmakes has no inverse: in doubt it stays in doubt, except that "in use" proves that
/// the thing is still there.
fn undo_verdict(refused: Refused, attempt_was_first: bool) -> Verdict {
    match attempt_was_first || refused == Refused::Precondition {
        true => Verdict::Definite(refused),
        false => Verdict::Uncertain,
    }
}

/// What grows has no inverse either; a size in doubt is settled by asking for it again.
fn grow_verdict(refused: Refused, attempt_was_first: bool) -> Verdict {
    match attempt_was_first {
        true => Verdict::Definite(refused),
        false => Verdict::Uncertain,
    }
}
