//! `sutler plugin`: the noun's verbs and their options.
//!
//! Adding is in `plugin_add`, starting again in `plugin_restart`, texts in `plugin_show`.

use clap::{Args, Subcommand};
use serde_json::Value;
use sutler_api::plugin::PluginView;
use sutler_api::volume::ClassView;
use sutler_ids::{AgentName, ClassName, PluginName};

use super::logs::{self, LogArgs};
use super::plugin_add::{self, AddArgs};
use super::plugin_restart::{self, RestartArgs};
use super::{Outcome, plugin_show};
use crate::context::{Context, pretty};
use crate::failure::{ExitStatus, Failure};
use crate::progress::Status;
use crate::wait::{HOLD, Judged, WaitArgs, Waiting, until};

const LOGS_EXAMPLES: &str = "\
Examples:
  sutler plugin logs nfs --tail 50
  sutler plugin logs -f nfs --agent web-1";

const RM_EXAMPLES: &str = "\
Examples:
  sutler plugin rm nfs

It refuses while the plugin keeps volumes, and names them (exit status 4).";

/// The plugin that `sutler up` adds by itself.
const LOCAL: &str = "local";

/// Verbs of `sutler plugin`.
#[derive(Debug, Subcommand)]
pub enum PluginVerb {
    /// Add a plugin from its image or a definition file, or change it
    #[command(after_help = plugin_add::EXAMPLES)]
    Add(AddArgs),
    /// List plugins
    #[command(visible_alias = "list")]
    Ls,
    /// Show one plugin: its definition, and how it is on each node
    Show {
        /// The plugin
        name: PluginName,
    },
    /// Print a plugin's output
    #[command(after_help = LOGS_EXAMPLES)]
    Logs {
        /// The plugin
        name: PluginName,
        /// The node, for a plugin that runs on several
        #[arg(long, visible_alias = "node", value_name = "NODE")]
        agent: Option<AgentName>,
        /// What of it.
        #[command(flatten)]
        log: LogArgs,
    },
    /// Start a plugin again on its nodes
    #[command(after_help = plugin_restart::EXAMPLES)]
    Restart(RestartArgs),
    /// Remove a plugin
    #[command(visible_alias = "remove", after_help = RM_EXAMPLES)]
    Rm(RmArgs),
}

/// Options of `sutler plugin rm`.
#[derive(Debug, Args)]
pub struct RmArgs {
    /// The plugin
    pub name: PluginName,
    /// Of waiting.
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// Carries out a verb of `sutler plugin`.
///
/// # Errors
/// The call's failure, or the plugin's.
pub async fn run(verb: PluginVerb, context: &mut Context) -> Outcome {
    match verb {
        PluginVerb::Add(args) => return plugin_add::run(args, context).await,
        PluginVerb::Ls => {
            let answer = context.client.get_all::<PluginView>("/v1/plugins").await?;
            context.show(&answer, |plugins, _| plugin_show::rows(plugins))?;
        }
        PluginVerb::Show { name } => {
            let answer = context
                .client
                .get::<PluginView>(&format!("/v1/plugins/{name}"))
                .await?;
            context.show(&answer, plugin_show::one)?;
        }
        PluginVerb::Logs { name, agent, log } => {
            let on = agent
                .map(|agent| format!("?agent={agent}"))
                .unwrap_or_default();
            let path = format!("/v1/plugins/{name}/logs{on}");
            return logs::print(context, &path, &log).await;
        }
        PluginVerb::Restart(args) => return plugin_restart::run(args, context).await,
        PluginVerb::Rm(args) => return remove(args, context).await,
    }
    Ok(ExitStatus::OK)
}

async fn remove(args: RmArgs, context: &mut Context) -> Outcome {
    let path = format!("/v1/plugins/{}", args.name);
    let before = default_class(context).await;
    let answer = context.client.delete::<Value>(&path).await?;
    if !args.wait.no_wait {
        gone(context, &args, &path).await?;
    }
    match context.json {
        true => context.io.line(&pretty(&answer.raw))?,
        false => context.io.line(args.name.as_str())?,
    }
    if args.name.as_str() == LOCAL {
        context.io.note(
            "the next start of `sutler up` adds it again, unless it is given --no-local or finds \
             no image",
        );
    }
    match (before, default_class(context).await) {
        (Some(old), Some(new)) if old != new => context.io.note(&format!(
            "volumes without --class are made from class {new} now, no longer from {old}"
        )),
        (Some(old), None) => context.io.note(&format!(
            "no class is the default any more, as {old} was: name one with --class"
        )),
        _ => {}
    }
    Ok(ExitStatus::OK)
}

/// The class that is used when none is named. That it cannot be told keeps nothing from going on.
async fn default_class(context: &Context) -> Option<ClassName> {
    let classes = context.client.get_all::<ClassView>("/v1/classes").await;
    let mut classes = classes.ok()?.value.into_iter();
    let class = classes.find(|class| class.default)?;
    Some(class.name)
}

/// Waits until the plugin has left the books.
async fn gone(context: &mut Context, args: &RmArgs, path: &str) -> Result<(), Failure> {
    let waiting = Waiting {
        what: format!("plugin {} to be gone", args.name),
        look_again: format!("sutler plugin show {}", args.name),
        timeout: args.wait.timeout,
    };
    until(
        context,
        &waiting,
        async |client| match client.get_waiting::<PluginView>(path, HOLD).await {
            Ok(answer) => Ok(Some(answer.value)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        },
        |view| match view {
            None => Judged::Settled,
            Some(view) => Judged::Going(Status::new(plugin_show::line(view))),
        },
    )
    .await
    .map(drop)
}
