//! Container images: from a reference to a root file system.
//!
//! [`ImageStore`] owns everything on disk. A pull goes `reference` (what is meant) → `source`
//! (where it lies: `registry` or `local`) → `manifest` (what it consists of) → `layer` and
//! `unpack` (bytes into folders, hostile input assumed) → [`Rootfs`] (folders into a mount).
//! `build` and `push` are the way back, for our own images.
//!
//! Nothing here trusts an image: every byte is checked against a digest before it is parsed
//! further, and every file is created relative to the layer's own folder.

mod auth;
mod build;
mod digest;
mod error;
mod json;
mod kind;
mod layer;
mod limits;
mod local;
mod manifest;
mod model;
mod push;
mod reference;
mod registry;
mod rootfs;
mod source;
mod store;
mod store_error;
mod tar_stream;
mod unpack;

pub use auth::{AuthError, AuthSources, Credential};
pub use build::{BuildError, ImageBuilder};
pub use digest::{Digest, DigestError};
pub use error::ImageError;
pub use kind::ImageErrorKind;
pub use layer::LayerError;
pub use limits::ImageLimits;
pub use local::LocalError;
pub use manifest::{ManifestError, Platform};
pub use model::{Image, ImageConfig, Progress, PullOptions, PullPolicy, PullProgress};
pub use push::{PushError, push};
pub use reference::{ImageReference, ReferenceError, RegistryReference};
pub use registry::RegistryError;
pub use rootfs::{Rootfs, RootfsError};
pub use store::{GcReport, ImageStore};
pub use store_error::StoreError;
pub use tar_stream::TarError;
pub use unpack::UnpackError;
