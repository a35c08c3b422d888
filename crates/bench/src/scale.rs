//! What a created volume costs when there are many, and how a cluster with many starts again.
//!
//! `sutler up` with a driver whose calls cost next to nothing ([`driver`](super::driver)) or with
//! Kubernetes' mock driver, and 32 callers who each wait for FINISHED. Processor time is that of
//! the threads of `sutler up` alone, over the last [`WINDOW`] volumes before each size. Then it is
//! killed with -9, while the plugin lives on, and started again: until the first answer about a
//! volume, until a new volume is FINISHED, and until a whole second went by in which it took next
//! to nothing of a core.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sutler_ids::Bytes;
use sutler_testkit::poll;
use sutler_testkit::world::{World, WorldConfig};
use xtask::places::{self, Profile};
use xtask::setup;

use super::api::Api;
use super::process::{Work, peak_bytes, resident_bytes};

/// Volumes over which the cost of one is taken.
const WINDOW: usize = 1000;

/// Callers at once.
const CALLERS: usize = 32;

/// The class of the volumes, and its plugin.
const CLASS: &str = "many";

/// Small: nothing is written to them.
const SIZE: Bytes = Bytes::mib(1);

/// Longest wait for a cluster that starts again.
const AGAIN_WITHIN: Duration = Duration::from_secs(300);

/// A second in which less than this was spent is a quiet one.
const QUIET: Duration = Duration::from_millis(50);

/// What one size showed.
struct Sized {
    volumes: usize,
    per_second: f64,
    cpu_ms: f64,
    resident: u64,
}

/// What starting again showed.
struct Again {
    first_answer: Duration,
    first_create: Duration,
    quiet: Duration,
    spent: Duration,
    peak: u64,
}

/// Measures the programs as they were last built, up to each of the sizes, and prints a table.
///
/// # Errors
/// Something does not work.
pub fn scale(sizes: &[usize], mock: bool) -> Result<()> {
    setup::require_root("bench")?;
    let mut config = WorldConfig::new(Profile::Release.folder().join("sutler")).without_local();
    config.images = places::bench_images();
    let mut world = World::up(config)?;
    let definition = format!(
        "name = {CLASS:?}\nimage = {:?}\nmounts = [\"/dev\"]\nmounts_volumes = false\n",
        world.image(if mock { "mock-driver" } else { "bench-driver" })
    );
    let path = world.root().join(format!("{CLASS}.toml"));
    fs::write(&path, definition)?;
    world.ok(&["plugin", "add", &path.display().to_string()]);
    world.wait_class(CLASS, 1)?;

    let api = Api::connect(world.state_dir())?;
    let mut made = 0;
    let mut rows = Vec::new();
    for size in sizes {
        create(&api, made, size.saturating_sub(WINDOW))?;
        made = made.max(size.saturating_sub(WINDOW));
        rows.push(window(&mut world, &api, made, *size)?);
        made = *size;
        println!("{}", rows.last().map(Sized::line).unwrap_or_default());
    }
    let again = start_again(&mut world, made)?;
    println!("\n{}\n{}", table(&rows), again.text(made));
    Ok(())
}

fn create(api: &Api, from: usize, to: usize) -> Result<()> {
    let names = (from..to).map(|i| format!("v{i}")).collect();
    api.create_all(names, CLASS, SIZE, CALLERS)
}

fn window(world: &mut World, api: &Api, from: usize, to: usize) -> Result<Sized> {
    let up = world.master().pid().context("sutler up runs")?;
    let (before, began) = (Work::of(up)?, Instant::now());
    create(api, from, to)?;
    let took = began.elapsed();
    let made = to.saturating_sub(from) as f64;
    Ok(Sized {
        volumes: to,
        per_second: made / took.as_secs_f64(),
        cpu_ms: Work::of(up)?.since(&before).cpu.as_secs_f64() * 1e3 / made,
        resident: resident_bytes(up)?,
    })
}

/// Kills it, starts it again and watches it come to rest.
fn start_again(world: &mut World, made: usize) -> Result<Again> {
    world.master().kill();
    let began = Instant::now();
    world.master().start()?;
    let pid = world.master().pid().context("sutler up runs")?;
    let api = Api::connect(world.state_dir())?;
    let known = format!("v{}", made / 2);
    poll::until("a volume is told", AGAIN_WITHIN, || api.knows(&known))?;
    let first_answer = began.elapsed();
    poll::until("a volume is made", AGAIN_WITHIN, || {
        api.create("after", CLASS, SIZE)
    })?;
    let first_create = began.elapsed();
    let mut before = Work::of(pid)?;
    let quiet = poll::until("it is quiet", AGAIN_WITHIN, || -> Result<Duration> {
        let from = began.elapsed();
        // A whole second is what is looked at.
        std::thread::sleep(Duration::from_secs(1));
        let now = Work::of(pid)?;
        let spent = now.since(&before).cpu;
        before = now;
        anyhow::ensure!(spent < QUIET, "{spent:?} in the last second");
        Ok(from)
    })?;
    Ok(Again {
        first_answer,
        first_create,
        quiet,
        spent: before.since(&Work::default()).cpu,
        peak: peak_bytes(pid)?,
    })
}

impl Sized {
    fn line(&self) -> String {
        format!(
            "| {} | {:.2} | {:.0} | {:.0} |",
            self.volumes,
            self.cpu_ms,
            self.per_second,
            self.resident as f64 / 1e6
        )
    }
}

impl Again {
    fn text(&self, volumes: usize) -> String {
        let mut text = format!("killed with -9 and started again with {volumes} volumes:\n");
        for (what, took) in [
            ("first answer", self.first_answer),
            ("first volume FINISHED", self.first_create),
            ("quiet", self.quiet),
        ] {
            writeln!(text, "- {what} after {:.2} s", took.as_secs_f64()).expect("a string");
        }
        let (spent, peak) = (self.spent.as_secs_f64(), self.peak as f64 / 1e6);
        write!(
            text,
            "- {spent:.2} s of processor time, {peak:.0} MB at the peak"
        )
        .expect("a string");
        text
    }
}

fn table(rows: &[Sized]) -> String {
    let mut text = "| volumes | processor ms per create | creates per second | resident MB |\n\
        |---:|---:|---:|---:|"
        .to_owned();
    for row in rows {
        text.push('\n');
        text.push_str(&row.line());
    }
    text
}
