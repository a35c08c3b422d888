//! What goes wrong between us and a master, and what an operator can do about it.

use sutler_ids::{ErrorKind, Problem};

use super::locate::LocateError;
use crate::failure::{ExitStatus, Failure, Report};

/// Says why no connection can be prepared.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address is not one.
    #[error("master address {address:?} {fault}")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// A token would be readable on the way.
    #[error("the token is not sent to {address}: plain HTTP shows it to whoever listens")]
    Plain {
        /// What was given.
        address: String,
    },
    /// The authority's certificate is not one.
    #[error("cannot read the authority's certificate")]
    Certificate {
        /// Why.
        source: reqwest::Error,
    },
    /// The HTTP client could not be made.
    #[error("cannot prepare the connection to the master")]
    Prepare {
        /// Why.
        source: reqwest::Error,
    },
}

/// Says why a call has no answer of use.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No connection.
    #[error("cannot reach the master at {address}")]
    Unreachable {
        /// The master's address.
        address: String,
        /// Why.
        source: reqwest::Error,
    },
    /// The connection ended, or the time, before the answer did.
    #[error("lost the connection to the master at {address} during the call")]
    Broken {
        /// The master's address.
        address: String,
        /// Why.
        source: reqwest::Error,
    },
    /// The master says no.
    #[error("{problem}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// What it says.
        problem: Problem,
    },
    /// The answer is an error in a form that is not ours.
    #[error("{address} answers with HTTP status {status} and no problem that we can read")]
    NotOurs {
        /// The master's address.
        address: String,
        /// HTTP status.
        status: u16,
        /// Its first bytes.
        body: String,
    },
    /// The answer is of another shape.
    #[error("cannot read the master's answer to {path}")]
    Shape {
        /// What was asked for.
        path: String,
        /// Why.
        source: serde_json::Error,
    },
}

impl CallError {
    /// Tells whether a repeat of a harmless call may help: the master is away for now.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Broken { .. } => true,
            Self::Refused { problem, .. } => problem.kind == ErrorKind::Unavailable,
            Self::NotOurs { status, .. } => matches!(status, 502..=504),
            Self::Shape { .. } => false,
        }
    }

    /// Tells whether the master says that there is no such object.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { problem, .. } if problem.kind == ErrorKind::NotFound)
    }

    fn report(&self) -> Report {
        match self {
            Self::Unreachable { .. } => unreachable_report(self),
            Self::Broken { address, .. } if address.starts_with("http://") => {
                Report::of_error_and_root(self).hint(only_tls(address))
            }
            Self::Broken { .. } => Report::of_error_and_root(self)
                .hint("it may have been accepted: look with the matching `ls` before repeating it"),
            Self::Refused { problem, .. } => {
                let report =
                    Report::of_problem(problem).status(ExitStatus::of_refusal(problem.kind));
                match (problem.kind, &problem.hint) {
                    (ErrorKind::Unauthorized, None) => report.hint(
                        "give the cluster's token with --token-file FILE, or use its --state-dir",
                    ),
                    _ => report,
                }
            }
            Self::NotOurs { address, body, .. } => {
                let mut report = Report::of_error(self).hint(format!(
                    "is {address} a sutler master? Try: curl {address}/health"
                ));
                report.causes.push(format!("{address} says:\n{body}"));
                report
            }
            Self::Shape { .. } => Report::of_error(self)
                .hint("are this program and the master of the same version? Try: sutler version"),
        }
    }
}

/// Says what to write for an address without TLS.
fn only_tls(address: &str) -> String {
    let rest = address.strip_prefix("http://").unwrap_or(address);
    format!(
        "a master speaks only TLS: write https://{rest}, and give --ca-file FILE: tls/ca.pem in \
         its state directory"
    )
}

/// Tells a master that is not there from one whose certificate we cannot check.
fn unreachable_report(error: &CallError) -> Report {
    let report = Report::of_error_and_root(error);
    // The TLS library's own error lies too deep in the chain to be matched by type.
    match report
        .causes
        .iter()
        .any(|cause| cause.contains("certificate"))
    {
        true => report.hint(
            "give the certificate of the master's authority with --ca-file FILE: tls/ca.pem in \
             its state directory",
        ),
        false => report
            .hint("is `sutler up` running? Start it, or name another master with --master URL"),
    }
}

impl From<CallError> for Report {
    fn from(error: CallError) -> Self {
        error.report()
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        error.report().into()
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        let report = Report::of_error(&error);
        match error {
            ConnectError::Address { .. } => report
                .status(ExitStatus::USAGE)
                .hint("write it like https://10.0.0.1:5050"),
            ConnectError::Plain { address } => {
                report.status(ExitStatus::USAGE).hint(only_tls(&address))
            }
            ConnectError::Certificate { .. } => {
                report.hint("give the file that the master made, with --ca-file FILE")
            }
            ConnectError::Prepare { .. } => report.hint(
                "give the certificate that the master made, with --ca-file FILE; or install \
                 the system's authorities: apt-get install ca-certificates",
            ),
        }
        .into()
    }
}

impl From<LocateError> for Failure {
    fn from(error: LocateError) -> Self {
        Report::of_error(&error).hint(error.hint()).into()
    }
}
