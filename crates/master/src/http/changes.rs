//! `/v1/events`: what changes, as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::Stream;
use sutler_api::agent::HEARTBEAT_MS;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::App;

/// Streams changes from now on: one event an object, named by its kind, its data the object
/// as `GET` shows it. Whoever reads too slowly gets the event `missed` with a count.
#[utoipa::path(get, path = "/v1/events", tag = "cluster",
    responses((status = 200, description = "Server-sent events.",
        content_type = "text/event-stream")))]
pub(crate) async fn events(
    State(app): State<Arc<App>>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let changes = app.shell.changes().stream();
    let stream = futures::stream::unfold((changes, app.end.clone()), next);
    Sse::new(stream).keep_alive(KeepAlive::new().interval(Duration::from_millis(HEARTBEAT_MS)))
}

type Source = (broadcast::Receiver<crate::shell::Told>, CancellationToken);

async fn next((mut changes, end): Source) -> Option<(Result<Event, Infallible>, Source)> {
    // Both arms are cancel-safe.
    let told = tokio::select! {
        told = changes.recv() => told,
        () = end.cancelled() => return None,
    };
    let event = match told {
        Ok(told) => Event::default().event(told.name).data(told.data),
        Err(RecvError::Lagged(count)) => Event::default()
            .event("missed")
            .data(format!("{{\"count\":{count}}}")),
        Err(RecvError::Closed) => return None,
    };
    Some((Ok(event), (changes, end)))
}
