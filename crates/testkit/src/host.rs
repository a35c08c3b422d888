//! What the kernel says of this host: mounts, loop devices, processes, cgroups, network
//! namespaces. Reads afresh each time and changes nothing.

use std::fs;
use std::path::{Path, PathBuf};

/// One mount of the mount table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where.
    pub point: PathBuf,
    /// Which part of the file system.
    pub root: PathBuf,
    /// Type of the file system.
    pub kind: String,
    /// Device or other source.
    pub source: String,
}

/// A loop device and its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoopDevice {
    /// Like `/dev/loop3`.
    pub device: PathBuf,
    /// The file behind it.
    pub backing: PathBuf,
}

/// A running process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its parent's id.
    pub parent: i32,
    /// The kernel's short name for it.
    pub name: String,
    /// Its arguments, joined by spaces.
    pub command: String,
}

/// Gives the mount table in mount order.
pub fn mounts() -> Vec<Mount> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table.lines().filter_map(parse_mount).collect()
}

/// Gives the mounts at or below a folder, in mount order.
pub fn mounts_under(folder: &Path) -> Vec<Mount> {
    mounts()
        .into_iter()
        .filter(|mount| mount.point.starts_with(folder))
        .collect()
}

/// Gives the loop devices that have a file.
pub(crate) fn loop_devices() -> Vec<LoopDevice> {
    let entries = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let backing = fs::read_to_string(entry.path().join("loop/backing_file")).ok()?;
            let backing = PathBuf::from(backing.trim_end().trim_end_matches(" (deleted)"));
            Some(LoopDevice {
                device: Path::new("/dev").join(entry.file_name()),
                backing,
            })
        })
        .collect()
}

/// Gives the loop devices with a file below a folder.
///
/// The kernel names the file as its opener saw it, so one that a container opened is found by
/// looking for the container's path in `seen_as`.
pub fn loop_devices_of(folder: &Path) -> Vec<LoopDevice> {
    let below = |device: &LoopDevice| {
        device.backing.starts_with(folder) || same_file_below(&device.backing, folder)
    };
    loop_devices().into_iter().filter(below).collect()
}

/// Gives all processes that are not the kernel's own.
pub fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            process(pid)
        })
        .filter(|process| !process.command.is_empty())
        .collect()
}

/// Gives one process, unless it is gone or a zombie.
pub fn process(pid: i32) -> Option<Process> {
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let stat = fs::read_to_string(folder.join("stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(") ")?;
    let mut fields = after_name.split(' ');
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    let command = fs::read(folder.join("cmdline")).ok()?;
    let command = String::from_utf8_lossy(&command)
        .replace('\0', " ")
        .trim_end()
        .to_owned();
    let name = fs::read_to_string(folder.join("comm"))
        .ok()?
        .trim_end()
        .to_owned();
    Some(Process {
        pid,
        parent,
        name,
        command,
    })
}

/// Gives where cgroup hierarchies are mounted, v1 and v2.
pub(crate) fn cgroup_roots() -> Vec<PathBuf> {
    let is_cgroup = |mount: &Mount| matches!(mount.kind.as_str(), "cgroup" | "cgroup2");
    mounts()
        .into_iter()
        .filter(is_cgroup)
        .map(|mount| mount.point)
        .collect()
}

/// Gives the folders of one cgroup in every hierarchy that has it.
pub fn cgroup_folders(cgroup: &str) -> Vec<PathBuf> {
    let relative = cgroup.trim_start_matches('/');
    let folders = cgroup_roots().into_iter().map(|root| root.join(relative));
    folders.filter(|folder| folder.is_dir()).collect()
}

/// Gives the processes in one cgroup folder and all below it.
pub(crate) fn cgroup_processes(folder: &Path) -> Vec<i32> {
    let own = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    let mut pids: Vec<i32> = own.lines().filter_map(|line| line.parse().ok()).collect();
    for child in subfolders(folder) {
        pids.extend(cgroup_processes(&child));
    }
    pids
}

/// Where `ip netns` keeps its namespaces. It mounts the folder on itself with the first one, and
/// leaves that mount behind with the last.
pub(crate) const NAMESPACES_DIR: &str = "/run/netns";

/// Gives the names of network namespaces that `ip netns` knows.
pub(crate) fn network_namespaces() -> Vec<String> {
    let entries = fs::read_dir(NAMESPACES_DIR).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Gives the folders directly in a folder.
pub fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn parse_mount(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ');
    let root = unescape(left.nth(3)?);
    let point = unescape(left.next()?);
    let mut right = right.split(' ');
    Some(Mount {
        point: PathBuf::from(point),
        root: PathBuf::from(root),
        kind: right.next()?.to_owned(),
        source: unescape(right.next()?),
    })
}

/// Undoes the kernel's octal escapes of space, tab, newline and backslash.
fn unescape(field: &str) -> String {
    let escapes = [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ];
    escapes
        .iter()
        .fold(field.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// A plugin in a container opens its files by paths of its own: the same ending below `folder`
/// tells them apart from others'.
fn same_file_below(backing: &Path, folder: &Path) -> bool {
    const VOLUME_AND_FILE: usize = 2;
    let parts: Vec<_> = backing.iter().rev().take(VOLUME_AND_FILE).collect();
    if parts.len() < VOLUME_AND_FILE {
        return false;
    }
    let ending: PathBuf = parts.into_iter().rev().collect();
    ends_below(folder, &ending)
}

/// Deepest folder that is looked into for a volume's file: state, agent, plugins, name, state,
/// volumes, volume.
const DEPTH_MAX: usize = 8;

fn ends_below(folder: &Path, ending: &Path) -> bool {
    let mut level = vec![folder.to_owned()];
    for _ in 0..DEPTH_MAX {
        if level.iter().any(|folder| folder.join(ending).is_file()) {
            return true;
        }
        let skipped = |name: &Path| name.ends_with("images") || name.ends_with("rootfs");
        level = level
            .iter()
            .flat_map(|f| subfolders(f))
            .filter(|f| !skipped(f))
            .collect();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_mount_table_is_read() {
        let line = "41 28 7:3 /sub /tmp/a\\040b rw,noatime shared:9 - ext4 /dev/loop3 rw";
        let mount = parse_mount(line).expect("has all fields");
        assert_eq!(mount.point, Path::new("/tmp/a b"));
        assert_eq!(
            (mount.root.as_path(), mount.kind.as_str()),
            (Path::new("/sub"), "ext4")
        );
        assert_eq!(mount.source, "/dev/loop3");
    }

    #[test]
    fn this_process_is_seen_and_one_that_ended_is_not() {
        let own = i32::try_from(std::process::id()).expect("pids are small");
        assert!(processes().iter().any(|process| process.pid == own));
        let mut child = std::process::Command::new("true")
            .spawn()
            .expect("true is everywhere");
        let pid = i32::try_from(child.id()).expect("pids are small");
        child.wait().expect("it was started here");
        assert_eq!(process(pid), None);
    }

    #[test]
    fn a_volumes_file_is_known_by_its_ending() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("state/volumes/v1/data.img");
        fs::create_dir_all(file.parent().expect("has one")).expect("is ours");
        fs::write(&file, "x").expect("is ours");
        assert!(same_file_below(
            Path::new("/data/volumes/v1/data.img"),
            folder.path()
        ));
        assert!(!same_file_below(
            Path::new("/data/volumes/v2/data.img"),
            folder.path()
        ));
    }
}
