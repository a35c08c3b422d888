//! Speaking CSI: the interface itself, and the orchestrator's side of every conversation.
//!
//! Owns how a plugin is called and how its answers are understood. Never decides which call
//! to make or when to repeat one: that is the volume lifecycle's, which sits below and knows
//! nothing of gRPC. Usable alone, by any program that wants to drive a CSI plugin.

pub mod proto;
