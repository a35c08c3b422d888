//! What a task is given of its volumes: looked at, then pinned where no plugin can write.
//!
//! A plugin may change what lies in its volumes folder at any time, so a path there is worth
//! nothing by the time the runtime follows it. Each volume is opened without following a link,
//! checked, and shown by that descriptor in the task's own folder, whose path the runtime gets.
//! The container takes a mount of its own from there, so the pins go once it is made; what a
//! death leaves goes at the next start, before anything is unpublished.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use sutler_api::volume::AccessType;
use sutler_host::beneath::{Base, Found, Kind};
use sutler_host::mounts::{self, MountError};
use sutler_ids::{ErrorKind, PluginName, Problem, SaidBy, VolumeId};
use sutler_node_core::task::VolumeAt;
use sutler_runtime::ContainerId;
use sutler_telemetry::{chain, failpoint};

use crate::layout::{Layout, make_private_dir};

/// The volumes of one task, by their ids.
pub(crate) type Volumes = BTreeMap<VolumeId, VolumeAt>;

/// Where the volumes of one task are pinned.
#[derive(Debug, Clone)]
pub(crate) struct Pins {
    folder: PathBuf,
    layout: Layout,
}

impl Pins {
    pub(crate) fn of(layout: &Layout, id: &ContainerId) -> Self {
        Self {
            folder: layout.pins_of(id),
            layout: layout.clone(),
        }
    }

    /// Pins volumes and gives where they are now. Blocks, as long as a file system does.
    pub(crate) fn pin(
        &self,
        volumes: Volumes,
        privileged: &BTreeSet<PluginName>,
    ) -> Result<Volumes, Problem> {
        failpoint::hit("agent.task.pin.before");
        self.take_away().map_err(|error| of_kernel(chain(&error)))?;
        let mut pinned = Volumes::new();
        for (number, (volume_id, at)) in volumes.into_iter().enumerate() {
            let target = self.folder.join(number.to_string());
            self.pin_one(&at, &target, privileged.contains(&at.plugin))?;
            let path = target.to_string_lossy().into_owned();
            pinned.insert(volume_id, VolumeAt { path, ..at });
        }
        failpoint::hit("agent.task.pin.after");
        Ok(pinned)
    }

    fn pin_one(&self, at: &VolumeAt, target: &Path, privileged: bool) -> Result<(), Problem> {
        let found = self.look(at, privileged)?;
        make_private_dir(&self.folder)
            .and_then(|()| match at.access {
                AccessType::Mount => make_private_dir(target),
                AccessType::Block => File::create(target).map(drop),
            })
            .map_err(|error| of_kernel(format!("make {}: {error}", target.display())))?;
        // The descriptor goes with this function: it would keep the plugin from unmounting.
        mounts::pin(&found, target).map_err(|error| of_kernel(chain(&error)))
    }

    fn look(&self, at: &VolumeAt, privileged: bool) -> Result<Found, Problem> {
        let folder = self.layout.volumes_of(&at.plugin);
        let below = Path::new(&at.path).strip_prefix(&folder);
        let below = below.map_err(|_elsewhere| not_a_volume(at, "it is in another's folder"))?;
        let looked = Base::open(&folder).and_then(|base| base.look(below));
        let found = looked.map_err(|error| not_a_volume(at, &chain(&error)))?;
        let why = match at.access {
            AccessType::Mount if found.kind == Kind::Folder => return Ok(found),
            AccessType::Mount => "where a folder was asked for",
            AccessType::Block if found.kind != Kind::BlockDevice => {
                "where a block device was asked for"
            }
            AccessType::Block if found.is_mount_root || privileged => return Ok(found),
            // Whoever may not mount could have made a device node of any device of the host.
            AccessType::Block => {
                "but its device node is not mounted there, and the plugin is not privileged"
            }
        };
        Err(not_a_volume(at, &format!("{found}, {why}")))
    }

    /// Takes away what is pinned, if anything is. Repeatable.
    pub(crate) fn take_away(&self) -> Result<(), MountError> {
        // Most tasks have no volumes: one look in place of the whole mount table.
        if !self.folder.exists() {
            return Ok(());
        }
        failpoint::hit("agent.task.unpin.before");
        let gone = self.take_away_listed();
        let gone = gone.or_else(|_nested| mounts::unmount_all(&self.folder).map(drop));
        failpoint::hit("agent.task.unpin.after");
        gone
    }

    /// The usual case, without the mount table: nothing is mounted inside a volume.
    fn take_away_listed(&self) -> Result<(), MountError> {
        let entries = fs::read_dir(&self.folder);
        for entry in entries.into_iter().flatten().flatten() {
            let path = entry.path();
            mounts::unmount(&path)?;
            // Gone with the task's folder in any case.
            let _ = fs::remove_dir(&path).or_else(|_no_folder| fs::remove_file(&path));
        }
        Ok(())
    }
}

/// Takes away what an agent left that died while it started tasks.
pub(crate) fn take_away_all(layout: &Layout) -> Result<(), MountError> {
    let points = mounts::points_under(&layout.rootfs())?;
    let pinned = points.iter().rev().filter(|point| layout.is_pin(point));
    for point in pinned {
        tracing::info!(path = %point.display(), "a pin of an earlier start is taken away");
        mounts::unmount(point)?;
    }
    Ok(())
}

fn not_a_volume(at: &VolumeAt, raw: &str) -> Problem {
    let plugin = &at.plugin;
    let what = format!("plugin {plugin} has no volume at {}", at.path);
    Problem::new(ErrorKind::Conflict, what)
        .said_by(SaidBy::Kernel)
        .raw(raw)
        .hint(format!("sutler plugin logs {plugin}"))
}

fn of_kernel(raw: String) -> Problem {
    Problem::new(
        ErrorKind::Unavailable,
        "a volume cannot be given to the task",
    )
    .said_by(SaidBy::Kernel)
    .raw(raw)
    .hint("check the disk under the state directory, then run it again")
}
