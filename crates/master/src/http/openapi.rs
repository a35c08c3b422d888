//! `/openapi.json`: the public API, described from the handlers themselves.

use axum::Json;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{changes, cluster, logs, metrics, plugins, tasks, volumes, why};

#[derive(OpenApi)]
#[openapi(
    info(title = "sutler", description = "The public API of a sutler master."),
    servers((url = "https://127.0.0.1:5050", description = "The usual address, under the \
        master's own authority: tls/ca.pem in its state folder.")),
    paths(
        volumes::list,
        volumes::show,
        volumes::create,
        volumes::grow,
        volumes::remove,
        volumes::restore,
        volumes::adopt,
        why::why,
        cluster::operation,
        tasks::list,
        tasks::show,
        tasks::run,
        tasks::stop,
        tasks::remove,
        logs::of_task,
        plugins::list,
        plugins::show,
        plugins::add,
        plugins::remove,
        plugins::restart,
        logs::of_plugin,
        cluster::agents,
        cluster::remove_node,
        cluster::classes,
        changes::events,
        cluster::version,
        metrics::serve,
        super::health,
        serve,
    ),
    security(("token" = [])),
    modifiers(&Bearer)
)]
struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = document.components.get_or_insert_with(Default::default);
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// Gives the OpenAPI document of the public API.
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// Serves the description of this API.
#[utoipa::path(get, path = "/openapi.json", tag = "master",
    responses((status = 200, description = "OpenAPI 3.1 document.")))]
pub(super) async fn serve() -> Json<utoipa::openapi::OpenApi> {
    Json(document())
}
