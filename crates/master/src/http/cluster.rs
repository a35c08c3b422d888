//! `/v1/agents`, `/v1/classes`, `/v1/operations` and `/v1/version`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use sutler_api::operation::{OperationState, OperationView};
use sutler_api::plugin::{AgentView, RemovedNode};
use sutler_api::volume::ClassView;
use sutler_cluster_core::{Books, Reply, Request, Subject};
use sutler_ids::{AgentName, OperationUuid, Problem};

use super::App;
use super::extract::{ApiPath, ApiQuery};
use super::page::{Page, PageQuery};
use super::refusal::Refusal;
use super::volumes::unexpected;
use super::wait::{Wait, until};

/// Query of `GET /v1/operations/{uuid}`.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct OperationQuery {
    /// How long to wait for its end, in milliseconds; at most a minute.
    wait_ms: Option<u64>,
}

/// The answer of `GET /v1/version`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Version {
    /// Version of the program.
    version: &'static str,
    /// Version of this API.
    api: &'static str,
    /// The cluster's identity.
    cluster_id: String,
}

/// Lists nodes, by name.
#[utoipa::path(get, path = "/v1/agents", tag = "cluster", params(PageQuery),
    responses((status = 200, body = Vec<AgentView>)))]
pub(crate) async fn agents(
    State(app): State<Arc<App>>,
    ApiQuery(query): ApiQuery<PageQuery>,
) -> Result<Page<AgentView>, Refusal> {
    query
        .page(&app, "/v1/agents", Books::agent_page, |agent| &agent.name)
        .await
}

/// Query of `DELETE /v1/agents/{name}`.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct RemoveNodeQuery {
    /// Also with volumes: they are forgotten, and nothing of them is deleted.
    #[serde(default)]
    forget_volumes: bool,
}

/// Takes a node out of the books that never comes back. It must not be connected.
#[utoipa::path(delete, path = "/v1/agents/{name}", tag = "cluster",
    params(("name" = String, Path), RemoveNodeQuery),
    responses((status = 200, body = RemovedNode), (status = 409, body = Problem)))]
pub(crate) async fn remove_node(
    State(app): State<Arc<App>>,
    ApiPath(name): ApiPath<AgentName>,
    ApiQuery(query): ApiQuery<RemoveNodeQuery>,
) -> Result<Json<RemovedNode>, Refusal> {
    let request = Request::RemoveNode {
        name,
        forget_volumes: query.forget_volumes,
    };
    let render = |reply, _: &Books| match reply {
        Reply::NodeRemoved { node, forgotten } => Ok(RemovedNode {
            node: *node,
            forgotten_volumes: forgotten,
        }),
        Reply::Done
        | Reply::Accepted { .. }
        | Reply::Forgotten { .. }
        | Reply::Volume(_)
        | Reply::Task(_)
        | Reply::Plugin(_)
        | Reply::Registered(_) => Err(unexpected()),
    };
    Ok(Json(app.shell.request(request, render).await?))
}

/// Lists classes, by name.
#[utoipa::path(get, path = "/v1/classes", tag = "cluster", params(PageQuery),
    responses((status = 200, body = Vec<ClassView>)))]
pub(crate) async fn classes(
    State(app): State<Arc<App>>,
    ApiQuery(query): ApiQuery<PageQuery>,
) -> Result<Page<ClassView>, Refusal> {
    query
        .page(&app, "/v1/classes", Books::class_page, |class| &class.name)
        .await
}

/// Shows one operation.
#[utoipa::path(get, path = "/v1/operations/{uuid}", tag = "volumes",
    params(("uuid" = String, Path), OperationQuery),
    responses((status = 200, body = OperationView), (status = 404, body = Problem)))]
pub(crate) async fn operation(
    State(app): State<Arc<App>>,
    ApiPath(uuid): ApiPath<OperationUuid>,
    ApiQuery(query): ApiQuery<OperationQuery>,
) -> Result<Json<OperationView>, Refusal> {
    let look = move |books: &Books| books.operation(uuid);
    let ended = |operation: &OperationView| match operation.state {
        OperationState::Pending => false,
        OperationState::Finished | OperationState::Failed => true,
    };
    let wait = Wait {
        ms: query.wait_ms,
        on: Some(Subject::Operation(uuid)),
    };
    Ok(Json(until(&app, wait, look, ended).await?))
}

/// Tells the versions and the cluster.
#[utoipa::path(get, path = "/v1/version", tag = "master",
    responses((status = 200, body = Version)))]
pub(crate) async fn version(State(app): State<Arc<App>>) -> Result<Json<Version>, Refusal> {
    let cluster_id = app
        .shell
        .read(|books| Ok(books.cluster().cluster_id.to_string()))
        .await?;
    Ok(Json(Version {
        version: env!("CARGO_PKG_VERSION"),
        api: "v1",
        cluster_id,
    }))
}
