//! Mark and sweep: what no used image needs goes.

use std::collections::BTreeSet;
use std::fs;

use sutler_telemetry::failpoint;

use super::super::manifest::Document;
use super::files::{digest_of, list, remove};
use super::{Digest, Inner, StoreError};

/// What garbage collection did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct GcReport {
    /// A pull was running: nothing was done.
    pub deferred: bool,
    /// References forgotten.
    pub refs_removed: usize,
    /// Manifests, configs and partial downloads removed.
    pub blobs_removed: usize,
    /// Unpacked layers removed.
    pub layers_removed: usize,
    /// Bytes of what was removed, layers counted as their tars.
    pub bytes_freed: u64,
    /// Used images whose manifest or config cannot be read: as their layers are not known, no
    /// layer was removed. Pull them again.
    pub unreadable: Vec<Digest>,
}

/// What is needed.
#[derive(Default)]
struct Marked {
    blobs: BTreeSet<Digest>,
    layers: BTreeSet<Digest>,
    unreadable: Vec<Digest>,
}

impl Inner {
    pub(super) fn sweep_unused(&self, in_use: &BTreeSet<Digest>) -> Result<GcReport, StoreError> {
        let mut report = GcReport::default();
        let mut live = in_use.clone();
        for record in self.paths.refs()? {
            if in_use.contains(&record.digest) || in_use.contains(&record.source_digest) {
                live.extend([record.digest, record.source_digest]);
            } else {
                // Forgotten first: a reference must not outlive what it stands for.
                failpoint::hit("image.gc.ref.remove.before");
                self.paths.remove_ref(&record)?;
                report.refs_removed += 1;
            }
        }
        let marked = self.mark(&live)?;
        if marked.unreadable.is_empty() {
            self.sweep_layers(&marked, &mut report)?;
        }
        self.sweep_files(&marked, &mut report)?;
        report.unreadable = marked.unreadable;
        Ok(report)
    }

    fn mark(&self, live: &BTreeSet<Digest>) -> Result<Marked, StoreError> {
        let mut marked = Marked::default();
        for digest in live {
            if !self.paths.blob(*digest).exists() {
                // Used by somebody, but never pulled here.
                continue;
            }
            marked.blobs.insert(*digest);
            if self.is_index(*digest)? {
                continue;
            }
            match self.read_manifest(*digest)? {
                Some((manifest, config)) => {
                    marked.blobs.insert(manifest.config.digest);
                    marked.layers.extend(config.rootfs.diff_ids);
                }
                None => marked.unreadable.push(*digest),
            }
        }
        Ok(marked)
    }

    fn is_index(&self, digest: Digest) -> Result<bool, StoreError> {
        let Some(bytes) = self.paths.read_blob(digest)? else {
            return Ok(false);
        };
        Ok(matches!(
            Document::parse(&bytes, &self.limits),
            Ok(Document::Index(_))
        ))
    }

    fn sweep_layers(&self, marked: &Marked, report: &mut GcReport) -> Result<(), StoreError> {
        let dir = self.paths.layers_dir();
        for name in list(&dir)? {
            let Some(diff_id) = digest_of(&name).filter(|id| !marked.layers.contains(id)) else {
                continue;
            };
            let layer = self.paths.read_layer(diff_id)?;
            // A layer that is half removed must not look complete after a crash.
            let doomed = self.paths.temporary(&dir);
            let path = dir.join(&name);
            fs::rename(&path, &doomed).map_err(|source| StoreError::Write { path, source })?;
            failpoint::hit("image.gc.layer.remove.before");
            remove(&doomed)?;
            report.layers_removed += 1;
            report.bytes_freed += layer.map_or(0, |layer| layer.unpacked_bytes);
        }
        Ok(())
    }

    fn sweep_files(&self, marked: &Marked, report: &mut GcReport) -> Result<(), StoreError> {
        for dir in [self.paths.blobs_dir(), self.paths.ingest_dir()] {
            for name in list(&dir)? {
                if digest_of(&name).is_some_and(|digest| marked.blobs.contains(&digest)) {
                    continue;
                }
                let path = dir.join(&name);
                report.bytes_freed += fs::metadata(&path).map_or(0, |file| file.len());
                remove(&path)?;
                report.blobs_removed += 1;
            }
        }
        Ok(())
    }
}
