//! Images that lie on this host: OCI layout folders, and archives of OCI and Docker.
//! Reads only. Archives are not unpacked: their blobs are found once and read in place.
//!
//! Source: OCI image specification, `image-layout.md`; the `docker save` format.

mod archive;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::archive::Archive;
pub(crate) use self::archive::ArchiveKind;
use super::digest::Digest;
use super::kind::ImageErrorKind;
use super::limits::ImageLimits;
use super::manifest::{
    Descriptor, Document, IMAGE_NAME, Index, ManifestError, OCI_INDEX, REF_NAME,
};
use super::tar_stream::TarError;

/// Why a folder or archive did not give an image.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// It is not there or cannot be opened.
    #[error("open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A pipe, device or folder where a file is expected.
    #[error("{} is not a regular file", path.display())]
    NotAFile { path: PathBuf },
    /// It cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The archive is not a readable tar.
    #[error("read the archive {}", path.display())]
    Tar {
        /// The archive.
        path: PathBuf,
        /// Why.
        source: TarError,
    },
    /// It is an archive or folder, but not of an image.
    #[error("{} holds no image: {missing} is missing", path.display())]
    NotAnImage {
        /// The archive or folder.
        path: PathBuf,
        /// What an image would have.
        missing: String,
    },
    /// Its table of contents cannot be used.
    #[error("use the table of contents of {}", path.display())]
    Contents {
        /// The archive or folder.
        path: PathBuf,
        /// Why.
        source: ManifestError,
    },
    /// It holds several images.
    #[error("{} holds several images, name one of: {}", path.display(), tags.join(", "))]
    NeedsTag {
        /// The archive or folder.
        path: PathBuf,
        tags: Vec<String>,
    },
    /// It does not hold the image that was named.
    #[error("{} has no image {tag:?}; it has: {}", path.display(), tags.join(", "))]
    TagAbsent {
        /// The archive or folder.
        path: PathBuf,
        /// What was asked for.
        tag: String,
        tags: Vec<String>,
    },
    /// A blob that its manifest names is missing.
    #[error("{} lacks {digest}, which its manifest names", path.display())]
    BlobAbsent {
        /// The archive or folder.
        path: PathBuf,
        /// The blob.
        digest: Digest,
    },
    /// A compressed archive could not be put beside the store for reading.
    #[error("write the decompressed archive {}", path.display())]
    Spool {
        /// Where it was to be written.
        path: PathBuf,
        /// The kernel's or the decoder's answer.
        source: io::Error,
    },
}

impl LocalError {
    pub(crate) fn kind(&self) -> ImageErrorKind {
        match self {
            LocalError::Open { .. }
            | LocalError::NotAFile { .. }
            | LocalError::TagAbsent { .. }
            | LocalError::NeedsTag { .. } => ImageErrorKind::Absent,
            LocalError::Read { .. } | LocalError::Spool { .. } => ImageErrorKind::Local,
            LocalError::NotAnImage { .. } => ImageErrorKind::Unsupported,
            LocalError::Contents { source, .. } => source.kind(),
            LocalError::Tar { .. } | LocalError::BlobAbsent { .. } => ImageErrorKind::Refused,
        }
    }
}

/// An image found on this host.
pub(crate) struct LocalImage {
    path: PathBuf,
    blobs: Blobs,
    /// Documents that lie nowhere as blobs: made from a table of contents.
    made: BTreeMap<Digest, Vec<u8>>,
    /// What the reference means.
    root: Digest,
}

enum Blobs {
    Folder,
    Archive(Archive),
}

/// Where and how an archive is opened.
pub(crate) struct ArchiveSource<'a> {
    pub(crate) path: &'a Path,
    pub(crate) tag: Option<&'a str>,
    pub(crate) kind: ArchiveKind,
    /// Folder for the plain form of a compressed archive.
    pub(crate) spool_dir: &'a Path,
}

/// A piece of a file: a packed layer where it lies.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) file: Arc<File>,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

impl Section {
    /// Reads the piece from its start, independently of other readers.
    pub(crate) fn reader(&self) -> SectionReader {
        SectionReader {
            section: self.clone(),
            position: 0,
        }
    }

    fn read_whole(&self, bytes_max: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.reader()
            .take(bytes_max.saturating_add(1))
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Reads a [`Section`].
pub(crate) struct SectionReader {
    section: Section,
    position: u64,
}

impl Read for SectionReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.section.bytes - self.position;
        let room = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let at = self.section.offset + self.position;
        let length = self.section.file.read_at(&mut buffer[..room], at)?;
        self.position += length as u64;
        Ok(length)
    }
}

impl LocalImage {
    /// Opens an OCI layout folder.
    pub(crate) fn open_layout(
        path: &Path,
        tag: Option<&str>,
        limits: &ImageLimits,
    ) -> Result<LocalImage, LocalError> {
        let index_path = path.join("index.json");
        let index = match open_regular(&index_path) {
            Ok(section) => section,
            Err(LocalError::Open { source, .. })
                if source.kind() == io::ErrorKind::NotFound && path.is_dir() =>
            {
                let missing = "index.json".into();
                return Err(LocalError::NotAnImage {
                    path: path.into(),
                    missing,
                });
            }
            Err(error) => return Err(error),
        };
        let index = index
            .read_whole(limits.document_bytes_max)
            .map_err(|source| LocalError::Read {
                path: index_path,
                source,
            })?;
        let mut image = LocalImage {
            path: path.into(),
            blobs: Blobs::Folder,
            made: BTreeMap::new(),
            root: Digest::of(&index),
        };
        image.select(index, tag, limits)?;
        Ok(image)
    }

    /// Opens an archive of either kind; a compressed one is decompressed to disk first.
    pub(crate) fn open_archive(
        source: &ArchiveSource<'_>,
        limits: &ImageLimits,
    ) -> Result<LocalImage, LocalError> {
        let archive = Archive::open(source.path, source.spool_dir, limits)?;
        let path = source.path.to_owned();
        if archive.is_oci(source.kind)? {
            let index = archive.read("index.json", limits.document_bytes_max)?;
            let root = Digest::of(&index);
            let blobs = Blobs::Archive(archive);
            let mut image = LocalImage {
                path,
                blobs,
                made: BTreeMap::new(),
                root,
            };
            image.select(index, source.tag, limits)?;
            Ok(image)
        } else {
            let (archive, manifest) = archive.into_docker(source.tag, limits)?;
            let root = Digest::of(&manifest);
            let made = BTreeMap::from([(root, manifest)]);
            Ok(LocalImage {
                path,
                blobs: Blobs::Archive(archive),
                made,
                root,
            })
        }
    }

    /// Digest of the manifest or index that the reference means.
    pub(crate) fn root(&self) -> Digest {
        self.root
    }

    /// Reads a small blob; at most one byte more than `bytes_max`, for the caller to notice.
    pub(crate) fn read(&self, digest: Digest, bytes_max: u64) -> Result<Vec<u8>, LocalError> {
        if let Some(bytes) = self.made.get(&digest) {
            return Ok(bytes.clone());
        }
        self.section(digest)?
            .read_whole(bytes_max)
            .map_err(|source| LocalError::Read {
                path: self.path.clone(),
                source,
            })
    }

    /// Finds a blob where it lies.
    pub(crate) fn section(&self, digest: Digest) -> Result<Section, LocalError> {
        let absent = || LocalError::BlobAbsent {
            path: self.path.clone(),
            digest,
        };
        match &self.blobs {
            Blobs::Folder => {
                let blob = self.path.join("blobs/sha256").join(digest.hex());
                open_regular(&blob).map_err(|error| match error {
                    LocalError::Open { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                        absent()
                    }
                    other => other,
                })
            }
            Blobs::Archive(archive) => archive.blob(digest).ok_or_else(absent),
        }
    }

    /// Chooses one of the images that `index.json` lists.
    fn select(
        &mut self,
        index: Vec<u8>,
        tag: Option<&str>,
        limits: &ImageLimits,
    ) -> Result<(), LocalError> {
        let path = || self.path.clone();
        let entries = match Document::parse(&index, limits) {
            Ok(Document::Index(index)) => index.manifests,
            Ok(Document::Manifest(_)) => {
                let source = ManifestError::Unclear {
                    media_type: "manifest".into(),
                };
                return Err(LocalError::Contents {
                    path: path(),
                    source,
                });
            }
            Err(source) => {
                return Err(LocalError::Contents {
                    path: path(),
                    source,
                });
            }
        };
        let tags = || {
            entries
                .iter()
                .filter_map(tag_of)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let matching: Vec<&Descriptor> = match tag {
            None => entries.iter().collect(),
            Some(tag) => entries.iter().filter(|entry| has_tag(entry, tag)).collect(),
        };
        match (matching.as_slice(), tag) {
            ([], Some(tag)) => Err(LocalError::TagAbsent {
                path: path(),
                tag: tag.into(),
                tags: tags(),
            }),
            ([], None) => Err(LocalError::NotAnImage {
                path: path(),
                missing: "any manifest".into(),
            }),
            ([only], _) => {
                self.root = only.digest;
                Ok(())
            }
            (several, _) if are_one_image(several) => {
                let manifests = several.iter().map(|entry| (*entry).clone()).collect();
                let index = Index {
                    schema_version: 2,
                    media_type: OCI_INDEX.into(),
                    manifests,
                };
                let bytes = serde_json::to_vec(&index).expect("plain data serialises");
                self.root = Digest::of(&bytes);
                self.made.insert(self.root, bytes);
                Ok(())
            }
            _several => Err(LocalError::NeedsTag {
                path: path(),
                tags: tags(),
            }),
        }
    }
}

fn tag_of(entry: &Descriptor) -> Option<&str> {
    let name = entry
        .annotations
        .get(REF_NAME)
        .or_else(|| entry.annotations.get(IMAGE_NAME));
    name.map(String::as_str)
}

/// A tag matches as written, or as the tag of a full name.
fn has_tag(entry: &Descriptor, tag: &str) -> bool {
    [REF_NAME, IMAGE_NAME]
        .iter()
        .filter_map(|key| entry.annotations.get(*key))
        .any(|name| {
            let (_, short) = name.rsplit_once(':').unwrap_or(("", name));
            name == tag || short == tag
        })
}

/// Entries for different platforms under the same name are one image.
fn are_one_image(entries: &[&Descriptor]) -> bool {
    let name = entries.first().and_then(|entry| tag_of(entry));
    let mut platforms: Vec<String> = Vec::new();
    for entry in entries {
        match &entry.platform {
            Some(platform) if tag_of(entry) == name => platforms.push(platform.to_string()),
            Some(_) | None => return false,
        }
    }
    platforms.sort();
    platforms.windows(2).all(|pair| pair[0] != pair[1])
}

/// Opens a file for reading; a pipe or device is refused without waiting for it.
fn open_regular(path: &Path) -> Result<Section, LocalError> {
    let nonblock = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).expect("a small flag");
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nonblock)
        .open(path)
        .map_err(|source| LocalError::Open {
            path: path.into(),
            source,
        })?;
    let metadata = file.metadata().map_err(|source| LocalError::Read {
        path: path.into(),
        source,
    })?;
    if !metadata.is_file() {
        return Err(LocalError::NotAFile { path: path.into() });
    }
    Ok(Section {
        file: Arc::new(file),
        offset: 0,
        bytes: metadata.len(),
    })
}
