//! The figures of docs/specification.md, measured here and now.
//!
//! Programs are built optimised, the generator among them; clusters are of the real program;
//! durability is on. Times are compared within one run: a run is a number of rounds, and each
//! round does once whatever a ratio is made of, calibrators included. A run in which the median
//! of a calibrator differs by more than a fifth between its first and its last third is void and
//! done again, up to a bound; a ratio with too few runs left is VOID, which counts as missed.
//! Generator and cluster share the machine's cores. Bars on times and ratios hold for the median
//! of the runs, bars on counts and sizes for the worst.
//!
//! **Create to published over the raw calls.** The raw side is CreateVolume, NodeStageVolume and
//! NodePublishVolume straight on the socket of the very plugin process that the cluster uses
//! ([`raw`]). On our side the time of creating runs from before the POST until a waiting caller
//! is told FINISHED. A volume is published only for a task, and a task also needs its image; so
//! the time of publishing is what the volume *adds* to a task, from before its POST until a
//! waiting caller is told that it is past preparing: the same task is run with the volume and
//! without one. Both times hold records, locks, messages and answers. The task with a new volume
//! in one request is held to the same bar, with nothing taken off: from before its POST until a
//! waiting caller is told that it is past preparing, the look-up of its image included.
//!
//! **Container over the bare runtime.** A no-op task from its POST until its end is told, over
//! `runc run` of the same bundle ([`bare`]), which also makes, starts, awaits and deletes.
//! The stamps of start and end are printed besides.
//!
//! **Syncs per volume.** strace counts every call of `sutler up` that syncs the disk, from idle
//! to idle; the plugin's own are not ours to count. *Serial* are those begun while the caller
//! waited for FINISHED.
//!
//! **First file.** From the start of `sutler up` on an empty folder until a second task has read
//! what a first one wrote, all through the command line, images packed but not unpacked.
//!
//! **Idle.** After that nothing is asked for [`fresh::IDLE_WINDOW`].

mod api;
mod bare;
mod creates;
mod disk;
mod driver;
mod fresh;
mod process;
mod raw;
mod report;
mod rounds;
mod scale;
mod stats;
mod syncs;

use std::fs;

use anyhow::{Context, Result, bail};
use sutler_testkit::world::{World, WorldConfig};

use self::api::Api;
pub use self::driver::serve;
use self::report::Report;
use self::rounds::{Run, Stage};
pub use self::scale::scale;
use xtask::places::{self, Profile};
use xtask::setup;
use xtask::steps::Steps;

/// Runs of each figure.
const RUNS: usize = 7;

/// Fewest good runs to judge by, however many were wanted.
const GOOD_RUNS_MIN: usize = 5;

/// Runs of a quick look.
const QUICK_RUNS: usize = 2;

/// Runs tried for each one wanted, void ones included.
const TRIES_PER_RUN: usize = 3;

/// Measures the programs as they were last built, prints the table and writes it to
/// `target/bench.md`.
///
/// # Errors
/// Something does not work, a bar is missed, or the machine was too unsteady to tell.
pub fn measure(quick: bool) -> Result<()> {
    setup::require_root("bench")?;
    let steps = Steps::default();
    let runs = if quick { QUICK_RUNS } else { RUNS };
    let mut config = WorldConfig::new(Profile::Release.folder().join("sutler"));
    config.images = places::bench_images();
    let mut report = Report::of_machine(&std::env::temp_dir());
    measure_fresh(&config, &steps, runs, &mut report)?;
    measure_warm(config, &steps, runs, &mut report)?;

    let text = report.markdown();
    println!("\n{text}");
    let path = places::target().join("bench.md");
    fs::write(&path, &text).with_context(|| path.display().to_string())?;
    match report.missed().as_slice() {
        [] => Ok(()),
        missed => bail!("missed: {}", missed.join("; ")),
    }
}

/// Clusters that start from nothing.
fn measure_fresh(
    config: &WorldConfig,
    steps: &Steps,
    runs: usize,
    report: &mut Report,
) -> Result<()> {
    let measure = |run| {
        let name = format!("run {run} of {runs}: first file, then idle");
        steps.step(&name, || fresh::measure(config))
    };
    let measured: Vec<_> = (1..=runs).map(measure).collect::<Result<_>>()?;
    report.figures(fresh::figures(&measured));
    Ok(())
}

/// One cluster that has been up for a while.
fn measure_warm(
    config: WorldConfig,
    steps: &Steps,
    runs: usize,
    report: &mut Report,
) -> Result<()> {
    let mut world = steps.step("start a cluster", || World::up(config))?;
    let interleaved = interleaved(&world, steps, runs)?;
    for run in &interleaved {
        report.note(run.summary());
    }
    report.figures(rounds::figures(&interleaved, runs.min(GOOD_RUNS_MIN)));
    let api = Api::connect(world.state_dir())?;
    let measure = |run| {
        let name = format!("run {run} of {runs}: syncs and processor time of creates");
        steps.step(&name, || creates::measure(&mut world, &api, run))
    };
    let measured: Vec<_> = (1..=runs).map(measure).collect::<Result<_>>()?;
    report.figures(creates::figures(&measured));
    Ok(())
}

/// Does runs until enough are good or the bound is reached.
fn interleaved(world: &World, steps: &Steps, wanted: usize) -> Result<Vec<Run>> {
    let mut stage = steps.step("warm up", || Stage::prepare(world))?;
    let mut runs: Vec<Run> = Vec::new();
    let good = |runs: &[Run]| runs.iter().filter(|run| !run.is_void()).count();
    while good(&runs) < wanted && runs.len() < wanted * TRIES_PER_RUN {
        let name = format!(
            "run {} of {wanted}: volumes and containers",
            good(&runs) + 1
        );
        let run = steps.step(&name, || stage.run())?;
        println!("  {}", run.summary());
        runs.push(run);
    }
    Ok(runs)
}
