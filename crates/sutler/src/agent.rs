//! `sutler agent`: an agent in a process of its own.

use serde_json::json;
use sutler_agent::{Agent, AgentConfig, AgentEnd, AgentHandle};
use sutler_cli::client::connection::Connection;
use sutler_cli::verbs::agent::AgentArgs;
use sutler_cli::{Failure, Json, Report};

use crate::stop::Stop;
use crate::{checks, host, notify, say};

/// Joins the master and serves until asked to end; containers keep running then.
///
/// # Errors
/// What keeps the agent from starting, or from going on.
pub async fn serve(args: AgentArgs, connection: Connection, json: Json) -> Result<(), Failure> {
    let mut stop = Stop::listen()?;
    let master = host::master_address(&args.join, &connection)?;
    let name = host::agent_name(args.name)?;
    let state_dir = host::absolute(&connection.state_dir)?;
    checks::lines().iter().for_each(|line| say::line(line));
    let url = master.url.clone();
    let config = AgentConfig::new(state_dir, name.clone(), master, host::shim_command()?);
    let mut agent = tokio::select! {
        agent = Agent::start(config) => agent.map_err(|error| failed(&error))?,
        // Whatever was begun is taken up again by the next start.
        () = stop.asked() => return Ok(()),
    };
    let ready = || {
        say::line(&format!("  ✓ agent {name} joined {url}"));
        if json.0 {
            say::document(&json!({ "ready": true, "node": name, "master": url }));
        }
        notify::ready();
    };
    tokio::select! {
        end = until_ended(&mut agent, ready) => ended(end),
        () = stop.asked() => ended(agent.shutdown().await),
    }
}

/// Tells the first connection and each new trouble, until the agent ends.
///
/// # Cancel safety
/// Safe: the agent goes on.
pub(crate) async fn until_ended(agent: &mut AgentHandle, ready: impl FnOnce()) -> AgentEnd {
    let mut status = agent.status();
    let mut ready = Some(ready);
    let mut told = None;
    loop {
        let now = status.borrow_and_update().clone();
        if now.problem != told {
            if let Some(problem) = &now.problem {
                say::line(&format!("  ! {problem}"));
            }
            told = now.problem;
        }
        if now.connected
            && let Some(ready) = ready.take()
        {
            ready();
        }
        // Both arms are cancel-safe: a change is kept, and so is the end.
        tokio::select! {
            changed = status.changed() => if changed.is_err() {
                return agent.ended().await;
            },
            end = agent.ended() => return end,
        }
    }
}

/// Reads how an agent ended.
///
/// # Errors
/// If it could not go on.
pub fn ended(end: AgentEnd) -> Result<(), Failure> {
    match end {
        AgentEnd::ShutDown => Ok(()),
        AgentEnd::Failed(error) => Err(failed(&error)),
    }
}

/// Tells what keeps an agent from starting or going on.
pub fn failed(error: &sutler_agent::StartError) -> Failure {
    Report::of_error(error).into()
}
