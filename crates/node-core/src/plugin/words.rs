//! The plugin machine's vocabulary: events in, records and effects out.

use serde::{Deserialize, Serialize};
use sutler_api::plugin::{DesiredPlugin, PluginFactsView};
use sutler_api::task::PullProgressView;
use sutler_ids::Boottime;
use sutler_ids::PluginName;
use sutler_ids::Problem;

use crate::container::{ContainerEnd, ContainerSeen};

/// What a plugin machine is told. `run` names the start that an effect belonged to; what comes
/// late from an earlier one is ignored.
#[derive(Debug, Clone, PartialEq)]
pub enum PluginEvent {
    /// The master wants it so.
    Wanted(Box<DesiredPlugin>),
    /// The master no longer wants it.
    Unwanted,
    /// How many volumes of it are staged, published or under way on this node: they depend
    /// on it, for their mounts may live in its processes.
    VolumesHere(usize),
    /// Its record was read; the first event after a restart.
    Recorded(Box<PluginRecord>),
    /// What is there of its container after a restart; the second event.
    Observed(ContainerSeen),
    /// The host has what it needs, or not.
    Prepared {
        /// Of which start.
        run: u64,
        /// What is missing.
        result: Result<(), Problem>,
    },
    /// The pull goes on.
    PullProgress {
        /// Of which start.
        run: u64,
        /// How far.
        progress: PullProgressView,
    },
    /// The pull has ended, with the digest.
    Pulled {
        /// Of which start.
        run: u64,
        /// The digest.
        result: Result<String, Problem>,
    },
    /// The container runs, or could not be started.
    Started {
        /// Of which start.
        run: u64,
        /// Why not.
        result: Result<(), Problem>,
    },
    /// The container has ended.
    Ended {
        /// Of which start.
        run: u64,
        /// How.
        end: ContainerEnd,
    },
    /// The conversation over its socket has ended.
    Probed {
        /// Of which start.
        run: u64,
        /// How.
        outcome: ProbeOutcome,
    },
    /// Its container is stopped; the logs stay until the next start.
    Halted {
        /// Of which start.
        run: u64,
        /// What was found when it was stopped.
        evidence: Evidence,
    },
    /// Everything of its container is gone.
    Cleared,
    /// Stopping or clearing failed in a way that may pass.
    Faltered {
        /// Of which start.
        run: u64,
        /// Why.
        problem: Problem,
    },
    /// A time asked for by [`PluginEffect::WakeAt`] has come.
    Tick,
}

/// How one conversation with a plugin went.
#[derive(Debug, Clone, PartialEq)]
pub enum ProbeOutcome {
    NoSocket,
    /// Nobody answers at the socket.
    NoAnswer {
        /// The text as it came.
        raw: String,
    },
    /// Probe was not answered, yet it answered other calls since the last look.
    Busy {
        /// The text as it came.
        raw: String,
    },
    /// It says itself that it is not ready.
    NotReady,
    /// It answered a call with an error.
    Refused {
        /// The call.
        rpc: String,
        /// Code and text as they came.
        raw: String,
    },
    /// It is ready and said what it is.
    Answered(Box<PluginFactsView>),
}

/// What was found when a plugin was stopped.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Evidence {
    /// Its last log lines.
    pub log_tail: Vec<String>,
    /// Sockets that it listened at, as paths inside its container.
    pub sockets: Vec<String>,
}

/// What a plugin machine wants done. Every effect but `CancelPull`, `Up`, `Down` and `WakeAt`
/// ends in exactly one event; `Pull`, `Watch` and `Probe` may be cut short by `Halt`.
#[derive(Debug, Clone, PartialEq)]
pub enum PluginEffect {
    /// Check needs, templates and paths, and make the folders: `Prepared`.
    Prepare,
    /// Have the image here: `Pulled`.
    Pull,
    /// Nobody waits for the pull any more.
    CancelPull,
    /// Remove what an earlier run left, make and start the container: `Started`.
    Start,
    /// Watch the container: `Ended`.
    Watch,
    /// Ask Probe and, on the first answer, all that the plugin says of itself: `Probed`.
    Probe,
    /// Let volumes be served by it.
    Up,
    /// Volumes can no longer be served by it.
    Down,
    /// Stop the container and find out why it had to be: `Halted`, or `Faltered`.
    Halt,
    CountVolumes,
    /// Remove everything of its container: `Cleared`, or `Faltered`.
    Clear,
    /// Tell `Tick` at that time.
    WakeAt(Boottime),
}

impl PluginEffect {
    /// Names the effect in failpoints and logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Pull => "pull",
            Self::CancelPull => "cancel_pull",
            Self::Start => "start",
            Self::Watch => "watch",
            Self::Probe => "probe",
            Self::Up => "up",
            Self::Down => "down",
            Self::Halt => "halt",
            Self::CountVolumes => "count_volumes",
            Self::Clear => "clear",
            Self::WakeAt(_) => "wake",
        }
    }
}

/// What a plugin machine wants written down.
#[derive(Debug, Clone, PartialEq)]
pub enum PluginPersist {
    Put(Box<PluginRecord>),
    /// The plugin is gone.
    Delete(PluginName),
}

impl PluginPersist {
    /// Names the record in failpoints and logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Put(_) => "put",
            Self::Delete(_) => "forget",
        }
    }
}

/// A plugin on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PluginRecord {
    /// What the master wanted last.
    pub wanted: DesiredPlugin,
    /// Whether it is to go.
    pub removing: bool,
    /// The start that its container, if there is one, came from.
    pub started: Option<StartRecord>,
    /// What it said of itself last.
    pub facts: Option<PluginFactsView>,
}

/// Which definition and image a container was started from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartRecord {
    /// The definition's generation.
    pub generation: u64,
    /// The operator's word that it followed; see [`DesiredPlugin::restart`].
    #[serde(default)]
    pub restart: u64,
    /// The reference that the definition gave.
    #[serde(default)]
    pub image: String,
    /// What that was.
    pub digest: String,
}
