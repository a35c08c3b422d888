//! The queues to connected machines: bounded, and a machine that does not keep up is cut off,
//! so that it comes back and is told everything.

use std::collections::BTreeMap;

use sutler_api::agent::ToAgent;
use sutler_api::id::AgentId;
use sutler_api::{ErrorKind, Problem};
use sutler_cluster_core::Books;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Messages that may wait for one machine. Some thousand volumes may change in one moment;
/// beyond that the whole state is told anew.
pub(crate) const STREAM_QUEUE_MAX: usize = 4096;

/// What a handler brings for its machine's stream.
pub(crate) struct Tie {
    pub queue: mpsc::Sender<ToAgent>,
    pub closed: CancellationToken,
    pub answer: oneshot::Sender<Result<u64, Problem>>,
}

struct Stream {
    agent_id: AgentId,
    queue: mpsc::Sender<ToAgent>,
    closed: CancellationToken,
}

#[derive(Default)]
pub(super) struct Streams {
    last: u64,
    open: BTreeMap<u64, Stream>,
}

impl Streams {
    /// Gives the number of a new stream.
    pub(super) fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    pub(super) fn insert(&mut self, agent_id: AgentId, stream: u64, tie: Tie) {
        let Tie {
            queue,
            closed,
            answer,
        } = tie;
        // A handler that went away meanwhile leaves a closed queue; the next message finds it.
        if answer.send(Ok(stream)).is_ok() {
            self.open.insert(
                stream,
                Stream {
                    agent_id,
                    queue,
                    closed,
                },
            );
        }
    }

    pub(super) fn remove(&mut self, stream: u64) {
        self.open.remove(&stream);
    }

    /// Ends a stream; its handler then says that it is gone.
    pub(super) fn close(&mut self, stream: u64) {
        if let Some(stream) = self.open.remove(&stream) {
            stream.closed.cancel();
        }
    }

    pub(super) fn close_all(&mut self) {
        for (_, stream) in std::mem::take(&mut self.open) {
            stream.closed.cancel();
        }
    }

    /// Queues a message for a machine, if it listens.
    pub(super) fn send(&mut self, agent_id: AgentId, message: ToAgent) {
        let Some(stream) = self.of(agent_id) else {
            return;
        };
        if self.open[&stream].queue.try_send(message).is_err() {
            tracing::warn!(%agent_id, "the agent does not keep up; its stream is ended");
            self.close(stream);
        }
    }

    pub(super) fn ask(
        &mut self,
        agent_id: AgentId,
        message: ToAgent,
        books: &Books,
    ) -> Result<(), Problem> {
        if self.of(agent_id).is_none() {
            let view = books.agent(agent_id);
            let name = view.map_or_else(|| agent_id.to_string(), |view| view.name.to_string());
            return Err(Problem::new(
                ErrorKind::Unavailable,
                format!("the agent of machine {name} is not connected"),
            )
            .hint("sutler node ls"));
        }
        self.send(agent_id, message);
        Ok(())
    }

    /// Finds the newest stream of a machine.
    fn of(&self, agent_id: AgentId) -> Option<u64> {
        let mut newest = self.open.iter().rev();
        newest
            .find(|(_, stream)| stream.agent_id == agent_id)
            .map(|(number, _)| *number)
    }
}
