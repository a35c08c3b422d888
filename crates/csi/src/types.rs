//! Volumes, capabilities, sizes and places as the rest of sutler sees them.
//!
//! Plain data, without the wire's optional-everything. What may go into a record serialises,
//! and always to the same bytes. Conversions to the wire are in `convert.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::secrets::Context;

/// One place: topology keys and their values, as the plugin spells them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Topology(pub BTreeMap<String, String>);

impl Topology {
    /// Whether a node at `place` has every segment of this one. Keys are compared without
    /// regard to case, as CSI asks.
    pub fn covers(&self, place: &Topology) -> bool {
        self.0.iter().all(|(key, value)| {
            place
                .0
                .iter()
                .any(|(other, there)| other.eq_ignore_ascii_case(key) && there == value)
        })
    }
}

/// How many may use a volume, and from where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessMode {
    /// Read and write on one node.
    SingleNodeWriter,
    /// Read on one node.
    SingleNodeReaderOnly,
    /// Read on many nodes.
    MultiNodeReaderOnly,
    /// Read on many nodes, write on one of them.
    MultiNodeSingleWriter,
    /// Read and write on many nodes.
    MultiNodeMultiWriter,
    /// One writer at one path of one node; needs SINGLE_NODE_MULTI_WRITER.
    SingleNodeSingleWriter,
    /// Many writers on one node; needs SINGLE_NODE_MULTI_WRITER.
    SingleNodeMultiWriter,
}

impl AccessMode {
    /// Whether several nodes may have the volume at once.
    pub fn is_multi_node(self) -> bool {
        match self {
            AccessMode::MultiNodeReaderOnly
            | AccessMode::MultiNodeSingleWriter
            | AccessMode::MultiNodeMultiWriter => true,
            AccessMode::SingleNodeWriter
            | AccessMode::SingleNodeReaderOnly
            | AccessMode::SingleNodeSingleWriter
            | AccessMode::SingleNodeMultiWriter => false,
        }
    }
}

/// Block device or mounted file system.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessType {
    /// A block device appears at the target path.
    Block,
    /// A file system is mounted at the target path.
    Mount {
        /// File system by name; empty: the plugin chooses.
        fs_type: String,
        /// Mount options. May hold secrets, so they do not print.
        flags: Vec<String>,
        /// Group that has to own the files; empty: none.
        group: String,
    },
}

impl AccessType {
    /// A mount with nothing asked for.
    pub fn mount() -> AccessType {
        AccessType::Mount {
            fs_type: String::new(),
            flags: Vec::new(),
            group: String::new(),
        }
    }
}

impl fmt::Debug for AccessType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AccessType::Block => f.write_str("Block"),
            AccessType::Mount {
                fs_type,
                flags,
                group,
            } => f
                .debug_struct("Mount")
                .field("fs_type", fs_type)
                .field("flags", &format_args!("<{} hidden>", flags.len()))
                .field("group", group)
                .finish(),
        }
    }
}

/// One way of using a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    /// How it appears.
    pub access_type: AccessType,
    /// Who may use it.
    pub access_mode: AccessMode,
}

/// How large a volume must be, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapacityRange {
    /// At least.
    pub required_bytes: u64,
    /// At most, if there is a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_bytes: Option<u64>,
}

/// What a new volume starts with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContentSource {
    /// The content of this snapshot.
    Snapshot(String),
    /// The content of this volume.
    Volume(String),
}

/// A volume as its plugin describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeDescription {
    /// The plugin's name for it.
    pub volume_id: String,
    /// Its size, if the plugin says.
    pub capacity_bytes: Option<u64>,
    /// Handed back to the plugin whenever the volume is used.
    pub context: Context,
    /// From where it can be reached; empty: from everywhere.
    pub topology: Vec<Topology>,
    /// What it started with, if the plugin says.
    pub source: Option<ContentSource>,
}

/// A volume of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedVolume {
    /// The volume.
    pub volume: VolumeDescription,
    /// The nodes it is attached to; empty also if the plugin does not say.
    pub attached_nodes: BTreeSet<String>,
}

/// Who a plugin is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginInfo {
    /// Its name, domain style.
    pub name: String,
    /// Its version in its own spelling.
    pub vendor_version: String,
    /// Free text by key.
    pub manifest: BTreeMap<String, String>,
}

/// Whether an existing volume can be used in the ways asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Validation {
    /// Every way asked was confirmed.
    Confirmed {
        /// Whether the plugin also confirmed context and parameters; many leave them out.
        all_echoed: bool,
    },
    /// Not every way asked was confirmed.
    Refused {
        /// Why, as far as the plugin said.
        message: String,
    },
}

/// How much room a plugin says it has. A hint, never a reservation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// Bytes available.
    pub available_bytes: u64,
    /// Largest single volume, if the plugin says.
    pub volume_bytes_max: Option<u64>,
    /// Smallest single volume, if the plugin says.
    pub volume_bytes_min: Option<u64>,
}

/// How full something is, in one unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// All there is.
    pub total: u64,
    /// Taken.
    pub used: u64,
    /// Still free.
    pub available: u64,
}

/// How full a volume is, as far as the plugin says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeStats {
    /// In bytes.
    pub bytes: Option<Usage>,
    /// In inodes.
    pub inodes: Option<Usage>,
}

/// A volume grown in the back end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpandedVolume {
    /// Its new size.
    pub capacity_bytes: u64,
    /// Whether the node has to grow what lies on it.
    pub node_expansion_required: bool,
}
