//! A tar with an image in it: where each of its files lies, and what `docker save` means by them.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;

use super::super::digest::{Digest, Hasher};
use super::super::layer::{Decoder, decompress};
use super::super::limits::ImageLimits;
use super::super::manifest::{
    DOCKER_CONFIG, DOCKER_LAYER, DOCKER_MANIFEST, Descriptor, Manifest, ManifestError,
};
use super::super::tar_stream::{EntryKind, TarStream};
use super::{LocalError, Section, open_regular};

/// Files in an archive of an image: a few per layer; far more is not one.
const FILES_MAX: usize = 100_000;
/// Links followed to find a file; `docker save` makes chains of one.
const LINKS_MAX: usize = 8;

/// How to read an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ArchiveKind {
    Oci,
    Docker,
    /// As its content tells.
    Unknown,
}

/// An archive whose files have been found.
pub(super) struct Archive {
    path: PathBuf,
    whole: Section,
    files: BTreeMap<String, Place>,
    /// Where a blob lies, by digest.
    blobs: BTreeMap<Digest, Section>,
}

/// What lies under a name.
enum Place {
    Data(u64, u64),
    Link(String),
}

/// One image in the `manifest.json` of `docker save`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl Archive {
    pub(super) fn open(
        path: &Path,
        spool_dir: &Path,
        limits: &ImageLimits,
    ) -> Result<Archive, LocalError> {
        let packed = open_regular(path)?;
        let decoder = decompress(packed.reader()).map_err(|source| LocalError::Read {
            path: path.into(),
            source,
        })?;
        let whole = if decoder.is_plain() {
            packed
        } else {
            spool(decoder, spool_dir, limits)?
        };
        let files = list(&whole, limits).map_err(|source| LocalError::Tar {
            path: path.into(),
            source,
        })?;
        let mut archive = Archive {
            path: path.into(),
            whole,
            files,
            blobs: BTreeMap::new(),
        };
        archive.blobs = archive
            .files
            .keys()
            .filter_map(|name| Some((Digest::from_hex(name.strip_prefix("blobs/sha256/")?)?, name)))
            .filter_map(|(digest, name)| Some((digest, archive.find(name)?)))
            .collect();
        Ok(archive)
    }

    /// Decides how to read the archive; it must have what that needs.
    pub(super) fn is_oci(&self, kind: ArchiveKind) -> Result<bool, LocalError> {
        let oci = self.files.contains_key("index.json");
        let docker = self.files.contains_key("manifest.json");
        match kind {
            ArchiveKind::Oci | ArchiveKind::Unknown if oci => Ok(true),
            ArchiveKind::Docker | ArchiveKind::Unknown if docker => Ok(false),
            ArchiveKind::Oci => Err(self.lacks("index.json")),
            ArchiveKind::Docker => Err(self.lacks("manifest.json")),
            ArchiveKind::Unknown => Err(self.lacks("index.json or manifest.json")),
        }
    }

    /// Reads a file of the archive, at most one byte more than `bytes_max`.
    pub(super) fn read(&self, name: &str, bytes_max: u64) -> Result<Vec<u8>, LocalError> {
        let section = self.find(name).ok_or_else(|| self.lacks(name))?;
        section
            .read_whole(bytes_max)
            .map_err(|source| LocalError::Read {
                path: self.path.clone(),
                source,
            })
    }

    pub(super) fn blob(&self, digest: Digest) -> Option<Section> {
        self.blobs.get(&digest).cloned()
    }

    /// Makes a manifest for an image of `docker save`, which has none: the same archive always
    /// gives the same digest.
    pub(super) fn into_docker(
        mut self,
        tag: Option<&str>,
        limits: &ImageLimits,
    ) -> Result<(Archive, Vec<u8>), LocalError> {
        let saved = self.select(tag, limits)?;
        if saved.layers.len() > limits.layers_max {
            let (layers, max) = (saved.layers.len(), limits.layers_max);
            let source = ManifestError::TooManyLayers { layers, max };
            return Err(LocalError::Contents {
                path: self.path,
                source,
            });
        }
        let config = self.adopt(&saved.config, DOCKER_CONFIG)?;
        let mut layers = Vec::with_capacity(saved.layers.len());
        for name in &saved.layers {
            layers.push(self.adopt(name, DOCKER_LAYER)?);
        }
        let manifest = Manifest {
            schema_version: 2,
            media_type: DOCKER_MANIFEST.into(),
            config,
            layers,
        };
        let bytes = serde_json::to_vec(&manifest).expect("plain data serialises");
        Ok((self, bytes))
    }

    fn select(&self, tag: Option<&str>, limits: &ImageLimits) -> Result<Saved, LocalError> {
        let bytes = self.read("manifest.json", limits.document_bytes_max)?;
        let mut saved: Vec<Saved> = serde_json::from_slice(&bytes).map_err(|source| {
            let source = ManifestError::Parse {
                what: "manifest.json",
                source,
            };
            LocalError::Contents {
                path: self.path.clone(),
                source,
            }
        })?;
        let tags_of = |image: &Saved| image.repo_tags.clone().unwrap_or_default();
        let tags: Vec<String> = saved.iter().flat_map(tags_of).collect();
        let wanted = |image: &Saved| match tag {
            None => true,
            Some(tag) => tags_of(image).iter().any(|name| {
                name == tag || name.rsplit_once(':').is_some_and(|(_, short)| short == tag)
            }),
        };
        saved.retain(wanted);
        match (saved.len(), saved.pop(), tag) {
            (1, Some(only), _) => Ok(only),
            (0, _, Some(tag)) => Err(LocalError::TagAbsent {
                path: self.path.clone(),
                tag: tag.into(),
                tags,
            }),
            (0, _, None) => Err(self.lacks("any image")),
            _several => Err(LocalError::NeedsTag {
                path: self.path.clone(),
                tags,
            }),
        }
    }

    /// Gives a file of the archive its digest, so that it can be asked for as a blob.
    fn adopt(&mut self, name: &str, media_type: &str) -> Result<Descriptor, LocalError> {
        let section = self.find(name).ok_or_else(|| self.lacks(name))?;
        let mut hasher = Hasher::default();
        io::copy(&mut section.reader(), &mut hasher).map_err(|source| LocalError::Read {
            path: self.path.clone(),
            source,
        })?;
        let (digest, size) = (hasher.finish(), section.bytes);
        self.blobs.insert(digest, section);
        let media_type = media_type.to_owned();
        Ok(Descriptor {
            media_type,
            digest,
            size,
            platform: None,
            annotations: BTreeMap::new(),
        })
    }

    fn find(&self, name: &str) -> Option<Section> {
        let mut name = name.to_owned();
        for _link in 0..LINKS_MAX {
            match self.files.get(&name)? {
                Place::Data(offset, bytes) => {
                    let offset = self.whole.offset + offset;
                    return Some(Section {
                        offset,
                        bytes: *bytes,
                        ..self.whole.clone()
                    });
                }
                Place::Link(target) => name.clone_from(target),
            }
        }
        None
    }

    fn lacks(&self, missing: &str) -> LocalError {
        LocalError::NotAnImage {
            path: self.path.clone(),
            missing: missing.to_owned(),
        }
    }
}

/// Finds all files of a tar. Of equal names the last counts, as when unpacking.
fn list(whole: &Section, limits: &ImageLimits) -> Result<BTreeMap<String, Place>, super::TarError> {
    let reader = io::BufReader::with_capacity(128 << 10, whole.reader());
    let mut stream = TarStream::new(reader, limits);
    let mut files = BTreeMap::new();
    while let Some(entry) = stream.next_entry()? {
        let name = normalise("", &entry.path);
        match entry.kind {
            EntryKind::File if entry.sparse.is_none() => {
                files.insert(name, Place::Data(entry.data.0, entry.data.1));
            }
            EntryKind::Symlink => {
                let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
                let target = normalise(folder, &entry.link);
                files.insert(name, Place::Link(target));
            }
            EntryKind::HardLink => {
                files.insert(name, Place::Link(normalise("", &entry.link)));
            }
            EntryKind::File
            | EntryKind::Directory
            | EntryKind::CharDevice { .. }
            | EntryKind::BlockDevice { .. }
            | EntryKind::Fifo => {}
        }
        if files.len() > FILES_MAX {
            return Err(super::TarError::TooManyEntries { max: FILES_MAX });
        }
    }
    Ok(files)
}

/// Joins and cleans a path inside the archive. The result is only ever looked up in the archive.
fn normalise(folder: &str, path: &[u8]) -> String {
    let path = String::from_utf8_lossy(path);
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Writes the plain form of a compressed archive into a file without a name: it goes with us.
fn spool(
    decoder: Decoder<impl Read>,
    dir: &Path,
    limits: &ImageLimits,
) -> Result<Section, LocalError> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // Relaxed: each number is given once, and its order means nothing.
    let path = dir.join(format!("spool-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
    let failed = |source| LocalError::Spool {
        path: path.clone(),
        source,
    };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .map_err(failed)?;
    fs::remove_file(&path).map_err(failed)?;
    let max = limits.unpacked_bytes_max;
    let bytes = io::copy(&mut decoder.take(max.saturating_add(1)), &mut file).map_err(failed)?;
    if bytes > max {
        return Err(failed(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it unpacks to more than the limit of {max} bytes"),
        )));
    }
    Ok(Section {
        file: Arc::new(file),
        offset: 0,
        bytes,
    })
}
