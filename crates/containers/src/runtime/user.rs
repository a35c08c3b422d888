//! Finding the numeric user and groups of an image's user inside its root file system.

use std::io;
use std::path::PathBuf;

/// Why a user could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// The name is not in the image's `/etc/passwd`.
    #[error("user {name:?} is not in the image's /etc/passwd")]
    UnknownUser {
        /// The name.
        name: String,
    },
    /// The name is not in the image's `/etc/group`.
    #[error("group {name:?} is not in the image's /etc/group")]
    UnknownGroup {
        /// The name.
        name: String,
    },
    /// A file of the image could not be read.
    #[error("cannot read {} of the image", path.display())]
    Read {
        /// Path inside the image.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}
