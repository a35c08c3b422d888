//! The HTTP edge: routes, who may use them, and how a connection is served.
//!
//! Decides nothing: a handler reads a request, asks the shell and writes the answer. Errors
//! become status codes in `refusal` alone.

mod access;
mod agent_link;
mod body;
mod changes;
mod cluster;
mod extract;
mod logs;
mod metrics;
pub mod openapi;
mod page;
mod plugins;
mod questions;
mod refusal;
mod seldom;
mod server;
mod tasks;
mod volumes;
mod wait;
mod why;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{delete, get, post};
use sutler_ids::{ErrorKind, Problem};
use tokio_util::sync::CancellationToken;

pub(crate) use access::Access;
pub(crate) use server::{Serve, serve};

use crate::shell::Shell;
use body::BodySilence;
use metrics::Metrics;
use questions::Questions;
use refusal::Refusal;

/// Largest body of a user's request: far above any definition or command line.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Largest body of an agent's updates: all that is true of some ten thousand volumes.
const UPDATES_BYTES_MAX: usize = 32 << 20;

/// What every handler may use.
pub(crate) struct App {
    shell: Shell,
    questions: Questions,
    access: Access,
    metrics: Metrics,
    end: CancellationToken,
}

/// Builds the routes.
pub(crate) fn router(
    shell: Shell,
    access: Access,
    body_silence: Duration,
    end: CancellationToken,
) -> Router {
    let silence = BodySilence(body_silence);
    let metrics = Metrics::default();
    let questions = Questions::default();
    let app = Arc::new(App {
        shell,
        questions,
        access,
        metrics,
        end,
    });
    let public = Router::new()
        .merge(volume_routes())
        .route("/v1/operations/{uuid}", get(cluster::operation))
        .route("/v1/tasks", get(tasks::list).post(tasks::run))
        .route("/v1/tasks/{id}", get(tasks::show).delete(tasks::remove))
        .route("/v1/tasks/{id}/stop", post(tasks::stop))
        .route("/v1/tasks/{id}/logs", get(logs::of_task))
        .route("/v1/plugins", get(plugins::list).post(plugins::add))
        .route(
            "/v1/plugins/{name}",
            get(plugins::show).delete(plugins::remove),
        )
        .route("/v1/plugins/{name}/restart", post(plugins::restart))
        .route("/v1/plugins/{name}/logs", get(logs::of_plugin))
        .route("/v1/agents", get(cluster::agents))
        .route("/v1/agents/{name}", delete(cluster::remove_node))
        .route("/v1/classes", get(cluster::classes))
        .route("/v1/events", get(changes::events))
        .route("/v1/version", get(cluster::version))
        .route("/openapi.json", get(openapi::serve))
        .route("/metrics", get(metrics::serve))
        .route("/health", get(health))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn_with_state(silence, body::bounded));
    public
        .merge(agent_routes(silence))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(app.clone(), access::check))
        .layer(from_fn_with_state(app.clone(), metrics::count))
        .layer(from_fn(refusal::no_store))
        .with_state(app)
}

fn volume_routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/volumes", get(volumes::list).post(volumes::create))
        .route(
            "/v1/volumes/{name}",
            get(volumes::show).delete(volumes::remove),
        )
        .route("/v1/volumes/{name}/restore", post(volumes::restore))
        .route("/v1/volumes/{name}/adopt", post(volumes::adopt))
        .route("/v1/volumes/{name}/grow", post(volumes::grow))
        .route("/v1/volumes/{name}/why", get(why::why))
}

/// The agents' side.
fn agent_routes(silence: BodySilence) -> Router<Arc<App>> {
    Router::new()
        .route("/agent/v1/register", post(agent_link::register))
        .route("/agent/v1/events", get(agent_link::events))
        .route("/agent/v1/updates", post(agent_link::updates))
        .layer(DefaultBodyLimit::max(UPDATES_BYTES_MAX))
        .layer(from_fn_with_state(silence, body::bounded))
        // A log that is followed may be silent for hours; its asker's end is its end.
        .route("/agent/v1/answers/{request_id}", post(agent_link::answer))
}

/// Tells that the process serves; the only path without a token.
#[utoipa::path(get, path = "/health", tag = "master", security(()),
    responses((status = 200, description = "Serving; the body is empty.")))]
async fn health() -> StatusCode {
    StatusCode::OK
}

async fn unknown_path(uri: axum::http::Uri) -> Refusal {
    let what = format!("there is nothing at {}", uri.path());
    Problem::new(ErrorKind::NotFound, what)
        .hint("GET /openapi.json lists every path")
        .into()
}

async fn wrong_method(method: axum::http::Method, uri: axum::http::Uri) -> Refusal {
    let what = format!("{} does not take {method}", uri.path());
    let problem = Problem::new(ErrorKind::Invalid, what);
    Refusal::with_status(problem, StatusCode::METHOD_NOT_ALLOWED)
}
