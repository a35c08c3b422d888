//! The queues to connected nodes: bounded, and a node that does not keep up is cut off,
//! so that it comes back and is told everything.

use std::collections::BTreeMap;

use sutler_api::agent::ToAgent;
use sutler_cluster_core::Books;
use sutler_ids::AgentId;
use sutler_ids::{ErrorKind, Problem};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Messages that may wait for one node. Some thousand volumes may change in one moment;
/// beyond that the whole state is told anew.
const STREAM_QUEUE_MAX: usize = 4096;

/// Where a handler waits for its node's stream.
pub(crate) type Tie = oneshot::Sender<Result<Attached, Problem>>;

/// Says which stream of which node has ended.
pub(crate) type Gone = mpsc::UnboundedSender<(AgentId, u64)>;

/// A stream that a handler holds; dropping it tells the loop that the node is gone.
pub(crate) struct Attached {
    pub messages: mpsc::Receiver<ToAgent>,
    /// Cancelled when another stream has replaced this one or it could not keep up.
    pub closed: CancellationToken,
    agent_id: AgentId,
    stream: u64,
    gone: Gone,
}

impl Drop for Attached {
    fn drop(&mut self) {
        // The loop may have ended before; then nobody needs to know.
        let _ = self.gone.send((self.agent_id, self.stream));
    }
}

struct Stream {
    agent_id: AgentId,
    queue: mpsc::Sender<ToAgent>,
    closed: CancellationToken,
}

pub(super) struct Streams {
    last: u64,
    open: BTreeMap<u64, Stream>,
    gone: Gone,
}

impl Streams {
    pub(super) fn new(gone: Gone) -> Self {
        Self {
            last: 0,
            open: BTreeMap::new(),
            gone,
        }
    }

    /// Gives the number of a new stream.
    pub(super) fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Opens a stream and hands its other end to the handler. It is made here, so that one
    /// whose handler went away meanwhile says by itself that it is gone.
    pub(super) fn insert(&mut self, agent_id: AgentId, stream: u64, tie: Tie) {
        let (queue, messages) = mpsc::channel(STREAM_QUEUE_MAX);
        let closed = CancellationToken::new();
        let attached = Attached {
            messages,
            closed: closed.clone(),
            agent_id,
            stream,
            gone: self.gone.clone(),
        };
        self.open.insert(
            stream,
            Stream {
                agent_id,
                queue,
                closed,
            },
        );
        // Dropped where nobody waits any more, which is how the loop learns of it.
        drop(tie.send(Ok(attached)));
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

    /// Queues a message for a node, if it listens.
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
                format!("the agent of node {name} is not connected"),
            )
            .hint("sutler node ls"));
        }
        self.send(agent_id, message);
        Ok(())
    }

    /// Finds the newest stream of a node.
    fn of(&self, agent_id: AgentId) -> Option<u64> {
        let mut newest = self.open.iter().rev();
        newest
            .find(|(_, stream)| stream.agent_id == agent_id)
            .map(|(number, _)| *number)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_stream_whose_handler_went_away_says_that_it_is_gone() {
        let (gone, mut told) = mpsc::unbounded_channel();
        let mut streams = Streams::new(gone);
        let agent_id = AgentId::new(Uuid::from_u128(1));
        let (before, nobody) = oneshot::channel();
        drop(nobody);
        streams.insert(agent_id, 1, before);
        assert_eq!(told.try_recv(), Ok((agent_id, 1)), "before the answer");
        let (answered, unread) = oneshot::channel();
        streams.insert(agent_id, 2, answered);
        assert!(told.try_recv().is_err(), "a handler may still take it");
        drop(unread);
        assert_eq!(told.try_recv(), Ok((agent_id, 2)), "before it was taken");
    }
}
