//! The facts of this host that a container's configuration depends on, read once per start.
//!
//! It only reads; `oci.rs` turns facts and spec into a configuration without touching the host.

use std::io;
use std::path::{Path, PathBuf};

use super::capabilities::CapabilitySet;
use super::cgroup::{self, CgroupMode};
use super::devices::{self, Device};
use super::error::StartError;
use super::failure::StartFailure;
use super::inherited::{self, Rlimits};
use super::spec::{ContainerSpec, DeviceSpec, MountKind};

/// What a configuration needs to know of the host.
#[derive(Debug, Clone)]
pub struct HostFacts {
    pub bounding: CapabilitySet,
    pub cgroups: CgroupMode,
    /// Whether the kernel counts swap per cgroup, so that it can be limited.
    pub counts_swap: bool,
    /// The devices of the spec, or all of them if privileged.
    pub devices: Vec<Device>,
    /// What its processes may use, as far as we may say so.
    pub rlimits: Rlimits,
    /// How soon its processes are killed for want of memory; none if we may not say.
    pub oom_score: Option<i32>,
    /// Files that make names resolve as on the host, those of them that exist.
    pub name_files: Vec<PathBuf>,
}

/// Files that a container in the host's network shares with it.
const NAME_FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

impl HostFacts {
    /// Reads the facts that this spec needs and checks that its host paths exist.
    ///
    /// # Errors
    /// `MountSource` if a bind source is missing, `InvalidSpec` if a device is, `ReadHost` if the
    /// host cannot be read.
    pub(crate) fn gather(spec: &ContainerSpec) -> Result<Self, StartError> {
        check_sources(spec)?;
        let cgroups = read("/sys/fs/cgroup", cgroup::mode())?;
        let bounding = read("/proc/self/status", CapabilitySet::own_bounding())?;
        let may_raise_limits = bounding.has("CAP_SYS_RESOURCE");
        Ok(Self {
            bounding,
            rlimits: Rlimits::gather(may_raise_limits),
            oom_score: inherited::oom_score(may_raise_limits),
            cgroups,
            counts_swap: cgroup::counts_swap(cgroups),
            devices: read_devices(spec)?,
            name_files: NAME_FILES
                .iter()
                .map(PathBuf::from)
                .filter(|path| path.exists())
                .collect(),
        })
    }
}

fn read<T>(path: &str, result: io::Result<T>) -> Result<T, StartError> {
    result.map_err(|source| StartError::ReadHost {
        path: path.into(),
        source,
    })
}

fn read_devices(spec: &ContainerSpec) -> Result<Vec<Device>, StartError> {
    if spec.privileged {
        return read("/dev", devices::all_devices(Path::new("/dev")));
    }
    let one = |asked: &DeviceSpec| match Device::read(&asked.path) {
        Ok(device) => Ok(Device {
            read_only: asked.read_only,
            ..device
        }),
        Err(error) => Err(StartError::InvalidSpec {
            id: spec.id.clone(),
            reason: format!("device {}: {error}", asked.path.display()),
        }),
    };
    spec.devices.iter().map(one).collect()
}

/// Said here and not left to the runtime: its text for a missing source differs by version.
fn check_sources(spec: &ContainerSpec) -> Result<(), StartFailure> {
    for mount in spec.mounts.iter().filter(|m| m.kind == MountKind::Bind) {
        if let Err(error) = std::fs::metadata(&mount.source) {
            let raw = error.to_string();
            return Err(StartFailure::MountSource {
                path: mount.source.clone(),
                raw,
            });
        }
    }
    Ok(())
}
