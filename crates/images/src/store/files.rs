//! The folders of the store, and the one way in which files get into them.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use sutler_telemetry::failpoint;

use super::{Digest, StoreError};
use sutler_host::remove::remove_tree;

/// Start of the names of what is not complete.
const TEMPORARY: &str = ".tmp-";

/// The size of an unpacked layer, recorded beside it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LayerRecord {
    pub(super) unpacked_bytes: u64,
}

/// Names of everything in the store.
pub(super) struct Paths {
    root: PathBuf,
    next_temporary: AtomicU64,
}

impl Paths {
    pub(super) fn make(root: PathBuf) -> Result<Paths, StoreError> {
        let paths = Paths {
            root,
            next_temporary: AtomicU64::new(0),
        };
        for dir in paths.dirs() {
            fs::create_dir_all(&dir).map_err(|source| StoreError::Folder { path: dir, source })?;
        }
        Ok(paths)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(super) fn blobs_dir(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    pub(super) fn blob(&self, digest: Digest) -> PathBuf {
        self.blobs_dir().join(digest.hex())
    }

    pub(super) fn ingest_dir(&self) -> PathBuf {
        self.root.join("ingest")
    }

    pub(super) fn partial(&self, digest: Digest) -> PathBuf {
        self.ingest_dir().join(digest.hex())
    }

    pub(super) fn layers_dir(&self) -> PathBuf {
        self.root.join("layers")
    }

    pub(super) fn layer(&self, diff_id: Digest) -> PathBuf {
        self.layers_dir().join(diff_id.hex())
    }

    pub(super) fn refs_dir(&self) -> PathBuf {
        self.root.join("refs")
    }

    fn dirs(&self) -> [PathBuf; 4] {
        [
            self.blobs_dir(),
            self.ingest_dir(),
            self.layers_dir(),
            self.refs_dir(),
        ]
    }

    /// A name that nobody uses, in a folder of the store.
    pub(super) fn temporary(&self, dir: &Path) -> PathBuf {
        // Relaxed: each number is given once, and its order means nothing.
        dir.join(format!(
            "{TEMPORARY}{}",
            self.next_temporary.fetch_add(1, Ordering::Relaxed)
        ))
    }

    /// Writes a file so that it is wholly there or not at all, and durable on return.
    pub(super) fn write_durably(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let dir = path
            .parent()
            .expect("files of the store lie in its folders");
        let temporary = self.temporary(dir);
        failpoint::hit("image.file.persist.before");
        let written = write_new(&temporary, bytes).and_then(|()| {
            failpoint::hit("image.file.rename.before");
            fs::rename(&temporary, path)
        });
        let written = written.and_then(|()| sync_dir(dir));
        failpoint::hit("image.file.persist.after");
        written.map_err(|source| {
            // The next open removes it, if this does not.
            let _left = fs::remove_file(&temporary);
            StoreError::Write {
                path: path.to_owned(),
                source,
            }
        })
    }

    /// Reads a blob; one that is not what its name says counts as absent.
    pub(super) fn read_blob(&self, digest: Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.blob(digest);
        match fs::read(&path) {
            Ok(bytes) if Digest::of(&bytes) == digest => Ok(Some(bytes)),
            Ok(_damaged) => {
                tracing::warn!(path = %path.display(), "a blob of the image store is damaged");
                Ok(None)
            }
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::Read { path, source }),
        }
    }

    /// The record of an unpacked layer, if it is there.
    pub(super) fn read_layer(&self, diff_id: Digest) -> Result<Option<LayerRecord>, StoreError> {
        let path = self.layer(diff_id).join("layer.json");
        match fs::read(&path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::Read { path, source }),
        }
    }

    /// Removes what a crash has left: temporary names everywhere, and strangers in `ingest`.
    pub(super) fn sweep(&self) -> Result<(), StoreError> {
        for dir in self.dirs() {
            for name in list(&dir)? {
                let text = name.to_string_lossy();
                let stranger = dir == self.ingest_dir() && Digest::from_hex(&text).is_none();
                if text.starts_with(TEMPORARY) || stranger {
                    remove(&dir.join(&name))?;
                }
            }
        }
        Ok(())
    }
}

/// Names in a folder.
pub(super) fn list(dir: &Path) -> Result<Vec<std::ffi::OsString>, StoreError> {
    let failed = |source| StoreError::Folder {
        path: dir.to_owned(),
        source,
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        names.push(entry.map_err(failed)?.file_name());
    }
    Ok(names)
}

/// The digest that a file name is, if it is one.
pub(super) fn digest_of(name: &OsStr) -> Option<Digest> {
    Digest::from_hex(name.to_str()?)
}

/// Removes a file or a folder with all below it; absence is a success.
pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    let is_folder = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    if is_folder {
        return remove_tree(path).map_err(|source| StoreError::Remove {
            path: path.to_owned(),
            source,
        });
    }
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(StoreError::RemoveFile {
            path: path.to_owned(),
            source,
        }),
    }
}

pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
