//! An agent with real containers, against a master of the test's own that speaks the protocol.
//!
//! Needs root, runc and busybox; fails, and says so, without them. Each test makes its own
//! world under `/tmp` and leaves nothing behind, also when it fails.

mod isolation;
mod making;
mod master;
mod plugins;
mod recovery;
mod tasks;
mod tls;
mod world;
