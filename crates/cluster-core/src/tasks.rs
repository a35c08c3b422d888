//! Tasks after their acceptance: stopping, what agents tell of them, forgetting.

use sutler_api::agent::{TaskReport, ToAgent};
use sutler_api::task::TaskState;
use sutler_ids::{AgentId, TaskId, TaskInstance};
use sutler_ids::{ErrorKind, Problem};

use crate::books::{Books, Turn};
use crate::record::{Change, TaskEnd, TaskRecord};
use crate::step::{Reply, Subject};

/// Ended tasks that are kept with their logs: a few screens of history, bounded on disk.
pub(crate) const ENDED_TASKS_MAX: usize = 500;

impl Books {
    pub(crate) fn task_called(&self, id: &TaskId) -> Result<&TaskRecord, Problem> {
        self.durable.tasks.get(id).ok_or_else(|| {
            Problem::new(ErrorKind::NotFound, format!("no task is called {id}"))
                .hint("sutler task ls")
        })
    }

    /// Gives a task's state: what is recorded, then what its agent tells.
    pub(crate) fn task_state(&self, task: &TaskRecord) -> TaskState {
        if let Some(end) = &task.end {
            return end.state;
        }
        let reported = self
            .live
            .tasks
            .get(&task.spec.task_id)
            .map(|report| report.state);
        let recorded = match task.started_at {
            Some(_) => TaskState::Running,
            None => TaskState::Accepted,
        };
        let stopping = if task.stop {
            TaskState::Stopping
        } else {
            recorded
        };
        let states = [Some(recorded), Some(stopping), reported];
        states
            .into_iter()
            .flatten()
            .max_by_key(|state| rank(*state))
            .unwrap_or(recorded)
    }
}

impl Turn<'_> {
    pub(crate) fn stop_task(&mut self, id: &TaskId) -> Result<(), Problem> {
        let task = self.books.task_called(id)?.clone();
        self.reply(Reply::Task(id.clone()));
        if task.end.is_some() || task.stop {
            return Ok(());
        }
        self.persist(Change::Task(TaskRecord { stop: true, ..task }));
        self.send_task(id);
        Ok(())
    }

    /// Forgets an ended task before its time.
    pub(crate) fn remove_task(&mut self, id: &TaskId) -> Result<(), Problem> {
        let task = self.books.task_called(id)?;
        if task.end.is_none() {
            let what = format!("task {id} has not ended");
            let hint = format!("sutler task stop {id}");
            return Err(Problem::new(ErrorKind::Conflict, what).hint(hint));
        }
        let (agent_id, instance) = (task.agent_id, task.spec.instance);
        self.forget_task(id.clone(), agent_id, instance);
        self.step.changed.insert(Subject::Task(id.clone()));
        self.reply(Reply::Task(id.clone()));
        Ok(())
    }

    fn forget_task(&mut self, task_id: TaskId, agent_id: AgentId, instance: TaskInstance) {
        self.persist(Change::ForgetTask(task_id.clone()));
        self.send(agent_id, ToAgent::ForgetTask { task_id, instance });
    }

    /// Sends a task to its agent, unless it has ended.
    pub(crate) fn send_task(&mut self, id: &TaskId) {
        let Some(record) = self.books.durable.tasks.get(id) else {
            return;
        };
        let agent_id = record.agent_id;
        if let Some(task) = self.books.desired_task(record) {
            self.send(agent_id, ToAgent::Task(task));
        }
    }

    pub(crate) fn on_task_report(&mut self, agent_id: AgentId, report: TaskReport) {
        let known = self.books.durable.tasks.get(&report.task_id);
        let Some(record) = known.filter(|record| record.spec.instance.may_be(report.instance))
        else {
            if report.state.is_terminal() {
                self.send(
                    agent_id,
                    ToAgent::ForgetTask {
                        task_id: report.task_id,
                        instance: report.instance,
                    },
                );
            }
            return;
        };
        if record.agent_id != agent_id || record.end.is_some() {
            return;
        }
        if report.state.is_terminal() {
            let end = TaskEnd {
                state: report.state,
                exit: report.exit,
                problem: report.problem,
                image_digest: report.image_digest,
                at: report.ended_at.unwrap_or(self.now.wall),
                recorded_at: self.now.wall,
            };
            let started_at = report.started_at.or(record.started_at);
            let record = TaskRecord {
                started_at,
                ..record.clone()
            };
            self.end_task(record, end);
            return;
        }
        let old = self.books.live.tasks.get(&report.task_id);
        if old.is_some_and(|old| rank(old.state) > rank(report.state)) {
            return;
        }
        if let Some(started_at) = report.started_at
            && record.started_at.is_none()
        {
            let started_at = Some(started_at);
            self.persist(Change::Task(TaskRecord {
                started_at,
                ..record.clone()
            }));
        }
        self.step
            .changed
            .insert(Subject::Task(report.task_id.clone()));
        self.books.live.tasks.insert(report.task_id.clone(), report);
    }

    pub(crate) fn end_task(&mut self, record: TaskRecord, end: TaskEnd) {
        if record.end.is_some() {
            return;
        }
        self.books.live.tasks.remove(&record.spec.task_id);
        self.persist(Change::Task(TaskRecord {
            end: Some(end),
            ..record
        }));
        while let ended = &self.books.durable.index.ended_tasks
            && ended.len() > ENDED_TASKS_MAX
            && let Some((_, oldest)) = ended.first().cloned()
        {
            let record = self.books.durable.tasks.get(&oldest);
            let task = record.expect("the index names tasks of the books");
            let (agent_id, instance) = (task.agent_id, task.spec.instance);
            self.forget_task(oldest, agent_id, instance);
        }
    }
}

/// Orders the states of a task's life; a report of an earlier one is an old report.
pub(crate) const fn rank(state: TaskState) -> u8 {
    match state {
        TaskState::Accepted => 0,
        TaskState::Pulling => 1,
        TaskState::Preparing => 2,
        TaskState::Starting => 3,
        TaskState::Running => 4,
        TaskState::Stopping => 5,
        TaskState::Releasing => 6,
        TaskState::Finished | TaskState::Failed | TaskState::Killed => 7,
    }
}
