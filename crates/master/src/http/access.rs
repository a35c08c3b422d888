//! Who may call what: two tokens, two halves of the paths, one open path.
//!
//! The check runs before routing, so that an unknown path tells nothing to a stranger.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;
use sutler_ids::{ErrorKind, Problem};
use sutler_telemetry::Secret;

use super::App;
use super::refusal::Refusal;
use super::seldom::Seldom;
use super::server::{Standing, Visit};
use crate::files::Tokens;

/// What the check knows.
pub(crate) struct Access {
    tokens: Tokens,
    /// Whether the public API is open to every process of this host.
    open_api: bool,
    refused: Seldom,
    full: Seldom,
}

/// Who a path is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Anyone,
    Operator,
    Agent,
}

pub(super) async fn check(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let role = role(request.uri().path());
    let allowed = app.access.allows(role, request.headers(), request.uri());
    let visit = request.extensions().get::<Visit>();
    let passes = match allowed {
        Ok(()) => app.access.known(role, visit),
        Err(refusal) => {
            app.access.tell_refused(visit);
            Err(refusal)
        }
    };
    match passes {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

fn role(path: &str) -> Role {
    if path == "/health" {
        return Role::Anyone;
    }
    match path.strip_prefix("/agent") {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => Role::Agent,
        Some(_) | None => Role::Operator,
    }
}

impl Access {
    /// Makes the check.
    pub(crate) fn new(tokens: Tokens, open_api: bool) -> Self {
        Self {
            tokens,
            open_api,
            refused: Seldom::default(),
            full: Seldom::default(),
        }
    }

    /// Takes note of whose connection it is, which then has a place among its own kind.
    fn known(&self, role: Role, visit: Option<&Visit>) -> Result<(), Refusal> {
        let standing = match role {
            Role::Anyone => Standing::Stranger,
            Role::Operator => Standing::Operator,
            Role::Agent => Standing::Agent,
        };
        let Some(Err(no_place)) = visit.map(|visit| visit.rise(standing)) else {
            return Ok(());
        };
        if let Some(times) = self.full.count(Instant::now()) {
            tracing::warn!(times, cause = %no_place, "a call was refused for want of a place");
        }
        let what = format!("the master takes no more connections: {no_place}");
        let problem = Problem::new(ErrorKind::Unavailable, what);
        Err(problem
            .hint("close some, or raise its limit of open files")
            .into())
    }

    fn tell_refused(&self, visit: Option<&Visit>) {
        if let Some(times) = self.refused.count(Instant::now()) {
            let last_from = visit.map(|visit| visit.from().to_string());
            tracing::warn!(times, last_from, "calls without a right token were refused");
        }
    }

    fn allows(&self, role: Role, headers: &HeaderMap, uri: &Uri) -> Result<(), Refusal> {
        if role == Role::Anyone {
            return Ok(());
        }
        if role == Role::Operator && self.open_api {
            return from_this_host(headers, uri);
        }
        let Some(given) = bearer(headers) else {
            return Err(Problem::new(
                ErrorKind::Unauthorized,
                "the call has no token (Authorization: Bearer TOKEN)",
            )
            .hint("give --token-file, or run as the user who owns the state directory")
            .into());
        };
        let is = |token: &Secret<String>| -> bool {
            given.as_bytes().ct_eq(token.reveal().as_bytes()).into()
        };
        // Both comparisons always happen, so that the time tells nothing.
        let (operator, agent) = (is(&self.tokens.operator), is(&self.tokens.agent));
        let (right, other) = match role {
            Role::Operator | Role::Anyone => (operator, agent),
            Role::Agent => (agent, operator),
        };
        match (right, other) {
            (true, _) => Ok(()),
            (false, true) => {
                let problem = Problem::new(
                    ErrorKind::Unauthorized,
                    match role {
                        Role::Agent => "the operator's token does not open the agents' paths",
                        Role::Operator | Role::Anyone => {
                            "an agent's token does not open the public API"
                        }
                    },
                );
                Err(Refusal::with_status(problem, StatusCode::FORBIDDEN))
            }
            (false, false) => Err(Problem::new(
                ErrorKind::Unauthorized,
                "the token is not one of this cluster",
            )
            .hint("copy client.json or join.json from the master's state directory again")
            .into()),
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

/// Without a token a web page must not reach us through the browser of someone here: neither
/// by a name that resolves to loopback, nor from another origin.
fn from_this_host(headers: &HeaderMap, uri: &Uri) -> Result<(), Refusal> {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let host = host.or_else(|| uri.authority().map(|authority| authority.as_str()));
    let name = host.map(|host| match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        Some(_) | None => host,
    });
    let local = name.is_some_and(|name| {
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        name == "localhost"
            || bare
                .parse()
                .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
    });
    if local && !headers.contains_key(header::ORIGIN) {
        return Ok(());
    }
    let what = "without a token only programs on this host may call, by a loopback address";
    Err(Refusal::with_status(
        Problem::new(ErrorKind::Unauthorized, what),
        StatusCode::FORBIDDEN,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_has_one_kind_of_caller() {
        for (path, expected) in [
            ("/health", Role::Anyone),
            ("/healthy", Role::Operator),
            ("/v1/volumes", Role::Operator),
            ("/", Role::Operator),
            ("/metrics", Role::Operator),
            ("/agent/v1/register", Role::Agent),
            ("/agent", Role::Agent),
            ("/agents", Role::Operator),
        ] {
            assert_eq!(role(path), expected, "{path}");
        }
    }

    #[test]
    fn an_open_api_is_open_to_this_host_only() {
        let ask = |host: &str, origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            from_this_host(&headers, &Uri::from_static("/v1/volumes")).is_ok()
        };
        assert!(ask("127.0.0.1:5050", None) && ask("localhost", None) && ask("[::1]:1", None));
        assert!(
            !ask("evil.example:5050", None),
            "a name that resolves to loopback"
        );
        assert!(!ask("127.0.0.1.evil.example", None));
        assert!(!ask("127.0.0.1:5050", Some("http://evil.example")));
    }
}
