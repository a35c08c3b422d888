//! What goes into a volume's machine and what comes out.

use std::collections::{BTreeMap, BTreeSet};

use sutler_api::agent::{OperationReport, VolumeOperation};
use sutler_api::volume::VolumeSpec;
use sutler_ids::Boottime;
use sutler_ids::{Bytes, Problem};
use sutler_ids::{TaskId, VolumeName};

use crate::call::{Abilities, Rpc};
use crate::record::{Created, PublishContext, VolumeRecord};

/// Numbers a call within one run of the machine, so that a late answer is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// A call to make, with all that it is made from.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Its number.
    pub call_id: CallId,
    pub rpc: Rpc,
    pub spec: VolumeSpec,
    /// What its creation returned; absent for Create only.
    pub created: Option<Created>,
    /// What its attachment returned.
    pub publish_context: PublishContext,
    /// The driver's word for this node, for an attach and a detach: the one with which the volume
    /// was attached, whatever the driver calls the node by now.
    pub csi_node_id: String,
    /// What the plugin can do; decides the access mode, and whether a publish names the
    /// staging path.
    pub abilities: Abilities,
}

/// What an expansion returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expanded {
    /// The size now.
    pub capacity: Bytes,
    /// Whether the node has to grow the file system too.
    pub node_expansion_required: bool,
}

/// A mount of a volume on its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mount {
    /// Where it is staged.
    Staging,
    /// Where it is published.
    Target,
}

/// What a look at a mount has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// It is there and answers.
    Stands,
    /// It is not there, or what serves its file system is gone: the kernel says so, in these
    /// words.
    Gone(Problem),
    /// The kernel could not be asked, or its file system has not answered in time. That is no
    /// evidence: nothing is taken down for it.
    NotKnown(Problem),
}

/// Keys and values of one place, as drivers name them.
pub type Segments = BTreeMap<String, String>;

/// What a plugin says that it has made, and what else is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The plugin's identity of it.
    pub csi_volume_id: String,
    /// The driver, by its own name.
    pub driver: String,
    /// Its size, if the plugin has told one.
    pub capacity: Option<Bytes>,
    pub volume_context: BTreeMap<String, String>,
    /// Where it can be reached; from everywhere if that is empty.
    pub topology: Vec<Segments>,
    /// Where this node is, in the driver's words; empty if it has none.
    pub here: Segments,
    /// Another volume of the books with the same identity at the same driver.
    pub also: Option<VolumeName>,
}

/// What the kernel shows at the place of a call, asked right after the plugin has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// The call has no place, or its answer needs no proof.
    NotAsked,
    /// A mount is there; of a block volume that was published, perhaps a device.
    Mounted(String),
    /// Nothing is mounted there.
    Nothing(String),
    /// The kernel has not said.
    NotKnown(Problem),
}

/// A definite good answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Done; nothing to tell.
    Done,
    /// To Create: what the plugin says that it has made.
    Made(Made),
    Attached(PublishContext),
    /// To an expansion.
    Expanded(Expanded),
}

/// What a failure means for the volume, whatever the plugin's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// Nothing was done, and the same request will not fare better.
    Refused,
    /// Nothing was done for want of space or of a free attachment.
    Exhausted,
    /// Something of that name is there already, made from other arguments.
    AlreadyExists,
    /// The plugin does not know the volume.
    NotFound,
    /// Nothing was done; something must change first (in use, unhealthy, no permission).
    NotNow,
    /// It may have been done.
    Uncertain,
}

/// A failed call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What it means.
    pub verdict: Verdict,
    /// For the operator: who said what.
    pub problem: Problem,
}

/// Something happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The master wants a change.
    Operation(VolumeOperation),
    /// A task wants to use it.
    Acquire {
        task_id: TaskId,
        /// Whether it may only read.
        read_only: bool,
    },
    /// A task is done with it.
    Release { task_id: TaskId },
    /// These tasks exist; every other holder is released.
    RetainHolders(BTreeSet<TaskId>),
    /// The plugin answers.
    PluginUp {
        abilities: Abilities,
        /// What it calls this node.
        csi_node_id: String,
    },
    /// The plugin does not answer.
    PluginDown,
    /// The plugin has listed its volumes, with this one among them or not. It existed before the
    /// list was begun.
    Listed { listed: bool },
    /// A call has ended.
    Ended {
        call_id: CallId,
        /// What the plugin says.
        result: Result<Answer, Failure>,
        /// What the kernel says.
        shown: Shown,
    },
    /// A mount that is in use is to be looked at: it may have died.
    Watch,
    /// The host shows a mount of it that the record does not have.
    Stray { mount: Mount },
    /// What [`Effect::Look`] has seen.
    Looked { call_id: CallId, seen: Seen },
    /// The time that was asked for has come.
    Due,
}

impl Event {
    /// Names what follows for the record, as failpoints spell it.
    pub(crate) const fn label(&self) -> &'static str {
        match self {
            Self::Operation(_) => "operation",
            Self::Acquire { .. } | Self::Release { .. } | Self::RetainHolders(_) => "holders",
            Self::PluginUp { .. } | Self::PluginDown | Self::Listed { .. } => "plugin",
            Self::Ended { .. } => "ended",
            Self::Watch => "watch",
            Self::Stray { .. } => "stray",
            Self::Looked { .. } => "looked",
            Self::Due => "due",
        }
    }
}

/// Something to do, after the step's record is durable.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Make a call; its end comes back as [`Event::Ended`].
    Call(Box<Call>),
    /// Look on the host whether a mount that was there still is; the plugin is not asked.
    /// Comes back as [`Event::Looked`].
    Look {
        /// Its number.
        call_id: CallId,
        mount: Mount,
    },
    /// Send [`Event::Due`] at this time; replaces an earlier wish.
    WakeAt(Boottime),
    /// An operation has ended.
    TellOperation(OperationReport),
    /// A task's wish to use the volume has come true or failed.
    TellAcquired {
        task_id: TaskId,
        /// How.
        result: Result<(), Problem>,
    },
    /// A task no longer holds the volume.
    TellReleased { task_id: TaskId },
}

/// What one event leads to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Step {
    /// Write and sync this first, if it is there.
    pub persist: Option<Box<VolumeRecord>>,
    /// What the record is about, as failpoints name it.
    pub cause: &'static str,
    /// Then do these.
    pub effects: Vec<Effect>,
}

/// Why an operation is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Another operation on the volume has not ended.
    #[error("operation {0} on the volume has not ended")]
    Busy(String),
    /// The volume was made by another operation.
    #[error("the volume exists and was made by another request")]
    Exists,
    /// The volume is gone or was never made.
    #[error("the volume does not exist")]
    Absent,
    /// Tasks hold it.
    #[error("the volume is held by task {0}")]
    InUse(String),
    /// The plugin cannot do that.
    #[error("{0}")]
    Unable(String),
    /// The host has a mount of it.
    #[error("{0} is still mounted")]
    Mounted(String),
    /// The kernel has not said whether the host has one.
    #[error("it is not known whether {0} is mounted")]
    MountNotKnown(String),
}
