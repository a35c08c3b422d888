//! `sutler plugin restart`: until the plugin has come back, or has failed to.

use clap::Args;
use sutler_api::plugin::{PluginInstanceView, PluginState, PluginView, RestartPluginRequest};
use sutler_ids::PluginName;

use super::Outcome;
use super::plugin_add::{tell, wait};
use crate::context::Context;
use crate::failure::ExitStatus;
use crate::wait::WaitArgs;

/// Shown after the options.
pub(crate) const EXAMPLES: &str = "\
Examples:
  sutler plugin restart nfs

It refuses while volumes of the plugin are in use, and names their tasks (exit status 4).
With --in-use it restarts all the same. FUSE mounts live in the plugin's own processes: tasks
that use them get errors from then on and must be started again.";

/// Options of `sutler plugin restart`.
#[derive(Debug, Args)]
pub struct RestartArgs {
    /// The plugin
    pub name: PluginName,
    /// Also while volumes of it are in use: mounts that live in its processes break
    #[arg(long)]
    pub in_use: bool,
    /// Of waiting.
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// Starts the plugin again and waits until it answers on each of its nodes, or fails on one.
///
/// # Errors
/// The call's failure, or the plugin's.
pub(super) async fn run(args: RestartArgs, context: &mut Context) -> Outcome {
    let path = format!("/v1/plugins/{}/restart", args.name);
    let request = RestartPluginRequest {
        in_use: args.in_use,
    };
    // What it shows is from before: no agent has heard of it yet.
    let mut answer = context.client.post::<PluginView>(&path, &request).await?;
    let before = answer.value.instances.clone();
    if !args.wait.no_wait {
        answer = wait(context, &args.name, &args.wait, |plugin| {
            has_come_back(&before, plugin)
        })
        .await?;
    }
    context.show(&answer, |plugin, _| format!("{}\n", plugin.name))?;
    match args.wait.no_wait {
        true => Ok(ExitStatus::OK),
        false => tell(context, &answer.value),
    }
}

/// Whether each instance has left the state that it was in and settled in another, or anew in the
/// same.
fn has_come_back(before: &[PluginInstanceView], now: &PluginView) -> bool {
    let back = |instance: &PluginInstanceView| {
        let old = before.iter().find(|old| old.agent == instance.agent);
        old.is_none_or(|old| old.since < instance.since) && is_at_rest(instance.state)
    };
    !now.instances.is_empty() && now.instances.iter().all(back)
}

fn is_at_rest(state: PluginState) -> bool {
    match state {
        PluginState::Ready
        | PluginState::BackingOff
        | PluginState::NotReady
        | PluginState::Silent
        | PluginState::Outdated
        | PluginState::Stopped => true,
        PluginState::Waiting
        | PluginState::Pulling
        | PluginState::Starting
        | PluginState::Probing
        | PluginState::Stopping => false,
    }
}
