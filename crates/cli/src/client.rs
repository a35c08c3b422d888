//! The public HTTP API from the caller's side.
//!
//! Owns finding the master ([`locate`]), the connection, and turning what goes wrong into
//! something an operator can act on ([`error`]). It repeats nothing by itself: waits do.

pub mod connection;
pub mod error;
pub mod locate;

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LINK};
use reqwest::{Certificate, Method, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sutler_ids::Problem;

pub use error::{CallError, ConnectError};
pub use locate::{LocateError, Target};

/// How long a connection may take to open; a master is on this host or in its network.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an answer may take beyond what we asked the master to wait.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long an unused connection is kept: far less than a master keeps it, so that no request
/// meets its end.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// Most bytes of an answer that is not ours to print in an error.
const FOREIGN_BODY_MAX: usize = 300;

/// An answer, typed and as it came.
#[derive(Debug, Clone)]
pub struct Answer<T> {
    /// What we read from it.
    pub value: T,
    /// All of it, for `--json`.
    pub raw: Value,
}

/// Bytes of an answer as they come.
pub struct ByteStream(Pin<Box<dyn Stream<Item = Result<Bytes, CallError>> + Send>>);

impl ByteStream {
    /// Gives the next bytes; `None` after a proper end.
    ///
    /// # Errors
    /// [`CallError::Broken`] if the connection ended before the answer did.
    ///
    /// # Cancel safety
    /// Safe: bytes that came are kept.
    pub async fn next(&mut self) -> Option<Result<Bytes, CallError>> {
        self.0.next().await
    }
}

/// A connection to one master; cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    address: String,
}

impl Client {
    /// Prepares the connection; nothing is sent yet.
    ///
    /// # Errors
    /// [`ConnectError`] if the address, the token or the certificate is of no use.
    pub fn new(target: &Target) -> Result<Self, ConnectError> {
        // A second installation is refused and harmless: the first was ring as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let address = target.address.trim_end_matches('/').to_owned();
        check_address(&address)?;
        let plain = address.starts_with("http://");
        if plain && target.token.is_some() {
            return Err(ConnectError::Plain { address });
        }
        let mut builder = reqwest::Client::builder()
            .default_headers(headers(target)?)
            .user_agent(concat!("sutler/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_MAX)
            // One request after the other: HTTP/2 would only add to the first.
            .http1_only()
            // A proxy meant for the internet must not see the token of a cluster.
            .no_proxy()
            // The token goes to the address it belongs to, never further.
            .redirect(reqwest::redirect::Policy::none());
        // Without TLS no authority is needed, and a bare host may have none installed.
        match &target.ca_pem {
            Some(pem) => {
                let certificates = Certificate::from_pem_bundle(pem)
                    .map_err(|source| ConnectError::Certificate { source })?;
                builder = builder.tls_certs_only(certificates);
            }
            None if plain => builder = builder.tls_certs_only([]),
            None => {}
        }
        let http = builder
            .build()
            .map_err(|source| ConnectError::Prepare { source })?;
        Ok(Self { http, address })
    }

    /// Gives the master's address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Gets one object.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Answer<T>, CallError> {
        self.typed(
            path,
            self.request(Method::GET, path).timeout(ANSWER_TIMEOUT),
        )
        .await
    }

    /// Gets a whole list, page after page.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn get_all<T: DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<Answer<Vec<T>>, CallError> {
        let (mut value, mut all) = (Vec::new(), Vec::new());
        let mut page = Some(path.to_owned());
        while let Some(path) = page {
            let request = self.request(Method::GET, &path).timeout(ANSWER_TIMEOUT);
            let response = self.send(request).await?;
            page = next_page(response.headers());
            let answer = self.read::<Vec<T>>(&path, response).await?;
            value.extend(answer.value);
            match answer.raw {
                Value::Array(entries) => all.extend(entries),
                other => all.push(other),
            }
        }
        let raw = Value::Array(all);
        Ok(Answer { value, raw })
    }

    /// Gets one object; the master may hold the answer back for `wait`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn get_waiting<T: DeserializeOwned>(
        &self,
        path: &str,
        wait: Duration,
    ) -> Result<Answer<T>, CallError> {
        let joint = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{joint}wait_ms={}", wait.as_millis());
        self.typed(
            &path,
            self.request(Method::GET, &path)
                .timeout(ANSWER_TIMEOUT + wait),
        )
        .await
    }

    /// Posts a request.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Answer<T>, CallError> {
        let request = self
            .request(Method::POST, path)
            .json(body)
            .timeout(ANSWER_TIMEOUT);
        self.typed(path, request).await
    }

    /// Posts without a body.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn post_empty<T: DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<Answer<T>, CallError> {
        self.typed(
            path,
            self.request(Method::POST, path).timeout(ANSWER_TIMEOUT),
        )
        .await
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<Answer<T>, CallError> {
        self.typed(
            path,
            self.request(Method::DELETE, path).timeout(ANSWER_TIMEOUT),
        )
        .await
    }

    /// Gets bytes as they come, for as long as they come.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn stream(&self, path: &str) -> Result<ByteStream, CallError> {
        let response = self.send(self.request(Method::GET, path)).await?;
        Ok(self.bytes_of(response))
    }

    /// Calls any path with any method and a JSON body, and gives the answer's bytes.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn raw(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> Result<ByteStream, CallError> {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let response = self.send(request).await?;
        Ok(self.bytes_of(response))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.address))
    }

    async fn typed<T: DeserializeOwned>(
        &self,
        path: &str,
        request: RequestBuilder,
    ) -> Result<Answer<T>, CallError> {
        let response = self.send(request).await?;
        self.read(path, response).await
    }

    async fn read<T: DeserializeOwned>(
        &self,
        path: &str,
        response: Response,
    ) -> Result<Answer<T>, CallError> {
        let body = response
            .bytes()
            .await
            .map_err(|source| self.broken(source))?;
        let shape = |source| CallError::Shape {
            path: path.to_owned(),
            source,
        };
        // An empty answer stands for an empty object.
        let raw: Value = match body.as_ref() {
            [] => Value::Object(serde_json::Map::new()),
            bytes => serde_json::from_slice(bytes).map_err(shape)?,
        };
        let value = T::deserialize(&raw).map_err(shape)?;
        Ok(Answer { value, raw })
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, CallError> {
        let response = request.send().await.map_err(|source| self.unsent(source))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response
            .bytes()
            .await
            .map_err(|source| self.broken(source))?;
        Err(match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => CallError::Refused {
                status: status.as_u16(),
                problem,
            },
            Err(_) => CallError::NotOurs {
                address: self.address.clone(),
                status: status.as_u16(),
                body: start_of(&body),
            },
        })
    }

    fn bytes_of(&self, response: Response) -> ByteStream {
        let this = self.clone();
        let stream = response.bytes_stream();
        ByteStream(Box::pin(
            stream.map(move |part| part.map_err(|source| this.broken(source))),
        ))
    }

    fn unsent(&self, source: reqwest::Error) -> CallError {
        let address = self.address.clone();
        match source.is_connect() {
            true => CallError::Unreachable {
                address,
                source: source.without_url(),
            },
            false => self.broken(source),
        }
    }

    fn broken(&self, source: reqwest::Error) -> CallError {
        CallError::Broken {
            address: self.address.clone(),
            source: source.without_url(),
        }
    }
}

fn check_address(address: &str) -> Result<(), ConnectError> {
    let fault = |fault| ConnectError::Address {
        address: address.to_owned(),
        fault,
    };
    let host = address
        .strip_prefix("http://")
        .or_else(|| address.strip_prefix("https://"));
    match host {
        None => Err(fault("must begin with https://")),
        Some(host) if host.is_empty() || host.contains(['/', '?', '#', '@', ' ']) => {
            Err(fault("must be only a scheme, a host and a port"))
        }
        Some(_) => match reqwest::Url::parse(address) {
            Ok(_) => Ok(()),
            Err(_) => Err(fault("has no usable host or port")),
        },
    }
}

fn headers(target: &Target) -> Result<HeaderMap, ConnectError> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, */*"));
    if let Some(token) = &target.token {
        headers.insert(AUTHORIZATION, token.0.clone());
    }
    Ok(headers)
}

/// Gives the path of a list's next page (RFC 8288); one that is no path of this master is none.
fn next_page(headers: &HeaderMap) -> Option<String> {
    let link = headers.get(LINK)?.to_str().ok()?;
    let (path, relation) = link.strip_prefix('<')?.split_once('>')?;
    let next = relation.contains("rel=\"next\"") && path.starts_with('/');
    next.then(|| path.to_owned())
}

fn start_of(body: &[u8]) -> String {
    let end = body.len().min(FOREIGN_BODY_MAX);
    String::from_utf8_lossy(&body[..end]).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(address: &str, token: Option<&'static str>) -> Target {
        Target {
            address: address.to_owned(),
            token: token.map(|token| locate::Token(HeaderValue::from_static(token))),
            ca_pem: None,
        }
    }

    #[test]
    fn a_token_is_never_sent_without_tls() {
        for address in [
            "http://127.0.0.1:5050",
            "http://localhost:5050/",
            "http://10.0.0.1:5050",
        ] {
            let made = Client::new(&target(address, Some("Bearer abc")));
            assert!(matches!(made, Err(ConnectError::Plain { .. })), "{address}");
            assert!(Client::new(&target(address, None)).is_ok(), "{address}");
        }
        let other = Client::new(&target("HTTP://127.0.0.1:5050", Some("Bearer abc")));
        assert!(matches!(other, Err(ConnectError::Address { .. })));
    }
}
