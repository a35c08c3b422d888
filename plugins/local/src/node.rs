//! The Node service: volumes become usable on this node.
//!
//! Owns the words of the requests and answers; `stage`, `publish` and `expand` do the work.

use std::path::PathBuf;
use std::sync::Arc;

use sutler_csi::proto::node_server::Node;
use sutler_csi::proto::node_service_capability::{Rpc, Type, rpc};
use sutler_csi::proto::volume_usage::Unit;
use sutler_csi::proto::{self as csi, VolumeUsage};
use tonic::{Code, Request, Response, Status};

use crate::answer::{Call, answer};
use crate::controller::{here, not_offered, signed};
use crate::host::Host;
use crate::publish::{self, Located, PublishAsked, PublishError};
use crate::refusal::Refusal;
use crate::{expand, request, stage};

const CAPABILITIES: [rpc::Type; 4] = [
    rpc::Type::StageUnstageVolume,
    rpc::Type::GetVolumeStats,
    rpc::Type::ExpandVolume,
    rpc::Type::SingleNodeMultiWriter,
];

/// The Node service.
#[derive(Debug, Clone)]
pub struct NodeService(pub Arc<Host>);

#[tonic::async_trait]
impl Node for NodeService {
    async fn node_stage_volume(
        &self,
        request: Request<csi::NodeStageVolumeRequest>,
    ) -> Result<Response<csi::NodeStageVolumeResponse>, Status> {
        let request = request.into_inner();
        let call = Call::exclusive("NodeStageVolume", request.volume_id.clone());
        answer(&self.0, call, move |host| stage_volume(host, &request)).await
    }

    async fn node_unstage_volume(
        &self,
        request: Request<csi::NodeUnstageVolumeRequest>,
    ) -> Result<Response<csi::NodeUnstageVolumeResponse>, Status> {
        let request = request.into_inner();
        let call = Call::exclusive("NodeUnstageVolume", request.volume_id.clone());
        answer(&self.0, call, move |host| unstage_volume(host, &request)).await
    }

    async fn node_publish_volume(
        &self,
        request: Request<csi::NodePublishVolumeRequest>,
    ) -> Result<Response<csi::NodePublishVolumeResponse>, Status> {
        let request = request.into_inner();
        let call = Call::exclusive("NodePublishVolume", request.volume_id.clone());
        answer(&self.0, call, move |host| publish_volume(host, &request)).await
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<csi::NodeUnpublishVolumeRequest>,
    ) -> Result<Response<csi::NodeUnpublishVolumeResponse>, Status> {
        let request = request.into_inner();
        let call = Call::exclusive("NodeUnpublishVolume", request.volume_id.clone());
        answer(&self.0, call, move |host| unpublish_volume(host, &request)).await
    }

    async fn node_get_volume_stats(
        &self,
        request: Request<csi::NodeGetVolumeStatsRequest>,
    ) -> Result<Response<csi::NodeGetVolumeStatsResponse>, Status> {
        let request = request.into_inner();
        let call = Call::shared("NodeGetVolumeStats", request.volume_id.clone());
        answer(&self.0, call, move |host| stats(host, &request)).await
    }

    async fn node_expand_volume(
        &self,
        request: Request<csi::NodeExpandVolumeRequest>,
    ) -> Result<Response<csi::NodeExpandVolumeResponse>, Status> {
        let request = request.into_inner();
        let call = Call::exclusive("NodeExpandVolume", request.volume_id.clone());
        answer(&self.0, call, move |host| expand_volume(host, &request)).await
    }

    async fn node_get_capabilities(
        &self,
        _: Request<csi::NodeGetCapabilitiesRequest>,
    ) -> Result<Response<csi::NodeGetCapabilitiesResponse>, Status> {
        let call = Call::shared("NodeGetCapabilities", String::new());
        let capabilities = CAPABILITIES.map(|kind| csi::NodeServiceCapability {
            r#type: Some(Type::Rpc(Rpc {
                r#type: kind.into(),
            })),
        });
        answer(&self.0, call, move |_| {
            Ok(csi::NodeGetCapabilitiesResponse {
                capabilities: capabilities.into(),
            })
        })
        .await
    }

    async fn node_get_info(
        &self,
        _: Request<csi::NodeGetInfoRequest>,
    ) -> Result<Response<csi::NodeGetInfoResponse>, Status> {
        let call = Call::shared("NodeGetInfo", String::new());
        answer(&self.0, call, |host| {
            Ok(csi::NodeGetInfoResponse {
                node_id: host.node_id.clone(),
                max_volumes_per_node: 0,
                accessible_topology: Some(here(host)),
            })
        })
        .await
    }

    async fn node_get_volume_health(
        &self,
        _: Request<csi::NodeGetVolumeHealthRequest>,
    ) -> Result<Response<csi::NodeGetVolumeHealthResponse>, Status> {
        Err(not_offered("node_get_volume_health"))
    }

    async fn node_get_storage_health(
        &self,
        _: Request<csi::NodeGetStorageHealthRequest>,
    ) -> Result<Response<csi::NodeGetStorageHealthResponse>, Status> {
        Err(not_offered("node_get_storage_health"))
    }
}

fn stage_volume(
    host: &Host,
    request: &csi::NodeStageVolumeRequest,
) -> Result<csi::NodeStageVolumeResponse, Refusal> {
    request::required("volume_id", &request.volume_id)?;
    let staging = request::path("staging_target_path", &request.staging_target_path)?;
    let usage = request::usage(request.volume_capability.as_ref())?;
    let volume = host.volume(&request.volume_id)?;
    stage::stage(&volume, &staging, &usage.access)?;
    Ok(csi::NodeStageVolumeResponse {})
}

fn unstage_volume(
    host: &Host,
    request: &csi::NodeUnstageVolumeRequest,
) -> Result<csi::NodeUnstageVolumeResponse, Refusal> {
    request::required("volume_id", &request.volume_id)?;
    let staging = request::path("staging_target_path", &request.staging_target_path)?;
    match host.volume_if_known(&request.volume_id)? {
        Some(volume) => stage::unstage(&volume, &staging)?,
        None => stage::nothing_at(&staging, &request.volume_id).map_err(|error| Refusal {
            code: Code::NotFound,
            ..error.into()
        })?,
    }
    Ok(csi::NodeUnstageVolumeResponse {})
}

fn publish_volume(
    host: &Host,
    request: &csi::NodePublishVolumeRequest,
) -> Result<csi::NodePublishVolumeResponse, Refusal> {
    request::required("volume_id", &request.volume_id)?;
    let target = request::path("target_path", &request.target_path)?;
    let usage = request::usage(request.volume_capability.as_ref())?;
    let staging = request::path("staging_target_path", &request.staging_target_path)?;
    let volume = host.volume(&request.volume_id)?;
    stage::check_access(&volume, &usage.access)?;
    let read_only = request.readonly || usage.read_only;
    let single_writer = usage.single_writer;
    let asked = PublishAsked {
        staging,
        target,
        read_only,
        single_writer,
    };
    publish::publish(&volume, &asked)?;
    Ok(csi::NodePublishVolumeResponse {})
}

fn unpublish_volume(
    host: &Host,
    request: &csi::NodeUnpublishVolumeRequest,
) -> Result<csi::NodeUnpublishVolumeResponse, Refusal> {
    request::required("volume_id", &request.volume_id)?;
    let target = request::path("target_path", &request.target_path)?;
    let volume = host.volume_if_known(&request.volume_id)?;
    publish::unpublish(volume.as_ref(), &request.volume_id, &target)?;
    Ok(csi::NodeUnpublishVolumeResponse {})
}

fn stats(
    host: &Host,
    request: &csi::NodeGetVolumeStatsRequest,
) -> Result<csi::NodeGetVolumeStatsResponse, Refusal> {
    request::required("volume_id", &request.volume_id)?;
    request::required("volume_path", &request.volume_path)?;
    let path = PathBuf::from(&request.volume_path);
    let volume = host.volume(&request.volume_id)?;
    let usage = match publish::locate(&volume, &path)? {
        Located::Mounted { mount, .. } => filesystem_usage(&mount.target)?,
        Located::Node { .. } => {
            let total = signed(volume.record.capacity_bytes);
            vec![VolumeUsage {
                total,
                unit: Unit::Bytes.into(),
                ..VolumeUsage::default()
            }]
        }
        Located::MayBeStaged { .. } => {
            let id = volume.record.id.clone();
            return Err(PublishError::NotThere { id, path }.into());
        }
    };
    Ok(csi::NodeGetVolumeStatsResponse { usage })
}

fn filesystem_usage(path: &std::path::Path) -> Result<Vec<VolumeUsage>, Refusal> {
    let stat = rustix::fs::statvfs(path).map_err(|error| Refusal {
        code: Code::Internal,
        text: format!("cannot ask {} for its usage: {error}", path.display()),
    })?;
    let bytes = |blocks: u64| signed(blocks.saturating_mul(stat.f_frsize));
    let used_blocks = stat.f_blocks.saturating_sub(stat.f_bfree);
    Ok(vec![
        VolumeUsage {
            available: bytes(stat.f_bavail),
            total: bytes(stat.f_blocks),
            used: bytes(used_blocks),
            unit: Unit::Bytes.into(),
        },
        VolumeUsage {
            available: signed(stat.f_favail),
            total: signed(stat.f_files),
            used: signed(stat.f_files.saturating_sub(stat.f_ffree)),
            unit: Unit::Inodes.into(),
        },
    ])
}

fn expand_volume(
    host: &Host,
    request: &csi::NodeExpandVolumeRequest,
) -> Result<csi::NodeExpandVolumeResponse, Refusal> {
    request::required("volume_id", &request.volume_id)?;
    request::required("volume_path", &request.volume_path)?;
    let path = PathBuf::from(&request.volume_path);
    let asked = request::size(request.capacity_range.as_ref())?;
    let volume = host.volume(&request.volume_id)?;
    let located = publish::locate(&volume, &path)?;
    let bytes = expand::expand(&volume, &located, asked.required_bytes)?;
    Ok(csi::NodeExpandVolumeResponse {
        capacity_bytes: signed(bytes),
    })
}
