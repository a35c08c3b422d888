//! `/v1/plugins`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use sutler_api::plugin::{AddPluginRequest, PluginState, PluginView, RestartPluginRequest};
use sutler_cluster_core::{Books, Reply, Request};
use sutler_ids::PluginName;
use sutler_ids::Problem;

use super::App;
use super::extract::{ApiJson, ApiPath, ApiQuery};
use super::page::{Page, PageQuery};
use super::refusal::Refusal;
use super::volumes::unexpected;
use super::wait::{Wait, until};

/// Query of `GET /v1/plugins/{name}`.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShowQuery {
    /// How long to wait until it is so, in milliseconds; at most a minute.
    wait_ms: Option<u64>,
    /// What to wait for.
    until: Option<Until>,
}

/// What a plugin is waited for.
#[derive(Debug, Clone, Copy, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Until {
    /// It is ready on each of its nodes.
    Ready,
}

/// Lists plugins, by name.
#[utoipa::path(get, path = "/v1/plugins", tag = "plugins", params(PageQuery),
    responses((status = 200, body = Vec<PluginView>)))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    ApiQuery(query): ApiQuery<PageQuery>,
) -> Result<Page<PluginView>, Refusal> {
    query
        .page(&app, "/v1/plugins", Books::plugin_page, |plugin| {
            &plugin.name
        })
        .await
}

/// Shows one plugin.
#[utoipa::path(get, path = "/v1/plugins/{name}", tag = "plugins",
    params(("name" = String, Path), ShowQuery),
    responses((status = 200, body = PluginView), (status = 404, body = Problem)))]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    ApiPath(name): ApiPath<PluginName>,
    ApiQuery(query): ApiQuery<ShowQuery>,
) -> Result<Json<PluginView>, Refusal> {
    let look = move |books: &Books| books.plugin(&name);
    let ready = |plugin: &PluginView| match query.until {
        Some(Until::Ready) | None => is_ready(plugin),
    };
    // Nodes that come and go change it too.
    let wait = Wait {
        ms: query.wait_ms,
        on: None,
    };
    Ok(Json(until(&app, wait, look, ready).await?))
}

fn is_ready(plugin: &PluginView) -> bool {
    let mut instances = plugin.instances.iter();
    !plugin.instances.is_empty() && instances.all(|i| i.state == PluginState::Ready)
}

/// Adds a plugin or changes it; the same definition again changes nothing.
#[utoipa::path(post, path = "/v1/plugins", tag = "plugins", request_body = AddPluginRequest,
    responses((status = 201, body = PluginView), (status = 400, body = Problem)))]
pub(crate) async fn add(
    State(app): State<Arc<App>>,
    ApiJson(request): ApiJson<AddPluginRequest>,
) -> Result<(StatusCode, Json<PluginView>), Refusal> {
    let render = |reply, books: &Books| match reply {
        Reply::Plugin(name) => books.plugin(&name),
        Reply::Done
        | Reply::Accepted { .. }
        | Reply::Forgotten { .. }
        | Reply::Volume(_)
        | Reply::Task(_)
        | Reply::NodeRemoved { .. }
        | Reply::Registered(_) => Err(unexpected()),
    };
    let plugin = app
        .shell
        .request(Request::AddPlugin(Box::new(request)), render)
        .await?;
    Ok((StatusCode::CREATED, Json(plugin)))
}

/// Removes a plugin without volumes; it stays listed until its nodes have stopped it.
#[utoipa::path(delete, path = "/v1/plugins/{name}", tag = "plugins",
    params(("name" = String, Path)),
    responses((status = 202, body = PluginView), (status = 409, body = Problem)))]
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    ApiPath(name): ApiPath<PluginName>,
) -> Result<(StatusCode, Json<PluginView>), Refusal> {
    let look = name.clone();
    let before = app.shell.read(move |books| books.plugin(&look)).await?;
    let shown = name.clone();
    let render = move |_, books: &Books| {
        // Gone at once where nothing runs it; then it is shown as it was.
        let gone = PluginView {
            removing: true,
            instances: Vec::new(),
            ..before
        };
        Ok(books.plugin(&shown).unwrap_or(gone))
    };
    let plugin = app
        .shell
        .request(Request::RemovePlugin { name }, render)
        .await?;
    Ok((StatusCode::ACCEPTED, Json(plugin)))
}

/// Starts a plugin again on its nodes; refused while volumes of it are in use, unless asked
/// for all the same.
#[utoipa::path(post, path = "/v1/plugins/{name}/restart", tag = "plugins",
    params(("name" = String, Path)), request_body = RestartPluginRequest,
    responses((status = 202, body = PluginView), (status = 409, body = Problem)))]
pub(crate) async fn restart(
    State(app): State<Arc<App>>,
    ApiPath(name): ApiPath<PluginName>,
    ApiJson(request): ApiJson<RestartPluginRequest>,
) -> Result<(StatusCode, Json<PluginView>), Refusal> {
    let shown = name.clone();
    let in_use = request.in_use;
    let plugin = app
        .shell
        .request(
            Request::RestartPlugin { name, in_use },
            move |_, books: &Books| books.plugin(&shown),
        )
        .await?;
    Ok((StatusCode::ACCEPTED, Json(plugin)))
}
