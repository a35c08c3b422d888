//! `/agent/v1`: the master's half of the agents' protocol.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use sutler_api::agent::{HEARTBEAT_MS, Register, Registered, ToAgent, Updates};
use sutler_cluster_core::{Event, Reply};
use sutler_ids::{AgentId, RequestId};
use sutler_ids::{ErrorKind, Problem};
use uuid::Uuid;

use super::App;
use super::extract::{ApiJson, ApiPath, ApiQuery};
use super::refusal::Refusal;
use super::volumes::unexpected;
use crate::shell::Attached;

/// The kind of body by which an agent answers with a problem instead of bytes.
const PROBLEM: &str = "application/problem+json";

/// Largest problem that an agent may answer with.
const PROBLEM_BYTES_MAX: usize = 1 << 20;

/// Query of `GET /agent/v1/events`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamQuery {
    agent_id: AgentId,
    incarnation: Uuid,
}

/// An empty JSON object.
#[derive(Serialize)]
pub(super) struct Done {}

/// Admits a node.
pub(super) async fn register(
    State(app): State<Arc<App>>,
    ApiJson(register): ApiJson<Register>,
) -> Result<Json<Registered>, Refusal> {
    let event = Event::Register {
        seed: Uuid::new_v4(),
        register,
    };
    let render = |reply, _: &_| match reply {
        Reply::Registered(registered) => Ok(registered),
        Reply::Done
        | Reply::Accepted { .. }
        | Reply::Forgotten { .. }
        | Reply::Volume(_)
        | Reply::Task(_)
        | Reply::Plugin(_)
        | Reply::NodeRemoved { .. } => Err(unexpected()),
    };
    Ok(Json(app.shell.decide(event, render).await?))
}

/// Streams what the master wants of a node, one JSON object a line.
pub(super) async fn events(
    State(app): State<Arc<App>>,
    ApiQuery(query): ApiQuery<StreamQuery>,
) -> Result<Response, Refusal> {
    let attached = app.shell.attach(query.agent_id, query.incarnation).await?;
    let lines = futures::stream::unfold((attached, app.end.clone()), async |(mut from, end)| {
        let message = next(&mut from, &end).await?;
        let mut line = serde_json::to_vec(&message).expect("messages are plain JSON");
        line.push(b'\n');
        Some((Ok::<_, Infallible>(Bytes::from(line)), (from, end)))
    });
    let kind = (header::CONTENT_TYPE, "application/x-ndjson");
    Ok(([kind], Body::from_stream(lines)).into_response())
}

/// Waits for the next message; a heartbeat when there is none for a while.
async fn next(from: &mut Attached, end: &tokio_util::sync::CancellationToken) -> Option<ToAgent> {
    let heartbeat = tokio::time::sleep(Duration::from_millis(HEARTBEAT_MS));
    // Every arm is cancel-safe: a message is taken wholly or not at all.
    tokio::select! {
        () = end.cancelled() => None,
        () = from.closed.cancelled() => None,
        message = from.messages.recv() => message,
        () = heartbeat => Some(ToAgent::Heartbeat),
    }
}

/// Takes what is true on a node; the answer means that it is recorded.
pub(super) async fn updates(
    State(app): State<Arc<App>>,
    ApiJson(updates): ApiJson<Updates>,
) -> Result<Json<Done>, Refusal> {
    app.shell
        .decide(Event::Updates(updates), |_, _| Ok(()))
        .await?;
    Ok(Json(Done {}))
}

/// Pipes an answer to whoever asked.
pub(super) async fn answer(
    State(app): State<Arc<App>>,
    ApiPath(id): ApiPath<RequestId>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Done>, Refusal> {
    let nobody = || Problem::new(ErrorKind::NotFound, "nobody waits for this answer any more");
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    if kind == Some(PROBLEM) {
        let bytes = axum::body::to_bytes(body, PROBLEM_BYTES_MAX).await;
        let invalid = |what: String| Problem::new(ErrorKind::Invalid, what);
        let bytes = bytes.map_err(|error| invalid(format!("the answer was cut off: {error}")))?;
        let problem: Problem = serde_json::from_slice(&bytes)
            .map_err(|error| invalid(format!("the answer is not a problem: {error}")))?;
        return match app.questions.refuse(id, problem) {
            true => Ok(Json(Done {})),
            false => Err(nobody().into()),
        };
    }
    let pieces = app.questions.begin(id).ok_or_else(nobody)?;
    let mut body = body.into_data_stream();
    loop {
        // An asker that went away must end the agent's sending also while it is silent.
        let piece = tokio::select! {
            piece = body.next() => piece,
            () = pieces.closed() => return Err(nobody().into()),
            () = app.end.cancelled() => return Err(nobody().into()),
        };
        let Some(piece) = piece else {
            return Ok(Json(Done {}));
        };
        let cut_off = piece.is_err();
        let sent = pieces.send(piece.map_err(std::io::Error::other)).await;
        if cut_off || sent.is_err() {
            return Err(nobody().into());
        }
    }
}
