//! One command that was run to its end: status and what it said.

use std::fmt;
use std::io::Read;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::poll;

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The command line.
    pub line: String,
    /// Its exit status, unless a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} → {:?}\n{}{}",
            self.line, self.code, self.stdout, self.stderr
        )
    }
}

impl Told {
    /// Checks status and that each text occurs in what it said.
    ///
    /// # Panics
    /// One does not hold; the panic shows all.
    pub fn expect(&self, code: i32, texts: &[&str]) -> &Self {
        assert!(self.code == Some(code), "wanted status {code}: {self}");
        for text in texts {
            let said = self.stdout.contains(text) || self.stderr.contains(text);
            assert!(said, "wanted {text:?}: {self}");
        }
        self
    }
}

/// Runs a command; one that is over its time is killed.
pub(super) fn run(mut command: Command, within: Duration) -> Result<Told> {
    let line = shown(&command);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("start {line}"))?;
    let stdout = reader(child.stdout.take().context("stdout is a pipe")?);
    let stderr = reader(child.stderr.take().context("stderr is a pipe")?);
    let ended = poll::until(&format!("`{line}` has ended"), within, || {
        match child.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err("it runs".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    });
    if ended.is_err() {
        // Fails only when it has just ended.
        let _ = child.kill();
        let _ = child.wait();
    }
    let (stdout, stderr) = (joined(stdout), joined(stderr));
    let status = ended.with_context(|| format!("{stdout}{stderr}"))?;
    Ok(Told {
        line,
        code: status.code(),
        stdout,
        stderr,
    })
}

fn reader(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is still worth showing.
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn joined(reader: thread::JoinHandle<String>) -> String {
    reader
        .join()
        .expect("the reader has nothing to panic about")
}

fn shown(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    let program = program.rsplit('/').next().unwrap_or_default().to_owned();
    let args = command
        .get_args()
        .map(|arg| arg.to_string_lossy().into_owned());
    std::iter::once(program)
        .chain(args)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_both_streams_are_kept_apart() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 4"]);
        let told = run(command, Duration::from_secs(10)).expect("sh is everywhere");
        assert_eq!(
            (told.code, told.stdout.as_str(), told.stderr.as_str()),
            (Some(4), "out\n", "err\n")
        );
    }

    #[test]
    fn a_command_over_its_time_is_killed_and_named() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo begun; exec tail -f /dev/null"]);
        let error = run(command, Duration::from_millis(300)).expect_err("never ends");
        let told = format!("{error:#}");
        assert!(told.contains("begun") && told.contains("tail -f"), "{told}");
    }
}
