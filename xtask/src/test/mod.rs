//! `cargo xtask test`: every check there is, quick ones first, and a count at the end.
//!
//! A stage that fails does not keep the next ones from running: one run shows all that is wrong.

pub(crate) mod programs;
mod stages;

use std::time::Instant;

use anyhow::{Result, bail};

use crate::steps::shown;
pub use stages::{Stage, sweep};

/// How much passed and failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Tests and checks that passed.
    pub passed: usize,
    /// Tests and checks that failed.
    pub failed: usize,
}

impl Count {
    /// One check.
    pub(crate) fn one(passed: bool) -> Self {
        Self {
            passed: usize::from(passed),
            failed: usize::from(!passed),
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// Runs the stages in order; all but the lab when none is named.
///
/// # Errors
/// Something failed; what, has been printed.
pub fn run(only: &[Stage]) -> Result<()> {
    let started = Instant::now();
    let mut count = Count::default();
    for stage in Stage::ALL
        .into_iter()
        .filter(|s| only.contains(s) || (only.is_empty() && s.is_daily()))
    {
        let began = Instant::now();
        println!("== {}", stage.title());
        match stage.run() {
            Ok(told) => count.add(told),
            Err(error) => {
                println!("✗ {error:#}");
                count.add(Count::one(false));
            }
        }
        println!("   {} took {}", stage.title(), shown(began.elapsed()));
    }
    println!(
        "{} passed, {} failed ({})",
        count.passed,
        count.failed,
        shown(started.elapsed())
    );
    if count.failed > 0 {
        bail!("{} failed", count.failed);
    }
    Ok(())
}
