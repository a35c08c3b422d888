//! What the host offers, each thing once: the mount table and changes to it, loop devices,
//! removal that never crosses a mount point, looks that follow no link, files and folders for
//! their owner alone, where a program lies, work that blocks, clocks, locks. Knows nothing
//! of images, containers, plugins or volumes; our plugins may use it.

pub mod beneath;
pub mod blocking;
pub mod clock;
pub mod lock;
pub mod loopdev;
mod mountattr;
pub mod mounts;
pub mod private;
pub mod program;
pub mod remove;
