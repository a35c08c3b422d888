//! A cluster from nothing: time to the first file on a volume, and what it takes when idle.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sutler_testkit::world::{COMMAND_WITHIN, World, WorldConfig};

use super::process::{Spent, Work, resident_bytes};
use super::report::{Figure, Held};
use super::rounds::CLASS;

/// How long an idle cluster is watched: several times any period in it, heartbeats among them.
pub(super) const IDLE_WINDOW: Duration = Duration::from_secs(30);

/// Bar: seconds from `sutler up` to the first file.
const FIRST_FILE_SECONDS_MAX: f64 = 10.0;

/// Bar: resident megabytes when idle.
const IDLE_MEGABYTES_MAX: f64 = 60.0;

/// Bar: percent of one core when idle. A busy loop takes 100; heartbeats and probes take a
/// fraction of one.
const IDLE_CPU_PERCENT_MAX: f64 = 1.0;

/// What the file says.
const CONTENT: &str = "the first file";

/// What one fresh cluster showed.
#[derive(Debug)]
pub(super) struct Fresh {
    /// From the start of `sutler up` to the content read.
    pub first_file: Duration,
    /// Resident bytes of `sutler up`.
    pub up_bytes: u64,
    /// Resident bytes of the plugin's process.
    pub plugin_bytes: u64,
    /// Resident bytes of the plugin's shim.
    pub shim_bytes: u64,
    /// What `sutler up` spent in the window.
    pub up_spent: Spent,
    /// What the plugin and its shim spent in the window.
    pub others_spent: Spent,
}

/// Starts a cluster on an empty state folder, reads a file from a volume, then leaves it alone.
pub(super) fn measure(config: &WorldConfig) -> Result<Fresh> {
    let mut world = World::stopped(config.clone())?;
    let began = Instant::now();
    world.start_all()?;
    world.wait_ready().with_context(|| world.said())?;
    let read = first_file(&world)?;
    let first_file = began.elapsed();
    ensure!(read.trim_end() == CONTENT, "the file says {read:?}");
    idle(&mut world, first_file)
}

fn first_file(world: &World) -> Result<String> {
    let image = world.image("busybox");
    let made = format!("first:64M:{CLASS}:/data");
    let write = format!("echo {CONTENT} > /data/file");
    let shell = ["sh", "-c", &write];
    sutler(
        world,
        &[&["run", "-v", &made, &image, "--"], &shell[..]].concat(),
    )?;
    let cat = ["cat", "/data/file"];
    sutler(
        world,
        &[&["run", "-v", "first:/data:ro", &image, "--"], &cat[..]].concat(),
    )
}

fn sutler(world: &World, arguments: &[&str]) -> Result<String> {
    let told = world.sutler_within(COMMAND_WITHIN, arguments);
    ensure!(told.code == Some(0), "{told}\n{}", world.said());
    Ok(told.stdout)
}

fn idle(world: &mut World, first_file: Duration) -> Result<Fresh> {
    let plugin = world.plugin_container(CLASS)?;
    let up = world.master().pid().context("sutler up runs")?;
    let init = plugin.init.context("the plugin runs")?;
    let shim = plugin.shim.context("the plugin's shim runs")?;
    let look = || -> Result<[Work; 3]> { Ok([Work::of(up)?, Work::of(init)?, Work::of(shim)?]) };
    let before = look()?;
    // The window is what is measured; nothing is waited for.
    std::thread::sleep(IDLE_WINDOW);
    let after = look()?;
    let [up_spent, plugin_spent, shim_spent] = [0, 1, 2].map(|i| after[i].since(&before[i]));
    Ok(Fresh {
        first_file,
        up_bytes: resident_bytes(up)?,
        plugin_bytes: resident_bytes(init)?,
        shim_bytes: resident_bytes(shim)?,
        up_spent,
        others_spent: Spent {
            cpu: plugin_spent.cpu + shim_spent.cpu,
            switches: plugin_spent.switches + shim_spent.switches,
        },
    })
}

/// Gives the lines of the table.
pub(super) fn figures(measured: &[Fresh]) -> Vec<Figure> {
    let figure = |what, unit, number: &dyn Fn(&Fresh) -> f64| {
        Figure::new(what, unit, &measured.iter().map(number).collect::<Vec<_>>())
    };
    let first = "`sutler up` on an empty folder to the first file read";
    let resident = "idle: resident, `sutler up` with its plugin and shim";
    let processor = "idle: processor, `sutler up`";
    let others = "— processor, plugin and shim";
    let all_bytes = |f: &Fresh| f.up_bytes + f.plugin_bytes + f.shim_bytes;
    vec![
        figure(first, "s", &|f| f.first_file.as_secs_f64())
            .bar(FIRST_FILE_SECONDS_MAX, Held::Median),
        figure(resident, "MB", &|f| megabytes(all_bytes(f))).bar(IDLE_MEGABYTES_MAX, Held::Worst),
        figure("— `sutler up` alone", "MB", &|f| megabytes(f.up_bytes)),
        figure("— sutler-local", "MB", &|f| megabytes(f.plugin_bytes)),
        figure("— its shim", "MB", &|f| megabytes(f.shim_bytes)),
        figure(processor, "% of a core", &|f| percent(f.up_spent))
            .bar(IDLE_CPU_PERCENT_MAX, Held::Worst),
        figure("— its context switches", "/s", &|f| {
            f.up_spent.switches as f64 / IDLE_WINDOW.as_secs_f64()
        }),
        figure(others, "% of a core", &|f| percent(f.others_spent)),
    ]
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Gives the share of one core in the window.
fn percent(spent: Spent) -> f64 {
    spent.cpu.as_secs_f64() / IDLE_WINDOW.as_secs_f64() * 100.0
}
