//! Waiting on a state that another process owns: look, pause, look again, until a deadline.
//! The one place of the tests that pauses; it never takes time for a state.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Pause between two looks: short beside what a person notices, long beside one look.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks until the probe gives a value.
///
/// The probe's error says what it saw instead, for the report of a wait in vain.
///
/// # Errors
/// The deadline passed: the text names `what`, the time and what was seen last.
pub fn until<T, E: Display>(
    what: &str,
    within: Duration,
    mut probe: impl FnMut() -> Result<T, E>,
) -> Result<T> {
    let deadline = Instant::now() + within;
    loop {
        match probe() {
            Ok(value) => return Ok(value),
            Err(seen) if Instant::now() >= deadline => {
                bail!(
                    "waited {:.0} s until {what}; last seen: {seen:#}",
                    within.as_secs_f64()
                )
            }
            Err(_not_yet) => std::thread::sleep(PAUSE),
        }
    }
}

/// Turns a condition into a probe's answer.
///
/// # Errors
/// The condition does not hold; the error is what was seen.
pub fn holds(condition: bool, seen: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(seen()) }
}
