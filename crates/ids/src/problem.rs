//! One failure, told so that an operator can act.
//!
//! The rule of every error text here: what failed, on which object, who said so, the raw
//! text on its own line, and one command to run next.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What kind of failure it is; decides the HTTP status and the exit code.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The request itself is wrong; repeating it cannot help.
    Invalid,
    /// The caller is not known or not allowed.
    Unauthorized,
    /// No such object.
    NotFound,
    /// The object's present state or holder forbids it.
    Conflict,
    /// Something needed is not there now; repeating later can help.
    Unavailable,
    /// Space, quota or a limit is used up.
    Exhausted,
    /// Our fault.
    Internal,
}

/// Who found the fault.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SaidBy {
    /// This software.
    Sutler,
    /// A storage plugin, by our name for it.
    Plugin(String),
    /// The operating system of a host.
    Kernel,
    /// The container runtime (runc).
    Runtime,
    /// An image registry, by its address.
    Registry(String),
}

/// A failure with everything that an operator needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// The kind, for machines.
    pub kind: ErrorKind,
    /// One sentence of cause without full stop: what failed, on which object.
    pub what: String,
    /// Who said so.
    pub said_by: SaidBy,
    /// The text as it came, on lines of its own; for a plugin with its gRPC code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
    /// One thing to do next, usually a command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Problem {
    /// Makes a problem that we found ourselves.
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self {
            kind,
            what: what.into(),
            said_by: SaidBy::Sutler,
            raw: None,
            hint: None,
        }
    }

    /// Says who found it.
    #[must_use]
    pub fn said_by(mut self, who: SaidBy) -> Self {
        self.said_by = who;
        self
    }

    /// Adds the text as it came.
    #[must_use]
    pub fn raw(mut self, text: impl Into<String>) -> Self {
        self.raw = Some(text.into());
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, text: impl Into<String>) -> Self {
        self.hint = Some(text.into());
        self
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)?;
        match &self.raw {
            Some(raw) => write!(f, ": {raw}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}
