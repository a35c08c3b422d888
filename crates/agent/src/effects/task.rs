//! The outside acts of a task: start, stop, clean up.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sutler_api::task::TaskSpec;
use sutler_ids::{ErrorKind, Problem};
use sutler_ids::{PluginName, TaskId};
use sutler_images::Image;
use sutler_node_core::task::{Act, CleanUp, Launch, TaskEvent};
use sutler_runtime::ContainerError;
use sutler_telemetry::chain;

use super::task_spec::{Place, task_spec};
use crate::host::{Host, blocking, task_container};
use crate::pins::{Pins, Volumes};
use crate::problems;

/// What a start needs beside the task's own specification.
pub(crate) struct Start {
    pub image: Arc<Image>,
    pub launch: Launch,
    /// Those of the plugins that may do as they like on this host anyway.
    pub privileged: BTreeSet<PluginName>,
}

/// Mounts the root file system and starts the container.
pub(crate) async fn start(host: &Host, task: &TaskSpec, start: Start) -> TaskEvent {
    TaskEvent::Started(try_start(host, task, start).await)
}

async fn try_start(
    host: &Host,
    task: &TaskSpec,
    start: Start,
) -> Result<sutler_api::Timestamp, Problem> {
    let image = start.image;
    let owner = owner(&task.task_id);
    let id = task_container(&task.task_id);
    let rootfs = host
        .mount_rootfs(&id, image.layers.clone())
        .await
        .map_err(|cause| {
            problems::of_act(&owner, "given its file system", cause)
                .hint("check the disk under the state directory, then run it again")
        })?;
    let pins = Pins::of(&host.layout, &id);
    let place = Place {
        rootfs,
        cgroup: host.layout.cgroup(),
        volumes: pinned(&pins, start.launch.volumes, start.privileged).await?,
    };
    let spec = task_spec(task, &image.config, place)?;
    let started = host.containers.start(&spec).await;
    if !task.volumes.is_empty() {
        unpin(&task.task_id, pins).await;
    }
    match started {
        Ok(started) => Ok(started.started_at),
        Err(error) => Err(problems::of_start(&owner, &error)),
    }
}

async fn pinned(
    pins: &Pins,
    volumes: Volumes,
    privileged: BTreeSet<PluginName>,
) -> Result<Volumes, Problem> {
    if volumes.is_empty() {
        return Ok(volumes);
    }
    let pins = pins.clone();
    match blocking(move || Ok(pins.pin(volumes, &privileged))).await {
        Ok(pinned) => pinned,
        Err(cause) => Err(Problem::new(ErrorKind::Unavailable, cause)),
    }
}

/// The container has its own mounts by now. A pin that stays goes with the task, before its
/// volumes are released.
async fn unpin(task_id: &TaskId, pins: Pins) {
    let gone = blocking(move || pins.take_away().map_err(|error| chain(&error))).await;
    if let Err(cause) = gone {
        tracing::warn!(%task_id, cause, "a volume stays pinned until the task ends");
    }
}

/// Follows the container to its end.
pub(crate) async fn wait(host: &Host, task_id: &TaskId) -> TaskEvent {
    match host.watch(&task_container(task_id)).await {
        Ok(end) => TaskEvent::Ended(end),
        Err(cause) => faltered(task_id, Act::Wait, "looked after", cause),
    }
}

/// Stops the container. Its watch tells the end, so there is nothing to tell on success.
pub(crate) async fn stop(host: &Host, task_id: &TaskId, grace: Duration) -> Option<TaskEvent> {
    match host
        .containers
        .stop(&task_container(task_id), grace, None)
        .await
    {
        Ok(_) | Err(ContainerError::NotFound { .. } | ContainerError::NeverStarted { .. }) => None,
        Err(error) => Some(faltered(task_id, Act::Stop, "stopped", chain(&error))),
    }
}

/// Cleans up after the container.
pub(crate) async fn clean(host: &Host, task_id: &TaskId, how: CleanUp) -> TaskEvent {
    let id = task_container(task_id);
    let result = match how {
        CleanUp::KeepLogs => host.remove_rootfs(&id).await,
        CleanUp::All => host.remove_container(&id).await,
    };
    match result {
        Ok(()) => TaskEvent::Cleaned,
        Err(cause) => faltered(task_id, Act::Clean, "cleaned up after", cause),
    }
}

/// Removes everything of the task.
pub(crate) async fn clear(host: &Host, task_id: &TaskId) -> TaskEvent {
    match host.remove_container(&task_container(task_id)).await {
        Ok(()) => TaskEvent::Cleared,
        Err(cause) => faltered(task_id, Act::Clear, "forgotten", cause),
    }
}

fn faltered(task_id: &TaskId, act: Act, verb: &str, cause: String) -> TaskEvent {
    TaskEvent::Faltered {
        act,
        problem: problems::of_act(&owner(task_id), verb, cause),
    }
}

/// Names a task in texts.
pub(crate) fn owner(task_id: &TaskId) -> String {
    format!("task {task_id}")
}
