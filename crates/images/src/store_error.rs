//! Why the store of images cannot be used.

use std::io;
use std::path::PathBuf;

use sutler_host::remove::RemoveError;

/// What went wrong with the store itself.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A folder of the store cannot be made or listed.
    #[error("open the folder {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Another process uses the store.
    #[error("the image store {} is in use by another process", path.display())]
    Locked { path: PathBuf },
    /// A file cannot be written: no space, no right.
    #[error("write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Something that is no longer used cannot be removed.
    #[error("remove {}", path.display())]
    Remove {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: RemoveError,
    },
    /// A file that is no longer used cannot be removed.
    #[error("remove the file {}", path.display())]
    RemoveFile {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}
