//! What can go wrong with a registry, told apart so that a user knows what to do.
//! The registry's own words are kept apart from ours, in `raw`.

/// Why a registry did not give what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The registry's name does not make a URL.
    #[error("the registry {registry} has no usable address")]
    Address { registry: String },
    /// The HTTP client could not be set up; without CA certificates it cannot.
    #[error("set up the HTTPS client; are CA certificates installed (ca-certificates)?")]
    Client {
        /// Why.
        source: reqwest::Error,
    },
    /// No connection, or it broke, or it fell silent.
    #[error("the registry {registry} cannot be reached")]
    Unreachable {
        registry: String,
        /// The network's answer.
        source: reqwest::Error,
    },
    /// The registry wants another proof, or none will do.
    #[error("the registry {registry} does not let us use {repository} ({identity}): {raw}")]
    Unauthorised {
        registry: String,
        /// The repository; it may also not exist, some registries hide that.
        repository: String,
        /// As whom we asked.
        identity: String,
        /// The registry's words.
        raw: String,
    },
    /// The token service of the registry refused or made no sense.
    #[error("the token service {service} of the registry {registry} gave no token: {raw}")]
    Token {
        registry: String,
        /// The service's address.
        service: String,
        /// Its words.
        raw: String,
    },
    /// The registry sends us for a token to a place where secrets would travel in the clear.
    #[error("the registry {registry} names the token service {service}, which is not HTTPS")]
    TokenService {
        registry: String,
        /// The service's address.
        service: String,
    },
    /// The repository is not there.
    #[error("the registry {registry} has no repository {repository}: {raw}")]
    RepositoryAbsent {
        registry: String,
        repository: String,
        /// The registry's words.
        raw: String,
    },
    /// The repository is there; the tag or digest is not.
    #[error("the repository {repository} has no {selector}{}: {raw}", shown(tags))]
    ImageAbsent {
        repository: String,
        /// The tag or digest asked for.
        selector: String,
        /// Some tags that are there.
        tags: Vec<String>,
        /// The registry's words.
        raw: String,
    },
    /// A manifest names a blob that the registry does not have.
    #[error("{repository} has no blob {digest}, though its manifest names it: {raw}")]
    BlobAbsent {
        /// The blob.
        digest: String,
        /// The image asked for.
        repository: String,
        /// The registry's words.
        raw: String,
    },
    /// Asked too often.
    #[error("the registry {registry} limits how often it may be asked: {raw}")]
    RateLimited {
        registry: String,
        /// The registry's words.
        raw: String,
    },
    /// A fault of the registry's own.
    #[error("the registry {registry} failed with status {status}: {raw}")]
    Failing {
        registry: String,
        /// HTTP status.
        status: u16,
        /// The registry's words.
        raw: String,
    },
    /// Any other refusal.
    #[error("the registry {registry} refused with status {status}: {raw}")]
    Refused {
        registry: String,
        /// HTTP status.
        status: u16,
        /// The registry's words.
        raw: String,
    },
    /// A longer answer than any sound one.
    #[error("{registry} sent more than {max} bytes where a short document was expected")]
    TooLong {
        /// The host.
        registry: String,
        /// The limit.
        max: u64,
    },
    /// Ranges of a blob do not fit together, again and again.
    #[error("the registry {registry} does not continue a download where it is asked to")]
    Ranges { registry: String },
    /// Sent from place to place.
    #[error("the registry {registry} redirected more than {max} times")]
    Redirects {
        registry: String,
        /// The limit.
        max: usize,
    },
    /// A redirect that leads nowhere or out of encryption.
    #[error("the registry {registry} redirected to {target}, which is not followed")]
    RedirectTarget {
        registry: String,
        /// Where to.
        target: String,
    },
}

impl RegistryError {
    /// The registry's own words, if it said anything.
    #[must_use]
    pub fn raw(&self) -> Option<&str> {
        match self {
            RegistryError::Unauthorised { raw, .. }
            | RegistryError::Token { raw, .. }
            | RegistryError::RepositoryAbsent { raw, .. }
            | RegistryError::ImageAbsent { raw, .. }
            | RegistryError::BlobAbsent { raw, .. }
            | RegistryError::RateLimited { raw, .. }
            | RegistryError::Failing { raw, .. }
            | RegistryError::Refused { raw, .. } => Some(raw),
            RegistryError::Address { .. }
            | RegistryError::Client { .. }
            | RegistryError::Unreachable { .. }
            | RegistryError::TokenService { .. }
            | RegistryError::TooLong { .. }
            | RegistryError::Ranges { .. }
            | RegistryError::Redirects { .. }
            | RegistryError::RedirectTarget { .. } => None,
        }
    }

    /// Tells whether the same request may succeed shortly after.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(
            self,
            RegistryError::Unreachable { .. } | RegistryError::Failing { .. }
        )
    }
}

fn shown(tags: &[String]) -> String {
    if tags.is_empty() {
        String::new()
    } else {
        format!(" (it has {})", tags.join(", "))
    }
}
