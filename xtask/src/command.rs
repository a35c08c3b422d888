//! Other programs: run to their end, with what they said when they fail.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

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
    fn a_command_line_is_shown_as_one_would_type_it() {
        let mut command = Command::new("a");
        command.args(["b-c", "d e", "", "it's"]);
        assert_eq!(shown(&command), "a b-c 'd e' '' 'it'\\''s'");
    }
}
