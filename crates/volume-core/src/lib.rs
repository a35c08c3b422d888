//! The life of one volume on the node that owns it, as a pure state machine.
//!
//! ```text
//!            Create          Attach            Stage           Publish
//!   Absent ─────────► Created ─────► NodeReady ─────► VolReady ─────► Published
//!          ◄─────────         ◄─────           ◄─────          ◄─────
//!            Delete          Detach           Unstage         Unpublish
//! ```
//!
//! A plugin without attach or staging skips that rung. Every arrow has a hidden middle,
//! [`InFlight`]: the call was recorded and may have been made. Only a definite answer to the
//! same call, or to its inverse, leaves it.
//!
//! Owns: what call comes next, what an answer means, what holders and operations are told.
//! Never does: I/O, clocks, gRPC. The shell (`sutler-providers`) writes and syncs
//! [`Step::persist`], *then* runs [`Step::effects`]; recovery feeds the record back through
//! [`Volume::recover`] and the same [`Volume::on_event`].

mod answer;
mod call;
mod event;
mod evidence;
mod holders;
mod look;
mod machine;
mod node_id;
mod plan;
mod record;
mod story;
mod stray;
#[cfg(test)]
mod tests;
mod told;
mod verify;

pub use call::{Abilities, Rpc};
pub use event::{
    Answer, Call, CallId, Denied, Effect, Event, Expanded, Failure, Made, Mount, Seen, Segments,
    Shown, Step, Verdict,
};
pub use machine::Volume;
pub use record::{
    Created, Ended, InFlight, Known, Mounts, PendingOperation, Phase, PublishContext, Settled,
    VolumeRecord,
};

/// First wait before a call is repeated, in milliseconds.
pub(crate) const RETRY_MS_MIN: u64 = 100;
/// Longest wait before a call is repeated whose outcome is unknown: long enough not to
/// burden a struggling plugin, short enough to meet the ten-second recovery goal when the
/// plugin's return does not wake us.
pub(crate) const RETRY_MS_MAX: u64 = 10_000;
/// Wait before a call is repeated that was clearly refused and that somebody must clear.
pub(crate) const SLOW_RETRY_MS: u64 = 15_000;
/// Most steps of a volume's story that are kept.
pub(crate) const STORY_STEPS_MAX: usize = 32;
/// Most ended operations whose outcome is kept with the volume: the master has one pending
/// at a time, and a delete may overtake it.
pub(crate) const ENDED_MAX: usize = 4;
