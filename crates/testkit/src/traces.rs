//! What of ours is on the host, each thing named: judged against an empty host, not
//! against what an earlier run had left. Changes nothing; [`crate::world::sweep`] does.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::host::{self, Mount, NAMESPACES_DIR, Process};

/// Where agents keep sockets.
pub const RUN_DIR: &str = "/run/sutler";

/// How names of our cgroups begin.
const CGROUPS: &str = "sutler";

/// Programs of ours by the kernel's short name, and those that only we start: a host's own
/// runtime or registry is told apart by its arguments, which name no folder of ours.
const OUR_PROGRAMS: [(&str, &[&str]); 6] = [
    ("sutler", &[]),
    ("mock-driver", &[]),
    ("agent_shim", &[]),
    ("shim", &["examples/shim"]),
    ("runc", &["/sutler", "/tmp/"]),
    ("docker-regist", &["/tmp/"]),
];

/// File in a world's folder that names the process it belongs to.
pub(crate) const OWNER: &str = "owner";

/// How the folders begin that our tests make below `/tmp`.
const TEST_FOLDERS: [&str; 4] = ["st-", "sa-", "sutler", ".tmp"];

/// Letters of a world's folder after `st-`, which also begin the names of its namespaces.
const TAG_LETTERS: usize = 6;

/// What is on the host, as lines that name each thing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traces(BTreeSet<String>);

impl Traces {
    /// Gives what is ours, whoever left it. An empty host has none.
    pub fn ours() -> Self {
        let mut found = BTreeSet::new();
        found.extend(our_processes().map(|p| format!("process {} {}", p.pid, p.command)));
        found.extend(our_mounts().map(|mount| told_mount(&mount)));
        let loops = host::loop_devices().into_iter();
        found.extend(loops.filter(|l| is_ours(&l.backing)).map(|l| told_loop(&l)));
        let names = host::network_namespaces().into_iter();
        let tagged = names.filter(|name| is_tagged(name));
        found.extend(tagged.map(|name| format!("network namespace {name}")));
        found.extend(cgroups().iter().map(|c| format!("cgroup {}", c.display())));
        if Path::new(RUN_DIR).exists() {
            found.insert(format!("folder {RUN_DIR}"));
        }
        let worlds = host::subfolders(Path::new("/tmp")).into_iter();
        let worlds = worlds.filter(|folder| folder.join(OWNER).exists());
        found.extend(worlds.map(|world| format!("folder {}", world.display())));
        Self(found)
    }

    /// Gives every mount and loop device, ours or not: what appears during a run is of the run.
    pub fn everybodys() -> Self {
        let mut found = BTreeSet::new();
        found.extend(host::mounts().iter().map(told_mount));
        found.extend(host::loop_devices().iter().map(told_loop));
        Self(found)
    }

    /// Gives what is there now and was not before.
    pub fn since(&self, before: &Self) -> Self {
        Self(self.0.difference(&before.0).cloned().collect())
    }

    /// Gives both.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// The lines, in order.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether nothing is there.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Gives our cgroups in every hierarchy.
pub(crate) fn cgroups() -> Vec<PathBuf> {
    let all = host::cgroup_roots().into_iter();
    all.flat_map(|root| host::subfolders(&root))
        .filter(|folder| name_of(folder).starts_with(CGROUPS))
        .collect()
}

/// Gives the running processes of ours.
fn our_processes() -> impl Iterator<Item = Process> {
    host::processes().into_iter().filter(is_our_process)
}

fn is_our_process(process: &Process) -> bool {
    OUR_PROGRAMS.iter().any(|(name, told)| {
        let named = match told.is_empty() {
            true => process.name.starts_with(name),
            false => process.name == *name,
        };
        named && (told.is_empty() || told.iter().any(|part| process.command.contains(part)))
    })
}

/// Gives the mounts of ours; the one that `ip netns` leaves when its last namespace goes is too.
fn our_mounts() -> impl Iterator<Item = Mount> {
    let no_namespaces = host::network_namespaces().is_empty();
    host::mounts().into_iter().filter(move |mount| {
        is_ours(&mount.point) || (no_namespaces && mount.point == Path::new(NAMESPACES_DIR))
    })
}

/// Whether a file or folder lies where only we and our tests put things. A plugin names its
/// files as its container sees them.
fn is_ours(path: &Path) -> bool {
    if path.starts_with(RUN_DIR) || path.starts_with("/var/lib/sutler") {
        return true;
    }
    if let Ok(below) = path.strip_prefix("/tmp") {
        let first = below.iter().next().unwrap_or_default().to_string_lossy();
        return TEST_FOLDERS.iter().any(|begin| first.starts_with(begin));
    }
    path.ends_with("data.img") && path.iter().any(|part| part == "volumes")
}

/// Whether a network namespace has a name that a world gives.
pub(crate) fn is_tagged(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("st") else {
        return false;
    };
    let (letters, number) = rest.split_at_checked(TAG_LETTERS).unwrap_or_default();
    !number.is_empty()
        && letters.chars().all(|c| c.is_ascii_alphanumeric())
        && number.chars().all(|c| c.is_ascii_digit())
}

fn told_mount(mount: &Mount) -> String {
    format!("mount {}", mount.point.display())
}

fn told_loop(device: &host::LoopDevice) -> String {
    let (device, backing) = (device.device.display(), device.backing.display());
    format!("loop device {device} of {backing}")
}

fn name_of(folder: &Path) -> String {
    folder
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traces(lines: &[&str]) -> Traces {
        Traces(lines.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn only_what_is_new_is_left() {
        let left = traces(&["a", "b"]).since(&traces(&["a", "c"]));
        assert_eq!(left, traces(&["b"]));
    }

    #[test]
    fn a_hosts_own_things_are_not_ours() {
        let process = |name: &str, command: &str| Process {
            pid: 1,
            parent: 1,
            name: name.to_owned(),
            command: command.to_owned(),
        };
        for (ours, name, command) in [
            (true, "sutler-local", "/usr/bin/sutler-local"),
            (true, "runc", "runc --root /run/sutler/1/runc create x"),
            (
                false,
                "runc",
                "runc --root /run/docker/runtime-runc create x",
            ),
            (
                true,
                "docker-regist",
                "docker-registry serve /tmp/st-registry-1/config.yml",
            ),
            (
                false,
                "docker-regist",
                "docker-registry serve /etc/docker/config.yml",
            ),
            (true, "shim", "/w/target/debug/examples/shim --dir /tmp/x"),
            (false, "containerd-shim", "containerd-shim-runc-v2"),
        ] {
            assert_eq!(is_our_process(&process(name, command)), ours, "{command}");
        }
        for (ours, path) in [
            (true, "/run/sutler/1/runc"),
            (true, "/tmp/st-abc123/m/agent/volumes"),
            (true, "/data/volumes/v1/data.img"),
            (false, "/tmp"),
            (false, "/tmp/mine"),
            (false, "/srv/disk.img"),
        ] {
            assert_eq!(is_ours(Path::new(path)), ours, "{path}");
        }
        for (ours, name) in [
            (true, "stAb12xY0"),
            (true, "stAb12xY12"),
            (false, "stAb12xY"),
            (false, "storage"),
            (false, "vpn"),
        ] {
            assert_eq!(is_tagged(name), ours, "{name}");
        }
    }
}
