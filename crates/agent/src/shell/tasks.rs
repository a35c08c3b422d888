//! Tasks in the shell: their machines, their effects, their reports.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sutler_api::agent::{DesiredTask, TaskReport, Update, VolumeReport};
use sutler_api::volume::VolumeState;
use sutler_ids::Problem;
use sutler_ids::{PluginName, TaskId};
use sutler_images::Image;
use sutler_node_core::task::{Task, TaskEffect, TaskEvent};
use sutler_telemetry::failpoint;
use tokio::task::AbortHandle;

use super::Shell;
use super::timers::Wake;
use super::turn::{Todo, Turn};
use crate::effects::pull::{Wanted, pull};
use crate::effects::task;
use crate::event::Event;

/// A task and what belongs to it in memory only.
pub(super) struct TaskCell {
    pub machine: Task,
    pub image: Option<Arc<Image>>,
    told: Option<TaskReport>,
    pull: Option<AbortHandle>,
    watch: Option<AbortHandle>,
    /// The master does not know it: it is forgotten as soon as it has ended.
    pub orphan: bool,
    /// A later task of the same id, which begins when nothing of this one is left.
    pub next: Option<DesiredTask>,
}

impl TaskCell {
    pub(super) fn new(machine: Task) -> Self {
        Self {
            machine,
            image: None,
            told: None,
            pull: None,
            watch: None,
            orphan: false,
            next: None,
        }
    }

    /// Ends what only waits; acts are left to end by themselves.
    pub(super) fn abort_waits(&self) {
        self.pull
            .iter()
            .chain(&self.watch)
            .for_each(AbortHandle::abort);
    }

    pub(super) fn is_pulling(&self) -> bool {
        self.pull.is_some()
    }
}

impl Shell {
    /// Takes up a task, or what has changed of one that is known.
    pub(super) fn want_task(&mut self, desired: DesiredTask, turn: &mut Turn) {
        let task_id = desired.spec.task_id.clone();
        if let Some(cell) = self.tasks.get(&task_id)
            && !cell.machine.spec().instance.may_be(desired.spec.instance)
        {
            self.disown(&task_id, turn);
            if let Some(cell) = self.tasks.get_mut(&task_id) {
                cell.next = Some(desired);
            }
            return;
        }
        let cell = self
            .tasks
            .entry(task_id.clone())
            .or_insert_with(|| TaskCell::new(Task::new(desired.spec.clone())));
        cell.orphan = false;
        if *cell.machine.spec() != desired.spec && !cell.machine.has_ended() {
            tracing::warn!(%task_id, "a task never changes; the newer specification is ignored");
        }
        if desired.stop {
            self.task_event(&task_id, TaskEvent::Stop, turn);
        } else {
            self.task_event(&task_id, TaskEvent::Wanted, turn);
        }
    }

    pub(super) fn task_event(&mut self, task_id: &TaskId, event: TaskEvent, turn: &mut Turn) {
        let Some(cell) = self.tasks.get_mut(task_id) else {
            return;
        };
        let before = cell.machine.report().state;
        let step = cell.machine.on_event(event, Self::now());
        let after = cell.machine.report().state;
        if before != after {
            tracing::info!(%task_id, from = ?before, to = ?after, "task");
        }
        for record in &step.persist {
            turn.pages.task(record);
        }
        let started = step
            .effects
            .iter()
            .any(|e| matches!(e, TaskEffect::Start(_)));
        if let (true, Some(digest)) = (started, cell.machine.digest()) {
            let digest = digest.to_owned();
            self.image_used(&digest, turn);
        }
        let todo = step
            .effects
            .into_iter()
            .map(|e| Todo::Task(task_id.clone(), e));
        turn.todo.extend(todo);
        turn.tasks.insert(task_id.clone());
        let Some(cell) = self.tasks.get_mut(task_id) else {
            return;
        };
        if cell.orphan && cell.machine.has_ended() {
            cell.orphan = false;
            self.task_event(task_id, TaskEvent::Forget, turn);
        } else if cell.machine.is_forgotten()
            && let Some(next) = cell.next.take()
        {
            self.tasks.remove(task_id);
            self.want_task(next, turn);
        }
    }

    /// Ends the tasks that still pull for a volume that could not be made.
    pub(super) fn fail_holders_of(&mut self, report: &VolumeReport, turn: &mut Turn) {
        let (VolumeState::Failed, Some(problem)) = (report.state, &report.problem) else {
            return;
        };
        let volume_id = report.volume_id;
        let uses = |cell: &TaskCell| {
            let mut volumes = cell.machine.spec().volumes.iter();
            volumes.any(|volume| volume.volume_id == volume_id)
        };
        let cells = self.tasks.iter().filter(|(_, cell)| uses(cell));
        let holders: Vec<TaskId> = cells.map(|(task_id, _)| task_id.clone()).collect();
        for task_id in holders {
            let problem = problem.clone();
            let failed = TaskEvent::VolumeFailed { volume_id, problem };
            self.task_event(&task_id, failed, turn);
        }
    }

    pub(super) fn task_pulled(
        &mut self,
        task_id: &TaskId,
        result: Result<Arc<Image>, Problem>,
        turn: &mut Turn,
    ) {
        let Some(cell) = self.tasks.get_mut(task_id) else {
            return;
        };
        cell.pull = None;
        let result = result.map(|image| {
            let digest = image.digest.to_string();
            cell.image = Some(image);
            digest
        });
        self.task_event(task_id, TaskEvent::Pulled(result), turn);
    }

    /// Carries out one effect.
    pub(super) fn act_for_task(&mut self, task_id: TaskId, effect: TaskEffect) {
        let name = format!("agent.task.{}", effect.name());
        match effect {
            TaskEffect::Pull { always } => self.pull_for_task(task_id, name, always),
            TaskEffect::CancelPull => {
                if let Some(cell) = self.tasks.get_mut(&task_id) {
                    cell.pull.take().iter().for_each(AbortHandle::abort);
                }
            }
            TaskEffect::Acquire {
                volume_id,
                read_only,
            } => {
                failpoint::hit(&format!("{name}.before"));
                self.storage.acquire(volume_id, task_id, read_only);
                failpoint::hit(&format!("{name}.after"));
            }
            TaskEffect::Release { volume_id } => {
                failpoint::hit(&format!("{name}.before"));
                self.storage.release(volume_id, task_id);
                failpoint::hit(&format!("{name}.after"));
            }
            TaskEffect::WakeAt(at) => self.timers.set(at, Wake::Task(task_id)),
            wait @ TaskEffect::Wait => {
                let watch = self.act_on_container(task_id.clone(), name, wait);
                if let Some(cell) = self.tasks.get_mut(&task_id) {
                    cell.watch = watch;
                }
            }
            act @ (TaskEffect::Start(_)
            | TaskEffect::Stop { .. }
            | TaskEffect::Clean(_)
            | TaskEffect::Clear) => {
                self.act_on_container(task_id, name, act);
            }
        }
    }

    fn act_on_container(
        &mut self,
        task_id: TaskId,
        name: String,
        effect: TaskEffect,
    ) -> Option<AbortHandle> {
        let host = Arc::clone(&self.ground.host);
        let cell = self.tasks.get(&task_id)?;
        let spec = cell.machine.spec().clone();
        let image = cell.image.clone();
        let privileged = self.privileged_plugins(&effect);
        Some(self.spawn(name, async move {
            let event = match effect {
                TaskEffect::Start(launch) => {
                    let start = task::Start {
                        image: image.expect("a start follows the pull of its image"),
                        launch,
                        privileged,
                    };
                    Some(task::start(&host, &spec, start).await)
                }
                TaskEffect::Stop { grace_ms } => {
                    task::stop(&host, &task_id, Duration::from_millis(grace_ms)).await
                }
                TaskEffect::Clean(how) => Some(task::clean(&host, &task_id, how).await),
                TaskEffect::Clear => Some(task::clear(&host, &task_id).await),
                TaskEffect::Wait => Some(task::wait(&host, &task_id).await),
                TaskEffect::Pull { .. }
                | TaskEffect::CancelPull
                | TaskEffect::Acquire { .. }
                | TaskEffect::Release { .. }
                | TaskEffect::WakeAt(_) => None,
            };
            event.map_or(Event::Done, |event| Event::Task(task_id, event))
        }))
    }

    /// Those of the plugins of a start's volumes that are privileged.
    fn privileged_plugins(&self, effect: &TaskEffect) -> BTreeSet<PluginName> {
        let TaskEffect::Start(launch) = effect else {
            return BTreeSet::new();
        };
        let is_privileged = |name: &&PluginName| {
            let cell = self.plugins.get(*name);
            cell.is_some_and(|cell| cell.machine.wanted().definition.privileged)
        };
        let plugins = launch.volumes.values().map(|at| &at.plugin);
        plugins.filter(is_privileged).cloned().collect()
    }

    fn pull_for_task(&mut self, task_id: TaskId, name: String, always: bool) {
        let Some(cell) = self.tasks.get(&task_id) else {
            return;
        };
        let wanted = Wanted {
            owner: task::owner(&task_id),
            reference: cell.machine.spec().image.clone(),
            always,
            pinned: cell.machine.digest().map(str::to_owned),
            fallback: None,
        };
        let host = Arc::clone(&self.ground.host);
        let gate = self.collector.gate();
        let (events, id) = (self.events.clone(), task_id.clone());
        let tell = move |progress| {
            // Nobody reads once the shell is torn down.
            let _ = events.send(Event::Task(id.clone(), TaskEvent::PullProgress(progress)));
        };
        let id = task_id.clone();
        let pull = self.spawn(name, async move {
            let _open = gate.read_owned().await;
            let result = pull(&host, wanted, tell).await;
            Event::TaskPulled(id, result)
        });
        if let Some(cell) = self.tasks.get_mut(&task_id) {
            cell.pull = Some(pull);
        }
    }

    /// Tells the master of tasks whose report has changed, and drops those that are forgotten.
    pub(super) fn tell_tasks(&mut self, touched: &BTreeSet<TaskId>) {
        for task_id in touched {
            let Some(cell) = self.tasks.get_mut(task_id) else {
                continue;
            };
            if cell.machine.is_forgotten() {
                self.tasks.remove(task_id);
                continue;
            }
            let report = cell.machine.report();
            if cell.told.as_ref() == Some(&report) {
                continue;
            }
            let ended = cell
                .told
                .as_ref()
                .is_some_and(|told| !told.state.is_terminal())
                && report.state.is_terminal();
            cell.told = Some(report.clone());
            self.tell(vec![Update::Task(report)]);
            if ended {
                self.collector.task_ended(&self.ground.host);
            }
        }
    }

    /// Tells the master of every task, whether or not it knows.
    pub(super) fn tell_all_tasks(&mut self) {
        let all: BTreeSet<TaskId> = self.tasks.keys().cloned().collect();
        self.tasks.values_mut().for_each(|cell| cell.told = None);
        self.tell_tasks(&all);
    }
}
