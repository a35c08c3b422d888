//! Calls of the master's agent API over HTTP.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use reqwest::{Body, Certificate, Client, RequestBuilder, Response, Url};
use serde::Serialize;
use sutler_api::agent::{Register, Registered, Updates};
use sutler_ids::Problem;
use sutler_ids::{AgentId, RequestId};
use sutler_telemetry::{Secret, chain};
use uuid::Uuid;

use crate::config::MasterAddress;
use crate::error::StartError;

/// Time to connect: longer than a busy host needs, shorter than a person waits.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Time for a short call; the master answers once it has synced its store.
const CALL_WITHIN: Duration = Duration::from_secs(30);

/// How long an unused connection is kept: far less than a master keeps it, so that no post meets
/// its end.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// Says why a call of the master failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// There was no answer.
    #[error("{act} at {url} failed: {cause}")]
    Call {
        act: &'static str,
        url: String,
        cause: String,
    },
    /// The master refused.
    #[error("the master at {url} refused {act}: {cause} (status {status})")]
    Refused {
        act: &'static str,
        url: String,
        status: u16,
        cause: String,
    },
}

/// A client of one master; cheap to clone.
#[derive(Clone)]
pub(crate) struct MasterClient {
    http: Client,
    url: Arc<str>,
    token: Secret<String>,
    loopback: bool,
}

impl MasterClient {
    /// Checks the address and prepares TLS; connects at the first call.
    pub(crate) fn new(master: &MasterAddress) -> Result<Self, StartError> {
        let fault = |cause: String| StartError::MasterAddress {
            url: master.url.clone(),
            cause,
        };
        let url: Url = master
            .url
            .parse()
            .map_err(|error| fault(format!("{error}")))?;
        let host = url
            .host_str()
            .ok_or_else(|| fault("it names no host".to_owned()))?;
        let loopback = is_loopback(host);
        match url.scheme() {
            "https" => {}
            // On loopback as well: a task on the host's network may listen there.
            "http" => {
                let cause = "plain HTTP would show the agents' token to whoever listens; a \
                             master speaks only TLS: copy its join.json again, or write https://";
                return Err(fault(cause.to_owned()));
            }
            other => return Err(fault(format!("{other:?} is not https"))),
        }
        // Another part of the process may have chosen ring already, which is what we want.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .connect_timeout(CONNECT_WITHIN)
            .pool_idle_timeout(IDLE_MAX)
            .tcp_nodelay(true)
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            // A proxy for the outside must not see the cluster's inside.
            .no_proxy();
        if let Some(pem) = &master.ca_pem {
            let certificates = Certificate::from_pem_bundle(pem.as_bytes())
                .map_err(|error| fault(format!("its CA certificate: {}", chain(&error))))?;
            builder = builder.tls_certs_only(certificates);
        }
        let http = builder.build().map_err(|error| fault(chain(&error)))?;
        let url = master.url.trim_end_matches('/').into();
        Ok(Self {
            http,
            url,
            token: master.token.clone(),
            loopback,
        })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn is_loopback(&self) -> bool {
        self.loopback
    }

    /// Announces this node.
    pub(crate) async fn register(&self, register: &Register) -> Result<Registered, ClientError> {
        let act = "register";
        let response = self.post_json(act, "register", register).await?;
        response
            .json()
            .await
            .map_err(|error| self.failed(act, &error))
    }

    /// Opens the stream of what the master wants.
    pub(crate) async fn events(
        &self,
        agent_id: AgentId,
        incarnation: Uuid,
    ) -> Result<BoxStream<'static, Result<Bytes, String>>, ClientError> {
        let act = "open the stream";
        let path = format!("events?agent_id={agent_id}&incarnation={incarnation}");
        let request = self
            .http
            .get(self.path(&path))
            .bearer_auth(self.token.reveal());
        // Bounds the wait for the head only: the stream itself lives as long as it beats.
        let response = match tokio::time::timeout(CALL_WITHIN, self.send(act, request)).await {
            Ok(response) => response?,
            Err(_late) => return Err(self.late(act)),
        };
        Ok(response
            .bytes_stream()
            .map(|piece| piece.map_err(|error| chain(&error)))
            .boxed())
    }

    /// Posts what is true; the master has it durably on return.
    pub(crate) async fn post_updates(&self, updates: &Updates) -> Result<(), ClientError> {
        self.post_json("post updates", "updates", updates)
            .await
            .map(drop)
    }

    /// Answers a question, for as long as the answer flows.
    pub(crate) async fn answer(
        &self,
        request_id: RequestId,
        body: BoxStream<'static, Result<Bytes, String>>,
    ) -> Result<(), ClientError> {
        let request = self
            .http
            .post(self.path(&format!("answers/{request_id}")))
            .bearer_auth(self.token.reveal())
            .body(Body::wrap_stream(body));
        self.send("answer a question", request).await.map(drop)
    }

    async fn post_json(
        &self,
        act: &'static str,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Response, ClientError> {
        let request = self
            .http
            .post(self.path(path))
            .bearer_auth(self.token.reveal())
            .timeout(CALL_WITHIN)
            .json(body);
        self.send(act, request).await
    }

    async fn send(
        &self,
        act: &'static str,
        request: RequestBuilder,
    ) -> Result<Response, ClientError> {
        let response = request
            .send()
            .await
            .map_err(|error| self.failed(act, &error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response.text().await.unwrap_or_default();
        let cause = match serde_json::from_str::<Problem>(&text) {
            Ok(problem) => problem.to_string(),
            Err(_not_a_problem) => text.chars().take(ERROR_TEXT_CHARS_MAX).collect(),
        };
        let (url, status) = (self.url.to_string(), status.as_u16());
        Err(ClientError::Refused {
            act,
            url,
            status,
            cause,
        })
    }

    fn path(&self, path: &str) -> String {
        format!("{}/agent/v1/{path}", self.url)
    }

    fn failed(&self, act: &'static str, error: &reqwest::Error) -> ClientError {
        ClientError::Call {
            act,
            url: self.url.to_string(),
            cause: chain(error),
        }
    }

    fn late(&self, act: &'static str) -> ClientError {
        let cause = format!("no answer within {} s", CALL_WITHIN.as_secs());
        ClientError::Call {
            act,
            url: self.url.to_string(),
            cause,
        }
    }
}

/// Kept of an answer that is no problem of ours, such as a proxy's page.
const ERROR_TEXT_CHARS_MAX: usize = 500;

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> String {
        let token = Secret::new("hush".to_owned());
        let address = MasterAddress {
            url: url.to_owned(),
            ca_pem: None,
            token,
        };
        match MasterClient::new(&address) {
            Ok(_) => panic!("{url} was taken"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn an_address_that_would_show_the_token_is_refused() {
        for url in [
            "http://10.0.0.1:5050",
            "http://127.0.0.1:1",
            "http://[::1]:1",
            "http://localhost:1",
            "HTTP://localhost:1",
        ] {
            assert!(refused(url).contains("write https://"), "{url}");
        }
        assert!(refused("ftp://x").contains("is not https"));
        assert!(refused("5050").contains("5050"));
    }
}
