//! The master over its sockets: a real process part, a fake agent that speaks the protocol.

mod access;
mod agents;
mod inputs;
mod journey;
mod state_dir;
mod world;
