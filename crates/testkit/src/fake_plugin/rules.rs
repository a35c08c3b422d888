//! What CSI asks of the caller, apart from the life of one volume (that is `world.rs`).
//!
//! Owns three watches: who is in flight, what a repeat has to look like, and sizes. Finds
//! violations; never answers a call.

use std::collections::BTreeMap;

use sutler_csi::limits::{MAP_BYTES_MAX, NODE_ID_BYTES_MAX, STRING_BYTES_MAX};
use sutler_csi::{Rpc, proto};
use tokio::sync::watch;

/// How a call in flight ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Answered,
    /// The caller gave it up, or the plugin died.
    Dropped,
}

/// The calls in flight.
#[derive(Debug, Default)]
pub(super) struct InFlight(Vec<Flight>);

#[derive(Debug)]
struct Flight {
    sequence: u64,
    rpc: Rpc,
    volume: String,
    node_id: String,
    end: watch::Sender<Option<End>>,
}

/// An earlier call that was in flight when another began.
#[derive(Debug)]
pub(super) struct Overlap {
    pub(super) rpc: Rpc,
    pub(super) end: watch::Receiver<Option<End>>,
}

impl InFlight {
    /// Enters a call to the plugin of a node; answers those it overlaps with. Calls to the
    /// node services of two nodes may overlap.
    pub(super) fn enter(
        &mut self,
        sequence: u64,
        rpc: Rpc,
        volume: &str,
        node_id: &str,
    ) -> Vec<Overlap> {
        let excused = |other: &Flight| {
            is_node_call(other.rpc) && is_node_call(rpc) && other.node_id != node_id
        };
        let same = self
            .0
            .iter()
            .filter(|other| other.volume == volume && !excused(other));
        let overlaps = same
            .map(|other| Overlap {
                rpc: other.rpc,
                end: other.end.subscribe(),
            })
            .collect();
        let (end, _) = watch::channel(None);
        let (volume, node_id) = (volume.to_owned(), node_id.to_owned());
        self.0.push(Flight {
            sequence,
            rpc,
            volume,
            node_id,
            end,
        });
        overlaps
    }

    pub(super) fn leave(&mut self, sequence: u64, end: End) {
        if let Some(at) = self.0.iter().position(|flight| flight.sequence == sequence) {
            self.0.swap_remove(at).end.send_replace(Some(end));
        }
    }

    /// The plugin of a node died, and every call to it.
    pub(super) fn drop_all(&mut self, node_id: &str) {
        for flight in self.0.extract_if(.., |flight| flight.node_id == node_id) {
            flight.end.send_replace(Some(End::Dropped));
        }
    }
}

pub(super) fn is_node_call(rpc: Rpc) -> bool {
    use Rpc::{ExpandNode, Publish, Stage, Unpublish, Unstage, VolumeStats};
    matches!(
        rpc,
        Stage | Unstage | Publish | Unpublish | VolumeStats | ExpandNode
    )
}

/// What a repeat has to look like: by call and object, the bytes of the first attempt.
#[derive(Debug, Default)]
pub(super) struct Replays(BTreeMap<(Rpc, String), Vec<u8>>);

impl Replays {
    /// Whether the bytes are those of the first attempt; remembers them if this is the first.
    pub(super) fn matches(&mut self, rpc: Rpc, object: &str, bytes: &[u8]) -> bool {
        self.0
            .entry((rpc, object.to_owned()))
            .or_insert_with(|| bytes.to_vec())
            == bytes
    }

    /// The next attempt is a first one again.
    pub(super) fn forget(&mut self, rpc: Rpc, object: &str) {
        self.0.remove(&(rpc, object.to_owned()));
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// What the watches need to know of a request.
pub(super) trait Args: prost::Message + Default + Clone {
    /// The volume it is about.
    fn volume(&self) -> Option<String> {
        None
    }

    /// The object whose repeats must have the same bytes, if any.
    fn object(&self) -> Option<String> {
        None
    }

    /// The same without secrets, which may change between repeats.
    fn without_secrets(self) -> Self {
        self
    }

    /// Sizes and shapes that CSI forbids.
    fn faults(&self) -> Vec<String> {
        Vec::new()
    }
}

fn too_long(what: &str, text: &str, bytes_max: usize) -> Option<String> {
    (text.len() > bytes_max).then(|| format!("{what} has {} bytes", text.len()))
}

fn not_absolute(what: &str, path: &str) -> Option<String> {
    (!path.starts_with('/')).then(|| format!("{what} {path:?} is not absolute"))
}

fn too_large(what: &str, map: &BTreeMap<String, String>) -> Option<String> {
    let bytes: usize = map.iter().map(|(key, value)| key.len() + value.len()).sum();
    (bytes > MAP_BYTES_MAX).then(|| format!("{what} have {bytes} bytes"))
}

impl Args for proto::ProbeRequest {}
impl Args for proto::GetPluginInfoRequest {}
impl Args for proto::GetPluginCapabilitiesRequest {}
impl Args for proto::ControllerGetCapabilitiesRequest {}
impl Args for proto::NodeGetCapabilitiesRequest {}
impl Args for proto::NodeGetInfoRequest {}
impl Args for proto::ListVolumesRequest {}
impl Args for proto::GetCapacityRequest {}

impl Args for proto::CreateVolumeRequest {
    fn volume(&self) -> Option<String> {
        Some(self.name.clone())
    }

    fn object(&self) -> Option<String> {
        Some(self.name.clone())
    }

    fn without_secrets(self) -> Self {
        Self {
            secrets: BTreeMap::new(),
            ..self
        }
    }

    fn faults(&self) -> Vec<String> {
        [
            too_long("volume name", &self.name, STRING_BYTES_MAX),
            too_large("parameters", &self.parameters),
            self.volume_capabilities
                .is_empty()
                .then(|| "no capability asked for".to_owned()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

impl Args for proto::DeleteVolumeRequest {
    fn volume(&self) -> Option<String> {
        Some(self.volume_id.clone())
    }
}

impl Args for proto::ControllerPublishVolumeRequest {
    fn volume(&self) -> Option<String> {
        Some(self.volume_id.clone())
    }

    fn object(&self) -> Option<String> {
        Some(format!("{} on {}", self.volume_id, self.node_id))
    }

    fn without_secrets(self) -> Self {
        Self {
            secrets: BTreeMap::new(),
            ..self
        }
    }

    fn faults(&self) -> Vec<String> {
        too_long("node id", &self.node_id, NODE_ID_BYTES_MAX)
            .into_iter()
            .collect()
    }
}

impl Args for proto::ControllerUnpublishVolumeRequest {
    fn volume(&self) -> Option<String> {
        Some(self.volume_id.clone())
    }
}

impl Args for proto::ValidateVolumeCapabilitiesRequest {
    fn volume(&self) -> Option<String> {
        Some(self.volume_id.clone())
    }
}

impl Args for proto::ControllerExpandVolumeRequest {
    fn volume(&self) -> Option<String> {
        Some(self.volume_id.clone())
    }

    fn object(&self) -> Option<String> {
        Some(self.volume_id.clone())
    }

    fn without_secrets(self) -> Self {
        Self {
            secrets: BTreeMap::new(),
            ..self
        }
    }
}

impl Args for proto::NodeStageVolumeRequest {
    fn volume(&self) -> Option<String> {
        Some(self.volume_id.clone())
    }

    fn object(&self) -> Option<String> {
        Some(self.volume_id.clone())
    }

    fn without_secrets(self) -> Self {
        Self {
            secrets: BTreeMap::new(),
            ..self
        }
    }

    fn faults(&self) -> Vec<String> {
        not_absolute("staging path", &self.staging_target_path)
            .into_iter()
            .collect()
    }
}

impl Args for proto::NodeUnstageVolumeRequest {
    fn volume(&self) -> Option<String> {
        Some(self.volume_id.clone())
    }
}

impl Args for proto::NodePublishVolumeRequest {
    fn volume(&self) -> Option<String> {
        Some(self.volume_id.clone())
    }

    fn object(&self) -> Option<String> {
        Some(format!("{} at {}", self.volume_id, self.target_path))
    }

    fn without_secrets(self) -> Self {
        Self {
            secrets: BTreeMap::new(),
            ..self
        }
    }

    fn faults(&self) -> Vec<String> {
        not_absolute("target path", &self.target_path)
            .into_iter()
            .collect()
    }
}

impl Args for proto::NodeUnpublishVolumeRequest {
    fn volume(&self) -> Option<String> {
        Some(self.volume_id.clone())
    }
}

impl Args for proto::NodeGetVolumeStatsRequest {
    fn volume(&self) -> Option<String> {
        Some(self.volume_id.clone())
    }
}

impl Args for proto::NodeExpandVolumeRequest {
    fn volume(&self) -> Option<String> {
        Some(self.volume_id.clone())
    }

    fn object(&self) -> Option<String> {
        Some(self.volume_id.clone())
    }

    fn without_secrets(self) -> Self {
        Self {
            secrets: BTreeMap::new(),
            ..self
        }
    }
}
