//! The stages of a test run: what each does. Their order is the order of their cost.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use sutler_testkit::traces::Traces;
use sutler_testkit::{poll, world};

use super::Count;
use super::programs::{self, Selection};
use crate::places::Profile;
use crate::{command, deny, pack, setup};

/// A stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Stage {
    /// rustfmt
    Format,
    /// clippy, warnings refused
    Lints,
    /// Unit, property and contract tests, tidy among them
    Unit,
    /// Licences, bans and sources of dependencies
    Deny,
    /// The real program in worlds of its own
    EndToEnd,
    /// Killed at every failpoint, and held against the promise
    Crash,
    /// On an emulated machine: cgroup version 2 alone, and power cuts; only when it is named
    Lab,
}

/// Longest wait for the last process of a stage to go.
const GONE_WITHIN: Duration = Duration::from_secs(10);

impl Stage {
    /// All of them, in order.
    pub const ALL: [Self; 7] = [
        Self::Format,
        Self::Lints,
        Self::Unit,
        Self::Deny,
        Self::EndToEnd,
        Self::Crash,
        Self::Lab,
    ];

    /// Whether it runs when none is named. The lab does not: it takes minutes more, and an
    /// emulator that nothing else needs.
    pub(super) fn is_daily(self) -> bool {
        match self {
            Self::Format | Self::Lints | Self::Unit | Self::Deny | Self::EndToEnd | Self::Crash => {
                true
            }
            Self::Lab => false,
        }
    }

    /// Its name in the report.
    pub fn title(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::Lints => "lints",
            Self::Unit => "unit, property and contract tests",
            Self::Deny => "dependencies",
            Self::EndToEnd => "end-to-end tests",
            Self::Crash => "crash matrix",
            Self::Lab => "lab",
        }
    }

    /// Its time on a quiet machine of two cores that has nothing built or installed; together,
    /// without the lab, the 25 minutes of docs/testing.md.
    pub(super) fn budget(self) -> Duration {
        let minutes = match self {
            Self::Format => 1,
            Self::Lints => 5,
            Self::Unit => 9,
            Self::Deny | Self::EndToEnd => 3,
            Self::Crash => 4,
            Self::Lab => 10,
        };
        Duration::from_secs(minutes * 60)
    }

    /// Runs it.
    pub(super) fn run(self) -> Result<Count> {
        match self {
            Self::Format => cargo(&["fmt", "--all", "--check"]),
            Self::Lints => {
                let args = [
                    "clippy",
                    "--workspace",
                    "--all-targets",
                    "--",
                    "-D",
                    "warnings",
                ];
                cargo(&args)
            }
            Self::Unit => without_leftovers(|| {
                let mut count = programs::run(Selection::Unit)?;
                count.add(programs::run_doc_tests()?);
                Ok(count)
            }),
            Self::Deny => deny::check(false).map(|()| Count::one(true)),
            Self::EndToEnd => in_worlds(Selection::EndToEnd),
            Self::Crash => in_worlds(Selection::Crash),
            Self::Lab => lab(),
        }
    }
}

/// Runs tests of the packed program.
fn in_worlds(selection: Selection) -> Result<Count> {
    without_leftovers(|| {
        setup::require_root("test")?;
        pack::pack(Profile::Dev)?;
        programs::run(selection)
    })
}

/// Runs the lab, built with the rest of the workspace.
fn lab() -> Result<Count> {
    pack::pack_for_demo(Profile::Dev, &[])?;
    command::run(Command::new(Profile::Dev.folder().join("sutler-lab")).arg("run"))?;
    Ok(Count::one(true))
}

fn cargo(args: &[&str]) -> Result<Count> {
    command::run(command::cargo().args(args))?;
    Ok(Count::one(true))
}

/// Runs tests and then looks at the machine: whatever of ours is there is a failure, as is a
/// mount or loop device of anybody that was not there before. What an earlier run has left is
/// told and swept first, so that it is not taken for this one's.
fn without_leftovers(run: impl FnOnce() -> Result<Count>) -> Result<Count> {
    let before = Traces::ours();
    for line in before.lines() {
        println!("  an earlier run has left {line}");
    }
    if !before.is_empty() {
        sweep();
    }
    let everybodys = Traces::everybodys();
    let count = run();
    world::remove_namespaces_dir();
    let mut count = count?;
    let left = poll::until("the machine is empty", GONE_WITHIN, || {
        let left = Traces::ours().and(Traces::everybodys().since(&everybodys));
        poll::holds(left.is_empty(), || {
            left.lines().collect::<Vec<_>>().join("\n  ")
        })
    });
    match &left {
        Ok(()) => println!("✓ nothing is left on the machine"),
        Err(error) => println!("✗ left on the machine: {error:#}"),
    }
    count.add(Count::one(left.is_ok()));
    Ok(count)
}

/// Takes away what dead owners have left.
pub fn sweep() {
    world::sweep();
    world::remove_namespaces_dir();
}
