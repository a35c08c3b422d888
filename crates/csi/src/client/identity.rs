//! The calls of the Identity service, and the questions about capabilities.
//!
//! Capability numbers that we do not know are left out: a newer plugin may have them.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{At, PluginClient};
use crate::convert;
use crate::error::CsiError;
use crate::facts::{ControllerCap, NodeCap, NodeFacts, PluginCap};
use crate::limits::{NODE_ID_BYTES_MAX, PLUGIN_NAME_BYTES_MAX, check_text};
use crate::proto;
use crate::proto::controller_client::ControllerClient;
use crate::proto::identity_client::IdentityClient;
use crate::proto::node_client::NodeClient;
use crate::rpc::Rpc;
use crate::types::PluginInfo;

impl PluginClient {
    /// Asks whether the plugin is ready; false means that it is still starting.
    ///
    /// # Errors
    ///
    /// The plugin is not healthy, or not there.
    pub async fn probe(&self, deadline: Duration) -> Result<bool, CsiError> {
        let request = proto::ProbeRequest {};
        let at = At::new(Rpc::Probe, deadline);
        let answer = self
            .send(at, request, async |channel, request| {
                IdentityClient::new(channel).probe(request).await
            })
            .await?;
        Ok(answer.ready.unwrap_or(true))
    }

    /// Asks who the plugin is.
    ///
    /// # Errors
    ///
    /// The call failed, or the name is not a domain-style name.
    pub async fn plugin_info(&self, deadline: Duration) -> Result<PluginInfo, CsiError> {
        let request = proto::GetPluginInfoRequest {};
        let at = At::new(Rpc::PluginInfo, deadline);
        let answer = self
            .send(at, request, async |channel, request| {
                IdentityClient::new(channel).get_plugin_info(request).await
            })
            .await?;
        if !is_plugin_name(&answer.name) {
            let fault = format!("plugin name {:?} is not a domain-style name", answer.name);
            return Err(CsiError::bad_answer(Rpc::PluginInfo, fault));
        }
        let (vendor_version, manifest) = (answer.vendor_version, answer.manifest);
        Ok(PluginInfo {
            name: answer.name,
            vendor_version,
            manifest,
        })
    }

    /// Asks what the plugin as a whole can do.
    ///
    /// # Errors
    ///
    /// The call failed.
    pub async fn plugin_capabilities(
        &self,
        deadline: Duration,
    ) -> Result<BTreeSet<PluginCap>, CsiError> {
        let request = proto::GetPluginCapabilitiesRequest {};
        let at = At::new(Rpc::PluginCapabilities, deadline);
        let answer = self
            .send(at, request, async |channel, request| {
                IdentityClient::new(channel)
                    .get_plugin_capabilities(request)
                    .await
            })
            .await?;
        Ok(answer
            .capabilities
            .iter()
            .filter_map(PluginCap::from_wire)
            .collect())
    }

    /// Asks what the Controller service can do.
    ///
    /// # Errors
    ///
    /// The call failed; UNIMPLEMENTED means that this half of the plugin has no controller.
    pub async fn controller_capabilities(
        &self,
        deadline: Duration,
    ) -> Result<BTreeSet<ControllerCap>, CsiError> {
        let request = proto::ControllerGetCapabilitiesRequest {};
        let at = At::new(Rpc::ControllerCapabilities, deadline);
        let answer = self
            .send(at, request, async |channel, request| {
                ControllerClient::new(channel)
                    .controller_get_capabilities(request)
                    .await
            })
            .await?;
        Ok(answer
            .capabilities
            .iter()
            .filter_map(ControllerCap::from_wire)
            .collect())
    }

    /// Asks what the Node service can do.
    ///
    /// # Errors
    ///
    /// The call failed; UNIMPLEMENTED means that this half of the plugin has no node service.
    pub async fn node_capabilities(
        &self,
        deadline: Duration,
    ) -> Result<BTreeSet<NodeCap>, CsiError> {
        let request = proto::NodeGetCapabilitiesRequest {};
        let at = At::new(Rpc::NodeCapabilities, deadline);
        let answer = self
            .send(at, request, async |channel, request| {
                NodeClient::new(channel)
                    .node_get_capabilities(request)
                    .await
            })
            .await?;
        Ok(answer
            .capabilities
            .iter()
            .filter_map(NodeCap::from_wire)
            .collect())
    }

    /// Asks what the plugin calls this node, how much it may carry, and where it is.
    ///
    /// # Errors
    ///
    /// The call failed, or the node id is empty or longer than 256 bytes.
    pub async fn node_info(&self, deadline: Duration) -> Result<NodeFacts, CsiError> {
        let request = proto::NodeGetInfoRequest {};
        let at = At::new(Rpc::NodeInfo, deadline);
        let answer = self
            .send(at, request, async |channel, request| {
                NodeClient::new(channel).node_get_info(request).await
            })
            .await?;
        check_text("node id", &answer.node_id, NODE_ID_BYTES_MAX)
            .map_err(|fault| CsiError::bad_answer(Rpc::NodeInfo, fault))?;
        Ok(NodeFacts {
            node_id: answer.node_id,
            max_volumes: convert::positive(answer.max_volumes_per_node),
            topology: answer
                .accessible_topology
                .map(convert::topology)
                .unwrap_or_default(),
        })
    }
}

/// Source: CSI spec, `GetPluginInfoResponse.name`. The name becomes part of paths.
fn is_plugin_name(name: &str) -> bool {
    let edges = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    name.len() <= PLUGIN_NAME_BYTES_MAX
        && edges(bytes.first())
        && edges(bytes.last())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::is_plugin_name;

    #[test]
    fn a_plugin_name_is_a_domain_name() {
        for good in [
            "csi.example.com",
            "a",
            "Hostpath-1.csi.K8s.io",
            &"a".repeat(63),
        ] {
            assert!(is_plugin_name(good), "{good}");
        }
        for bad in [
            "",
            ".",
            "a/b",
            "../x",
            "-a",
            "a.",
            "a b",
            "a\n",
            "ä.com",
            &"a".repeat(64),
        ] {
            assert!(!is_plugin_name(bad), "{bad}");
        }
    }
}
