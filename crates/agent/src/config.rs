//! What an agent is started with.

use std::ffi::OsString;
use std::path::PathBuf;

use sutler_ids::AgentName;
use sutler_images::ImageLimits;
use sutler_telemetry::Secret;

/// Where the runtime's binary is looked for when none is named: in `PATH`.
const RUNC: &str = "runc";

/// Where sockets and the runtime's state go: a file system that a restart of the host
/// empties, with a short path, because a socket's path may have 107 bytes.
const RUN_DIR: &str = "/run/sutler";

/// Everything that an agent needs to know before it starts.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// Folder of everything durable; the agent uses `agent/` in it.
    pub state_dir: PathBuf,
    /// Folder of sockets and of the runtime's state; the agent uses one folder of its own in it.
    pub run_dir: PathBuf,
    /// The operator's name for this node.
    pub name: AgentName,
    pub master: MasterAddress,
    /// The OCI runtime: a path, or a name looked up in `PATH`.
    pub runc: PathBuf,
    /// Command line of the shim, for example `["/usr/bin/sutler", "shim"]`.
    pub shim_command: Vec<OsString>,
    /// Bounds on images.
    pub image_limits: ImageLimits,
    /// File with the credentials of registries; the usual ones of Docker and Podman when absent.
    pub auth_file: Option<PathBuf>,
}

impl AgentConfig {
    /// Makes a configuration with the usual values for all the rest.
    pub fn new(
        state_dir: impl Into<PathBuf>,
        name: AgentName,
        master: MasterAddress,
        shim_command: Vec<OsString>,
    ) -> Self {
        Self {
            state_dir: state_dir.into(),
            run_dir: PathBuf::from(RUN_DIR),
            name,
            master,
            runc: PathBuf::from(RUNC),
            shim_command,
            image_limits: ImageLimits::default(),
            auth_file: None,
        }
    }
}

/// How an agent reaches its master.
#[derive(Debug, Clone)]
pub struct MasterAddress {
    /// For example `https://10.0.0.1:5050`; the token is never sent to another scheme.
    pub url: String,
    /// The authority that the master's certificate must come from, as PEM; the system's when
    /// absent.
    pub ca_pem: Option<String>,
    pub token: Secret<String>,
}
