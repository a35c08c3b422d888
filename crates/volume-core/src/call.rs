//! Which calls there are about a volume, and what a plugin can do of them.

use serde::{Deserialize, Serialize};
use sutler_ids::Bytes;

/// A call about one volume. The wire's names are in the CSI spec, "RPC Interface".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rpc {
    /// CreateVolume.
    Create,
    /// DeleteVolume.
    Delete,
    /// ControllerPublishVolume.
    Attach,
    /// ControllerUnpublishVolume.
    Detach,
    /// NodeStageVolume.
    Stage,
    /// NodeUnstageVolume.
    Unstage,
    /// NodePublishVolume.
    Publish,
    /// NodeUnpublishVolume.
    Unpublish,
    /// ControllerExpandVolume.
    ControllerExpand(Bytes),
    /// NodeExpandVolume.
    NodeExpand(Bytes),
    /// Does the plugin know the volume? Changes nothing. ValidateVolumeCapabilities for a
    /// volume that was made. For one whose creation was refused after doubt (`created` is
    /// `None`), ListVolumes: `Done` when it lists only what the books have, `Uncertain` when
    /// it lists something else, `Refused` when it has no list.
    Verify,
}

impl Rpc {
    /// Gives the call's name in the CSI spec.
    pub const fn csi_name(self) -> &'static str {
        match self {
            Self::Create => "CreateVolume",
            Self::Delete => "DeleteVolume",
            Self::Attach => "ControllerPublishVolume",
            Self::Detach => "ControllerUnpublishVolume",
            Self::Stage => "NodeStageVolume",
            Self::Unstage => "NodeUnstageVolume",
            Self::Publish => "NodePublishVolume",
            Self::Unpublish => "NodeUnpublishVolume",
            Self::ControllerExpand(_) => "ControllerExpandVolume",
            Self::NodeExpand(_) => "NodeExpandVolume",
            Self::Verify => "ValidateVolumeCapabilities",
        }
    }

    /// Tells whether the call takes something of a volume away.
    pub const fn is_down(self) -> bool {
        match self {
            Self::Unpublish | Self::Unstage | Self::Detach | Self::Delete => true,
            Self::Create
            | Self::Attach
            | Self::Stage
            | Self::Publish
            | Self::ControllerExpand(_)
            | Self::NodeExpand(_)
            | Self::Verify => false,
        }
    }

    /// Gives the call's short name, as failpoints and logs use it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Attach => "attach",
            Self::Detach => "detach",
            Self::Stage => "stage",
            Self::Unstage => "unstage",
            Self::Publish => "publish",
            Self::Unpublish => "unpublish",
            Self::ControllerExpand(_) => "controller_expand",
            Self::NodeExpand(_) => "node_expand",
            Self::Verify => "verify",
        }
    }

    /// Names the record that the call is about to be made, as failpoints spell it.
    pub(crate) const fn intent_label(self) -> &'static str {
        match self {
            Self::Create => "create_intent",
            Self::Delete => "delete_intent",
            Self::Attach => "attach_intent",
            Self::Detach => "detach_intent",
            Self::Stage => "stage_intent",
            Self::Unstage => "unstage_intent",
            Self::Publish => "publish_intent",
            Self::Unpublish => "unpublish_intent",
            Self::ControllerExpand(_) => "controller_expand_intent",
            Self::NodeExpand(_) => "node_expand_intent",
            Self::Verify => "verify_intent",
        }
    }

    /// Names the record of its end, as failpoints spell it.
    pub(crate) const fn result_label(self) -> &'static str {
        match self {
            Self::Create => "create_result",
            Self::Delete => "delete_result",
            Self::Attach => "attach_result",
            Self::Detach => "detach_result",
            Self::Stage => "stage_result",
            Self::Unstage => "unstage_result",
            Self::Publish => "publish_result",
            Self::Unpublish => "unpublish_result",
            Self::ControllerExpand(_) => "controller_expand_result",
            Self::NodeExpand(_) => "node_expand_result",
            Self::Verify => "verify_result",
        }
    }
}

/// What a plugin can do, as far as a volume's life depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Abilities {
    /// PUBLISH_UNPUBLISH_VOLUME of the controller.
    pub attaches: bool,
    /// STAGE_UNSTAGE_VOLUME of the node.
    pub stages: bool,
    /// EXPAND_VOLUME of the controller.
    pub expands_controller: bool,
    /// EXPAND_VOLUME of the node.
    pub expands_node: bool,
    /// Expansion while in use is allowed.
    pub expands_online: bool,
    /// SINGLE_NODE_MULTI_WRITER: the plugin knows the newer single-node access modes.
    pub single_node_modes: bool,
    /// Its definition says that what it publishes is no mount: its word is all there is.
    pub mounts_nothing: bool,
}
