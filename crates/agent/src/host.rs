//! What every effect needs of its host: paths, containers, images, names. Never changes
//! while the agent runs, so it is shared freely.

use std::path::PathBuf;
use std::sync::Arc;

use sutler_api::task::TaskExit;
use sutler_host::remove::remove_tree;
use sutler_ids::{AgentName, PluginName, TaskId};
use sutler_images::Rootfs;
use sutler_images::{AuthSources, ImageStore};
use sutler_node_core::container::ContainerEnd;
use sutler_runtime::{
    ContainerId, Containers, ContainersConfig, Ended, ExitRecord, ExitStatus, LogStream, Runc,
};
use sutler_telemetry::chain;

use crate::checks::{self, Facts};
use crate::config::AgentConfig;
use crate::error::StartError;
use crate::layout::Layout;
use crate::pins::Pins;

/// Log lines that are kept with a failure: enough for a stack of causes, short enough to read.
pub(crate) const TAIL_LINES: usize = 20;

/// Prefixes that tell a task's container from a plugin's.
const TASK_PREFIX: &str = "task-";
const PLUGIN_PREFIX: &str = "plugin-";

/// The shared ground of all effects.
pub(crate) struct Host {
    pub name: AgentName,
    pub layout: Layout,
    pub facts: Facts,
    pub containers: Containers,
    pub images: ImageStore,
    pub auth: AuthSources,
}

/// Whose container it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Owner {
    Task(TaskId),
    Plugin(PluginName),
}

impl Host {
    /// Checks the host and makes what the agent needs on it. Blocks.
    pub(crate) fn prepare(config: &AgentConfig) -> Result<Arc<Self>, StartError> {
        let binary = checks::check_host(&config.runc)?;
        let facts = checks::facts()?;
        let layout = Layout::make(config)?;
        let images =
            ImageStore::open(layout.images(), config.image_limits.clone()).map_err(|error| {
                StartError::OpenImages {
                    path: layout.images(),
                    cause: chain(&error),
                }
            })?;
        let containers = Containers::new(ContainersConfig {
            containers_dir: layout.containers(),
            shim_command: config.shim_command.clone(),
            runtime: Runc {
                binary,
                root: layout.runc_state(),
            },
        });
        let auth = AuthSources::from_environment(config.auth_file.clone());
        let name = config.name.clone();
        Ok(Arc::new(Self {
            name,
            layout,
            facts,
            containers,
            images,
            auth,
        }))
    }

    /// Waits for a container's end.
    pub(crate) async fn watch(&self, id: &ContainerId) -> Result<ContainerEnd, String> {
        match self.containers.wait(id).await {
            Ok(Ended::Exited(record)) => Ok(exited(&record)),
            Ok(Ended::Lost) => Ok(self.lost(id, false).await),
            Err(error) => Err(chain(&error)),
        }
    }

    /// Describes the end of a container that nobody saw.
    pub(crate) async fn lost(&self, id: &ContainerId, rebooted: bool) -> ContainerEnd {
        ContainerEnd::Lost {
            rebooted,
            log_tail: self.tail(id).await,
        }
    }

    /// Gives the last lines of a container, its errors last; none where there are no logs.
    pub(crate) async fn tail(&self, id: &ContainerId) -> Vec<String> {
        let read = |stream| self.containers.tail(id, stream, TAIL_LINES);
        let mut lines = read(LogStream::Stdout).await.unwrap_or_default();
        lines.extend(read(LogStream::Stderr).await.unwrap_or_default());
        let surplus = lines.len().saturating_sub(TAIL_LINES);
        lines.split_off(surplus)
    }

    /// Removes a container with every process of it, and its root file system. Repeatable.
    pub(crate) async fn remove_container(&self, id: &ContainerId) -> Result<(), String> {
        self.containers
            .remove(id)
            .await
            .map_err(|error| chain(&error))?;
        self.remove_rootfs(id).await
    }

    /// Unmounts and removes a root file system. Repeatable.
    pub(crate) async fn remove_rootfs(&self, id: &ContainerId) -> Result<(), String> {
        let dir = self.layout.rootfs_of(id);
        let pins = Pins::of(&self.layout, id);
        blocking(move || {
            pins.take_away().map_err(|error| chain(&error))?;
            Rootfs::unmount(&dir).map_err(|error| chain(&error))?;
            remove_tree(&dir).map_err(|error| chain(&error))
        })
        .await
    }

    /// Mounts a root file system from an image's layers.
    pub(crate) async fn mount_rootfs(
        &self,
        id: &ContainerId,
        layers: Vec<PathBuf>,
    ) -> Result<PathBuf, String> {
        let dir = self.layout.rootfs_of(id);
        blocking(move || Rootfs::mount(&layers, &dir).map_err(|error| chain(&error))).await
    }
}

/// Runs a function that blocks, away from the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    sutler_host::blocking::blocking(work)
        .await
        .unwrap_or_else(|none| Err(none.to_string()))
}

/// Names a task's container.
pub(crate) fn task_container(task_id: &TaskId) -> ContainerId {
    ContainerId::new(format!("{TASK_PREFIX}{task_id}"))
        .expect("a task id has only characters of container ids and half their length")
}

/// Names a plugin's container.
pub(crate) fn plugin_container(plugin: &PluginName) -> ContainerId {
    ContainerId::new(format!("{PLUGIN_PREFIX}{plugin}"))
        .expect("a plugin name has only characters of container ids and half their length")
}

/// Says whose container it is; `None` for one that is not ours.
pub(crate) fn owner_of(id: &str) -> Option<Owner> {
    if let Some(task) = id.strip_prefix(TASK_PREFIX) {
        return TaskId::new(task).ok().map(Owner::Task);
    }
    let plugin = id.strip_prefix(PLUGIN_PREFIX)?;
    PluginName::new(plugin).ok().map(Owner::Plugin)
}

/// Says how a container ended in the words of the cores.
pub(crate) fn exited(record: &ExitRecord) -> ContainerEnd {
    let (code, signal) = match record.status {
        ExitStatus::Code(code) => (Some(code), None),
        ExitStatus::Signal(signal) => (None, Some(signal)),
    };
    ContainerEnd::Exited {
        exit: TaskExit {
            code,
            signal,
            oom_killed: record.oom_killed,
        },
        started_at: record.started_at,
        ended_at: record.ended_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_tells_whose_it_is() {
        let task = TaskId::new("t.1").expect("a name");
        let plugin = PluginName::new("task-x").expect("a name");
        assert_eq!(
            owner_of(task_container(&task).as_str()),
            Some(Owner::Task(task))
        );
        assert_eq!(
            owner_of(plugin_container(&plugin).as_str()),
            Some(Owner::Plugin(plugin))
        );
        assert_eq!(owner_of("other"), None);
        assert_eq!(owner_of("task-"), None);
    }
}
