//! The calls an orchestrator makes, by our names, with what each does to the world.
//!
//! Owns the list and nothing else; arguments are in [`crate::call`].

use std::fmt;

use serde::{Deserialize, Serialize};

/// One RPC of CSI, by our word for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rpc {
    /// Identity.Probe.
    Probe,
    /// Identity.GetPluginInfo.
    PluginInfo,
    /// Identity.GetPluginCapabilities.
    PluginCapabilities,
    /// Controller.ControllerGetCapabilities.
    ControllerCapabilities,
    /// Controller.CreateVolume.
    CreateVolume,
    /// Controller.DeleteVolume.
    DeleteVolume,
    /// Controller.ControllerPublishVolume.
    Attach,
    /// Controller.ControllerUnpublishVolume.
    Detach,
    /// Controller.ValidateVolumeCapabilities.
    Validate,
    /// Controller.ListVolumes.
    ListVolumes,
    /// Controller.GetCapacity.
    GetCapacity,
    /// Controller.ControllerExpandVolume.
    ExpandController,
    /// Node.NodeGetCapabilities.
    NodeCapabilities,
    /// Node.NodeGetInfo.
    NodeInfo,
    /// Node.NodeStageVolume.
    Stage,
    /// Node.NodeUnstageVolume.
    Unstage,
    /// Node.NodePublishVolume.
    Publish,
    /// Node.NodeUnpublishVolume.
    Unpublish,
    /// Node.NodeGetVolumeStats.
    VolumeStats,
    /// Node.NodeExpandVolume.
    ExpandNode,
}

/// What a call does to the world, which decides how an error is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RpcKind {
    /// Changes nothing.
    Read,
    /// Makes something that another call can unmake.
    Do,
    /// Unmakes what a `Do` made.
    Undo,
    /// Changes something for good.
    Grow,
}

impl Rpc {
    /// All of them.
    pub const ALL: [Rpc; 20] = [
        Rpc::Probe,
        Rpc::PluginInfo,
        Rpc::PluginCapabilities,
        Rpc::ControllerCapabilities,
        Rpc::CreateVolume,
        Rpc::DeleteVolume,
        Rpc::Attach,
        Rpc::Detach,
        Rpc::Validate,
        Rpc::ListVolumes,
        Rpc::GetCapacity,
        Rpc::ExpandController,
        Rpc::NodeCapabilities,
        Rpc::NodeInfo,
        Rpc::Stage,
        Rpc::Unstage,
        Rpc::Publish,
        Rpc::Unpublish,
        Rpc::VolumeStats,
        Rpc::ExpandNode,
    ];

    /// CSI's own name, as it stands in the logs of plugins.
    pub fn wire_name(self) -> &'static str {
        match self {
            Rpc::Probe => "Probe",
            Rpc::PluginInfo => "GetPluginInfo",
            Rpc::PluginCapabilities => "GetPluginCapabilities",
            Rpc::ControllerCapabilities => "ControllerGetCapabilities",
            Rpc::CreateVolume => "CreateVolume",
            Rpc::DeleteVolume => "DeleteVolume",
            Rpc::Attach => "ControllerPublishVolume",
            Rpc::Detach => "ControllerUnpublishVolume",
            Rpc::Validate => "ValidateVolumeCapabilities",
            Rpc::ListVolumes => "ListVolumes",
            Rpc::GetCapacity => "GetCapacity",
            Rpc::ExpandController => "ControllerExpandVolume",
            Rpc::NodeCapabilities => "NodeGetCapabilities",
            Rpc::NodeInfo => "NodeGetInfo",
            Rpc::Stage => "NodeStageVolume",
            Rpc::Unstage => "NodeUnstageVolume",
            Rpc::Publish => "NodePublishVolume",
            Rpc::Unpublish => "NodeUnpublishVolume",
            Rpc::VolumeStats => "NodeGetVolumeStats",
            Rpc::ExpandNode => "NodeExpandVolume",
        }
    }

    /// What the call does to the world.
    pub fn kind(self) -> RpcKind {
        match self {
            Rpc::Probe
            | Rpc::PluginInfo
            | Rpc::PluginCapabilities
            | Rpc::ControllerCapabilities
            | Rpc::Validate
            | Rpc::ListVolumes
            | Rpc::GetCapacity
            | Rpc::NodeCapabilities
            | Rpc::NodeInfo
            | Rpc::VolumeStats => RpcKind::Read,
            Rpc::CreateVolume | Rpc::Attach | Rpc::Stage | Rpc::Publish => RpcKind::Do,
            Rpc::DeleteVolume | Rpc::Detach | Rpc::Unstage | Rpc::Unpublish => RpcKind::Undo,
            Rpc::ExpandController | Rpc::ExpandNode => RpcKind::Grow,
        }
    }
}

impl fmt::Display for Rpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.wire_name())
    }
}
