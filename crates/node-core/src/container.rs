//! What both machines are told about a container.

use serde::{Deserialize, Serialize};
use sutler_api::Timestamp;
use sutler_api::task::TaskExit;
use sutler_ids::Problem;

/// A container as found after a restart of the agent.
#[derive(Debug, Clone, PartialEq)]
pub enum ContainerSeen {
    /// There is none, and never was one that ran.
    Absent,
    /// A start was cut short before the command ran, or failed as told.
    NeverStarted(Option<Problem>),
    /// It runs.
    Running {
        /// Since when.
        started_at: Timestamp,
    },
    Ended(ContainerEnd),
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContainerEnd {
    /// Its first process ended and its status is known.
    Exited {
        /// How.
        exit: TaskExit,
        /// When it started.
        started_at: Timestamp,
        /// When it ended.
        ended_at: Timestamp,
    },
    /// Nobody saw it end: its shim was killed or the host went down. Processes of it may
    /// still run until it is removed.
    Lost {
        /// Whether the host was started again since.
        rebooted: bool,
        /// Its last log lines.
        log_tail: Vec<String>,
    },
}

/// Says in a few words how a process ended: `exit status 3`, `signal 9`.
pub fn exit_text(exit: &TaskExit) -> String {
    let end = match (exit.signal, exit.code) {
        (Some(signal), _) => format!("signal {signal}"),
        (None, Some(code)) => format!("exit status {code}"),
        (None, None) => "an unknown status".to_owned(),
    };
    if exit.oom_killed {
        format!("{end}, killed for want of memory")
    } else {
        end
    }
}
