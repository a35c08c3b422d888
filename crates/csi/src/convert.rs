//! Between our words and the wire's.
//!
//! Every request is checked against the limits before it is built, every answer before it is
//! believed. Faults are texts: the client says which call they belong to. Owns no state.

use crate::call;
use crate::limits::{
    FOREIGN_MAP_BYTES_TOLERATED, MAP_BYTES_MAX, NODE_ID_BYTES_MAX, STRING_BYTES_MAX,
    VOLUME_ID_BYTES_TOLERATED, check_map, check_path, check_text,
};
use crate::proto;
use crate::proto::volume_capability as wire;
use crate::secrets::{Context, Secrets};
use crate::types::{
    AccessMode, AccessType, Capability, CapacityRange, ContentSource, Topology, Usage, Validation,
    VolumeDescription, VolumeStats,
};

type Map = std::collections::BTreeMap<String, String>;

/// A request of ours as the wire wants it, or what is wrong with it.
pub(crate) trait IntoRequest {
    type Request;

    fn to_request(&self) -> Result<Self::Request, String>;
}

fn secrets(secrets: &Secrets) -> Result<Map, String> {
    let map = secrets.reveal();
    check_map("secrets", &map, FOREIGN_MAP_BYTES_TOLERATED)?;
    Ok(map)
}

fn context(what: &str, context: &Context) -> Result<Map, String> {
    check_map(what, context.reveal(), FOREIGN_MAP_BYTES_TOLERATED)?;
    Ok(context.reveal().clone())
}

fn parameters(what: &str, map: &Map) -> Result<Map, String> {
    check_map(what, map, MAP_BYTES_MAX)?;
    Ok(map.clone())
}

fn volume_id(id: &str) -> Result<String, String> {
    check_text("volume id", id, VOLUME_ID_BYTES_TOLERATED)?;
    Ok(id.to_owned())
}

fn node_id(id: &str) -> Result<String, String> {
    check_text("node id", id, NODE_ID_BYTES_MAX)?;
    Ok(id.to_owned())
}

fn staging_path(path: Option<&std::path::PathBuf>) -> Result<String, String> {
    path.map_or(Ok(String::new()), |path| check_path("staging path", path))
}

fn signed(what: &str, value: u64) -> Result<i64, String> {
    i64::try_from(value).map_err(|_| format!("{what} {value} does not fit into 63 bits"))
}

fn capability(ours: &Capability) -> Result<proto::VolumeCapability, String> {
    let access_type = match &ours.access_type {
        AccessType::Block => wire::AccessType::Block(wire::BlockVolume {}),
        AccessType::Mount {
            fs_type,
            flags,
            group,
        } => {
            let bytes: usize = flags.iter().map(String::len).sum();
            if bytes > MAP_BYTES_MAX {
                return Err(format!(
                    "mount flags have {bytes} bytes, more than {MAP_BYTES_MAX}"
                ));
            }
            wire::AccessType::Mount(wire::MountVolume {
                fs_type: fs_type.clone(),
                mount_flags: flags.clone(),
                volume_mount_group: group.clone(),
            })
        }
    };
    let mode = match ours.access_mode {
        AccessMode::SingleNodeWriter => wire::access_mode::Mode::SingleNodeWriter,
        AccessMode::SingleNodeReaderOnly => wire::access_mode::Mode::SingleNodeReaderOnly,
        AccessMode::MultiNodeReaderOnly => wire::access_mode::Mode::MultiNodeReaderOnly,
        AccessMode::MultiNodeSingleWriter => wire::access_mode::Mode::MultiNodeSingleWriter,
        AccessMode::MultiNodeMultiWriter => wire::access_mode::Mode::MultiNodeMultiWriter,
        AccessMode::SingleNodeSingleWriter => wire::access_mode::Mode::SingleNodeSingleWriter,
        AccessMode::SingleNodeMultiWriter => wire::access_mode::Mode::SingleNodeMultiWriter,
    };
    Ok(proto::VolumeCapability {
        access_mode: Some(wire::AccessMode { mode: mode.into() }),
        access_type: Some(access_type),
    })
}

fn capabilities(ours: &[Capability]) -> Result<Vec<proto::VolumeCapability>, String> {
    ours.iter().map(capability).collect()
}

fn some_capabilities(ours: &[Capability]) -> Result<Vec<proto::VolumeCapability>, String> {
    match ours.is_empty() {
        true => Err("no capability asked for".to_owned()),
        false => capabilities(ours),
    }
}

fn capacity_range(ours: &CapacityRange) -> Result<proto::CapacityRange, String> {
    let limit_bytes = ours.limit_bytes.unwrap_or(0);
    if limit_bytes != 0 && limit_bytes < ours.required_bytes {
        return Err(format!(
            "size limit {limit_bytes} is below the required size {}",
            ours.required_bytes
        ));
    }
    Ok(proto::CapacityRange {
        required_bytes: signed("required size", ours.required_bytes)?,
        limit_bytes: signed("size limit", limit_bytes)?,
    })
}

/// Absent where neither bound is set: CSI forbids an empty range.
fn optional_range(ours: &CapacityRange) -> Result<Option<proto::CapacityRange>, String> {
    let range = capacity_range(ours)?;
    Ok((range.required_bytes != 0 || range.limit_bytes != 0).then_some(range))
}

fn topologies(ours: &[Topology]) -> Vec<proto::Topology> {
    ours.iter()
        .map(|place| proto::Topology {
            segments: place.0.clone(),
        })
        .collect()
}

fn content_source(ours: &ContentSource) -> proto::VolumeContentSource {
    use proto::volume_content_source::{SnapshotSource, Type, VolumeSource};
    let source = match ours.clone() {
        ContentSource::Snapshot(snapshot_id) => Type::Snapshot(SnapshotSource { snapshot_id }),
        ContentSource::Volume(volume_id) => Type::Volume(VolumeSource { volume_id }),
    };
    proto::VolumeContentSource {
        r#type: Some(source),
    }
}

impl IntoRequest for call::CreateVolume {
    type Request = proto::CreateVolumeRequest;

    fn to_request(&self) -> Result<Self::Request, String> {
        check_text("volume name", &self.name, STRING_BYTES_MAX)?;
        let places = proto::TopologyRequirement {
            requisite: topologies(&self.requisite),
            preferred: topologies(&self.preferred),
        };
        let anywhere = places.requisite.is_empty() && places.preferred.is_empty();
        Ok(proto::CreateVolumeRequest {
            name: self.name.clone(),
            capacity_range: optional_range(&self.capacity)?,
            volume_capabilities: some_capabilities(&self.capabilities)?,
            parameters: parameters("parameters", &self.parameters)?,
            secrets: secrets(&self.secrets)?,
            volume_content_source: self.source.as_ref().map(content_source),
            accessibility_requirements: (!anywhere).then_some(places),
            mutable_parameters: parameters("mutable parameters", &self.mutable_parameters)?,
        })
    }
}

impl IntoRequest for call::DeleteVolume {
    type Request = proto::DeleteVolumeRequest;

    fn to_request(&self) -> Result<Self::Request, String> {
        Ok(proto::DeleteVolumeRequest {
            volume_id: volume_id(&self.volume_id)?,
            secrets: secrets(&self.secrets)?,
        })
    }
}

impl IntoRequest for call::Attach {
    type Request = proto::ControllerPublishVolumeRequest;

    fn to_request(&self) -> Result<Self::Request, String> {
        Ok(proto::ControllerPublishVolumeRequest {
            volume_id: volume_id(&self.volume_id)?,
            node_id: node_id(&self.node_id)?,
            volume_capability: Some(capability(&self.capability)?),
            readonly: self.read_only,
            secrets: secrets(&self.secrets)?,
            volume_context: context("volume context", &self.volume_context)?,
        })
    }
}

impl IntoRequest for call::Detach {
    type Request = proto::ControllerUnpublishVolumeRequest;

    fn to_request(&self) -> Result<Self::Request, String> {
        Ok(proto::ControllerUnpublishVolumeRequest {
            volume_id: volume_id(&self.volume_id)?,
            node_id: node_id(&self.node_id)?,
            secrets: secrets(&self.secrets)?,
        })
    }
}

impl IntoRequest for call::Validate {
    type Request = proto::ValidateVolumeCapabilitiesRequest;

    fn to_request(&self) -> Result<Self::Request, String> {
        Ok(proto::ValidateVolumeCapabilitiesRequest {
            volume_id: volume_id(&self.volume_id)?,
            volume_context: context("volume context", &self.volume_context)?,
            volume_capabilities: some_capabilities(&self.capabilities)?,
            parameters: parameters("parameters", &self.parameters)?,
            secrets: secrets(&self.secrets)?,
            mutable_parameters: Map::new(),
        })
    }
}

impl IntoRequest for call::GetCapacity {
    type Request = proto::GetCapacityRequest;

    fn to_request(&self) -> Result<Self::Request, String> {
        let place = self.topology.as_ref();
        Ok(proto::GetCapacityRequest {
            volume_capabilities: capabilities(&self.capabilities)?,
            parameters: parameters("parameters", &self.parameters)?,
            accessible_topology: place.map(|place| proto::Topology {
                segments: place.0.clone(),
            }),
        })
    }
}

impl IntoRequest for call::ExpandController {
    type Request = proto::ControllerExpandVolumeRequest;

    fn to_request(&self) -> Result<Self::Request, String> {
        Ok(proto::ControllerExpandVolumeRequest {
            volume_id: volume_id(&self.volume_id)?,
            capacity_range: Some(capacity_range(&self.capacity)?),
            secrets: secrets(&self.secrets)?,
            volume_capability: self.capability.as_ref().map(capability).transpose()?,
        })
    }
}

impl IntoRequest for call::Stage {
    type Request = proto::NodeStageVolumeRequest;

    fn to_request(&self) -> Result<Self::Request, String> {
        Ok(proto::NodeStageVolumeRequest {
            volume_id: volume_id(&self.volume_id)?,
            publish_context: context("publish context", &self.publish_context)?,
            staging_target_path: check_path("staging path", &self.staging_path)?,
            volume_capability: Some(capability(&self.capability)?),
            secrets: secrets(&self.secrets)?,
            volume_context: context("volume context", &self.volume_context)?,
        })
    }
}

impl IntoRequest for call::Unstage {
    type Request = proto::NodeUnstageVolumeRequest;

    fn to_request(&self) -> Result<Self::Request, String> {
        Ok(proto::NodeUnstageVolumeRequest {
            volume_id: volume_id(&self.volume_id)?,
            staging_target_path: check_path("staging path", &self.staging_path)?,
        })
    }
}

impl IntoRequest for call::Publish {
    type Request = proto::NodePublishVolumeRequest;

    fn to_request(&self) -> Result<Self::Request, String> {
        Ok(proto::NodePublishVolumeRequest {
            volume_id: volume_id(&self.volume_id)?,
            publish_context: context("publish context", &self.publish_context)?,
            staging_target_path: staging_path(self.staging_path.as_ref())?,
            target_path: check_path("target path", &self.target_path)?,
            volume_capability: Some(capability(&self.capability)?),
            readonly: self.read_only,
            secrets: secrets(&self.secrets)?,
            volume_context: context("volume context", &self.volume_context)?,
        })
    }
}

impl IntoRequest for call::Unpublish {
    type Request = proto::NodeUnpublishVolumeRequest;

    fn to_request(&self) -> Result<Self::Request, String> {
        Ok(proto::NodeUnpublishVolumeRequest {
            volume_id: volume_id(&self.volume_id)?,
            target_path: check_path("target path", &self.target_path)?,
        })
    }
}

impl IntoRequest for call::GetVolumeStats {
    type Request = proto::NodeGetVolumeStatsRequest;

    fn to_request(&self) -> Result<Self::Request, String> {
        Ok(proto::NodeGetVolumeStatsRequest {
            volume_id: volume_id(&self.volume_id)?,
            volume_path: check_path("volume path", &self.volume_path)?,
            staging_target_path: staging_path(self.staging_path.as_ref())?,
        })
    }
}

impl IntoRequest for call::ExpandNode {
    type Request = proto::NodeExpandVolumeRequest;

    fn to_request(&self) -> Result<Self::Request, String> {
        Ok(proto::NodeExpandVolumeRequest {
            volume_id: volume_id(&self.volume_id)?,
            volume_path: check_path("volume path", &self.volume_path)?,
            capacity_range: self.capacity.as_ref().map(capacity_range).transpose()?,
            staging_target_path: staging_path(self.staging_path.as_ref())?,
            volume_capability: self.capability.as_ref().map(capability).transpose()?,
            secrets: secrets(&self.secrets)?,
        })
    }
}

/// Believes a volume that a plugin describes, or says what is wrong with it.
pub(crate) fn volume(wire: Option<proto::Volume>) -> Result<VolumeDescription, String> {
    use proto::volume_content_source::Type;
    let wire = wire.ok_or("the answer has no volume")?;
    let source = wire
        .content_source
        .and_then(|source| source.r#type)
        .map(|source| match source {
            Type::Snapshot(snapshot) => ContentSource::Snapshot(snapshot.snapshot_id),
            Type::Volume(volume) => ContentSource::Volume(volume.volume_id),
        });
    Ok(VolumeDescription {
        volume_id: volume_id(&wire.volume_id)?,
        capacity_bytes: positive(wire.capacity_bytes),
        context: answered_context("volume context", wire.volume_context)?,
        topology: wire.accessible_topology.into_iter().map(topology).collect(),
        source,
    })
}

pub(crate) fn answered_context(what: &str, map: Map) -> Result<Context, String> {
    check_map(what, &map, FOREIGN_MAP_BYTES_TOLERATED)?;
    Ok(Context::from(map))
}

pub(crate) fn topology(wire: proto::Topology) -> Topology {
    Topology(wire.segments)
}

/// Zero means "not known" throughout CSI; below zero means nothing at all.
pub(crate) fn positive(value: i64) -> Option<u64> {
    u64::try_from(value).ok().filter(|value| *value > 0)
}

pub(crate) fn stats(usage: Vec<proto::VolumeUsage>) -> VolumeStats {
    let mut stats = VolumeStats::default();
    for wire in usage {
        let usage = Usage {
            total: wire.total.max(0).unsigned_abs(),
            used: wire.used.max(0).unsigned_abs(),
            available: wire.available.max(0).unsigned_abs(),
        };
        match wire.unit() {
            proto::volume_usage::Unit::Bytes => stats.bytes = Some(usage),
            proto::volume_usage::Unit::Inodes => stats.inodes = Some(usage),
            proto::volume_usage::Unit::Unknown => {}
        }
    }
    stats
}

/// Compares what was confirmed with what was asked: older plugins ignore what they do not
/// know, and then confirm less.
pub(crate) fn validation(
    asked: &proto::ValidateVolumeCapabilitiesRequest,
    answer: proto::ValidateVolumeCapabilitiesResponse,
) -> Validation {
    let Some(confirmed) = answer.confirmed else {
        return Validation::Refused {
            message: answer.message,
        };
    };
    let all = &asked.volume_capabilities;
    let missing = all
        .iter()
        .filter(|one| !confirmed.volume_capabilities.contains(one))
        .count();
    if missing > 0 {
        let message = format!(
            "the plugin confirmed all but {missing} of {} ways",
            all.len()
        );
        return Validation::Refused { message };
    }
    let all_echoed = confirmed.volume_context == asked.volume_context
        && confirmed.parameters == asked.parameters;
    Validation::Confirmed { all_echoed }
}
