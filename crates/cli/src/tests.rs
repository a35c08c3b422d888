//! The command line against a fake master over HTTP, and its screens as snapshots.

mod fake;
mod run_task;
mod sample;
mod screens;
mod usage;
mod waiting;
