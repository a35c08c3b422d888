//! The host's cgroups: which kind they are, what they counted, and their removal.
//!
//! The runtime makes a container's cgroups and sets its limits; this file only reads what the
//! kernel counted, ends what is left in them and takes them away.
//! Source: kernel `cgroup-v1/memory.rst`, `cgroup-v2.rst`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::statfs;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};

use super::process::{self, ProcessEnd};
use super::signal::Signal;

/// Where every distribution mounts cgroups.
const ROOT: &str = "/sys/fs/cgroup";

/// `f_type` of a version 2 tree (`CGROUP2_SUPER_MAGIC`).
const CGROUP2_MAGIC: u64 = 0x6367_7270;

/// Cgroup of the shims below a container parent, so that ending the agent's own cgroup (a
/// service manager's stop) leaves them alone.
const SHIMS: &str = "shims";

/// Hierarchies of version 1 that a shim moves in: those that service managers kill or account
/// by. `cpuset` is left out because a new group there takes no process before it is set up.
const SHIM_HIERARCHIES: [&str; 4] = ["systemd", "unified", "memory", "pids"];

/// How long killed processes may take to leave their cgroup before we report them.
const EMPTY_WITHIN: Duration = Duration::from_secs(10);

/// Deepest cgroup below a container's that is removed; a container may make its own.
const DEPTH_MAX: usize = 16;

/// Which cgroups the host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupMode {
    /// Version 1 controllers only.
    V1,
    /// Version 1 controllers, and a version 2 tree without controllers beside them.
    Hybrid,
    /// Version 2 only.
    V2,
}

/// Finds which cgroups the host has.
///
/// # Errors
/// If nothing is mounted at `/sys/fs/cgroup`.
pub fn mode() -> io::Result<CgroupMode> {
    if is_v2(Path::new(ROOT))? {
        return Ok(CgroupMode::V2);
    }
    let unified = is_v2(&Path::new(ROOT).join("unified")).unwrap_or(false);
    Ok(if unified {
        CgroupMode::Hybrid
    } else {
        CgroupMode::V1
    })
}

fn is_v2(path: &Path) -> io::Result<bool> {
    Ok(statfs(path)?.f_type as u64 == CGROUP2_MAGIC)
}

/// Whether the kernel counts swap per cgroup.
pub(crate) fn counts_swap(mode: CgroupMode) -> bool {
    match mode {
        CgroupMode::V1 | CgroupMode::Hybrid => Path::new(ROOT)
            .join("memory/memory.memsw.limit_in_bytes")
            .exists(),
        // The root of a version 2 tree has no such file; the kernel's own switch tells.
        CgroupMode::V2 => Path::new("/proc/swaps").exists(),
    }
}

/// How many processes of a cgroup the kernel killed for want of memory; 0 if it does not tell.
pub(crate) fn oom_kills(cgroup: &str) -> u64 {
    let relative = cgroup.trim_start_matches('/');
    let v1 = Path::new(ROOT)
        .join("memory")
        .join(relative)
        .join("memory.oom_control");
    let v2 = Path::new(ROOT).join(relative).join("memory.events");
    let text = fs::read_to_string(v1)
        .or_else(|_| fs::read_to_string(v2))
        .unwrap_or_default();
    parse_oom_kills(&text)
}

/// Both versions have a line `oom_kill N`.
fn parse_oom_kills(text: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill "))
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or(0)
}

/// Every mounted tree: the one of version 2, or one per controller.
fn hierarchies() -> io::Result<Vec<PathBuf>> {
    if mode()? == CgroupMode::V2 {
        return Ok(vec![PathBuf::from(ROOT)]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(ROOT)? {
        let entry = entry?;
        // Symbolic links name joint controllers a second time.
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn in_every_hierarchy(cgroup: &str) -> io::Result<Vec<PathBuf>> {
    let relative = cgroup.trim_matches('/');
    let all = hierarchies()?.into_iter().map(|root| root.join(relative));
    Ok(all.filter(|path| path.is_dir()).collect())
}

/// Kills every process in a container's cgroups and removes them; absent is success.
///
/// # Errors
/// The cgroup and why: a process that does not die, or a group that cannot be removed.
pub fn clear(cgroup: &str) -> Result<(), (PathBuf, io::Error)> {
    let found = in_every_hierarchy(cgroup).map_err(|e| (PathBuf::from(ROOT), e))?;
    for path in &found {
        kill_all(path).map_err(|e| (path.clone(), e))?;
    }
    for path in &found {
        remove_below(path, DEPTH_MAX).map_err(|e| (path.clone(), e))?;
    }
    Ok(())
}

/// Kills until none is left: a process may fork between our reading and its death.
fn kill_all(path: &Path) -> io::Result<()> {
    let deadline = Instant::now() + EMPTY_WITHIN;
    loop {
        let pids = pids_below(path, DEPTH_MAX)?;
        if pids.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let text = format!("processes {pids:?} do not die");
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        for pid in pids {
            kill_and_wait(pid, deadline)?;
        }
    }
}

fn kill_and_wait(pid: Pid, deadline: Instant) -> io::Result<()> {
    let fd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(fd) => fd,
        Err(Errno::SRCH) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    match pidfd_send_signal(&fd, Signal::KILL.to_sent()) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(errno) => return Err(errno.into()),
    }
    match process::wait_end(&fd, deadline.saturating_duration_since(Instant::now()))? {
        // One that outlives the deadline is reported by our caller, with the rest.
        ProcessEnd::Ended | ProcessEnd::StillRunning => Ok(()),
    }
}

fn pids_below(path: &Path, depth_left: usize) -> io::Result<Vec<Pid>> {
    let text = match fs::read_to_string(path.join("cgroup.procs")) {
        Ok(text) => text,
        Err(e) if process::is_gone(&e) || is_errno(&e, Errno::NODEV) => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let numbers = text.lines().filter_map(|line| line.parse().ok());
    let mut pids: Vec<Pid> = numbers.filter_map(Pid::from_raw).collect();
    if depth_left > 0 {
        for child in children(path)? {
            pids.extend(pids_below(&child, depth_left - 1)?);
        }
    }
    Ok(pids)
}

fn children(path: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn remove_below(path: &Path, depth_left: usize) -> io::Result<()> {
    if depth_left > 0 {
        for child in children(path)? {
            remove_below(&child, depth_left - 1)?;
        }
    }
    remove_one(path)
}

/// How often a cgroup that looks empty is tried: the kernel lets go of the last dead task a
/// moment after its end was seen.
const REMOVE_TRIES_MAX: u32 = 200;
const REMOVE_RETRY_AFTER: Duration = Duration::from_millis(5);

fn remove_one(path: &Path) -> io::Result<()> {
    for _ in 0..REMOVE_TRIES_MAX {
        match fs::remove_dir(path) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) if is_errno(&e, Errno::BUSY) && pids_below(path, 0)?.is_empty() => {
                std::thread::sleep(REMOVE_RETRY_AFTER);
            }
            Err(e) => return Err(e),
        }
    }
    fs::remove_dir(path)
}

fn is_errno(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

/// Moves the calling process out of its parent's cgroups, as far as the host lets it.
pub(crate) fn enter_shims(parent: &str) {
    let Ok(mode) = mode() else { return };
    let relative = Path::new(parent.trim_matches('/')).join(SHIMS);
    let roots: Vec<PathBuf> = match mode {
        CgroupMode::V2 => vec![PathBuf::from(ROOT)],
        CgroupMode::V1 | CgroupMode::Hybrid => SHIM_HIERARCHIES
            .iter()
            .map(|name| Path::new(ROOT).join(name))
            .collect(),
    };
    for root in roots.iter().filter(|root| root.is_dir()) {
        let group = root.join(&relative);
        // Not being moved costs protection from the service manager, not correctness.
        let moved = fs::create_dir_all(&group)
            .and_then(|()| fs::write(group.join("cgroup.procs"), std::process::id().to_string()));
        if let Err(error) = moved {
            eprintln!("shim stays in its cgroup of {}: {error}", root.display());
        }
    }
}

/// Removes an empty cgroup parent (as given in specs) from every hierarchy; absent is success.
/// Call it once every container below it is removed.
///
/// # Errors
/// If a cgroup below it still holds processes or cannot be removed.
pub fn remove_cgroup_parent(parent: &str) -> io::Result<()> {
    if parent.trim_matches('/').is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the root is no parent",
        ));
    }
    for path in in_every_hierarchy(parent)? {
        remove_below(&path, DEPTH_MAX)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_counted_from_both_versions() {
        assert_eq!(
            parse_oom_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"),
            3
        );
        assert_eq!(
            parse_oom_kills("low 0\nmax 9\noom 2\noom_kill 1\noom_group_kill 0\n"),
            1
        );
        assert_eq!(parse_oom_kills(""), 0);
    }

    #[test]
    fn the_root_cgroup_is_never_removed() {
        for root in ["", "/", "//"] {
            assert!(remove_cgroup_parent(root).is_err());
        }
    }
}
