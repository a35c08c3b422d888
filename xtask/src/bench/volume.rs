//! Create to published, end to end through the API, over the bare CSI calls to the same plugin.

use std::fs::File;
use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;
use sutler_testkit::world::World;

use super::api::Api;
use super::raw::Raw;
use super::{Figure, Samples};

/// Size of each volume: the smallest that one would use.
const VOLUME_BYTES: u64 = 64 << 20;

/// Bytes of the write before a calibrating sync: one page.
const PAGE: [u8; 4096] = [7; 4096];

/// Bar of this issue.
const RATIO_MAX: f64 = 2.0;

pub(super) fn measure(world: &World, rounds: usize) -> Result<Vec<Figure>> {
    let api = Api::of(world.state_dir())?;
    let socket = world
        .plugin_container("local")?
        .socket
        .context("it has a socket")?;
    let raw = Raw::connect(&socket, world.state_dir().join("agent/volumes/bench"))?;
    let image = world.image("busybox");
    let (mut ours, mut bare) = (Samples::default(), Samples::default());
    let (mut syncs, mut calls) = (Samples::default(), Samples::default());
    // One round that does not count: images unpacked, caches warm on both sides.
    end_to_end(&api, &image, "warm")?;
    raw.round("bench-warm", VOLUME_BYTES)?;
    for round in 0..rounds {
        bare.add_time(raw.round(&format!("bench-{round}"), VOLUME_BYTES)?);
        ours.add_time(end_to_end(&api, &image, &format!("b{round}"))?);
        syncs.add_time(one_sync(world)?);
        let started = Instant::now();
        api.call("GET", "/v1/version", None)?;
        calls.add_time(started.elapsed());
    }
    std::fs::remove_dir_all(world.state_dir().join("agent/volumes/bench"))?;
    let ratio = ours.over(&bare);
    Ok(vec![
        Figure::barred(
            "create to published, ours / bare CSI calls",
            &ratio,
            "",
            RATIO_MAX,
        ),
        Figure::calibrator("create to published through the API", &ours, " ms"),
        Figure::calibrator("the same CSI calls made directly", &bare, " ms"),
        Figure::calibrator("one fdatasync of a page on the same disk", &syncs, " ms"),
        Figure::calibrator("one HTTP call", &calls, " ms"),
    ])
}

/// Runs a task with a new volume and gives the time until the volume was published for it: the
/// task's next state after preparing.
fn end_to_end(api: &Api, image: &str, name: &str) -> Result<Duration> {
    let volume = json!({ "name": name, "size": VOLUME_BYTES, "path": "/data" });
    let started = Instant::now();
    let task = api.run(image, &["true"], Some(volume))?;
    api.wait_task(&task, &["starting", "running", "releasing", "finished"])?;
    let taken = started.elapsed();
    api.wait_task(&task, &["finished"])?;
    api.purge(name)?;
    Ok(taken)
}

fn one_sync(world: &World) -> Result<Duration> {
    let path = world.root().join("sync");
    let mut file = File::options().create(true).append(true).open(path)?;
    file.write_all(&PAGE)?;
    let started = Instant::now();
    file.sync_data()?;
    Ok(started.elapsed())
}
