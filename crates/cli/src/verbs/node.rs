//! `sutler node`: nodes, which the API calls agents.

use clap::Subcommand;
use jiff::Timestamp;
use sutler_api::plugin::AgentView;

use super::Outcome;
use crate::context::Context;
use crate::failure::ExitStatus;
use crate::show::human::age;
use crate::show::table::table;

const EXAMPLES: &str = "\
Examples:
  sutler node ls
  sutler node ls --json | jq -r '.[] | select(.connected | not) | .name'";

/// Verbs of `sutler node`.
#[derive(Debug, Subcommand)]
pub enum NodeVerb {
    /// List nodes
    #[command(visible_alias = "list", after_help = EXAMPLES)]
    Ls,
}

/// Carries out a verb of `sutler node`.
///
/// # Errors
/// The call's failure.
pub async fn run(verb: NodeVerb, context: &mut Context) -> Outcome {
    let NodeVerb::Ls = verb;
    let answer = context.client.get::<Vec<AgentView>>("/v1/agents").await?;
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
