//! The durable store: named tables of small records in one file, changed by batches.
//!
//! Owns the file, its lock and its one writer thread. Knows nothing of what the records mean
//! and never decides what to do about a failure. Sits under every shell that keeps books.
//!
//! # Guarantees
//!
//! - [`Store::commit`] returns `Ok` only when the whole batch survives a crash of the process
//!   and of the host; a batch is there wholly or not at all.
//! - One fdatasync per commit of the file, whatever the number of batches that waited for it.
//! - A second opener is refused, also one in the same process. A closed store is free at once,
//!   also while a child that was forked meanwhile has yet to execute.
//! - Only the owner may read its files, whatever the umask and the modes found.
//! - A record that changed on disk behind our back is named, never returned.
//!
//! # After a failed commit
//!
//! The caller assumes nothing of its memory: it rebuilds itself from [`Store::load`], the
//! same path as after a restart. After [`CommitError::Full`] the same handle works again as
//! soon as there is space. After [`CommitError::Io`] the store has stopped: what a failed
//! fsync left in the page cache cannot be trusted, so only a new process may go on.

mod batch;
mod database;
mod error;
mod private;
mod record;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use batch::{Batch, Table};
pub use error::{CommitError, LoadError, OpenError};
pub use record::{Damaged, Loaded};

/// What a store file is for and how its records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schema {
    /// Whose books these are, for example `agent`.
    pub kind: &'static str,
    /// Grows with each change of the records that an older program could not read.
    pub version: u32,
}

/// A handle on an open store; cheap to clone. Dropping the last one closes the file.
#[derive(Clone)]
pub struct Store {
    inner: Arc<writer::Writer>,
}

impl Store {
    /// Opens the store at `path`, or makes an empty one with its folder.
    ///
    /// Blocks for as long as it takes to read and check the whole file.
    ///
    /// # Errors
    /// [`OpenError`]; the file is left as it was.
    pub fn open(path: &Path, schema: Schema) -> Result<Self, OpenError> {
        let inner = Arc::new(writer::Writer::start(path, schema)?);
        Ok(Self { inner })
    }

    /// Reads every record of a table, in order of keys.
    ///
    /// Blocks for as long as a commit that is under way.
    ///
    /// # Errors
    /// [`LoadError`]; damaged single records are no error, they are named in [`Loaded`].
    pub fn load(&self, table: Table) -> Result<Loaded, LoadError> {
        self.inner.load(table)
    }

    /// Writes a batch. An empty one returns at once.
    ///
    /// # Errors
    /// [`CommitError`]: see the crate's text for what to do then.
    ///
    /// # Durability
    /// On `Ok` the batch is on disk. On `Err` it is there wholly or not at all.
    ///
    /// # Cancel safety
    /// A dropped call may still commit its batch.
    pub async fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        self.inner.commit(batch).await
    }

    /// Counts the commits of the file so far: one fdatasync each.
    pub fn commits(&self) -> u64 {
        self.inner.commits()
    }

    /// Gives the path of the file.
    pub fn path(&self) -> &Path {
        self.inner.path()
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}

/// Gives `path` with `suffix` appended to its last component.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut text = path.as_os_str().to_owned();
    text.push(suffix);
    PathBuf::from(text)
}
