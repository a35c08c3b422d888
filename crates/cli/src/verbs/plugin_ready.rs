//! A request that waits for a plugin on its way up, as it is after the start of a node: refused
//! for that alone, it is made again once the plugin is ready.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sutler_api::plugin::{PluginInstanceView, PluginState, PluginView};
use sutler_api::volume::ClassView;
use sutler_ids::{AgentName, ClassName, ErrorKind, PluginName};

use super::plugin_add::wait;
use crate::client::{Answer, CallError};
use crate::context::Context;
use crate::failure::{ExitStatus, Failure};
use crate::wait::WaitArgs;

/// One request that makes a volume, or several.
pub(super) struct Asked<'a, B> {
    /// Where it goes, such as `/v1/volumes`.
    pub path: &'static str,
    pub body: &'a B,
    /// The class of each volume that it makes; `None` is the default class.
    pub classes: Vec<Option<&'a ClassName>>,
    /// The node that was asked for.
    pub node: Option<&'a AgentName>,
    /// How long to wait for the plugin; `None` is not at all.
    pub patience: Option<Duration>,
}

/// Makes the request; while a plugin that it needs is on its way up, waits for it and asks again.
///
/// # Errors
/// The call's failure. A wait that was left gives it too: nothing was accepted.
pub(super) async fn post<B: Serialize, T: DeserializeOwned>(
    context: &mut Context,
    asked: Asked<'_, B>,
) -> Result<Answer<T>, Failure> {
    let refusal = match context.client.post::<T>(asked.path, asked.body).await {
        Ok(answer) => return Ok(answer),
        Err(refusal) => refusal,
    };
    let Some(timeout) = asked.patience.filter(|_| is_unavailable(&refusal)) else {
        return Err(refusal.into());
    };
    let names = plugins_coming(context, &asked.classes, asked.node).await;
    if names.is_empty() {
        return Err(refusal.into());
    }
    let wait_args = WaitArgs {
        no_wait: false,
        timeout,
    };
    for name in names {
        let here = |plugin: &PluginView| !is_coming(plugin, asked.node);
        match wait(context, &name, &wait_args, here).await {
            Ok(_) => {}
            Err(failure) if left(&failure) => return Err(refusal.into()),
            Err(failure) => return Err(failure),
        }
    }
    // Ready or failed: either way the master has the last word.
    Ok(context.client.post::<T>(asked.path, asked.body).await?)
}

fn is_unavailable(error: &CallError) -> bool {
    matches!(error, CallError::Refused { problem, .. } if problem.kind == ErrorKind::Unavailable)
}

/// Whether a wait ended by its time or by Ctrl-C.
fn left(failure: &Failure) -> bool {
    matches!(failure, Failure::Told(report) if report.status == ExitStatus::STILL_GOING)
}

/// Whether a plugin is on its way up, and ready neither on the node asked for nor, if none was, on
/// any. One that has met a problem, if only that its node is away, is not on its way.
fn is_coming(plugin: &PluginView, node: Option<&AgentName>) -> bool {
    let meant = |instance: &&PluginInstanceView| node.is_none_or(|node| instance.agent == *node);
    let mut ready = plugin.instances.iter().filter(meant);
    let mut coming = plugin.instances.iter().filter(meant);
    !ready.any(|instance| instance.state == PluginState::Ready)
        && coming.any(|instance| instance.problem.is_none() && is_early(instance.state))
}

const fn is_early(state: PluginState) -> bool {
    match state {
        PluginState::Waiting
        | PluginState::Pulling
        | PluginState::Starting
        | PluginState::Probing => true,
        PluginState::Ready
        | PluginState::NotReady
        | PluginState::Silent
        | PluginState::Outdated
        | PluginState::BackingOff
        | PluginState::Stopping
        | PluginState::Stopped => false,
    }
}

/// The plugins of these classes that are on their way up. A question that fails finds none: then
/// the refusal stands.
async fn plugins_coming(
    context: &Context,
    classes: &[Option<&ClassName>],
    node: Option<&AgentName>,
) -> Vec<PluginName> {
    let Ok(known) = context.client.get_all::<ClassView>("/v1/classes").await else {
        return Vec::new();
    };
    let meant = |class: &&ClassView| {
        classes.iter().any(|wanted| match wanted {
            Some(name) => class.name == **name,
            None => class.default,
        })
    };
    let mut names: Vec<PluginName> = Vec::new();
    for class in known.value.iter().filter(meant) {
        let path = format!("/v1/plugins/{}", class.plugin);
        match context.client.get::<PluginView>(&path).await {
            Ok(plugin) if is_coming(&plugin.value, node) && !names.contains(&class.plugin) => {
                names.push(class.plugin.clone());
            }
            Ok(_) | Err(_) => {}
        }
    }
    names
}
