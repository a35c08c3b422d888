//! One file for each verb or noun: its options and what it does with them.

pub mod agent;
pub mod api;
pub mod class;
pub mod completion;
pub mod events;
pub mod logs;
pub mod master;
pub mod node;
pub mod operation;
pub mod plugin;
pub mod plugin_add;
mod plugin_ready;
pub mod plugin_restart;
pub mod plugin_show;
pub mod run;
pub mod run_end;
pub mod run_watch;
pub mod shim;
pub mod task;
pub mod up;
pub mod version;
pub mod volume;
pub mod volume_change;
pub mod volume_show;

use crate::failure::{ExitStatus, Failure};

/// What a verb comes to: an exit status, or a failure to tell.
pub type Outcome = Result<ExitStatus, Failure>;
