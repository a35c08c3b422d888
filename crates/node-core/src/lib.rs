//! Task and plugin lifecycles of one node, as pure state machines.
//!
//! Each machine takes an event and the time and returns a [`Step`]: what to write down, and
//! what to do once that is on disk. It never reads a clock, never waits and never touches the
//! host; the `agent` crate does, and feeds the end of every effect back as an event.
//! Recovery takes the same road: the record first, then what was seen of the container.

pub mod backoff;
#[cfg(test)]
mod clock;
pub mod container;
pub mod plugin;
pub mod task;

/// What one event leads to: records to write and sync first, then outside acts.
#[derive(Debug, Clone, PartialEq)]
pub struct Step<P, E> {
    /// Records, durable before the first effect runs.
    pub persist: Vec<P>,
    /// Outside acts; each one with an end tells it as an event.
    pub effects: Vec<E>,
}

impl<P, E> Default for Step<P, E> {
    fn default() -> Self {
        Self {
            persist: Vec::new(),
            effects: Vec::new(),
        }
    }
}

impl<P, E> Step<P, E> {
    fn act(effect: E) -> Self {
        Self {
            persist: Vec::new(),
            effects: vec![effect],
        }
    }

    fn acts(effects: Vec<E>) -> Self {
        Self {
            persist: Vec::new(),
            effects,
        }
    }

    fn record(mut self, record: P) -> Self {
        self.persist.push(record);
        self
    }
}
