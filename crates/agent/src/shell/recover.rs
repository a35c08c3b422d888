//! Building a shell from disk: after a start of the agent and after a failure of the journal.
//!
//! Records go to the machines first, then what is seen of their containers, by the same events
//! as in life. Containers and file systems that no record knows are removed: every record is
//! written before its container exists.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use sutler_ids::{ErrorKind, Problem, SaidBy};
use sutler_ids::{TaskId, VolumeId};
use sutler_node_core::container::ContainerSeen;
use sutler_node_core::plugin::{Plugin, PluginEvent, PluginRecord};
use sutler_node_core::task::{Task, TaskEvent, TaskRecord};
use sutler_providers::storage::{self, StorageConfig};
use sutler_runtime::{AdoptedState, ContainerId};
use sutler_telemetry::chain;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::collect::Collector;
use super::plugins::PluginCell;
use super::tasks::TaskCell;
use super::timers::{Timers, Wake};
use super::turn::Turn;
use super::{Shell, ShellEnd, TEAR_DOWN_WITHIN};
use crate::effects::{plugin, task};
use crate::error::StartError;
use crate::ground::Ground;
use crate::host::{Host, Owner, blocking, exited, owner_of, plugin_container, task_container};
use crate::journal::{DamagedRecord, Journal};
use crate::pins;
use crate::problems;
use crate::queries::Queries;

/// What was found of containers, by their ids.
type Seen = BTreeMap<String, ContainerSeen>;

impl Shell {
    /// Reads the journal, looks at every container, and takes up the work.
    pub(crate) async fn recover(ground: Arc<Ground>) -> Result<Self, ShellEnd> {
        let journal = load(&ground).await?;
        if let Some(what) = journal.damaged_identity() {
            return Err(ShellEnd::Fatal(StartError::DamagedIdentity {
                path: ground.host.layout.journal(),
                what: what.to_owned(),
            }));
        }
        let rebooted = journal
            .boot
            .as_ref()
            .is_some_and(|boot| boot.boot_id != ground.host.facts.boot_id);
        let mut seen = look(&ground.host, rebooted).await?;
        // Only now: starts that were under way have ended and have what they need.
        let layout = ground.host.layout.clone();
        let unpin = move || pins::take_away_all(&layout).map_err(|error| chain(&error));
        if let Err(cause) = blocking(unpin).await {
            tracing::error!(
                cause,
                "a pinned volume stays until its task is cleaned up after"
            );
        }
        if rebooted {
            allow_for_boot(&journal.tasks, &mut seen);
        }
        let mut shell = Self::bare(ground, &journal)?;
        let mut turn = Turn::default();
        // Written each time: a journal that cannot be written is found out before anything is done.
        turn.pages.boot(&shell.ground.host.facts.boot_id);
        shell.take_up_tasks(journal.tasks, &journal.damaged_tasks, &mut seen, &mut turn);
        shell.take_up_plugins(journal.plugins, &mut seen, &mut turn);
        shell.note_damage(&journal.damaged_tasks, &journal.damaged_others, &mut turn);
        shell.remove_strays(&seen).await;
        shell.storage.retain_holders(shell.holders());
        shell.ask_capacities(&mut turn);
        shell.timers.set(Self::now().boottime, Wake::Collect);
        match shell.commit_and_act(turn).await {
            Ok(()) => Ok(shell),
            Err(end) => {
                shell.tear_down(TEAR_DOWN_WITHIN).await;
                Err(end)
            }
        }
    }

    fn bare(ground: Arc<Ground>, journal: &Journal) -> Result<Self, ShellEnd> {
        // Unbounded: storage tells one event for each operation, volume or wish of ours.
        let (to_us, from_storage) = mpsc::unbounded_channel();
        let config = StorageConfig {
            volumes_dir: ground.host.layout.volumes(),
            agent_name: ground.host.name.clone(),
            boot_id: ground.host.facts.boot_id.clone(),
            store: ground.store.clone(),
            look_within: storage::LOOK_WITHIN,
        };
        let (storage, storage_task) = storage::recover(config, to_us).map_err(|error| {
            ShellEnd::Fatal(StartError::RecoverStorage {
                cause: chain(&error),
            })
        })?;
        let (events, from_effects) = mpsc::unbounded_channel();
        Ok(Self {
            ground,
            identity: journal.identity,
            storage,
            storage_task,
            from_storage,
            events,
            from_effects,
            work: JoinSet::new(),
            queries: Queries::default(),
            tasks: BTreeMap::new(),
            plugins: BTreeMap::new(),
            timers: Timers::default(),
            collector: Collector::new(journal.images.clone()),
            problem: None,
            storage_problem: None,
        })
    }

    fn take_up_tasks(
        &mut self,
        records: Vec<TaskRecord>,
        damaged: &[DamagedRecord],
        seen: &mut Seen,
        turn: &mut Turn,
    ) {
        let unreadable = damaged.iter().filter_map(|record| {
            let task_id = TaskId::new(record.key.as_str()).ok()?;
            Some(TaskRecord::unreadable(task_id, &record.what, Self::now()))
        });
        for record in records.into_iter().chain(unreadable) {
            let task_id = record.spec.task_id.clone();
            let there = seen.remove(task_container(&task_id).as_str());
            let there = there.unwrap_or(ContainerSeen::Absent);
            let cell = TaskCell::new(Task::new(record.spec.clone()));
            self.tasks.insert(task_id.clone(), cell);
            self.task_event(&task_id, TaskEvent::Recorded(Box::new(record)), turn);
            self.task_event(&task_id, TaskEvent::Observed(there), turn);
        }
    }

    fn take_up_plugins(&mut self, records: Vec<PluginRecord>, seen: &mut Seen, turn: &mut Turn) {
        for record in records {
            let name = record.wanted.name.clone();
            let there = seen.remove(plugin_container(&name).as_str());
            let there = there.unwrap_or(ContainerSeen::Absent);
            let cell = PluginCell::new(Plugin::new(record.wanted.clone(), Self::now()));
            self.plugins.insert(name.clone(), cell);
            self.plugin_event(&name, PluginEvent::Recorded(Box::new(record)), turn);
            self.plugin_event(&name, PluginEvent::Observed(there), turn);
        }
    }

    /// Names damaged records to the operator. A task's is replaced by its end; the master has
    /// copies of all the others but the volumes', which are the storage provider's.
    fn note_damage(&mut self, tasks: &[DamagedRecord], others: &[DamagedRecord], turn: &mut Turn) {
        if tasks.is_empty() && others.is_empty() {
            return;
        }
        let name = |r: &DamagedRecord| format!("{}/{}: {}", r.table, r.key, r.what);
        let named: Vec<String> = tasks.iter().chain(others).map(name).collect();
        tracing::error!(records = ?named, "damaged records in the agent's journal");
        others
            .iter()
            .for_each(|record| turn.pages.delete_damaged(record));
        let journal = self.ground.host.layout.journal();
        self.problem = Some(
            Problem::new(
                ErrorKind::Internal,
                format!("{} damaged records in {}", named.len(), journal.display()),
            )
            .said_by(SaidBy::Sutler)
            .raw(named.join("\n"))
            .hint("check the disk under the state directory; tasks named here were ended"),
        );
    }

    /// Removes containers and file systems that no record knows.
    async fn remove_strays(&self, seen: &Seen) {
        let host = &self.ground.host;
        for id in seen.keys().filter(|id| owner_of(id).is_some()) {
            let Ok(id) = ContainerId::new(id.as_str()) else {
                continue;
            };
            tracing::warn!(container_id = %id, "a container without record is removed");
            if let Err(cause) = host.remove_container(&id).await {
                tracing::error!(container_id = %id, cause, "it cannot be removed");
            }
        }
        let Ok(entries) = fs::read_dir(host.layout.rootfs()) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let known = match owner_of(&name) {
                Some(Owner::Task(task_id)) => self.tasks.contains_key(&task_id),
                Some(Owner::Plugin(plugin)) => self.plugins.contains_key(&plugin),
                None => true,
            };
            if let (false, Ok(id)) = (known, ContainerId::new(name))
                && let Err(cause) = host.remove_rootfs(&id).await
            {
                tracing::error!(container_id = %id, cause, "a stray file system stays");
            }
        }
    }

    /// Lists who may hold which volume: the storage provider lets all others go.
    fn holders(&self) -> Vec<(VolumeId, TaskId)> {
        let holders = self
            .tasks
            .iter()
            .filter(|(_, cell)| cell.machine.may_hold_volumes());
        holders
            .flat_map(|(task_id, cell)| {
                let volumes = &cell.machine.spec().volumes;
                volumes
                    .iter()
                    .map(move |volume| (volume.volume_id, task_id.clone()))
            })
            .collect()
    }
}

async fn load(ground: &Arc<Ground>) -> Result<Journal, ShellEnd> {
    let store = ground.store.clone();
    let loaded = sutler_host::blocking::blocking(move || Journal::load(&store)).await;
    match loaded {
        Ok(Ok(journal)) => Ok(journal),
        Ok(Err(source)) => Err(ShellEnd::Fatal(StartError::LoadJournal { source })),
        Err(none) => Err(ShellEnd::Fatal(StartError::Adopt {
            cause: none.to_string(),
        })),
    }
}

/// Looks at every container of this agent.
async fn look(host: &Host, rebooted: bool) -> Result<Seen, ShellEnd> {
    let adopted = host.containers.adopt().await.map_err(|error| {
        ShellEnd::Fatal(StartError::Adopt {
            cause: chain(&error),
        })
    })?;
    let mut seen = Seen::new();
    for container in adopted {
        let cut_off = !container.shares_our_mounts
            && matches!(owner_of(container.id.as_str()), Some(Owner::Plugin(_)));
        if cut_off && end_cut_off(host, &container.id).await {
            continue;
        }
        let there = match container.state {
            AdoptedState::Running(started) => ContainerSeen::Running {
                started_at: started.started_at,
            },
            AdoptedState::Exited(record) => ContainerSeen::Ended(exited(&record)),
            AdoptedState::Lost => ContainerSeen::Ended(host.lost(&container.id, rebooted).await),
            AdoptedState::NeverStarted(failure) => {
                let owner = owner_text(container.id.as_str());
                let problem = failure.map(|f| problems::of_start_failure(&owner, &f));
                ContainerSeen::NeverStarted(problem)
            }
        };
        seen.insert(container.id.to_string(), there);
    }
    Ok(seen)
}

/// Ends a plugin whose mounts would not reach us, so that it is started anew where they do.
async fn end_cut_off(host: &Host, id: &ContainerId) -> bool {
    tracing::warn!(
        container_id = %id,
        "this plugin runs in the mount namespace of an earlier start and is started anew; does a \
         unit file give us a namespace of our own (PrivateTmp=, ProtectSystem=, MountFlags=)?"
    );
    let removed = host.remove_container(id).await;
    if let Err(cause) = &removed {
        tracing::error!(container_id = %id, cause, "it cannot be ended");
    }
    removed.is_ok()
}

/// A power cut may have taken what a container's folder said of its last moments.
fn allow_for_boot(tasks: &[TaskRecord], seen: &mut Seen) {
    for record in tasks {
        let id = task_container(&record.spec.task_id).to_string();
        let there = seen.remove(&id).unwrap_or(ContainerSeen::Absent);
        seen.insert(id, record.seen_after_boot(there));
    }
}

fn owner_text(id: &str) -> String {
    match owner_of(id) {
        Some(Owner::Task(task_id)) => task::owner(&task_id),
        Some(Owner::Plugin(name)) => plugin::owner(&name),
        None => format!("container {id}"),
    }
}
