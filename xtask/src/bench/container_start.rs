//! A container through the API, from the call to its end, over a bare `runc run` of the same.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sutler_testkit::world::World;

use super::api::Api;
use super::{Figure, Samples};
use crate::command;

pub(super) fn measure(world: &World, rounds: usize) -> Result<Vec<Figure>> {
    let api = Api::of(world.state_dir())?;
    let image = world.image("busybox");
    let bundle = bundle(world.root())?;
    let (mut ours, mut bare) = (Samples::default(), Samples::default());
    through_api(&api, &image)?;
    through_runc(&bundle)?;
    for _round in 0..rounds {
        bare.add_time(through_runc(&bundle)?);
        ours.add_time(through_api(&api, &image)?);
    }
    Ok(vec![
        Figure::calibrator(
            "container `true` to its end, ours / bare runc run",
            &ours.over(&bare),
            "",
        ),
        Figure::calibrator("container `true` through the API", &ours, " ms"),
        Figure::calibrator("bare runc run of the same", &bare, " ms"),
    ])
}

fn through_api(api: &Api, image: &str) -> Result<Duration> {
    let started = Instant::now();
    let task = api.run(image, &["true"], None)?;
    api.wait_task(&task, &["finished"])?;
    Ok(started.elapsed())
}

fn through_runc(bundle: &Path) -> Result<Duration> {
    let id = format!("bench-{}", std::process::id());
    let root = bundle.join("state");
    let mut runc = Command::new(command::find_program("runc").context("runc")?);
    runc.arg("--root")
        .arg(root)
        .args(["run", "--bundle"])
        .arg(bundle)
        .arg(id);
    let started = Instant::now();
    command::output(&mut runc)?;
    Ok(started.elapsed())
}

/// Makes a bundle with busybox that runs `true`.
fn bundle(folder: &Path) -> Result<PathBuf> {
    let bundle = folder.join("bundle");
    let bin = bundle.join("rootfs/bin");
    fs::create_dir_all(&bin)?;
    fs::copy(
        command::find_program("busybox").context("busybox")?,
        bin.join("busybox"),
    )?;
    symlink("busybox", bin.join("true"))?;
    command::output(Command::new("runc").arg("spec").current_dir(&bundle))?;
    let path = bundle.join("config.json");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["/bin/true"]);
    config["linux"]["cgroupsPath"] = json!(format!("/sutler-bench-{}", std::process::id()));
    fs::write(&path, config.to_string())?;
    Ok(bundle)
}
