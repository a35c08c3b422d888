//! What a failed call looks like: who said what about which RPC.
//!
//! Owns the code and the raw text. Never judges them; see [`crate::classify`].

use std::error::Error;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tonic::Status;

use crate::limits::{ANSWER_BYTES_MAX, MESSAGE_BYTES_MAX};
use crate::rpc::Rpc;

/// Why a call failed: the sixteen codes of gRPC, and three that are ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "the first sixteen are gRPC's, defined there")]
pub enum Code {
    Cancelled,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    Unauthenticated,
    /// There was no answer: the socket could not be reached, or the connection broke.
    Transport,
    /// The plugin answered OK with something that CSI does not allow.
    BadAnswer,
    /// We refused to send the call.
    NotSent,
}

impl Code {
    /// All of them.
    pub const ALL: [Code; 19] = [
        Code::Cancelled,
        Code::Unknown,
        Code::InvalidArgument,
        Code::DeadlineExceeded,
        Code::NotFound,
        Code::AlreadyExists,
        Code::PermissionDenied,
        Code::ResourceExhausted,
        Code::FailedPrecondition,
        Code::Aborted,
        Code::OutOfRange,
        Code::Unimplemented,
        Code::Internal,
        Code::Unavailable,
        Code::DataLoss,
        Code::Unauthenticated,
        Code::Transport,
        Code::BadAnswer,
        Code::NotSent,
    ];

    /// gRPC's spelling, which is also the value of the metric label `grpc_status_code`.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::Cancelled => "CANCELLED",
            Code::Unknown => "UNKNOWN",
            Code::InvalidArgument => "INVALID_ARGUMENT",
            Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Code::NotFound => "NOT_FOUND",
            Code::AlreadyExists => "ALREADY_EXISTS",
            Code::PermissionDenied => "PERMISSION_DENIED",
            Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Code::FailedPrecondition => "FAILED_PRECONDITION",
            Code::Aborted => "ABORTED",
            Code::OutOfRange => "OUT_OF_RANGE",
            Code::Unimplemented => "UNIMPLEMENTED",
            Code::Internal => "INTERNAL",
            Code::Unavailable => "UNAVAILABLE",
            Code::DataLoss => "DATA_LOSS",
            Code::Unauthenticated => "UNAUTHENTICATED",
            Code::Transport => "TRANSPORT",
            Code::BadAnswer => "BAD_ANSWER",
            Code::NotSent => "NOT_SENT",
        }
    }

    /// Tells whether the plugin itself must have said so. Giving up and a lost connection are
    /// known to its caller alone.
    pub(crate) fn is_answer(self) -> bool {
        !matches!(
            self,
            Code::Transport | Code::DeadlineExceeded | Code::Cancelled | Code::NotSent
        )
    }

    /// None for OK.
    fn from_grpc(code: tonic::Code) -> Option<Code> {
        Some(match code {
            tonic::Code::Ok => return None,
            tonic::Code::Cancelled => Code::Cancelled,
            tonic::Code::Unknown => Code::Unknown,
            tonic::Code::InvalidArgument => Code::InvalidArgument,
            tonic::Code::DeadlineExceeded => Code::DeadlineExceeded,
            tonic::Code::NotFound => Code::NotFound,
            tonic::Code::AlreadyExists => Code::AlreadyExists,
            tonic::Code::PermissionDenied => Code::PermissionDenied,
            tonic::Code::ResourceExhausted => Code::ResourceExhausted,
            tonic::Code::FailedPrecondition => Code::FailedPrecondition,
            tonic::Code::Aborted => Code::Aborted,
            tonic::Code::OutOfRange => Code::OutOfRange,
            tonic::Code::Unimplemented => Code::Unimplemented,
            tonic::Code::Internal => Code::Internal,
            tonic::Code::Unavailable => Code::Unavailable,
            tonic::Code::DataLoss => Code::DataLoss,
            tonic::Code::Unauthenticated => Code::Unauthenticated,
        })
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One failed call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CsiError {
    /// Why.
    pub code: Code,
    /// The raw text of whoever said so, at most [`MESSAGE_BYTES_MAX`] bytes; secrets that
    /// the call carried are blotted out.
    pub message: String,
    /// Which call.
    pub rpc: Rpc,
}

impl CsiError {
    pub(crate) fn not_sent(rpc: Rpc, message: impl Into<String>) -> CsiError {
        CsiError {
            code: Code::NotSent,
            message: message.into(),
            rpc,
        }
    }

    pub(crate) fn bad_answer(rpc: Rpc, message: impl Into<String>) -> CsiError {
        CsiError {
            code: Code::BadAnswer,
            message: message.into(),
            rpc,
        }
    }

    pub(crate) fn deadline(rpc: Rpc, deadline: Duration) -> CsiError {
        let message = format!("no answer within {deadline:?}");
        CsiError {
            code: Code::DeadlineExceeded,
            message,
            rpc,
        }
    }

    /// Tells what the plugin said from what the connection did: only the latter leaves a
    /// source behind, whatever code it was given on the way.
    pub(crate) fn from_status(rpc: Rpc, status: &Status, deadline: Duration) -> CsiError {
        if let Some(source) = status.source() {
            if chain(source).any(|cause| cause.is::<tonic::TimeoutExpired>()) {
                return CsiError::deadline(rpc, deadline);
            }
            return CsiError {
                code: Code::Transport,
                message: bounded(&text(source)),
                rpc,
            };
        }
        if is_oversize(status) {
            let message = format!("the answer is larger than {ANSWER_BYTES_MAX} bytes");
            return CsiError::bad_answer(rpc, message);
        }
        if is_unsendable(status) {
            let message = format!("the answer could not be sent: {}", status.message());
            return CsiError::bad_answer(rpc, bounded(&message));
        }
        match Code::from_grpc(status.code()) {
            Some(code) => CsiError {
                code,
                message: bounded(status.message()),
                rpc,
            },
            None => CsiError::bad_answer(rpc, "an error with code OK"),
        }
    }
}

impl fmt::Display for CsiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CsiError { code, message, rpc } = self;
        match code {
            Code::Transport => write!(f, "{rpc} got no answer: {message}"),
            Code::BadAnswer => write!(f, "{rpc} was answered against the interface: {message}"),
            Code::NotSent => write!(f, "{rpc} was not sent: {message}"),
            Code::Cancelled
            | Code::Unknown
            | Code::InvalidArgument
            | Code::DeadlineExceeded
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
            | Code::Unauthenticated => write!(f, "{rpc} failed with {code}: {message}"),
        }
    }
}

impl Error for CsiError {}

/// Whether our own decoder refused the size. It says so only in words (and with a code that
/// would otherwise be the plugin's verdict on the request); a test pins the words.
fn is_oversize(status: &Status) -> bool {
    status.code() == tonic::Code::OutOfRange
        && status
            .message()
            .starts_with("Error, decoded message length too large")
}

/// Whether the gRPC library at the plugin's end refused the size of an *answer*: the plugin has
/// done the work then, though the code reads like its verdict on the request ("no room", "out
/// of range"). Only the words tell who speaks. Those about a *request* that is too large are
/// not among them: of that the plugin has seen nothing.
///
/// Source: grpc-go `server.go` (`sendResponse`), gRPC core `message_size_filter.cc`, tonic
/// `codec/encode.rs`.
fn is_unsendable(status: &Status) -> bool {
    let words: &[&str] = match status.code() {
        tonic::Code::ResourceExhausted => &[
            "trying to send message larger than max",
            "Sent message larger than max",
        ],
        tonic::Code::OutOfRange => &["Error, encoded message length too large"],
        // gRPC's enum, not ours.
        _ => &[],
    };
    words.iter().any(|words| status.message().contains(words))
}

fn chain<'a>(first: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(first), |error| (**error).source())
}

/// The whole chain of causes as one line; a cause that its parent already quotes is left out.
fn text(first: &(dyn Error + 'static)) -> String {
    let mut line = String::new();
    for cause in chain(first) {
        let cause = cause.to_string();
        if !line.contains(&cause) {
            if !line.is_empty() {
                line.push_str(": ");
            }
            line.push_str(&cause);
        }
    }
    line
}

fn bounded(message: &str) -> String {
    if message.len() <= MESSAGE_BYTES_MAX {
        return message.to_owned();
    }
    let end = message.floor_char_boundary(MESSAGE_BYTES_MAX);
    format!(
        "{} [{} bytes left out]",
        &message[..end],
        message.len() - end
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Refused, Verdict, classify};

    #[test]
    fn a_size_that_a_library_refused_is_no_word_of_the_plugin_about_the_volume() {
        use tonic::Code::{OutOfRange, ResourceExhausted};
        let refused = |refused| Verdict::Definite(refused);
        let exhausted = Verdict::InvertFirst(Refused::Exhausted);
        for (code, message, verdict) in [
            (
                ResourceExhausted,
                "grpc: trying to send message larger than max (5000000 vs. 4194304)",
                Verdict::Uncertain,
            ),
            (
                ResourceExhausted,
                "Sent message larger than max (5000000 vs. 4194304)",
                Verdict::Uncertain,
            ),
            (
                OutOfRange,
                "Error, encoded message length too large: found 5000000 bytes, the limit is: 1",
                Verdict::Uncertain,
            ),
            (
                OutOfRange,
                "Error, decoded message length too large: found 5000000 bytes, the limit is: 1",
                Verdict::Uncertain,
            ),
            (ResourceExhausted, "no space left in pool a", exhausted),
            (
                ResourceExhausted,
                "grpc: received message larger than max (5000000 vs. 4194304)",
                exhausted,
            ),
            (OutOfRange, "at most 1 TiB", refused(Refused::Request)),
        ] {
            let status = Status::new(code, message);
            let error = CsiError::from_status(Rpc::CreateVolume, &status, Duration::ZERO);
            let told = classify(Rpc::CreateVolume, &error, true);
            assert_eq!(told, verdict, "{message}");
        }
    }
}
