//! `cargo xtask gate`: what every commit passes, in the time that one waits for before a commit.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::steps::shown;
use crate::test::Stage;
use crate::{demo, test};

/// Its time when all dependencies are built: docs/testing.md.
const BUDGET: Duration = Duration::from_secs(300);

/// Runs format, lints, unit tests and the demo.
///
/// # Errors
/// Something failed; what, has been printed.
pub fn run() -> Result<()> {
    let started = Instant::now();
    test::run(&[Stage::Format, Stage::Lints, Stage::Unit])?;
    demo::run(false)?;
    let (took, budget) = (shown(started.elapsed()), shown(BUDGET));
    println!("gate passed: took {took} of {budget} (warm)");
    Ok(())
}
