//! `cargo xtask bench`: builds everything optimised and has `sutler-bench` measure it.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::places::{self, Profile};
use crate::steps::Steps;
use crate::{command, pack, setup};

/// The package and program that measures.
const PACKAGE: &str = "sutler-bench";

/// Measures, with programs as they were last built if `built`.
///
/// # Errors
/// Something does not build or work, a bar is missed, or the machine was too unsteady to tell.
pub fn run(quick: bool, built: bool) -> Result<()> {
    setup::require_root("bench")?;
    if !built {
        // The generator shares the cores with what it measures, so it is an optimised one too.
        Steps::default().step("build optimised, pack the images", || {
            pack::pack_for_demo(Profile::Release, &[PACKAGE])
        })?;
        keep_images()?;
    }
    let mut bench = Command::new(Profile::Release.folder().join(PACKAGE));
    bench.args(quick.then_some("--quick"));
    command::run(&mut bench)
}

fn keep_images() -> Result<()> {
    let kept = places::bench_images();
    fs::create_dir_all(&kept).with_context(|| kept.display().to_string())?;
    for image in ["busybox.oci.tar", "sutler-local.oci.tar"] {
        fs::copy(places::images().join(image), kept.join(image)).context(image)?;
    }
    Ok(())
}
