//! Wire words: what crosses a process border, as types, and the grammar of each.
//!
//! Owns the public HTTP/JSON API's shapes, the master–agent protocol and the plugin
//! definition format. Pure: no I/O, no clock, no decision. Every other crate sits above it.
#![warn(missing_docs)]

pub mod agent;
pub mod definition;
pub mod operation;
pub mod plugin;
pub mod task;
pub mod template;
pub mod volume;

pub use jiff::Timestamp;
