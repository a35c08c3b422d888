//! The cluster's books, pure: who is there, what was accepted, how it ended.
//!
//! Owns every decision of the master: names, classes, placement, who may write, what the
//! trash holds, which operation an agent still owes. Never does I/O, never reads a clock and
//! makes no identifiers: all of that comes in with an [`Event`]. Sits under the `master`
//! shell and above `api` only.
//!
//! ```text
//!  Event ──► Books::on_event ──► Ok(Step { persist, effects, reply })   or   Err(Problem)
//!                │    ▲
//!         apply(Change) │ the same function, from the store, at recovery
//!                ▼    │
//!             Durable ┘        + Live: copies of what agents tell, rebuilt by their telling
//! ```
//!
//! A volume at the master (what its owner tells lies over `Live`, see [`views`]):
//!
//! ```text
//!  create ─► Creating ─Finished─► Live ─rm─► Trashed ─purge, end of retention─► Deleting ─► (gone)
//!               │                  ▲ └──────────── rm --purge ─────────────────────▲ │
//!               │ Failed           └── restore ── Trashed          Failed ─► Live ─┘◄┘
//!               ▼
//!            Failed ─rm─► (gone)
//! ```
//!
//! # Guarantees
//!
//! - `Durable` is exactly the replay of the persisted changes.
//! - An operation ends at most once; a task's state never goes backwards.
//! - A refused event changes nothing.

mod agents;
mod books;
mod definition;
mod desired;
mod indexes;
mod lists;
mod observed;
mod operations;
mod places;
mod plugins;
mod record;
mod removal;
mod step;
mod task_request;
mod tasks;
mod unknown;
pub mod views;
mod volumes;

pub use books::{Books, Config, Durable, Live, LiveAgent, RecoverError};
pub use lists::VolumeCounts;
pub use record::{
    AgentRecord, Change, ClusterRecord, EndedOperation, OperationAct, OperationRecord,
    PluginRecord, ReadError, TABLES, TaskEnd, TaskRecord, VolumePhase, VolumeRecord, Written,
};
pub use step::{Effect, Event, Reply, Request, Step, Subject};

#[cfg(test)]
mod tests;
