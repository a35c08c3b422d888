//! The master over its sockets: a real process part, a fake agent that speaks the protocol.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod access;
mod agents;
mod connections;
mod inputs;
mod journey;
mod state_dir;
mod world;
