//! The OCI runtime behind a trait, and runc as the one we use.
//!
//! Every call is one run of the runtime's binary, bounded in time; its errors keep the binary's
//! own text, read from its JSON log. Nothing here retries or decides.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use serde::{Deserialize, Serialize};

use super::process::{ProcessEnd, wait_end};
use super::signal::Signal;
use super::spec::ContainerId;

/// Why a call of the runtime failed.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// Its binary could not be run.
    #[error("cannot run {}", binary.display())]
    Run {
        binary: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It did not end in time and was killed.
    #[error("{} {act} did not end within {} s", binary.display(), limit.as_secs())]
    TimedOut {
        binary: PathBuf,
        /// Its subcommand.
        act: &'static str,
        /// The time it had.
        limit: Duration,
    },
    /// It refused.
    #[error("{act}: {raw}")]
    Refused {
        /// Its subcommand.
        act: &'static str,
        /// Its own words.
        raw: String,
    },
    /// What it printed could not be read.
    #[error("{act}: unreadable answer {raw:?}")]
    Answer {
        /// Its subcommand.
        act: &'static str,
        /// What it printed.
        raw: String,
    },
}

/// The runtime's view of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuntimeState {
    /// Being made.
    Creating,
    /// Made; its command does not run yet.
    Created,
    /// Its command runs.
    Running,
    /// Frozen.
    Paused,
    /// Its first process ended.
    Stopped,
}

/// The five acts of an OCI runtime (OCI runtime specification, "Operations").
pub trait Runtime {
    /// Makes the container of a bundle, outputs connected, command not yet run; gives its pid.
    ///
    /// # Errors
    /// If the runtime refuses or cannot be run.
    fn create(
        &self,
        id: &ContainerId,
        bundle: &Path,
        outputs: (OwnedFd, OwnedFd),
    ) -> Result<i32, RuntimeError>;

    /// Runs the command of a made container; returns once it was executed or has failed to.
    ///
    /// # Errors
    /// If the runtime refuses or cannot be run.
    fn start(&self, id: &ContainerId) -> Result<(), RuntimeError>;

    /// Signals the first process, or with `all` every process of the container.
    ///
    /// # Errors
    /// If the runtime refuses (for example because it has ended) or cannot be run.
    fn kill(&self, id: &ContainerId, signal: Signal, all: bool) -> Result<(), RuntimeError>;

    /// Removes an ended container's cgroups and state; with `force` ends it first. Repeatable
    /// with `force`.
    ///
    /// # Errors
    /// If the runtime refuses or cannot be run.
    fn delete(&self, id: &ContainerId, force: bool) -> Result<(), RuntimeError>;

    /// What the runtime knows of the container; `None` if nothing.
    ///
    /// # Errors
    /// If the runtime cannot be run or its answer not read.
    fn state(&self, id: &ContainerId) -> Result<Option<RuntimeState>, RuntimeError>;
}

/// runc 1.1 or later (or a runtime with its command line).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runc {
    pub binary: PathBuf,
    /// Folder of its state, one per agent; best on a file system that a restart empties.
    pub root: PathBuf,
}

/// Longest a creation may take: it mounts, and network file systems may be slow to answer.
const CREATE_WITHIN: Duration = Duration::from_secs(100);

/// Longest every other call may take; a forced deletion itself waits 10 s for the kill to work.
const CALL_WITHIN: Duration = Duration::from_secs(30);

/// Most of an answer or error that is read; real ones have some hundred bytes.
const ANSWER_BYTES_MAX: u64 = 256 << 10;

impl Runc {
    /// Whether the runtime keeps state of a container, as its folder tells without running it.
    #[must_use]
    pub fn has_state(&self, id: &ContainerId) -> bool {
        self.root.join(id.as_str()).exists()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .arg("--root")
            .arg(&self.root)
            .args(["--log-format", "json"]);
        command.stdin(Stdio::null()).current_dir("/");
        command
    }

    /// One call whose words come on its standard error.
    fn call(&self, act: &'static str, args: &[&str]) -> Result<String, RuntimeError> {
        let mut command = self.command();
        command
            .arg(act)
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self.spawn(&mut command)?;
        let ended_well = self.finish(act, &mut child, CALL_WITHIN)?;
        if ended_well {
            return Ok(read_some(child.stdout.take()));
        }
        Err(RuntimeError::Refused {
            act,
            raw: last_error(&read_some(child.stderr.take())),
        })
    }

    fn spawn(&self, command: &mut Command) -> Result<Child, RuntimeError> {
        command.spawn().map_err(|source| RuntimeError::Run {
            binary: self.binary.clone(),
            source,
        })
    }

    /// Waits for the end of a call, bounded; `true` if it succeeded.
    fn finish(
        &self,
        act: &'static str,
        child: &mut Child,
        limit: Duration,
    ) -> Result<bool, RuntimeError> {
        let failed = |source| RuntimeError::Run {
            binary: self.binary.clone(),
            source,
        };
        let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())
            .map_err(|errno| failed(errno.into()))?;
        let end = wait_end(&pidfd, limit).map_err(failed)?;
        if end == ProcessEnd::StillRunning {
            child.kill().and_then(|()| child.wait()).map_err(failed)?;
            return Err(RuntimeError::TimedOut {
                binary: self.binary.clone(),
                act,
                limit,
            });
        }
        Ok(child.wait().map_err(failed)?.success())
    }
}

impl Runtime for Runc {
    fn create(
        &self,
        id: &ContainerId,
        bundle: &Path,
        (stdout, stderr): (OwnedFd, OwnedFd),
    ) -> Result<i32, RuntimeError> {
        const ACT: &str = "create";
        // Standard error is the container's, so the runtime's own words go to a file.
        let log = bundle.join("runc.log");
        let pid_file = bundle.join("runc.pid");
        let mut command = self.command();
        command
            .arg("--log")
            .arg(&log)
            .arg(ACT)
            .arg("--bundle")
            .arg(bundle);
        command.arg("--pid-file").arg(&pid_file).arg(id.as_str());
        command.stdout(stdout).stderr(stderr);
        let mut child = self.spawn(&mut command)?;
        // The ends of the pipes stay open here as long as the command that holds them.
        drop(command);
        if !self.finish(ACT, &mut child, CREATE_WITHIN)? {
            let raw = last_error(&std::fs::read_to_string(&log).unwrap_or_default());
            return Err(RuntimeError::Refused { act: ACT, raw });
        }
        let raw = std::fs::read_to_string(&pid_file).unwrap_or_default();
        raw.trim()
            .parse()
            .map_err(|_| RuntimeError::Answer { act: ACT, raw })
    }

    fn start(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        self.call("start", &[id.as_str()]).map(|_| ())
    }

    fn kill(&self, id: &ContainerId, signal: Signal, all: bool) -> Result<(), RuntimeError> {
        let number = signal.number().to_string();
        let mut args = vec![id.as_str(), number.as_str()];
        if all {
            args.insert(0, "--all");
        }
        self.call("kill", &args).map(|_| ())
    }

    fn delete(&self, id: &ContainerId, force: bool) -> Result<(), RuntimeError> {
        let args = if force {
            vec!["--force", id.as_str()]
        } else {
            vec![id.as_str()]
        };
        self.call("delete", &args).map(|_| ())
    }

    fn state(&self, id: &ContainerId) -> Result<Option<RuntimeState>, RuntimeError> {
        #[derive(Deserialize)]
        struct Answer {
            status: RuntimeState,
        }
        if !self.has_state(id) {
            return Ok(None);
        }
        let raw = self.call("state", &[id.as_str()])?;
        let answer: Result<Answer, _> = serde_json::from_str(&raw);
        answer
            .map(|a| Some(a.status))
            .map_err(|_| RuntimeError::Answer { act: "state", raw })
    }
}

/// What a call that has ended wrote, up to a bound.
fn read_some(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        // A failure here loses only words about a call whose result is known.
        let _ = pipe.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The message of the last error in a JSON log; the log as it is if it has none.
fn last_error(log: &str) -> String {
    #[derive(Deserialize)]
    struct Line {
        level: String,
        msg: String,
    }
    let lines = log
        .lines()
        .rev()
        .filter_map(|line| serde_json::from_str::<Line>(line).ok());
    let mut errors = lines.filter(|line| line.level == "error" || line.level == "fatal");
    errors
        .next()
        .map_or_else(|| log.trim().to_owned(), |line| line.msg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_of_a_log_is_kept_word_for_word() {
        let log = "{\"level\":\"error\",\"msg\":\"first\",\"time\":\"t\"}\n\
                   {\"level\":\"error\",\"msg\":\"exec: \\\"x\\\"\",\"time\":\"t\"}\n\
                   {\"level\":\"warning\",\"msg\":\"later\",\"time\":\"t\"}\n";
        assert_eq!(last_error(log), "exec: \"x\"");
        assert_eq!(last_error("plain words\n"), "plain words");
    }

    #[test]
    fn a_runtime_that_is_not_there_or_fails_is_named() {
        let id = ContainerId::new("x").expect("valid");
        let absent = Runc {
            binary: "/no/such/runc".into(),
            root: "/nowhere".into(),
        };
        assert!(matches!(absent.start(&id), Err(RuntimeError::Run { .. })));
        let failing = Runc {
            binary: "/bin/false".into(),
            root: "/nowhere".into(),
        };
        assert!(matches!(
            failing.start(&id),
            Err(RuntimeError::Refused { act: "start", .. })
        ));
    }
}
