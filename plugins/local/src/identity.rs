//! The Identity service: who the plugin is and whether it can work.

use std::sync::Arc;

use sutler_csi::proto::identity_server::Identity;
use sutler_csi::proto::plugin_capability::volume_expansion;
use sutler_csi::proto::plugin_capability::{Service, Type, VolumeExpansion, service};
use sutler_csi::proto::{
    GetPluginCapabilitiesRequest, GetPluginCapabilitiesResponse, GetPluginInfoRequest,
    GetPluginInfoResponse, PluginCapability, ProbeRequest, ProbeResponse,
};
use tonic::{Code, Request, Response, Status};

use crate::answer::{Call, answer};
use crate::host::Host;
use crate::refusal::Refusal;
use crate::tools;
use sutler_host::loopdev;

/// The Identity service.
#[derive(Debug, Clone)]
pub struct IdentityService(pub Arc<Host>);

#[tonic::async_trait]
impl Identity for IdentityService {
    async fn get_plugin_info(
        &self,
        _: Request<GetPluginInfoRequest>,
    ) -> Result<Response<GetPluginInfoResponse>, Status> {
        let call = Call::shared("GetPluginInfo", String::new());
        answer(&self.0, call, |host| {
            Ok(GetPluginInfoResponse {
                name: host.driver_name.clone(),
                vendor_version: env!("CARGO_PKG_VERSION").to_owned(),
                ..GetPluginInfoResponse::default()
            })
        })
        .await
    }

    async fn get_plugin_capabilities(
        &self,
        _: Request<GetPluginCapabilitiesRequest>,
    ) -> Result<Response<GetPluginCapabilitiesResponse>, Status> {
        let call = Call::shared("GetPluginCapabilities", String::new());
        let service = |kind: service::Type| {
            Type::Service(Service {
                r#type: kind.into(),
            })
        };
        let online = VolumeExpansion {
            r#type: volume_expansion::Type::Online.into(),
        };
        let capabilities = [
            service(service::Type::ControllerService),
            service(service::Type::VolumeAccessibilityConstraints),
            Type::VolumeExpansion(online),
        ];
        let capabilities = capabilities.map(|kind| PluginCapability { r#type: Some(kind) });
        answer(&self.0, call, move |_| {
            Ok(GetPluginCapabilitiesResponse {
                capabilities: capabilities.into(),
            })
        })
        .await
    }

    async fn probe(&self, _: Request<ProbeRequest>) -> Result<Response<ProbeResponse>, Status> {
        answer(&self.0, Call::shared("Probe", String::new()), |_| probe()).await
    }
}

fn probe() -> Result<ProbeResponse, Refusal> {
    let not_ready = |text: String| Refusal {
        code: Code::FailedPrecondition,
        text,
    };
    let missing = tools::missing();
    if !missing.is_empty() {
        let text = format!("not found through PATH: {}", missing.join(", "));
        return Err(not_ready(text));
    }
    if !loopdev::is_available() {
        let text = "/dev/loop-control is not there: load the kernel module loop and let the \
                    plugin see the host's /dev";
        return Err(not_ready(text.to_owned()));
    }
    Ok(ProbeResponse { ready: Some(true) })
}
