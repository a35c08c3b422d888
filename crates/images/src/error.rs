//! Why an image could not be provided, and of which kind that is.
//! The kinds are what callers map to exit codes and HTTP statuses.

use std::path::PathBuf;

use sutler_host::blocking::{Ending, blocking};

use super::auth::AuthError;
use super::digest::Digest;
use super::kind::ImageErrorKind;
use super::layer::LayerError;
use super::local::LocalError;
use super::manifest::ManifestError;
use super::reference::ImageReference;
use super::registry::RegistryError;
use super::store_error::StoreError;

/// Why an image is not there.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The registry did not give it.
    #[error("get the image {reference}")]
    Registry {
        reference: Box<ImageReference>,
        /// Why.
        source: RegistryError,
    },
    /// The registry wants credentials, and those for it could not be looked up.
    #[error("find credentials for the image {reference}, as its registry wants some")]
    Auth {
        reference: Box<ImageReference>,
        /// Why there are none.
        source: AuthError,
        /// What the registry said when asked without.
        refusal: Box<RegistryError>,
    },
    /// The folder or archive does not hold it.
    #[error("read the image {reference}")]
    Local {
        reference: Box<ImageReference>,
        /// Why.
        source: LocalError,
    },
    /// Its manifest, index or config cannot be used.
    #[error("use the image {reference}")]
    Manifest {
        reference: Box<ImageReference>,
        /// Why.
        source: ManifestError,
    },
    /// Something of it is not what its digest says.
    #[error(
        "the image {reference} is damaged or forged: {expected} was asked for and {found} came"
    )]
    WrongDigest {
        reference: Box<ImageReference>,
        /// What was asked for.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// Something of it does not have the size that its manifest says.
    #[error(
        "the image {reference} is damaged or forged: {digest} has {found} bytes and not \
         {expected}"
    )]
    WrongSize {
        reference: Box<ImageReference>,
        /// Which part.
        digest: Digest,
        /// As the manifest says.
        expected: u64,
        /// As it is, as far as was read.
        found: u64,
    },
    /// The connection broke again and again.
    #[error("download {digest} of the image {reference}, given up after {tries} tries")]
    Download {
        reference: Box<ImageReference>,
        /// Which part.
        digest: Digest,
        /// How often it was tried.
        tries: u32,
        /// What broke last.
        source: Box<RegistryError>,
    },
    /// A layer was refused or could not be unpacked.
    #[error("unpack the layer {layer} of the image {reference}")]
    Layer {
        reference: Box<ImageReference>,
        /// The packed layer.
        layer: Digest,
        /// Why.
        source: LayerError,
    },
    /// The store on disk failed.
    #[error("store the image {reference}")]
    Store {
        reference: Box<ImageReference>,
        /// Why.
        source: StoreError,
    },
    /// The process is ending.
    #[error("get the image {reference}: the program is stopping")]
    Stopping { reference: Box<ImageReference> },
}

impl ImageError {
    /// The sort of failure.
    #[must_use]
    pub fn kind(&self) -> ImageErrorKind {
        match self {
            ImageError::Registry { source, .. } => registry_kind(source),
            ImageError::Download { source, .. } => registry_kind(source),
            ImageError::Local { source, .. } => source.kind(),
            ImageError::Manifest { source, .. } => source.kind(),
            ImageError::WrongDigest { .. } | ImageError::WrongSize { .. } => {
                ImageErrorKind::Refused
            }
            ImageError::Layer { source, .. } => source.kind(),
            ImageError::Auth { .. } => ImageErrorKind::Credentials,
            ImageError::Stopping { .. } => ImageErrorKind::Stopping,
            ImageError::Store { .. } => ImageErrorKind::Local,
        }
    }

    /// The registry's own words, if it said anything.
    #[must_use]
    pub fn raw(&self) -> Option<&str> {
        match self {
            ImageError::Registry { source, .. } => source.raw(),
            ImageError::Download { source, .. } => source.raw(),
            ImageError::Auth { refusal, .. } => refusal.raw(),
            ImageError::Local { .. }
            | ImageError::Manifest { .. }
            | ImageError::WrongDigest { .. }
            | ImageError::WrongSize { .. }
            | ImageError::Layer { .. }
            | ImageError::Store { .. }
            | ImageError::Stopping { .. } => None,
        }
    }
}

fn registry_kind(error: &RegistryError) -> ImageErrorKind {
    match error {
        RegistryError::RepositoryAbsent { .. }
        | RegistryError::ImageAbsent { .. }
        | RegistryError::BlobAbsent { .. } => ImageErrorKind::Absent,
        RegistryError::Unauthorised { .. } | RegistryError::Token { .. } => {
            ImageErrorKind::Unauthorised
        }
        RegistryError::Unreachable { .. }
        | RegistryError::RateLimited { .. }
        | RegistryError::Failing { .. } => ImageErrorKind::Unreachable,
        RegistryError::Address { .. } => ImageErrorKind::Address,
        RegistryError::Client { .. } => ImageErrorKind::Client,
        RegistryError::TokenService { .. }
        | RegistryError::Refused { .. }
        | RegistryError::TooLong { .. }
        | RegistryError::Ranges { .. }
        | RegistryError::Redirects { .. }
        | RegistryError::RedirectTarget { .. } => ImageErrorKind::Refused,
    }
}

/// Adds the reference to errors of the parts below, which do not know it.
#[derive(Clone)]
pub(crate) struct Blame(pub(crate) ImageReference);

impl Blame {
    /// The image, for an error.
    pub(crate) fn reference(&self) -> Box<ImageReference> {
        Box::new(self.0.clone())
    }

    pub(crate) fn registry(&self, source: RegistryError) -> ImageError {
        ImageError::Registry {
            reference: self.reference(),
            source,
        }
    }

    pub(crate) fn local(&self, source: LocalError) -> ImageError {
        ImageError::Local {
            reference: self.reference(),
            source,
        }
    }

    pub(crate) fn manifest(&self, source: ManifestError) -> ImageError {
        ImageError::Manifest {
            reference: self.reference(),
            source,
        }
    }

    pub(crate) fn store(&self, source: StoreError) -> ImageError {
        ImageError::Store {
            reference: self.reference(),
            source,
        }
    }

    pub(crate) fn layer(&self, layer: Digest, source: LayerError) -> ImageError {
        ImageError::Layer {
            reference: self.reference(),
            layer,
            source,
        }
    }

    pub(crate) fn wrong_size(&self, digest: Digest, expected: u64, found: u64) -> ImageError {
        ImageError::WrongSize {
            reference: self.reference(),
            digest,
            expected,
            found,
        }
    }

    /// Checks bytes against the digest they were asked for by.
    pub(crate) fn verify(&self, expected: Digest, found: Digest) -> Result<(), ImageError> {
        if expected == found {
            return Ok(());
        }
        Err(ImageError::WrongDigest {
            reference: self.reference(),
            expected,
            found,
        })
    }

    /// Names what kept the credentials from us where their want is the reason of a failure.
    pub(crate) fn credentials(&self, error: ImageError, withheld: Option<AuthError>) -> ImageError {
        match (error, withheld) {
            (
                ImageError::Registry {
                    source: refusal, ..
                },
                Some(source),
            ) if registry_kind(&refusal) == ImageErrorKind::Unauthorised => ImageError::Auth {
                reference: self.reference(),
                source,
                refusal: Box::new(refusal),
            },
            (error, _) => error,
        }
    }

    /// Makes an error of writing a file of the store.
    pub(crate) fn write(&self, path: PathBuf, source: std::io::Error) -> ImageError {
        self.store(StoreError::Write { path, source })
    }

    /// Runs something that blocks, and survives that the runtime is shutting down.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ImageError> {
        match blocking(work).await {
            Ok(value) => Ok(value),
            Err(none) => match none.or_panic() {
                Err(Ending) => Err(ImageError::Stopping {
                    reference: self.reference(),
                }),
            },
        }
    }
}
