//! What keeps a master from starting or from going on.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use sutler_cluster_core::{ReadError, RecoverError};
use sutler_store::{CommitError, LoadError, OpenError};

/// Says why a master does not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Open to all, and reachable from outside.
    #[error(
        "the public API without a token is for loopback addresses only, and {listen} is not one"
    )]
    InsecureListen {
        /// The address.
        listen: SocketAddr,
    },
    /// The state folder cannot be used.
    #[error("state directory {} cannot be used", path.display())]
    StateDir {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The books cannot be opened.
    #[error("the master's books cannot be opened")]
    OpenBooks {
        /// Why.
        source: OpenError,
    },
    /// The books cannot be read.
    #[error("the master's books cannot be read")]
    LoadBooks {
        /// Why.
        source: LoadError,
    },
    /// Records are not as they were written.
    #[error(
        "the master's books in {} are damaged: {records}; put back a copy of the file, or move \
         it away to start with empty books (volumes are kept on their nodes)", path.display()
    )]
    DamagedBooks {
        /// The file.
        path: PathBuf,
        /// Which records, and what is wrong with each.
        records: String,
    },
    /// A sound record that this program cannot read.
    #[error("the master's books cannot be understood")]
    ReadBooks {
        /// Which and why.
        source: ReadError,
    },
    /// Records contradict each other.
    #[error("the master's books make no sense")]
    RecoverBooks {
        /// Why.
        source: RecoverError,
    },
    /// The books cannot be written.
    #[error("the master's books cannot be written")]
    CommitBooks {
        /// Why.
        source: CommitError,
    },
    /// A file of ours cannot be read.
    #[error("file {} cannot be read", path.display())]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of ours cannot be written.
    #[error("file {} cannot be written", path.display())]
    WriteFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A token file that does not hold a token.
    #[error("file {} holds no token; remove it and start again for a new one", path.display())]
    BadToken {
        /// The file.
        path: PathBuf,
    },
    /// The address cannot be had.
    #[error("cannot listen on {listen}")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A certificate cannot be made or read.
    #[error("certificate {} cannot be made or read", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A part of the master ended that never should.
    #[error("the master's {part} ended unexpectedly")]
    PartEnded { part: &'static str },
}
