//! The outside acts of a plugin: prepare, start, watch, halt, clear.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sutler_api::plugin::DesiredPlugin;
use sutler_host::beneath::{Base, Kind};
use sutler_ids::{AgentId, PluginName};
use sutler_ids::{ErrorKind, Problem, SaidBy};
use sutler_images::{Image, Rootfs};
use sutler_node_core::container::ContainerEnd;
use sutler_node_core::plugin::{Evidence, PluginEvent};
use sutler_runtime::{ContainerError, Ended};
use sutler_telemetry::chain;

use super::evidence::sockets_below;
use super::needs::check_needs;
use super::plugin_spec::{Rendered, plugin_spec, rendered};
use crate::host::{Host, blocking, plugin_container};
use crate::layout::make_private_dir;
use crate::problems;

/// Used when a definition was recorded with an unreadable time; `checked` refuses those.
const STOP_DEFAULT_MS: u64 = 30_000;

/// A plugin as its effects see it.
#[derive(Clone)]
pub(crate) struct Subject {
    pub host: Arc<Host>,
    pub agent_id: Option<AgentId>,
    pub wanted: DesiredPlugin,
}

impl Subject {
    /// Checks what the host must have, fills in the definition, makes the folders.
    pub(crate) async fn prepare(&self) -> Result<(), Problem> {
        let filled = self.rendered()?;
        let (name, needs) = (
            self.wanted.name.clone(),
            self.wanted.definition.needs.clone(),
        );
        let checked = sutler_host::blocking::blocking(move || check_needs(&name, &needs)).await;
        checked.unwrap_or_else(|none| Err(self.folder("checked", &none.to_string())))?;
        for dir in [&filled.state_dir, &filled.socket_dir, &filled.volumes_dir] {
            make_private_dir(dir).map_err(|error| {
                self.folder(
                    &format!("given the folder {}", dir.display()),
                    &error.to_string(),
                )
            })?;
        }
        Ok(())
    }

    /// Removes what an earlier run left and starts the container.
    pub(crate) async fn start(&self, image: Arc<Image>) -> Result<(), Problem> {
        let owner = self.owner();
        let id = plugin_container(&self.wanted.name);
        let act = |verb: &'static str| {
            let owner = owner.clone();
            move |cause| problems::of_act(&owner, verb, cause)
        };
        self.host
            .remove_container(&id)
            .await
            .map_err(act("cleaned up after"))?;
        let filled = self.rendered()?;
        check_own_mounts(&owner, &filled)?;
        remove_stale_socket(&filled)
            .map_err(|error| act("given its socket folder")(error.to_string()))?;
        let rootfs = self
            .host
            .mount_rootfs(&id, image.layers.clone())
            .await
            .map_err(act("given its file system"))?;
        let spec = plugin_spec(&self.host, &self.wanted, filled, (&image.config, rootfs));
        if spec.args.is_empty() {
            let what = format!("the image of {owner} names no command");
            return Err(Problem::new(ErrorKind::Invalid, what)
                .hint("give the command in args of its definition"));
        }
        match self.host.containers.start(&spec).await {
            Ok(_) => Ok(()),
            Err(error) => Err(problems::of_start(&owner, &error)),
        }
    }

    /// Follows the container to its end. One that cannot be followed counts as lost: it is
    /// removed and started again.
    pub(crate) async fn watch(&self) -> ContainerEnd {
        let id = plugin_container(&self.wanted.name);
        match self.host.watch(&id).await {
            Ok(end) => end,
            Err(cause) => {
                tracing::warn!(plugin = %self.wanted.name, cause, "container cannot be followed");
                self.host.lost(&id, false).await
            }
        }
    }

    /// Finds out what can be seen, then stops the container and unmounts its file system.
    pub(crate) async fn halt(&self, run: u64) -> PluginEvent {
        let evidence = self.evidence().await;
        match self.try_halt().await {
            Ok(()) => PluginEvent::Halted { run, evidence },
            Err(cause) => PluginEvent::Faltered {
                run,
                problem: problems::of_act(&self.owner(), "stopped", cause),
            },
        }
    }

    async fn try_halt(&self) -> Result<(), String> {
        let id = plugin_container(&self.wanted.name);
        let grace_ms = self
            .wanted
            .definition
            .stop_timeout_ms()
            .unwrap_or(STOP_DEFAULT_MS);
        let grace = Duration::from_millis(grace_ms);
        match self.host.containers.stop(&id, grace, None).await {
            Ok(Ended::Lost) => return self.host.remove_container(&id).await,
            Ok(Ended::Exited(_))
            | Err(ContainerError::NotFound { .. } | ContainerError::NeverStarted { .. }) => {}
            Err(error) => return Err(chain(&error)),
        }
        let dir = self.host.layout.rootfs_of(&id);
        blocking(move || Rootfs::unmount(&dir).map_err(|error| chain(&error))).await
    }

    async fn evidence(&self) -> Evidence {
        let id = plugin_container(&self.wanted.name);
        let log_tail = self.host.tail(&id).await;
        let Ok(filled) = self.rendered() else {
            return Evidence {
                log_tail,
                sockets: Vec::new(),
            };
        };
        if filled.socket.symlink_metadata().is_ok() {
            return Evidence {
                log_tail,
                sockets: Vec::new(),
            };
        }
        let upper = self.host.layout.rootfs_of(&id).join("upper");
        let folder = Path::new(&self.wanted.definition.endpoint)
            .parent()
            .map_or_else(|| "/".into(), Path::to_owned);
        let found = blocking(move || {
            let mut sockets = sockets_below(&filled.socket_dir, &folder);
            sockets.extend(sockets_below(&upper, Path::new("/")));
            Ok(sockets)
        });
        Evidence {
            log_tail,
            sockets: found.await.unwrap_or_default(),
        }
    }

    /// Removes the container. The plugin's own data stays: we never delete what we did not make.
    pub(crate) async fn clear(&self, run: u64) -> PluginEvent {
        let id = plugin_container(&self.wanted.name);
        match self.host.remove_container(&id).await {
            Ok(()) => {
                // A later plugin of this name makes it anew; one that is not empty stays.
                let volumes = self.host.layout.volumes_of(&self.wanted.name);
                let _ = fs::remove_dir(volumes);
                PluginEvent::Cleared
            }
            Err(cause) => PluginEvent::Faltered {
                run,
                problem: problems::of_act(&self.owner(), "removed", cause),
            },
        }
    }

    /// Fills in the definition for this host.
    pub(crate) fn rendered(&self) -> Result<Rendered, Problem> {
        rendered(&self.host, self.agent_id, &self.wanted)
    }

    fn folder(&self, act: &str, cause: &str) -> Problem {
        let what = format!("{} could not be {act}", self.owner());
        Problem::new(ErrorKind::Unavailable, what)
            .said_by(SaidBy::Kernel)
            .raw(cause)
    }

    fn owner(&self) -> String {
        owner(&self.wanted.name)
    }
}

/// Names a plugin in texts.
pub(crate) fn owner(name: &PluginName) -> String {
    format!("plugin {name}")
}

/// Refuses to mount what the plugin itself may have put in place of a folder of its own, such as
/// a link to the host's: an earlier run of it could write there. What is not there is told by the
/// runtime.
fn check_own_mounts(owner: &str, filled: &Rendered) -> Result<(), Problem> {
    let own = [&filled.state_dir, &filled.socket_dir, &filled.volumes_dir];
    for source in filled.mounts.iter().map(|mount| &mount.source) {
        let inside = own
            .into_iter()
            .find_map(|dir| Some((dir, source.strip_prefix(dir).ok()?)));
        let Some((dir, below)) = inside.filter(|(_, below)| !below.as_os_str().is_empty()) else {
            continue;
        };
        let found = match Base::open(dir).and_then(|base| base.look(below)) {
            Ok(found) if found.kind != Kind::Link => continue,
            Ok(found) => found.to_string(),
            Err(error) if error.is_absent() => continue,
            Err(error) => chain(&error),
        };
        let what = format!("{owner} cannot be given {}", source.display());
        return Err(Problem::new(ErrorKind::Conflict, what)
            .said_by(SaidBy::Kernel)
            .raw(found)
            .hint("links below a plugin's own folders are not mounted; look who made it"));
    }
    Ok(())
}

/// A socket file of an earlier run would make the plugin fail to bind, or us believe that it
/// listens.
fn remove_stale_socket(filled: &Rendered) -> io::Result<()> {
    make_private_dir(&filled.socket_dir)?;
    match fs::remove_file(&filled.socket) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
