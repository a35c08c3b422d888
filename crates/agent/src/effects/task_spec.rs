//! A task's container as the runtime is asked for it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sutler_api::task::TaskSpec;
use sutler_api::volume::AccessType;
use sutler_ids::VolumeId;
use sutler_ids::{ErrorKind, Problem};
use sutler_images::ImageConfig;
use sutler_node_core::task::VolumeAt;
use sutler_runtime::{ContainerSpec, DeviceSpec, EnvVar, Limits, MountSpec, Signal};

use crate::host::task_container;

/// Where a task's container runs.
pub(crate) struct Place {
    pub rootfs: PathBuf,
    pub cgroup: String,
    pub volumes: BTreeMap<VolumeId, VolumeAt>,
}

/// Builds the specification.
pub(crate) fn task_spec(
    task: &TaskSpec,
    image: &ImageConfig,
    place: Place,
) -> Result<ContainerSpec, Problem> {
    let args = command(image, &task.command);
    if args.is_empty() {
        return Err(Problem::new(
            ErrorKind::Invalid,
            format!(
                "the image of task {} names no command, and none was given",
                task.task_id
            ),
        )
        .hint("write the command after --"));
    }
    let mut spec = ContainerSpec::new(task_container(&task.task_id), place.rootfs, args);
    spec.env = environment(image, task.env.clone());
    spec.cwd = working_dir(image);
    spec.user = image.user.clone();
    spec.stop_signal = stop_signal(image);
    spec.host_network = true;
    spec.hostname = Some(task.task_id.to_string());
    spec.cgroup_parent = place.cgroup;
    spec.limits = Limits {
        cpus: task.cpus,
        memory_bytes: task.memory.map(|m| m.get()),
        pids: None,
    };
    for volume in &task.volumes {
        let at = place.volumes.get(&volume.volume_id).ok_or_else(|| {
            let what = format!(
                "volume {} of task {} is not here",
                volume.name, task.task_id
            );
            Problem::new(ErrorKind::Internal, what)
        })?;
        let mut mount = MountSpec::bind(&at.path, &volume.path);
        mount.read_only = volume.read_only;
        spec.mounts.push(mount);
        match at.access {
            AccessType::Mount => {}
            // The device node alone would be refused by the container's device rules.
            AccessType::Block => spec.devices.push(DeviceSpec {
                path: PathBuf::from(&at.path),
                read_only: volume.read_only,
            }),
        }
    }
    Ok(spec)
}

/// Joins an image's command with the user's, as everybody does: the entry point stays, the
/// default arguments go when others are given.
pub(crate) fn command(image: &ImageConfig, given: &[String]) -> Vec<String> {
    let rest = if given.is_empty() { &image.cmd } else { given };
    image.entrypoint.iter().chain(rest).cloned().collect()
}

/// Joins an image's environment with another that wins.
pub(crate) fn environment(image: &ImageConfig, given: BTreeMap<String, String>) -> Vec<EnvVar> {
    let own = image.env.iter().map(|text| EnvVar::parse(text));
    let mut env: Vec<EnvVar> = own.filter(|var| !given.contains_key(&var.name)).collect();
    env.extend(
        given
            .into_iter()
            .map(|(name, value)| EnvVar::new(name, value)),
    );
    env
}

pub(crate) fn working_dir(image: &ImageConfig) -> PathBuf {
    match image.working_dir.as_str() {
        "" => PathBuf::from("/"),
        dir => PathBuf::from(dir),
    }
}

pub(crate) fn stop_signal(image: &ImageConfig) -> Signal {
    Signal::parse(&image.stop_signal).unwrap_or(Signal::TERM)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> ImageConfig {
        ImageConfig {
            entrypoint: vec!["/entry".into()],
            cmd: vec!["serve".into()],
            env: vec!["A=1".into(), "B=2".into()],
            ..ImageConfig::default()
        }
    }

    #[test]
    fn given_arguments_replace_the_defaults_and_keep_the_entry_point() {
        assert_eq!(command(&image(), &[]), ["/entry", "serve"]);
        assert_eq!(command(&image(), &["x".into()]), ["/entry", "x"]);
        assert!(command(&ImageConfig::default(), &[]).is_empty());
    }

    #[test]
    fn a_given_variable_wins_over_the_images() {
        let env = environment(&image(), BTreeMap::from([("B".into(), "3".into())]));
        assert_eq!(env, [EnvVar::new("A", "1"), EnvVar::new("B", "3")]);
    }
}
