//! What is known of a plugin: who it is, what it can do, what it calls this node.
//!
//! Owns the record of it; [`crate::interrogate`] is the conversation by which it is learnt.
//! Facts are kept with each volume, so that an absent plugin blocks progress but never
//! changes what a volume is. Asked again after every start of the plugin.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::proto;
use crate::types::Topology;

/// What a plugin as a whole can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PluginCap {
    /// Has the Controller service, in one of its halves.
    ControllerService,
    /// Its volumes are not reachable from everywhere.
    VolumeAccessibilityConstraints,
    /// Has the GroupController service.
    GroupControllerService,
    /// Has the SnapshotMetadata service.
    SnapshotMetadataService,
    /// Its snapshots are not usable from everywhere.
    SnapshotAccessibilityConstraints,
    /// Volumes may grow while they are in use.
    ExpansionOnline,
    /// Volumes may grow while they are attached nowhere.
    ExpansionOffline,
}

/// What the Controller service of a plugin can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "CSI's own list, explained in proto/csi.proto")]
pub enum ControllerCap {
    CreateDeleteVolume,
    PublishUnpublishVolume,
    ListVolumes,
    GetCapacity,
    CreateDeleteSnapshot,
    ListSnapshots,
    CloneVolume,
    PublishReadonly,
    ExpandVolume,
    ListVolumesPublishedNodes,
    GetVolume,
    SingleNodeMultiWriter,
    ModifyVolume,
    GetSnapshot,
    GetVolumeHealth,
    ListVolumeHealth,
}

/// What the Node service of a plugin can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "CSI's own list, explained in proto/csi.proto")]
pub enum NodeCap {
    StageUnstageVolume,
    GetVolumeStats,
    ExpandVolume,
    SingleNodeMultiWriter,
    VolumeMountGroup,
    GetVolumeHealth,
    GetStorageHealth,
}

/// When the volumes of a plugin may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expansion {
    /// Also while they are in use.
    Online,
    /// Only while they are attached nowhere.
    Offline,
}

/// What a plugin calls this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// The plugin's name for it.
    pub node_id: String,
    /// Most volumes attached here at once; absent: the plugin sets no limit.
    pub max_volumes: Option<u64>,
    /// Where it is; empty: the plugin does not say.
    pub topology: Topology,
}

/// All that a plugin says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginFacts {
    /// Its name, the same for all its halves.
    pub name: String,
    /// Its version in its own spelling.
    pub vendor_version: String,
    /// Free text by key.
    pub manifest: BTreeMap<String, String>,
    /// What it can do as a whole.
    pub plugin_caps: BTreeSet<PluginCap>,
    /// Whether the half that was asked serves the Controller service.
    pub serves_controller: bool,
    /// What its Controller service can do.
    pub controller_caps: BTreeSet<ControllerCap>,
    /// Whether the half that was asked serves the Node service.
    pub serves_node: bool,
    /// What its Node service can do.
    pub node_caps: BTreeSet<NodeCap>,
    /// What it calls this node; absent if it serves no node, or need not say.
    pub node: Option<NodeFacts>,
}

/// Says why two halves do not make one plugin.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FactsError {
    /// They have different names.
    #[error("the controller half calls itself {controller:?}, the node half {node:?}")]
    NamesDiffer {
        /// One name.
        controller: String,
        /// The other.
        node: String,
    },
}

impl PluginFacts {
    /// Whether volumes have to be attached to a node before they are used there.
    pub fn attaches(&self) -> bool {
        self.controller_caps
            .contains(&ControllerCap::PublishUnpublishVolume)
    }

    /// Whether volumes have to be staged before they are published.
    pub fn stages(&self) -> bool {
        self.node_caps.contains(&NodeCap::StageUnstageVolume)
    }

    /// Whether it can make and remove volumes.
    pub fn creates_volumes(&self) -> bool {
        self.controller_caps
            .contains(&ControllerCap::CreateDeleteVolume)
    }

    /// Whether it can list its volumes.
    pub fn lists_volumes(&self) -> bool {
        self.controller_caps.contains(&ControllerCap::ListVolumes)
    }

    /// Whether a volume is grown in the back end.
    pub fn expands_controller(&self) -> bool {
        self.controller_caps.contains(&ControllerCap::ExpandVolume)
    }

    /// Whether what lies on a volume is grown by the node.
    pub fn expands_node(&self) -> bool {
        self.node_caps.contains(&NodeCap::ExpandVolume)
    }

    /// Whether it says how much room is left.
    pub fn gets_capacity(&self) -> bool {
        self.controller_caps.contains(&ControllerCap::GetCapacity)
    }

    /// Whether it says how full a volume is.
    pub fn stats(&self) -> bool {
        self.node_caps.contains(&NodeCap::GetVolumeStats)
    }

    /// Whether its volumes are not reachable from everywhere.
    pub fn has_topology(&self) -> bool {
        self.plugin_caps
            .contains(&PluginCap::VolumeAccessibilityConstraints)
    }

    /// Whether it knows the two newer single-node access modes.
    pub fn knows_single_node_modes(&self) -> bool {
        let controller = self
            .controller_caps
            .contains(&ControllerCap::SingleNodeMultiWriter);
        let node = self.node_caps.contains(&NodeCap::SingleNodeMultiWriter);
        (controller || !self.serves_controller)
            && (node || !self.serves_node)
            && (controller || node)
    }

    /// When its volumes may grow; absent: not at all, or the plugin does not say.
    pub fn expansion(&self) -> Option<Expansion> {
        if self.plugin_caps.contains(&PluginCap::ExpansionOnline) {
            return Some(Expansion::Online);
        }
        self.plugin_caps
            .contains(&PluginCap::ExpansionOffline)
            .then_some(Expansion::Offline)
    }

    /// Whether a volume may be grown while it is in use: unless the plugin says that it must
    /// not be. Many that can say nothing, as Kubernetes never asks; the call tells then.
    pub fn may_grow_in_use(&self) -> bool {
        self.expansion() != Some(Expansion::Offline)
    }

    /// Makes one plugin of its controller half and its node half.
    ///
    /// # Errors
    ///
    /// The halves have different names.
    pub fn join(controller: PluginFacts, node: PluginFacts) -> Result<PluginFacts, FactsError> {
        if controller.name != node.name {
            let (controller, node) = (controller.name, node.name);
            return Err(FactsError::NamesDiffer { controller, node });
        }
        Ok(PluginFacts {
            plugin_caps: controller
                .plugin_caps
                .union(&node.plugin_caps)
                .copied()
                .collect(),
            serves_node: node.serves_node,
            node_caps: node.node_caps,
            node: node.node,
            ..controller
        })
    }
}

impl PluginCap {
    pub(crate) fn from_wire(wire: &proto::PluginCapability) -> Option<PluginCap> {
        use proto::plugin_capability::{Type, service, volume_expansion};
        match wire.r#type.as_ref()? {
            Type::Service(service) => match service.r#type() {
                service::Type::Unknown => None,
                service::Type::ControllerService => Some(PluginCap::ControllerService),
                service::Type::VolumeAccessibilityConstraints => {
                    Some(PluginCap::VolumeAccessibilityConstraints)
                }
                service::Type::GroupControllerService => Some(PluginCap::GroupControllerService),
                service::Type::SnapshotMetadataService => Some(PluginCap::SnapshotMetadataService),
                service::Type::SnapshotAccessibilityConstraints => {
                    Some(PluginCap::SnapshotAccessibilityConstraints)
                }
            },
            Type::VolumeExpansion(expansion) => match expansion.r#type() {
                volume_expansion::Type::Unknown => None,
                volume_expansion::Type::Online => Some(PluginCap::ExpansionOnline),
                volume_expansion::Type::Offline => Some(PluginCap::ExpansionOffline),
            },
        }
    }
}

impl ControllerCap {
    pub(crate) fn from_wire(wire: &proto::ControllerServiceCapability) -> Option<ControllerCap> {
        use proto::controller_service_capability::{Type, rpc::Type as Wire};
        let Type::Rpc(rpc) = wire.r#type.as_ref()?;
        match rpc.r#type() {
            Wire::Unknown => None,
            Wire::CreateDeleteVolume => Some(ControllerCap::CreateDeleteVolume),
            Wire::PublishUnpublishVolume => Some(ControllerCap::PublishUnpublishVolume),
            Wire::ListVolumes => Some(ControllerCap::ListVolumes),
            Wire::GetCapacity => Some(ControllerCap::GetCapacity),
            Wire::CreateDeleteSnapshot => Some(ControllerCap::CreateDeleteSnapshot),
            Wire::ListSnapshots => Some(ControllerCap::ListSnapshots),
            Wire::CloneVolume => Some(ControllerCap::CloneVolume),
            Wire::PublishReadonly => Some(ControllerCap::PublishReadonly),
            Wire::ExpandVolume => Some(ControllerCap::ExpandVolume),
            Wire::ListVolumesPublishedNodes => Some(ControllerCap::ListVolumesPublishedNodes),
            Wire::GetVolume => Some(ControllerCap::GetVolume),
            Wire::SingleNodeMultiWriter => Some(ControllerCap::SingleNodeMultiWriter),
            Wire::ModifyVolume => Some(ControllerCap::ModifyVolume),
            Wire::GetSnapshot => Some(ControllerCap::GetSnapshot),
            Wire::GetVolumeHealth => Some(ControllerCap::GetVolumeHealth),
            Wire::ListVolumeHealth => Some(ControllerCap::ListVolumeHealth),
        }
    }
}

impl NodeCap {
    pub(crate) fn from_wire(wire: &proto::NodeServiceCapability) -> Option<NodeCap> {
        use proto::node_service_capability::{Type, rpc::Type as Wire};
        let Type::Rpc(rpc) = wire.r#type.as_ref()?;
        match rpc.r#type() {
            Wire::Unknown => None,
            Wire::StageUnstageVolume => Some(NodeCap::StageUnstageVolume),
            Wire::GetVolumeStats => Some(NodeCap::GetVolumeStats),
            Wire::ExpandVolume => Some(NodeCap::ExpandVolume),
            Wire::SingleNodeMultiWriter => Some(NodeCap::SingleNodeMultiWriter),
            Wire::VolumeMountGroup => Some(NodeCap::VolumeMountGroup),
            Wire::GetVolumeHealth => Some(NodeCap::GetVolumeHealth),
            Wire::GetStorageHealth => Some(NodeCap::GetStorageHealth),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growing_in_use_is_tried_unless_the_plugin_forbids_it() {
        for (caps, may) in [
            (vec![], true),
            (vec![PluginCap::ExpansionOnline], true),
            (vec![PluginCap::ExpansionOffline], false),
        ] {
            let facts = PluginFacts {
                name: "x".to_owned(),
                vendor_version: String::new(),
                manifest: BTreeMap::new(),
                plugin_caps: caps.into_iter().collect(),
                controller_caps: BTreeSet::new(),
                node_caps: BTreeSet::new(),
                node: None,
                serves_controller: true,
                serves_node: true,
            };
            assert_eq!(facts.may_grow_in_use(), may, "{:?}", facts.plugin_caps);
        }
    }
}
