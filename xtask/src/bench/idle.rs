//! What an idle `sutler up` costs: memory, and CPU time while nothing happens.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use sutler_testkit::world::World;

use super::{Figure, Samples};

/// Bar of this issue, in MB.
const RESIDENT_MB_MAX: f64 = 60.0;

/// Most of one core that idling may take, in percent: heartbeats and probes, no busy loop.
const CPU_PERCENT_MAX: f64 = 1.0;

/// How long idling is watched: several heartbeats and probes.
const WATCHED: Duration = Duration::from_secs(20);

/// Clock ticks a second in `/proc/PID/stat`: fixed in the kernel's interface (`USER_HZ`).
const TICKS_A_SECOND: f64 = 100.0;

pub(super) fn measure(world: &mut World) -> Result<Vec<Figure>> {
    let pid = world.master().pid().context("it runs")?;
    let before = cpu_seconds(pid)?;
    // A measurement over time: nothing is waited for.
    std::thread::sleep(WATCHED);
    let used = cpu_seconds(pid)? - before;
    let percent = Samples::from(vec![100.0 * used / WATCHED.as_secs_f64()]);
    let resident = Samples::from(vec![resident_mb(pid)?]);
    Ok(vec![
        Figure::barred(
            "idle `sutler up`, resident",
            &resident,
            " MB",
            RESIDENT_MB_MAX,
        ),
        Figure::barred(
            "idle `sutler up`, share of one core",
            &percent,
            " %",
            CPU_PERCENT_MAX,
        ),
    ])
}

fn resident_mb(pid: i32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024.0 / 1e6)
}

fn cpu_seconds(pid: i32) -> Result<f64> {
    const USER_TIME_AFTER_NAME: usize = 11;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("a stat line has a name")?;
    let ticks = fields.split(' ').skip(USER_TIME_AFTER_NAME).take(2);
    let ticks = ticks.map(str::parse::<f64>).sum::<Result<f64, _>>()?;
    Ok(ticks / TICKS_A_SECOND)
}
