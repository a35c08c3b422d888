//! The Controller service: volumes come, grow, are listed and go.
//!
//! Owns the words of the requests and answers. What this plugin cannot do is answered
//! UNIMPLEMENTED, as CSI asks of calls without their capability.

use std::collections::BTreeMap;
use std::sync::Arc;

use sutler_csi::proto::controller_server::Controller;
use sutler_csi::proto::controller_service_capability::{Rpc, Type, rpc};
use sutler_csi::proto::list_volumes_response::Entry;
use sutler_csi::proto::validate_volume_capabilities_response::Confirmed;
use sutler_csi::proto::{self as csi, TopologyRequirement};
use tonic::{Code, Request, Response, Status};

use crate::answer::{Call, answer};
use crate::host::Host;
use crate::pool::{ContentAsked, Pool, PoolError};
use crate::record::VolumeRecord;
use crate::refusal::Refusal;
use crate::{request, size, stage};

/// Volumes on a page when the caller sets no bound; each takes about 200 bytes of the answer.
const PAGE_ENTRIES_MAX: usize = 10_000;

const CAPABILITIES: [rpc::Type; 5] = [
    rpc::Type::CreateDeleteVolume,
    rpc::Type::ListVolumes,
    rpc::Type::GetCapacity,
    rpc::Type::ExpandVolume,
    rpc::Type::SingleNodeMultiWriter,
];

/// The Controller service.
#[derive(Debug, Clone)]
pub struct ControllerService(pub Arc<Host>);

#[tonic::async_trait]
impl Controller for ControllerService {
    async fn create_volume(
        &self,
        request: Request<csi::CreateVolumeRequest>,
    ) -> Result<Response<csi::CreateVolumeResponse>, Status> {
        let request = request.into_inner();
        let id = match request.name.is_empty() {
            true => String::new(),
            false => Pool::id_of(&request.name),
        };
        let call = Call::exclusive("CreateVolume", id);
        answer(&self.0, call, move |host| create(host, &request)).await
    }

    async fn delete_volume(
        &self,
        request: Request<csi::DeleteVolumeRequest>,
    ) -> Result<Response<csi::DeleteVolumeResponse>, Status> {
        let id = request.into_inner().volume_id;
        let call = Call::exclusive("DeleteVolume", id.clone());
        answer(&self.0, call, move |host| delete(host, &id)).await
    }

    async fn validate_volume_capabilities(
        &self,
        request: Request<csi::ValidateVolumeCapabilitiesRequest>,
    ) -> Result<Response<csi::ValidateVolumeCapabilitiesResponse>, Status> {
        let request = request.into_inner();
        let call = Call::shared("ValidateVolumeCapabilities", request.volume_id.clone());
        answer(&self.0, call, move |host| validate(host, request)).await
    }

    async fn list_volumes(
        &self,
        request: Request<csi::ListVolumesRequest>,
    ) -> Result<Response<csi::ListVolumesResponse>, Status> {
        let request = request.into_inner();
        let call = Call::shared("ListVolumes", String::new());
        answer(&self.0, call, move |host| list(host, &request)).await
    }

    async fn get_capacity(
        &self,
        request: Request<csi::GetCapacityRequest>,
    ) -> Result<Response<csi::GetCapacityResponse>, Status> {
        let request = request.into_inner();
        let call = Call::shared("GetCapacity", String::new());
        answer(&self.0, call, move |host| capacity(host, &request)).await
    }

    async fn controller_get_capabilities(
        &self,
        _: Request<csi::ControllerGetCapabilitiesRequest>,
    ) -> Result<Response<csi::ControllerGetCapabilitiesResponse>, Status> {
        let call = Call::shared("ControllerGetCapabilities", String::new());
        let capabilities = CAPABILITIES.map(|kind| csi::ControllerServiceCapability {
            r#type: Some(Type::Rpc(Rpc {
                r#type: kind.into(),
            })),
        });
        answer(&self.0, call, move |_| {
            Ok(csi::ControllerGetCapabilitiesResponse {
                capabilities: capabilities.into(),
            })
        })
        .await
    }

    async fn controller_expand_volume(
        &self,
        request: Request<csi::ControllerExpandVolumeRequest>,
    ) -> Result<Response<csi::ControllerExpandVolumeResponse>, Status> {
        let request = request.into_inner();
        let call = Call::exclusive("ControllerExpandVolume", request.volume_id.clone());
        answer(&self.0, call, move |host| expand(host, &request)).await
    }

    async fn controller_publish_volume(
        &self,
        _: Request<csi::ControllerPublishVolumeRequest>,
    ) -> Result<Response<csi::ControllerPublishVolumeResponse>, Status> {
        Err(not_offered("controller_publish_volume"))
    }

    async fn controller_unpublish_volume(
        &self,
        _: Request<csi::ControllerUnpublishVolumeRequest>,
    ) -> Result<Response<csi::ControllerUnpublishVolumeResponse>, Status> {
        Err(not_offered("controller_unpublish_volume"))
    }

    async fn create_snapshot(
        &self,
        _: Request<csi::CreateSnapshotRequest>,
    ) -> Result<Response<csi::CreateSnapshotResponse>, Status> {
        Err(not_offered("create_snapshot"))
    }

    async fn delete_snapshot(
        &self,
        _: Request<csi::DeleteSnapshotRequest>,
    ) -> Result<Response<csi::DeleteSnapshotResponse>, Status> {
        Err(not_offered("delete_snapshot"))
    }

    async fn list_snapshots(
        &self,
        _: Request<csi::ListSnapshotsRequest>,
    ) -> Result<Response<csi::ListSnapshotsResponse>, Status> {
        Err(not_offered("list_snapshots"))
    }

    async fn get_snapshot(
        &self,
        _: Request<csi::GetSnapshotRequest>,
    ) -> Result<Response<csi::GetSnapshotResponse>, Status> {
        Err(not_offered("get_snapshot"))
    }

    async fn controller_get_volume(
        &self,
        _: Request<csi::ControllerGetVolumeRequest>,
    ) -> Result<Response<csi::ControllerGetVolumeResponse>, Status> {
        Err(not_offered("controller_get_volume"))
    }

    async fn controller_modify_volume(
        &self,
        _: Request<csi::ControllerModifyVolumeRequest>,
    ) -> Result<Response<csi::ControllerModifyVolumeResponse>, Status> {
        Err(not_offered("controller_modify_volume"))
    }

    async fn controller_list_volume_health(
        &self,
        _: Request<csi::ControllerListVolumeHealthRequest>,
    ) -> Result<Response<csi::ControllerListVolumeHealthResponse>, Status> {
        Err(not_offered("controller_list_volume_health"))
    }

    async fn controller_get_volume_health(
        &self,
        _: Request<csi::ControllerGetVolumeHealthRequest>,
    ) -> Result<Response<csi::ControllerGetVolumeHealthResponse>, Status> {
        Err(not_offered("controller_get_volume_health"))
    }
}

/// The answer to a call whose capability this plugin does not claim.
pub(crate) fn not_offered(call: &str) -> Status {
    Status::unimplemented(format!("{call}: this plugin has no such capability"))
}

fn create(
    host: &Host,
    request: &csi::CreateVolumeRequest,
) -> Result<csi::CreateVolumeResponse, Refusal> {
    let asked = request::volume(request)?;
    check_topology(host, request.accessibility_requirements.as_ref())?;
    let record = host.pool.create(&asked)?;
    Ok(csi::CreateVolumeResponse {
        volume: Some(volume_of(host, &record)),
    })
}

/// Volumes of this node are reachable from this node only.
fn check_topology(host: &Host, wanted: Option<&TopologyRequirement>) -> Result<(), Refusal> {
    let requisite = wanted.map_or(&[][..], |wanted| &wanted.requisite);
    if requisite.is_empty() || requisite.iter().any(|topology| is_here(host, topology)) {
        return Ok(());
    }
    let text = format!(
        "accessibility_requirements: volumes of this plugin are on {}={} only",
        host.topology_key(),
        host.node_id
    );
    Err(Refusal {
        code: Code::ResourceExhausted,
        text,
    })
}

fn is_here(host: &Host, topology: &csi::Topology) -> bool {
    topology
        .segments
        .get(&host.topology_key())
        .is_none_or(|node| *node == host.node_id)
}

fn volume_of(host: &Host, record: &VolumeRecord) -> csi::Volume {
    csi::Volume {
        capacity_bytes: signed(record.capacity_bytes),
        volume_id: record.id.clone(),
        accessible_topology: vec![here(host)],
        ..csi::Volume::default()
    }
}

/// Where this node is, in CSI's words.
pub fn here(host: &Host) -> csi::Topology {
    let segments = BTreeMap::from([(host.topology_key(), host.node_id.clone())]);
    csi::Topology { segments }
}

/// CSI counts bytes in signed numbers; no disk has more than they hold.
pub fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn delete(host: &Host, id: &str) -> Result<csi::DeleteVolumeResponse, Refusal> {
    request::required("volume_id", id)?;
    if host.pool.has(id) {
        stage::ensure_unused(id, &host.pool.image(id))?;
        host.pool.remove(id)?;
    }
    Ok(csi::DeleteVolumeResponse {})
}

fn validate(
    host: &Host,
    request: csi::ValidateVolumeCapabilitiesRequest,
) -> Result<csi::ValidateVolumeCapabilitiesResponse, Refusal> {
    request::required("volume_id", &request.volume_id)?;
    if request.volume_capabilities.is_empty() {
        return Err(Refusal::invalid("volume_capabilities is empty"));
    }
    let volume = host.volume(&request.volume_id)?;
    let check = |capability| {
        let usage = request::usage(Some(capability))?;
        Ok(stage::check_access(&volume, &usage.access)?)
    };
    let refused = request
        .volume_capabilities
        .iter()
        .find_map(|one| check(one).err());
    Ok(match refused {
        Some(Refusal { text, .. }) => csi::ValidateVolumeCapabilitiesResponse {
            confirmed: None,
            message: text,
        },
        None => csi::ValidateVolumeCapabilitiesResponse {
            confirmed: Some(Confirmed {
                volume_context: request.volume_context,
                volume_capabilities: request.volume_capabilities,
                parameters: request.parameters,
                mutable_parameters: request.mutable_parameters,
            }),
            message: String::new(),
        },
    })
}

fn list(
    host: &Host,
    request: &csi::ListVolumesRequest,
) -> Result<csi::ListVolumesResponse, Refusal> {
    let max = match usize::try_from(request.max_entries) {
        Err(_) => return Err(Refusal::invalid("max_entries is negative")),
        Ok(0) => PAGE_ENTRIES_MAX,
        Ok(max) => max.min(PAGE_ENTRIES_MAX),
    };
    // The token is the last id of the page before, which may be gone meanwhile.
    let after = match request.starting_token.as_str() {
        "" => None,
        token => match uuid::Uuid::try_parse(token) {
            Ok(_) => Some(token),
            Err(_) => {
                let text = format!("starting_token {token:?} is none of ours; list from the start");
                return Err(Refusal {
                    code: Code::Aborted,
                    text,
                });
            }
        },
    };
    let page = host.pool.list(after, max);
    let next_token = match (page.more, page.volumes.last()) {
        (true, Some(last)) => last.id.clone(),
        (true, None) | (false, _) => String::new(),
    };
    let entry = |record| Entry {
        volume: Some(volume_of(host, record)),
        status: None,
    };
    Ok(csi::ListVolumesResponse {
        entries: page.volumes.iter().map(entry).collect(),
        next_token,
    })
}

fn capacity(
    host: &Host,
    request: &csi::GetCapacityRequest,
) -> Result<csi::GetCapacityResponse, Refusal> {
    request::thin(&request.parameters)?;
    let elsewhere = request
        .accessible_topology
        .as_ref()
        .is_some_and(|at| !is_here(host, at));
    let content = match request.volume_capabilities.as_slice() {
        [] => Ok(ContentAsked::Filesystem(None)),
        capabilities => request::content(capabilities),
    };
    let (Ok(content), false) = (content, elsewhere) else {
        return Ok(csi::GetCapacityResponse::default());
    };
    let least = size::least(match content {
        ContentAsked::Block => None,
        ContentAsked::Filesystem(fs) => fs.or(Some(crate::record::FsKind::Ext4)),
    });
    let space = host.pool.space()?;
    let available = space.available_bytes;
    Ok(csi::GetCapacityResponse {
        available_capacity: signed(available),
        maximum_volume_size: Some(signed(available)),
        minimum_volume_size: Some(signed(least)),
    })
}

fn expand(
    host: &Host,
    request: &csi::ControllerExpandVolumeRequest,
) -> Result<csi::ControllerExpandVolumeResponse, Refusal> {
    request::required("volume_id", &request.volume_id)?;
    let Some(range) = &request.capacity_range else {
        return Err(Refusal::invalid("capacity_range is not set"));
    };
    let asked = request::size(Some(range))?;
    if asked.required_bytes == 0 && asked.limit_bytes == 0 {
        return Err(Refusal::invalid("capacity_range asks for nothing"));
    }
    let volume = host.volume(&request.volume_id)?;
    if let Some(capability) = &request.volume_capability {
        stage::check_access(&volume, &request::usage(Some(capability))?.access)?;
    }
    let record = host
        .pool
        .grow(&request.volume_id, asked)
        .map_err(|error| match error {
            // A volume exists already: what is asked beyond the pool is not its own range.
            PoolError::AbovePool { .. } => Refusal {
                code: Code::OutOfRange,
                ..error.into()
            },
            other => other.into(),
        })?;
    // Device and file system follow on the node, also when an earlier call grew the image.
    Ok(csi::ControllerExpandVolumeResponse {
        capacity_bytes: signed(record.capacity_bytes),
        node_expansion_required: true,
    })
}
