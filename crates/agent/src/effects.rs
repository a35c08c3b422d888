//! Outside acts of the cores' effects: one call each, no choices.
//!
//! Each function here is given values and returns the event that ends its effect. The shell
//! spawns them only after the records of the same step are durable.

pub(crate) mod evidence;
pub(crate) mod needs;
pub(crate) mod plugin;
pub(crate) mod plugin_spec;
pub(crate) mod probe;
pub(crate) mod pull;
pub(crate) mod task;
pub(crate) mod task_spec;
