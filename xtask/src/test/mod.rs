//! `cargo xtask test`: every check there is, quick ones first, and a count at the end.
//!
//! A stage that fails does not keep the next ones from running: one run shows all that is wrong.

pub mod programs;
mod stages;
mod units;

use std::time::Instant;

use anyhow::{Result, bail};

use crate::steps::shown;
pub use stages::{Stage, sweep};

/// A stage fails at so many times its budget: machines differ, and so do their loads.
const OVER_BUDGET: u32 = 2;

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
    pub fn one(passed: bool) -> Self {
        Self {
            passed: usize::from(passed),
            failed: usize::from(!passed),
        }
    }

    /// Adds another's.
    pub fn add(&mut self, other: Self) {
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
        let (took, budget) = (began.elapsed(), stage.budget());
        let told = format!(
            "{} took {} of {}",
            stage.title(),
            shown(took),
            shown(budget)
        );
        let over = took > budget * OVER_BUDGET;
        println!(
            "{} {told}",
            if over { "✗ twice over budget:" } else { "  " }
        );
        count.add(Count {
            passed: 0,
            failed: usize::from(over),
        });
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
