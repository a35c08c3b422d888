//! One conversation with one repository of one registry, over HTTP.
//!
//! It asks, follows redirects, and proves who we are when asked to; it writes nothing to disk and
//! verifies no digest (its callers do both). Credentials go to the registry they were found for
//! and to the token service which that registry names, never to the target of a redirect.
//!
//! An own client and not `oci-client`: that one reads answers of any size into memory, and its
//! errors do not tell an absent tag from an absent repository. The protocol is small.
//!
//! Source: OCI distribution specification 1.1, RFC 9110 (authentication, ranges).

mod challenge;
mod error;

use std::sync::Once;
use std::time::Duration;

use futures::StreamExt;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, LOCATION, RANGE, WWW_AUTHENTICATE,
};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use tokio::sync::Mutex;

use self::challenge::{Authoriser, Challenge};
pub use self::error::RegistryError;
use super::auth::Credential;
use super::manifest::{DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};
use super::reference::RegistryReference;

/// A registry that does not accept a connection within this time counts as unreachable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest silence inside an answer before the connection counts as broken.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Registries redirect once, to their blob storage; a few more are tolerated.
const REDIRECTS_MAX: usize = 5;
/// How much of a registry's own words is kept for the user.
const RAW_BYTES_MAX: u64 = 4 << 10;
/// Longest answer of the tag list that is read, to tell an absent tag from an absent repository.
const TAG_LIST_BYTES_MAX: u64 = 1 << 20;
/// How many existing tags an error shows.
const TAGS_SHOWN_MAX: usize = 8;

/// What a conversation may do; registries grant rights by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Pull,
    Push,
}

/// A repository of a registry, and our right to it.
pub(crate) struct Session {
    http: Client,
    base: Url,
    reference: RegistryReference,
    authoriser: Authoriser,
    /// The proof that worked last; shared by parallel requests.
    authorization: Mutex<Option<HeaderValue>>,
}

impl Session {
    pub(crate) fn open(
        reference: &RegistryReference,
        credential: Option<Credential>,
        access: Access,
    ) -> Result<Session, RegistryError> {
        let scheme = if reference.is_loopback() {
            "http"
        } else {
            "https"
        };
        let base = format!(
            "{scheme}://{}/v2/{}/",
            reference.endpoint(),
            reference.repository()
        );
        let base = Url::parse(&base).map_err(|_grammar| RegistryError::Address {
            registry: reference.registry().to_owned(),
        })?;
        let http = build_client(reference.is_loopback())
            .map_err(|source| RegistryError::Client { source })?;
        let authoriser = Authoriser::new(http.clone(), reference, credential, access);
        let reference = reference.clone();
        Ok(Session {
            http,
            base,
            reference,
            authoriser,
            authorization: Mutex::new(None),
        })
    }

    /// Asks for a manifest or index, by tag or digest; at most `bytes_max` long.
    pub(crate) async fn manifest(
        &self,
        selector: &str,
        bytes_max: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        let mut headers = HeaderMap::new();
        for kind in [OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST] {
            headers.append(ACCEPT, HeaderValue::from_static(kind));
        }
        let response = self.get(&format!("manifests/{selector}"), headers).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Err(self.explain_absence(selector, response).await);
        }
        let response = self.expect_success(response).await?;
        read_bounded(response, bytes_max).await
    }

    /// Asks for a blob from `offset` on. The status tells whether the registry heeded the offset.
    pub(crate) async fn blob(&self, digest: &str, offset: u64) -> Result<Response, RegistryError> {
        let mut headers = HeaderMap::new();
        if offset > 0 {
            let range = HeaderValue::from_str(&format!("bytes={offset}-"));
            headers.insert(RANGE, range.expect("digits and ASCII signs"));
        }
        let response = self.get(&format!("blobs/{digest}"), headers).await?;
        if response.status() == StatusCode::NOT_FOUND {
            let (repository, raw) = (self.reference.to_string(), read_raw(response).await);
            return Err(RegistryError::BlobAbsent {
                digest: digest.into(),
                repository,
                raw,
            });
        }
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            return Ok(response);
        }
        self.expect_success(response).await
    }

    /// The address of something in this repository.
    pub(crate) fn url(&self, path: &str) -> Result<Url, RegistryError> {
        self.base
            .join(path)
            .map_err(|_grammar| RegistryError::Address {
                registry: self.registry(),
            })
    }

    /// Sends a request to the registry itself, proving who we are if it asks. `build` is called
    /// again for each try, as a body is used up by sending.
    pub(crate) async fn send(
        &self,
        build: impl Fn(&Client) -> Result<RequestBuilder, RegistryError>,
    ) -> Result<Response, RegistryError> {
        let used = self.authorization.lock().await.clone();
        let response = self.send_once(&build, used.as_ref()).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let fresh = self.authorise(used, response).await?;
        self.send_once(&build, Some(&fresh)).await
    }

    /// Turns an answer that is not a success into an error with the registry's words.
    pub(crate) async fn expect_success(
        &self,
        response: Response,
    ) -> Result<Response, RegistryError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let raw = read_raw(response).await;
        let repository = self.reference.repository().to_owned();
        let registry = self.registry();
        Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => RegistryError::Unauthorised {
                registry,
                repository,
                identity: self.authoriser.identity(),
                raw,
            },
            StatusCode::TOO_MANY_REQUESTS => RegistryError::RateLimited { registry, raw },
            status if status.is_server_error() => RegistryError::Failing {
                registry,
                status: status.as_u16(),
                raw,
            },
            status => RegistryError::Refused {
                registry,
                status: status.as_u16(),
                raw,
            },
        })
    }

    pub(crate) fn unreachable(&self, source: reqwest::Error) -> RegistryError {
        RegistryError::Unreachable {
            registry: self.registry(),
            source: source.without_url(),
        }
    }

    pub(crate) fn inconsistent(&self) -> RegistryError {
        RegistryError::Ranges {
            registry: self.registry(),
        }
    }

    fn registry(&self) -> String {
        self.reference.registry().to_owned()
    }

    async fn get(&self, path: &str, headers: HeaderMap) -> Result<Response, RegistryError> {
        let url = self.url(path)?;
        let mut response = self
            .send(|http| Ok(http.get(url.clone()).headers(headers.clone())))
            .await?;
        let mut at = url;
        for _redirect in 0..REDIRECTS_MAX {
            if !response.status().is_redirection() {
                return Ok(response);
            }
            at = self.redirect_target(&at, &response)?;
            let mut request = self.http.get(at.clone()).headers(headers.clone());
            if at.origin() == self.base.origin()
                && let Some(proof) = self.authorization.lock().await.clone()
            {
                request = request.header(AUTHORIZATION, proof);
            }
            response = request
                .send()
                .await
                .map_err(|error| self.unreachable(error))?;
        }
        Err(RegistryError::Redirects {
            registry: self.registry(),
            max: REDIRECTS_MAX,
        })
    }

    /// Where a redirect leads; an encrypted conversation does not go on in the clear.
    fn redirect_target(&self, at: &Url, response: &Response) -> Result<Url, RegistryError> {
        let location = response
            .headers()
            .get(LOCATION)
            .and_then(|value| value.to_str().ok());
        let target = location.and_then(|location| at.join(location).ok());
        let fits = |target: &Url| {
            target.scheme() == "https" || (target.scheme() == "http" && at.scheme() == "http")
        };
        target
            .filter(fits)
            .ok_or_else(|| RegistryError::RedirectTarget {
                registry: self.registry(),
                target: location.unwrap_or("nowhere").to_owned(),
            })
    }

    async fn send_once(
        &self,
        build: &impl Fn(&Client) -> Result<RequestBuilder, RegistryError>,
        proof: Option<&HeaderValue>,
    ) -> Result<Response, RegistryError> {
        let request = || {
            let request = build(&self.http)?;
            Ok(match proof {
                Some(proof) => request.header(AUTHORIZATION, proof.clone()),
                None => request,
            })
        };
        match request()?.send().await {
            Ok(response) => Ok(response),
            // Most often a kept connection that the registry has just closed: once more, anew.
            Err(error) if !error.is_connect() && !error.is_timeout() => request()?
                .send()
                .await
                .map_err(|error| self.unreachable(error)),
            Err(error) => Err(self.unreachable(error)),
        }
    }

    /// Obtains a proof after a 401, once for all requests that were refused with the same one.
    async fn authorise(
        &self,
        used: Option<HeaderValue>,
        refused: Response,
    ) -> Result<HeaderValue, RegistryError> {
        let mut current = self.authorization.lock().await;
        if let Some(newer) = current
            .as_ref()
            .filter(|newer| Some(*newer) != used.as_ref())
        {
            return Ok(newer.clone());
        }
        let challenges = refused.headers().get_all(WWW_AUTHENTICATE);
        let challenge =
            Challenge::choose(challenges.iter().filter_map(|value| value.to_str().ok()));
        match self.authoriser.answer(challenge).await? {
            Some(proof) => {
                *current = Some(proof.clone());
                Ok(proof)
            }
            None => Err(RegistryError::Unauthorised {
                registry: self.registry(),
                repository: self.reference.repository().to_owned(),
                identity: self.authoriser.identity(),
                raw: read_raw(refused).await,
            }),
        }
    }

    /// Registries answer the same for an absent tag and an absent repository; the tag list tells.
    async fn explain_absence(&self, selector: &str, refused: Response) -> RegistryError {
        let raw = read_raw(refused).await;
        let registry = self.registry();
        let repository = self.reference.repository().to_owned();
        let absent = RegistryError::RepositoryAbsent {
            registry: registry.clone(),
            repository: repository.clone(),
            raw: raw.clone(),
        };
        let Ok(response) = self.get("tags/list?n=100", HeaderMap::new()).await else {
            return absent;
        };
        if !response.status().is_success() {
            return absent;
        }
        let list = read_bounded(response, TAG_LIST_BYTES_MAX)
            .await
            .unwrap_or_default();
        let list: TagList = serde_json::from_slice(&list).unwrap_or_default();
        let mut tags = list.tags.unwrap_or_default();
        tags.truncate(TAGS_SHOWN_MAX);
        RegistryError::ImageAbsent {
            repository: format!("{registry}/{repository}"),
            selector: selector.into(),
            tags,
            raw,
        }
    }
}

#[derive(Default, serde::Deserialize)]
struct TagList {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

/// Reads an answer of at most `bytes_max`.
pub(crate) async fn read_bounded(
    response: Response,
    bytes_max: u64,
) -> Result<Vec<u8>, RegistryError> {
    let registry = response.url().host_str().unwrap_or_default().to_owned();
    let too_long = || RegistryError::TooLong {
        registry: registry.clone(),
        max: bytes_max,
    };
    if response
        .content_length()
        .is_some_and(|length| length > bytes_max)
    {
        return Err(too_long());
    }
    let mut bytes = Vec::new();
    let mut stream = response.bytes_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|source| RegistryError::Unreachable {
            registry: registry.clone(),
            source: source.without_url(),
        })?;
        if bytes.len() as u64 + chunk.len() as u64 > bytes_max {
            return Err(too_long());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Reads the start of an answer for the user to see, on one line.
async fn read_raw(response: Response) -> String {
    let status = response.status();
    let mut bytes = Vec::new();
    let mut stream = response.bytes_stream();
    while let Some(Ok(chunk)) = stream.next().await {
        let room = (RAW_BYTES_MAX as usize).saturating_sub(bytes.len());
        bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if bytes.len() as u64 >= RAW_BYTES_MAX {
            break;
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    let printable = |letter: char| if letter.is_control() { ' ' } else { letter };
    let text: String = text.trim().chars().map(printable).collect();
    if text.is_empty() {
        format!("HTTP {status}")
    } else {
        text
    }
}

fn build_client(loopback: bool) -> Result<Client, reqwest::Error> {
    static PROVIDER: Once = Once::new();
    // An error means that the program has chosen its provider already, which is as good.
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    let builder = Client::builder()
        .user_agent(concat!("sutler/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        // Followed by hand, so that it is plain where credentials go.
        .redirect(reqwest::redirect::Policy::none());
    if loopback {
        // No TLS and no proxy: works on a host without CA certificates.
        builder.no_proxy().tls_certs_only([]).build()
    } else {
        builder.build()
    }
}
