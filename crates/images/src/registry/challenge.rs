//! How a registry asks who we are, and how we answer.
//! Parses the challenge, talks to the token service, and yields one `Authorization` value.
//!
//! Source: RFC 9110 section 11, the token specifications of the distribution project.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;
use reqwest::{Client, Url};
use serde::Deserialize;

use super::super::auth::Credential;
use super::super::reference::{RegistryReference, is_loopback_host};
use super::error::RegistryError;
use super::{Access, read_bounded, read_raw};

/// Tokens are a few KiB; a longer answer is not one.
const TOKEN_ANSWER_BYTES_MAX: u64 = 256 << 10;

/// What a registry wants to see.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User and password with each request.
    Basic,
    /// A token from a service.
    Bearer {
        realm: String,
        service: String,
        scope: String,
    },
}

impl Challenge {
    /// Chooses among the `WWW-Authenticate` headers; a token is better than a password.
    pub(super) fn choose<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
        let mut basic = None;
        for header in headers {
            let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
            if scheme.eq_ignore_ascii_case("bearer") {
                return Some(Challenge::bearer(rest));
            }
            if scheme.eq_ignore_ascii_case("basic") {
                basic = Some(Challenge::Basic);
            }
        }
        basic
    }

    fn bearer(parameters: &str) -> Challenge {
        let find = |wanted: &str| {
            let mut found = parse_parameters(parameters).into_iter();
            found
                .find(|(name, _)| name == wanted)
                .map(|(_, value)| value)
                .unwrap_or_default()
        };
        Challenge::Bearer {
            realm: find("realm"),
            service: find("service"),
            scope: find("scope"),
        }
    }
}

/// Parses `a="b",c=d`; names in lower case. Commas inside quotes are part of the value.
fn parse_parameters(text: &str) -> Vec<(String, String)> {
    let mut parameters = Vec::new();
    let mut rest = text.trim();
    while let Some((name, tail)) = rest.split_once('=') {
        let (value, tail) = match tail.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => tail.split_once(',').unwrap_or((tail, "")),
        };
        let name = name.trim_matches([',', ' ']).to_ascii_lowercase();
        parameters.push((name, value.trim().to_owned()));
        rest = tail.trim_start_matches([',', ' ']);
    }
    parameters
}

/// Holds the credential for one registry and answers its challenges.
pub(super) struct Authoriser {
    http: Client,
    registry: String,
    scope: String,
    loopback: bool,
    credential: Option<Credential>,
}

impl fmt::Debug for Authoriser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authoriser")
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}

impl Authoriser {
    pub(super) fn new(
        http: Client,
        reference: &RegistryReference,
        credential: Option<Credential>,
        access: Access,
    ) -> Authoriser {
        let actions = match access {
            Access::Pull => "pull",
            Access::Push => "pull,push",
        };
        Authoriser {
            http,
            registry: reference.registry().to_owned(),
            scope: format!("repository:{}:{actions}", reference.repository()),
            loopback: reference.is_loopback(),
            credential,
        }
    }

    /// As whom we ask, for error texts.
    pub(super) fn identity(&self) -> String {
        match &self.credential {
            None => "asked without a credential".into(),
            Some(Credential::Password { user, .. }) => format!("asked as {user}"),
            Some(Credential::IdentityToken(_)) => "asked with an identity token".into(),
        }
    }

    /// Yields the `Authorization` value for a challenge; none if we have nothing to show.
    pub(super) async fn answer(
        &self,
        challenge: Option<Challenge>,
    ) -> Result<Option<HeaderValue>, RegistryError> {
        match challenge {
            None => Ok(None),
            Some(Challenge::Basic) => Ok(self.basic()),
            Some(Challenge::Bearer {
                realm,
                service,
                scope,
            }) => {
                let scope = if scope.is_empty() {
                    &self.scope
                } else {
                    &scope
                };
                self.fetch_token(&realm, &service, scope).await.map(Some)
            }
        }
    }

    fn basic(&self) -> Option<HeaderValue> {
        match &self.credential {
            Some(Credential::Password { user, password }) => Some(secret_header(
                "Basic",
                &STANDARD.encode(format!("{user}:{password}")),
            )),
            Some(Credential::IdentityToken(_)) | None => None,
        }
    }

    async fn fetch_token(
        &self,
        realm: &str,
        service: &str,
        scope: &str,
    ) -> Result<HeaderValue, RegistryError> {
        let url = self.token_service(realm)?;
        let request = match &self.credential {
            Some(Credential::IdentityToken(token)) => {
                let form = [
                    ("grant_type", "refresh_token"),
                    ("service", service),
                    ("scope", scope),
                    ("client_id", "sutler"),
                    ("refresh_token", token),
                ];
                let body = encode_form(&form);
                let kind = "application/x-www-form-urlencoded";
                self.http
                    .post(url.clone())
                    .header("content-type", kind)
                    .body(body)
            }
            Some(Credential::Password { .. }) | None => {
                let mut asked = url.clone();
                asked
                    .query_pairs_mut()
                    .append_pair("service", service)
                    .append_pair("scope", scope);
                let request = self.http.get(asked);
                match self.basic() {
                    Some(basic) => request.header("authorization", basic),
                    None => request,
                }
            }
        };
        let response = request
            .send()
            .await
            .map_err(|source| RegistryError::Unreachable {
                registry: url.host_str().unwrap_or_default().to_owned(),
                source: source.without_url(),
            })?;
        let token = |raw| RegistryError::Token {
            registry: self.registry.clone(),
            service: realm.to_owned(),
            raw,
        };
        if !response.status().is_success() {
            return Err(token(read_raw(response).await));
        }
        let answer = read_bounded(response, TOKEN_ANSWER_BYTES_MAX).await?;
        // The answer is not quoted: it holds the secret.
        let answer: TokenAnswer = serde_json::from_slice(&answer)
            .map_err(|_secret| token("its answer is not the expected JSON".into()))?;
        match answer.token.or(answer.access_token) {
            Some(bearer) if is_header_safe(&bearer) => Ok(secret_header("Bearer", &bearer)),
            Some(_) | None => Err(token("its answer holds no usable token".into())),
        }
    }

    /// Credentials travel encrypted, or do not leave this host.
    fn token_service(&self, realm: &str) -> Result<Url, RegistryError> {
        let safe = |url: &Url| {
            let local = url.host_str().is_some_and(is_loopback_host);
            url.scheme() == "https" || (self.loopback && local && url.scheme() == "http")
        };
        Url::parse(realm)
            .ok()
            .filter(safe)
            .ok_or_else(|| RegistryError::TokenService {
                registry: self.registry.clone(),
                service: realm.to_owned(),
            })
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
}

fn encode_form(pairs: &[(&str, &str)]) -> String {
    let mut url = Url::parse("http://form/").expect("a constant");
    url.query_pairs_mut().extend_pairs(pairs);
    url.query().unwrap_or_default().to_owned()
}

fn is_header_safe(token: &str) -> bool {
    !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A header value that debug output hides.
fn secret_header(scheme: &str, secret: &str) -> HeaderValue {
    let value = HeaderValue::from_str(&format!("{scheme} {secret}"));
    let mut value = value.expect("base64 or checked to be printable");
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_parse_as_registries_write_them() {
        let bearer = concat!(
            r#"Bearer realm="https://auth.example/token",service="a b","#,
            r#"scope="repository:x/y:pull,push",error="e""#
        );
        let expected = Challenge::Bearer {
            realm: "https://auth.example/token".into(),
            service: "a b".into(),
            scope: "repository:x/y:pull,push".into(),
        };
        let basic = "Basic realm=\"r\"";
        assert_eq!(
            Challenge::choose([basic, bearer].into_iter()),
            Some(expected)
        );
        assert_eq!(
            Challenge::choose(["BASIC"].into_iter()),
            Some(Challenge::Basic)
        );
        assert_eq!(Challenge::choose(["Negotiate", ""].into_iter()), None);
        let bare = Challenge::choose(["bearer Realm=x , service=y"].into_iter());
        assert_eq!(
            bare,
            Some(Challenge::Bearer {
                realm: "x".into(),
                service: "y".into(),
                scope: "".into()
            })
        );
    }

    #[test]
    fn secrets_go_only_to_encrypted_or_local_token_services() {
        let authoriser = |reference: &str| {
            let reference = reference.parse().unwrap();
            Authoriser::new(
                super::super::build_client(true).unwrap(),
                &reference,
                None,
                Access::Pull,
            )
        };
        let remote = authoriser("reg.example/a");
        assert!(remote.token_service("https://auth.example/t").is_ok());
        for bad in [
            "http://auth.example/t",
            "http://127.0.0.1/t",
            "file:///etc/passwd",
            "",
            "x",
        ] {
            assert!(remote.token_service(bad).is_err(), "{bad}");
        }
        let local = authoriser("127.0.0.1:5000/a");
        assert!(local.token_service("http://127.0.0.1:5001/t").is_ok());
        assert!(local.token_service("http://auth.example/t").is_err());
    }
}
