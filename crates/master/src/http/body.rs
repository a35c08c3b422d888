//! A request's body that stops coming.

use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use futures::StreamExt;

/// Longest time between two pieces of a body.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodySilence(pub Duration);

/// Says that a body stopped coming.
#[derive(Debug, thiserror::Error)]
#[error("nothing more of the body came for {} s", .0.as_secs())]
pub(super) struct Stopped(Duration);

/// Fails a body that is silent for too long; whoever reads it answers.
pub(super) async fn bounded(
    State(silence): State<BodySilence>,
    request: Request,
    next: Next,
) -> Response {
    next.run(request.map(|body| heard(body, silence.0))).await
}

fn heard(body: Body, silence: Duration) -> Body {
    let next = move |pieces: Option<BodyDataStream>| async move {
        let mut pieces = pieces?;
        match tokio::time::timeout(silence, pieces.next()).await {
            Ok(Some(piece)) => Some((piece, Some(pieces))),
            Ok(None) => None,
            Err(_late) => Some((Err::<Bytes, _>(axum::Error::new(Stopped(silence))), None)),
        }
    };
    Body::from_stream(futures::stream::unfold(Some(body.into_data_stream()), next))
}

/// Finds out whether an error is that a body stopped coming.
pub(super) fn stopped<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Stopped> {
    std::iter::successors(Some(error), |error| error.source())
        .find_map(|error| error.downcast_ref())
}
