//! What callers see of images: the image itself, how to pull it, how far the pull is.
//! Plain data without behaviour of its own.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::auth::AuthSources;
use super::digest::Digest;
use super::reference::ImageReference;

/// A complete, verified image in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Digest of the manifest for this host's platform; garbage collection goes by it.
    pub digest: Digest,
    /// What the reference named: the same digest, or that of a multi-platform index. A reference
    /// pinned to this one means the same image on nodes of other architectures too.
    pub source_digest: Digest,
    /// The reference it was pulled by.
    pub reference: ImageReference,
    /// How to run it.
    pub config: ImageConfig,
    /// Unpacked layers, lowest first, for [`super::Rootfs::mount`].
    pub layers: Vec<PathBuf>,
    /// Bytes of the unpacked layers as tar counts them.
    pub size_bytes: u64,
}

/// The part of an image's config that says how to run it.
///
/// Source: OCI image specification, `config.md`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// The command's fixed start.
    pub entrypoint: Vec<String>,
    /// The command's default end, replaced by the user's arguments.
    pub cmd: Vec<String>,
    /// `NAME=value` pairs.
    pub env: Vec<String>,
    /// Where the command starts; empty means `/`.
    pub working_dir: String,
    /// `user`, `uid`, `user:group` or `uid:gid`; empty means root.
    pub user: String,
    /// Signal that asks it to end, for example `SIGQUIT`; empty means `SIGTERM`.
    pub stop_signal: String,
    /// Free key-value pairs.
    pub labels: BTreeMap<String, String>,
}

/// When to ask the registry about a tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullPolicy {
    /// Only if the reference has not been resolved before.
    #[default]
    Missing,
    /// Every time; layers that are present are not pulled again.
    Always,
}

/// Receives progress; called from several threads.
pub type Progress = Arc<dyn Fn(PullProgress) + Send + Sync>;

/// How to pull.
#[derive(Clone)]
pub struct PullOptions {
    /// Where credentials come from.
    pub auth: AuthSources,
    /// When to ask the registry.
    pub policy: PullPolicy,
    /// Who hears of progress.
    pub progress: Progress,
}

impl PullOptions {
    /// Credentials from `auth`, the default policy, no progress.
    #[must_use]
    pub fn new(auth: AuthSources) -> PullOptions {
        PullOptions {
            auth,
            policy: PullPolicy::default(),
            progress: Arc::new(|_ignored| {}),
        }
    }
}

impl fmt::Debug for PullOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PullOptions")
            .field("auth", &self.auth)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// One step of a pull. Steps of different layers interleave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum PullProgress {
    /// The store has the image already; nothing else will follow.
    Present {
        /// Its manifest.
        digest: Digest,
    },
    /// The reference was resolved.
    Resolved {
        /// The manifest for this platform.
        digest: Digest,
        /// How many layers it has.
        layers: usize,
        /// Packed bytes of all layers, those present included.
        bytes_total: u64,
    },
    /// A layer is in the store already.
    LayerPresent {
        /// The packed layer.
        layer: Digest,
    },
    /// Bytes of a packed layer have arrived.
    Downloading {
        /// The packed layer.
        layer: Digest,
        /// Bytes so far, those of an earlier try included.
        bytes_done: u64,
        bytes_total: u64,
    },
    /// The connection broke; the rest is asked for again.
    Resuming {
        /// The packed layer.
        layer: Digest,
        /// Bytes kept.
        bytes_done: u64,
        /// What broke.
        cause: String,
    },
    /// A layer is being unpacked.
    Unpacking {
        /// The packed layer.
        layer: Digest,
    },
    /// A layer is complete, verified and in its place.
    LayerDone {
        /// The packed layer.
        layer: Digest,
    },
    /// The image is complete and recorded.
    Done {
        /// Its manifest.
        digest: Digest,
    },
}
