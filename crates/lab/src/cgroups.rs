//! On a machine with cgroup version 2 alone: the tests that cgroups matter to, as they are.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::guest::Guest;
use xtask::places;
use xtask::test::Count;
use xtask::test::programs::{Program, count_in};

/// The guest's script.
pub(super) const SCRIPT: &str = "cgroups";

/// Longest time of the guest, from power on to off.
const WITHIN: Duration = Duration::from_secs(900);

/// Longest time of one test program, in seconds.
const PROGRAM_SECONDS: u32 = 300;

/// A test program and how the names begin of the tests that are run; all where none is named.
struct Chosen {
    folder: &'static str,
    target: &'static str,
    tests: &'static [&'static str],
}

/// Containers: limits, want of memory, adoption, removal; a whole journey of the real program,
/// a memory limit and a restart under running containers; and what needs more rights than
/// a confined machine has, the growth of a mounted ext4.
const CHOSEN: [Chosen; 3] = [
    Chosen {
        folder: "crates/runtime",
        target: "lifecycle",
        tests: &[],
    },
    Chosen {
        folder: "crates/sutler",
        target: "e2e",
        tests: &[
            "journey::run_makes_the_volume_that_it_names_with_a_size",
            "journey::what_one_task_writes_the_next_one_reads",
            "exit_status::want_of_memory_is_told_as_such",
            "restart::containers_outlive_a_killed_agent_and_are_adopted",
        ],
    },
    Chosen {
        folder: "plugins/local",
        target: "plugin",
        tests: &["journeys::a_mounted_ext4_grows"],
    },
];

/// Gives the chosen programs of all that were built.
///
/// # Errors
/// One of them was not built.
pub(super) fn programs(built: &[Program]) -> Result<Vec<&Program>> {
    let chosen = CHOSEN.iter().map(|chosen| {
        let folder = places::root().join(chosen.folder);
        let found = built
            .iter()
            .find(|program| program.folder == folder && program.target == chosen.target);
        found.with_context(|| format!("no test program {} of {}", chosen.target, chosen.folder))
    });
    chosen.collect()
}

/// Gives the script that runs them.
pub(super) fn script(programs: &[&Program]) -> String {
    let mut script = String::from("echo \"LAB cgroups $(grep -c ' cgroup ' /proc/mounts)\"\n");
    let images: PathBuf = places::images();
    for (program, chosen) in programs.iter().zip(&CHOSEN) {
        let folder = program.folder.display();
        let tests = match chosen.tests {
            [] => String::new(),
            tests => tests.join(" "),
        };
        writeln!(
            script,
            "cd {folder} && CARGO_MANIFEST_DIR={folder} SUTLER_TEST_IMAGES={} \
             timeout {PROGRAM_SECONDS} {} --test-threads=1 {tests} < /dev/null\n\
             echo \"LAB program $? {}\"",
            images.display(),
            program.executable.display(),
            program.title
        )
        .expect("a string takes any text");
    }
    script
}

/// Listens to the guest to its end and counts.
///
/// # Errors
/// It does not come up, does not end, or has cgroups of version 1.
pub(super) fn listen(guest: Guest) -> Result<Count> {
    let deadline = Instant::now() + WITHIN;
    let mut count = Count::default();
    let (mut said, mut ended, mut pure) = (String::new(), 0, false);
    while let Some(line) = guest.line(deadline).with_context(|| said.clone())? {
        let Some(word) = line.strip_prefix("LAB ") else {
            writeln!(said, "{line}").expect("a string takes any text");
            continue;
        };
        if word == "cgroups 0" {
            pure = true;
        } else if let Some(result) = word.strip_prefix("program ") {
            count.add(told(result, &said));
            said.clear();
            ended += 1;
        }
    }
    let console = guest.console();
    guest.wait_off()?;
    ensure!(
        pure,
        "the guest is not of cgroup version 2 alone:\n{console}"
    );
    ensure!(ended == CHOSEN.len(), "it ended early:\n{said}\n{console}");
    Ok(count)
}

/// Prints one program's result, and all that it said if it failed.
fn told(result: &str, said: &str) -> Count {
    let (status, title) = result.split_once(' ').unwrap_or((result, ""));
    let mut count = count_in(said);
    if status != "0" || count.passed == 0 {
        println!("{said}");
        count.failed = count.failed.max(1);
    }
    let mark = if count.failed == 0 { '✓' } else { '✗' };
    println!(
        "{mark} cgroup v2: {title:<31} {} passed, {} failed",
        count.passed, count.failed
    );
    count
}
