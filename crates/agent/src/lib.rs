//! The agent: one per node, it makes true there what the master wants.
//!
//! Owns the shell over tasks and plugins, the agent's journal, recovery after a restart,
//! the link to the master and the garbage collection of images. It decides nothing itself:
//! `node-core` and `volume-core` do, this crate writes down and acts. It never stops a
//! container because it ends itself: containers outlive it and are adopted.
//!
//! ```text
//!   master ◄──────► link (register, stream, outbox) ◄────┐
//!                                                        ▼
//!   containers, images ◄── effects ◄── shell (tasks, plugins, timers)
//!                             │           │  one commit a turn, then the effects
//!                             └──events──►│
//!   storage provider ◄────────────────────┘
//! ```

mod caller;
mod checks;
mod config;
mod effects;
mod error;
mod event;
mod ground;
mod handle;
mod host;
mod journal;
mod layout;
mod leave;
mod link;
mod pins;
mod problems;
mod queries;
mod shell;
mod supervise;

pub use caller::{AgentEnd, AgentStatus};
pub use config::{AgentConfig, MasterAddress};
pub use error::StartError;
pub use handle::{Agent, AgentHandle};
