//! What a command that did not succeed tells: error, cause, hint and exit status.
//!
//! Owns the one mapping from [`ErrorKind`] to exit status. It never prints.

use std::error::Error;
use std::process::ExitCode;

use sutler_ids::{ErrorKind, Problem, SaidBy};

use crate::show::human::{printable, printable_json};

/// Most causes that are followed: a bound against an error that is its own source.
const CAUSES_MAX: usize = 16;

/// How the program ends. Values are part of the promise to scripts; see `sutler --help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitStatus(pub u8);

impl ExitStatus {
    /// Done.
    pub const OK: Self = Self(0);
    /// Failed.
    pub const FAILED: Self = Self(1);
    /// The command line or the request itself is wrong.
    pub const USAGE: Self = Self(2);
    /// Not done, and not failed: it goes on without us.
    pub(crate) const STILL_GOING: Self = Self(3);
    /// Refused for safety.
    pub const REFUSED: Self = Self(4);
    /// `run` only: the platform failed, not the container (as docker does).
    pub(crate) const PLATFORM: Self = Self(125);
    /// `run` only: the command cannot be executed (as shells do).
    pub(crate) const NOT_EXECUTABLE: Self = Self(126);
    /// `run` only: the command was not found (as shells do).
    pub const NOT_FOUND: Self = Self(127);
    /// `run` only: stopped with Ctrl-C before a container ran.
    pub(crate) const INTERRUPTED: Self = Self(130);

    /// Gives the status of a request that the master refused.
    pub(crate) const fn of_refusal(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Invalid => Self::USAGE,
            ErrorKind::Conflict => Self::REFUSED,
            ErrorKind::Unauthorized
            | ErrorKind::NotFound
            | ErrorKind::Unavailable
            | ErrorKind::Exhausted
            | ErrorKind::Internal => Self::FAILED,
        }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status.0)
    }
}

/// Why a command ends without success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Something to tell.
    Told(Box<Report>),
    /// The reader of our output went away, as `| head` does: nobody is left to tell.
    OutputClosed,
}

/// How failures are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// By people.
    Text {
        /// Whether labels are coloured.
        colour: bool,
    },
    /// By programs.
    Json,
}

/// One failure as it is printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What the program exits with.
    pub status: ExitStatus,
    /// What failed, on which object.
    pub what: String,
    /// Who said so and in which words, one entry for each.
    pub causes: Vec<String>,
    /// One thing to do next.
    pub hint: Option<String>,
}

impl Report {
    /// Makes a report of a plain failure.
    pub fn new(what: impl Into<String>) -> Self {
        Self {
            status: ExitStatus::FAILED,
            what: what.into(),
            causes: Vec::new(),
            hint: None,
        }
    }

    /// Makes a report of a problem that was told of an object, not of our request.
    pub fn of_problem(problem: &Problem) -> Self {
        Self {
            status: ExitStatus::FAILED,
            what: problem.what.clone(),
            causes: cause_of(problem).into_iter().collect(),
            hint: problem.hint.clone(),
        }
    }

    /// Makes a report of an error and the chain behind it.
    pub fn of_error(error: &dyn Error) -> Self {
        let mut report = Self::new(error.to_string());
        let mut source = error.source();
        for _ in 0..CAUSES_MAX {
            let Some(cause) = source else { break };
            let text = cause.to_string();
            // Some libraries repeat their source in their own text.
            if !report
                .causes
                .last()
                .is_some_and(|last| last.contains(&text))
            {
                report.causes.push(text);
            }
            source = cause.source();
        }
        report
    }

    /// Makes a report of an error and only the last cause behind it: for errors whose steps
    /// between are a library's business.
    pub(crate) fn of_error_and_root(error: &dyn Error) -> Self {
        let mut root = error.source();
        for _ in 0..CAUSES_MAX {
            let Some(deeper) = root.and_then(Error::source) else {
                break;
            };
            root = Some(deeper);
        }
        let causes = root.map(ToString::to_string).into_iter().collect();
        Self {
            causes,
            ..Self::new(error.to_string())
        }
    }

    /// Sets what the program exits with.
    #[must_use]
    pub fn status(mut self, status: ExitStatus) -> Self {
        self.status = status;
        self
    }

    /// Adds who said so and in which words.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Writes it as it is looked at.
    pub(crate) fn rendered(&self, look: Look) -> String {
        match look {
            Look::Text { colour } => self.render(colour),
            Look::Json => self.render_json(),
        }
    }

    /// Writes the lines: `error:`, `cause:` and `hint:`, labels in colour if asked.
    pub fn render(&self, colour: bool) -> String {
        let mut out = line("error", "31", &self.what, colour);
        for cause in &self.causes {
            out.push_str(&line("cause", "33", cause, colour));
        }
        if let Some(hint) = &self.hint {
            out.push_str(&line("hint", "36", hint, colour));
        }
        out
    }

    /// Writes the same as one JSON object on a line: `error`, `causes`, `hint`, `exit_status`.
    pub fn render_json(&self) -> String {
        let object = serde_json::json!({
            "error": self.what,
            "causes": self.causes,
            "hint": self.hint,
            "exit_status": self.status.0,
        });
        format!("{}\n", printable_json(&object.to_string()))
    }
}

impl From<Report> for Failure {
    fn from(report: Report) -> Self {
        Self::Told(Box::new(report))
    }
}

/// Writes one labelled text; its further lines are indented.
fn line(label: &str, colour_code: &str, text: &str, colour: bool) -> String {
    let label = match colour {
        true => format!("\u{1b}[1;{colour_code}m{label}:\u{1b}[0m"),
        false => format!("{label}:"),
    };
    let text = printable(text.trim_end());
    format!("{label} {}\n", text.replace('\n', "\n  "))
}

/// Names who found a problem, and gives the raw text on lines of its own.
fn cause_of(problem: &Problem) -> Option<String> {
    let who = match &problem.said_by {
        SaidBy::Sutler => "sutler".to_owned(),
        SaidBy::Plugin(name) => format!("plugin {name}"),
        SaidBy::Kernel => "the kernel".to_owned(),
        SaidBy::Runtime => "the container runtime (runc)".to_owned(),
        SaidBy::Registry(address) => format!("registry {address}"),
    };
    match (&problem.raw, &problem.said_by) {
        (Some(raw), _) => Some(format!("{who} says:\n{raw}")),
        (None, SaidBy::Sutler) => None,
        (None, SaidBy::Plugin(_)) => Some(format!("{who} said nothing of it")),
        (None, _) => Some(format!("{who} says so")),
    }
}
