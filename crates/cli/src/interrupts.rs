//! Ctrl-C and SIGTERM, as events of a wait instead of the end of the program.
//!
//! Until the first wait asks, both signals keep ending the program at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
#[cfg(test)]
use tokio::sync::mpsc;

/// Tells when somebody wants a wait to end.
#[derive(Debug)]
pub struct Interrupts(Source);

#[derive(Debug)]
enum Source {
    /// Signals, not yet asked for.
    Idle,
    Signals {
        interrupt: Signal,
        terminate: Signal,
    },
    #[cfg(test)]
    /// A test's hand.
    Channel(mpsc::Receiver<()>),
}

impl Interrupts {
    /// Listens to signals once a wait asks.
    pub fn from_signals() -> Self {
        Self(Source::Idle)
    }

    #[cfg(test)]
    /// Listens to a channel; its end means that none will come.
    pub(crate) fn from_channel(receiver: mpsc::Receiver<()>) -> Self {
        Self(Source::Channel(receiver))
    }

    /// Takes the signals over from their default, if that has not happened.
    fn listen(&mut self) -> io::Result<()> {
        if let Source::Idle = self.0 {
            self.0 = Source::Signals {
                interrupt: signal(SignalKind::interrupt())?,
                terminate: signal(SignalKind::terminate())?,
            };
        }
        Ok(())
    }

    /// Waits for the next one; for ever if signals cannot be listened to, for then the default
    /// still ends the program.
    ///
    /// # Cancel safety
    /// Safe: no signal is lost.
    pub async fn next(&mut self) {
        if self.listen().is_err() {
            return std::future::pending().await;
        }
        let came = match &mut self.0 {
            Source::Idle => None,
            // Both arms are cancel-safe: tokio keeps a signal until it is received.
            Source::Signals {
                interrupt,
                terminate,
            } => tokio::select! {
                came = interrupt.recv() => came,
                came = terminate.recv() => came,
            },
            #[cfg(test)]
            Source::Channel(receiver) => receiver.recv().await,
        };
        if came.is_none() {
            std::future::pending().await
        }
    }
}
