//! The agent as its caller holds it: started, watched, asked to end.

use std::sync::Arc;

use sutler_host::blocking::blocking;
use sutler_store::Store;
use tokio::sync::{mpsc, oneshot, watch};

use crate::caller::{AgentEnd, AgentStatus, Request};
use crate::config::AgentConfig;
use crate::error::StartError;
use crate::ground::Ground;
use crate::host::Host;
use crate::journal::SCHEMA;
use crate::leave::leave;
use crate::link::{Ends, Link, MasterClient, register_of};
use crate::shell::{Inbox, Shell, ShellEnd};
use crate::supervise::supervise;

/// Messages of the master that wait for the shell; beyond that the link stops reading, and
/// the master drops the stream and says everything again later.
const LINK_EVENTS_MAX: usize = 256;

/// Requests of the caller that wait for the shell: it has few and waits for each.
const REQUESTS_MAX: usize = 8;

/// The agent of this node.
#[derive(Debug)]
pub struct Agent;

/// A running agent. Dropping it leaves the agent running without anyone to end it.
#[derive(Debug)]
pub struct AgentHandle {
    requests: mpsc::Sender<Request>,
    status: watch::Receiver<AgentStatus>,
    end: Option<oneshot::Receiver<AgentEnd>>,
}

impl Agent {
    /// Checks the host, recovers what an earlier run left, and starts the agent.
    ///
    /// Returns as soon as the journal is read and the containers are adopted; the link to the
    /// master comes up by itself and is repaired by itself.
    ///
    /// # Errors
    /// [`StartError`] says what is missing and what to do.
    pub async fn start(config: AgentConfig) -> Result<AgentHandle, StartError> {
        let client = MasterClient::new(&config.master)?;
        let (host, store) = prepare(config).await?;
        // Unbounded: the outbox behind it keeps the latest of each object only.
        let (link, orders) = mpsc::unbounded_channel();
        let ground = Arc::new(Ground {
            host,
            store,
            link,
            master: client.clone(),
        });
        let shell = match Shell::recover(Arc::clone(&ground)).await {
            Ok(shell) => shell,
            Err(ShellEnd::Fatal(error)) => return Err(error),
            Err(ShellEnd::StoreFailed(error)) => {
                return Err(StartError::WriteJournal {
                    cause: error.to_string(),
                });
            }
            Err(ShellEnd::ShutDown) => return Err(StartError::Broken),
        };
        let (to_shell, from_link) = mpsc::channel(LINK_EVENTS_MAX);
        let (requests, from_caller) = mpsc::channel(REQUESTS_MAX);
        let (status, told) = watch::channel(AgentStatus::default());
        let register = register_of(&ground.host, shell.agent_id());
        let ends = Ends {
            orders,
            events: to_shell,
            status: status.clone(),
        };
        let link = Link::new(client, register, ends);
        let link = tokio::spawn(link.run());
        let inbox = Inbox {
            link: from_link,
            requests: from_caller,
        };
        let (ended, end) = oneshot::channel();
        let layout = ground.host.layout.clone();
        let running = tokio::spawn(supervise(ground, shell, inbox, status));
        tokio::spawn(async move {
            let how = running
                .await
                .unwrap_or(AgentEnd::Failed(StartError::Broken));
            link.abort();
            if matches!(how, AgentEnd::ShutDown) {
                // A panic in there is logged and leaves only what a next start uses again.
                let _ = blocking(move || leave(&layout)).await;
            }
            // Nobody waits when the handle was dropped.
            let _ = ended.send(how);
        });
        Ok(AgentHandle {
            requests,
            status: told,
            end: Some(end),
        })
    }
}

/// Checks the host and opens the journal, away from the async threads.
async fn prepare(config: AgentConfig) -> Result<(Arc<Host>, Store), StartError> {
    let prepared = blocking(move || {
        let host = Host::prepare(&config)?;
        let store = Store::open(&host.layout.journal(), SCHEMA)
            .map_err(|source| StartError::OpenJournal { source })?;
        Ok((host, store))
    });
    prepared.await.unwrap_or(Err(StartError::Broken))
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
