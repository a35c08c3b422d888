//! What can go wrong with a store, in words that an operator can act upon.

use std::io;
use std::path::PathBuf;

/// Says why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Somebody else has it open.
    #[error("store {} is in use by {}", path.display(), holder(*pid))]
    Locked {
        /// The file.
        path: PathBuf,
        /// The process that holds it, if it said so.
        pid: Option<u32>,
    },
    /// A newer program wrote it.
    #[error(
        "store {} was written by a newer version of this program (format {found}, this one \
         knows {known}); start that version again", path.display()
    )]
    NewerVersion {
        /// The file.
        path: PathBuf,
        /// The version found.
        found: u32,
        /// The version that this program knows.
        known: u32,
    },
    /// An older program wrote it, and nothing here converts it.
    #[error(
        "store {} was written by an older version of this program (format {found}, this one \
         needs {known})", path.display()
    )]
    OlderVersion {
        /// The file.
        path: PathBuf,
        /// The version found.
        found: u32,
        /// The version that this program knows.
        known: u32,
    },
    /// Another kind of books.
    #[error("store {} holds the books of {found:?}, not of {expected:?}", path.display())]
    WrongKind {
        /// The file.
        path: PathBuf,
        /// The kind found.
        found: String,
        /// The kind asked for.
        expected: &'static str,
    },
    /// Its bytes are not as we left them. Nothing was changed.
    #[error(
        "store {} is damaged: {what}; nothing was changed; put back a copy of it",
        path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// We may not write there.
    #[error("store {} cannot be written", path.display())]
    NotWritable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No space to open it.
    #[error("no space left to open store {}", path.display())]
    Full {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Any other failure of the file system.
    #[error("store {} cannot be opened", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Says why a table cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// After a failed commit the file had to be opened again, and cannot be.
    #[error("table {table} cannot be read")]
    Reopen {
        table: &'static str,
        /// Why.
        source: OpenError,
    },
    /// The table's bytes are not as we left them, beyond single records.
    #[error("table {table} of store {} is damaged: {what}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        table: &'static str,
        /// What is wrong.
        what: String,
    },
    /// The disk does not give it.
    #[error("table {table} of store {} cannot be read", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        table: &'static str,
        /// Why.
        source: io::Error,
    },
    /// An earlier I/O error has stopped the store.
    #[error("store {} has stopped after an earlier I/O error: {cause}", path.display())]
    Stopped {
        /// The file.
        path: PathBuf,
        /// The earlier error.
        cause: String,
    },
}

/// Says why a batch is not known to be durable. Shared by every batch of one group.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// No space, or no quota. The same handle works again when there is some.
    #[error("no space left for store {}: {cause}", path.display())]
    Full {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: String,
    },
    /// The disk failed. The store has stopped.
    #[error("store {} cannot be written: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: String,
    },
    /// An earlier I/O error has stopped the store.
    #[error("store {} has stopped after an earlier I/O error: {cause}", path.display())]
    Stopped {
        /// The file.
        path: PathBuf,
        /// The earlier error.
        cause: String,
    },
}

impl OpenError {
    /// Sorts an I/O error at opening.
    pub(crate) fn from_io(path: PathBuf, source: io::Error) -> Self {
        use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
        match source.kind() {
            PermissionDenied | ReadOnlyFilesystem => Self::NotWritable { path, source },
            _ if is_full(&source) => Self::Full { path, source },
            _ => Self::Io { path, source },
        }
    }
}

/// Tells whether space, rather than the disk, is what is missing.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

fn holder(pid: Option<u32>) -> String {
    match pid {
        Some(pid) => format!("process {pid}"),
        None => "another process".to_owned(),
    }
}
