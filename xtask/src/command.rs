//! Other programs: run to their end, with what they said when they fail.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

use crate::places;

/// Cargo at the root of the workspace, as from a shell.
///
/// `cargo run` tells a program of its own package in its environment. Build scripts that look at
/// the same variables (ring's does) would count as changed by them, and all that stands on their
/// crates be built anew at each turn from the shell to xtask and back.
pub fn cargo() -> Command {
    let mut cargo = Command::new("cargo");
    let told = std::env::vars_os().map(|(name, _)| name);
    for name in told.filter(|name| is_of_our_package(&name.to_string_lossy())) {
        cargo.env_remove(name);
    }
    cargo.current_dir(places::root());
    cargo
}

/// Source: "Environment variables Cargo sets for crates", and those of `cargo run`.
fn is_of_our_package(variable: &str) -> bool {
    let of_package = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"];
    let alone = ["CARGO", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE"];
    alone.contains(&variable) || of_package.iter().any(|start| variable.starts_with(start))
}

/// Runs a command with its output going where ours goes.
///
/// # Errors
/// It cannot be started, or ends with a failure; the text holds the command line.
pub fn run(command: &mut Command) -> Result<()> {
    let line = shown(command);
    let status = command.status().with_context(|| format!("start {line}"))?;
    if !status.success() {
        bail!("{line} failed: {status}");
    }
    Ok(())
}

/// Runs a command and gives its standard output; nothing is shown unless it fails.
///
/// # Errors
/// It cannot be started, or ends with a failure; the text holds the command line and all that
/// it said.
pub fn output(command: &mut Command) -> Result<String> {
    let line = shown(command);
    let output = finished(command)?;
    if !output.status.success() {
        let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
        said.push_str(&String::from_utf8_lossy(&output.stderr));
        bail!("{line} failed: {}\n{}", output.status, said.trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command and gives all of its end, a failure too.
///
/// # Errors
/// It cannot be started.
pub fn finished(command: &mut Command) -> Result<Output> {
    let line = shown(command);
    command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {line}"))
}

/// Finds a program in `PATH` and where Debian keeps those of root.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let root_folders = ["/usr/sbin", "/sbin", "/usr/local/go/bin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(root_folders)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// Gives the command line as one would type it.
pub fn shown(command: &Command) -> String {
    let mut line = quoted(command.get_program());
    for argument in command.get_args() {
        write!(line, " {}", quoted(argument)).expect("a string takes any text");
    }
    line
}

fn quoted(text: &OsStr) -> String {
    let text = text.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "-_./:=,+@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_tells_the_command_and_what_it_said() {
        let error = output(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]))
            .expect_err("exits with 3")
            .to_string();
        for part in [
            "sh -c 'echo out; echo err >&2; exit 3'",
            "status: 3",
            "out\nerr",
        ] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn cargo_hears_of_its_settings_and_not_of_our_package() {
        for of_ours in [
            "CARGO",
            "CARGO_PKG_NAME",
            "CARGO_MANIFEST_DIR",
            "CARGO_BIN_NAME",
        ] {
            assert!(is_of_our_package(of_ours), "{of_ours}");
        }
        for setting in [
            "CARGO_HOME",
            "CARGO_TARGET_DIR",
            "CARGO_TERM_COLOR",
            "CARGO_NET_OFFLINE",
        ] {
            assert!(!is_of_our_package(setting), "{setting}");
        }
    }

    #[test]
    fn a_command_line_is_shown_as_one_would_type_it() {
        let mut command = Command::new("a");
        command.args(["b-c", "d e", "", "it's"]);
        assert_eq!(shown(&command), "a b-c 'd e' '' 'it'\\''s'");
    }
}
