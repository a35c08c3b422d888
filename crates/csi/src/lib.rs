//! Speaking CSI: the interface itself, and the orchestrator's side of every conversation.
//!
//! Owns how a plugin is called and how its answers are understood. Never decides which call
//! to make or when to repeat one: that is the volume lifecycle's, which sits below and knows
//! nothing of gRPC. Usable alone, by any program that wants to drive a CSI plugin.
//!
//! Words: CSI's ControllerPublish, NodeStage and NodePublish are attach, stage and publish
//! here; CSI's own spelling appears only in [`proto`] and in [`Rpc::wire_name`].
#![warn(missing_docs)]

pub mod call;
mod classify;
mod client;
mod convert;
mod error;
mod facts;
mod lanes;
pub mod limits;
pub mod proto;
mod rpc;
mod secrets;
mod types;

pub use classify::{Pace, Refused, Verdict, classify};
pub use client::interrogate::interrogate;
pub use client::{CallReport, ConnectError, OnCall, PluginClient};
pub use error::{Code, CsiError};
pub use facts::{ControllerCap, Expansion, FactsError, NodeCap, NodeFacts, PluginCap, PluginFacts};
pub use lanes::{LaneError, LaneKind, LanePermit, LaneStatus, LaneWidths, Lanes};
pub use rpc::{Rpc, RpcKind};
pub use secrets::{Context, Secrets};
pub use types::{
    AccessMode, AccessType, Capability, Capacity, CapacityRange, ContentSource, ExpandedVolume,
    ListedVolume, PluginInfo, Topology, Usage, Validation, VolumeDescription, VolumeStats,
};
