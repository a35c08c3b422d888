//! What the caller asks for: one container as plain data, kept as `spec.json`.
//!
//! Nothing here touches the system. `oci.rs` turns a spec and the host's facts into the OCI
//! configuration; `host.rs` gathers those facts.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::signal::Signal;

/// Longest container id: it becomes a folder name, a cgroup name and a runtime id.
const ID_BYTES_MAX: usize = 128;

/// Name of a container, safe as a folder, cgroup and runtime id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

/// The text is no container id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "container id {0:?} is not 1 to {ID_BYTES_MAX} characters of [A-Za-z0-9_.-] starting with a \
     letter or digit"
)]
pub struct InvalidContainerId(pub String);

impl ContainerId {
    /// Checks and wraps a name.
    ///
    /// # Errors
    /// If it is empty, over 128 bytes, or has other characters than `[A-Za-z0-9_.-]`.
    pub fn new(id: impl Into<String>) -> Result<Self, InvalidContainerId> {
        let id = id.into();
        let first_ok = id.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        let rest_ok = id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        if first_ok && rest_ok && id.len() <= ID_BYTES_MAX {
            Ok(Self(id))
        } else {
            Err(InvalidContainerId(id))
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ContainerId {
    type Err = InvalidContainerId;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::new(s)
    }
}

impl TryFrom<String> for ContainerId {
    type Error = InvalidContainerId;
    fn try_from(s: String) -> Result<Self, Self::Error> {
        Self::new(s)
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> Self {
        id.0
    }
}

/// One environment variable; its value may be a secret and is never printed by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvVar {
    /// Left of the first `=`.
    pub name: String,
    /// Right of the first `=`.
    pub value: String,
}

impl EnvVar {
    /// A variable of that name and value.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
        }
    }

    /// Splits `NAME=value` (as in image configurations) at the first `=`; without one the value
    /// is empty.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        Self::new(name, value)
    }
}

impl fmt::Debug for EnvVar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=***", self.name)
    }
}

/// What a mount puts at its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountKind {
    /// The host path `source` (file or folder), which must exist.
    Bind,
    /// An empty tmpfs; `source` is not used.
    Tmpfs,
}

/// Which way mounts made later below a bind mount travel between host and container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Propagation {
    /// Neither way.
    #[default]
    Private,
    /// From the host into the container.
    RSlave,
    /// Both ways; `source` must lie on a shared mount (see `ensure_shared_mount`).
    RShared,
}

/// One mount inside the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountSpec {
    /// Host path; empty for [`MountKind::Tmpfs`].
    pub source: PathBuf,
    /// Absolute path inside the container, made if it does not exist.
    pub target: PathBuf,
    pub kind: MountKind,
    /// Whether writes are refused.
    pub read_only: bool,
    /// Propagation of later mounts.
    pub propagation: Propagation,
    /// Whether mounts below `source` come along.
    pub recursive: bool,
}

impl MountSpec {
    /// A read-write, private, recursive bind mount.
    pub fn bind(source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        Self {
            source: source.into(),
            target: target.into(),
            kind: MountKind::Bind,
            read_only: false,
            propagation: Propagation::Private,
            recursive: true,
        }
    }

    /// An empty tmpfs.
    pub fn tmpfs(target: impl Into<PathBuf>) -> Self {
        Self {
            kind: MountKind::Tmpfs,
            recursive: false,
            ..Self::bind("", target)
        }
    }
}

/// Upper bounds on what the container may use; `None` is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Limits {
    /// Processors, for example 0.5: a hard quota and, under contention, a share.
    pub cpus: Option<f64>,
    /// Memory; swap is not given on top where the host counts swap.
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

/// How much of stdout and of stderr is kept, each on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLimits {
    /// Size at which a log file is rotated; at least 4096.
    pub bytes_max: u64,
    /// Files kept per stream, the current one included; at least 2.
    pub files_max: u32,
}

impl Default for LogLimits {
    /// 10 MiB in 4 files: 40 MiB per stream at most.
    fn default() -> Self {
        Self {
            bytes_max: 10 << 20,
            files_max: 4,
        }
    }
}

/// Everything needed to run one container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Its name, unique on this host.
    pub id: ContainerId,
    /// The mounted root file system on the host.
    pub rootfs: PathBuf,
    /// Command and arguments; the command is searched in the container's `PATH`.
    pub args: Vec<String>,
    /// The whole environment; `PATH` is added if absent.
    pub env: Vec<EnvVar>,
    /// Absolute working directory inside the container.
    pub cwd: PathBuf,
    /// As in an image: empty (root), `uid`, `uid:gid`, `name` or `name:group`, looked up in the
    /// container's own `/etc/passwd` and `/etc/group`.
    pub user: String,
    /// Mounts beside the usual `/proc`, `/dev` and `/sys`; one at or above a usual one replaces it.
    pub mounts: Vec<MountSpec>,
    /// Host device nodes, given at the same path.
    pub devices: Vec<DeviceSpec>,
    /// Our own bounding set of capabilities, all devices, writable `/sys`, no seccomp filter, no
    /// hidden paths.
    pub privileged: bool,
    /// Capabilities beyond the default set, for example `CAP_SYS_ADMIN`; must be in our own
    /// bounding set.
    pub capabilities: Vec<String>,
    /// Shares the host's network, with its `resolv.conf` and `hosts`. The default set is then
    /// without `CAP_NET_RAW`.
    pub host_network: bool,
    /// Shares the host's process ids.
    pub host_pid: bool,
    /// Shares the host's System V IPC, POSIX queues and `/dev/shm`.
    pub host_ipc: bool,
    /// Shares the host's name.
    pub host_uts: bool,
    /// Bounds on resources.
    pub limits: Limits,
    /// Cgroup below which the container gets its own, for example `/sutler/agent-1`.
    pub cgroup_parent: String,
    /// Propagation of the root mount; raised by itself to what `mounts` need.
    pub rootfs_propagation: Propagation,
    /// First signal of a graceful stop.
    pub stop_signal: Signal,
    /// Whether the root file system is read-only.
    pub readonly_rootfs: bool,
    /// Host name inside, unless `host_uts`; the id if `None`.
    pub hostname: Option<String>,
    /// Bounds on the kept logs.
    pub log_limits: LogLimits,
}

/// A device node of the host that a container may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceSpec {
    /// On the host and in the container.
    pub path: PathBuf,
    /// Whether opening it for writing is refused: a read-only mount of a node protects the
    /// node alone, not what is behind it.
    pub read_only: bool,
}

impl ContainerSpec {
    /// A spec with the defaults of an unprivileged container: root user in `/`, own network, pid,
    /// ipc and uts namespaces, no limits.
    pub fn new(id: ContainerId, rootfs: impl Into<PathBuf>, args: Vec<String>) -> Self {
        Self {
            id,
            rootfs: rootfs.into(),
            args,
            env: Vec::new(),
            cwd: PathBuf::from("/"),
            user: String::new(),
            mounts: Vec::new(),
            devices: Vec::new(),
            privileged: false,
            capabilities: Vec::new(),
            host_network: false,
            host_pid: false,
            host_ipc: false,
            host_uts: false,
            limits: Limits::default(),
            cgroup_parent: "/sutler".to_owned(),
            rootfs_propagation: Propagation::Private,
            stop_signal: Signal::TERM,
            readonly_rootfs: false,
            hostname: None,
            log_limits: LogLimits::default(),
        }
    }

    /// The container's own cgroup, relative to the cgroup root.
    #[must_use]
    pub(crate) fn cgroup_path(&self) -> String {
        format!("/{}/{}", self.cgroup_parent.trim_matches('/'), self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_could_leave_their_folder_are_refused() {
        for bad in [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "-x",
            ".x",
            "a b",
            "a\0",
            &"x".repeat(129),
        ] {
            assert!(ContainerId::new(bad).is_err(), "{bad:?} was taken");
        }
        for good in ["a", "task-1.2_3", &"x".repeat(128)] {
            assert!(ContainerId::new(good).is_ok(), "{good:?} was refused");
        }
        assert!(serde_json::from_str::<ContainerId>("\"../x\"").is_err());
    }

    #[test]
    fn values_of_environment_variables_never_print() {
        let printed = format!("{:?}", EnvVar::parse("TOKEN=hunter=2"));
        assert_eq!(printed, "TOKEN=***");
        assert_eq!(EnvVar::parse("TOKEN=hunter=2").value, "hunter=2");
    }
}
