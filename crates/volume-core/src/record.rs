//! What is durable about a volume: one record, rewritten at each transition.
//!
//! Everything needed to go on without the plugin's or the master's help is in it: an absent
//! plugin blocks progress, it never changes meaning.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sutler_api::Timestamp;
use sutler_api::agent::{Outcome, VolumeAct};
use sutler_api::volume::VolumeSpec;
use sutler_ids::{Bytes, Problem};
use sutler_ids::{OperationUuid, TaskId};

use crate::call::{Abilities, Rpc};

/// What the plugin returned when the volume was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    /// The plugin's identity of it.
    pub csi_volume_id: String,
    /// Its size as the plugin told; never shrinks.
    pub capacity: Bytes,
    /// Passed back in later calls, unchanged. Treated as secret when printed elsewhere.
    pub volume_context: BTreeMap<String, String>,
    /// The driver that has made it, by its own name: no two volumes of one have one identity.
    pub driver: String,
}

/// What an attach returned, for the calls on the node. Belongs to one attachment.
pub type PublishContext = BTreeMap<String, String>;

/// A place on the ladder where no call is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settled {
    /// Nothing in the back end.
    Absent,
    /// Exists in the back end.
    Created(Created),
    /// Attached to this node.
    NodeReady(Created, PublishContext),
    /// Staged on this node.
    VolReady(Created, PublishContext),
    /// Published on this node.
    Published(Created, PublishContext),
}

impl Settled {
    /// Gives what the plugin returned, if the volume exists.
    pub fn created(&self) -> Option<&Created> {
        match self {
            Self::Absent => None,
            Self::Created(created)
            | Self::NodeReady(created, _)
            | Self::VolReady(created, _)
            | Self::Published(created, _) => Some(created),
        }
    }

    pub(crate) fn created_mut(&mut self) -> Option<&mut Created> {
        match self {
            Self::Absent => None,
            Self::Created(created)
            | Self::NodeReady(created, _)
            | Self::VolReady(created, _)
            | Self::Published(created, _) => Some(created),
        }
    }

    pub(crate) fn context(&self) -> PublishContext {
        match self {
            Self::Absent | Self::Created(_) => PublishContext::new(),
            Self::NodeReady(_, context)
            | Self::VolReady(_, context)
            | Self::Published(_, context) => context.clone(),
        }
    }

    /// Tells whether it is above the rung of attaching; also of a plugin without that rung.
    pub(crate) const fn is_attached(&self) -> bool {
        matches!(
            self,
            Self::NodeReady(..) | Self::VolReady(..) | Self::Published(..)
        )
    }

    /// Tells whether something of the volume is on this host's mount table.
    pub(crate) const fn on_host(&self) -> bool {
        matches!(self, Self::VolReady(..) | Self::Published(..))
    }
}

/// A recorded call that may have been made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlight {
    /// The call.
    pub rpc: Rpc,
    /// Where the volume was when it was recorded.
    pub from: Settled,
    /// When it was recorded.
    pub since: Timestamp,
}

/// Where a volume is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// No call is open.
    Settled(Settled),
    /// One call is open.
    InFlight(InFlight),
    /// Could not be made; nothing exists in the back end.
    Failed(Problem),
    /// Deleted; the record stays until the master has recorded that.
    Gone,
}

/// Whether the plugin knows the volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Known {
    /// As far as we were told.
    Yes,
    /// It said NOT_FOUND of a volume that our books have.
    No {
        /// When it first said so.
        since: Timestamp,
        /// What it said.
        raw: String,
    },
}

/// An operation that has not ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PendingOperation {
    /// Its identity.
    pub operation_uuid: OperationUuid,
    /// The change.
    pub act: VolumeAct,
}

/// An operation that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Its identity.
    pub operation_uuid: OperationUuid,
    /// How.
    pub outcome: Outcome,
    /// When.
    pub at: Timestamp,
}

/// Which of a volume's places were a mount point, or a device, when the plugin had made them.
/// Only what was seen then is missed later: a plugin need not mount anything to stage, and one
/// whose definition says so nothing to publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Mounts {
    /// The place where it is staged.
    pub staging: bool,
    /// The place where it is published.
    pub target: bool,
}

/// The durable truth about one volume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VolumeRecord {
    /// What was asked for; every replay of a call is made from it.
    pub spec: VolumeSpec,
    /// Where it is.
    pub phase: Phase,
    /// Whether the plugin knows it.
    pub known: Known,
    /// The tasks that hold it; the value tells whether the task may only read.
    pub holders: BTreeMap<TaskId, bool>,
    /// The operation that has not ended.
    pub pending: Option<PendingOperation>,
    /// Operations that have, newest last.
    pub ended: Vec<Ended>,
    /// What the plugin could do when it was last up.
    pub abilities: Option<Abilities>,
    /// A file system on this host that has yet to be grown to the volume's size.
    pub node_expand_due: Option<Bytes>,
    /// What the host showed when the present staging and publication were made.
    #[serde(default)]
    pub mounts: Mounts,
    /// The driver's word for this node when the present attachment was begun.
    pub attached_as: Option<String>,
    /// Why what was made must not be used, though it is there: its creation failed. Only its
    /// deletion is left.
    pub unfit: Option<Problem>,
    /// What is above the foot of the ladder was not climbed in order: all of it comes down before
    /// anything goes up.
    #[serde(default)]
    pub coming_down: bool,
    /// The boot during which mounts were made; another boot has none of them.
    pub boot_id: String,
    /// When the state that users see last changed.
    pub since: Timestamp,
}

impl VolumeRecord {
    /// Gives where the volume is, or was when its open call was recorded.
    pub fn base(&self) -> Option<&Settled> {
        match &self.phase {
            Phase::Settled(settled) => Some(settled),
            Phase::InFlight(flight) => Some(&flight.from),
            Phase::Failed(_) | Phase::Gone => None,
        }
    }

    /// Gives what the plugin returned at creation, if it exists.
    pub fn created(&self) -> Option<&Created> {
        self.base().and_then(Settled::created)
    }

    /// Tells whether it is above the foot of the ladder.
    pub(crate) fn is_up(&self) -> bool {
        self.base().is_some_and(Settled::is_attached)
    }

    /// Tells whether deletion was asked for.
    pub fn deleting(&self) -> bool {
        matches!(
            &self.pending,
            Some(PendingOperation {
                act: VolumeAct::Delete,
                ..
            })
        )
    }

    /// Tells whether the volume is, or may be, on this host's mount table.
    pub fn maybe_on_host(&self) -> bool {
        match &self.phase {
            Phase::Settled(settled) => settled.on_host(),
            Phase::InFlight(flight) => {
                flight.from.on_host() || matches!(flight.rpc, Rpc::Stage | Rpc::Publish)
            }
            Phase::Failed(_) | Phase::Gone => false,
        }
    }
}
