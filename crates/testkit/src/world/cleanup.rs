//! Takes away all that a world has left on the machine. Works from what the kernel says, so that
//! it needs no cooperation of what is cleaned up, and touches nothing outside the world's folder,
//! its containers' cgroups and its network.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};

use anyhow::{Context, Result};

use super::{WORLDS, containers, network};
use crate::{machine, poll};

/// Longest wait for killed processes and their mounts to go.
const GONE_WITHIN: Duration = Duration::from_secs(20);

/// Rounds of looking again, for what appears while the last of it goes.
const ROUNDS_MAX: usize = 5;

/// File in a world's folder that names the process it belongs to.
const OWNER: &str = "owner";

/// Notes that a world belongs to this process.
pub(super) fn own(root: &Path) -> Result<()> {
    let path = root.join(OWNER);
    fs::write(&path, std::process::id().to_string()).with_context(|| path.display().to_string())
}

/// Cleans up the worlds of processes that have ended without doing so: killed ones.
pub fn sweep() {
    for root in machine::subfolders(Path::new(WORLDS)) {
        let Ok(owner) = fs::read_to_string(root.join(OWNER)) else {
            continue;
        };
        let is_world = root
            .file_name()
            .is_some_and(|n| n.to_string_lossy().starts_with("st-"));
        let owner_lives = owner.parse().ok().and_then(machine::process).is_some();
        if is_world && !owner_lives {
            println!("sweeping {}", root.display());
            clean(&root);
            network::sweep(&root);
        }
    }
}

/// Cleans up and tells on standard error what would not go.
pub(super) fn clean(root: &Path) {
    let containers = containers::of_agents(&machine::subfolders(root));
    let cgroups: Vec<PathBuf> = containers
        .iter()
        .filter_map(|container| container.cgroup.as_deref())
        .flat_map(machine::cgroup_folders)
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
    let left = machine::mounts_under(root);
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
    let named = machine::processes()
        .into_iter()
        .filter(|p| p.command.contains(&*root));
    let mut pids: Vec<i32> = named.map(|process| process.pid).collect();
    pids.extend(
        cgroups
            .iter()
            .flat_map(|folder| machine::cgroup_processes(folder)),
    );
    pids.retain(|pid| *pid != own && machine::process(*pid).is_some());
    for pid in &pids {
        // Fails only for a process that has ended meanwhile.
        let _ = Pid::from_raw(*pid).map(|pid| kill_process(pid, Signal::KILL));
    }
    pids
}

fn unmount_all(root: &Path) {
    for mount in machine::mounts_under(root).into_iter().rev() {
        // One that is still busy is reported by the caller's last look.
        let _ = unmount(&mount.point, UnmountFlags::DETACH);
    }
}

fn detach_loops(root: &Path) {
    for device in machine::loop_devices_of(root) {
        let mut losetup = Command::new("losetup");
        losetup
            .arg("--detach")
            .arg(&device.device)
            .stderr(Stdio::null());
        report(losetup.status());
    }
}

/// Removes a cgroup and those above it that are now empty and ours.
fn remove_cgroup(folder: &Path) {
    for child in machine::subfolders(folder) {
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

fn report<T, E: std::fmt::Display>(result: Result<T, E>) {
    if let Err(error) = result {
        eprintln!("clean-up: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process, a mount in a mount and a loop device, as a killed world leaves them.
    fn leave_behind(root: &Path) -> u32 {
        let run = |line: &str| {
            let status = Command::new("sh")
                .args(["-ec", line])
                .current_dir(root)
                .status();
            assert!(status.expect("sh is everywhere").success(), "{line}");
        };
        run("mkdir m && mount -t tmpfs t m && mkdir m/n && mount -t tmpfs t m/n");
        run("truncate -s 1M file && losetup --find file");
        let marker = root.join("never-written");
        let child = Command::new("tail")
            .arg("-F")
            .arg(marker)
            .stderr(Stdio::null())
            .spawn();
        child.expect("tail is everywhere").id()
    }

    #[test]
    fn what_a_killed_world_left_is_swept_and_a_living_ones_is_not() {
        assert!(
            rustix::process::geteuid().is_root(),
            "mounts and loop devices need root"
        );
        let folder = || tempfile::Builder::new().prefix("st-").tempdir_in(WORLDS);
        let living = folder().expect("a folder");
        own(living.path()).expect("is ours");
        let killed = folder().expect("a folder").keep();
        let pid = leave_behind(&killed);
        let mut ended = Command::new("true").spawn().expect("true is everywhere");
        ended.wait().expect("was started here");
        fs::write(killed.join(OWNER), ended.id().to_string()).expect("is ours");

        sweep();

        assert!(
            living.path().join(OWNER).exists(),
            "a living world was swept"
        );
        assert!(!killed.exists(), "{} is left", killed.display());
        assert_eq!(machine::mounts_under(&killed), []);
        assert_eq!(
            machine::process(i32::try_from(pid).expect("pids are small")),
            None
        );
        let backing = killed.join("file");
        assert!(
            machine::loop_devices()
                .iter()
                .all(|device| device.backing != backing)
        );
    }
}
