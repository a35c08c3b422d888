//! Manifests, indexes and configs: parsing with limits, and the choice of a platform.
//! Pure: bytes in, values out. Unknown fields are ignored, unknown kinds are refused.
//!
//! Source: OCI image specification 1.1 (`manifest.md`, `image-index.md`, `config.md`) and
//! Docker's image manifest version 2, schema 2.

mod error;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use super::digest::Digest;
use super::json::null_as_default;
use super::limits::ImageLimits;
use super::model::ImageConfig;

pub use error::ManifestError;

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
pub(crate) const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
/// Says in an index which tag a manifest has.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The same as containerd and Docker write it, with the repository.
pub(crate) const IMAGE_NAME: &str = "io.containerd.image.name";

/// What registries of 2016 wrote as the type of an image's config; those manifests are still
/// pulled and cannot change. Believed in Docker's schema 2 only.
const OLD_CONFIG_TYPES: [&str; 4] = [
    "",
    "application/octet-stream",
    "application/json",
    "text/html",
];

/// Layer kinds that unpack as a tar, plain or compressed with gzip or zstd. Which of them it is
/// the first bytes tell; the types that no document defines are what BuildKit writes.
const LAYER_TYPES: [&str; 12] = [
    "application/vnd.oci.image.layer.v1.tar",
    OCI_LAYER_GZIP,
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    DOCKER_LAYER,
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.zstd",
];

/// An operating system and processor architecture, written `os/architecture[/variant]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// For example `linux`; empty means that too.
    #[serde(default, deserialize_with = "null_as_default")]
    pub os: String,
    /// For example `amd64`, in the spelling of the Go tools.
    #[serde(default, deserialize_with = "null_as_default")]
    pub architecture: String,
    /// For example `v8`; mostly absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// The platform of this host.
    #[must_use]
    pub fn host() -> Platform {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "x86" => "386",
            "aarch64" => "arm64",
            "powerpc64" => "ppc64le",
            "loongarch64" => "loong64",
            other => other,
        };
        Platform {
            os: "linux".into(),
            architecture: architecture.into(),
            variant: None,
        }
    }

    fn runs(&self, image: &Platform) -> bool {
        self.os == image.os_name() && self.architecture == image.architecture
    }

    /// Images without an operating system are made by tools that know no other than Linux.
    fn os_name(&self) -> &str {
        if self.os.is_empty() {
            "linux"
        } else {
            &self.os
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os_name(), self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// A reference from one blob to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default, deserialize_with = "null_as_default")]
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<Platform>,
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub(crate) annotations: BTreeMap<String, String>,
}

/// An image manifest: one config and its layers, lowest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub(crate) schema_version: u32,
    pub(crate) media_type: String,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

/// An image index: one entry per platform, or per image in a layout folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    pub(crate) schema_version: u32,
    #[serde(default, deserialize_with = "null_as_default")]
    pub(crate) media_type: String,
    pub(crate) manifests: Vec<Descriptor>,
}

/// What a manifest digest can lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Document {
    Manifest(Manifest),
    Index(Index),
}

/// The shape of either document, to tell them apart before anything is believed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Loose {
    #[serde(default)]
    schema_version: u32,
    #[serde(default, deserialize_with = "null_as_default")]
    media_type: String,
    config: Option<Descriptor>,
    #[serde(default, deserialize_with = "null_as_present")]
    layers: Option<Option<Vec<Descriptor>>>,
    #[serde(default, deserialize_with = "null_as_present")]
    manifests: Option<Option<Vec<Descriptor>>>,
}

impl Document {
    /// Parses and checks a manifest or an index.
    pub(crate) fn parse(bytes: &[u8], limits: &ImageLimits) -> Result<Document, ManifestError> {
        check_size("manifest", bytes, limits)?;
        let version: Version = parse("manifest", bytes)?;
        if version.schema_version == 1 {
            return Err(ManifestError::Schema1);
        }
        let loose: Loose = parse("manifest", bytes)?;
        let Loose {
            schema_version,
            media_type,
            ..
        } = loose;
        // A document that could be read both ways could mean two images to two readers.
        match (loose.config, loose.layers, loose.manifests) {
            (None, None | Some(None), Some(manifests))
                if matches!(media_type.as_str(), "" | OCI_INDEX | DOCKER_INDEX) =>
            {
                let index = Index {
                    schema_version,
                    media_type,
                    manifests: manifests.unwrap_or_default(),
                };
                index.check(limits).map(Document::Index)
            }
            (Some(config), Some(layers), None | Some(None))
                if matches!(media_type.as_str(), "" | OCI_MANIFEST | DOCKER_MANIFEST) =>
            {
                let manifest = Manifest {
                    schema_version,
                    media_type,
                    config,
                    layers: layers.unwrap_or_default(),
                };
                manifest.check(limits).map(Document::Manifest)
            }
            _unclear => Err(ManifestError::Unclear { media_type }),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    #[serde(default)]
    schema_version: u32,
}

impl Manifest {
    fn check(self, limits: &ImageLimits) -> Result<Manifest, ManifestError> {
        if self.layers.len() > limits.layers_max {
            let (layers, max) = (self.layers.len(), limits.layers_max);
            return Err(ManifestError::TooManyLayers { layers, max });
        }
        let config_type = self.config.media_type.as_str();
        // With the check of the layers below, a chart or a signature is not let through by this.
        let old = self.media_type == DOCKER_MANIFEST && OLD_CONFIG_TYPES.contains(&config_type);
        if !old && !matches!(config_type, OCI_CONFIG | DOCKER_CONFIG) {
            return Err(ManifestError::NotAnImage {
                media_type: self.config.media_type,
            });
        }
        let unknown = |layer: &&Descriptor| !LAYER_TYPES.contains(&layer.media_type.as_str());
        if let Some(layer) = self.layers.iter().find(unknown) {
            let (layer, media_type) = (layer.digest, layer.media_type.clone());
            return Err(ManifestError::LayerType { layer, media_type });
        }
        Ok(self)
    }

    /// Packed bytes of all layers; saturating, as the sizes are the image's own claim.
    pub(crate) fn layer_bytes(&self) -> u64 {
        self.layers
            .iter()
            .fold(0, |sum, layer| sum.saturating_add(layer.size))
    }
}

impl Index {
    fn check(self, limits: &ImageLimits) -> Result<Index, ManifestError> {
        if self.manifests.len() > limits.index_entries_max {
            let (entries, max) = (self.manifests.len(), limits.index_entries_max);
            return Err(ManifestError::TooManyEntries { entries, max });
        }
        Ok(self)
    }

    /// Chooses the entry for a platform: without variant first, as it runs everywhere.
    pub(crate) fn pick(&self, wanted: &Platform) -> Result<&Descriptor, ManifestError> {
        let variant = |entry: &&Descriptor| {
            entry
                .platform
                .as_ref()
                .and_then(|platform| platform.variant.clone())
        };
        let runs = |entry: &&Descriptor| {
            entry
                .platform
                .as_ref()
                .is_some_and(|platform| wanted.runs(platform))
        };
        if let Some(entry) = self.manifests.iter().filter(runs).min_by_key(variant) {
            return Ok(entry);
        }
        match self.manifests.as_slice() {
            // An index of one image without a platform: its config will tell.
            [only] if only.platform.is_none() => Ok(only),
            entries => {
                let available = entries.iter().filter_map(|entry| entry.platform.as_ref());
                Err(ManifestError::WrongPlatform {
                    wanted: Box::new(wanted.clone()),
                    available: available.map(Platform::to_string).collect(),
                })
            }
        }
    }
}

/// An image's config: how to run it, and what its layers unpack to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConfigFile {
    #[serde(flatten)]
    pub(crate) platform: Platform,
    #[serde(default, deserialize_with = "null_as_default")]
    pub(crate) config: RunConfig,
    pub(crate) rootfs: RootFs,
}

/// The config's own spelling of [`ImageConfig`]; any field may be null.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct RunConfig {
    #[serde(deserialize_with = "null_as_default")]
    pub(crate) entrypoint: Vec<String>,
    #[serde(deserialize_with = "null_as_default")]
    pub(crate) cmd: Vec<String>,
    #[serde(deserialize_with = "null_as_default")]
    pub(crate) env: Vec<String>,
    #[serde(deserialize_with = "null_as_default")]
    pub(crate) working_dir: String,
    #[serde(deserialize_with = "null_as_default")]
    pub(crate) user: String,
    #[serde(deserialize_with = "null_as_default")]
    pub(crate) stop_signal: String,
    #[serde(deserialize_with = "null_as_default")]
    pub(crate) labels: BTreeMap<String, String>,
}

/// Digests of the unpacked layers, lowest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RootFs {
    #[serde(rename = "type", default, deserialize_with = "null_as_default")]
    pub(crate) kind: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub(crate) diff_ids: Vec<Digest>,
}

impl ConfigFile {
    /// Parses a config and checks it against its manifest and this host.
    pub(crate) fn parse(
        bytes: &[u8],
        manifest: &Manifest,
        wanted: &Platform,
        limits: &ImageLimits,
    ) -> Result<ConfigFile, ManifestError> {
        check_size("config", bytes, limits)?;
        let config: ConfigFile = parse("config", bytes)?;
        if config.rootfs.diff_ids.len() != manifest.layers.len() {
            return Err(ManifestError::LayerCount {
                layers: manifest.layers.len(),
                diff_ids: config.rootfs.diff_ids.len(),
            });
        }
        let mut platform = config.platform.clone();
        if platform.architecture.is_empty() {
            // Nothing is claimed, so nothing is contradicted.
            platform.architecture.clone_from(&wanted.architecture);
        }
        if !wanted.runs(&platform) {
            return Err(ManifestError::WrongPlatform {
                wanted: Box::new(wanted.clone()),
                available: vec![config.platform.to_string()],
            });
        }
        Ok(config)
    }
}

impl From<RunConfig> for ImageConfig {
    fn from(config: RunConfig) -> ImageConfig {
        ImageConfig {
            entrypoint: config.entrypoint,
            cmd: config.cmd,
            env: config.env,
            working_dir: config.working_dir,
            user: config.user,
            stop_signal: config.stop_signal,
            labels: config.labels,
        }
    }
}

fn check_size(what: &'static str, bytes: &[u8], limits: &ImageLimits) -> Result<(), ManifestError> {
    let (size, max) = (bytes.len() as u64, limits.document_bytes_max);
    if size > max {
        Err(ManifestError::TooLarge {
            what,
            bytes: size,
            max,
        })
    } else {
        Ok(())
    }
}

fn parse<'a, T: Deserialize<'a>>(what: &'static str, bytes: &'a [u8]) -> Result<T, ManifestError> {
    serde_json::from_slice(bytes).map_err(|source| ManifestError::Parse { what, source })
}

/// Tells a list that is null from one that is absent.
fn null_as_present<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests;
