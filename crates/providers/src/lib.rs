//! Resource providers: what turns a plugin's answers into resources of a node.
//!
//! Storage through CSI is the first; addresses and devices follow the same contract: a pure
//! core below, a shell here that persists before it acts.

pub mod storage;
