//! `sutler node`: nodes, which the API calls agents.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use sutler_api::plugin::{AgentView, RemovedNode};
use sutler_ids::AgentName;

use super::Outcome;
use super::volume_change::what_stays;
use crate::context::Context;
use crate::failure::ExitStatus;
use crate::show::human::age;
use crate::show::table::table;

const EXAMPLES: &str = "\
Examples:
  sutler node ls
  sutler node ls --json | jq -r '.[] | select(.connected | not) | .name'";

const RM_EXAMPLES: &str = "\
Its agent must be stopped for good. Tasks on it end as failed, and what it holds stays as it is.

Examples:
  sutler node rm n3
  sutler node rm n3 --forget-volumes";

/// Verbs of `sutler node`.
#[derive(Debug, Subcommand)]
pub enum NodeVerb {
    /// List nodes
    #[command(visible_alias = "list", after_help = EXAMPLES)]
    Ls,
    /// Take a node out of the books that never comes back
    #[command(visible_alias = "remove", after_help = RM_EXAMPLES)]
    Rm(RmArgs),
}

/// Options of `sutler node rm`.
#[derive(Debug, Args)]
pub struct RmArgs {
    /// The node
    pub name: AgentName,
    /// Also with volumes: they are forgotten, and nothing of them is deleted
    #[arg(long)]
    pub forget_volumes: bool,
}

/// Carries out a verb of `sutler node`.
///
/// # Errors
/// The call's failure.
pub async fn run(verb: NodeVerb, context: &mut Context) -> Outcome {
    match verb {
        NodeVerb::Ls => list(context).await,
        NodeVerb::Rm(args) => remove(args, context).await,
    }
}

/// Removes a node and says what may be left of it.
async fn remove(args: RmArgs, context: &mut Context) -> Outcome {
    let name = args.name;
    let query = match args.forget_volumes {
        true => "?forget_volumes=true",
        false => "",
    };
    let path = format!("/v1/agents/{name}{query}");
    let answer = context.client.delete::<RemovedNode>(&path).await?;
    context.show(&answer, |removed, _| format!("{}\n", removed.node.name))?;
    for volume in &answer.value.forgotten_volumes {
        let stays = what_stays(volume);
        let name = &volume.name;
        context
            .io
            .note(&format!("volume {name} is forgotten; {stays}"));
    }
    context.io.note(&format!(
        "node {name} is removed; its agent is refused should it come back"
    ));
    Ok(ExitStatus::OK)
}

async fn list(context: &mut Context) -> Outcome {
    let answer = context.client.get_all::<AgentView>("/v1/agents").await?;
    context.show(&answer, |agents, now| render(agents, now))?;
    Ok(ExitStatus::OK)
}

pub(crate) fn render(agents: &[AgentView], now: Timestamp) -> String {
    let header = [
        "NAME", "STATE", "SINCE", "CPUS", "MEMORY", "TASKS", "VOLUMES", "VERSION", "PROBLEM",
    ];
    let rows = agents.iter().map(|agent| {
        vec![
            agent.name.to_string(),
            if agent.connected { "connected" } else { "away" }.to_owned(),
            age(agent.since, now),
            agent.cpus.to_string(),
            agent.memory.to_string(),
            agent.tasks.to_string(),
            agent.volumes.to_string(),
            agent.version.clone(),
            agent
                .problem
                .as_ref()
                .map_or_else(|| "-".to_owned(), |problem| problem.what.clone()),
        ]
    });
    table(&header, rows)
}
