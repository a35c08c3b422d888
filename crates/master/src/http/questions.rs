//! Questions to agents that wait for their answers.
//!
//! The asker leaves a slot under a fresh id, the agent's answer takes it. A slot goes when its
//! asker does, so nothing is kept for an agent that never answers.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use sutler_api::agent::AgentQuery;
use sutler_ids::{AgentId, RequestId};
use sutler_ids::{ErrorKind, Problem};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::shell::Shell;

/// How long an agent may take to begin its answer: a log that follows has its headers at once.
const BEGIN_WITHIN: Duration = Duration::from_secs(10);

/// Questions that may wait at once: each is one user who looks at something.
const WAITING_MAX: usize = 1024;

/// Pieces of an answer between agent and asker: what one slow reader may hold of our memory.
const PIECES_MAX: usize = 16;

/// The pieces of an answer; an error tells that it was cut off.
pub(super) type Pieces = mpsc::Receiver<Result<Bytes, io::Error>>;

type Begun = Result<Pieces, Problem>;

/// The slots.
#[derive(Default, Clone)]
pub(super) struct Questions {
    waiting: Arc<Mutex<BTreeMap<RequestId, oneshot::Sender<Begun>>>>,
}

/// A slot, taken back when dropped.
struct Slot<'a> {
    questions: &'a Questions,
    id: RequestId,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.questions.lock().remove(&self.id);
    }
}

impl Questions {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<RequestId, oneshot::Sender<Begun>>> {
        // Nothing is left half done under this lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks a node and gives the answer as it comes.
    ///
    /// # Errors
    /// The node's own refusal; `Unavailable` if it is not there or does not answer.
    pub(super) async fn ask(
        &self,
        shell: &Shell,
        agent_id: AgentId,
        query: AgentQuery,
    ) -> Result<Pieces, Problem> {
        let id = RequestId::new(Uuid::new_v4());
        let (begin, begun) = oneshot::channel();
        {
            let mut waiting = self.lock();
            if waiting.len() >= WAITING_MAX {
                let what = "too many questions to agents wait for their answers";
                return Err(Problem::new(ErrorKind::Unavailable, what));
            }
            waiting.insert(id, begin);
        }
        let _slot = Slot {
            questions: self,
            id,
        };
        shell.ask(agent_id, id, query).await?;
        let silent = || {
            let seconds = BEGIN_WITHIN.as_secs();
            let what = format!("the agent did not answer within {seconds} s");
            Problem::new(ErrorKind::Unavailable, what).hint("sutler node ls")
        };
        match tokio::time::timeout(BEGIN_WITHIN, begun).await {
            Ok(Ok(begun)) => begun,
            Ok(Err(_)) | Err(_) => Err(silent()),
        }
    }

    /// Begins an answer: gives the way to the asker, none if nobody waits.
    pub(super) fn begin(&self, id: RequestId) -> Option<mpsc::Sender<Result<Bytes, io::Error>>> {
        let begin = self.lock().remove(&id)?;
        let (pieces, out) = mpsc::channel(PIECES_MAX);
        begin.send(Ok(out)).ok()?;
        Some(pieces)
    }

    /// Answers with a refusal; false if nobody waits.
    pub(super) fn refuse(&self, id: RequestId, problem: Problem) -> bool {
        let begin = self.lock().remove(&id);
        begin.is_some_and(|begin| begin.send(Err(problem)).is_ok())
    }
}
