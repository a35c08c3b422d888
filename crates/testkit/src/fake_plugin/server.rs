//! gRPC in and out: every RPC of the three services, one line of dispatch each.
//!
//! Owns no state. What CSI has and the fake has not is answered UNIMPLEMENTED by the
//! generated code.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use sutler_csi::proto::controller_server::Controller;
use sutler_csi::proto::identity_server::Identity;
use sutler_csi::proto::node_server::Node;
use sutler_csi::{Rpc, proto};
use tonic::{Request, Response, Status};

use super::config::FakeConfig;
use super::pass::Plugin;

/// The three services of one start.
#[derive(Clone, Debug)]
pub(super) struct Services(pub(super) Arc<Plugin>);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Identity for Services {
    async fn get_plugin_info(
        &self,
        request: Request<proto::GetPluginInfoRequest>,
    ) -> Answer<proto::GetPluginInfoResponse> {
        let work = |_: &mut _, config: &FakeConfig, _: &_| {
            let manifest = [("fake".to_owned(), "true".to_owned())].into();
            let (name, vendor_version) = (config.name.clone(), config.vendor_version.clone());
            Ok(proto::GetPluginInfoResponse {
                name,
                vendor_version,
                manifest,
            })
        };
        self.0
            .pass(Rpc::PluginInfo, request.into_inner(), work)
            .await
    }

    async fn get_plugin_capabilities(
        &self,
        request: Request<proto::GetPluginCapabilitiesRequest>,
    ) -> Answer<proto::GetPluginCapabilitiesResponse> {
        let work = |_: &mut _, config: &FakeConfig, _: &_| {
            let capabilities = plugin_capabilities(config);
            Ok(proto::GetPluginCapabilitiesResponse { capabilities })
        };
        self.0
            .pass(Rpc::PluginCapabilities, request.into_inner(), work)
            .await
    }

    async fn probe(&self, request: Request<proto::ProbeRequest>) -> Answer<proto::ProbeResponse> {
        let ready = {
            let mut probes = self.0.probes.lock().unwrap_or_else(PoisonError::into_inner);
            *probes = probes.saturating_add(1);
            *probes > self.0.config.not_ready_probes && !self.0.unready.load(Ordering::Relaxed)
        };
        let work = match ready {
            true => |_: &mut _, _: &_, _: &_| Ok(proto::ProbeResponse { ready: None }),
            false => |_: &mut _, _: &_, _: &_| Ok(proto::ProbeResponse { ready: Some(false) }),
        };
        self.0.pass(Rpc::Probe, request.into_inner(), work).await
    }
}

#[tonic::async_trait]
impl Controller for Services {
    async fn controller_get_capabilities(
        &self,
        request: Request<proto::ControllerGetCapabilitiesRequest>,
    ) -> Answer<proto::ControllerGetCapabilitiesResponse> {
        let work = |_: &mut _, config: &FakeConfig, _: &_| {
            let capabilities = controller_capabilities(config);
            Ok(proto::ControllerGetCapabilitiesResponse { capabilities })
        };
        self.0
            .pass(Rpc::ControllerCapabilities, request.into_inner(), work)
            .await
    }

    async fn create_volume(
        &self,
        request: Request<proto::CreateVolumeRequest>,
    ) -> Answer<proto::CreateVolumeResponse> {
        let args = request.into_inner();
        self.0
            .pass(Rpc::CreateVolume, args, |world, config, args| {
                world.create(config, args)
            })
            .await
    }

    async fn delete_volume(
        &self,
        request: Request<proto::DeleteVolumeRequest>,
    ) -> Answer<proto::DeleteVolumeResponse> {
        let args = request.into_inner();
        self.0
            .pass(Rpc::DeleteVolume, args, |world, _, args| world.delete(args))
            .await
    }

    async fn controller_publish_volume(
        &self,
        request: Request<proto::ControllerPublishVolumeRequest>,
    ) -> Answer<proto::ControllerPublishVolumeResponse> {
        let args = request.into_inner();
        self.0
            .pass(Rpc::Attach, args, |world, _, args| world.attach(args))
            .await
    }

    async fn controller_unpublish_volume(
        &self,
        request: Request<proto::ControllerUnpublishVolumeRequest>,
    ) -> Answer<proto::ControllerUnpublishVolumeResponse> {
        let args = request.into_inner();
        self.0
            .pass(Rpc::Detach, args, |world, _, args| world.detach(args))
            .await
    }

    async fn validate_volume_capabilities(
        &self,
        request: Request<proto::ValidateVolumeCapabilitiesRequest>,
    ) -> Answer<proto::ValidateVolumeCapabilitiesResponse> {
        let args = request.into_inner();
        self.0
            .pass(Rpc::Validate, args, |world, _, args| world.validate(args))
            .await
    }

    async fn list_volumes(
        &self,
        request: Request<proto::ListVolumesRequest>,
    ) -> Answer<proto::ListVolumesResponse> {
        let args = request.into_inner();
        self.0
            .pass(Rpc::ListVolumes, args, |world, config, args| {
                world.list(config, args)
            })
            .await
    }

    async fn get_capacity(
        &self,
        request: Request<proto::GetCapacityRequest>,
    ) -> Answer<proto::GetCapacityResponse> {
        let args = request.into_inner();
        self.0
            .pass(Rpc::GetCapacity, args, |world, _, _| Ok(world.capacity()))
            .await
    }

    async fn controller_expand_volume(
        &self,
        request: Request<proto::ControllerExpandVolumeRequest>,
    ) -> Answer<proto::ControllerExpandVolumeResponse> {
        let args = request.into_inner();
        self.0
            .pass(Rpc::ExpandController, args, |world, config, args| {
                world.expand(config, args)
            })
            .await
    }
}

#[tonic::async_trait]
impl Node for Services {
    async fn node_get_capabilities(
        &self,
        request: Request<proto::NodeGetCapabilitiesRequest>,
    ) -> Answer<proto::NodeGetCapabilitiesResponse> {
        let work = |_: &mut _, config: &FakeConfig, _: &_| {
            let capabilities = node_capabilities(config);
            Ok(proto::NodeGetCapabilitiesResponse { capabilities })
        };
        self.0
            .pass(Rpc::NodeCapabilities, request.into_inner(), work)
            .await
    }

    async fn node_get_info(
        &self,
        request: Request<proto::NodeGetInfoRequest>,
    ) -> Answer<proto::NodeGetInfoResponse> {
        let work = |_: &mut _, config: &FakeConfig, _: &_| {
            let segments = config.topology.clone();
            Ok(proto::NodeGetInfoResponse {
                node_id: config.node_id.clone(),
                max_volumes_per_node: config.max_volumes.into(),
                accessible_topology: (!segments.is_empty()).then_some(proto::Topology { segments }),
            })
        };
        self.0.pass(Rpc::NodeInfo, request.into_inner(), work).await
    }

    async fn node_stage_volume(
        &self,
        request: Request<proto::NodeStageVolumeRequest>,
    ) -> Answer<proto::NodeStageVolumeResponse> {
        let args = request.into_inner();
        self.0
            .pass(Rpc::Stage, args, |world, config, args| {
                world.stage(config, args)
            })
            .await
    }

    async fn node_unstage_volume(
        &self,
        request: Request<proto::NodeUnstageVolumeRequest>,
    ) -> Answer<proto::NodeUnstageVolumeResponse> {
        let args = request.into_inner();
        self.0
            .pass(Rpc::Unstage, args, |world, config, args| {
                world.unstage(config, args)
            })
            .await
    }

    async fn node_publish_volume(
        &self,
        request: Request<proto::NodePublishVolumeRequest>,
    ) -> Answer<proto::NodePublishVolumeResponse> {
        let args = request.into_inner();
        self.0
            .pass(Rpc::Publish, args, |world, config, args| {
                world.publish(config, args)
            })
            .await
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<proto::NodeUnpublishVolumeRequest>,
    ) -> Answer<proto::NodeUnpublishVolumeResponse> {
        let args = request.into_inner();
        self.0
            .pass(Rpc::Unpublish, args, |world, config, args| {
                world.unpublish(config, args)
            })
            .await
    }

    async fn node_get_volume_stats(
        &self,
        request: Request<proto::NodeGetVolumeStatsRequest>,
    ) -> Answer<proto::NodeGetVolumeStatsResponse> {
        let args = request.into_inner();
        self.0
            .pass(Rpc::VolumeStats, args, |world, config, args| {
                world.stats(config, args)
            })
            .await
    }

    async fn node_expand_volume(
        &self,
        request: Request<proto::NodeExpandVolumeRequest>,
    ) -> Answer<proto::NodeExpandVolumeResponse> {
        let args = request.into_inner();
        self.0
            .pass(Rpc::ExpandNode, args, |world, config, args| {
                world.expand_node(config, args)
            })
            .await
    }
}

fn plugin_capabilities(config: &FakeConfig) -> Vec<proto::PluginCapability> {
    use proto::plugin_capability::{Service, Type, VolumeExpansion, service, volume_expansion};
    let service = |r#type: service::Type| {
        Type::Service(Service {
            r#type: r#type.into(),
        })
    };
    let growth = match config.expand_online {
        true => volume_expansion::Type::Online,
        false => volume_expansion::Type::Offline,
    };
    let growth = Type::VolumeExpansion(VolumeExpansion {
        r#type: growth.into(),
    });
    let topology = service(service::Type::VolumeAccessibilityConstraints);
    let all = [
        (config.controller, service(service::Type::ControllerService)),
        (!config.topology.is_empty(), topology),
        (config.expand_controller || config.expand_node, growth),
    ];
    let chosen = all.into_iter().filter(|(has, _)| *has);
    chosen
        .map(|(_, one)| proto::PluginCapability { r#type: Some(one) })
        .collect()
}

fn controller_capabilities(config: &FakeConfig) -> Vec<proto::ControllerServiceCapability> {
    use proto::controller_service_capability::{Rpc as Cap, Type, rpc};
    let all = [
        (true, rpc::Type::CreateDeleteVolume),
        (config.attach, rpc::Type::PublishUnpublishVolume),
        (config.list, rpc::Type::ListVolumes),
        (
            config.list && config.attach,
            rpc::Type::ListVolumesPublishedNodes,
        ),
        (config.capacity, rpc::Type::GetCapacity),
        (config.expand_controller, rpc::Type::ExpandVolume),
        (config.single_node_modes, rpc::Type::SingleNodeMultiWriter),
    ];
    let chosen = all.into_iter().filter(|(has, _)| *has);
    let wire = |r#type: rpc::Type| {
        Some(Type::Rpc(Cap {
            r#type: r#type.into(),
        }))
    };
    chosen
        .map(|(_, cap)| proto::ControllerServiceCapability { r#type: wire(cap) })
        .collect()
}

fn node_capabilities(config: &FakeConfig) -> Vec<proto::NodeServiceCapability> {
    use proto::node_service_capability::{Rpc as Cap, Type, rpc};
    let all = [
        (config.stage, rpc::Type::StageUnstageVolume),
        (config.stats, rpc::Type::GetVolumeStats),
        (config.expand_node, rpc::Type::ExpandVolume),
        (config.single_node_modes, rpc::Type::SingleNodeMultiWriter),
    ];
    let chosen = all.into_iter().filter(|(has, _)| *has);
    let wire = |r#type: rpc::Type| {
        Some(Type::Rpc(Cap {
            r#type: r#type.into(),
        }))
    };
    chosen
        .map(|(_, cap)| proto::NodeServiceCapability { r#type: wire(cap) })
        .collect()
}
