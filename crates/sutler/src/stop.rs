//! SIGTERM and SIGINT: the request to end, which leaves every container running.

use sutler_cli::{Failure, Report};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens for the request to end from its making on.
#[derive(Debug)]
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    /// Starts to listen.
    ///
    /// # Errors
    /// If signals cannot be listened to.
    pub fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Failure::from(Report::new(format!("cannot listen to signals: {error}")))
            })
        };
        let (interrupt, terminate) = (
            listen(SignalKind::interrupt())?,
            listen(SignalKind::terminate())?,
        );
        Ok(Self {
            interrupt,
            terminate,
        })
    }

    /// Waits until somebody wants us to end.
    ///
    /// # Cancel safety
    /// Safe: a signal is kept until it is received.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
