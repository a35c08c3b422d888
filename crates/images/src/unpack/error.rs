//! Why an entry of a layer was refused or could not be written.
//! Names are shown escaped and shortened: they are the attacker's own text.

use std::io;

use rustix::io::Errno;

use super::super::tar_stream::TarError;
use super::name::EntryName;

/// Why a layer was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// A name with `..` in it.
    #[error("the entry {name:?} climbs out with \"..\"")]
    ParentComponent {
        /// The entry.
        name: String,
    },
    /// A name with a zero byte in it.
    #[error("the entry {name:?} has a zero byte in its name")]
    ZeroByte {
        /// The entry.
        name: String,
    },
    /// A path or a component longer than the kernel takes.
    #[error("the name of the entry {name:?} is too long (limit {max} bytes)")]
    NameTooLong {
        /// The entry, shortened.
        name: String,
        /// The limit.
        max: usize,
    },
    /// More components than the limit.
    #[error("the entry {name:?} lies more than {max} folders deep")]
    TooDeep {
        /// The entry, shortened.
        name: String,
        /// The limit.
        max: usize,
    },
    /// More entries than the limit.
    #[error("the layer has more than {max} entries")]
    TooManyEntries {
        /// The limit.
        max: u64,
    },
    /// A sparse file in so many small pieces that its blocks take far more disk than its bytes.
    #[error("the sparse file {name:?} is scattered over more blocks than its bytes need")]
    Scattered {
        /// The entry, shortened.
        name: String,
    },
    /// Names of folders would take more memory than the limit.
    #[error("the names of the layer's folders have more than {max} bytes together")]
    FolderNames {
        /// The limit.
        max: u64,
    },
    /// The way to the entry leads over a link that points out of the layer.
    #[error("the entry {name:?} would be written through a link that leads out of the layer")]
    ThroughLink {
        /// The entry.
        name: String,
    },
    /// The way to the entry leads over something that is no folder.
    #[error("the entry {name:?} lies below something that is not a folder")]
    BelowFile {
        /// The entry.
        name: String,
    },
    /// A hard link to anything but a file of the same layer.
    #[error("the hard link {name:?} points to {target:?}, which is not a file of this layer")]
    HardLinkTarget {
        /// The entry.
        name: String,
        /// What it points to.
        target: String,
    },
    /// A symbolic link without a usable target.
    #[error("the link {name:?} has no usable target")]
    LinkTarget {
        /// The entry.
        name: String,
    },
    /// Something else in the place of a folder of the same layer.
    #[error("the entry {name:?} would replace a folder of the same layer")]
    ReplacesFolder {
        /// The entry.
        name: String,
    },
    /// A whiteout that names nothing that can be deleted.
    #[error("the whiteout {name:?} names nothing that can be hidden")]
    Whiteout {
        /// The entry.
        name: String,
    },
    /// An attribute by which a layer would steer overlayfs itself.
    #[error("the entry {name:?} carries the attribute {xattr:?}, which images may not set")]
    Xattr {
        /// The entry.
        name: String,
        /// The attribute.
        xattr: String,
    },
    /// A sparse file larger than the whole image may be.
    #[error("the sparse file {name:?} is larger than the limit of {max} bytes")]
    SparseTooLarge {
        /// The entry.
        name: String,
        /// The limit.
        max: u64,
    },
    /// The archive itself is not readable.
    #[error("read the layer's archive")]
    Tar {
        /// Why.
        source: TarError,
    },
    /// The data of a file broke off.
    #[error("read the data of {name:?}")]
    ReadData {
        /// The entry.
        name: String,
        /// What broke.
        source: io::Error,
    },
    /// The folder to unpack into cannot be opened.
    #[error("open the folder to unpack into")]
    OpenRoot {
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel refused something that should have worked: no space, no right.
    #[error("{act} {name:?}")]
    Act {
        /// What was tried.
        act: &'static str,
        /// The entry.
        name: String,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl UnpackError {
    /// Splits off the errors that come from reading the stream below.
    pub(in super::super) fn into_read_error(self) -> Result<io::Error, UnpackError> {
        match self {
            UnpackError::Tar {
                source: TarError::Read { source, .. },
            }
            | UnpackError::ReadData { source, .. } => Ok(source),
            other => Err(other),
        }
    }
}

/// Makes an error of a refused system call.
pub(super) fn act<'a>(
    act: &'static str,
    name: &'a EntryName,
) -> impl Fn(Errno) -> UnpackError + 'a {
    move |errno| UnpackError::Act {
        act,
        name: name.shown(),
        source: errno.into(),
    }
}
