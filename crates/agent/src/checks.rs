//! What a host must have before an agent starts on it, and what it is.
//!
//! Each check names its remedy. It loads the overlay module when it is missing, and changes
//! nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sutler_host::program;
use sutler_ids::Bytes;

use crate::error::StartError;

/// Facts of the host that the master is told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Facts {
    pub boot_id: String,
    pub cpus: f64,
    pub memory: Bytes,
}

/// Checks the host; gives the runtime's full path.
pub(crate) fn check_host(runc: &Path) -> Result<PathBuf, StartError> {
    if !rustix::process::geteuid().is_root() {
        return Err(StartError::NotRoot);
    }
    let runc = find_program(runc)?;
    let mounts = read(Path::new("/proc/self/mountinfo"))?;
    if !mounts.lines().any(|line| line.contains(" - cgroup")) {
        return Err(StartError::NoCgroups);
    }
    if !has_overlayfs()? {
        load_overlayfs();
        if !has_overlayfs()? {
            return Err(StartError::NoOverlayfs);
        }
    }
    Ok(runc)
}

/// Reads what the master is told.
pub(crate) fn facts() -> Result<Facts, StartError> {
    let boot_id = read(Path::new("/proc/sys/kernel/random/boot_id"))?
        .trim()
        .to_owned();
    let cpus = std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64);
    let meminfo = read(Path::new("/proc/meminfo"))?;
    let memory = Bytes(mem_total_bytes(&meminfo).unwrap_or(0));
    Ok(Facts {
        boot_id,
        cpus,
        memory,
    })
}

fn find_program(name: &Path) -> Result<PathBuf, StartError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    program::find(name, &path).ok_or_else(|| StartError::NoRuntime {
        binary: name.to_owned(),
    })
}

fn has_overlayfs() -> Result<bool, StartError> {
    let known = read(Path::new("/proc/filesystems"))?;
    Ok(known
        .lines()
        .any(|line| line.split_whitespace().last() == Some("overlay")))
}

fn load_overlayfs() {
    // Without modprobe or the module the second look says so.
    let _ = Command::new("modprobe")
        .arg("overlay")
        .stdin(Stdio::null())
        .status();
}

fn read(path: &Path) -> Result<String, StartError> {
    fs::read_to_string(path).map_err(|source| StartError::ReadHost {
        path: path.to_owned(),
        source,
    })
}

fn mem_total_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_meminfo() {
        assert_eq!(
            mem_total_bytes("MemFree: 1 kB\nMemTotal:  2048 kB\n"),
            Some(2048 * 1024)
        );
        assert_eq!(mem_total_bytes(""), None);
    }

    #[test]
    fn a_missing_runtime_is_named_with_the_command_that_installs_it() {
        let error = find_program(Path::new("/nowhere/runc"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("/nowhere/runc") && error.contains("apt-get install runc"));
    }
}
