//! The connection to one plugin and the way every call takes over it.
//!
//! Owns the socket, the deadline, the observation hook and the reading of errors. Never
//! repeats a call and never decides whether one may be made. The calls themselves are in
//! `client/identity.rs`, `client/controller.rs` and `client/node.rs`.
//!
//! The connection is made at the first call and made again after it broke, so a client
//! outlives restarts of its plugin; a call that meets a broken connection fails with
//! [`Code::Transport`] and the next one connects.
//!
//! # Cancel safety
//!
//! Dropping a call leaves its effect open: the plugin may have done it, or may still. Treat
//! it as a call that ended with [`Code::Cancelled`].

mod controller;
mod identity;
pub(crate) mod interrogate;
mod node;

use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use rustix::fs::{FileType, Mode, OFlags};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Response, Status};

use crate::convert::IntoRequest;
use crate::error::{Code, CsiError};
use crate::limits::{HEADER_BYTES_MAX, SOCKET_PATH_BYTES_MAX};
use crate::rpc::Rpc;
use crate::secrets::Secrets;

/// The authority of every call. A unix socket has none; this is what Go's gRPC sends, and so
/// what plugins are used to.
const AUTHORITY: &str = "http://localhost";

/// What became of one call; the stuff of the latency histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallReport {
    /// Which call.
    pub rpc: Rpc,
    /// Why it failed, if it did.
    pub code: Option<Code>,
    /// From the call to its end, waiting for the connection included.
    pub duration: Duration,
}

impl CallReport {
    /// The code in gRPC's spelling, `OK` included.
    pub fn code_text(&self) -> &'static str {
        self.code.map_or("OK", Code::as_str)
    }
}

/// Called once at the end of every call, also of one that was dropped. Must not block.
pub type OnCall = Arc<dyn Fn(&CallReport) + Send + Sync>;

/// Says why a plugin's socket cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kernel takes no longer path.
    #[error(
        "socket path {path:?} has {bytes} bytes; the kernel takes {SOCKET_PATH_BYTES_MAX} \
         at most, so use a shorter directory"
    )]
    SocketPathTooLong {
        /// The path.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
}

/// A client of one plugin. Cheap to clone; clones share the connection.
#[derive(Clone)]
pub struct PluginClient {
    socket: Arc<Path>,
    channel: Channel,
    on_call: Option<OnCall>,
    answers: Arc<AtomicU64>,
}

impl PluginClient {
    /// Makes a client for the plugin behind a unix socket. Connects at the first call, so
    /// the plugin need not be there yet. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// The path is too long for the kernel.
    pub fn connect(socket: impl Into<PathBuf>) -> Result<PluginClient, ConnectError> {
        let path = socket.into();
        let bytes = path.as_os_str().len();
        if bytes > SOCKET_PATH_BYTES_MAX {
            return Err(ConnectError::SocketPathTooLong { path, bytes });
        }
        let socket: Arc<Path> = path.into();
        let dial = Arc::clone(&socket);
        let channel = Endpoint::from_static(AUTHORITY)
            .http2_max_header_list_size(HEADER_BYTES_MAX)
            .connect_with_connector_lazy(tower::service_fn(move |_: Uri| dial_up(dial.clone())));
        Ok(PluginClient {
            socket,
            channel,
            on_call: None,
            answers: Arc::default(),
        })
    }

    /// The same client, reporting every call from now on.
    pub fn with_on_call(mut self, on_call: OnCall) -> PluginClient {
        self.on_call = Some(on_call);
        self
    }

    /// The socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Counts the calls other than Probe that the plugin answered over this client and its
    /// clones, refusals included: each was a sign of life.
    pub fn answers(&self) -> u64 {
        // Relaxed, here and where it grows: it is compared with its own past alone.
        self.answers.load(Ordering::Relaxed)
    }

    /// Checks the arguments, then makes one call.
    async fn call<A, Q, R, F>(
        &self,
        at: At<'_>,
        args: &A,
        send: impl FnOnce(Channel, Request<Q>) -> F,
    ) -> Result<R, CsiError>
    where
        A: IntoRequest<Request = Q>,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let request = args
            .to_request()
            .map_err(|fault| CsiError::not_sent(at.rpc, fault))?;
        self.send(at, request, send).await
    }

    /// Makes one call with a request that needs no check.
    async fn send<Q, R, F>(
        &self,
        at: At<'_>,
        request: Q,
        send: impl FnOnce(Channel, Request<Q>) -> F,
    ) -> Result<R, CsiError>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let mut report = Reporter::new(at.rpc, self.on_call.clone());
        let mut request = Request::new(request);
        // Tells the plugin when to give up, as Go's clients do.
        request.set_timeout(at.deadline);
        let answer = tokio::time::timeout(at.deadline, send(self.channel.clone(), request)).await;
        let result = match answer {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(CsiError::from_status(at.rpc, &status, at.deadline)),
            Err(_) => Err(CsiError::deadline(at.rpc, at.deadline)),
        };
        let code = result.as_ref().err().map(|error| error.code);
        if at.rpc != Rpc::Probe && code.is_none_or(Code::is_answer) {
            // Relaxed: a count alone, nothing else is read by it.
            self.answers.fetch_add(1, Ordering::Relaxed);
        }
        let result = result.map_err(|error| at.scrubbed(error));
        report.end(result.as_ref().err().map(|error| error.code));
        result
    }
}

impl fmt::Debug for PluginClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginClient")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

/// Which call, for how long, and what its error text must not show.
struct At<'a> {
    rpc: Rpc,
    deadline: Duration,
    secrets: Option<&'a Secrets>,
}

impl<'a> At<'a> {
    fn new(rpc: Rpc, deadline: Duration) -> At<'a> {
        At {
            rpc,
            deadline,
            secrets: None,
        }
    }

    fn hiding(self, secrets: &'a Secrets) -> At<'a> {
        At {
            secrets: Some(secrets),
            ..self
        }
    }

    fn scrubbed(&self, mut error: CsiError) -> CsiError {
        if let Some(secrets) = self.secrets {
            error.message = secrets.scrub(&error.message);
        }
        error
    }
}

/// Reports a call exactly once, however it ends.
struct Reporter {
    rpc: Rpc,
    started: Instant,
    on_call: Option<OnCall>,
}

impl Reporter {
    fn new(rpc: Rpc, on_call: Option<OnCall>) -> Reporter {
        Reporter {
            rpc,
            started: Instant::now(),
            on_call,
        }
    }

    fn end(&mut self, code: Option<Code>) {
        let report = CallReport {
            rpc: self.rpc,
            code,
            duration: self.started.elapsed(),
        };
        tracing::debug!(
            rpc = %report.rpc,
            code = report.code_text(),
            duration_us = report.duration.as_micros() as u64,
            "plugin called"
        );
        if let Some(on_call) = self.on_call.take() {
            on_call(&report);
        }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        if self.on_call.is_some() {
            self.end(Some(Code::Cancelled));
        }
    }
}

/// Connects; the error names the socket, because the caller sees nothing else of it.
async fn dial_up(socket: Arc<Path>) -> io::Result<TokioIo<UnixStream>> {
    match connect_to(&socket).await {
        Ok(stream) => Ok(TokioIo::new(stream)),
        Err(error) => {
            let text = format!("connect to {}: {error}", socket.display());
            Err(io::Error::new(error.kind(), text))
        }
    }
}

/// Connects to what was looked at. The plugin may write where its socket lies, and a link would
/// make us talk to whatever it names, with the plugin's secrets and our rights.
async fn connect_to(socket: &Path) -> io::Result<UnixStream> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = rustix::fs::open(socket, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&found)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        return Err(io::Error::other("it is no socket"));
    }
    UnixStream::connect(format!("/proc/self/fd/{}", found.as_raw_fd())).await
}
