//! Registry credentials: where they are looked for, and to whom they are given.
//!
//! A credential is found for one registry and handed to nobody else; it never prints. Files are
//! read at each pull, so that a login takes effect at once.
//!
//! Source: containers-auth.json(5), Docker's `config.json`, the docker-credential-helpers
//! protocol.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::manifest::null_as_default;
use super::reference::RegistryReference;

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

/// Why credentials could not be looked up.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// A file exists and cannot be read, or was asked for and does not exist.
    #[error("read the auth file {}", path.display())]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A file is not an auth file. The parser's text is left out, as it may quote secrets.
    #[error("the auth file {} is not valid at line {line}", path.display())]
    ParseFile {
        /// The file.
        path: PathBuf,
        /// Where the parser stopped.
        line: usize,
    },
    /// An entry is neither `user:password` in base64 nor a token.
    #[error("the entry for {registry} in the auth file {} is not valid", path.display())]
    Entry {
        /// The file.
        path: PathBuf,
        /// The registry.
        registry: String,
    },
    /// A helper's name is not one.
    #[error("the auth file {} names the credential helper {name:?}, which is no program name",
        path.display())]
    HelperName {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// A helper could not be run or talked to.
    #[error("run docker-credential-{name}, which the auth file {} names", path.display())]
    RunHelper {
        /// The file.
        path: PathBuf,
        /// The helper.
        name: String,
        /// What went wrong.
        source: io::Error,
    },
    /// A helper failed, and not because it has no such credential.
    #[error("docker-credential-{name}, which the auth file {} names, gave no credential for \
        {registry}: {said}", path.display())]
    HelperFailed {
        /// The file.
        path: PathBuf,
        /// The helper.
        name: String,
        /// The registry.
        registry: String,
        /// Its own words.
        said: String,
    },
}

impl AuthError {
    /// The auth file that is broken, or names what is.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            AuthError::ReadFile { path, .. }
            | AuthError::ParseFile { path, .. }
            | AuthError::Entry { path, .. }
            | AuthError::HelperName { path, .. }
            | AuthError::RunHelper { path, .. }
            | AuthError::HelperFailed { path, .. } => path,
        }
    }
}

/// A user's right to a registry. Prints its user name only.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A user name and a password or access token.
    Password {
        /// The user.
        user: String,
        /// The secret.
        password: String,
    },
    /// An OAuth2 refresh token.
    IdentityToken(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credential::Password { user, .. } => write!(f, "Credential(user {user}, ***)"),
            Credential::IdentityToken(_) => f.write_str("Credential(identity token ***)"),
        }
    }
}

/// Where credentials are looked for, in order; the first that has one for the registry wins.
#[derive(Clone, Default)]
pub struct AuthSources {
    fixed: Option<Arc<(String, Credential)>>,
    explicit: Option<PathBuf>,
    usual: Vec<PathBuf>,
    /// Where helpers lie; empty means that `PATH` is searched.
    helper_dir: PathBuf,
}

impl fmt::Debug for AuthSources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthSources")
            .field(
                "fixed_for",
                &self.fixed.as_ref().map(|fixed| fixed.0.as_str()),
            )
            .field("explicit", &self.explicit)
            .field("usual", &self.usual)
            .finish()
    }
}

impl AuthSources {
    /// No credentials at all.
    #[must_use]
    pub fn none() -> AuthSources {
        AuthSources::default()
    }

    /// One credential for one registry (`host[:port]`, as in references).
    #[must_use]
    pub fn fixed(registry: &str, credential: Credential) -> AuthSources {
        AuthSources {
            fixed: Some(Arc::new((registry.to_owned(), credential))),
            ..AuthSources::default()
        }
    }

    /// One file, which must exist.
    #[must_use]
    pub fn file(path: PathBuf) -> AuthSources {
        AuthSources {
            explicit: Some(path),
            ..AuthSources::default()
        }
    }

    /// The files of Podman and Docker, as this process' environment places them: `explicit`,
    /// `$REGISTRY_AUTH_FILE`, `$XDG_RUNTIME_DIR/containers/auth.json`,
    /// `~/.config/containers/auth.json`, `~/.docker/config.json`.
    #[must_use]
    pub fn from_environment(explicit: Option<PathBuf>) -> AuthSources {
        AuthSources::from_variables(explicit, |name| std::env::var_os(name).map(PathBuf::from))
    }

    fn from_variables(
        explicit: Option<PathBuf>,
        variable: impl Fn(&str) -> Option<PathBuf>,
    ) -> AuthSources {
        let home = variable("HOME").unwrap_or_else(|| "/root".into());
        let config = variable("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
        let docker = variable("DOCKER_CONFIG").unwrap_or_else(|| home.join(".docker"));
        let runtime = variable("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json"));
        let usual = runtime
            .into_iter()
            .chain([
                config.join("containers/auth.json"),
                docker.join("config.json"),
            ])
            .collect();
        let explicit = explicit.or_else(|| variable("REGISTRY_AUTH_FILE"));
        AuthSources {
            explicit,
            usual,
            ..AuthSources::default()
        }
    }

    /// Finds the credential for a reference's registry, if there is one.
    ///
    /// # Errors
    ///
    /// [`AuthError`]; that there is no credential is not an error.
    pub async fn credential(
        &self,
        reference: &RegistryReference,
    ) -> Result<Option<Credential>, AuthError> {
        if let Some((registry, credential)) = self.fixed.as_deref()
            && registry == reference.registry()
        {
            return Ok(Some(credential.clone()));
        }
        if let Some(path) = &self.explicit
            && let Some(credential) = self.look_in(path, (reference, true)).await?
        {
            return Ok(Some(credential));
        }
        // One broken file among the usual ones does not hide what the next one has.
        let mut broken = None;
        for path in &self.usual {
            match self.look_in(path, (reference, false)).await {
                Ok(Some(credential)) => return Ok(Some(credential)),
                Ok(None) => {}
                Err(error) => broken = broken.or(Some(error)),
            }
        }
        broken.map_or(Ok(None), Err)
    }

    async fn look_in(
        &self,
        path: &Path,
        (reference, must_exist): (&RegistryReference, bool),
    ) -> Result<Option<Credential>, AuthError> {
        let Some(mut file) = AuthFile::read(path, must_exist)? else {
            return Ok(None);
        };
        file.helper_dir.clone_from(&self.helper_dir);
        file.credential(reference).await
    }
}

/// An auth file of Docker or Podman.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AuthFile {
    #[serde(skip)]
    path: PathBuf,
    #[serde(skip)]
    helper_dir: PathBuf,
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
    fn read(path: &Path, must_exist: bool) -> Result<Option<AuthFile>, AuthError> {
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

    async fn credential(
        &self,
        reference: &RegistryReference,
    ) -> Result<Option<Credential>, AuthError> {
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

#[cfg(test)]
mod tests;
