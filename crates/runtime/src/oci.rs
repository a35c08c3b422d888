//! From a spec and the host's facts to an OCI runtime configuration (`config.json`).
//!
//! Pure: it reads nothing and writes nothing, so every rule about what a container gets can be
//! tested as data. Source: OCI runtime specification 1.0.2, `config.md` and `config-linux.md`.

use std::path::{Component, Path};

use serde_json::{Value, json};

use super::capabilities::{CapabilitySet, Network};
use super::cgroup::CgroupMode;
use super::devices::Device;
use super::host::HostFacts;
use super::seccomp;
use super::spec::{ContainerSpec, Limits, MountKind, MountSpec, Propagation};
use super::user::User;

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Period over which the processor quota is counted; the kernel's own default.
const CPU_PERIOD_US: u64 = 100_000;

/// Smallest quota the kernel takes.
const CPU_QUOTA_US_MIN: u64 = 1_000;

/// Shares of one processor and the kernel's least (`cpu.shares`).
const CPU_SHARES_PER_CPU: f64 = 1024.0;
const CPU_SHARES_MIN: u64 = 2;

/// Less memory than this does not even hold the runtime's own start.
const MEMORY_BYTES_MIN: u64 = 6 << 20;

/// Most processors a limit may name; keeps the quota far from overflow.
const CPUS_MAX: f64 = 65_536.0;

/// Host files that tell of other containers or let one harm the host.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Builds the configuration.
///
/// # Errors
/// What in the spec is contradictory or cannot be given, in words.
pub fn config(spec: &ContainerSpec, host: &HostFacts, user: &User) -> Result<Value, String> {
    check(spec)?;
    let capabilities = if spec.privileged {
        host.bounding
    } else {
        let network = match spec.host_network {
            true => Network::Host,
            false => Network::Own,
        };
        host.bounding.unprivileged(network, &spec.capabilities)?
    };
    let mut config = json!({
        "ociVersion": "1.0.2",
        "process": process(spec, host, user, capabilities),
        "root": { "path": spec.rootfs, "readonly": spec.readonly_rootfs },
        "mounts": mounts(spec, host),
        "linux": linux(spec, host, capabilities),
    });
    if !spec.host_uts {
        config["hostname"] = json!(spec.hostname.as_deref().unwrap_or(spec.id.as_str()));
    }
    Ok(config)
}

fn check(spec: &ContainerSpec) -> Result<(), String> {
    if spec.args.first().is_none_or(String::is_empty) {
        return Err("no command".to_owned());
    }
    for (what, path) in [
        ("root file system", &spec.rootfs),
        ("working directory", &spec.cwd),
    ] {
        check_path(what, path)?;
    }
    // An image's word: through a descriptor that a runtime left open it would be a folder of the
    // host (CVE-2024-21626).
    if spec.cwd.starts_with("/proc") {
        return Err(format!(
            "working directory {} is in /proc",
            spec.cwd.display()
        ));
    }
    for mount in &spec.mounts {
        check_path("mount target", &mount.target)?;
        if mount.target == Path::new("/") {
            return Err("mount target / would hide the whole container".to_owned());
        }
        if mount.kind == MountKind::Bind {
            check_path("mount source", &mount.source)?;
        }
    }
    check_path("cgroup parent", Path::new(&spec.cgroup_parent))?;
    if spec.cgroup_parent.trim_matches('/').is_empty() {
        return Err("the cgroup parent may not be the root".to_owned());
    }
    if let Some(bad) = spec
        .env
        .iter()
        .find(|v| v.name.is_empty() || v.name.contains('='))
    {
        return Err(format!("environment variable name {:?}", bad.name));
    }
    if has_nul(spec) {
        return Err("a zero byte in an argument or environment variable".to_owned());
    }
    check_limits(spec.limits)
}

fn check_path(what: &str, path: &Path) -> Result<(), String> {
    if !path.is_absolute() {
        return Err(format!("{what} {} is not absolute", path.display()));
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(format!("{what} {} has a '..'", path.display()));
    }
    Ok(())
}

fn has_nul(spec: &ContainerSpec) -> bool {
    let env = spec.env.iter().flat_map(|v| [&v.name, &v.value]);
    spec.args.iter().chain(env).any(|text| text.contains('\0'))
}

fn check_limits(limits: Limits) -> Result<(), String> {
    if let Some(cpus) = limits.cpus
        && !(cpus > 0.0 && cpus <= CPUS_MAX)
    {
        return Err(format!(
            "cpu limit {cpus} is not above 0 and at most {CPUS_MAX}"
        ));
    }
    if let Some(bytes) = limits.memory_bytes
        && !(MEMORY_BYTES_MIN..=i64::MAX as u64).contains(&bytes)
    {
        return Err(format!(
            "memory limit {bytes} B is below {MEMORY_BYTES_MIN} B or absurd"
        ));
    }
    match limits.pids {
        Some(0) => Err("a limit of 0 processes".to_owned()),
        Some(_) | None => Ok(()),
    }
}

fn process(
    spec: &ContainerSpec,
    host: &HostFacts,
    user: &User,
    capabilities: CapabilitySet,
) -> Value {
    let mut env: Vec<String> = spec
        .env
        .iter()
        .map(|v| format!("{}={}", v.name, v.value))
        .collect();
    if !spec.env.iter().any(|v| v.name == "PATH") {
        env.push(format!("PATH={DEFAULT_PATH}"));
    }
    let names = capabilities.names();
    let mut process = json!({
        "terminal": false,
        "user": { "uid": user.uid, "gid": user.gid, "additionalGids": user.groups },
        "args": spec.args,
        "env": env,
        "cwd": spec.cwd,
        "noNewPrivileges": !spec.privileged,
        "capabilities": { "bounding": names, "effective": names, "permitted": names },
        "rlimits": host.rlimits.to_oci(),
    });
    if let Some(score) = host.oom_score {
        process["oomScoreAdj"] = json!(score);
    }
    process
}

fn mounts(spec: &ContainerSpec, host: &HostFacts) -> Vec<Value> {
    let mut own: Vec<&MountSpec> = spec.mounts.iter().collect();
    // Outer before inner, or the outer would hide the inner.
    own.sort_by_key(|m| m.target.components().count());
    let replaced = |target: &str| own.iter().any(|m| Path::new(target).starts_with(&m.target));
    let mut all: Vec<Value> = usual_mounts(spec)
        .into_iter()
        .chain(name_mounts(spec, host))
        .filter(|m| !m["destination"].as_str().is_some_and(replaced))
        .collect();
    all.extend(own.into_iter().map(own_mount));
    all
}

fn usual(target: &str, kind: &str, options: &[&str]) -> Value {
    json!({ "destination": target, "type": kind, "source": kind, "options": options })
}

fn usual_mounts(spec: &ContainerSpec) -> Vec<Value> {
    let write = if spec.privileged { "rw" } else { "ro" };
    let shm = if spec.host_ipc {
        json!({
            "destination": "/dev/shm", "type": "bind", "source": "/dev/shm",
            "options": ["rbind", "rw", "nosuid", "nodev"]
        })
    } else {
        usual(
            "/dev/shm",
            "tmpfs",
            &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        )
    };
    let pts_options = [
        "nosuid",
        "noexec",
        "newinstance",
        "ptmxmode=0666",
        "mode=0620",
        "gid=5",
    ];
    vec![
        usual("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        usual(
            "/dev",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        usual("/dev/pts", "devpts", &pts_options),
        shm,
        usual("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        usual("/sys", "sysfs", &["nosuid", "noexec", "nodev", write]),
        usual(
            "/sys/fs/cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", write],
        ),
    ]
}

fn name_mounts(spec: &ContainerSpec, host: &HostFacts) -> Vec<Value> {
    if !spec.host_network {
        return Vec::new();
    }
    let one = |path: &std::path::PathBuf| {
        json!({
            "destination": path, "type": "bind", "source": path,
            "options": ["bind", "ro", "nosuid", "nodev", "noexec"]
        })
    };
    host.name_files.iter().map(one).collect()
}

fn own_mount(mount: &MountSpec) -> Value {
    let write = if mount.read_only { "ro" } else { "rw" };
    match mount.kind {
        MountKind::Tmpfs => json!({
            "destination": mount.target, "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "nodev", "mode=1777", write],
        }),
        MountKind::Bind => json!({
            "destination": mount.target, "type": "bind", "source": mount.source,
            "options": [
                if mount.recursive { "rbind" } else { "bind" },
                write,
                propagation(mount.propagation),
            ],
        }),
    }
}

fn propagation(propagation: Propagation) -> &'static str {
    match propagation {
        Propagation::Private => "rprivate",
        Propagation::RSlave => "rslave",
        Propagation::RShared => "rshared",
    }
}

/// A mount that travels needs a root that lets it: with a private or slave root the kernel cuts
/// the tie before the container's own mounts are made.
fn rootfs_propagation(spec: &ContainerSpec) -> &'static str {
    let wanted = |p: Propagation| {
        spec.rootfs_propagation == p || spec.mounts.iter().any(|m| m.propagation == p)
    };
    if wanted(Propagation::RShared) {
        "shared"
    } else if wanted(Propagation::RSlave) {
        "rslave"
    } else {
        "rprivate"
    }
}

fn linux(spec: &ContainerSpec, host: &HostFacts, capabilities: CapabilitySet) -> Value {
    let mut linux = json!({
        "namespaces": namespaces(spec, host),
        "cgroupsPath": spec.cgroup_path(),
        "rootfsPropagation": rootfs_propagation(spec),
        "devices": host.devices.iter().map(device_node).collect::<Vec<_>>(),
        "resources": resources(spec, host),
    });
    if !spec.privileged {
        linux["maskedPaths"] = json!(MASKED);
        linux["readonlyPaths"] = json!(READ_ONLY);
        linux["seccomp"] = seccomp::filter(capabilities);
    }
    linux
}

fn namespaces(spec: &ContainerSpec, host: &HostFacts) -> Vec<Value> {
    // On version 1 a cgroup namespace would hide nothing that the read-only mount shows.
    let own_cgroups = host.cgroups == CgroupMode::V2 && !spec.privileged;
    [
        ("mount", true),
        ("network", !spec.host_network),
        ("pid", !spec.host_pid),
        ("ipc", !spec.host_ipc),
        ("uts", !spec.host_uts),
        ("cgroup", own_cgroups),
    ]
    .into_iter()
    .filter(|(_, own)| *own)
    .map(|(name, _)| json!({ "type": name }))
    .collect()
}

fn device_kind(device: &Device) -> &'static str {
    if device.block { "b" } else { "c" }
}

fn device_node(device: &Device) -> Value {
    json!({
        "path": device.path,
        "type": device_kind(device),
        "major": device.major,
        "minor": device.minor,
        "fileMode": device.mode,
        "uid": device.uid,
        "gid": device.gid,
    })
}

fn resources(spec: &ContainerSpec, host: &HostFacts) -> Value {
    let mut resources = json!({ "devices": device_rules(spec, host) });
    if let Some(cpus) = spec.limits.cpus {
        let quota = ((cpus * CPU_PERIOD_US as f64).round() as u64).max(CPU_QUOTA_US_MIN);
        let shares = ((cpus * CPU_SHARES_PER_CPU).round() as u64).max(CPU_SHARES_MIN);
        resources["cpu"] = json!({ "quota": quota, "period": CPU_PERIOD_US, "shares": shares });
    }
    if let Some(bytes) = spec.limits.memory_bytes {
        resources["memory"] = json!({ "limit": bytes });
        if host.counts_swap {
            // Memory and swap together, so equal means no swap.
            resources["memory"]["swap"] = json!(bytes);
        }
    }
    if let Some(pids) = spec.limits.pids {
        resources["pids"] = json!({ "limit": pids });
    }
    resources
}

/// The runtime adds the harmless ones (null, zero, …) by itself.
fn device_rules(spec: &ContainerSpec, host: &HostFacts) -> Vec<Value> {
    if spec.privileged {
        return vec![json!({ "allow": true, "access": "rwm" })];
    }
    let mut rules = vec![
        json!({ "allow": false, "access": "rwm" }),
        // Making nodes is harmless where using them is refused; package managers do it.
        json!({ "allow": true, "type": "c", "access": "m" }),
        json!({ "allow": true, "type": "b", "access": "m" }),
    ];
    rules.extend(host.devices.iter().map(|device| {
        let access = if device.read_only { "rm" } else { "rwm" };
        json!({
            "allow": true, "type": device_kind(device), "major": device.major,
            "minor": device.minor, "access": access
        })
    }));
    rules
}

#[cfg(test)]
mod tests;
