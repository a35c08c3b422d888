//! What references were resolved to, and finding a complete image by them.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::super::limits::ImageLimits;
use super::super::manifest::{ConfigFile, Document, Manifest};
use super::super::model::{Image, PullPolicy};
use super::super::reference::ImageReference;
use super::files::{Paths, list};
use super::{Digest, Inner, StoreError};

/// Age from which a file's stamp is believed: above the coarsest clock of a file system.
const SETTLED_AFTER_S: i64 = 2;

/// A reference and what it meant when it was last resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RefRecord {
    pub(super) reference: ImageReference,
    /// Of the manifest for this host's platform.
    pub(super) digest: Digest,
    /// Of what the reference named: the same, or an index.
    pub(super) source_digest: Digest,
    /// State of the file that a local reference names, to notice that it has changed; none if
    /// the file was too new to tell, and is read anew the next time.
    pub(super) stamp: Option<Stamp>,
}

/// Tells two states of a file apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    bytes: u64,
    changed_s: i64,
    changed_ns: i64,
    inode: u64,
}

impl Stamp {
    /// The state of what a local reference names; none for registries, or if it is gone.
    pub(super) fn of(reference: &ImageReference) -> Option<Stamp> {
        let path = match reference {
            ImageReference::Registry(_) => return None,
            ImageReference::OciLayout { path, .. } => path.join("index.json"),
            ImageReference::OciArchive { path, .. }
            | ImageReference::DockerArchive { path, .. }
            | ImageReference::Archive { path } => path.clone(),
        };
        let metadata = fs::metadata(path).ok()?;
        Some(Stamp {
            bytes: metadata.len(),
            changed_s: metadata.ctime(),
            changed_ns: metadata.ctime_nsec(),
            inode: metadata.ino(),
        })
    }

    /// Tells whether a later change of the file will show: one within the same tick of the
    /// file system's clock would not.
    pub(super) fn is_settled(&self, now: SystemTime) -> bool {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_s = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        self.changed_s.saturating_add(SETTLED_AFTER_S) <= now_s
    }
}

impl Paths {
    fn reference(&self, reference: &ImageReference) -> PathBuf {
        let key = Digest::of(reference.to_string().as_bytes());
        self.refs_dir().join(format!("{}.json", key.hex()))
    }

    pub(super) fn write_ref(&self, record: &RefRecord) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(record).expect("plain data serialises");
        self.write_durably(&self.reference(&record.reference), &bytes)
    }

    pub(super) fn remove_ref(&self, record: &RefRecord) -> Result<(), StoreError> {
        super::files::remove(&self.reference(&record.reference))
    }

    /// All records; a damaged one counts as absent, as the reference can be resolved again.
    pub(super) fn refs(&self) -> Result<Vec<RefRecord>, StoreError> {
        let dir = self.refs_dir();
        let mut records = Vec::new();
        for name in list(&dir)? {
            records.extend(read_ref(dir.join(name))?);
        }
        Ok(records)
    }

    fn ref_of(&self, reference: &ImageReference) -> Result<Option<RefRecord>, StoreError> {
        Ok(read_ref(self.reference(reference))?.filter(|record| record.reference == *reference))
    }
}

fn read_ref(path: PathBuf) -> Result<Option<RefRecord>, StoreError> {
    match fs::read(&path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StoreError::Read { path, source }),
    }
}

impl Inner {
    /// Finds a complete image that may be used without asking anybody.
    pub(super) fn find(
        &self,
        reference: &ImageReference,
        policy: PullPolicy,
    ) -> Result<Option<Image>, StoreError> {
        let pinned = match reference {
            ImageReference::Registry(registry) => registry.digest().copied(),
            ImageReference::OciLayout { .. }
            | ImageReference::OciArchive { .. }
            | ImageReference::DockerArchive { .. }
            | ImageReference::Archive { .. } => None,
        };
        if policy == PullPolicy::Always && pinned.is_none() {
            return Ok(None);
        }
        if let Some(record) = self.paths.ref_of(reference)? {
            let now = Stamp::of(reference);
            if now.is_none() || now == record.stamp {
                return self.load(&record);
            }
            return Ok(None);
        }
        match pinned {
            Some(digest) => self.find_pinned(reference, digest),
            None => Ok(None),
        }
    }

    /// A digest names the same image wherever it came from.
    fn find_pinned(
        &self,
        reference: &ImageReference,
        source_digest: Digest,
    ) -> Result<Option<Image>, StoreError> {
        let Some(bytes) = self.paths.read_blob(source_digest)? else {
            return Ok(None);
        };
        let digest = match Document::parse(&bytes, &self.limits) {
            Ok(Document::Manifest(_)) => source_digest,
            Ok(Document::Index(index)) => match index.pick(&self.platform) {
                Ok(entry) => entry.digest,
                Err(_not_for_us) => return Ok(None),
            },
            Err(_a_config) => return Ok(None),
        };
        let reference = reference.clone();
        let record = RefRecord {
            reference,
            digest,
            source_digest,
            stamp: None,
        };
        let image = self.load(&record)?;
        if image.is_some() {
            // Recorded, so that garbage collection knows what the reference needs.
            self.paths.write_ref(&record)?;
        }
        Ok(image)
    }

    /// Puts an image together from what is on disk; none if anything of it is missing.
    pub(super) fn load(&self, record: &RefRecord) -> Result<Option<Image>, StoreError> {
        let Some((_, config)) = self.read_manifest(record.digest)? else {
            return Ok(None);
        };
        let mut layers = Vec::with_capacity(config.rootfs.diff_ids.len());
        let mut size_bytes = 0;
        for diff_id in &config.rootfs.diff_ids {
            let Some(layer) = self.paths.read_layer(*diff_id)? else {
                return Ok(None);
            };
            size_bytes += layer.unpacked_bytes;
            layers.push(self.paths.layer(*diff_id).join("fs"));
        }
        Ok(Some(Image {
            digest: record.digest,
            source_digest: record.source_digest,
            reference: record.reference.clone(),
            config: config.config.into(),
            layers,
            size_bytes,
        }))
    }

    /// Reads a manifest and its config; none if either is missing or not usable.
    pub(super) fn read_manifest(
        &self,
        digest: Digest,
    ) -> Result<Option<(Manifest, ConfigFile)>, StoreError> {
        let Some(bytes) = self.paths.read_blob(digest)? else {
            return Ok(None);
        };
        // Stricter limits than at the time of the pull make no image of ours unusable.
        let limits = ImageLimits::default();
        let Ok(Document::Manifest(manifest)) = Document::parse(&bytes, &limits) else {
            return Ok(None);
        };
        let Some(config) = self.paths.read_blob(manifest.config.digest)? else {
            return Ok(None);
        };
        let config = ConfigFile::parse(&config, &manifest, &self.platform, &limits);
        Ok(config.ok().map(|config| (manifest, config)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_file_changed_just_now_may_change_again_unseen() {
        let stamp = Stamp {
            bytes: 1,
            changed_s: 1000,
            changed_ns: 999_999_999,
            inode: 1,
        };
        for (now_s, settled) in [(0, false), (1000, false), (1001, false), (1002, true)] {
            let now = UNIX_EPOCH + Duration::from_secs(now_s);
            assert_eq!(stamp.is_settled(now), settled, "{now_s}");
        }
    }
}
