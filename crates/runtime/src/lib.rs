//! Containers: from a plain [`ContainerSpec`] to a process with kept logs and a kept exit status.
//!
//! [`Containers`] is the agent's handle. For each container it writes a folder and spawns one
//! *shim* process ([`shim_main`]), which drives the OCI runtime ([`Runtime`], [`Runc`]), drains
//! stdout and stderr and persists how the container ended. The shim needs nothing of the agent
//! after the start, so containers outlive an agent that is killed and are found by
//! [`Containers::adopt`]. This module never decides whether a container should run: it starts,
//! stops and reports what it is told.
//!
//! ```text
//! <containers_dir>/<id>/        0700
//!   spec.json  config.json      what was asked; the OCI bundle is this folder
//!   start.lock                  locked from before the shim exists until the start has ended
//!   shim.json                   pid and start time of the shim, then of the container
//!   start-error.json            the start failed, and why (final)
//!   exit.json                   how the container ended (final, synced)
//!   stdout.log  stdout.log.N    newest bytes; rotated files, N = offset of their first byte
//!   stderr.log  stderr.log.N
//!   runc.log  shim.log          the runtime's and the shim's own words
//! ```

mod blocking;
mod capabilities;
mod cgroup;
mod devices;
mod error;
mod failure;
mod folder;
mod host;
mod inherited;
mod log_follow;
mod log_read;
mod log_write;
mod manager;
mod observe;
mod oci;
mod process;
mod propagation;
mod runc;
mod scope;
mod seccomp;
mod shim;
mod shim_start;
mod signal;
mod spec;
mod status;
mod stop;
mod user;
mod watched;

pub use cgroup::{CgroupMode, remove_cgroup_parent};
pub use error::{ContainerError, LogError, StartError};
pub use failure::StartFailure;
pub use folder::FolderError;
pub use log_follow::LogChunk;
pub use manager::{Containers, ContainersConfig};
pub use observe::is_at_rest;
pub use propagation::{MountError, ensure_shared_mount, remove_shared_mount};
pub use runc::{Runc, Runtime, RuntimeError, RuntimeState};
pub use shim::shim_main;
pub use signal::Signal;
pub use spec::{
    ContainerId, ContainerSpec, DeviceSpec, EnvVar, InvalidContainerId, Limits, LogLimits,
    MountKind, MountSpec, Propagation,
};
pub use status::{
    Adopted, AdoptedState, Ended, ExitRecord, ExitStatus, LogQuery, LogStart, LogStream, Started,
};
pub use user::UserError;
