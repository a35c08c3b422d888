//! A CSI plugin inside the test: volumes in memory, a real gRPC server on a real socket.
//!
//! It does what CSI asks of a plugin, keeps a record of every call, and watches what CSI asks
//! of its caller: at most one call in flight per volume, the order create, attach, stage,
//! publish and back, one node for a single-node volume, repeats with the same bytes, sizes.
//! What breaks a rule is answered with an error *and* kept as a violation, so that a test
//! ends with `assert_eq!(plugin.violations(), [""; 0])`.
//!
//! Faults are injected per call: an error before or after the work, no answer, an answer held
//! back, a broken connection, a dead plugin. Several plugins may share one back end, each as
//! the plugin of one node.
//!
//! It mounts nothing; with [`FakeConfig::touches_files`] it makes and removes target paths.
//!
//! ```text
//! server.rs   gRPC in and out          handle.rs  start, kill, restart, questions
//! pass.rs     one call's way through   fault.rs   what goes wrong, and when
//! rules.rs    duties of the caller     world.rs, node_world.rs   the back end
//! ```

mod config;
mod fault;
mod handle;
mod node_world;
mod pass;
mod record;
mod rules;
mod server;
mod world;

#[cfg(test)]
mod tests;

pub use config::{FakeConfig, Makes};
pub use fault::{Fault, When};
pub use handle::FakePlugin;
pub use record::{Outcome, RecordedCall};
pub use world::FakeVolume;
