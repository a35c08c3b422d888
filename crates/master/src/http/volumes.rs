//! `/v1/volumes`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use sutler_api::volume::{
    Accepted, AdoptVolumeRequest, CreateVolumeRequest, GrowVolumeRequest, VolumeState, VolumeView,
};
use sutler_cluster_core::{Books, Reply, Request, Subject};
use sutler_ids::VolumeName;
use sutler_ids::{ErrorKind, Problem};

use super::App;
use super::extract::{ApiJson, ApiPath, ApiQuery};
use super::page::{Page, PageQuery};
use super::refusal::Refusal;
use super::wait::{Wait, until};

/// Query of `GET /v1/volumes/{name}`.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShowQuery {
    /// How long to wait until it is so, in milliseconds; at most a minute.
    wait_ms: Option<u64>,
    /// What to wait for.
    until: Option<Until>,
}

/// What a volume is waited for.
#[derive(Debug, Clone, Copy, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Until {
    /// Nothing is under way with it.
    Settled,
}

/// Query of `DELETE /v1/volumes/{name}`.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct RemoveQuery {
    /// Delete it now, past the trash.
    #[serde(default)]
    purge: bool,
    /// Forget it, whatever its back end has of it; nothing is deleted there.
    #[serde(default)]
    forget: bool,
}

/// Lists volumes, by name.
#[utoipa::path(get, path = "/v1/volumes", tag = "volumes", params(PageQuery),
    responses((status = 200, body = Vec<VolumeView>)))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    ApiQuery(query): ApiQuery<PageQuery>,
) -> Result<Page<VolumeView>, Refusal> {
    query
        .page(&app, "/v1/volumes", Books::volume_page, |volume| {
            &volume.name
        })
        .await
}

/// Shows one volume.
#[utoipa::path(get, path = "/v1/volumes/{name}", tag = "volumes",
    params(("name" = String, Path), ShowQuery),
    responses((status = 200, body = VolumeView), (status = 404, body = Problem)))]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    ApiPath(name): ApiPath<VolumeName>,
    ApiQuery(query): ApiQuery<ShowQuery>,
) -> Result<Json<VolumeView>, Refusal> {
    let look = move |books: &Books| books.volume(&name);
    let settled = |volume: &VolumeView| match query.until {
        Some(Until::Settled) | None => is_settled(volume.state),
    };
    let volume = app.shell.read(look.clone()).await?;
    if query.wait_ms.is_none() {
        return Ok(Json(volume));
    }
    let wait = Wait {
        ms: query.wait_ms,
        on: Some(Subject::Volume(volume.volume_id)),
    };
    Ok(Json(until(&app, wait, look, settled).await?))
}

fn is_settled(state: VolumeState) -> bool {
    match state {
        VolumeState::Ready
        | VolumeState::InUse
        | VolumeState::Missing
        | VolumeState::Trashed
        | VolumeState::Unknown
        | VolumeState::Failed => true,
        VolumeState::Creating
        | VolumeState::Preparing
        | VolumeState::Releasing
        | VolumeState::Growing
        | VolumeState::Uncertain
        | VolumeState::Deleting => false,
    }
}

/// Makes a volume; the operation tells when it exists.
#[utoipa::path(post, path = "/v1/volumes", tag = "volumes", request_body = CreateVolumeRequest,
    responses((status = 202, body = Accepted), (status = 409, body = Problem)))]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    ApiJson(request): ApiJson<CreateVolumeRequest>,
) -> Result<(StatusCode, Json<Accepted>), Refusal> {
    accept(&app, Request::CreateVolume(request)).await
}

/// Makes a volume larger; the operation tells when it is.
#[utoipa::path(post, path = "/v1/volumes/{name}/grow", tag = "volumes",
    params(("name" = String, Path)), request_body = GrowVolumeRequest,
    responses((status = 202, body = Accepted), (status = 409, body = Problem)))]
pub(crate) async fn grow(
    State(app): State<Arc<App>>,
    ApiPath(name): ApiPath<VolumeName>,
    ApiJson(request): ApiJson<GrowVolumeRequest>,
) -> Result<(StatusCode, Json<Accepted>), Refusal> {
    accept(
        &app,
        Request::GrowVolume {
            name,
            size: request.size,
        },
    )
    .await
}

/// Puts a volume into the trash, or deletes it with `purge`. The operation is the deletion,
/// which of a volume in the trash begins when its retention ends. With `forget` nothing is deleted:
/// its node takes it out of the books, and only if nothing of it is mounted there.
#[utoipa::path(delete, path = "/v1/volumes/{name}", tag = "volumes",
    params(("name" = String, Path), RemoveQuery),
    responses((status = 202, body = Accepted), (status = 409, body = Problem)))]
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    ApiPath(name): ApiPath<VolumeName>,
    ApiQuery(query): ApiQuery<RemoveQuery>,
) -> Result<(StatusCode, Json<Accepted>), Refusal> {
    let request = match (query.purge, query.forget) {
        (true, true) => {
            let what = "purge deletes in the back end and forget does not: give one of them";
            return Err(Problem::new(ErrorKind::Invalid, what).into());
        }
        (false, true) => Request::ForgetVolume { name },
        (purge, false) => Request::RemoveVolume { name, purge },
    };
    accept(&app, request).await
}

/// Takes a volume out of the trash.
#[utoipa::path(post, path = "/v1/volumes/{name}/restore", tag = "volumes",
    params(("name" = String, Path)),
    responses((status = 200, body = VolumeView), (status = 409, body = Problem)))]
pub(crate) async fn restore(
    State(app): State<Arc<App>>,
    ApiPath(name): ApiPath<VolumeName>,
) -> Result<Json<VolumeView>, Refusal> {
    let shown = name.clone();
    let render = move |_, books: &Books| books.volume(&shown);
    Ok(Json(
        app.shell
            .request(Request::RestoreVolume { name }, render)
            .await?,
    ))
}

/// Takes a volume into the books that its node has and they do not.
#[utoipa::path(post, path = "/v1/volumes/{name}/adopt", tag = "volumes",
    params(("name" = String, Path)), request_body = AdoptVolumeRequest,
    responses((status = 200, body = VolumeView), (status = 409, body = Problem)))]
pub(crate) async fn adopt(
    State(app): State<Arc<App>>,
    ApiPath(name): ApiPath<VolumeName>,
    ApiJson(request): ApiJson<AdoptVolumeRequest>,
) -> Result<Json<VolumeView>, Refusal> {
    let shown = request.new_name.clone().unwrap_or_else(|| name.clone());
    let render = move |_, books: &Books| books.volume(&shown);
    let request = Request::AdoptVolume {
        name,
        agent: request.agent,
        new_name: request.new_name,
    };
    Ok(Json(app.shell.request(request, render).await?))
}

async fn accept(app: &Arc<App>, request: Request) -> Result<(StatusCode, Json<Accepted>), Refusal> {
    let accepted = app.shell.request(request, accepted).await?;
    Ok((StatusCode::ACCEPTED, Json(accepted)))
}

fn accepted(reply: Reply, books: &Books) -> Result<Accepted, Problem> {
    match reply {
        Reply::Accepted {
            operation_uuid,
            volume_id,
        } => {
            let record = books.durable().volumes.get(&volume_id);
            let record = record.ok_or_else(|| {
                Problem::new(
                    ErrorKind::NotFound,
                    "the volume was removed in the same moment",
                )
            })?;
            Ok(Accepted {
                operation_uuid,
                volume: books.volume_view(record),
            })
        }
        Reply::Forgotten {
            operation_uuid,
            volume,
        } => Ok(Accepted {
            operation_uuid,
            volume: *volume,
        }),
        Reply::Done
        | Reply::Volume(_)
        | Reply::Task(_)
        | Reply::Plugin(_)
        | Reply::NodeRemoved { .. }
        | Reply::Registered(_) => Err(unexpected()),
    }
}

/// A reply that its request cannot have: a fault of ours.
pub(super) fn unexpected() -> Problem {
    Problem::new(
        ErrorKind::Internal,
        "the books gave an answer to another question",
    )
}
