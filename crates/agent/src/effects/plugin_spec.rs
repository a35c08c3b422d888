//! A plugin's container as the runtime is asked for it: the definition with its templates
//! filled in for this host.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sutler_api::definition::{MountMode, SOCKET_PATH_BYTES_MAX};
use sutler_api::plugin::DesiredPlugin;
use sutler_api::template::{TemplateContext, TemplateError, render};
use sutler_ids::AgentId;
use sutler_ids::{ErrorKind, Problem};
use sutler_images::ImageConfig;
use sutler_runtime::{ContainerSpec, MountSpec, Propagation};

use super::task_spec::{command, environment, stop_signal, working_dir};
use crate::host::{Host, plugin_container};

/// The variable by which the CSI spec tells a plugin where to listen.
const ENDPOINT_VARIABLE: &str = "CSI_ENDPOINT";

/// A definition filled in for this host.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rendered {
    pub args: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub mounts: Vec<MountSpec>,
    /// The folder that is mounted for the socket, on the host.
    pub socket_dir: PathBuf,
    /// The socket, on the host.
    pub socket: PathBuf,
    /// The plugin's own data, on the host.
    pub state_dir: PathBuf,
    /// Its volumes, on the host and in the container.
    pub volumes_dir: PathBuf,
}

/// Fills in a definition.
pub(crate) fn rendered(
    host: &Host,
    agent_id: Option<AgentId>,
    plugin: &DesiredPlugin,
) -> Result<Rendered, Problem> {
    let definition = &plugin.definition;
    let endpoint = Path::new(&definition.endpoint);
    let socket_dir = host.layout.plugin_sockets(&plugin.name);
    let socket = socket_dir.join(endpoint.file_name().unwrap_or_default());
    check_socket_path(plugin, &socket)?;
    let state_dir = host.layout.plugin_state(&plugin.name);
    let context = context(host, agent_id, plugin, &state_dir);
    let fill = |text: &String| render(text, &context).map_err(|error| template(plugin, &error));
    let args = definition
        .args
        .one_process()
        .iter()
        .map(fill)
        .collect::<Result<_, _>>()?;
    let mut env = BTreeMap::new();
    for (name, value) in &definition.env {
        env.insert(name.clone(), fill(value)?);
    }
    env.insert(
        ENDPOINT_VARIABLE.to_owned(),
        format!("unix://{}", definition.endpoint),
    );
    let volumes = host.layout.volumes_of(&plugin.name);
    let mut mounts = vec![shared(volumes.clone(), volumes.clone())];
    mounts.push(MountSpec::bind(
        &socket_dir,
        endpoint.parent().unwrap_or(Path::new("/")),
    ));
    let defined = definition.defined_mounts().map_err(|error| {
        Problem::new(
            ErrorKind::Invalid,
            format!("definition of plugin {}: {error}", plugin.name),
        )
    })?;
    for mount in defined {
        mounts.push(mount_of(
            fill(&mount.host)?,
            fill(&mount.container)?,
            mount.mode,
        ));
    }
    Ok(Rendered {
        args,
        env,
        mounts,
        socket_dir,
        socket,
        state_dir,
        volumes_dir: volumes,
    })
}

/// Builds the specification.
pub(crate) fn plugin_spec(
    host: &Host,
    plugin: &DesiredPlugin,
    filled: Rendered,
    image: (&ImageConfig, PathBuf),
) -> ContainerSpec {
    let definition = &plugin.definition;
    let (image, rootfs) = image;
    let args = command(image, &filled.args);
    let mut spec = ContainerSpec::new(plugin_container(&plugin.name), rootfs, args);
    spec.env = environment(image, filled.env);
    spec.cwd = working_dir(image);
    spec.user = image.user.clone();
    spec.stop_signal = stop_signal(image);
    spec.mounts = filled.mounts;
    spec.privileged = definition.privileged;
    spec.host_network = definition.host_network;
    spec.host_pid = definition.host_pid;
    spec.host_ipc = definition.host_ipc;
    // Drivers take the host's name for their node id when nothing else is given.
    spec.host_uts = true;
    spec.rootfs_propagation = Propagation::RShared;
    spec.cgroup_parent = host.layout.cgroup();
    spec
}

fn context(
    host: &Host,
    agent_id: Option<AgentId>,
    plugin: &DesiredPlugin,
    state_dir: &Path,
) -> TemplateContext {
    let endpoint = &plugin.definition.endpoint;
    let values = BTreeMap::from([
        ("endpoint.url", format!("unix://{endpoint}")),
        ("endpoint.path", endpoint.clone()),
        ("agent.name", host.name.to_string()),
        (
            "agent.id",
            agent_id.map(|id| id.to_string()).unwrap_or_default(),
        ),
        ("plugin.name", plugin.name.to_string()),
        ("state_dir", state_dir.to_string_lossy().into_owned()),
        (
            "volumes_dir",
            host.layout
                .volumes_of(&plugin.name)
                .to_string_lossy()
                .into_owned(),
        ),
    ]);
    TemplateContext {
        values,
        set: plugin.set.clone(),
    }
}

fn template(plugin: &DesiredPlugin, error: &TemplateError) -> Problem {
    let name = &plugin.name;
    Problem::new(
        ErrorKind::Invalid,
        format!("definition of plugin {name} cannot be filled in"),
    )
    .raw(error.to_string())
    .hint(format!(
        "correct it, then sutler plugin add again; sutler plugin show {name}"
    ))
}

fn check_socket_path(plugin: &DesiredPlugin, socket: &Path) -> Result<(), Problem> {
    let bytes = socket.as_os_str().len();
    if bytes <= SOCKET_PATH_BYTES_MAX {
        return Ok(());
    }
    let what = format!(
        "the socket of plugin {} would have a path of {bytes} bytes on this host; the kernel \
         takes {SOCKET_PATH_BYTES_MAX}",
        plugin.name
    );
    Err(Problem::new(ErrorKind::Invalid, what)
        .raw(socket.to_string_lossy())
        .hint(
            "give the plugin a shorter name, its endpoint a shorter file name, or the agent a \
             shorter run directory",
        ))
}

fn shared(host: PathBuf, container: PathBuf) -> MountSpec {
    let mut mount = MountSpec::bind(host, container);
    mount.propagation = Propagation::RShared;
    mount
}

fn mount_of(host: String, container: String, mode: MountMode) -> MountSpec {
    let mut mount = MountSpec::bind(host, container);
    match mode {
        MountMode::ReadWrite => {}
        MountMode::ReadOnly => mount.read_only = true,
        MountMode::Shared => mount.propagation = Propagation::RShared,
        MountMode::Slave => mount.propagation = Propagation::RSlave,
    }
    mount
}
