//! Keeping a shell alive: when the journal fails, the old one is torn down and a new one is
//! recovered from disk, again and again with pauses, while the containers run on.

use std::sync::Arc;
use std::time::Duration;

use sutler_api::agent::Update;
use sutler_ids::{ErrorKind, Problem, SaidBy};
use sutler_node_core::backoff;
use sutler_store::{CommitError, LoadError};
use sutler_telemetry::chain;
use tokio::sync::watch;

use crate::caller::{AgentEnd, AgentStatus, Request};
use crate::error::StartError;
use crate::ground::Ground;
use crate::link::LinkOrder;
use crate::shell::{Inbox, Shell, ShellEnd};

/// Runs shells until the agent is asked to end or cannot go on.
pub(crate) async fn supervise(
    ground: Arc<Ground>,
    first: Shell,
    mut inbox: Inbox,
    status: watch::Sender<AgentStatus>,
) -> AgentEnd {
    let mut shell = first;
    loop {
        let error = match shell.run(&mut inbox).await {
            ShellEnd::ShutDown => return AgentEnd::ShutDown,
            ShellEnd::Fatal(error) => return AgentEnd::Failed(error),
            ShellEnd::StoreFailed(error) => error,
        };
        if let Some(end) = fatal(&error) {
            return end;
        }
        shell = match again(&ground, &mut inbox, &status, chain(&error)).await {
            Ok(shell) => shell,
            Err(end) => return end,
        };
    }
}

/// Recovers a new shell, as often as it takes.
async fn again(
    ground: &Arc<Ground>,
    inbox: &mut Inbox,
    status: &watch::Sender<AgentStatus>,
    mut cause: String,
) -> Result<Shell, AgentEnd> {
    let mut attempt = 0;
    loop {
        tracing::error!(cause, "the agent's journal failed; recovering from it");
        let problem = store_problem(ground, &cause);
        status.send_modify(|status| status.problem = Some(problem.to_string()));
        // The link may be down; the state is told again when it comes up.
        let update = Update::Agent {
            problem: Some(problem),
        };
        let _ = ground.link.send(LinkOrder::Tell(Box::new(update)));
        pause(inbox, Duration::from_millis(backoff::wait_ms(attempt))).await?;
        attempt = attempt.saturating_add(1);
        cause = match Shell::recover(Arc::clone(ground)).await {
            Ok(shell) => {
                status.send_modify(|status| status.problem = None);
                // What was said meanwhile may be half taken up: ask for the whole state anew.
                let _ = ground.link.send(LinkOrder::Reconnect);
                return Ok(shell);
            }
            Err(ShellEnd::ShutDown) => return Err(AgentEnd::ShutDown),
            Err(ShellEnd::StoreFailed(error)) => match fatal(&error) {
                Some(end) => return Err(end),
                None => chain(&error),
            },
            Err(ShellEnd::Fatal(error)) if may_pass(&error) => chain(&error),
            Err(ShellEnd::Fatal(error)) => return Err(AgentEnd::Failed(error)),
        };
    }
}

/// Waits, unless the agent is asked to end.
async fn pause(inbox: &mut Inbox, wait: Duration) -> Result<(), AgentEnd> {
    let end = tokio::time::Instant::now() + wait;
    loop {
        // Both arms are cancel-safe: a queue's `recv` and a timer.
        tokio::select! {
            () = tokio::time::sleep_until(end) => return Ok(()),
            request = inbox.requests.recv() => match request {
                Some(Request::ShutDown) | None => return Err(AgentEnd::ShutDown),
                // Its answer is dropped, which tells zero.
                Some(Request::CollectGarbage(_)) => {}
            },
        }
    }
}

/// After a failed sync only a new process may trust the disk.
fn fatal(error: &CommitError) -> Option<AgentEnd> {
    match error {
        CommitError::Full { .. } => None,
        CommitError::Io { .. } | CommitError::Stopped { .. } => {
            Some(AgentEnd::Failed(StartError::WriteJournal {
                cause: chain(error),
            }))
        }
    }
}

/// Whether a failed recovery may succeed later by itself: a full disk is emptied.
fn may_pass(error: &StartError) -> bool {
    match error {
        StartError::LoadJournal { source } => match source {
            LoadError::Reopen { .. } | LoadError::Io { .. } => true,
            LoadError::Corrupt { .. } | LoadError::Stopped { .. } => false,
        },
        StartError::Adopt { .. } | StartError::RecoverStorage { .. } => true,
        StartError::DamagedIdentity { .. }
        | StartError::NotRoot
        | StartError::NoRuntime { .. }
        | StartError::NoCgroups
        | StartError::NoOverlayfs
        | StartError::ReadHost { .. }
        | StartError::Folder { .. }
        | StartError::PathText { .. }
        | StartError::SharedMount { .. }
        | StartError::OpenJournal { .. }
        | StartError::WriteJournal { .. }
        | StartError::OpenImages { .. }
        | StartError::MasterAddress { .. }
        | StartError::OtherCluster { .. }
        | StartError::Broken => false,
    }
}

fn store_problem(ground: &Ground, cause: &str) -> Problem {
    let journal = ground.host.layout.journal();
    Problem::new(
        ErrorKind::Exhausted,
        format!(
            "the journal {} of agent {} cannot be written; nothing new is done there",
            journal.display(),
            ground.host.name
        ),
    )
    .said_by(SaidBy::Kernel)
    .raw(cause)
    .hint(format!(
        "free space there: df -h {}",
        ground.host.layout.root().display()
    ))
}
