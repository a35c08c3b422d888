//! Takes away all that a world has left on the host. Works from what the kernel says, so that
//! it needs no cooperation of what is cleaned up, and touches nothing outside the world's folder,
//! its containers' cgroups and its network.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};

use anyhow::{Context, Result};

use super::containers;
use super::runs::Run;
use crate::traces::OWNER;
use crate::{host, poll};

/// Longest wait for killed processes and their mounts to go.
const GONE_WITHIN: Duration = Duration::from_secs(20);

/// Rounds of looking again, for what appears while the last of it goes.
const ROUNDS_MAX: usize = 5;

/// Notes that a folder of things for [`super::sweep`] belongs to this process.
///
/// # Errors
/// The note cannot be written.
pub fn own(root: &Path) -> Result<()> {
    let path = root.join(OWNER);
    fs::write(&path, std::process::id().to_string()).with_context(|| path.display().to_string())
}

/// Cleans up and tells on standard error what would not go.
pub(super) fn clean(root: &Path) {
    let containers = containers::of_agents(&host::subfolders(root));
    let cgroups: Vec<PathBuf> = containers
        .iter()
        .filter_map(|container| container.cgroup.as_deref())
        .flat_map(host::cgroup_folders)
        .collect();
    let gone = poll::until("processes are gone", GONE_WITHIN, || {
        let left = kill_all(root, &cgroups);
        poll::holds(left.is_empty(), || format!("{left:?}"))
    });
    report(gone);
    for _ in 0..ROUNDS_MAX {
        unmount_all(root);
        detach_loops(root);
    }
    for cgroup in &cgroups {
        remove_cgroup(cgroup);
    }
    Run::of_world(root).iter().for_each(Run::remove);
    let left = host::mounts_under(root);
    if left.is_empty() {
        report(fs::remove_dir_all(root));
    } else {
        eprintln!("kept {}: still mounted: {left:?}", root.display());
    }
}

/// Kills what belongs to the world and gives what was there to kill.
fn kill_all(root: &Path, cgroups: &[PathBuf]) -> Vec<i32> {
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let root = root.to_string_lossy();
    let named = host::processes()
        .into_iter()
        .filter(|p| p.command.contains(&*root));
    let mut pids: Vec<i32> = named.map(|process| process.pid).collect();
    pids.extend(
        cgroups
            .iter()
            .flat_map(|folder| host::cgroup_processes(folder)),
    );
    pids.retain(|pid| *pid != own && host::process(*pid).is_some());
    kill(&pids);
    pids
}

/// Kills processes.
pub(super) fn kill(pids: &[i32]) {
    for pid in pids {
        // Fails only for a process that has ended meanwhile.
        let _ = Pid::from_raw(*pid).map(|pid| kill_process(pid, Signal::KILL));
    }
}

/// Unmounts what is mounted at or below a folder.
pub(super) fn unmount_all(root: &Path) {
    for mount in host::mounts_under(root).into_iter().rev() {
        // One that is still busy is reported by the caller's last look.
        let _ = unmount(&mount.point, UnmountFlags::DETACH);
    }
}

fn detach_loops(root: &Path) {
    for device in host::loop_devices_of(root) {
        let mut losetup = Command::new("losetup");
        losetup
            .arg("--detach")
            .arg(&device.device)
            .stderr(Stdio::null());
        report(losetup.status());
    }
}

/// Removes a cgroup and those above it that are now empty and ours.
pub(super) fn remove_cgroup(folder: &Path) {
    for child in host::subfolders(folder) {
        remove_cgroup(&child);
    }
    let mut folder = Some(folder);
    while let Some(here) = folder.filter(|here| here.to_string_lossy().contains("/sutler")) {
        // Not empty means in use by another world: left alone.
        if fs::remove_dir(here).is_err() {
            break;
        }
        folder = here.parent();
    }
}

pub(super) fn report<T, E: std::fmt::Display>(result: Result<T, E>) {
    if let Err(error) = result {
        eprintln!("clean-up: {error}");
    }
}
