//! The arguments of every call that has some.
//!
//! Plain data. They go into records before the call is made, so that a repeat carries the
//! same bytes; secrets do not, and have to be put back before a repeat. Vocabulary: attach,
//! stage and publish are CSI's ControllerPublish, NodeStage and NodePublish.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::secrets::{Context, Secrets};
use crate::types::{Capability, CapacityRange, ContentSource, Topology};

/// Makes a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateVolume {
    /// The key under which a repeat is the same call; at most 128 bytes.
    pub name: String,
    /// Size.
    pub capacity: CapacityRange,
    /// All the ways in which it will be used; at least one.
    pub capabilities: Vec<Capability>,
    /// The plugin's own parameters; at most 4 KiB.
    pub parameters: BTreeMap<String, String>,
    /// Parameters that can be changed later.
    pub mutable_parameters: BTreeMap<String, String>,
    /// What to start with.
    pub source: Option<ContentSource>,
    /// Places of which at least one must reach the volume; empty: anywhere.
    pub requisite: Vec<Topology>,
    /// Order in which to try them.
    pub preferred: Vec<Topology>,
    /// Not recorded.
    #[serde(skip)]
    pub secrets: Secrets,
}

/// Removes a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteVolume {
    /// The volume.
    pub volume_id: String,
    /// Not recorded.
    #[serde(skip)]
    pub secrets: Secrets,
}

/// Attaches a volume to a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// The volume.
    pub volume_id: String,
    /// The plugin's name for the node.
    pub node_id: String,
    /// How it will be used there.
    pub capability: Capability,
    /// For reading only; needs PUBLISH_READONLY.
    pub read_only: bool,
    /// As `CreateVolume` gave it.
    pub volume_context: Context,
    /// Not recorded.
    #[serde(skip)]
    pub secrets: Secrets,
}

/// Detaches a volume from a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detach {
    /// The volume.
    pub volume_id: String,
    /// The plugin's name for the node. Never empty here: that would mean all nodes.
    pub node_id: String,
    /// Not recorded.
    #[serde(skip)]
    pub secrets: Secrets,
}

/// Asks whether an existing volume can be used in these ways.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validate {
    /// The volume.
    pub volume_id: String,
    /// As `CreateVolume` gave it, if we made it.
    pub volume_context: Context,
    /// The ways; at least one.
    pub capabilities: Vec<Capability>,
    /// As given to `CreateVolume`, if we made it.
    pub parameters: BTreeMap<String, String>,
    /// Not recorded.
    #[serde(skip)]
    pub secrets: Secrets,
}

/// Asks how much room is left for one kind of volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetCapacity {
    /// The ways of use; may be empty.
    pub capabilities: Vec<Capability>,
    /// As they would be given to `CreateVolume`.
    pub parameters: BTreeMap<String, String>,
    /// Where; absent: anywhere.
    pub topology: Option<Topology>,
}

/// Grows a volume in the back end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpandController {
    /// The volume.
    pub volume_id: String,
    /// The new size.
    pub capacity: CapacityRange,
    /// How it is used.
    pub capability: Option<Capability>,
    /// Not recorded.
    #[serde(skip)]
    pub secrets: Secrets,
}

/// Makes a volume ready on this node, once for all its holders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// The volume.
    pub volume_id: String,
    /// A directory that exists, as the plugin sees it.
    pub staging_path: PathBuf,
    /// How it will be used.
    pub capability: Capability,
    /// As `Attach` gave it; empty if the plugin does not attach.
    pub publish_context: Context,
    /// As `CreateVolume` gave it.
    pub volume_context: Context,
    /// Not recorded.
    #[serde(skip)]
    pub secrets: Secrets,
}

/// Undoes a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unstage {
    /// The volume.
    pub volume_id: String,
    /// As in the stage call.
    pub staging_path: PathBuf,
}

/// Makes a volume appear at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    /// The volume.
    pub volume_id: String,
    /// As in the stage call; absent if the plugin does not stage.
    pub staging_path: Option<PathBuf>,
    /// As the plugin sees it. The plugin makes it; its parent exists.
    pub target_path: PathBuf,
    /// How it will be used.
    pub capability: Capability,
    /// For reading only.
    pub read_only: bool,
    /// As `Attach` gave it; empty if the plugin does not attach.
    pub publish_context: Context,
    /// As `CreateVolume` gave it.
    pub volume_context: Context,
    /// Not recorded.
    #[serde(skip)]
    pub secrets: Secrets,
}

/// Undoes a publish; the plugin removes the path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpublish {
    /// The volume.
    pub volume_id: String,
    /// As in the publish call.
    pub target_path: PathBuf,
}

/// Asks how full a volume is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetVolumeStats {
    /// The volume.
    pub volume_id: String,
    /// Where it is published or staged.
    pub volume_path: PathBuf,
    /// Where it is staged, if the plugin stages.
    pub staging_path: Option<PathBuf>,
}

/// Grows what lies on a volume; it is staged or published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpandNode {
    /// The volume.
    pub volume_id: String,
    /// Where it is published or staged.
    pub volume_path: PathBuf,
    /// Where it is staged, if the plugin stages.
    pub staging_path: Option<PathBuf>,
    /// The new size; absent: all the back end gives.
    pub capacity: Option<CapacityRange>,
    /// How it is used.
    pub capability: Option<Capability>,
    /// Not recorded.
    #[serde(skip)]
    pub secrets: Secrets,
}
