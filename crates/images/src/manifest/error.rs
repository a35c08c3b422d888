//! Why a document of an image is refused.

use super::super::digest::Digest;
use super::super::kind::ImageErrorKind;
use super::Platform;

/// Why a document of an image is not usable.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Larger than the limit.
    #[error("the {what} has {bytes} bytes, more than the limit of {max}")]
    TooLarge {
        /// Which document.
        what: &'static str,
        /// Its size.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// Not JSON of the expected shape.
    #[error("parse the {what}")]
    Parse {
        /// Which document.
        what: &'static str,
        /// The parser's answer.
        source: serde_json::Error,
    },
    /// Docker's first format, without digests of layers' contents.
    #[error("the manifest has schema version 1, which Docker gave up in 2017; push it again")]
    Schema1,
    /// Both a manifest and an index, or neither.
    #[error(
        "the document is not clearly an image manifest or an index (media type {media_type:?})"
    )]
    Unclear {
        /// The media type it claims.
        media_type: String,
    },
    /// A config that is not an image's: a chart, a signature, an artefact.
    #[error("the manifest describes {media_type:?}, not a container image")]
    NotAnImage {
        /// The media type of its config.
        media_type: String,
    },
    /// A layer of a kind that cannot be unpacked, for example an encrypted one.
    #[error("layer {layer} has the media type {media_type:?}, which cannot be unpacked")]
    LayerType {
        layer: Digest,
        /// Its kind.
        media_type: String,
    },
    /// More layers than the limit.
    #[error("the image has {layers} layers, more than the limit of {max}")]
    TooManyLayers {
        /// How many it has.
        layers: usize,
        /// The limit.
        max: usize,
    },
    /// More manifests than the limit.
    #[error("the index has {entries} entries, more than the limit of {max}")]
    TooManyEntries {
        /// How many it has.
        entries: usize,
        /// The limit.
        max: usize,
    },
    /// Manifest and config disagree on the number of layers.
    #[error("the manifest has {layers} layers and the config {diff_ids}")]
    LayerCount {
        layers: usize,
        /// In the config.
        diff_ids: usize,
    },
    /// The image exists, but not for this host.
    #[error("the image is not for {wanted}; it is for: {}", available.join(", "))]
    WrongPlatform {
        /// This host.
        wanted: Box<Platform>,
        available: Vec<String>,
    },
    /// Indexes within indexes.
    #[error("indexes are nested more than {max} deep")]
    Nested {
        /// The limit.
        max: usize,
    },
}

impl ManifestError {
    pub(crate) fn kind(&self) -> ImageErrorKind {
        match self {
            ManifestError::WrongPlatform { .. } => ImageErrorKind::WrongPlatform,
            ManifestError::Schema1
            | ManifestError::NotAnImage { .. }
            | ManifestError::LayerType { .. } => ImageErrorKind::Unsupported,
            ManifestError::TooLarge { .. }
            | ManifestError::Parse { .. }
            | ManifestError::Unclear { .. }
            | ManifestError::TooManyLayers { .. }
            | ManifestError::TooManyEntries { .. }
            | ManifestError::LayerCount { .. }
            | ManifestError::Nested { .. } => ImageErrorKind::Refused,
        }
    }
}
