//! Reading requests: bodies, queries and path parts, each refused with our own words.

use std::fmt::Display;
use std::str::FromStr;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde::de::DeserializeOwned;
use sutler_ids::{ErrorKind, Problem};

use super::body;
use super::refusal::Refusal;

/// A JSON body.
pub(crate) struct ApiJson<T>(pub T);

/// A query string.
pub(crate) struct ApiQuery<T>(pub T);

/// The one parameter of a path, of a type that checks its grammar.
pub(crate) struct ApiPath<T>(pub T);

fn invalid(what: impl Display) -> Problem {
    Problem::new(ErrorKind::Invalid, what.to_string())
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for ApiJson<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.trim_start().starts_with("application/json") {
            let problem = invalid("the body must be JSON (Content-Type: application/json)");
            return Err(Refusal::with_status(
                problem,
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ));
        }
        let bytes = match Bytes::from_request(request, state).await {
            Ok(bytes) => bytes,
            Err(rejection) => return Err(unread(&rejection)),
        };
        let value = serde_json::from_slice(&bytes)
            .map_err(|error| invalid(format!("the body is not as expected: {error}")))?;
        Ok(Self(value))
    }
}

fn unread(rejection: &BytesRejection) -> Refusal {
    if let Some(stopped) = body::stopped(rejection) {
        return Refusal::with_status(invalid(stopped), StatusCode::REQUEST_TIMEOUT);
    }
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Refusal::with_status(
            invalid("the body is larger than this path takes"),
            StatusCode::PAYLOAD_TOO_LARGE,
        ),
        _ => invalid("the body ended early").into(),
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for ApiQuery<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(rejection) => Err(invalid(rejection.body_text()).into()),
        }
    }
}

impl<T, S> FromRequestParts<S> for ApiPath<T>
where
    T: FromStr<Err: Display>,
    S: Send + Sync,
{
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| invalid(rejection.body_text()))?;
        text.parse()
            .map(Self)
            .map_err(|error: T::Err| invalid(error).into())
    }
}
