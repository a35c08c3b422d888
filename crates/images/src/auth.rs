//! Registry credentials: where they are looked for, and to whom they are given.
//!
//! A credential is found for one registry and handed to nobody else; it never prints. Files are
//! read at each pull, so that a login takes effect at once.
//!
//! Source: containers-auth.json(5), Docker's `config.json`, the docker-credential-helpers
//! protocol.

mod file;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::reference::RegistryReference;
use file::AuthFile;

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
        registry: String,
    },
    /// A registry that is spoken to without TLS, and whose entry does not say so.
    #[error(
        "the auth file {} has a credential for {registry}, which is not sent in clear: a task \
         could listen there in the registry's place; an entry for http://{registry} is",
        path.display()
    )]
    InClear {
        /// The file.
        path: PathBuf,
        registry: String,
    },
    /// A helper's name is not one.
    #[error("the auth file {} names the credential helper {name:?}, which is no program name",
        path.display())]
    HelperName {
        /// The file.
        path: PathBuf,
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
            | AuthError::InClear { path, .. }
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

#[cfg(test)]
mod tests;
