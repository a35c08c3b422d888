//! `cargo xtask bench`: the figures of the specification, each beside what it is measured against.
//!
//! Ratios are taken within one run, the calibrators interleaved with what they calibrate, so
//! that a slow minute of the machine slows both. Every figure is the median and the worst of at
//! least five rounds, with durability on and optimised programs.

mod api;
mod container_start;
mod first_file;
mod idle;
mod raw;
mod samples;
mod syncs;
mod volume;

use anyhow::{Result, bail};
use sutler_testkit::world::{World, WorldConfig};

use crate::places::{self, Profile};
use crate::{pack, setup};
pub use samples::Samples;

/// Fewest rounds that give a median and a worst.
pub const ROUNDS_MIN: usize = 5;

/// One figure of the table.
#[derive(Debug, Clone)]
pub struct Figure {
    /// What was measured.
    pub what: String,
    /// Median, with its unit.
    pub median: String,
    /// Worst, with its unit.
    pub worst: String,
    /// What the median must not exceed, with its unit; empty for a calibrator.
    pub bar: String,
    /// Whether it holds.
    pub holds: bool,
}

impl Figure {
    /// A figure that is shown for comparison only.
    pub(crate) fn calibrator(what: &str, samples: &Samples, unit: &str) -> Self {
        Self::new(what, samples, unit, None)
    }

    /// A figure whose median has a bar.
    pub(crate) fn barred(what: &str, samples: &Samples, unit: &str, bar: f64) -> Self {
        Self::new(what, samples, unit, Some(bar))
    }

    fn new(what: &str, samples: &Samples, unit: &str, bar: Option<f64>) -> Self {
        Self {
            what: what.to_owned(),
            median: format!("{}{unit}", rounded(samples.median())),
            worst: format!("{}{unit}", rounded(samples.worst())),
            bar: bar
                .map(|bar| format!("≤ {}{unit}", rounded(bar)))
                .unwrap_or_default(),
            holds: bar.is_none_or(|bar| samples.median() <= bar),
        }
    }
}

/// Measures everything and prints the table.
///
/// # Errors
/// A measurement failed, or a figure is over its bar.
pub fn run(rounds: usize) -> Result<()> {
    setup::require_root("bench")?;
    let rounds = rounds.max(ROUNDS_MIN);
    pack::pack_for_demo(Profile::Release)?;
    let mut figures = volume::measure(&up()?, rounds)?;
    figures.extend(syncs::measure(&mut up()?, rounds)?);
    figures.extend(container_start::measure(&up()?, rounds)?);
    figures.extend(first_file::measure(rounds)?);
    figures.extend(idle::measure(&mut up()?)?);
    println!("\n{}", table(&figures));
    let over: Vec<&str> = figures
        .iter()
        .filter(|f| !f.holds)
        .map(|f| f.what.as_str())
        .collect();
    if !over.is_empty() {
        bail!("over the bar: {}", over.join("; "));
    }
    Ok(())
}

/// The optimised program, with the local plugin.
pub(crate) fn config() -> WorldConfig {
    let mut config = WorldConfig::new(Profile::Release.folder().join("sutler"));
    config.images = places::images();
    config
}

fn up() -> Result<World> {
    World::up(config())
}

fn table(figures: &[Figure]) -> String {
    let mut text = String::from("| figure | median | worst | bar | |\n|---|---:|---:|---:|---|\n");
    for figure in figures {
        let holds = match (figure.bar.is_empty(), figure.holds) {
            (true, _) => "calibrator",
            (false, true) => "holds",
            (false, false) => "**over**",
        };
        let Figure {
            what,
            median,
            worst,
            bar,
            ..
        } = figure;
        text += &format!("| {what} | {median} | {worst} | {bar} | {holds} |\n");
    }
    text
}

/// Three digits are all that such a figure is good for.
fn rounded(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_over_its_bar_is_marked() {
        let samples = Samples::from(vec![1.0, 2.5, 9.0]);
        let figures = [
            Figure::barred("quick", &samples, " ms", 2.5),
            Figure::barred("slow", &samples, " ms", 2.0),
            Figure::calibrator("bare", &samples, " ms"),
        ];
        let table = table(&figures);
        assert!(
            table.contains("| quick | 2.50 ms | 9.00 ms | ≤ 2.50 ms | holds |"),
            "{table}"
        );
        assert!(
            table.contains("| slow | 2.50 ms | 9.00 ms | ≤ 2.00 ms | **over** |"),
            "{table}"
        );
        assert!(table.contains("|  | calibrator |"), "{table}");
    }
}
