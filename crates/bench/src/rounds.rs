//! The interleaved rounds: each does once everything that a ratio is made of, calibrators and
//! all, so that what disturbs the machine disturbs both sides.

use anyhow::{Context, Result};
use sutler_api::task::{RunTaskRequest, TaskVolumeRequest};
use sutler_ids::Bytes;
use sutler_testkit::poll;
use sutler_testkit::world::{COMMAND_WITHIN, World};

use super::api::{self, Api, TaskTimes};
use super::bare::Bare;
use super::disk::SyncedFile;
use super::raw::{RawPlugin, RawTimes};
use super::report::{Figure, Held};
use super::stats::{self, DRIFT_MAX, median, ms, quantile};

/// Rounds of one run: thirds of eight, so that a median shrugs off three outliers.
const ROUNDS: usize = 24;

/// Rounds before the first run, so that caches and connections are warm.
const WARM_UP_ROUNDS: usize = 2;

/// Calibrating syncs in one round.
const SYNCS_PER_ROUND: usize = 16;

/// Size of every measured volume.
pub(super) const VOLUME_SIZE: Bytes = Bytes::mib(64);

/// The class of every measured volume, and its plugin.
pub(super) const CLASS: &str = "local";

/// Bar: created and published end to end, over the raw calls; for both ways of asking.
const VOLUME_RATIO_MAX: f64 = 2.0;

/// What a container does that shall cost nothing.
const NO_OP: [&str; 1] = ["/bin/true"];

/// What a task does that lends its bundle.
const STAY: [&str; 2] = ["/bin/sleep", "1000000"];

/// All that a round needs.
pub(super) struct Stage<'a> {
    world: &'a World,
    api: Api,
    raw: RawPlugin,
    bare: Bare,
    disk: SyncedFile,
    image: String,
    rounds: usize,
}

/// Times of one run in milliseconds, one of each kind per round; syncs more.
#[derive(Debug, Default)]
pub(super) struct Run {
    /// The calibrator of the disk.
    pub syncs: Vec<f64>,
    /// CreateVolume straight to the plugin.
    pub raw_create: Vec<f64>,
    /// Stage and publish straight to the plugin.
    pub raw_publish: Vec<f64>,
    /// All of them.
    pub raw: Vec<f64>,
    /// POST of a volume to FINISHED told.
    pub create: Vec<f64>,
    /// What the volume then adds to a task, POST to prepared told.
    pub publish: Vec<f64>,
    /// POST of a task together with a new volume to prepared told.
    pub at_once: Vec<f64>,
    /// POST of a task without a volume to prepared told.
    pub prepared: Vec<f64>,
    /// The bare runtime, made to deleted.
    pub bare: Vec<f64>,
    /// POST of a no-op to its container made.
    pub made: Vec<f64>,
    /// POST of a no-op to its end.
    pub ended: Vec<f64>,
    /// POST of a no-op to its end told.
    pub told: Vec<f64>,
}

impl<'a> Stage<'a> {
    /// Prepares all sides and warms them up.
    pub(super) fn prepare(world: &'a World) -> Result<Self> {
        let api = Api::connect(world.state_dir())?;
        let image = world.image("busybox");
        let lender = api.start(&api::task(&image, &STAY))?;
        let container = poll::until("the lender's container is there", COMMAND_WITHIN, || {
            let mut containers = world.containers().into_iter();
            containers
                .find(|c| c.init.is_some() && c.id.contains(lender.as_str()))
                .context("no container of the lender")
        })?;
        let socket = world.plugin_container(CLASS)?.socket;
        let socket = socket.context("a plugin has a socket")?;
        let volumes = world.state_dir().join("agent/volumes");
        let mut stage = Self {
            raw: RawPlugin::connect(&socket, &volumes.join(CLASS))?,
            bare: Bare::of(&container.folder, world.root(), &NO_OP)?,
            disk: SyncedFile::create(world.root())?,
            world,
            api,
            image,
            rounds: 0,
        };
        let mut warm_up = Run::default();
        for _ in 0..WARM_UP_ROUNDS {
            stage.round(&mut warm_up).with_context(|| world.said())?;
        }
        Ok(stage)
    }

    /// Does all rounds of one run.
    pub(super) fn run(&mut self) -> Result<Run> {
        let mut run = Run::default();
        for _ in 0..ROUNDS {
            self.round(&mut run).with_context(|| self.world.said())?;
        }
        Ok(run)
    }

    fn round(&mut self, run: &mut Run) -> Result<()> {
        self.rounds += 1;
        let name = format!("r{}", self.rounds);
        run.syncs.extend(ms(self.disk.append(SYNCS_PER_ROUND)?));
        run.add_raw(self.raw.round(&format!("raw-{name}"), VOLUME_SIZE)?);
        let created = self.api.create(&name, CLASS, VOLUME_SIZE)?;
        run.create.extend(ms([created.took]));
        let plain = self.api.run(&self.task([]))?;
        let with_volume = self.api.run(&self.task([api::known_volume(&name)?]))?;
        self.api.remove(&name)?;
        run.add_tasks(plain, with_volume);
        run.bare.extend(ms([self.bare.run()?]));
        let name = format!("{name}-at-once");
        let new = api::new_volume(&name, CLASS, VOLUME_SIZE)?;
        let at_once = self.api.run(&self.task([new]))?;
        self.api.remove(&name)?;
        run.at_once.extend(ms([at_once.prepared]));
        Ok(())
    }

    fn task<const N: usize>(&self, volumes: [TaskVolumeRequest; N]) -> RunTaskRequest {
        RunTaskRequest {
            volumes: volumes.into(),
            ..api::task(&self.image, &NO_OP)
        }
    }
}

impl Run {
    fn add_raw(&mut self, times: RawTimes) {
        self.raw_create.extend(ms([times.create]));
        self.raw_publish.extend(ms([times.publish]));
        self.raw.extend(ms([times.sum()]));
    }

    fn add_tasks(&mut self, plain: TaskTimes, with_volume: TaskTimes) {
        let prepared = ms([plain.prepared, with_volume.prepared]);
        // May be below zero in one round, when the other task was disturbed.
        self.publish.push(prepared[1] - prepared[0]);
        self.prepared.push(prepared[0]);
        self.made.extend(ms([plain.made]));
        self.ended.extend(ms([plain.ended]));
        self.told.extend(ms([plain.told]));
    }

    /// Created and published end to end, over the raw calls.
    pub(super) fn volume_ratio(&self) -> f64 {
        (median(&self.create) + median(&self.publish)) / median(&self.raw)
    }

    /// A task with a new volume, all in one request, over the raw calls.
    pub(super) fn at_once_ratio(&self) -> f64 {
        median(&self.at_once) / median(&self.raw)
    }

    /// A no-op task, its end told, over the bare runtime.
    pub(super) fn container_ratio(&self) -> f64 {
        median(&self.told) / median(&self.bare)
    }

    /// Tells whether its ratios are worth nothing.
    pub(super) fn is_void(&self) -> bool {
        !self.drifted().is_empty()
    }

    /// Says in one line what it found, and whether that counts.
    pub(super) fn summary(&self) -> String {
        let (volume, container) = (self.volume_ratio(), self.container_ratio());
        let counts = match self.drifted().as_slice() {
            [] => String::new(),
            drifted => format!(", void: {} drifted", drifted.join(", ")),
        };
        format!("volume {volume:.2} ×, container {container:.2} ×{counts}")
    }

    /// Names the calibrators that drifted, with their shares.
    pub(super) fn drifted(&self) -> Vec<String> {
        let calibrators = [
            ("fdatasync", &self.syncs),
            ("raw CSI calls", &self.raw),
            ("runc run", &self.bare),
        ];
        let drifts = calibrators.map(|(name, times)| (name, stats::drift(times)));
        drifts
            .into_iter()
            .filter(|(_, drift)| *drift > DRIFT_MAX)
            .map(|(name, drift)| format!("{name} by {:.0} %", drift * 100.0))
            .collect()
    }
}

/// Gives the lines of the table. With less than `fewest` good runs it shows all,
/// and no bar is kept.
pub(super) fn figures(all: &[Run], fewest: usize) -> Vec<Figure> {
    let good: Vec<&Run> = all.iter().filter(|run| !run.is_void()).collect();
    let enough = good.len() >= fewest;
    let runs = if enough { good } else { all.iter().collect() };
    let lines = volume_figures(&runs)
        .into_iter()
        .chain(container_figures(&runs));
    let lines = lines.chain(disk_figures(&runs));
    lines
        .map(|line| if enough { line } else { line.void() })
        .collect()
}

fn figure(what: &str, unit: &'static str, runs: &[&Run], number: fn(&Run) -> f64) -> Figure {
    let numbers: Vec<f64> = runs.iter().map(|run| number(run)).collect();
    Figure::new(what, unit, &numbers)
}

fn volume_figures(runs: &[&Run]) -> Vec<Figure> {
    let ratio = "volume created, then published, over the raw CSI calls";
    let publish = "— what it adds to a task, POST to prepared told";
    let raw_publish = "— raw NodeStageVolume, NodePublishVolume";
    let at_once_ratio = "task with a new volume in one request, over the raw CSI calls";
    let prepared = "— the same task without a volume";
    vec![
        figure(ratio, "×", runs, Run::volume_ratio).bar(VOLUME_RATIO_MAX, Held::Median),
        figure("— create, POST to FINISHED told", "ms", runs, |run| {
            median(&run.create)
        }),
        figure(publish, "ms", runs, |run| median(&run.publish)),
        figure("— raw CreateVolume", "ms", runs, |run| {
            median(&run.raw_create)
        }),
        figure(raw_publish, "ms", runs, |run| median(&run.raw_publish)),
        figure("— raw, all three", "ms", runs, |run| median(&run.raw)),
        figure(at_once_ratio, "×", runs, Run::at_once_ratio).bar(VOLUME_RATIO_MAX, Held::Median),
        figure("— POST to prepared told", "ms", runs, |run| {
            median(&run.at_once)
        }),
        figure(prepared, "ms", runs, |run| median(&run.prepared)),
    ]
}

fn container_figures(runs: &[&Run]) -> Vec<Figure> {
    let ratio = "no-op task, POST to its end told, over `runc run`";
    vec![
        figure(ratio, "×", runs, Run::container_ratio),
        figure("— POST to container made", "ms", runs, |run| {
            median(&run.made)
        }),
        figure("— POST to its process ended", "ms", runs, |run| {
            median(&run.ended)
        }),
        figure("— POST to its end told", "ms", runs, |run| {
            median(&run.told)
        }),
        figure("— bare `runc run`", "ms", runs, |run| median(&run.bare)),
    ]
}

fn disk_figures(runs: &[&Run]) -> Vec<Figure> {
    let (half, most) = ("4 KiB and fdatasync, p50", "4 KiB and fdatasync, p99");
    vec![
        figure(half, "µs", runs, |run| quantile(&run.syncs, 0.5) * 1e3),
        figure(most, "µs", runs, |run| quantile(&run.syncs, 0.99) * 1e3),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> Run {
        Run {
            syncs: vec![1.0; 9],
            raw: vec![10.0; 9],
            create: vec![11.0; 9],
            publish: vec![4.0; 9],
            at_once: vec![15.0; 9],
            bare: vec![50.0; 9],
            told: vec![75.0; 9],
            ..Run::default()
        }
    }

    #[test]
    fn ratios_are_the_cluster_over_the_calibrator() {
        assert_eq!(run().volume_ratio(), 1.5);
        assert_eq!(run().at_once_ratio(), 1.5);
        assert_eq!(run().container_ratio(), 1.5);
    }

    #[test]
    fn a_drifting_calibrator_is_named_and_a_drifting_figure_is_none() {
        assert_eq!(run().drifted(), [] as [String; 0]);
        let mut drifting = run();
        drifting.told[6..].fill(750.0);
        assert_eq!(drifting.drifted(), [] as [String; 0]);
        drifting.bare[6..].fill(75.0);
        assert_eq!(drifting.drifted(), ["runc run by 50 %"]);
    }

    #[test]
    fn void_runs_do_not_count_and_too_few_good_ones_keep_no_bar() {
        let missed = |all: &[Run], wanted| {
            let mut report = crate::report::Report::default();
            report.figures(figures(all, wanted));
            !report.missed().is_empty()
        };
        let mut void = run();
        void.bare[6..].fill(75.0);
        void.create.fill(900.0);
        let all = [run(), void, run()];
        assert!(!missed(&all, 2));
        assert!(missed(&all, 3));
    }
}
