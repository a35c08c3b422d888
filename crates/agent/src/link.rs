//! The link to the master: registers, holds the stream open, posts what is true.
//!
//! Owns the connection and the updates that the master has not acknowledged. It decides nothing
//! about what is said: it carries. It outlives the shell's recoveries, and reconnects by
//! itself for as long as the agent lives.
//!
//! ```text
//!   Registering ──► Recording (shell writes who we are) ──► Streaming ──► pause ──┐
//!        ▲                                                                          │
//!        └──────────────────────────────────────────────────────────────────────────┘
//! ```

mod client;
mod lines;
mod outbox;

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use sutler_api::agent::{HEARTBEAT_MS, Register, Registered, ToAgent, Update, Updates};
use sutler_ids::AgentId;
use sutler_node_core::backoff;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use uuid::Uuid;

use crate::caller::AgentStatus;
pub(crate) use client::{ClientError, MasterClient};
use lines::Lines;
use outbox::{Outbox, Turn};

/// Silent heartbeats after which the master counts as gone.
const HEARTBEATS_MISSED_MAX: u64 = 3;

/// Longest pause between two tries: on the same host a master that starts again should find
/// its agent at once; over a network many agents should not hammer one.
const PAUSE_LOOPBACK_MS: u64 = 2_000;
const PAUSE_REMOTE_MS: u64 = 10_000;

/// Most updates of one post: full reports of so many stay far below what the master takes.
const POST_UPDATES_MAX: usize = 100;

/// What the link tells the shell.
pub(crate) enum LinkEvent {
    /// The master admits us.
    Registered(Registration),
    /// The stream is open: everything is to be told.
    StreamUp,
    /// The master said something.
    Said(Box<ToAgent>),
}

/// An admission, to be recorded before anything of this master's is acted upon.
pub(crate) struct Registration {
    pub registered: Registered,
    pub url: String,
    /// Told once it is durable.
    pub recorded: oneshot::Sender<()>,
}

/// What the shell asks of the link.
pub(crate) enum LinkOrder {
    /// Post this until it is acknowledged.
    Tell(Box<Update>),
    /// The same of what was told before.
    TellAgain(Box<Update>),
    /// Open the stream anew, so that the master says everything again.
    Reconnect,
}

/// The link's own state.
pub(crate) struct Link {
    pub client: MasterClient,
    pub register: Register,
    pub orders: mpsc::UnboundedReceiver<LinkOrder>,
    pub events: mpsc::Sender<LinkEvent>,
    pub status: watch::Sender<AgentStatus>,
    outbox: Outbox,
    attempt: u32,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the master closed the stream")]
    Closed,
    #[error("the master was silent for {} s", HEARTBEATS_MISSED_MAX * HEARTBEAT_MS / 1000)]
    Silent,
    #[error("the master's stream cannot be read: {0}")]
    Line(String),
    #[error("the agent asks for the whole state anew")]
    Asked,
    #[error("the agent is ending")]
    Ending,
}

/// Where a link hears what to tell, and tells what it hears.
pub(crate) struct Ends {
    pub orders: mpsc::UnboundedReceiver<LinkOrder>,
    pub events: mpsc::Sender<LinkEvent>,
    pub status: watch::Sender<AgentStatus>,
}

impl Link {
    pub(crate) fn new(client: MasterClient, register: Register, ends: Ends) -> Self {
        Self {
            client,
            register,
            orders: ends.orders,
            events: ends.events,
            status: ends.status,
            outbox: Outbox::default(),
            attempt: 0,
        }
    }

    /// Connects again and again until the shell is gone.
    pub(crate) async fn run(mut self) {
        loop {
            let broken = match self.connect().await {
                Ok(never) => match never {},
                Err(broken) => broken,
            };
            let pauses = match &broken {
                Broken::Ending => return,
                Broken::Asked => false,
                Broken::Client(_) | Broken::Closed | Broken::Silent | Broken::Line(_) => true,
            };
            let text = broken.to_string();
            self.status.send_modify(|status| {
                let news = status.connected || status.problem.as_deref() != Some(text.as_str());
                if news {
                    tracing::warn!(
                        url = self.client.url(),
                        cause = text,
                        "no link to the master"
                    );
                }
                *status = AgentStatus {
                    connected: false,
                    problem: Some(text),
                };
            });
            if pauses {
                self.pause().await;
            }
        }
    }

    async fn connect(&mut self) -> Result<std::convert::Infallible, Broken> {
        let registered = self.client.register(&self.register).await?;
        self.register.agent_id = Some(registered.agent_id);
        let agent_id = registered.agent_id;
        self.record(registered).await?;
        let stream = self
            .client
            .events(agent_id, self.register.incarnation)
            .await?;
        self.status.send_modify(|status| {
            *status = AgentStatus {
                connected: true,
                problem: None,
            }
        });
        tracing::info!(url = self.client.url(), %agent_id, "linked to the master");
        self.forward(LinkEvent::StreamUp).await?;
        self.stream(agent_id, Lines::new(stream)).await
    }

    /// Has the shell write down who we are.
    async fn record(&mut self, registered: Registered) -> Result<(), Broken> {
        let (recorded, done) = oneshot::channel();
        let url = self.client.url().to_owned();
        self.forward(LinkEvent::Registered(Registration {
            registered,
            url,
            recorded,
        }))
        .await?;
        // Dropped unanswered when the journal failed: then this connection is of no use.
        done.await.map_err(|_dropped| Broken::Asked)
    }

    async fn forward(&self, event: LinkEvent) -> Result<(), Broken> {
        self.events
            .send(event)
            .await
            .map_err(|_gone| Broken::Ending)
    }

    async fn stream(
        &mut self,
        agent_id: AgentId,
        mut lines: Lines,
    ) -> Result<std::convert::Infallible, Broken> {
        let silence = Duration::from_millis(HEARTBEATS_MISSED_MAX * HEARTBEAT_MS);
        let mut heard = Instant::now();
        let mut posting: Option<Posting> = None;
        self.take_all()?;
        self.outbox.begin_stream();
        loop {
            if posting.is_none() {
                posting = self.begin_post(agent_id)?;
            }
            // Cancel-safe arms: `Lines::next` keeps what it has read, a post lives in `posting`,
            // the rest are a queue's `recv` and a timer.
            tokio::select! {
                line = lines.next() => {
                    heard = Instant::now();
                    let said = line.ok_or(Broken::Closed)?.map_err(Broken::Line)?;
                    if said != ToAgent::Heartbeat {
                        self.forward(LinkEvent::Said(Box::new(said))).await?;
                    }
                    // While the shell was busy nothing was read, which is not silence.
                    heard = heard.max(Instant::now());
                }
                posted = in_flight(&mut posting) => {
                    posted.result?;
                    self.outbox.acknowledge(&posted.told);
                    // Only now: a master that opens streams and refuses what is told on them
                    // must not be asked ten times a second.
                    self.attempt = 0;
                    posting = None;
                }
                order = self.orders.recv() => self.take(order.ok_or(Broken::Ending)?)?,
                () = tokio::time::sleep_until(heard + silence) => return Err(Broken::Silent),
            }
        }
    }

    /// Takes one order of the shell.
    fn take(&mut self, order: LinkOrder) -> Result<(), Broken> {
        match order {
            LinkOrder::Tell(update) => self.outbox.put(*update),
            LinkOrder::TellAgain(update) => self.outbox.put_again(*update),
            LinkOrder::Reconnect => return Err(Broken::Asked),
        }
        Ok(())
    }

    fn take_all(&mut self) -> Result<(), Broken> {
        while let Ok(order) = self.orders.try_recv() {
            self.take(order)?;
        }
        Ok(())
    }

    fn begin_post(&mut self, agent_id: AgentId) -> Result<Option<Posting>, Broken> {
        // Everything that is there already goes into the same post.
        self.take_all()?;
        let Some((told, updates)) = self.outbox.first(POST_UPDATES_MAX) else {
            return Ok(None);
        };
        let incarnation = self.register.incarnation;
        let client = self.client.clone();
        let body = Updates {
            agent_id,
            incarnation,
            updates,
        };
        let post = async move {
            let result = client.post_updates(&body).await;
            Posted { told, result }
        };
        Ok(Some(post.boxed()))
    }

    /// Waits before the next try, and goes on collecting what is to be told.
    async fn pause(&mut self) {
        let most = if self.client.is_loopback() {
            PAUSE_LOOPBACK_MS
        } else {
            PAUSE_REMOTE_MS
        };
        let wait = Duration::from_millis(backoff::wait_ms(self.attempt).min(most));
        self.attempt = self.attempt.saturating_add(1);
        let end = Instant::now() + wait;
        loop {
            // Both arms are cancel-safe: a queue's `recv` and a timer.
            tokio::select! {
                () = tokio::time::sleep_until(end) => return,
                order = self.orders.recv() => match order {
                    Some(LinkOrder::Tell(update)) => self.outbox.put(*update),
                    Some(LinkOrder::TellAgain(update)) => self.outbox.put_again(*update),
                    Some(LinkOrder::Reconnect) => {}
                    None => return,
                },
            }
        }
    }
}

type Posting = BoxFuture<'static, Posted>;

struct Posted {
    told: Vec<Turn>,
    result: Result<(), ClientError>,
}

/// Waits for the post under way; for ever when there is none.
async fn in_flight(posting: &mut Option<Posting>) -> Posted {
    match posting {
        Some(posting) => posting.await,
        None => std::future::pending().await,
    }
}

/// Makes the first message of every connection.
pub(crate) fn register_of(host: &crate::host::Host, agent_id: Option<AgentId>) -> Register {
    Register {
        agent_id,
        name: host.name.clone(),
        incarnation: Uuid::new_v4(),
        boot_id: host.facts.boot_id.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        cpus: host.facts.cpus,
        memory: host.facts.memory,
    }
}
