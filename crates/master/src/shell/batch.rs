//! One batch: decide on each event, commit once, then effects, then answers.

use sutler_api::agent::ToAgent;
use sutler_cluster_core::{Change, Effect, Event, Reply, Step, Subject};
use sutler_host::clock;
use sutler_ids::AgentId;
use sutler_ids::Problem;
use sutler_store::CommitError;
use sutler_telemetry::failpoint;

use super::{Answer, Input, ShellLoop, State, no_space};
use crate::StartError;

/// What waits to be worked together.
#[derive(Default)]
pub(super) struct Batch {
    pub inputs: Vec<Input>,
    pub gone: Vec<(AgentId, u64)>,
}

/// What a batch has led to and not done yet.
#[derive(Default)]
struct Outcome {
    persist: Vec<Change>,
    effects: Vec<Effect>,
    changed: std::collections::BTreeSet<Subject>,
    answers: Vec<Deferred>,
}

/// What happens after the commit, in the order in which it was asked.
enum Deferred {
    Decided(Answer, Result<Reply, Problem>),
    Other(Input),
}

impl Batch {
    pub(super) fn len(&self) -> usize {
        self.inputs.len() + self.gone.len()
    }

    /// Refuses everything.
    pub(super) fn refuse(self, problem: &Problem) {
        for input in self.inputs {
            refuse(input, problem);
        }
    }
}

fn refuse(input: Input, problem: &Problem) {
    // An asker that went away does not need its answer.
    match input {
        Input::Event { answer, .. } => answer(Err(problem.clone())),
        Input::Read(look) => look(Err(problem.clone())),
        Input::Attach { tie, .. } => {
            let _ = tie.send(Err(problem.clone()));
        }
        Input::Ask { answer, .. } => {
            let _ = answer.send(Err(problem.clone()));
        }
    }
}

impl ShellLoop {
    pub(super) async fn work_serving(&mut self, batch: Batch) -> Result<(), StartError> {
        let mut outcome = Outcome::default();
        let now = clock::now();
        let State::Serving(books) = &mut self.books else {
            unreachable!("the caller has loaded the books")
        };
        for (agent_id, stream) in batch.gone {
            self.streams.remove(stream);
            // A stream's end is never refused.
            let _ = outcome.take(books.on_event(Event::StreamDown { agent_id, stream }, now));
        }
        if books.is_due(now) {
            let _ = outcome.take(books.on_event(Event::Timer, now));
        }
        for input in batch.inputs {
            match input {
                Input::Event { event, answer } => {
                    let decided = outcome.take(books.on_event(*event, now));
                    outcome.answers.push(Deferred::Decided(answer, decided));
                }
                Input::Attach {
                    agent_id,
                    incarnation,
                    tie,
                } => {
                    let stream = self.streams.next();
                    let event = Event::StreamUp {
                        agent_id,
                        incarnation,
                        stream,
                    };
                    match outcome.take(books.on_event(event, now)) {
                        Ok(_) => self.streams.insert(agent_id, stream, tie),
                        Err(problem) => {
                            let _ = tie.send(Err(problem));
                        }
                    }
                }
                other @ (Input::Read(_) | Input::Ask { .. }) => {
                    outcome.answers.push(Deferred::Other(other));
                }
            }
        }
        match self.journal.commit(&outcome.persist).await {
            Ok(()) => {
                self.done(outcome);
                Ok(())
            }
            Err(error) => self.refused(outcome, error).await,
        }
    }

    fn done(&mut self, outcome: Outcome) {
        let State::Serving(books) = &self.books else {
            unreachable!("just committed")
        };
        let books = books.as_ref();
        self.commits.send_replace(self.journal.commits());
        for change in &outcome.persist {
            tracing::debug!(step = change.step(), "recorded");
        }
        for effect in outcome.effects {
            match effect {
                Effect::CloseStream { stream } => self.streams.close(stream),
                Effect::Send { agent_id, message } => {
                    let word = word(&message);
                    failpoint::hit(&format!("master.send.{word}.before"));
                    self.streams.send(agent_id, *message);
                    failpoint::hit(&format!("master.send.{word}.after"));
                }
            }
        }
        for deferred in outcome.answers {
            match deferred {
                Deferred::Decided(answer, decided) => {
                    answer(decided.map(|reply| (reply, books)));
                }
                Deferred::Other(Input::Read(look)) => look(Ok(books)),
                Deferred::Other(Input::Ask {
                    agent_id,
                    message,
                    answer,
                }) => {
                    let _ = answer.send(self.streams.ask(agent_id, *message, books));
                }
                Deferred::Other(Input::Event { .. } | Input::Attach { .. }) => {
                    unreachable!("decided before the commit")
                }
            }
        }
        self.changes.tell(&outcome.changed, books);
    }

    /// Nothing of this batch is known to be durable: answers it so and starts from the disk.
    async fn refused(&mut self, outcome: Outcome, error: CommitError) -> Result<(), StartError> {
        tracing::error!(%error, "the books could not be written");
        let problem = no_space(&error.to_string());
        for deferred in outcome.answers {
            match deferred {
                Deferred::Decided(answer, _) => answer(Err(problem.clone())),
                Deferred::Other(input) => refuse(input, &problem),
            }
        }
        match error {
            CommitError::Full { .. } => self.reload().await,
            CommitError::Io { .. } | CommitError::Stopped { .. } => {
                self.streams.close_all();
                Err(StartError::CommitBooks { source: error })
            }
        }
    }
}

impl Outcome {
    fn take(&mut self, decided: Result<Step, Problem>) -> Result<Reply, Problem> {
        let step = decided?;
        self.persist.extend(step.persist);
        self.effects.extend(step.effects);
        self.changed.extend(step.changed);
        Ok(step.reply)
    }
}

/// Names a message, as failpoints spell it.
fn word(message: &ToAgent) -> &'static str {
    use sutler_api::agent::VolumeAct;
    match message {
        ToAgent::Desired(_) => "desired",
        ToAgent::Plugins { .. } => "plugins",
        ToAgent::Operation(operation) => match operation.act {
            VolumeAct::Create(_) => "operation_create",
            VolumeAct::Grow { .. } => "operation_grow",
            VolumeAct::Delete => "operation_delete",
            VolumeAct::Forget => "operation_forget",
        },
        ToAgent::Task(task) if task.stop => "task_stop",
        ToAgent::Task(_) => "task",
        ToAgent::ForgetTask { .. } => "forget_task",
        ToAgent::ForgetVolume { .. } => "forget_volume",
        ToAgent::Query { .. } => "query",
        ToAgent::Heartbeat => "heartbeat",
    }
}
