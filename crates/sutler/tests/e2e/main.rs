//! End-to-end tests: the real program, real containers, worlds of their own.
//!
//! One program for all of them, one test at a time: they share the host's loop devices,
//! mounts and registries, and a slow neighbour would make every deadline a guess. They need root
//! and the images of `cargo xtask pack`, and say so when either is missing.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod api;
mod bad_images;
mod bad_input;
mod exit_status;
mod journey;
mod mock;
mod plugin_faults;
mod restart;
mod state_dir;
mod two_agents;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sutler_testkit::world::{World, WorldConfig};

/// Long enough for any state that needs no more than this host.
const SOON: Duration = Duration::from_secs(30);

static HOST: Mutex<()> = Mutex::new(());

/// Keeps the host for one test.
fn alone() -> MutexGuard<'static, ()> {
    // A test that failed has cleaned up all the same.
    HOST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The program under test, with the local plugin.
fn config() -> WorldConfig {
    WorldConfig::new(env!("CARGO_BIN_EXE_sutler"))
}

/// A ready cluster of this one node.
fn up() -> World {
    World::up(config()).expect("the cluster comes up")
}
