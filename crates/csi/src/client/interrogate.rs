//! The conversation by which the facts of a plugin are learnt.

use std::time::Duration;

use super::PluginClient;
use crate::error::{Code, CsiError};
use crate::facts::PluginFacts;

/// Asks a plugin everything there is to know before it is used. Each question may take as
/// long as `deadline`; there are at most five. The plugin has said before that it is ready.
///
/// # Errors
///
/// A question failed. A service that is not there is no error: plugins come in halves.
pub async fn interrogate(
    client: &PluginClient,
    deadline: Duration,
) -> Result<PluginFacts, CsiError> {
    let info = client.plugin_info(deadline).await?;
    let plugin_caps = client.plugin_capabilities(deadline).await?;
    let controller_caps = if_served(client.controller_capabilities(deadline).await)?;
    let node_caps = if_served(client.node_capabilities(deadline).await)?;
    let node = match node_caps.is_some() {
        true => if_served(client.node_info(deadline).await)?,
        false => None,
    };
    Ok(PluginFacts {
        name: info.name,
        vendor_version: info.vendor_version,
        manifest: info.manifest,
        plugin_caps,
        serves_controller: controller_caps.is_some(),
        controller_caps: controller_caps.unwrap_or_default(),
        serves_node: node_caps.is_some(),
        node_caps: node_caps.unwrap_or_default(),
        node,
    })
}

fn if_served<T>(answer: Result<T, CsiError>) -> Result<Option<T>, CsiError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.code == Code::Unimplemented => Ok(None),
        Err(error) => Err(error),
    }
}
