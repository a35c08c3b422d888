//! What one created volume costs the cluster: syncs of the disk, and processor time.
//!
//! Volumes are made one after the other. The cluster is idle before and after, so that every
//! sync that a volume causes is counted, those after FINISHED was told too.

use anyhow::{Context, Result};
use sutler_api::Timestamp;
use sutler_testkit::world::World;

use super::api::{Api, Told};
use super::process::Work;
use super::report::{Figure, Held};
use super::rounds::{CLASS, VOLUME_SIZE};
use super::syncs::SyncTrace;

/// Volumes made in one count.
const CREATES: usize = 20;

/// Bar: syncs for one created volume.
const SYNCS_MAX: f64 = 4.0;

/// What one created volume costs.
#[derive(Debug)]
pub(super) struct PerCreate {
    /// Syncs of `sutler up`, all of them.
    pub syncs: f64,
    /// Those between the POST and FINISHED told.
    pub serial_syncs: f64,
    /// Milliseconds of processor time of `sutler up`.
    pub cpu_ms: f64,
}

/// Counts over a number of creates; the volumes are gone after it.
pub(super) fn measure(world: &mut World, api: &Api, run: usize) -> Result<PerCreate> {
    let up = world.master().pid().context("sutler up runs")?;
    let before = Work::of(up)?;
    make_all(api, &format!("c{run}"))?;
    let spent = Work::of(up)?.since(&before);
    remove_all(api, &format!("c{run}"))?;

    let trace = SyncTrace::attach(up, world.root())?;
    trace.wait_idle()?;
    let told = make_all(api, &format!("s{run}"))?;
    trace.wait_idle()?;
    let syncs = trace.finish()?;
    remove_all(api, &format!("s{run}"))?;
    let first = told.first().context("volumes were made")?.from;
    let caused: Vec<&Timestamp> = syncs.iter().filter(|sync| **sync >= first).collect();
    let serial = caused.iter().filter(|sync| is_serial(sync, &told));
    Ok(PerCreate {
        syncs: caused.len() as f64 / CREATES as f64,
        serial_syncs: serial.count() as f64 / CREATES as f64,
        cpu_ms: spent.cpu.as_secs_f64() * 1e3 / CREATES as f64,
    })
}

/// Gives the lines of the table.
pub(super) fn figures(measured: &[PerCreate]) -> Vec<Figure> {
    let figure = |what, unit, number: &dyn Fn(&PerCreate) -> f64| {
        Figure::new(what, unit, &measured.iter().map(number).collect::<Vec<_>>())
    };
    let serial = "— serial: begun before FINISHED was told";
    let cpu = "processor time of `sutler up` per created volume";
    vec![
        figure("syncs per created volume", "", &|c| c.syncs).bar(SYNCS_MAX, Held::Worst),
        figure(serial, "", &|c| c.serial_syncs),
        figure(cpu, "ms", &|c| c.cpu_ms),
    ]
}

fn make_all(api: &Api, prefix: &str) -> Result<Vec<Told>> {
    let make = |i| api.create(&format!("{prefix}-{i}"), CLASS, VOLUME_SIZE);
    (0..CREATES).map(make).collect()
}

fn remove_all(api: &Api, prefix: &str) -> Result<()> {
    (0..CREATES).try_for_each(|i| api.remove(&format!("{prefix}-{i}")))
}

/// Tells whether somebody waited for a create while this sync began.
fn is_serial(sync: &Timestamp, told: &[Told]) -> bool {
    told.iter().any(|told| {
        let after = std::time::Duration::try_from(sync.duration_since(told.from));
        after.is_ok_and(|after| after < told.took)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_a_sync_that_somebody_waited_for_is_serial() {
        let at = |ms| Timestamp::from_millisecond(ms).expect("a small number");
        let told = [1_000, 2_000].map(|from| Told {
            from: at(from),
            took: Duration::from_millis(100),
        });
        for (ms, serial) in [(999, false), (1_000, true), (1_100, false), (2_050, true)] {
            assert_eq!(is_serial(&at(ms), &told), serial, "{ms}");
        }
    }
}
