//! One connection: how far it is, and when its silence is too long.
//!
//! ```text
//!   stranger ──token──► busy ──last answer's end──► idle ──first byte──► head ──► busy …
//! ```
//!
//! A watcher beside the connection sleeps until the deadline of the state it is in. Requests
//! and the stream tell the state; neither has a timer of its own.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::seats::{NoPlace, SeatId, Seats, Standing};
use crate::ConnectionBounds;

/// All connections, shared by them.
pub(super) type Hall = Arc<Mutex<Seats>>;

/// Locks the book of connections.
pub(super) fn lock(hall: &Hall) -> MutexGuard<'_, Seats> {
    // Nothing is left half done under this lock.
    hall.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection as its requests see it; cheap to clone, and with each of them.
#[derive(Clone)]
pub(crate) struct Visit {
    place: Arc<Place>,
    state: Arc<watch::Sender<State>>,
}

/// A place among the connections, freed with the last that knows of it.
struct Place {
    hall: Hall,
    id: SeatId,
    from: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.hall).end(self.id);
    }
}

#[derive(Debug, Clone, Copy)]
struct State {
    standing: Standing,
    opened: Instant,
    /// Requests whose answers have not wholly been given.
    open: u32,
    quiet_since: Instant,
    head_since: Option<Instant>,
}

/// Which deadline a connection missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Late {
    /// It showed no token.
    Stranger,
    /// It began a head and did not end it.
    Head,
    /// It asked nothing more.
    Idle,
}

impl State {
    fn deadline(&self, bounds: &ConnectionBounds) -> Option<(Instant, Late)> {
        match self.standing {
            Standing::Stranger => return Some((self.opened + bounds.stranger, Late::Stranger)),
            Standing::Operator | Standing::Agent => {}
        }
        match (self.open, self.head_since) {
            (1.., _) => None,
            (0, Some(since)) => Some((since + bounds.head, Late::Head)),
            (0, None) => Some((self.quiet_since + bounds.idle, Late::Idle)),
        }
    }
}

impl Visit {
    /// Begins to watch a seated connection.
    pub(super) fn new(hall: Hall, id: SeatId, from: IpAddr) -> Self {
        let now = Instant::now();
        let state = State {
            standing: Standing::Stranger,
            opened: now,
            open: 0,
            quiet_since: now,
            head_since: None,
        };
        Self {
            place: Arc::new(Place { hall, id, from }),
            state: Arc::new(watch::Sender::new(state)),
        }
    }

    /// Gives the peer's address.
    pub(crate) fn from(&self) -> IpAddr {
        self.place.from
    }

    /// Takes note of a token that was shown.
    ///
    /// # Errors
    /// If all places of that kind are taken.
    pub(crate) fn rise(&self, to: Standing) -> Result<(), NoPlace> {
        if self.state.borrow().standing >= to {
            return Ok(());
        }
        lock(&self.place.hall).rise(self.place.id, to)?;
        self.state.send_modify(|state| state.standing = to);
        Ok(())
    }

    /// The handshake is over: from now a token is waited for.
    pub(super) fn opened(&self) {
        self.state
            .send_modify(|state| state.opened = Instant::now());
    }

    /// Takes note of a request whose head is whole.
    pub(super) fn begin(&self) -> OpenRequest {
        self.state.send_modify(|state| {
            state.open += 1;
            state.head_since = None;
        });
        OpenRequest(self.clone())
    }

    fn on_bytes(&self) {
        self.state.send_if_modified(|state| {
            let begins = state.open == 0 && state.head_since.is_none();
            if begins {
                state.head_since = Some(Instant::now());
            }
            begins
        });
    }

    /// Waits until a deadline is missed, and says which.
    ///
    /// # Cancel safety
    /// Safe: it only looks.
    pub(super) async fn late(&self, bounds: &ConnectionBounds) -> Late {
        let mut states = self.state.subscribe();
        loop {
            let deadline = states.borrow_and_update().deadline(bounds);
            let missed = async {
                match deadline {
                    Some((at, late)) => {
                        sleep_until(at).await;
                        late
                    }
                    None => std::future::pending().await,
                }
            };
            // Both arms are cancel-safe: a state and a timer. The sender lives as long as we.
            tokio::select! {
                _changed = states.changed() => {}
                late = missed => return late,
            }
        }
    }
}

/// A request that is being answered.
pub(super) struct OpenRequest(Visit);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.state.send_modify(|state| {
            state.open -= 1;
            state.quiet_since = Instant::now();
        });
    }
}

/// An answer's body; its request is open until it is given or dropped.
pub(super) struct OpenBody {
    pub body: Body,
    pub _open: OpenRequest,
}

impl HttpBody for OpenBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that tells when a head begins. Not for HTTP/2, whose bytes between requests are
/// pings and windows: there the count of open requests says all.
pub(super) struct Noticed<S> {
    pub stream: S,
    pub visit: Visit,
}

impl<S: AsyncRead + Unpin> AsyncRead for Noticed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.visit.on_bytes();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Noticed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
