//! Connections: accepting, TLS, limits on each, and their end.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use rustls::server::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections at once: every agent has three, beside the users'.
const CONNECTIONS_MAX: usize = 8192;

/// How long a client may take for its TLS handshake or for the head of a request.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Streams at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 256;

/// How long what we sent may stay unacknowledged before the peer counts as gone: our
/// heartbeats make sure that something is sent.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(20);

/// How long open requests have to end when the master ends.
const END_WITHIN: Duration = Duration::from_secs(5);

/// Pause after a failed accept, which means that we are out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is served, and where.
pub(crate) struct Serve {
    pub listener: TcpListener,
    pub tls: Option<Arc<ServerConfig>>,
    pub router: Router,
    pub end: CancellationToken,
}

/// Serves until asked to end, then lets open requests end for a while.
pub(crate) async fn serve(serve: Serve) {
    let acceptor = serve.tls.map(TlsAcceptor::from);
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let tasks = TaskTracker::new();
    loop {
        // Every arm is cancel-safe.
        let (stream, permit) = tokio::select! {
            () = serve.end.cancelled() => break,
            next = next(&serve.listener, &permits) => next,
        };
        let (acceptor, router, end) = (acceptor.clone(), serve.router.clone(), serve.end.clone());
        tasks.spawn(async move {
            let _permit = permit;
            connection(stream, acceptor, router, end).await;
        });
    }
    drop(serve.listener);
    tasks.close();
    if tokio::time::timeout(END_WITHIN, tasks.wait())
        .await
        .is_err()
    {
        tracing::warn!("some connections did not end in time and are cut");
    }
}

async fn next(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> (TcpStream, tokio::sync::OwnedSemaphorePermit) {
    let permit = permits
        .clone()
        .acquire_owned()
        .await
        .expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, permit),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    router: Router,
    end: CancellationToken,
) {
    if let Err(error) = set_options(&stream) {
        tracing::debug!(%error, "cannot set the options of a connection");
    }
    let Some(acceptor) = acceptor else {
        return http(stream, router, end).await;
    };
    match tokio::time::timeout(HEAD_WITHIN, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => http(stream, router, end).await,
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

fn set_options(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let ms = u32::try_from(UNACKNOWLEDGED_MAX.as_millis()).expect("seconds fit");
    rustix::net::sockopt::set_tcp_user_timeout(stream, ms)?;
    Ok(())
}

async fn http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    end: CancellationToken,
) {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(UNACKNOWLEDGED_MAX)
        .keep_alive_timeout(UNACKNOWLEDGED_MAX);
    let service = TowerToHyperService::new(router);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = end.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(END_WITHIN, connection).await {
                Ok(ended) => ended,
                Err(_) => Ok(()),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %error, "a connection ended with an error");
    }
}
