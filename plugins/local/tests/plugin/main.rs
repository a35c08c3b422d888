//! The plugin as its callers see it: the real program, its socket, and the kernel beneath.
//!
//! Needs root for loop devices and mounts. Every test has a world of its own, which is taken
//! down also when the test fails.

mod crashes;
mod harness;
mod journeys;
mod refusals;
