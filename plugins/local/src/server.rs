//! The socket, and serving on it until told to stop.
//!
//! Owns the endpoint's spelling and the socket file. Stopping means: no new calls, calls in
//! flight are finished, volumes stay as they are.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sutler_csi::proto::controller_server::ControllerServer;
use sutler_csi::proto::identity_server::IdentityServer;
use sutler_csi::proto::node_server::NodeServer;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use crate::controller::ControllerService;
use crate::host::Host;
use crate::identity::IdentityService;
use crate::node::NodeService;

/// Longest path of a unix socket, without the zero byte at its end.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Calls in work for one caller; more of them wait. Each takes a thread while it works.
const CALLS_PER_CONNECTION_MAX: usize = 64;

/// Why the plugin cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The endpoint is not one.
    #[error("the endpoint {endpoint:?} is not unix:///PATH or /PATH")]
    Endpoint {
        /// As given.
        endpoint: String,
    },
    /// The socket's path is too long for the kernel.
    #[error("the socket path {path} has {length} bytes, at most {SOCKET_PATH_BYTES_MAX} work")]
    TooLong { path: PathBuf, length: usize },
    /// Something that is no socket has the name.
    #[error("{path} exists and is not a socket")]
    NotASocket { path: PathBuf },
    /// The socket cannot be made.
    #[error("cannot listen on {path}")]
    Listen {
        path: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
    /// Serving ended with an error.
    #[error("cannot serve on {path}")]
    Serve {
        path: PathBuf,
        /// What happened.
        source: tonic::transport::Error,
    },
}

/// The socket's path in an endpoint as CSI spells it.
///
/// # Errors
/// Another kind of endpoint, a relative path, or one too long for a socket.
pub fn socket_path(endpoint: &str) -> Result<PathBuf, ServeError> {
    let rest = endpoint.strip_prefix("unix:").unwrap_or(endpoint);
    let path = rest
        .strip_prefix("//")
        .filter(|path| path.starts_with('/'))
        .unwrap_or(rest);
    if !path.starts_with('/') || path.starts_with("//") {
        return Err(ServeError::Endpoint {
            endpoint: endpoint.to_owned(),
        });
    }
    match path.len() {
        length if length > SOCKET_PATH_BYTES_MAX => Err(ServeError::TooLong {
            path: path.into(),
            length,
        }),
        _ => Ok(PathBuf::from(path)),
    }
}

/// Serves until `stop` is over and the calls in flight are answered; removes the socket.
///
/// # Errors
/// The socket cannot be made or serving failed.
pub async fn serve(
    host: Arc<Host>,
    socket: &Path,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let listener = listen(socket)?;
    tracing::info!(socket = %socket.display(), node_id = host.node_id, "serving");
    let served = Server::builder()
        .concurrency_limit_per_connection(CALLS_PER_CONNECTION_MAX)
        .add_service(IdentityServer::new(IdentityService(Arc::clone(&host))))
        .add_service(ControllerServer::new(ControllerService(Arc::clone(&host))))
        .add_service(NodeServer::new(NodeService(host)))
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop)
        .await;
    // The next start removes it too.
    let _ = fs::remove_file(socket);
    served.map_err(|source| ServeError::Serve {
        path: socket.to_owned(),
        source,
    })
}

fn listen(socket: &Path) -> Result<UnixListener, ServeError> {
    let failed = |source| ServeError::Listen {
        path: socket.to_owned(),
        source,
    };
    // A socket of an earlier life: the lock on the state directory says that it is over.
    match fs::symlink_metadata(socket) {
        Ok(meta) if meta.file_type().is_socket() => fs::remove_file(socket).map_err(failed)?,
        Ok(_) => {
            return Err(ServeError::NotASocket {
                path: socket.to_owned(),
            });
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let listener = UnixListener::bind(socket).map_err(failed)?;
    fs::set_permissions(socket, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_as_csi_and_its_users_spell_them() {
        for endpoint in [
            "unix:///csi/csi.sock",
            "unix:/csi/csi.sock",
            "/csi/csi.sock",
        ] {
            assert_eq!(
                socket_path(endpoint).expect(endpoint),
                Path::new("/csi/csi.sock")
            );
        }
        for endpoint in [
            "",
            "csi.sock",
            "unix://csi.sock",
            "tcp://127.0.0.1:1",
            "unix:////a",
        ] {
            assert!(socket_path(endpoint).is_err(), "{endpoint:?}");
        }
        let long = format!("unix:///{}", "a".repeat(107));
        let error = socket_path(&long).expect_err("too long").to_string();
        assert!(error.contains("has 108 bytes, at most 107"), "{error}");
        assert!(socket_path(&long[..long.len() - 1]).is_ok());
    }
}
