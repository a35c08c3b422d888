//! The test programs of the workspace: built in one go, found, run one after the other, counted.
//!
//! Built all together even when only some are run: with fewer packages chosen, cargo would give
//! their dependencies other features and build those a second time.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use sutler_testkit::poll;

use super::{Count, units};
use crate::steps::shown;
use crate::{command, places};

/// Longest time of one test program; one over it hangs.
const PROGRAM_WITHIN: Duration = Duration::from_secs(900);

/// How many cases each property is tried with; whoever sets it decides.
const CASES: &str = "SUTLER_CASES";

/// As many as half a minute allows the slowest property: 200 sequences of the master's books
/// took 3.3 s of one processor.
const CASES_OF_STAGE: &str = "2000";

/// Which programs to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Selection {
    /// All that the others are not.
    Unit,
    /// The end-to-end tests.
    EndToEnd,
    /// The crash matrix.
    Crash,
}

impl Selection {
    /// Gives the stage of a test program by its target's name.
    fn of(target: &str) -> Self {
        match target {
            "e2e" => Self::EndToEnd,
            "crash_matrix" => Self::Crash,
            _other => Self::Unit,
        }
    }
}

/// A built test program.
#[derive(Debug)]
pub struct Program {
    /// Package and target.
    pub title: String,
    /// The target's name.
    pub target: String,
    selection: Selection,
    pub executable: PathBuf,
    /// The package's folder, in which it runs.
    pub folder: PathBuf,
}

/// Builds all test programs and runs the selected ones.
pub(super) fn run(selection: Selection) -> Result<Count> {
    let mut count = Count::default();
    let built = build()?;
    if selection == Selection::Unit {
        count.add(units::check()?);
    }
    for program in built
        .into_iter()
        .filter(|program| program.selection == selection)
    {
        count.add(run_one(&program)?);
    }
    Ok(count)
}

/// Runs the examples in the docs.
pub(super) fn run_doc_tests() -> Result<Count> {
    let mut cargo = command::cargo();
    cargo.args(["test", "--quiet", "--doc", "--workspace"]);
    let output = command::finished(&mut cargo)?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut count = count_in(&said);
    if !output.status.success() {
        println!("{said}{}", String::from_utf8_lossy(&output.stderr));
        count.failed = count.failed.max(1);
    }
    println!("{} examples in docs: {} passed", mark(count), count.passed);
    Ok(count)
}

/// Builds all test programs.
///
/// # Errors
/// One does not build.
pub fn build() -> Result<Vec<Program>> {
    let mut cargo = command::cargo();
    cargo.args([
        "test",
        "--workspace",
        "--no-run",
        "--message-format=json-render-diagnostics",
    ]);
    let line = command::shown(&cargo);
    let built = cargo.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let built = built.with_context(|| format!("start {line}"))?;
    if !built.status.success() {
        bail!("the tests do not build");
    }
    let messages = String::from_utf8_lossy(&built.stdout).into_owned();
    Ok(messages.lines().filter_map(program).collect())
}

fn program(message: &str) -> Option<Program> {
    let message: Value = serde_json::from_str(message).ok()?;
    if message["profile"]["test"] != true {
        return None;
    }
    let folder = PathBuf::from(message["manifest_path"].as_str()?)
        .parent()?
        .to_owned();
    let target = message["target"]["name"].as_str()?;
    let package = folder.file_name()?.to_string_lossy().into_owned();
    Some(Program {
        title: format!("{package} {target}"),
        target: target.to_owned(),
        selection: Selection::of(target),
        executable: PathBuf::from(message["executable"].as_str()?),
        folder,
    })
}

fn run_one(program: &Program) -> Result<Count> {
    let started = Instant::now();
    let mut command = Command::new(&program.executable);
    command
        .current_dir(&program.folder)
        .env("CARGO_MANIFEST_DIR", &program.folder);
    command.env("SUTLER_TEST_IMAGES", places::images());
    if std::env::var_os(CASES).is_none() {
        command.env(CASES, CASES_OF_STAGE);
    }
    if program.selection != Selection::Unit {
        // They share the machine.
        command.arg("--test-threads=1");
    }
    let log = places::target().join("test.log");
    let file = std::fs::File::create(&log).with_context(|| log.display().to_string())?;
    command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file);
    let child = command
        .spawn()
        .with_context(|| format!("start {}", program.title))?;
    let succeeded = wait(child, &program.title)?;
    let said = std::fs::read(&log).with_context(|| log.display().to_string())?;
    let said = String::from_utf8_lossy(&said).into_owned();
    let mut count = count_in(&said);
    if !succeeded {
        println!("{said}");
        count.failed = count.failed.max(1);
    }
    if count == Count::default() {
        return Ok(count);
    }
    let title = &program.title;
    let told = format!("{} passed, {} failed", count.passed, count.failed);
    println!(
        "{} {title:<42} {told:<24} {:>8}",
        mark(count),
        shown(started.elapsed())
    );
    Ok(count)
}

/// Waits for a program and says whether it succeeded; one over its time is killed.
fn wait(mut child: Child, title: &str) -> Result<bool> {
    let ended = poll::until(
        &format!("{title} has ended"),
        PROGRAM_WITHIN,
        || match child.try_wait() {
            Ok(Some(status)) => Ok(status.success()),
            Ok(None) => Err("it runs".to_owned()),
            Err(error) => Err(error.to_string()),
        },
    );
    if let Err(error) = &ended {
        println!("✗ {error:#}");
        child.kill().context("kill it")?;
        child.wait().context("wait for it")?;
    }
    Ok(ended.unwrap_or(false))
}

fn mark(count: Count) -> char {
    if count.failed == 0 { '✓' } else { '✗' }
}

/// Adds up the result lines of a test program's output.
pub fn count_in(said: &str) -> Count {
    let mut count = Count::default();
    for line in said
        .lines()
        .filter(|line| line.starts_with("test result: "))
    {
        let number = |word: &str| {
            let before = line.split(word).next()?.trim_end();
            before.rsplit(' ').next()?.parse().ok()
        };
        let passed = number(" passed").unwrap_or(0);
        let failed = number(" failed;").unwrap_or(0);
        count.add(Count { passed, failed });
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_added_up() {
        let said = "running 3 tests\n\
            test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out\n\
            test result: ok. 40 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(
            count_in(said),
            Count {
                passed: 42,
                failed: 1
            }
        );
        assert_eq!(count_in("no result"), Count::default());
    }

    #[test]
    fn a_test_program_is_found_in_cargos_messages() {
        let message = r#"{"reason":"compiler-artifact","manifest_path":"/r/crates/csi/Cargo.toml",
            "target":{"name":"e2e"},"profile":{"test":true},"executable":"/r/t/e2e-1"}"#;
        let found = program(message).expect("is a test program");
        assert_eq!(
            (found.title.as_str(), found.selection),
            ("csi e2e", Selection::EndToEnd)
        );
        assert!(program(&message.replace("true", "false")).is_none());
    }
}
