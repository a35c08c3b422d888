//! The image store: everything of images that is on disk, and the rules by which it changes.
//!
//! ```text
//! ROOT/lock                     held by the one process that uses the store
//! ROOT/blobs/sha256/<hex>       manifests, indexes and configs
//! ROOT/ingest/<hex>             packed layers on their way, continued after a crash
//! ROOT/layers/<diff id>/fs      unpacked layers; layer.json beside fs has their size
//! ROOT/refs/<hex>.json          what a reference was resolved to
//! ```
//!
//! # Guarantees
//!
//! A file or folder has its final name only when it is complete, verified and on disk, so a crash
//! at any time leaves what was there before and temporary names, which `open` removes. Packed
//! layers are dropped once they are unpacked. Nothing is removed while a pull is running.

mod files;
mod gc;
mod keyed_locks;
mod pull;
mod refs;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sutler_host::lock::{Lock, LockError};
use tokio::sync::{RwLock, Semaphore};

use self::files::Paths;
pub use self::gc::GcReport;
use self::keyed_locks::KeyedLocks;
use super::digest::Digest;
use super::error::{Blame, ImageError};
use super::limits::ImageLimits;
use super::manifest::Platform;
use super::model::{Image, PullOptions, PullProgress};
use super::reference::ImageReference;
use super::store_error::StoreError;

/// Layers unpacked at a time: it is bound by one core and the disk.
const UNPACKS_MAX: usize = 2;

/// A store of images in one folder. Clones are handles to the same store.
#[derive(Clone)]
pub struct ImageStore {
    inner: Arc<Inner>,
}

struct Inner {
    paths: Paths,
    limits: ImageLimits,
    platform: Platform,
    /// Held for reading by pulls and for writing by garbage collection.
    in_use: Arc<RwLock<()>>,
    /// One pull at a time brings a given unpacked layer; the others wait and find it.
    layer_locks: KeyedLocks,
    /// One download at a time writes a given partial file.
    blob_locks: KeyedLocks,
    unpacks: Arc<Semaphore>,
    /// Keeps the lock until the last handle is gone.
    _lock: Lock,
}

impl ImageStore {
    /// Opens a store, making it if it is not there, and removes what a crash has left.
    ///
    /// `root` must be on a file system that overlayfs accepts for layers (ext4, xfs, btrfs, tmpfs
    /// and most others). Blocks; meant for the start of a program.
    ///
    /// # Errors
    ///
    /// [`StoreError::Locked`] if another process has it open.
    pub fn open(root: PathBuf, limits: ImageLimits) -> Result<ImageStore, StoreError> {
        let paths = Paths::make(root)?;
        let lock = lock(&paths)?;
        paths.sweep()?;
        Ok(ImageStore {
            inner: Arc::new(Inner {
                paths,
                limits,
                platform: Platform::host(),
                in_use: Arc::new(RwLock::new(())),
                layer_locks: KeyedLocks::default(),
                blob_locks: KeyedLocks::default(),
                unpacks: Arc::new(Semaphore::new(UNPACKS_MAX)),
                _lock: lock,
            }),
        })
    }

    /// Provides an image: from the store if it is there, else by pulling what is missing.
    ///
    /// A tag that was resolved before needs no network unless the policy says so; a digest never
    /// does once it is there. Pulls of the same layers at the same time share the work.
    ///
    /// # Durability
    ///
    /// The image survives a crash from the moment of return.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any time; what has arrived is kept for the next try.
    ///
    /// # Errors
    ///
    /// [`ImageError`], whose `kind` tells the sorts apart.
    pub async fn ensure(
        &self,
        reference: &ImageReference,
        options: &PullOptions,
    ) -> Result<Image, ImageError> {
        let blame = Blame(reference.clone());
        let held = Arc::new(self.inner.in_use.clone().read_owned().await);
        let (store, policy) = (self.clone(), options.policy);
        let wanted = reference.clone();
        let found = blame
            .blocking(move || store.inner.find(&wanted, policy))
            .await?
            .map_err(|source| blame.store(source))?;
        if let Some(image) = found {
            (options.progress)(PullProgress::Present {
                digest: image.digest,
            });
            return Ok(image);
        }
        pull::Pull {
            store: self,
            blame: &blame,
            options,
            held,
        }
        .run()
        .await
    }

    /// Finds a complete image by the digest of its manifest; asks nobody. Blocks shortly.
    ///
    /// # Errors
    ///
    /// [`StoreError::Read`] if the store cannot be read; a damaged image counts as absent.
    pub fn get(&self, digest: &Digest) -> Result<Option<Image>, StoreError> {
        Ok(self
            .list()?
            .into_iter()
            .find(|image| image.digest == *digest))
    }

    /// Lists the complete images, one per reference, in the order of their references. Blocks.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot be read.
    pub fn list(&self) -> Result<Vec<Image>, StoreError> {
        let mut images = Vec::new();
        for record in self.inner.paths.refs()? {
            images.extend(self.inner.load(&record)?);
        }
        images.sort_by(|a, b| a.reference.cmp(&b.reference));
        Ok(images)
    }

    /// Removes everything that none of the images in `in_use` needs (digests of manifests, or
    /// what their references named). Images that containers run on must be in it.
    ///
    /// Does nothing, and says so, while a pull is running. Blocks.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if something cannot be removed; the rest of the store stays consistent.
    pub fn collect_garbage(
        &self,
        in_use: &std::collections::BTreeSet<Digest>,
    ) -> Result<GcReport, StoreError> {
        match self.inner.in_use.try_write() {
            Ok(_alone) => self.inner.sweep_unused(in_use),
            Err(_pulling) => Ok(GcReport {
                deferred: true,
                ..GcReport::default()
            }),
        }
    }

    /// The folder of the store.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.inner.paths.root()
    }
}

fn lock(paths: &Paths) -> Result<Lock, StoreError> {
    let path = paths.lock();
    Lock::take(&path).map_err(|error| match error {
        LockError::Held { .. } => StoreError::Locked {
            path: paths.root().to_owned(),
        },
        LockError::File { source } => StoreError::Write { path, source },
    })
}
