//! What an agent and whoever started it say to each other.

use tokio::sync::oneshot;

use crate::error::StartError;

/// What an agent is up to, for a start-up list or a health check.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AgentStatus {
    /// Whether the master's stream is open.
    pub connected: bool,
    /// What is wrong with the host or with the link, if something is.
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
