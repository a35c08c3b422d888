//! The table: figures with their bars, and the machine that they were measured on.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use sutler_testkit::host;

use super::stats::{median, worst};
use xtask::command;
use xtask::places;

/// What became of a bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Kept.
    Pass,
    /// Missed.
    Fail,
    /// Not measured: the machine was not steady enough.
    Void,
    /// There is none.
    NoBar,
}

impl Verdict {
    const fn text(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Fail => "**FAIL**",
            Self::Void => "**VOID**",
            Self::NoBar => "",
        }
    }
}

/// Which number of several runs a bar is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// The median: for times and their ratios, which others' work disturbs.
    Median,
    /// The worst: for counts and sizes, which nothing disturbs.
    Worst,
}

/// One line of the table.
#[derive(Debug)]
pub(super) struct Figure {
    what: String,
    median: f64,
    worst: f64,
    unit: &'static str,
    bar: Option<f64>,
    verdict: Verdict,
}

impl Figure {
    /// A figure by its runs, without a bar.
    pub(super) fn new(what: &str, unit: &'static str, runs: &[f64]) -> Self {
        Self {
            what: what.to_owned(),
            median: median(runs),
            worst: worst(runs),
            unit,
            bar: None,
            verdict: Verdict::NoBar,
        }
    }

    /// The same, held against a bar that it may not exceed.
    pub(super) fn bar(mut self, bar: f64, held: Held) -> Self {
        let number = match held {
            Held::Median => self.median,
            Held::Worst => self.worst,
        };
        self.bar = Some(bar);
        self.verdict = if number <= bar {
            Verdict::Pass
        } else {
            Verdict::Fail
        };
        self
    }

    /// The same, not to be believed.
    pub(super) fn void(mut self) -> Self {
        self.verdict = Verdict::Void;
        self
    }

    fn line(&self) -> String {
        let number = |n| shown(n, self.unit);
        let bar = self.bar.map(|bar| format!("≤ {}", shown(bar, self.unit)));
        let (what, verdict) = (&self.what, self.verdict.text());
        let (median, worst) = (number(self.median), number(self.worst));
        let bar = bar.unwrap_or_default();
        format!("| {what} | {median} | {worst} | {bar} | {verdict} |\n")
    }
}

/// All that one `cargo xtask bench` found.
#[derive(Debug, Default)]
pub(super) struct Report {
    facts: Vec<String>,
    notes: Vec<String>,
    figures: Vec<Figure>,
}

impl Report {
    /// Begins with what the machine is like before anything runs on it.
    pub(super) fn of_machine(measured_on: &Path) -> Self {
        Self {
            facts: facts(measured_on),
            ..Self::default()
        }
    }

    /// Adds lines of the table.
    pub(super) fn figures(&mut self, figures: impl IntoIterator<Item = Figure>) {
        self.figures.extend(figures);
    }

    /// Adds a sentence below the table.
    pub(super) fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    /// Names the figures whose bar was missed or could not be measured.
    pub(super) fn missed(&self) -> Vec<&str> {
        let bad = |figure: &&Figure| {
            figure.bar.is_some() && matches!(figure.verdict, Verdict::Fail | Verdict::Void)
        };
        let missed = self.figures.iter().filter(bad);
        missed.map(|figure| figure.what.as_str()).collect()
    }

    /// Gives it as Markdown.
    pub(super) fn markdown(&self) -> String {
        let mut text = String::from("# Figures\n\n");
        let listed = |lines: &[String]| -> String {
            lines.iter().map(|line| format!("- {line}\n")).collect()
        };
        text.push_str(&listed(&self.facts));
        text.push_str("\n| figure | median | worst | bar | |\n|---|---:|---:|---:|---|\n");
        for figure in &self.figures {
            text.push_str(&figure.line());
        }
        if !self.notes.is_empty() {
            write!(text, "\n{}", listed(&self.notes)).expect("a string takes any text");
        }
        text
    }
}

fn shown(number: f64, unit: &str) -> String {
    let digits = if number.abs() < 10.0 { 2 } else { 1 };
    format!("{number:.digits$} {unit}").trim_end().to_owned()
}

fn facts(measured_on: &Path) -> Vec<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let commit = Command::new("git")
        .args(["describe", "--always", "--dirty"])
        .current_dir(places::root())
        .output();
    let commit = commit.map(|told| String::from_utf8_lossy(&told.stdout).trim().to_owned());
    let runc = command::output(Command::new("runc").arg("--version")).unwrap_or_default();
    vec![
        format!("commit {}", commit.unwrap_or_default()),
        format!("kernel Linux {}", read("/proc/sys/kernel/osrelease").trim()),
        format!("{cores} cores of {}", processor(&read("/proc/cpuinfo"))),
        format!("memory {}", total_memory(&read("/proc/meminfo"))),
        format!("disk {}", disk(measured_on)),
        runc.lines().next().unwrap_or_default().to_owned(),
        format!("load average at the start {}", read("/proc/loadavg").trim()),
    ]
}

fn processor(info: &str) -> String {
    let line = info.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(": "));
    name.map_or("an unknown kind".to_owned(), |(_, name)| name.to_owned())
}

fn total_memory(info: &str) -> String {
    let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib: Option<f64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    format!("{:.1} GiB", kib.unwrap_or_default() / 1024.0 / 1024.0)
}

/// Names the file system that a folder is on: the innermost mount above it.
fn disk(folder: &Path) -> String {
    let mounts = host::mounts();
    let above = mounts.iter().filter(|m| folder.starts_with(&m.point));
    let mount = above.max_by_key(|mount| mount.point.as_os_str().len());
    let Some(mount) = mount else {
        return "unknown".to_owned();
    };
    let device = mount.source.rsplit('/').next().unwrap_or_default();
    let queue = format!("/sys/class/block/{device}/queue");
    let read = |name: &str| fs::read_to_string(format!("{queue}/{name}")).unwrap_or_default();
    let (cache, turns) = (read("write_cache"), read("rotational"));
    let kind = if turns.trim() == "1" {
        "rotating"
    } else {
        "not rotating"
    };
    format!(
        "{} on {}, {}, {kind}",
        mount.kind,
        mount.source,
        cache.trim()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_holds_for_the_number_that_it_is_for() {
        let runs = [1.0, 2.0, 9.0];
        let verdict = |held| Figure::new("x", "s", &runs).bar(2.0, held).verdict;
        assert_eq!(verdict(Held::Median), Verdict::Pass);
        assert_eq!(verdict(Held::Worst), Verdict::Fail);
    }

    #[test]
    fn missed_and_unmeasured_bars_are_named() {
        let one = |what, number| Figure::new(what, "", &[number]);
        let mut report = Report::default();
        report.figures([
            one("kept", 1.0).bar(1.0, Held::Worst),
            one("missed", 1.1).bar(1.0, Held::Worst),
            one("unsteady", 0.1).bar(1.0, Held::Worst).void(),
            one("told", 5.0),
            one("unsteady too", 5.0).void(),
        ]);
        assert_eq!(report.missed(), ["missed", "unsteady"]);
        let text = report.markdown();
        assert!(
            text.contains("| missed | 1.10 | 1.10 | ≤ 1.00 | **FAIL** |"),
            "{text}"
        );
        assert!(text.contains("| told | 5.00 | 5.00 |  |  |"), "{text}");
    }
}
