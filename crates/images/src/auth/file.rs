//! One auth file of Docker or Podman, and the helpers that it names.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::json::null_as_default;
use super::super::reference::RegistryReference;
use super::{AuthError, Credential};

/// Auth files hold a few entries; one this large is not an auth file.
const AUTH_FILE_BYTES_MAX: u64 = 1 << 20;
/// Longest answer of a credential helper; cloud tokens reach a few KiB.
const HELPER_OUTPUT_BYTES_MAX: u64 = 64 << 10;
/// Helpers may ask a cloud service; one that hangs must not hang the pull.
const HELPER_TIMEOUT: Duration = Duration::from_secs(30);
/// The key under which Docker stores Docker Hub.
const DOCKER_HUB_KEYS: [&str; 4] = [
    "https://index.docker.io/v1/",
    "docker.io",
    "index.docker.io",
    "registry-1.docker.io",
];
/// The user name by which a helper says that the secret is an identity token.
const TOKEN_USER: &str = "<token>";

/// An auth file of Docker or Podman.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct AuthFile {
    #[serde(skip)]
    path: PathBuf,
    #[serde(skip)]
    pub(super) helper_dir: PathBuf,
    #[serde(deserialize_with = "null_as_default")]
    auths: BTreeMap<String, Option<AuthEntry>>,
    #[serde(deserialize_with = "null_as_default")]
    cred_helpers: BTreeMap<String, Option<String>>,
    #[serde(deserialize_with = "null_as_default")]
    creds_store: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AuthEntry {
    #[serde(deserialize_with = "null_as_default")]
    auth: String,
    #[serde(deserialize_with = "null_as_default")]
    username: String,
    #[serde(deserialize_with = "null_as_default")]
    password: String,
    #[serde(deserialize_with = "null_as_default")]
    identitytoken: String,
}

impl AuthFile {
    pub(super) fn read(path: &Path, must_exist: bool) -> Result<Option<AuthFile>, AuthError> {
        let file = match fs::File::open(path) {
            Ok(file) => file,
            Err(source) if source.kind() == io::ErrorKind::NotFound && !must_exist => {
                return Ok(None);
            }
            Err(source) => {
                return Err(AuthError::ReadFile {
                    path: path.into(),
                    source,
                });
            }
        };
        let mut bytes = Vec::new();
        file.take(AUTH_FILE_BYTES_MAX)
            .read_to_end(&mut bytes)
            .map_err(|source| AuthError::ReadFile {
                path: path.into(),
                source,
            })?;
        if bytes.trim_ascii().is_empty() {
            // Installers and logouts leave such files; Docker takes them as empty too.
            return Ok(None);
        }
        let file: Option<AuthFile> =
            serde_json::from_slice(&bytes).map_err(|error| AuthError::ParseFile {
                path: path.into(),
                line: error.line(),
            })?;
        Ok(file.map(|file| AuthFile {
            path: path.into(),
            ..file
        }))
    }

    pub(super) async fn credential(
        &self,
        reference: &RegistryReference,
    ) -> Result<Option<Credential>, AuthError> {
        if reference.is_loopback() {
            return self.plain_credential(reference).await;
        }
        let keys = keys_of(reference);
        for key in &keys {
            if let Some(Some(helper)) = self.cred_helpers.get(key)
                && !helper.is_empty()
            {
                return self.ask_helper(helper, key).await;
            }
        }
        for key in &keys {
            if let Some(credential) = self.entry(key)? {
                return Ok(Some(credential));
            }
        }
        if self.creds_store.is_empty() {
            return Ok(None);
        }
        let store_key = if reference.registry() == "docker.io" {
            DOCKER_HUB_KEYS[0]
        } else {
            reference.registry()
        };
        self.ask_helper(&self.creds_store, store_key).await
    }

    /// For a registry on this host, which is spoken to in clear: only what its file gives to
    /// `http://` by name. Tasks share the host's network, so one may listen in its place.
    async fn plain_credential(
        &self,
        reference: &RegistryReference,
    ) -> Result<Option<Credential>, AuthError> {
        let key = format!("http://{}", reference.registry());
        if let Some(Some(helper)) = self.cred_helpers.get(&key) {
            return self.ask_helper(helper, &key).await;
        }
        if self.auths.contains_key(&key) {
            return match self.entry(&key)? {
                None if !self.creds_store.is_empty() => {
                    self.ask_helper(&self.creds_store, &key).await
                }
                found => Ok(found),
            };
        }
        for key in keys_of(reference) {
            if self.cred_helpers.contains_key(&key) || self.entry(&key)?.is_some() {
                return Err(AuthError::InClear {
                    path: self.path.clone(),
                    registry: reference.registry().to_owned(),
                });
            }
        }
        Ok(None)
    }

    fn entry(&self, key: &str) -> Result<Option<Credential>, AuthError> {
        let found = self.auths.get(key).or_else(|| {
            let bare = |stored: &str| {
                let stored = stored
                    .trim_start_matches("https://")
                    .trim_start_matches("http://");
                stored
                    .trim_end_matches('/')
                    .trim_end_matches("/v1")
                    .trim_end_matches("/v2")
                    == key
            };
            self.auths
                .iter()
                .find(|(stored, _)| bare(stored))
                .map(|(_, entry)| entry)
        });
        let Some(Some(entry)) = found else {
            return Ok(None);
        };
        let invalid = || AuthError::Entry {
            path: self.path.clone(),
            registry: key.to_owned(),
        };
        if !entry.identitytoken.is_empty() {
            return Ok(Some(Credential::IdentityToken(entry.identitytoken.clone())));
        }
        if !entry.auth.is_empty() {
            let decoded = STANDARD.decode(&entry.auth).map_err(|_secret| invalid())?;
            let decoded = String::from_utf8(decoded).map_err(|_secret| invalid())?;
            let (user, password) = decoded.split_once(':').ok_or_else(invalid)?;
            let (user, password) = (user.to_owned(), password.trim_end_matches('\0').to_owned());
            return Ok(Some(Credential::Password { user, password }));
        }
        if entry.username.is_empty() {
            // Docker writes an empty entry to say that the store has it.
            return Ok(None);
        }
        let (user, password) = (entry.username.clone(), entry.password.clone());
        Ok(Some(Credential::Password { user, password }))
    }

    async fn ask_helper(&self, name: &str, key: &str) -> Result<Option<Credential>, AuthError> {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.is_empty() || !name.bytes().all(letter) {
            return Err(AuthError::HelperName {
                path: self.path.clone(),
                name: name.to_owned(),
            });
        }
        match tokio::time::timeout(HELPER_TIMEOUT, self.run_helper(name, key)).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(AuthError::HelperFailed {
                path: self.path.clone(),
                name: name.to_owned(),
                registry: key.to_owned(),
                said: format!("no answer within {} s", HELPER_TIMEOUT.as_secs()),
            }),
        }
    }

    async fn run_helper(&self, name: &str, key: &str) -> Result<Option<Credential>, AuthError> {
        let failed = |said: String| AuthError::HelperFailed {
            path: self.path.clone(),
            name: name.to_owned(),
            registry: key.to_owned(),
            said,
        };
        let (succeeded, output) = talk_to_helper(
            &self.helper_dir.join(format!("docker-credential-{name}")),
            key,
        )
        .await
        .map_err(|source| AuthError::RunHelper {
            path: self.path.clone(),
            name: name.to_owned(),
            source,
        })?;
        if !succeeded {
            let said = String::from_utf8_lossy(&output).trim().to_owned();
            let absent = said.contains("credentials not found");
            return if absent { Ok(None) } else { Err(failed(said)) };
        }
        // The answer is not quoted: it holds the secret.
        let answer: HelperAnswer = serde_json::from_slice(&output)
            .map_err(|_secret| failed("its answer is not the expected JSON".into()))?;
        Ok(Some(if answer.username == TOKEN_USER {
            Credential::IdentityToken(answer.secret)
        } else {
            Credential::Password {
                user: answer.username,
                password: answer.secret,
            }
        }))
    }
}

/// What an entry for a reference may be called, most specific first: Podman allows namespaces.
fn keys_of(reference: &RegistryReference) -> Vec<String> {
    let whole = format!("{}/{}", reference.registry(), reference.repository());
    let mut keys = Vec::new();
    let mut rest = whole.as_str();
    while let Some((shorter, _)) = rest.rsplit_once('/') {
        keys.push(rest.to_owned());
        rest = shorter;
    }
    if reference.registry() == "docker.io" {
        keys.extend(DOCKER_HUB_KEYS.map(str::to_owned));
    } else {
        keys.push(reference.registry().to_owned());
    }
    keys
}

/// A helper's answer.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: String,
}

async fn talk_to_helper(program: &Path, key: &str) -> io::Result<(bool, Vec<u8>)> {
    let mut helper = tokio::process::Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let mut input = helper.stdin.take().expect("piped above");
    input.write_all(key.as_bytes()).await?;
    drop(input);
    let mut output = Vec::new();
    let stdout = helper.stdout.take().expect("piped above");
    stdout
        .take(HELPER_OUTPUT_BYTES_MAX)
        .read_to_end(&mut output)
        .await?;
    Ok((helper.wait().await?.success(), output))
}
