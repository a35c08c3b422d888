//! Tells systemd that we are ready (sd_notify(3)): one datagram, if it asked for one.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The variable that names the socket.
const VARIABLE: &str = "NOTIFY_SOCKET";

/// Tells that we serve, if somebody listens.
pub fn ready() {
    if let Some(socket) = std::env::var_os(VARIABLE).filter(|socket| !socket.is_empty())
        && let Err(error) = send(&socket, b"READY=1\n")
    {
        tracing::warn!(socket = ?socket, %error, "could not tell that we are ready");
    }
}

fn send(socket: &OsStr, message: &[u8]) -> io::Result<()> {
    let bytes = socket.as_bytes();
    // A name that begins with @ is in the abstract name space.
    let address = match bytes.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?
        .send_to_addr(message, &address)
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(address: &SocketAddr, name: &OsStr) -> Vec<u8> {
        let listener = UnixDatagram::bind_addr(address).expect("a fresh name");
        send(name, b"READY=1\n").expect("somebody listens");
        let mut buffer = [0; 64];
        let length = listener.recv(&mut buffer).expect("a datagram waits");
        buffer[..length].to_vec()
    }

    #[test]
    fn a_path_and_an_abstract_name_are_told() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("notify");
        let address = SocketAddr::from_pathname(&path).expect("short enough");
        assert_eq!(told(&address, path.as_os_str()), b"READY=1\n");
        let name = format!("sutler-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("short enough");
        assert_eq!(
            told(&address, OsStr::new(&format!("@{name}"))),
            b"READY=1\n"
        );
    }

    #[test]
    fn a_socket_without_listener_is_an_error_and_no_panic() {
        assert!(send(OsStr::new("/nowhere/notify"), b"READY=1\n").is_err());
    }
}
