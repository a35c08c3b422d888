//! One long-running process of a world: how it is started, killed and started again.
//! It kills only what it has started.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::poll;

/// Lines of a log that a report shows.
const SAID_LINES: usize = 40;

/// A `sutler up`, `master` or `agent` process.
#[derive(Debug)]
pub struct Daemon {
    program: PathBuf,
    name: String,
    state_dir: PathBuf,
    log: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    namespace: Option<String>,
    child: Option<Child>,
}

impl Daemon {
    pub(super) fn new(program: &Path, root: &Path, name: &str) -> Self {
        Self {
            program: program.to_owned(),
            name: name.to_owned(),
            state_dir: root.join(name),
            log: root.join(format!("{name}.log")),
            args: Vec::new(),
            env: Vec::new(),
            namespace: None,
            child: None,
        }
    }

    pub(super) fn describe(&mut self, args: Vec<String>, env: &[(String, String)]) {
        self.args = args;
        self.env = env.to_vec();
    }

    pub(super) fn enter(&mut self, namespace: &str) {
        self.namespace = Some(namespace.to_owned());
    }

    /// Its state folder.
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// Sets a variable for later starts; `None` takes it away.
    pub fn set_env(&mut self, name: &str, value: Option<&str>) {
        self.env.retain(|(known, _)| known != name);
        self.env
            .extend(value.map(|value| (name.to_owned(), value.to_owned())));
    }

    /// Starts the process unless it runs.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&mut self) -> Result<()> {
        if self.child.is_some() {
            return Ok(());
        }
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)?;
        let mut command = match &self.namespace {
            Some(namespace) => {
                let mut net = OsString::from("--net=/run/netns/");
                net.push(namespace);
                let mut command = Command::new("nsenter");
                command.arg(net).arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        command
            .args(&self.args)
            .arg("--state-dir")
            .arg(&self.state_dir);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        // A group of its own: Ctrl-C at the tests' terminal must reach the tests first.
        let child = command.process_group(0).spawn();
        self.child = Some(child.with_context(|| format!("start {}", self.program.display()))?);
        Ok(())
    }

    /// Its process id while it runs.
    pub fn pid(&self) -> Option<i32> {
        self.child
            .as_ref()
            .and_then(|child| i32::try_from(child.id()).ok())
    }

    /// Kills it with SIGKILL and waits for its end.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only for a process that has ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to end with SIGTERM and waits.
    ///
    /// # Errors
    /// It does not run, or does not end in time.
    pub fn terminate(&mut self, within: Duration) -> Result<ExitStatus> {
        let pid = self.pid().and_then(rustix::process::Pid::from_raw);
        let pid = pid.with_context(|| format!("{} does not run", self.name))?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        self.wait_end(within)
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// It does not run, or does not end in time.
    pub fn wait_end(&mut self, within: Duration) -> Result<ExitStatus> {
        let Some(child) = &mut self.child else {
            bail!("{} does not run", self.name)
        };
        let ended = poll::until(&format!("{} has ended", self.name), within, || match child
            .try_wait()
        {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err("it runs".to_owned()),
            Err(error) => Err(error.to_string()),
        })?;
        self.child = None;
        Ok(ended)
    }

    /// Refuses when it has ended.
    ///
    /// # Errors
    /// It has; the text holds how, and its last words.
    pub fn ensure_running(&mut self) -> Result<()> {
        let Some(child) = &mut self.child else {
            bail!("{} was not started", self.name)
        };
        match child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} has ended: {status}", self.name),
        }
    }

    /// Gives its last words under its name.
    pub fn said(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(SAID_LINES)..].join("\n");
        format!("--- {} said:\n{last}", self.name)
    }

    /// Gives all that it said.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}
