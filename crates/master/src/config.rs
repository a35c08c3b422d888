//! What a master is started with.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::{ConnectionBounds, Places};

/// A day in the trash: long enough to notice a mistake the next morning.
const TRASH_RETENTION: Duration = Duration::from_secs(24 * 60 * 60);

/// Everything that a master needs to know before it starts.
#[derive(Debug, Clone)]
pub struct MasterConfig {
    /// Folder of everything durable; made if it is not there.
    pub state_dir: PathBuf,
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// How long removed volumes stay in the trash.
    pub trash_retention: Duration,
    /// Opens the public API to every process of this host, without a token. Refused
    /// unless `listen` is a loopback address.
    pub insecure_loopback: bool,
    /// More names or addresses under which clients reach this master: part of its
    /// certificate, and the first is what agents are told.
    pub names: Vec<String>,
    pub connections: ConnectionBounds,
}

impl MasterConfig {
    /// Makes a configuration with the usual values for all the rest.
    pub fn new(state_dir: impl Into<PathBuf>, listen: SocketAddr) -> Self {
        Self {
            state_dir: state_dir.into(),
            listen,
            trash_retention: TRASH_RETENTION,
            insecure_loopback: false,
            names: Vec::new(),
            connections: ConnectionBounds::new(Places::of_this_process()),
        }
    }
}
