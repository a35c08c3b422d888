//! The calibrator of containers: the bare runtime on the bundle that the agent made.
//!
//! A task that stays lends its root file system and its `config.json`; only the command, the id
//! and the last part of the cgroup differ. So both sides set up the same container.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use xtask::command;

/// A bundle that is run again and again.
#[derive(Debug)]
pub(super) struct Bare {
    bundle: PathBuf,
    state: PathBuf,
}

impl Bare {
    /// Copies the bundle of a running container into a folder of ours, with another command.
    pub(super) fn of(container: &Path, folder: &Path, arguments: &[&str]) -> Result<Self> {
        let path = container.join("config.json");
        let text = fs::read(&path).with_context(|| path.display().to_string())?;
        let mut config: Value = serde_json::from_slice(&text).context("the bundle's config")?;
        config["process"]["args"] = json!(arguments);
        let cgroup = config["linux"]["cgroupsPath"]
            .as_str()
            .context("a container of ours has a cgroup")?;
        // Beside the task's own: what cleans up after the tasks finds it there.
        let parent = Path::new(cgroup).parent().unwrap_or(Path::new("/sutler"));
        config["linux"]["cgroupsPath"] = json!(parent.join("bare"));
        let bundle = folder.join("bare");
        fs::create_dir_all(&bundle).with_context(|| bundle.display().to_string())?;
        fs::write(bundle.join("config.json"), serde_json::to_vec(&config)?)?;
        Ok(Self {
            bundle,
            state: folder.join("bare-state"),
        })
    }

    /// Runs it to its end: made, started, waited for, deleted.
    pub(super) fn run(&self) -> Result<Duration> {
        let mut runc = Command::new("runc");
        runc.arg("--root").arg(&self.state);
        runc.args(["run", "--bundle"]).arg(&self.bundle).arg("bare");
        let began = Instant::now();
        command::output(&mut runc)?;
        Ok(began.elapsed())
    }
}
