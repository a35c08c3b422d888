//! What a fake plugin can do and calls itself.
//!
//! Plain data, chosen before the start.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The fake's name unless a test gives another.
const NAME: &str = "fake.csi.sutler.dev";

/// Room of the back end unless a test gives another.
const CAPACITY_BYTES: u64 = 100 << 30;

/// What a fake plugin is like. The default has every capability but topology.
#[derive(Clone, Debug)]
pub struct FakeConfig {
    /// The plugin's name.
    pub name: String,
    /// The plugin's version.
    pub vendor_version: String,
    /// What it calls its node.
    pub node_id: String,
    /// Whether it serves the Controller service.
    pub controller: bool,
    /// Whether it serves the Node service.
    pub node: bool,
    /// Whether volumes are attached first.
    pub attach: bool,
    /// Whether volumes are staged first.
    pub stage: bool,
    /// Whether the back end grows volumes.
    pub expand_controller: bool,
    /// Whether the node grows what lies on them.
    pub expand_node: bool,
    /// Whether they grow in use; else only while attached nowhere.
    pub expand_online: bool,
    /// Whether it lists volumes.
    pub list: bool,
    /// Whether it says how much room is left.
    pub capacity: bool,
    /// Whether it says how full a volume is.
    pub stats: bool,
    /// Whether it knows the two newer single-node modes.
    pub single_node_modes: bool,
    /// Where its node is; empty: volumes are reachable from everywhere.
    pub topology: BTreeMap<String, String>,
    /// Room of the back end, in bytes. The first plugin of a back end decides.
    pub capacity_bytes: u64,
    /// Most volumes attached to its node; zero: no limit.
    pub max_volumes: u32,
    /// What every volume's context holds besides its own.
    pub volume_context: BTreeMap<String, String>,
    /// How many probes after each start are answered with "not ready".
    pub not_ready_probes: u32,
    /// Most volumes on a page, whatever was asked; zero: as asked.
    pub page_entries: usize,
    /// Whether every page begins with the last volume of the one before.
    pub pages_overlap: bool,
    /// Whether it makes and removes target paths: folders, or files for block volumes.
    pub touches_files: bool,
    /// What it makes at a target path, if it touches files at all.
    pub makes: Makes,
}

/// What a fake plugin makes where it is told to publish.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Makes {
    /// A folder, or a file for a block volume.
    #[default]
    Asked,
    /// A symbolic link to this.
    LinkTo(PathBuf),
    /// The volume's folder itself a symbolic link to this folder, in which the target is.
    FolderLinkTo(PathBuf),
    /// A node of a block device.
    BlockNode {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A pipe with a name.
    Fifo,
}

impl Default for FakeConfig {
    fn default() -> FakeConfig {
        FakeConfig {
            name: NAME.to_owned(),
            vendor_version: "1.0.0".to_owned(),
            node_id: "node-a".to_owned(),
            controller: true,
            node: true,
            attach: true,
            stage: true,
            expand_controller: true,
            expand_node: true,
            expand_online: true,
            list: true,
            capacity: true,
            stats: true,
            single_node_modes: true,
            topology: BTreeMap::new(),
            capacity_bytes: CAPACITY_BYTES,
            max_volumes: 0,
            volume_context: BTreeMap::new(),
            not_ready_probes: 0,
            page_entries: 0,
            pages_overlap: false,
            touches_files: false,
            makes: Makes::Asked,
        }
    }
}

impl FakeConfig {
    /// A plugin that only creates, deletes and publishes.
    pub fn bare() -> FakeConfig {
        FakeConfig {
            attach: false,
            stage: false,
            expand_controller: false,
            expand_node: false,
            list: false,
            capacity: false,
            stats: false,
            single_node_modes: false,
            ..FakeConfig::default()
        }
    }

    /// The same plugin on another node.
    pub fn on(self, node_id: &str) -> FakeConfig {
        FakeConfig {
            node_id: node_id.to_owned(),
            ..self
        }
    }
}
