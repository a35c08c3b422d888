//! Why a plugin had to be stopped or did not come up, as texts that an operator can act on.

use sutler_api::plugin::DesiredPlugin;
use sutler_api::task::TaskExit;
use sutler_ids::{ErrorKind, PluginName, Problem, SaidBy};

use super::{Evidence, ProbeOutcome};
use crate::container::{ContainerEnd, exit_text};

/// Why a run of a plugin ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cause {
    /// Its container could not be started.
    NotStarted(Problem),
    /// Its container ended by itself.
    Ended {
        /// How.
        end: ContainerEnd,
        /// Whether it had answered before.
        was_ready: bool,
    },
    /// It did not become ready in time.
    NotReadyInTime {
        /// What the last conversation gave.
        last: Option<ProbeOutcome>,
    },
    /// It stopped answering.
    Silent {
        /// What the last conversation gave.
        last: Option<ProbeOutcome>,
    },
    /// It is another driver than its definition says.
    OtherDriver {
        /// The name that it reports.
        told: String,
    },
}

impl Cause {
    /// Tells it, with what was found.
    pub fn problem(self, wanted: &DesiredPlugin, evidence: &Evidence) -> Problem {
        let problem = match self {
            Self::NotStarted(problem) => return problem,
            Self::Ended { end, was_ready } => ended(wanted, &end, was_ready),
            Self::NotReadyInTime { last } => not_ready(wanted, last, &evidence.sockets),
            Self::Silent { last } => silent(wanted, last),
            Self::OtherDriver { told } => return other_driver(wanted, &told),
        };
        match (
            &problem.raw,
            evidence
                .log_tail
                .iter()
                .rev()
                .find(|l| !l.trim().is_empty()),
        ) {
            (None, Some(line)) => problem.raw(line.clone()),
            (Some(_), _) | (None, None) => problem,
        }
    }
}

fn ended(wanted: &DesiredPlugin, end: &ContainerEnd, was_ready: bool) -> Problem {
    let name = &wanted.name;
    let when = if was_ready {
        "while it was in use"
    } else {
        "before it was ready"
    };
    match end {
        ContainerEnd::Exited {
            exit: exit @ TaskExit {
                oom_killed: true, ..
            },
            ..
        } => Problem::new(
            ErrorKind::Exhausted,
            format!("plugin {name} was killed for want of memory {when}"),
        )
        .said_by(SaidBy::Kernel)
        .raw(exit_text(exit))
        .hint("free memory on this host; the plugin is started again by itself"),
        ContainerEnd::Exited { exit, .. } => Problem::new(
            ErrorKind::Unavailable,
            format!("plugin {name} ended {when} with {}", exit_text(exit)),
        )
        .said_by(SaidBy::Plugin(name.to_string()))
        .hint(format!("sutler plugin logs {name}")),
        ContainerEnd::Lost { .. } => Problem::new(
            ErrorKind::Unavailable,
            format!("the process that looked after plugin {name} was killed"),
        )
        .hint("nothing to do: the plugin is started again by itself"),
    }
}

fn not_ready(wanted: &DesiredPlugin, last: Option<ProbeOutcome>, sockets: &[String]) -> Problem {
    let name = &wanted.name;
    let endpoint = &wanted.definition.endpoint;
    let time = &wanted.definition.startup_timeout;
    let unavailable = |what: String| Problem::new(ErrorKind::Unavailable, what);
    match (last, sockets.first()) {
        (None | Some(ProbeOutcome::NoSocket), Some(other)) => unavailable(format!(
            "plugin {name} listens at {other} inside its container, not at {endpoint}"
        ))
        .hint(format!(
            "set endpoint = \"{other}\" in its definition, or pass {{{{endpoint.url}}}} to it \
             in args; then sutler plugin add again"
        )),
        (None | Some(ProbeOutcome::NoSocket), None) => unavailable(format!(
            "plugin {name} did not open its socket {endpoint} within {time}"
        ))
        .hint(format!(
            "tell it where to listen with {{{{endpoint.url}}}} in args or env of its \
                     definition; sutler plugin logs {name}"
        )),
        (Some(ProbeOutcome::NotReady | ProbeOutcome::Answered(_)), _) => unavailable(format!(
            "plugin {name} still says that it is not ready after {time}"
        ))
        .said_by(SaidBy::Plugin(name.to_string()))
        .hint(format!(
            "sutler plugin logs {name}; if it only needs longer, raise startup_timeout"
        )),
        (Some(ProbeOutcome::NoAnswer { raw } | ProbeOutcome::Busy { raw }), _) => {
            unavailable(format!("plugin {name} does not answer at {endpoint}"))
                .raw(raw)
                .hint(format!("sutler plugin logs {name}"))
        }
        (Some(ProbeOutcome::Refused { rpc, raw }), _) => {
            unavailable(format!("plugin {name} refused {rpc}"))
                .said_by(SaidBy::Plugin(name.to_string()))
                .raw(raw)
                .hint(format!("sutler plugin logs {name}"))
        }
    }
}

/// Tells of a plugin that says itself that it is not ready.
pub(super) fn says_not_ready(wanted: &DesiredPlugin) -> Problem {
    let name = &wanted.name;
    let what = format!("plugin {name} says itself that it is not ready");
    Problem::new(ErrorKind::Unavailable, what)
        .said_by(SaidBy::Plugin(name.to_string()))
        .hint(format!(
            "nothing to do here: calls wait until it says that it is ready, and it is left \
             running; sutler plugin logs {name}"
        ))
}

/// Tells of a silent plugin that is left running, because volumes may depend on it.
pub(super) fn left_running(wanted: &DesiredPlugin, last: Option<ProbeOutcome>) -> Problem {
    let name = &wanted.name;
    silent(wanted, last).hint(format!(
        "it is left running, for volumes in use may depend on it; sutler plugin logs {name}; \
         to start it again all the same: sutler plugin restart {name} --in-use"
    ))
}

fn silent(wanted: &DesiredPlugin, last: Option<ProbeOutcome>) -> Problem {
    let name = &wanted.name;
    let (what, raw) = match last {
        None => (format!("plugin {name} does not answer"), None),
        Some(last) => stopped(name, last),
    };
    let problem = Problem::new(ErrorKind::Unavailable, what)
        .said_by(SaidBy::Plugin(name.to_string()))
        .hint(format!(
            "it is started again by itself; sutler plugin logs {name}"
        ));
    match raw {
        Some(raw) => problem.raw(raw),
        None => problem,
    }
}

fn stopped(name: &PluginName, last: ProbeOutcome) -> (String, Option<String>) {
    match last {
        ProbeOutcome::NoSocket => (format!("the socket of plugin {name} is gone"), None),
        ProbeOutcome::NotReady | ProbeOutcome::Answered(_) => (
            format!("plugin {name} says that it is no longer ready"),
            None,
        ),
        ProbeOutcome::NoAnswer { raw } | ProbeOutcome::Busy { raw } => {
            (format!("plugin {name} stopped answering"), Some(raw))
        }
        ProbeOutcome::Refused { rpc, raw } => (
            format!("plugin {name} refused {rpc} again and again"),
            Some(raw),
        ),
    }
}

fn other_driver(wanted: &DesiredPlugin, told: &str) -> Problem {
    let name = &wanted.name;
    let expected = wanted.definition.driver.as_deref().unwrap_or_default();
    Problem::new(
        ErrorKind::Invalid,
        format!("plugin {name} is the driver {told:?}, its definition says {expected:?}"),
    )
    .said_by(SaidBy::Plugin(name.to_string()))
    .hint(format!(
        "check the image, or set driver = \"{told}\" in the definition"
    ))
}
