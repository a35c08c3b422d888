//! One pull: resolve, fetch what is missing, unpack, record.
//! The reference is recorded last, when everything it stands for is on disk.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use futures::{StreamExt, TryStreamExt};
use sutler_telemetry::failpoint;
use tokio::sync::OwnedRwLockReadGuard;

use super::super::error::{Blame, ImageError};
use super::super::layer::{Budget, LayerError, PackedLayer, unpack_layer};
use super::super::local::Section;
use super::super::manifest::{ConfigFile, Descriptor, Document, Manifest, ManifestError};
use super::super::model::{Image, PullOptions, PullProgress};
use super::super::source::{Download, Part, Source};
use super::files::{LayerRecord, remove, sync_dir};
use super::refs::{RefRecord, Stamp};
use super::{Digest, ImageStore, Inner, StoreError};

/// Layers fetched at a time by one pull: enough to fill a network, few enough for registries.
const LAYERS_AT_A_TIME: usize = 4;
/// An index may name indexes; nobody nests deeper than this.
const INDEX_DEPTH_MAX: usize = 2;

/// Keeps garbage collection away while anything of a pull is running.
type Held = Arc<OwnedRwLockReadGuard<()>>;

pub(super) struct Pull<'a> {
    pub(super) store: &'a ImageStore,
    pub(super) blame: &'a Blame,
    pub(super) options: &'a PullOptions,
    pub(super) held: Held,
}

/// A document and the digest that it was verified by.
struct Verified {
    digest: Digest,
    bytes: Vec<u8>,
}

/// An image whose documents are known and whose layers may be missing.
struct Resolved {
    manifest: Manifest,
    config: ConfigFile,
    digest: Digest,
    source_digest: Digest,
    /// Everything to be kept: indexes on the way, the manifest, the config.
    documents: Vec<Verified>,
}

/// Why a layer is not in its place.
enum PlaceError {
    Layer(LayerError),
    Store(StoreError),
}

impl PlaceError {
    /// Tells whether the same bytes may do another time, for example when the disk has room.
    fn may_pass(&self) -> bool {
        match self {
            PlaceError::Layer(error) => error.is_local(),
            PlaceError::Store(_) => true,
        }
    }
}

impl Pull<'_> {
    pub(super) async fn run(self) -> Result<Image, ImageError> {
        let inner = &self.store.inner;
        let now = SystemTime::now();
        let stamp = Stamp::of(&self.blame.0).filter(|stamp| stamp.is_settled(now));
        let spool_dir = inner.paths.ingest_dir();
        let (source, withheld) =
            Source::open(self.blame, &self.options.auth, &inner.limits, &spool_dir).await?;
        match self.fetch(&source, stamp).await {
            Ok(image) => Ok(image),
            Err(error) => Err(self.blame.credentials(error, withheld)),
        }
    }

    async fn fetch(&self, source: &Source, stamp: Option<Stamp>) -> Result<Image, ImageError> {
        let resolved = self.resolve(source).await?;
        self.report(PullProgress::Resolved {
            digest: resolved.digest,
            layers: resolved.manifest.layers.len(),
            bytes_total: resolved.manifest.layer_bytes(),
        });
        self.fetch_layers(source, &resolved).await?;
        let record = RefRecord {
            reference: self.blame.0.clone(),
            digest: resolved.digest,
            source_digest: resolved.source_digest,
            stamp,
        };
        let image = self.record(resolved.documents, record).await?;
        self.report(PullProgress::Done {
            digest: image.digest,
        });
        Ok(image)
    }

    /// Follows the reference to the manifest for this host, and reads its config.
    async fn resolve(&self, source: &Source) -> Result<Resolved, ImageError> {
        let inner = &self.store.inner;
        let context = (self.blame, &inner.limits);
        let refused = |error| self.blame.manifest(error);
        let (mut bytes, source_digest) = source.root(self.blame, &inner.limits).await?;
        let mut digest = source_digest;
        let mut documents = Vec::new();
        for _depth in 0..=INDEX_DEPTH_MAX {
            let document = Document::parse(&bytes, &inner.limits).map_err(refused)?;
            documents.push(Verified { digest, bytes });
            match document {
                Document::Index(index) => {
                    let entry = index.pick(&inner.platform).map_err(refused)?;
                    bytes = source.document(Part::Manifest, entry, context).await?;
                    digest = entry.digest;
                }
                Document::Manifest(manifest) => {
                    let bytes = source
                        .document(Part::Config, &manifest.config, context)
                        .await?;
                    let config =
                        ConfigFile::parse(&bytes, &manifest, &inner.platform, &inner.limits)
                            .map_err(refused)?;
                    documents.push(Verified {
                        digest: manifest.config.digest,
                        bytes,
                    });
                    return Ok(Resolved {
                        manifest,
                        config,
                        digest,
                        source_digest,
                        documents,
                    });
                }
            }
        }
        Err(refused(ManifestError::Nested {
            max: INDEX_DEPTH_MAX,
        }))
    }

    async fn fetch_layers(&self, source: &Source, resolved: &Resolved) -> Result<(), ImageError> {
        let budget = Arc::new(Budget::new(&self.store.inner.limits));
        let pairs = resolved
            .manifest
            .layers
            .iter()
            .zip(&resolved.config.rootfs.diff_ids);
        let mut seen = BTreeSet::new();
        // Made before they are polled: a closure in the stream would keep the whole future from
        // being sent between threads.
        let mut fetches = Vec::new();
        for (layer, diff_id) in pairs.filter(|(_, diff_id)| seen.insert(**diff_id)) {
            fetches.push(self.fetch_layer(source, layer, (*diff_id, budget.clone())));
        }
        futures::stream::iter(fetches)
            .buffer_unordered(LAYERS_AT_A_TIME)
            .try_collect()
            .await
    }

    async fn fetch_layer(
        &self,
        source: &Source,
        layer: &Descriptor,
        (diff_id, budget): (Digest, Arc<Budget>),
    ) -> Result<(), ImageError> {
        let inner = &self.store.inner;
        let placing = inner.layer_locks.lock(diff_id).await;
        if inner
            .paths
            .read_layer(diff_id)
            .map_err(|error| self.blame.store(error))?
            .is_some()
        {
            self.report(PullProgress::LayerPresent {
                layer: layer.digest,
            });
            return Ok(());
        }
        let writing = inner.blob_locks.lock(layer.digest).await;
        let partial = inner.paths.partial(layer.digest);
        let progress = &self.options.progress;
        let download = Download {
            blame: self.blame,
            partial: partial.clone(),
            progress,
        };
        let section = source.layer(layer, &download).await?;
        let permit = inner.unpacks.clone().acquire_owned().await;
        self.report(PullProgress::Unpacking {
            layer: layer.digest,
        });
        let (store, held) = (self.store.clone(), self.held.clone());
        let placed = self.blame.blocking(move || {
            // Moved here, so that they outlive a caller who stops waiting.
            let _guards = (placing, writing, permit, held);
            let placed = store.inner.place(&section, diff_id, &budget);
            if !placed.as_ref().is_err_and(PlaceError::may_pass) {
                // Unpacked or refused, the packed form is of no more use.
                let _left = fs::remove_file(partial);
            }
            placed
        });
        match placed.await? {
            Ok(()) => {
                self.report(PullProgress::LayerDone {
                    layer: layer.digest,
                });
                Ok(())
            }
            Err(PlaceError::Layer(error)) => Err(self.blame.layer(layer.digest, error)),
            Err(PlaceError::Store(error)) => Err(self.blame.store(error)),
        }
    }

    /// Writes the documents and then the reference, and reads the image back.
    async fn record(
        &self,
        documents: Vec<Verified>,
        record: RefRecord,
    ) -> Result<Image, ImageError> {
        let (store, held) = (self.store.clone(), self.held.clone());
        let recorded = self.blame.blocking(move || {
            let _guard = held;
            store.inner.record(&documents, &record)
        });
        recorded.await?.map_err(|source| self.blame.store(source))
    }

    fn report(&self, progress: PullProgress) {
        (self.options.progress)(progress);
    }
}

impl Inner {
    fn record(&self, documents: &[Verified], record: &RefRecord) -> Result<Image, StoreError> {
        for document in documents {
            if self.paths.read_blob(document.digest)?.is_none() {
                self.paths
                    .write_durably(&self.paths.blob(document.digest), &document.bytes)?;
            }
        }
        self.paths.write_ref(record)?;
        let image = self.load(record)?;
        Ok(image.expect("its documents and layers were written under the lock that we hold"))
    }

    /// Unpacks a layer under a temporary name and gives it its own when it is complete, verified
    /// and on disk.
    fn place(&self, section: &Section, diff_id: Digest, budget: &Budget) -> Result<(), PlaceError> {
        let dir = self.paths.layers_dir();
        let temporary = self.paths.temporary(&dir);
        let placed = self
            .unpack(section, diff_id, (&temporary, budget))
            .and_then(|()| {
                let path = self.paths.layer(diff_id);
                failpoint::hit("image.layer.persist.before");
                self.clear_damaged(&path).map_err(PlaceError::Store)?;
                fs::rename(&temporary, &path)
                    .and_then(|()| sync_dir(&dir))
                    .map_err(|source| PlaceError::Store(StoreError::Write { path, source }))?;
                failpoint::hit("image.layer.persist.after");
                Ok(())
            });
        if placed.is_err()
            && let Err(error) = remove(&temporary)
        {
            // Not lost: the next open removes it.
            tracing::warn!(%error, "a part of a refused layer stays until the next start");
        }
        placed
    }

    /// Takes a layer away that has its name but not its record: somebody has damaged it.
    fn clear_damaged(&self, path: &Path) -> Result<(), StoreError> {
        if !path.exists() {
            return Ok(());
        }
        tracing::warn!(path = %path.display(), "a damaged layer of the image store is replaced");
        remove(path)
    }

    fn unpack(
        &self,
        section: &Section,
        diff_id: Digest,
        (temporary, budget): (&Path, &Budget),
    ) -> Result<(), PlaceError> {
        let failed = |source| {
            PlaceError::Store(StoreError::Write {
                path: temporary.to_owned(),
                source,
            })
        };
        let root = temporary.join("fs");
        make_root(temporary, &root).map_err(failed)?;
        failpoint::hit("image.layer.unpack.before");
        let layer = PackedLayer {
            reader: section.reader(),
            packed_bytes: section.bytes,
            diff_id,
        };
        let unpacked_bytes =
            unpack_layer(layer, &root, &self.limits, budget).map_err(PlaceError::Layer)?;
        failpoint::hit("image.layer.unpack.after");
        let record = serde_json::to_vec(&LayerRecord { unpacked_bytes });
        fs::write(
            temporary.join("layer.json"),
            record.expect("plain data serialises"),
        )
        .and_then(|()| sync_file_system(temporary))
        .map_err(failed)
    }
}

/// Makes the folder that a layer's root becomes, with the mode of a root.
fn make_root(temporary: &Path, root: &Path) -> io::Result<()> {
    fs::create_dir(temporary)?;
    fs::create_dir(root)?;
    fs::set_permissions(root, fs::Permissions::from_mode(0o755))
}

/// One call for the whole file system instead of one for each of thousands of files.
fn sync_file_system(dir: &Path) -> io::Result<()> {
    rustix::fs::syncfs(fs::File::open(dir)?)?;
    Ok(())
}
