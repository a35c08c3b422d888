//! From `sutler up` on an empty state folder to a file on a volume, by the command line, with the
//! images' archives on disk.

use std::time::Instant;

use anyhow::{Result, ensure};
use sutler_testkit::world::World;

use super::{Figure, Samples, config};

/// Bar of this issue, in seconds.
const SECONDS_MAX: f64 = 10.0;

pub(super) fn measure(rounds: usize) -> Result<Vec<Figure>> {
    let mut samples = Samples::default();
    for _round in 0..rounds {
        let mut world = World::stopped(config())?;
        let image = world.image("busybox");
        let started = Instant::now();
        world.start_all()?;
        world.wait_ready()?;
        let write = [
            "run",
            "-v",
            "first:64M:/data",
            &image,
            "--",
            "sh",
            "-c",
            "echo 1 > /data/f",
        ];
        let told = world.sutler(&write);
        ensure!(told.code == Some(0), "{told}");
        samples.add(started.elapsed().as_secs_f64());
    }
    let what = "`sutler up` on an empty folder to the first file on a volume";
    Ok(vec![Figure::barred(what, &samples, " s", SECONDS_MAX)])
}
