//! `/v1/tasks`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use sutler_api::task::{RunTaskRequest, TaskState, TaskView};
use sutler_cluster_core::{Books, Reply, Request, Subject, views};
use sutler_ids::Problem;
use sutler_ids::TaskId;

use super::App;
use super::extract::{ApiJson, ApiPath, ApiQuery};
use super::page::{Page, PageQuery};
use super::refusal::Refusal;
use super::volumes::unexpected;
use super::wait::{Wait, until};

/// Query of `GET /v1/tasks/{id}`.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShowQuery {
    /// How long to wait for another state, in milliseconds; at most a minute.
    wait_ms: Option<u64>,
    /// The state that the asker knows; any but the last ones when absent.
    seen_state: Option<TaskState>,
}

/// Lists tasks, by id.
#[utoipa::path(get, path = "/v1/tasks", tag = "tasks", params(PageQuery),
    responses((status = 200, body = Vec<TaskView>)))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    ApiQuery(query): ApiQuery<PageQuery>,
) -> Result<Page<TaskView>, Refusal> {
    query
        .page(&app, "/v1/tasks", Books::task_page, |task| &task.task_id)
        .await
}

/// Shows one task; waits for its state to differ from the one seen, or to be a last one.
#[utoipa::path(get, path = "/v1/tasks/{id}", tag = "tasks",
    params(("id" = String, Path), ShowQuery),
    responses((status = 200, body = TaskView), (status = 404, body = Problem)))]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    ApiPath(id): ApiPath<TaskId>,
    ApiQuery(query): ApiQuery<ShowQuery>,
) -> Result<Json<TaskView>, Refusal> {
    let wait = Wait {
        ms: query.wait_ms,
        on: Some(Subject::Task(id.clone())),
    };
    let look = move |books: &Books| books.task(&id);
    let differs = |task: &TaskView| views::differs(task.state, query.seen_state);
    Ok(Json(until(&app, wait, look, differs).await?))
}

/// Runs a container, making volumes on the way.
#[utoipa::path(post, path = "/v1/tasks", tag = "tasks", request_body = RunTaskRequest,
    responses((status = 201, body = TaskView), (status = 409, body = Problem)))]
pub(crate) async fn run(
    State(app): State<Arc<App>>,
    ApiJson(request): ApiJson<RunTaskRequest>,
) -> Result<(StatusCode, Json<TaskView>), Refusal> {
    let task = app
        .shell
        .request(Request::RunTask(Box::new(request)), rendered)
        .await?;
    Ok((StatusCode::CREATED, Json(task)))
}

/// Ends a task; one that has ended stays as it is.
#[utoipa::path(post, path = "/v1/tasks/{id}/stop", tag = "tasks",
    params(("id" = String, Path)),
    responses((status = 200, body = TaskView), (status = 404, body = Problem)))]
pub(crate) async fn stop(
    State(app): State<Arc<App>>,
    ApiPath(task_id): ApiPath<TaskId>,
) -> Result<Json<TaskView>, Refusal> {
    Ok(Json(
        app.shell
            .request(Request::StopTask { task_id }, rendered)
            .await?,
    ))
}

/// Forgets an ended task, with its logs; ended tasks leave by themselves too, the oldest first.
#[utoipa::path(delete, path = "/v1/tasks/{id}", tag = "tasks",
    params(("id" = String, Path)),
    responses((status = 200, body = TaskView), (status = 409, body = Problem)))]
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    ApiPath(task_id): ApiPath<TaskId>,
) -> Result<Json<TaskView>, Refusal> {
    let look = task_id.clone();
    let before = app.shell.read(move |books| books.task(&look)).await?;
    let render = move |_, _: &Books| Ok(before);
    let request = Request::RemoveTask { task_id };
    Ok(Json(app.shell.request(request, render).await?))
}

fn rendered(reply: Reply, books: &Books) -> Result<TaskView, Problem> {
    match reply {
        Reply::Task(id) => books.task(&id),
        Reply::Done
        | Reply::Accepted { .. }
        | Reply::Forgotten { .. }
        | Reply::Volume(_)
        | Reply::Plugin(_)
        | Reply::NodeRemoved { .. }
        | Reply::Registered(_) => Err(unexpected()),
    }
}
