//! Connections: accepting, TLS, limits on each, and their end.

mod seats;
mod visit;

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::server::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use seats::Standing;
pub(crate) use visit::Visit;

use super::seldom::Seldom;
use crate::ConnectionBounds;
use seats::Seats;
use visit::{Hall, Noticed, OpenBody};

/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Streams at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 256;

/// How long open requests have to end when the master ends.
const END_WITHIN: Duration = Duration::from_secs(5);

/// How long a connection that is closed for its silence has for its farewell: one packet.
const FAREWELL_WITHIN: Duration = Duration::from_secs(1);

/// Pause after a failed accept, which means that we are out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is served, and where.
pub(crate) struct Serve {
    pub listener: TcpListener,
    pub tls: Arc<ServerConfig>,
    pub router: Router,
    pub bounds: ConnectionBounds,
    pub end: CancellationToken,
}

/// What all connections share.
struct Server {
    acceptor: TlsAcceptor,
    router: Router,
    bounds: ConnectionBounds,
    end: CancellationToken,
    hall: Hall,
    not_accepted: Seldom,
    given_way: Seldom,
}

/// Serves until asked to end, then lets open requests end for a while.
pub(crate) async fn serve(serve: Serve) {
    let listener = serve.listener;
    let server = Arc::new(Server {
        acceptor: TlsAcceptor::from(serve.tls),
        router: serve.router,
        bounds: serve.bounds,
        end: serve.end,
        hall: Arc::new(Mutex::new(Seats::new(serve.bounds.places))),
        not_accepted: Seldom::default(),
        given_way: Seldom::default(),
    });
    let tasks = TaskTracker::new();
    loop {
        // Every arm is cancel-safe.
        let (stream, from) = tokio::select! {
            () = server.end.cancelled() => break,
            next = server.next(&listener) => next,
        };
        let (visit, out) = server.seat(from);
        let server = server.clone();
        tasks.spawn(async move {
            // Every arm may be dropped: a connection that gives way is closed as it is.
            tokio::select! {
                () = server.connection(stream, visit) => {}
                () = out.cancelled() => {}
            }
        });
    }
    drop(listener);
    tasks.close();
    let ended = tokio::time::timeout(END_WITHIN, tasks.wait()).await;
    if ended.is_err() {
        tracing::warn!("some connections did not end in time and are cut");
    }
}

impl Server {
    async fn next(&self, listener: &TcpListener) -> (TcpStream, IpAddr) {
        loop {
            let error = match listener.accept().await {
                Ok((stream, from)) => return (stream, from.ip()),
                Err(error) => error,
            };
            // A descriptor of a stranger is worth less than the one who knocks.
            visit::lock(&self.hall).evict_one();
            if let Some(times) = self.not_accepted.count(std::time::Instant::now()) {
                tracing::warn!(%error, times, "cannot accept a connection");
            }
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }

    fn seat(&self, from: IpAddr) -> (Visit, CancellationToken) {
        let out = CancellationToken::new();
        let (id, gone) = visit::lock(&self.hall).admit(from, out.clone());
        if gone > 0
            && let Some(times) = self.given_way.count(std::time::Instant::now())
        {
            tracing::warn!(
                times,
                last_from = %from,
                "connections without a token were closed to make room for others"
            );
        }
        (Visit::new(self.hall.clone(), id, from), out)
    }

    async fn connection(&self, stream: TcpStream, visit: Visit) {
        if let Err(error) = set_options(&stream, self.bounds.unacknowledged) {
            tracing::debug!(%error, "cannot set the options of a connection");
        }
        let handshake = self.acceptor.accept(stream);
        match tokio::time::timeout(self.bounds.handshake, handshake).await {
            Ok(Ok(stream)) => {
                visit.opened();
                self.http(stream, visit).await;
            }
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }

    /// Speaks the version that the handshake agreed on; nothing is guessed from first bytes.
    async fn http(&self, stream: TlsStream<TcpStream>, visit: Visit) {
        let router = TowerToHyperService::new(self.router.clone());
        let here = visit.clone();
        let service = service_fn(move |request| answer(router.clone(), here.clone(), request));
        let ended = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => {
                let connection =
                    http2_builder(&self.bounds).serve_connection(TokioIo::new(stream), service);
                let mut connection = std::pin::pin!(connection);
                let cut = tokio::select! {
                    ended = connection.as_mut() => return told(ended),
                    patience = self.over(&visit) => patience,
                };
                connection.as_mut().graceful_shutdown();
                tokio::time::timeout(cut, connection).await
            }
            Some(_) | None => {
                let stream = Noticed {
                    stream,
                    visit: visit.clone(),
                };
                let connection = http1_builder().serve_connection(TokioIo::new(stream), service);
                let mut connection = std::pin::pin!(connection);
                let cut = tokio::select! {
                    ended = connection.as_mut() => return told(ended),
                    patience = self.over(&visit) => patience,
                };
                connection.as_mut().graceful_shutdown();
                tokio::time::timeout(cut, connection).await
            }
        };
        // One that does not end after its farewell is cut.
        told(ended.unwrap_or(Ok(())));
    }

    /// Waits until a connection must end; gives how long its farewell may take.
    async fn over(&self, visit: &Visit) -> Duration {
        // Both arms are cancel-safe.
        tokio::select! {
            () = self.end.cancelled() => END_WITHIN,
            late = visit.late(&self.bounds) => {
                tracing::debug!(?late, "a connection is closed for its silence");
                FAREWELL_WITHIN
            }
        }
    }
}

fn set_options(stream: &TcpStream, unacknowledged: Duration) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let ms = u32::try_from(unacknowledged.as_millis()).unwrap_or(u32::MAX);
    rustix::net::sockopt::set_tcp_user_timeout(stream, ms)?;
    // A peer that vanished is found also while neither side has anything to send.
    rustix::net::sockopt::set_socket_keepalive(stream, true)?;
    rustix::net::sockopt::set_tcp_keepidle(stream, unacknowledged)?;
    rustix::net::sockopt::set_tcp_keepintvl(stream, unacknowledged)?;
    Ok(())
}

fn http1_builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    // The visit has the deadlines; this one would also run between requests.
    builder
        .header_read_timeout(None)
        .max_buf_size(HEAD_BYTES_MAX);
    builder
}

fn http2_builder(bounds: &ConnectionBounds) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(bounds.unacknowledged)
        .keep_alive_timeout(bounds.unacknowledged);
    builder
}

async fn answer(
    router: TowerToHyperService<Router>,
    visit: Visit,
    mut request: Request<Incoming>,
) -> Result<Response<OpenBody>, std::convert::Infallible> {
    let open = visit.begin();
    request.extensions_mut().insert(visit);
    let response = router.call(request).await?;
    Ok(response.map(|body: Body| OpenBody { body, _open: open }))
}

fn told(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended with an error");
    }
}
