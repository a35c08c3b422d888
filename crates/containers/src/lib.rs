//! Images and the containers made from them: the store, the unpacking, the root file system,
//! and the OCI runtime. It knows nothing of plugins, volumes or tasks: it gets values and
//! returns values, and its callers decide.

pub mod image;
mod mounts;
pub mod remove;
pub mod runtime;
