//! What tests are made of: a plugin with faults, worlds of the real program, the oracle.
//! For tests and `xtask` only; no part of the product depends on it.

pub mod fake_plugin;
pub mod host;
pub mod oracle;
pub mod poll;
pub mod traces;
pub mod world;
