//! Syncs of our own that one created volume costs, counted by strace: a number without noise.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use sutler_testkit::poll;
use sutler_testkit::world::World;

use super::api::Api;
use super::{Figure, Samples};

/// Bar of this issue.
const SYNCS_MAX: f64 = 4.0;

/// Longest wait for strace to hold all threads.
const ATTACHED_WITHIN: Duration = Duration::from_secs(10);

/// Every call that waits for the disk.
const CALLS: &str = "trace=fsync,fdatasync,sync,syncfs,msync,sync_file_range";

pub(super) fn measure(world: &mut World, rounds: usize) -> Result<Vec<Figure>> {
    let pid = world.master().pid().context("it runs")?;
    let trace = world.root().join("syncs.strace");
    let api = Api::of(world.state_dir())?;
    create(&api, "warm")?;
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-q", "-e", CALLS, "-e", "signal=none", "-o"])
        .arg(&trace);
    strace.args(["-p", &pid.to_string()]);
    let child = strace.stdin(Stdio::null()).stderr(Stdio::null()).spawn();
    let _guard = Attached(child.context("start strace")?);
    poll::until("strace is attached", ATTACHED_WITHIN, || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let traced = status
            .lines()
            .any(|l| l.starts_with("TracerPid:") && !l.ends_with("\t0"));
        poll::holds(traced, || "not traced".to_owned())
    })?;
    let mut counted = Samples::default();
    for round in 0..rounds {
        let before = lines(&trace);
        create(&api, &format!("s{round}"))?;
        counted.add((lines(&trace) - before) as f64);
    }
    Ok(vec![Figure::barred(
        "our syncs for one created volume",
        &counted,
        "",
        SYNCS_MAX,
    )])
}

fn create(api: &Api, name: &str) -> Result<()> {
    let request = json!({ "name": name, "size": 16 << 20 });
    let accepted = api.call("POST", "/v1/volumes", Some(request))?;
    api.wait_operation(
        accepted["operation_uuid"]
            .as_str()
            .context("an operation")?,
    )
}

/// Counts finished calls: one cut in two by another thread's is counted once.
fn lines(trace: &std::path::Path) -> usize {
    let text = std::fs::read_to_string(trace).unwrap_or_default();
    text.lines().filter(|line| line.contains(" = 0")).count()
}

/// Lets go of the traced process when dropped.
struct Attached(Child);

impl Drop for Attached {
    fn drop(&mut self) {
        // Both fail only when it has ended with the process it traces.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
