//! What the master says: taken up as a whole state or as single wishes, all repeatable.

use sutler_api::agent::{Desired, ToAgent, Update};
use sutler_ids::{TaskId, TaskInstance};
use sutler_node_core::task::TaskEvent;

use super::turn::Turn;
use super::{Flow, Shell, ShellEnd};
use crate::error::StartError;
use crate::journal::IdentityRecord;
use crate::link::{LinkEvent, Registration};

impl Shell {
    pub(super) fn on_link(&mut self, event: LinkEvent, turn: &mut Turn) -> Flow {
        match event {
            LinkEvent::Registered(registration) => return self.on_registered(registration, turn),
            LinkEvent::StreamUp => self.tell_all(),
            LinkEvent::Said(said) => self.on_said(*said, turn),
        }
        Ok(())
    }

    fn on_registered(&mut self, registration: Registration, turn: &mut Turn) -> Flow {
        let Registration {
            registered,
            url,
            recorded,
        } = registration;
        let found = IdentityRecord {
            agent_id: registered.agent_id,
            cluster_id: registered.cluster_id,
        };
        match self.identity {
            Some(known) if known.cluster_id != found.cluster_id => {
                return Err(ShellEnd::Fatal(StartError::OtherCluster {
                    known: known.cluster_id,
                    found: found.cluster_id,
                    url,
                }));
            }
            Some(known) if known == found => {}
            Some(_) | None => {
                self.identity = Some(found);
                turn.pages.identity(found);
            }
        }
        turn.recorded.push(recorded);
        Ok(())
    }

    fn on_said(&mut self, said: ToAgent, turn: &mut Turn) {
        match said {
            ToAgent::Desired(desired) => self.on_desired(desired, turn),
            ToAgent::Plugins { plugins } => self.want_plugins(plugins, turn),
            ToAgent::Operation(operation) => self.storage.submit(operation),
            ToAgent::Task(task) => self.want_task(task, turn),
            ToAgent::ForgetTask { task_id, instance } => {
                self.forget_task(&task_id, instance, turn);
            }
            ToAgent::ForgetVolume { volume_id } => self.storage.forget(volume_id),
            ToAgent::Query { request_id, query } => {
                self.queries
                    .answer(&self.ground, &self.storage, request_id, query);
            }
            ToAgent::Heartbeat => {}
        }
    }

    /// Makes the whole of the master's wishes ours. Volumes that it does not name are kept and
    /// reported: only an operation deletes.
    fn on_desired(&mut self, desired: Desired, turn: &mut Turn) {
        self.want_plugins(desired.plugins, turn);
        for operation in desired.operations {
            self.storage.submit(operation);
        }
        self.storage.wanted(desired.volumes);
        let mut known = desired.kept_tasks;
        let wanted = desired.tasks.iter().map(|task| &task.spec);
        known.extend(wanted.map(|spec| (spec.task_id.clone(), spec.instance)));
        let unknown: Vec<TaskId> = self
            .tasks
            .iter()
            .filter(|(id, cell)| {
                let ours = cell.machine.spec().instance;
                !known.get(*id).is_some_and(|theirs| theirs.may_be(ours))
            })
            .map(|(id, _)| id.clone())
            .collect();
        for task_id in unknown {
            self.disown(&task_id, turn);
        }
        for task in desired.tasks {
            self.want_task(task, turn);
        }
    }

    /// Ends a task that the master does not know, and forgets it.
    pub(super) fn disown(&mut self, task_id: &TaskId, turn: &mut Turn) {
        let Some(cell) = self.tasks.get_mut(task_id) else {
            return;
        };
        cell.next = None;
        if !cell.machine.has_ended() {
            tracing::warn!(%task_id, "the master does not know this task; it is stopped");
            cell.orphan = true;
            self.task_event(task_id, TaskEvent::Stop, turn);
            return;
        }
        self.task_event(task_id, TaskEvent::Forget, turn);
    }

    fn forget_task(&mut self, task_id: &TaskId, instance: TaskInstance, turn: &mut Turn) {
        let cell = self.tasks.get(task_id);
        if cell.is_some_and(|cell| !cell.machine.spec().instance.may_be(instance)) {
            return;
        }
        self.task_event(task_id, TaskEvent::Forget, turn);
    }

    /// Tells everything: the master may have forgotten it, or may never have heard it.
    fn tell_all(&mut self) {
        self.tell_all_plugins();
        self.tell_all_tasks();
        self.tell(vec![self.own_state()]);
        self.storage.tell_all();
    }

    /// What is told of this node itself.
    pub(super) fn own_state(&self) -> Update {
        let problem = self.problem.as_ref().or(self.storage_problem.as_ref());
        Update::Agent {
            problem: problem.cloned(),
        }
    }
}
