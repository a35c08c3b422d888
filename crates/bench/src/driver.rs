//! A CSI driver that costs next to nothing, also with very many volumes: Kubernetes' mock driver
//! searches all of its volumes in every call, so with 10,000 it is what is measured.
//!
//! It keeps names and sizes in memory, publishes a folder, and has no place of its own on the disk.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use sutler_csi::proto;
use sutler_csi::proto::controller_server::{Controller, ControllerServer};
use sutler_csi::proto::identity_server::{Identity, IdentityServer};
use sutler_csi::proto::node_server::{Node, NodeServer};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

/// What it calls itself.
const NAME: &str = "many.sutler.test";

/// Entries of a page when the caller names no number.
const PAGE_ENTRIES: usize = 1000;

/// Volumes by name, which is their identity as well, with their size.
#[derive(Clone, Default)]
struct Driver(Arc<Mutex<BTreeMap<String, i64>>>);

type Answer<T> = Result<Response<T>, Status>;

/// Serves at the socket that the agent has named.
///
/// # Errors
/// There is none, or it cannot be listened on.
pub fn serve() -> Result<()> {
    let endpoint = std::env::var("CSI_ENDPOINT").context("CSI_ENDPOINT is not set")?;
    let socket = endpoint.strip_prefix("unix://").unwrap_or(&endpoint);
    let socket = PathBuf::from(socket);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(listen(&socket))
}

async fn listen(socket: &Path) -> Result<()> {
    // What an earlier run left there; none is no fault.
    let _ = fs::remove_file(socket);
    let listener = UnixListener::bind(socket).with_context(|| socket.display().to_string())?;
    let driver = Driver::default();
    tonic::transport::Server::builder()
        .add_service(IdentityServer::new(driver.clone()))
        .add_service(ControllerServer::new(driver.clone()))
        .add_service(NodeServer::new(driver))
        .serve_with_incoming(UnixListenerStream::new(listener))
        .await?;
    Ok(())
}

impl Driver {
    fn volumes(&self) -> MutexGuard<'_, BTreeMap<String, i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn volume(id: &str, capacity: i64) -> proto::Volume {
    proto::Volume {
        volume_id: id.to_owned(),
        capacity_bytes: capacity,
        ..proto::Volume::default()
    }
}

#[tonic::async_trait]
impl Identity for Driver {
    async fn get_plugin_info(
        &self,
        _: Request<proto::GetPluginInfoRequest>,
    ) -> Answer<proto::GetPluginInfoResponse> {
        Ok(Response::new(proto::GetPluginInfoResponse {
            name: NAME.to_owned(),
            vendor_version: env!("CARGO_PKG_VERSION").to_owned(),
            ..proto::GetPluginInfoResponse::default()
        }))
    }

    async fn get_plugin_capabilities(
        &self,
        _: Request<proto::GetPluginCapabilitiesRequest>,
    ) -> Answer<proto::GetPluginCapabilitiesResponse> {
        use proto::plugin_capability::{Service, Type, service};
        let service = Service {
            r#type: service::Type::ControllerService.into(),
        };
        let controller = proto::PluginCapability {
            r#type: Some(Type::Service(service)),
        };
        Ok(Response::new(proto::GetPluginCapabilitiesResponse {
            capabilities: vec![controller],
        }))
    }

    async fn probe(&self, _: Request<proto::ProbeRequest>) -> Answer<proto::ProbeResponse> {
        Ok(Response::new(proto::ProbeResponse { ready: None }))
    }
}

#[tonic::async_trait]
impl Controller for Driver {
    async fn controller_get_capabilities(
        &self,
        _: Request<proto::ControllerGetCapabilitiesRequest>,
    ) -> Answer<proto::ControllerGetCapabilitiesResponse> {
        use proto::controller_service_capability::{Rpc, Type, rpc};
        let able = |able: rpc::Type| proto::ControllerServiceCapability {
            r#type: Some(Type::Rpc(Rpc {
                r#type: able.into(),
            })),
        };
        let all = [rpc::Type::CreateDeleteVolume, rpc::Type::ListVolumes];
        Ok(Response::new(proto::ControllerGetCapabilitiesResponse {
            capabilities: all.map(able).to_vec(),
        }))
    }

    async fn create_volume(
        &self,
        request: Request<proto::CreateVolumeRequest>,
    ) -> Answer<proto::CreateVolumeResponse> {
        let request = request.into_inner();
        let asked = request
            .capacity_range
            .map_or(0, |range| range.required_bytes);
        let mut volumes = self.volumes();
        let capacity = *volumes.entry(request.name.clone()).or_insert(asked);
        Ok(Response::new(proto::CreateVolumeResponse {
            volume: Some(volume(&request.name, capacity)),
        }))
    }

    async fn delete_volume(
        &self,
        request: Request<proto::DeleteVolumeRequest>,
    ) -> Answer<proto::DeleteVolumeResponse> {
        self.volumes().remove(&request.into_inner().volume_id);
        Ok(Response::new(proto::DeleteVolumeResponse {}))
    }

    async fn validate_volume_capabilities(
        &self,
        request: Request<proto::ValidateVolumeCapabilitiesRequest>,
    ) -> Answer<proto::ValidateVolumeCapabilitiesResponse> {
        use proto::validate_volume_capabilities_response::Confirmed;
        let request = request.into_inner();
        if !self.volumes().contains_key(&request.volume_id) {
            return Err(Status::not_found(request.volume_id));
        }
        Ok(Response::new(proto::ValidateVolumeCapabilitiesResponse {
            confirmed: Some(Confirmed {
                volume_capabilities: request.volume_capabilities,
                ..Confirmed::default()
            }),
            ..proto::ValidateVolumeCapabilitiesResponse::default()
        }))
    }

    async fn list_volumes(
        &self,
        request: Request<proto::ListVolumesRequest>,
    ) -> Answer<proto::ListVolumesResponse> {
        let request = request.into_inner();
        let most = match usize::try_from(request.max_entries) {
            Ok(0) | Err(_) => PAGE_ENTRIES,
            Ok(most) => most,
        };
        let from = match request.starting_token.as_str() {
            "" => Bound::Unbounded,
            token => Bound::Excluded(token.to_owned()),
        };
        let volumes = self.volumes();
        let page = volumes.range((from, Bound::Unbounded)).take(most);
        let entries: Vec<_> = page
            .map(|(id, capacity)| proto::list_volumes_response::Entry {
                volume: Some(volume(id, *capacity)),
                status: None,
            })
            .collect();
        let last = entries.last().and_then(|entry| entry.volume.as_ref());
        let next_token = match entries.len() == most {
            true => last.map(|last| last.volume_id.clone()).unwrap_or_default(),
            false => String::new(),
        };
        Ok(Response::new(proto::ListVolumesResponse {
            entries,
            next_token,
        }))
    }
}

#[tonic::async_trait]
impl Node for Driver {
    async fn node_get_info(
        &self,
        _: Request<proto::NodeGetInfoRequest>,
    ) -> Answer<proto::NodeGetInfoResponse> {
        Ok(Response::new(proto::NodeGetInfoResponse {
            node_id: "node".to_owned(),
            ..proto::NodeGetInfoResponse::default()
        }))
    }

    async fn node_get_capabilities(
        &self,
        _: Request<proto::NodeGetCapabilitiesRequest>,
    ) -> Answer<proto::NodeGetCapabilitiesResponse> {
        Ok(Response::new(proto::NodeGetCapabilitiesResponse::default()))
    }

    async fn node_publish_volume(
        &self,
        request: Request<proto::NodePublishVolumeRequest>,
    ) -> Answer<proto::NodePublishVolumeResponse> {
        fs::create_dir_all(request.into_inner().target_path)?;
        Ok(Response::new(proto::NodePublishVolumeResponse {}))
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<proto::NodeUnpublishVolumeRequest>,
    ) -> Answer<proto::NodeUnpublishVolumeResponse> {
        // Gone already is as good.
        let _ = fs::remove_dir(request.into_inner().target_path);
        Ok(Response::new(proto::NodeUnpublishVolumeResponse {}))
    }
}
