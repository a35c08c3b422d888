//! `sutler plugin add`: from an image reference or a definition file to a plugin that answers.

use std::collections::BTreeMap;
use std::path::Path;

use clap::Args;
use sutler_api::definition::PluginDefinition;
use sutler_api::plugin::{AddPluginRequest, PluginInstanceView, PluginState, PluginView};
use sutler_ids::{AgentName, PluginName};

use super::{Outcome, plugin_show};
use crate::client::Answer;
use crate::context::Context;
use crate::failure::{ExitStatus, Failure, Report};
use crate::progress::Status;
use crate::values::image::absolute;
use crate::values::key_value::{KeyValue, key_value};
use crate::wait::{HOLD, Judged, WaitArgs, Waiting, until};

/// Shown after the options.
pub(crate) const EXAMPLES: &str = "\
Examples:
  sutler plugin add registry.example.org/hostpathplugin:v1.17.0
  sutler plugin add nfs.toml --set server=10.0.0.5 --on web-1
  sutler plugin add oci-archive:./driver.tar --name mine

A definition is a TOML file; see docs/plugins.md. An image alone works for a plugin that
listens where CSI_ENDPOINT says. The same name again changes the plugin, which starts it again:
refused while volumes of it are in use, but for --in-use (exit status 4).";

/// Options of `sutler plugin add`.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// An image reference, oci:FOLDER, oci-archive:FILE, docker-archive:FILE, or FILE.toml
    #[arg(value_name = "IMAGE|DEFINITION.toml")]
    pub source: String,
    /// Our name for it [default: the definition's, else made from file or image]
    #[arg(long)]
    pub name: Option<PluginName>,
    /// A value for {{set.KEY}} in the definition; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub set: Vec<KeyValue>,
    /// A node it should run on; may be repeated [default: all]
    #[arg(long, value_name = "NODE")]
    pub on: Vec<AgentName>,
    /// Change it also while volumes of it are in use: mounts that live in its processes break
    #[arg(long)]
    pub in_use: bool,
    /// Of waiting.
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// Adds the plugin and waits until it answers on each of its nodes, or fails on one.
///
/// # Errors
/// Usage, for a definition that cannot be right; the call's failure; the plugin's.
pub(super) async fn run(args: AddArgs, context: &mut Context) -> Outcome {
    let set: BTreeMap<String, String> = args.set.iter().cloned().collect();
    let definition = definition(&args)?
        .checked(&set)
        .map_err(|error| refused(&error))?;
    let name = definition.checked_name().clone();
    let request = AddPluginRequest {
        definition,
        set,
        on: args.on,
        in_use: args.in_use,
    };
    let mut answer = context
        .client
        .post::<PluginView>("/v1/plugins", &request)
        .await?;
    if args.wait.no_wait {
        context.show(&answer, |plugin, _| format!("{}\n", plugin.name))?;
        return Ok(ExitStatus::OK);
    }
    if !settled(&answer.value) {
        answer = wait(context, &name, &args.wait, settled).await?;
    }
    context.show(&answer, |plugin, _| format!("{}\n", plugin.name))?;
    tell(context, &answer.value)
}

/// Waits until a plugin is as `is` says, and shows meanwhile how it is.
pub(super) async fn wait(
    context: &mut Context,
    name: &PluginName,
    wait: &WaitArgs,
    is: impl Fn(&PluginView) -> bool,
) -> Result<Answer<PluginView>, Failure> {
    let waiting = Waiting {
        what: format!("plugin {name} to be ready"),
        look_again: format!("sutler plugin show {name}"),
        timeout: wait.timeout,
    };
    let path = format!("/v1/plugins/{name}?until=ready");
    until(
        context,
        &waiting,
        async |client| client.get_waiting::<PluginView>(&path, HOLD).await,
        |answer| match is(&answer.value) {
            true => Judged::Settled,
            false => Judged::Going(status(&answer.value)),
        },
    )
    .await
}

/// Reads the definition that the argument names; nothing in it is checked yet.
fn definition(args: &AddArgs) -> Result<PluginDefinition, Failure> {
    let mut definition = match args.source.ends_with(".toml") {
        true => from_file(Path::new(&args.source))?,
        false => {
            let mut definition = PluginDefinition::of_image(&args.source);
            definition.image = absolute(&definition.image, Path::new("."));
            definition
        }
    };
    if let Some(name) = &args.name {
        definition.name = Some(name.clone());
    }
    Ok(definition)
}

fn from_file(path: &Path) -> Result<PluginDefinition, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Report::new(format!(
            "cannot read definition {}: {error}",
            path.display()
        ))
        .status(ExitStatus::USAGE)
    })?;
    let mut definition = PluginDefinition::from_toml(&text).map_err(|error| {
        let mut report = refused(&error);
        report.what = format!("{}: {}", path.display(), report.what);
        report
    })?;
    definition.image = absolute(&definition.image, path.parent().unwrap_or(Path::new(".")));
    if definition.name.is_none() {
        let stem = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default();
        definition.name = PluginName::new(stem).ok();
    }
    Ok(definition)
}

fn refused(error: &sutler_api::definition::DefinitionError) -> Report {
    Report::of_error(error)
        .status(ExitStatus::USAGE)
        .hint("docs/plugins.md explains every key of a definition")
}

/// Whether an instance failed: its supervisor keeps trying, but a person should look.
fn failing(instance: &PluginInstanceView) -> bool {
    match instance.state {
        PluginState::BackingOff
        | PluginState::NotReady
        | PluginState::Silent
        | PluginState::Outdated => true,
        PluginState::Ready => false,
        PluginState::Waiting
        | PluginState::Pulling
        | PluginState::Starting
        | PluginState::Probing
        | PluginState::Stopping
        | PluginState::Stopped => instance.restarts > 0 && instance.problem.is_some(),
    }
}

fn ready(instance: &PluginInstanceView) -> bool {
    instance.state == PluginState::Ready
}

/// Whether waiting longer tells nothing new: each instance answers or has failed.
fn settled(plugin: &PluginView) -> bool {
    !plugin.instances.is_empty()
        && plugin
            .instances
            .iter()
            .all(|instance| ready(instance) || failing(instance))
}

fn status(plugin: &PluginView) -> Status {
    let pull = plugin
        .instances
        .iter()
        .find_map(|instance| instance.progress);
    Status {
        text: plugin_show::line(plugin),
        pull,
    }
}

/// Says how it is on each node; fails with the first trouble.
pub(super) fn tell(context: &mut Context, plugin: &PluginView) -> Outcome {
    for instance in &plugin.instances {
        context.io.note(&plugin_show::instance_line(instance));
    }
    let (all, up) = (
        plugin.instances.len(),
        plugin.instances.iter().filter(|i| ready(i)).count(),
    );
    let Some(broken) = plugin.instances.iter().find(|instance| !ready(instance)) else {
        let class = plugin
            .classes
            .first()
            .map(|class| format!(" --class {class}"));
        context.io.note(&format!(
            "plugin {} is ready on {up} of {all} nodes; try: sutler volume create data{} --size 1G",
            plugin.name,
            class.unwrap_or_default()
        ));
        return Ok(ExitStatus::OK);
    };
    Err(trouble(plugin, broken).into())
}

fn trouble(plugin: &PluginView, instance: &PluginInstanceView) -> Report {
    let at = format!(
        "plugin {} is not ready on node {}",
        plugin.name, instance.agent
    );
    let mut report = match &instance.problem {
        Some(problem) => Report::of_problem(problem),
        None => Report::new("it was started again and again"),
    };
    report.what = format!("{at}: {}", report.what);
    if !instance.log_tail.is_empty() {
        report.causes.push(format!(
            "last lines of its log:\n{}",
            instance.log_tail.join("\n")
        ));
    }
    let hint = format!(
        "sutler plugin show {}   (it keeps being tried)",
        plugin.name
    );
    report.hint = report.hint.or(Some(hint));
    report
}
