//! The agent as its caller holds it: started, watched, asked to end.

use tokio::sync::{mpsc, oneshot, watch};

use crate::config::AgentConfig;
use crate::error::StartError;

/// The agent of this machine.
#[derive(Debug)]
pub struct Agent;

/// What an agent is up to, for a start-up list or a health check.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AgentStatus {
    /// Whether the master's stream is open.
    pub connected: bool,
    /// What is wrong with the machine or with the link, if something is.
    pub problem: Option<String>,
}

/// How an agent ended.
#[derive(Debug)]
pub enum AgentEnd {
    /// It was asked to.
    ShutDown,
    /// It cannot go on; its containers run on.
    Failed(StartError),
}

/// What a caller may ask of a running agent.
#[derive(Debug)]
pub(crate) enum Request {
    /// Collect unused images now; answers how many bytes went.
    CollectGarbage(oneshot::Sender<u64>),
    /// End.
    ShutDown,
}

/// A running agent. Dropping it leaves the agent running without anyone to end it.
#[derive(Debug)]
pub struct AgentHandle {
    requests: mpsc::Sender<Request>,
    status: watch::Receiver<AgentStatus>,
    end: Option<oneshot::Receiver<AgentEnd>>,
}

impl Agent {
    /// Checks the machine, recovers what an earlier run left, and starts the agent.
    ///
    /// Returns as soon as the journal is read and the containers are adopted; the link to the
    /// master comes up by itself and is repaired by itself.
    ///
    /// # Errors
    /// [`StartError`] says what is missing and what to do.
    pub async fn start(config: AgentConfig) -> Result<AgentHandle, StartError> {
        let _ = config;
        unimplemented!("front only")
    }
}

impl AgentHandle {
    /// Gives the agent's status as it changes.
    pub fn status(&self) -> watch::Receiver<AgentStatus> {
        self.status.clone()
    }

    /// Removes images that nobody uses; gives the bytes that went.
    pub async fn collect_garbage(&self) -> u64 {
        let (answer, told) = oneshot::channel();
        if self
            .requests
            .send(Request::CollectGarbage(answer))
            .await
            .is_err()
        {
            return 0;
        }
        told.await.unwrap_or(0)
    }

    /// Waits for the agent to end by itself, which is always a failure.
    ///
    /// # Cancel safety
    /// Safe; once it has returned, further calls return [`AgentEnd::ShutDown`].
    pub async fn ended(&mut self) -> AgentEnd {
        let Some(end) = &mut self.end else {
            return AgentEnd::ShutDown;
        };
        let how = end.await.unwrap_or(AgentEnd::ShutDown);
        self.end = None;
        how
    }

    /// Ends the agent: what is being written is written, containers and mounts stay.
    pub async fn shutdown(mut self) -> AgentEnd {
        // A full or closed queue means that the agent is ending already.
        let _ = self.requests.send(Request::ShutDown).await;
        self.ended().await
    }
}
