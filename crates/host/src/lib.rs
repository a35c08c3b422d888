//! What the host's kernel offers, each thing once: the mount table and changes to it, loop
//! devices, removal that never crosses a mount point. Knows nothing of images, containers,
//! plugins or volumes; our plugins may use it.

pub mod loopdev;
mod mountattr;
pub mod mounts;
pub mod remove;
