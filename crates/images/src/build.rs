//! Makes images of our own: an OCI layout folder or archive from files and a config.
//!
//! The same input gives the same bytes: entries are sorted, times are zero, owners are root. One
//! gzip layer, as every runtime takes it. It is no replacement for an image builder.

mod layer;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::digest::Digest;
use super::limits::ImageLimits;
use super::manifest::{
    ConfigFile, Descriptor, Document, Index, Manifest, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST,
    Platform, REF_NAME, RootFs, RunConfig,
};
use super::model::ImageConfig;
use sutler_host::remove::{RemoveError, remove_tree};

/// Mode of folders that nobody asked for but that lie on the way to something.
const PARENT_MODE: u32 = 0o755;

/// Why an image was not made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A source cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// The source.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A source that an image made here does not hold: a device, pipe or socket.
    #[error("{} is neither a file, a folder nor a link", path.display())]
    Kind {
        /// The source.
        path: PathBuf,
    },
    /// A name inside the image that no file can have.
    #[error("{name:?} is no name for a file in an image")]
    Name {
        /// The name as given.
        name: String,
    },
    /// The result cannot be written.
    #[error("write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// There is something in the way that is no layout folder.
    #[error("{} holds an index.json that is not of an OCI layout", path.display())]
    NotALayout {
        /// The folder.
        path: PathBuf,
    },
    /// The working folder of an archive cannot be removed.
    #[error("remove the working folder of the archive")]
    Remove {
        /// Why.
        source: RemoveError,
    },
}

/// Collects the content of an image. Names are paths in the image, with or without a leading
/// slash; folders on the way to them are added.
#[derive(Clone, Debug)]
pub struct ImageBuilder {
    platform: Platform,
    config: ImageConfig,
    nodes: BTreeMap<String, Node>,
}

#[derive(Clone, Debug)]
enum Node {
    Folder { mode: u32 },
    Bytes { content: Vec<u8>, mode: u32 },
    Copy { from: PathBuf, mode: u32 },
    Link { target: String },
}

impl Default for ImageBuilder {
    fn default() -> ImageBuilder {
        ImageBuilder::new()
    }
}

impl ImageBuilder {
    /// An image for this host's platform with nothing in it.
    #[must_use]
    pub fn new() -> ImageBuilder {
        ImageBuilder {
            platform: Platform::host(),
            config: ImageConfig::default(),
            nodes: BTreeMap::new(),
        }
    }

    /// Declares another platform; the files are taken as they are.
    #[must_use]
    pub fn platform(mut self, platform: Platform) -> ImageBuilder {
        self.platform = platform;
        self
    }

    /// Says how to run it.
    #[must_use]
    pub fn config(mut self, config: ImageConfig) -> ImageBuilder {
        self.config = config;
        self
    }

    /// Adds a file with this content.
    ///
    /// # Errors
    ///
    /// [`BuildError::Name`], as for all that take a name.
    pub fn bytes(
        self,
        name: &str,
        content: impl Into<Vec<u8>>,
        mode: u32,
    ) -> Result<ImageBuilder, BuildError> {
        self.node(
            name,
            Node::Bytes {
                content: content.into(),
                mode,
            },
        )
    }

    /// Adds a file whose content is read from `from` when the image is written.
    ///
    /// # Errors
    ///
    /// [`BuildError::Name`].
    pub fn file(self, name: &str, from: &Path, mode: u32) -> Result<ImageBuilder, BuildError> {
        self.node(
            name,
            Node::Copy {
                from: from.into(),
                mode,
            },
        )
    }

    /// Adds a folder.
    ///
    /// # Errors
    ///
    /// [`BuildError::Name`].
    pub fn folder(self, name: &str, mode: u32) -> Result<ImageBuilder, BuildError> {
        self.node(name, Node::Folder { mode })
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    ///
    /// [`BuildError::Name`].
    pub fn link(self, name: &str, target: &str) -> Result<ImageBuilder, BuildError> {
        self.node(
            name,
            Node::Link {
                target: target.into(),
            },
        )
    }

    /// Adds all that is in the folder `from` below `name` (empty for the image's root), with its
    /// modes. Links are kept as links.
    ///
    /// # Errors
    ///
    /// [`BuildError::Read`] and [`BuildError::Kind`].
    pub fn tree(mut self, name: &str, from: &Path) -> Result<ImageBuilder, BuildError> {
        let mut pending = vec![(name.trim_matches('/').to_owned(), from.to_owned())];
        while let Some((name, path)) = pending.pop() {
            let failed = |source| BuildError::Read {
                path: path.clone(),
                source,
            };
            for entry in fs::read_dir(&path).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let file_name =
                    entry
                        .file_name()
                        .into_string()
                        .map_err(|raw| BuildError::Name {
                            name: raw.to_string_lossy().into_owned(),
                        })?;
                let name = format!("{name}/{file_name}");
                let node = read_node(&entry.path())?;
                if matches!(node, Node::Folder { .. }) {
                    pending.push((name.clone(), entry.path()));
                }
                self = self.node(&name, node)?;
            }
        }
        Ok(self)
    }

    /// Writes the image into the OCI layout folder `dir` under `tag`, beside what is there, and
    /// returns the digest of its manifest. A tag that is there already changes its meaning.
    ///
    /// # Errors
    ///
    /// [`BuildError`].
    pub fn write_layout(&self, dir: &Path, tag: &str) -> Result<Digest, BuildError> {
        let blobs = dir.join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(|source| BuildError::Write {
            path: blobs.clone(),
            source,
        })?;
        write(
            &dir.join("oci-layout"),
            br#"{"imageLayoutVersion":"1.0.0"}"#,
        )?;
        let (layer, diff_id) = layer::write_layer(&self.nodes, &blobs)?;
        let config = ConfigFile {
            platform: self.platform.clone(),
            config: run_config(&self.config),
            rootfs: RootFs {
                kind: "layers".into(),
                diff_ids: vec![diff_id],
            },
        };
        let config = write_document(&blobs, OCI_CONFIG, &config)?;
        let manifest = Manifest {
            schema_version: 2,
            media_type: OCI_MANIFEST.into(),
            config,
            layers: vec![layer],
        };
        let mut entry = write_document(&blobs, OCI_MANIFEST, &manifest)?;
        let digest = entry.digest;
        entry.platform = Some(self.platform.clone());
        entry.annotations.insert(REF_NAME.into(), tag.into());
        add_to_index(dir, entry)?;
        Ok(digest)
    }

    /// Writes the image as an OCI archive, and returns the digest of its manifest.
    ///
    /// # Errors
    ///
    /// [`BuildError`]; an archive that was there before is then as it was.
    pub fn write_archive(&self, path: &Path, tag: &str) -> Result<Digest, BuildError> {
        let beside = |suffix: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".{}.{suffix}", std::process::id()));
            PathBuf::from(name)
        };
        let (work, whole) = (beside("layout"), beside("tmp"));
        let written = self.write_layout(&work, tag).and_then(|digest| {
            pack_layout(&work, &whole)
                .and_then(|()| fs::rename(&whole, path))
                .map_err(|source| BuildError::Write {
                    path: path.into(),
                    source,
                })?;
            Ok(digest)
        });
        remove_tree(&work).map_err(|source| BuildError::Remove { source })?;
        written
    }

    fn node(mut self, name: &str, node: Node) -> Result<ImageBuilder, BuildError> {
        let bad =
            |part: &str| part.is_empty() || part == "." || part == ".." || part.contains('\0');
        let name = name.trim_matches('/');
        if name.split('/').any(bad) {
            return Err(BuildError::Name {
                name: name.to_owned(),
            });
        }
        for (slash, _) in name.match_indices('/') {
            let parent = Node::Folder { mode: PARENT_MODE };
            self.nodes.entry(name[..slash].to_owned()).or_insert(parent);
        }
        self.nodes.insert(name.to_owned(), node);
        Ok(self)
    }
}

fn read_node(path: &Path) -> Result<Node, BuildError> {
    let failed = |source| BuildError::Read {
        path: path.into(),
        source,
    };
    let metadata = fs::symlink_metadata(path).map_err(failed)?;
    let kind = metadata.file_type();
    let mode = metadata.permissions().mode() & 0o7777;
    if kind.is_dir() {
        Ok(Node::Folder { mode })
    } else if kind.is_symlink() {
        let target = fs::read_link(path).map_err(failed)?;
        let target = target.into_os_string().into_string();
        target
            .map(|target| Node::Link { target })
            .map_err(|raw| BuildError::Name {
                name: raw.to_string_lossy().into_owned(),
            })
    } else if kind.is_fifo() || kind.is_socket() || kind.is_char_device() || kind.is_block_device()
    {
        Err(BuildError::Kind { path: path.into() })
    } else {
        Ok(Node::Copy {
            from: path.into(),
            mode,
        })
    }
}

fn run_config(config: &ImageConfig) -> RunConfig {
    RunConfig {
        entrypoint: config.entrypoint.clone(),
        cmd: config.cmd.clone(),
        env: config.env.clone(),
        working_dir: config.working_dir.clone(),
        user: config.user.clone(),
        stop_signal: config.stop_signal.clone(),
        labels: config.labels.clone(),
    }
}

fn descriptor(media_type: &str, digest: Digest, size: u64) -> Descriptor {
    let media_type = media_type.to_owned();
    Descriptor {
        media_type,
        digest,
        size,
        platform: None,
        annotations: BTreeMap::new(),
    }
}

fn write_document(
    blobs: &Path,
    media_type: &str,
    document: &impl serde::Serialize,
) -> Result<Descriptor, BuildError> {
    let bytes = serde_json::to_vec(document).expect("plain data serialises");
    let digest = Digest::of(&bytes);
    write(&blobs.join(digest.hex()), &bytes)?;
    Ok(descriptor(media_type, digest, bytes.len() as u64))
}

fn add_to_index(dir: &Path, entry: Descriptor) -> Result<(), BuildError> {
    let path = dir.join("index.json");
    let mut manifests = match fs::read(&path) {
        Ok(bytes) => match Document::parse(&bytes, &ImageLimits::default()) {
            Ok(Document::Index(index)) => index.manifests,
            Ok(Document::Manifest(_)) | Err(_) => {
                return Err(BuildError::NotALayout { path: dir.into() });
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(source) => return Err(BuildError::Read { path, source }),
    };
    let same = |other: &Descriptor| {
        other.annotations.get(REF_NAME) == entry.annotations.get(REF_NAME)
            && other.platform == entry.platform
    };
    manifests.retain(|other| !same(other));
    manifests.push(entry);
    manifests.sort_by_key(|entry| entry.annotations.get(REF_NAME).cloned());
    let index = Index {
        schema_version: 2,
        media_type: OCI_INDEX.into(),
        manifests,
    };
    write(
        &path,
        &serde_json::to_vec(&index).expect("plain data serialises"),
    )
}

/// Packs a layout folder into a tar, table of contents first.
fn pack_layout(layout: &Path, archive: &Path) -> io::Result<()> {
    let mut tar = tar::Builder::new(io::BufWriter::new(File::create(archive)?));
    let mut names = vec!["oci-layout".to_owned(), "index.json".to_owned()];
    let mut blobs = Vec::new();
    for blob in fs::read_dir(layout.join("blobs/sha256"))? {
        blobs.push(format!(
            "blobs/sha256/{}",
            blob?.file_name().to_string_lossy()
        ));
    }
    blobs.sort();
    names.extend(blobs);
    for name in names {
        let file = File::open(layout.join(&name))?;
        let mut header = tar::Header::new_gnu();
        header.set_size(file.metadata()?.len());
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        tar.append_data(&mut header, name, file)?;
    }
    tar.into_inner()?.flush()
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), BuildError> {
    fs::write(path, bytes).map_err(|source| BuildError::Write {
        path: path.into(),
        source,
    })
}

#[cfg(test)]
mod tests;
