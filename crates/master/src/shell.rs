//! The one loop that owns the books: takes what waits, decides, commits once, acts, answers.
//!
//! Everything that handlers want of the books goes through [`Shell`], a cheap handle. A read
//! runs after the commit of the batch it came with, so it never sees what is not durable.
//!
//! ```text
//!   Serving ── commit refused: no space ──► Full ── books loaded again, space again ──► Serving
//!      │
//!      └── commit failed otherwise ──► ended (the process must start anew)
//! ```

mod batch;
mod changes;
mod streams;

use std::time::Duration;

use sutler_api::agent::{AgentQuery, ToAgent};
use sutler_cluster_core::{Books, Config, Event, Reply, Request};
use sutler_host::clock;
use sutler_ids::{AgentId, RequestId};
use sutler_ids::{ErrorKind, Problem};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) use changes::{Changes, Told};
pub(crate) use streams::Attached;

use crate::StartError;
use crate::journal::Journal;
use batch::Batch;
use streams::Streams;

/// Inputs that may wait; a handler beyond that waits to hand its own over.
const INPUTS_MAX: usize = 1024;

/// Inputs in one batch, so that the first of many is not answered last.
const BATCH_MAX: usize = 256;

/// How often books that a full disk has closed are tried again without being asked.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// What is done with a decision once it is durable.
type Answer = Box<dyn FnOnce(Result<(Reply, &Books), Problem>) + Send>;

/// What looks into the books.
type Look = Box<dyn FnOnce(Result<&Books, Problem>) + Send>;

/// What handlers want of the loop.
pub(crate) enum Input {
    /// Decide on an event.
    Event { event: Box<Event>, answer: Answer },
    /// Look into the books.
    Read(Look),
    /// A node listens: its stream is tied to this queue.
    Attach {
        agent_id: AgentId,
        incarnation: Uuid,
        tie: streams::Tie,
    },
    /// Ask a node something.
    Ask {
        agent_id: AgentId,
        message: Box<ToAgent>,
        answer: oneshot::Sender<Result<(), Problem>>,
    },
}

/// The way to the loop.
#[derive(Clone)]
pub(crate) struct Shell {
    inputs: mpsc::Sender<Input>,
    changes: Changes,
    commits: watch::Receiver<u64>,
}

/// The loop itself, not yet running.
pub(crate) struct ShellLoop {
    books: State,
    config: Config,
    journal: Journal,
    streams: Streams,
    changes: Changes,
    commits: watch::Sender<u64>,
    inputs: mpsc::Receiver<Input>,
    // Bounded by the streams there are: each says it once, when it is dropped.
    gone: mpsc::UnboundedReceiver<(AgentId, u64)>,
}

enum State {
    Serving(Box<Books>),
    /// The disk was full; the books could not be loaded again yet.
    Full(Problem),
}

/// Ties a loop to its handle.
pub(crate) fn new(books: Books, config: Config, journal: Journal) -> (Shell, ShellLoop) {
    let (inputs, inputs_out) = mpsc::channel(INPUTS_MAX);
    let (gone, gone_out) = mpsc::unbounded_channel();
    let (commits, commits_out) = watch::channel(journal.commits());
    let changes = Changes::new();
    let shell = Shell {
        inputs,
        changes: changes.clone(),
        commits: commits_out,
    };
    let shell_loop = ShellLoop {
        books: State::Serving(Box::new(books)),
        config,
        journal,
        streams: Streams::new(gone),
        changes,
        commits,
        inputs: inputs_out,
        gone: gone_out,
    };
    (shell, shell_loop)
}

impl Shell {
    /// Decides on an event and renders the answer from the books after its commit.
    ///
    /// # Errors
    /// The refusal; `Unavailable` when the master is ending.
    ///
    /// # Cancel safety
    /// A dropped call may still take effect.
    pub(crate) async fn decide<T: Send + 'static>(
        &self,
        event: Event,
        render: impl FnOnce(Reply, &Books) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let (done, answer) = oneshot::channel();
        let reply = Box::new(move |result: Result<(Reply, &Books), Problem>| {
            // An asker that went away does not need its answer.
            let _ = done.send(result.and_then(|(reply, books)| render(reply, books)));
        });
        self.put(Input::Event {
            event: Box::new(event),
            answer: reply,
        })
        .await?;
        answer.await.map_err(|_| ending())?
    }

    /// Decides on a user's request.
    ///
    /// # Errors
    /// As [`Shell::decide`].
    pub(crate) async fn request<T: Send + 'static>(
        &self,
        request: Request,
        render: impl FnOnce(Reply, &Books) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        self.decide(
            Event::Request {
                seed: Uuid::new_v4(),
                request,
            },
            render,
        )
        .await
    }

    /// Looks into the books.
    ///
    /// # Errors
    /// What `look` refuses; `Exhausted` while the books cannot be loaded.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Books) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let (done, answer) = oneshot::channel();
        let look = Box::new(move |books: Result<&Books, Problem>| {
            // An asker that went away does not need its answer.
            let _ = done.send(books.and_then(look));
        });
        self.put(Input::Read(look)).await?;
        answer.await.map_err(|_| ending())?
    }

    /// Ties a node's stream to the loop; the first message is everything wanted of it.
    ///
    /// # Errors
    /// The refusal, for a run of an agent that is not the latest.
    pub(crate) async fn attach(
        &self,
        agent_id: AgentId,
        incarnation: Uuid,
    ) -> Result<Attached, Problem> {
        let (tie, attached) = oneshot::channel();
        self.put(Input::Attach {
            agent_id,
            incarnation,
            tie,
        })
        .await?;
        attached.await.map_err(|_| ending())?
    }

    /// Sends a node a question.
    ///
    /// # Errors
    /// `Unavailable` if it does not listen.
    pub(crate) async fn ask(
        &self,
        agent_id: AgentId,
        request_id: RequestId,
        query: AgentQuery,
    ) -> Result<(), Problem> {
        let (answer, asked) = oneshot::channel();
        let message = Box::new(ToAgent::Query { request_id, query });
        self.put(Input::Ask {
            agent_id,
            message,
            answer,
        })
        .await?;
        asked.await.map_err(|_| ending())?
    }

    /// Gives the changes of the books, to wait on or to stream.
    pub(crate) fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Counts the commits of the store.
    pub(crate) fn commits(&self) -> u64 {
        *self.commits.borrow()
    }

    async fn put(&self, input: Input) -> Result<(), Problem> {
        self.inputs.send(input).await.map_err(|_| ending())
    }
}

fn ending() -> Problem {
    Problem::new(ErrorKind::Unavailable, "the master is ending").hint("try again in a moment")
}

impl ShellLoop {
    /// Serves until asked to end.
    ///
    /// # Errors
    /// If the store has failed for good.
    pub(crate) async fn run(mut self, end: CancellationToken) -> Result<(), StartError> {
        loop {
            let sleep = self.sleep();
            let mut batch = Batch::default();
            // Every arm is cancel-safe: a message is taken wholly or not at all.
            tokio::select! {
                () = end.cancelled() => return Ok(()),
                input = self.inputs.recv() => batch.inputs.extend(input),
                gone = self.gone.recv() => batch.gone.extend(gone),
                () = tokio::time::sleep(sleep) => {}
            }
            while batch.len() < BATCH_MAX
                && let Ok(input) = self.inputs.try_recv()
            {
                batch.inputs.push(input);
            }
            while batch.len() < 2 * BATCH_MAX
                && let Ok(gone) = self.gone.try_recv()
            {
                batch.gone.push(gone);
            }
            self.work(batch).await?;
        }
    }

    fn sleep(&self) -> Duration {
        let books = match &self.books {
            State::Serving(books) => books,
            State::Full(_) => return RETRY_EVERY,
        };
        clock::sleep_until(books.wake_at())
    }

    /// Works one batch, on books that are loaded again if need be.
    async fn work(&mut self, batch: Batch) -> Result<(), StartError> {
        if let State::Full(_) = &self.books {
            self.reload().await?;
        }
        if let State::Full(problem) = &self.books {
            batch.refuse(problem);
            return Ok(());
        }
        self.work_serving(batch).await
    }

    /// Rebuilds the books from the store, the same way as at a start. Every stream is closed
    /// before, so that each agent tells again what only it knows.
    async fn reload(&mut self) -> Result<(), StartError> {
        self.streams.close_all();
        match self.journal.recover(self.config).await {
            Ok(books) => {
                self.books = State::Serving(Box::new(books));
                self.changes.touch();
                Ok(())
            }
            Err(StartError::LoadBooks {
                source:
                    source @ sutler_store::LoadError::Reopen {
                        source: sutler_store::OpenError::Full { .. },
                        ..
                    },
            }) => {
                self.books = State::Full(no_space(&sutler_telemetry::chain(&source)));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

/// Tells that there is no space for the books.
fn no_space(raw: &str) -> Problem {
    Problem::new(
        ErrorKind::Exhausted,
        "the master's state directory is full; nothing was changed",
    )
    .said_by(sutler_ids::SaidBy::Kernel)
    .raw(raw)
    .hint("free space there; the master goes on by itself")
}
