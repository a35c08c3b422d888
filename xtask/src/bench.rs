//! `cargo xtask bench`: builds everything optimised and has `sutler-bench` measure it.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::places::{self, Profile};
use crate::steps::Steps;
use crate::{command, pack, setup};

/// The package and program that measures.
const PACKAGE: &str = "sutler-bench";

/// What the figures need.
const IMAGES: [&str; 2] = ["busybox.oci.tar", "sutler-local.oci.tar"];

/// What many volumes need.
const MANY_IMAGES: [&str; 2] = ["mock-driver.oci.tar", "bench-driver.oci.tar"];

/// Measures, with programs as they were last built if `built`; the cost of many volumes if sizes
/// are given.
///
/// # Errors
/// Something does not build or work, a bar is missed, or the machine was too unsteady to tell.
pub fn run(quick: bool, volumes: &[usize], mock: bool, built: bool) -> Result<()> {
    setup::require_root("bench")?;
    if !built {
        // The generator shares the cores with what it measures, so it is an optimised one too.
        Steps::default().step("build optimised, pack the images", || {
            pack::pack_for_demo(Profile::Release, &[PACKAGE])?;
            match volumes {
                [] => Ok(()),
                _sizes => {
                    pack::pack_bench_driver()?;
                    pack::pack_mock_driver()
                }
            }
        })?;
        keep_images(if volumes.is_empty() {
            &IMAGES
        } else {
            &MANY_IMAGES
        })?;
    }
    let mut bench = Command::new(Profile::Release.folder().join(PACKAGE));
    bench.args(quick.then_some("--quick"));
    let sizes: Vec<String> = volumes.iter().map(ToString::to_string).collect();
    if !sizes.is_empty() {
        bench.arg("--volumes").arg(sizes.join(","));
        bench.args(mock.then_some("--mock"));
    }
    command::run(&mut bench)
}

fn keep_images(names: &[&str]) -> Result<()> {
    let kept = places::bench_images();
    fs::create_dir_all(&kept).with_context(|| kept.display().to_string())?;
    for image in names {
        fs::copy(places::images().join(image), kept.join(image))
            .with_context(|| (*image).to_owned())?;
    }
    Ok(())
}
