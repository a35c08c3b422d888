//! What a user calls an image: parsing, defaults and the one canonical spelling.
//! It looks at the disk only to tell a path from a registry name; it opens nothing.
//!
//! Source: the reference grammar of the OCI distribution specification, and Docker's defaults.

mod grammar;

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use self::grammar::{
    REPOSITORY_BYTES_MAX, TAG_BYTES_MAX, host_of, is_registry, is_repository, is_tag,
};
use super::digest::{Digest, DigestError};

/// Longest reference looked at; a path is at most 4096 bytes, a registry name 255.
const REFERENCE_BYTES_MAX: usize = 4096 + 256;
const DEFAULT_REGISTRY: &str = "docker.io";
const DEFAULT_NAMESPACE: &str = "library";
const DEFAULT_TAG: &str = "latest";

/// Where an image comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ImageReference {
    /// A repository of a registry: `busybox`, `ghcr.io/a/b:1`, `host:5000/c@sha256:…`.
    Registry(RegistryReference),
    /// An OCI layout folder: `oci:PATH[:TAG]`, or the path of a folder.
    OciLayout {
        /// The folder that holds `oci-layout` and `index.json`.
        path: PathBuf,
        /// Which of its images; may be left out if there is one.
        tag: Option<String>,
    },
    /// A tar of an OCI layout: `oci-archive:PATH[:TAG]`.
    OciArchive {
        /// The archive.
        path: PathBuf,
        /// Which of its images; may be left out if there is one.
        tag: Option<String>,
    },
    /// What `docker save` writes: `docker-archive:PATH[:TAG]`.
    DockerArchive {
        /// The archive.
        path: PathBuf,
        /// Which of its images; may be left out if there is one.
        tag: Option<String>,
    },
    /// The path of an archive whose kind its content tells.
    Archive {
        /// The archive.
        path: PathBuf,
    },
}

/// A repository of a registry and which of its images.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegistryReference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is not an image reference.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReferenceError {
    /// Nothing was given.
    #[error("the image reference is empty")]
    Empty,
    /// Longer than any valid reference.
    #[error("the image reference has {bytes} bytes, more than {REFERENCE_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// A form with a path, without the path.
    #[error("the image reference {text:?} names no path")]
    NoPath {
        /// The text as given.
        text: String,
    },
    /// A path was given and nothing is there.
    #[error("there is no file or folder {}", path.display())]
    PathAbsent {
        /// The path as given.
        path: PathBuf,
    },
    /// The registry part is not a host with an optional port.
    #[error("the registry {registry:?} in {text:?} is not a host name with an optional port")]
    Registry {
        /// The part.
        registry: String,
        /// The text as given.
        text: String,
    },
    /// The repository part breaks the grammar.
    #[error(
        "the repository {repository:?} in {text:?} is not lower-case letters, digits and single \
         separators (. _ - /), at most {REPOSITORY_BYTES_MAX} bytes"
    )]
    Repository {
        /// The part.
        repository: String,
        /// The text as given.
        text: String,
    },
    /// The tag breaks the grammar.
    #[error(
        "the tag {tag:?} in {text:?} is not 1 to {TAG_BYTES_MAX} letters, digits, dots, dashes \
         and underscores"
    )]
    Tag {
        /// The part.
        tag: String,
        /// The text as given.
        text: String,
    },
    /// The digest is not one.
    #[error("the digest in {text:?} cannot be used")]
    Digest {
        /// The text as given.
        text: String,
        /// What is wrong with it.
        source: DigestError,
    },
}

impl RegistryReference {
    /// The registry's host and port as users write it, `docker.io` for Docker Hub.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository inside the registry, for example `library/busybox`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if one was given or defaulted.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if the reference is pinned.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same repository, pinned to a digest, without the tag.
    #[must_use]
    pub fn pinned(&self, digest: Digest) -> RegistryReference {
        RegistryReference {
            tag: None,
            digest: Some(digest),
            ..self.clone()
        }
    }

    /// The host and port to talk to; Docker Hub answers under another name than it is called.
    pub(crate) fn endpoint(&self) -> &str {
        if self.registry == DEFAULT_REGISTRY {
            "registry-1.docker.io"
        } else {
            &self.registry
        }
    }

    /// Tells whether the registry is on this host, where plain HTTP is accepted.
    pub(crate) fn is_loopback(&self) -> bool {
        is_loopback_host(host_of(&self.registry))
    }

    /// What a manifest is asked for by: the digest if there is one.
    pub(crate) fn selector(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => DEFAULT_TAG.to_owned(),
        }
    }

    fn parse(text: &str) -> Result<RegistryReference, ReferenceError> {
        let (named, digest) = match text.split_once('@') {
            Some((named, digest)) => {
                let digest = digest.parse().map_err(|source| ReferenceError::Digest {
                    text: text.into(),
                    source,
                })?;
                (named, Some(digest))
            }
            None => (text, None),
        };
        let (registry, rest) = split_registry(named);
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag.to_owned())),
            None => (rest, None),
        };
        let repository = if registry.is_none() && !path.contains('/') && !path.is_empty() {
            format!("{DEFAULT_NAMESPACE}/{path}")
        } else {
            path.to_owned()
        };
        let registry = match registry {
            None | Some("index.docker.io" | "registry-1.docker.io") => DEFAULT_REGISTRY,
            Some(registry) => registry,
        };
        let tag = tag.or_else(|| digest.is_none().then(|| DEFAULT_TAG.to_owned()));
        let reference = RegistryReference {
            registry: registry.to_owned(),
            repository,
            tag,
            digest,
        };
        reference.check(text)?;
        Ok(reference)
    }

    fn check(&self, text: &str) -> Result<(), ReferenceError> {
        if !is_registry(&self.registry) {
            let registry = self.registry.clone();
            return Err(ReferenceError::Registry {
                registry,
                text: text.into(),
            });
        }
        if !is_repository(&self.repository) {
            let repository = self.repository.clone();
            return Err(ReferenceError::Repository {
                repository,
                text: text.into(),
            });
        }
        match &self.tag {
            Some(tag) if !is_tag(tag) => Err(ReferenceError::Tag {
                tag: tag.clone(),
                text: text.into(),
            }),
            Some(_) | None => Ok(()),
        }
    }
}

impl FromStr for RegistryReference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<RegistryReference, ReferenceError> {
        check_size(text)?;
        RegistryReference::parse(text)
    }
}

impl fmt::Display for RegistryReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl ImageReference {
    /// The path, for the forms that have one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            ImageReference::Registry(_) => None,
            ImageReference::OciLayout { path, .. }
            | ImageReference::OciArchive { path, .. }
            | ImageReference::DockerArchive { path, .. }
            | ImageReference::Archive { path } => Some(path),
        }
    }

    /// The same reference with a relative path made absolute against `base`, for handing it to a
    /// process with another working directory.
    #[must_use]
    pub fn absolute(mut self, base: &Path) -> ImageReference {
        match &mut self {
            ImageReference::Registry(_) => {}
            ImageReference::OciLayout { path, .. }
            | ImageReference::OciArchive { path, .. }
            | ImageReference::DockerArchive { path, .. }
            | ImageReference::Archive { path } => *path = base.join(&*path),
        }
        self
    }
}

impl FromStr for ImageReference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<ImageReference, ReferenceError> {
        check_size(text)?;
        if let Some(rest) = text.strip_prefix("oci:") {
            let (path, tag) = split_tag(rest, text)?;
            return Ok(ImageReference::OciLayout { path, tag });
        }
        if let Some(rest) = text.strip_prefix("oci-archive:") {
            let (path, tag) = split_tag(rest, text)?;
            return Ok(ImageReference::OciArchive { path, tag });
        }
        if let Some(rest) = text.strip_prefix("docker-archive:") {
            let (path, tag) = split_tag(rest, text)?;
            return Ok(ImageReference::DockerArchive { path, tag });
        }
        if text.starts_with('/') || text.starts_with("./") || text.starts_with("../") {
            return from_path(Path::new(text));
        }
        // `busybox` is an image even where a file of that name lies; a name that no registry
        // could have may still be a file.
        match RegistryReference::parse(text) {
            Ok(reference) => Ok(ImageReference::Registry(reference)),
            Err(error) => from_path(Path::new(text)).map_err(|_absent| error),
        }
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, path, tag) = match self {
            ImageReference::Registry(reference) => return reference.fmt(f),
            ImageReference::OciLayout { path, tag } => ("oci:", path, tag),
            ImageReference::OciArchive { path, tag } => ("oci-archive:", path, tag),
            ImageReference::DockerArchive { path, tag } => ("docker-archive:", path, tag),
            ImageReference::Archive { path } => return write!(f, "{}", path.display()),
        };
        write!(f, "{scheme}{}", path.display())?;
        match tag {
            Some(tag) => write!(f, ":{tag}"),
            None => Ok(()),
        }
    }
}

impl TryFrom<String> for ImageReference {
    type Error = ReferenceError;

    fn try_from(text: String) -> Result<ImageReference, ReferenceError> {
        text.parse()
    }
}

impl From<ImageReference> for String {
    fn from(reference: ImageReference) -> String {
        reference.to_string()
    }
}

/// Tells whether a name or address alone says that it is this host's own.
pub(crate) fn is_loopback_host(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_name) => bare == "localhost",
    }
}

fn check_size(text: &str) -> Result<(), ReferenceError> {
    if text.is_empty() {
        return Err(ReferenceError::Empty);
    }
    if text.len() > REFERENCE_BYTES_MAX {
        return Err(ReferenceError::TooLong { bytes: text.len() });
    }
    Ok(())
}

/// The first component is a registry if it could not be a plain repository name.
fn split_registry(named: &str) -> (Option<&str>, &str) {
    match named.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.chars().any(|letter| letter.is_ascii_uppercase()) =>
        {
            (Some(first), rest)
        }
        Some(_) | None => (None, named),
    }
}

/// Splits `PATH[:TAG]` at the last colon before which the path exists, so that both may hold
/// colons; where nothing exists, at the last colon after the last slash.
fn split_tag(rest: &str, text: &str) -> Result<(PathBuf, Option<String>), ReferenceError> {
    let existing = || {
        let colons = rest
            .match_indices(':')
            .rev()
            .map(|(at, _)| (&rest[..at], &rest[at + 1..]));
        colons
            .into_iter()
            .find(|(path, _)| Path::new(path).exists())
    };
    let (path, tag) = if Path::new(rest).exists() {
        (rest, None)
    } else if let Some((path, tag)) = existing() {
        (path, Some(tag))
    } else {
        match rest.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
            Some(_) | None => (rest, None),
        }
    };
    if path.is_empty() {
        return Err(ReferenceError::NoPath { text: text.into() });
    }
    if let Some(tag) = tag.filter(|tag| tag.is_empty() || tag.chars().any(char::is_control)) {
        return Err(ReferenceError::Tag {
            tag: tag.into(),
            text: text.into(),
        });
    }
    Ok((path.into(), tag.map(str::to_owned)))
}

fn from_path(path: &Path) -> Result<ImageReference, ReferenceError> {
    if path.is_dir() {
        Ok(ImageReference::OciLayout {
            path: path.into(),
            tag: None,
        })
    } else if path.is_file() {
        Ok(ImageReference::Archive { path: path.into() })
    } else {
        Err(ReferenceError::PathAbsent { path: path.into() })
    }
}

#[cfg(test)]
mod tests;
