//! Logs of tasks and plugins, piped from the node where they are.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use sutler_api::agent::AgentQuery;
use sutler_api::task::LogQuery;
use sutler_cluster_core::Books;
use sutler_ids::{AgentId, AgentName, PluginName, TaskId};
use sutler_ids::{ErrorKind, Problem};

use super::App;
use super::extract::{ApiPath, ApiQuery};
use super::questions::Pieces;
use super::refusal::Refusal;

/// Streams a task's output.
#[utoipa::path(get, path = "/v1/tasks/{id}/logs", tag = "tasks",
    params(("id" = String, Path), LogQuery),
    responses((status = 200, description = "The output, as bytes.",
        content_type = "application/octet-stream"), (status = 404, body = Problem)))]
pub(crate) async fn of_task(
    State(app): State<Arc<App>>,
    ApiPath(task_id): ApiPath<TaskId>,
    ApiQuery(log): ApiQuery<LogQuery>,
) -> Result<Response, Refusal> {
    let id = task_id.clone();
    let agent_id = app.shell.read(move |books| books.task_agent(&id)).await?;
    let query = AgentQuery::TaskLogs { task_id, log };
    Ok(streamed(
        app.questions.ask(&app.shell, agent_id, query).await?,
    ))
}

/// Streams a plugin's output on one node.
#[utoipa::path(get, path = "/v1/plugins/{name}/logs", tag = "plugins",
    params(("name" = String, Path), LogQuery),
    responses((status = 200, description = "The output, as bytes.",
        content_type = "application/octet-stream"), (status = 404, body = Problem)))]
pub(crate) async fn of_plugin(
    State(app): State<Arc<App>>,
    ApiPath(plugin): ApiPath<PluginName>,
    ApiQuery(log): ApiQuery<LogQuery>,
) -> Result<Response, Refusal> {
    let (name, wanted) = (plugin.clone(), log.agent.clone());
    let find = move |books: &Books| plugin_agent(books, &name, wanted.as_ref());
    let agent_id = app.shell.read(find).await?;
    let query = AgentQuery::PluginLogs { plugin, log };
    Ok(streamed(
        app.questions.ask(&app.shell, agent_id, query).await?,
    ))
}

fn streamed(pieces: Pieces) -> Response {
    let stream = futures::stream::unfold(pieces, async |mut pieces| {
        let piece = pieces.recv().await?;
        Some((piece, pieces))
    });
    let kind = (header::CONTENT_TYPE, "application/octet-stream");
    ([kind], Body::from_stream(stream)).into_response()
}

/// Finds the node whose instance is meant: the named one, else the only one.
fn plugin_agent(
    books: &Books,
    name: &PluginName,
    wanted: Option<&AgentName>,
) -> Result<AgentId, Problem> {
    let instances = books.plugin(name)?.instances;
    let names: Vec<&AgentName> = instances.iter().map(|instance| &instance.agent).collect();
    let listed = || {
        let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
        if names.is_empty() {
            "no node".to_owned()
        } else {
            names.join(", ")
        }
    };
    let agent = match (wanted, names.as_slice()) {
        (Some(wanted), names) if names.contains(&wanted) => wanted,
        (Some(wanted), _) => {
            let what = format!("plugin {name} is not on {wanted}; it is on {}", listed());
            return Err(Problem::new(ErrorKind::NotFound, what));
        }
        (None, [only]) => only,
        (None, _) => {
            let what = format!("plugin {name} is on {}; name one node", listed());
            return Err(Problem::new(ErrorKind::Invalid, what).hint("give --agent NAME"));
        }
    };
    let agents = books.durable().agents.values();
    let mut found = agents.filter(|record| record.name == *agent);
    let found = found.next().map(|record| record.agent_id);
    found.ok_or_else(|| Problem::new(ErrorKind::NotFound, format!("no node is called {agent}")))
}
