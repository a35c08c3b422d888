//! How large a volume becomes, decided from what was asked. Pure.

use crate::record::FsKind;

/// One mebibyte.
pub const MIB: u64 = 1024 * 1024;

/// Size of a volume for which no size was asked.
pub(crate) const DEFAULT_BYTES: u64 = 1024 * MIB;

/// Sizes are multiples of this where the limit leaves room.
const GRANULE_BYTES: u64 = MIB;

/// Sizes are always multiples of this: a block of both file systems, and of every disk.
const BLOCK_BYTES: u64 = 4096;

/// Below this ext4 of 4 KiB blocks gets no journal.
const EXT4_MIN_BYTES: u64 = 8 * MIB;

/// mkfs.xfs refuses less.
const XFS_MIN_BYTES: u64 = 300 * MIB;

/// A size as CSI asks for it, in bytes; zero stands for "not said".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SizeAsked {
    /// At least this.
    pub required_bytes: u64,
    /// At most this.
    pub limit_bytes: u64,
}

/// Why no size fits what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// A figure below zero.
    #[error("the size {0} is negative")]
    Negative(i64),
    /// The limit is below what is required.
    #[error("required_bytes {required} is above limit_bytes {limit}")]
    Crossed {
        /// Asked at least.
        required: u64,
        /// Asked at most.
        limit: u64,
    },
    /// Fewer bytes than the content can live in.
    #[error("{asked} bytes are too few for {content}: the least is {least} bytes")]
    TooSmall {
        asked: u64,
        content: &'static str,
        /// Smallest possible.
        least: u64,
    },
    /// No multiple of a block lies in the range.
    #[error("no multiple of {BLOCK_BYTES} bytes lies between {required} and {limit} bytes")]
    Unaligned {
        /// Asked at least.
        required: u64,
        /// Asked at most.
        limit: u64,
    },
}

impl SizeAsked {
    /// Reads CSI's two numbers.
    ///
    /// # Errors
    /// Negative figures and a limit below what is required.
    pub fn new(required: i64, limit: i64) -> Result<Self, SizeError> {
        let unsigned = |n: i64| u64::try_from(n).map_err(|_| SizeError::Negative(n));
        let (required_bytes, limit_bytes) = (unsigned(required)?, unsigned(limit)?);
        match limit_bytes != 0 && limit_bytes < required_bytes {
            true => Err(SizeError::Crossed {
                required: required_bytes,
                limit: limit_bytes,
            }),
            false => Ok(Self {
                required_bytes,
                limit_bytes,
            }),
        }
    }

    /// Whether a volume of this size is what was asked.
    pub fn admits(&self, bytes: u64) -> bool {
        bytes >= self.required_bytes && (self.limit_bytes == 0 || bytes <= self.limit_bytes)
    }
}

/// The smallest volume with this file system, or the smallest block volume.
pub const fn least(fs: Option<FsKind>) -> u64 {
    match fs {
        None => GRANULE_BYTES,
        Some(FsKind::Ext4) => EXT4_MIN_BYTES,
        Some(FsKind::Xfs) => XFS_MIN_BYTES,
    }
}

/// Chooses the size of a new volume: at least what is required, rounded up.
///
/// A few mebibytes more than asked surprise nobody, so small ext4 and block volumes are made
/// as large as they must be; xfs, whose least is 300 MiB, is refused instead.
///
/// # Errors
/// No size fits.
pub fn choose(asked: SizeAsked, fs: Option<FsKind>) -> Result<u64, SizeError> {
    let least = least(fs);
    let wanted = match (asked.required_bytes, asked.limit_bytes) {
        (0, 0) => DEFAULT_BYTES,
        (0, limit) => DEFAULT_BYTES.min(limit),
        (required, _) => required,
    };
    let below_xfs = fs == Some(FsKind::Xfs) && wanted < least;
    if below_xfs || (asked.limit_bytes != 0 && asked.limit_bytes < least) {
        let content = fs.map_or("a block volume", FsKind::name);
        return Err(SizeError::TooSmall {
            asked: wanted,
            content,
            least,
        });
    }
    let wanted = wanted.max(least);
    [GRANULE_BYTES, BLOCK_BYTES]
        .into_iter()
        .filter_map(|unit| wanted.checked_next_multiple_of(unit))
        .chain([wanted - wanted % BLOCK_BYTES])
        .find(|&bytes| asked.admits(bytes) && bytes >= least && i64::try_from(bytes).is_ok())
        .ok_or(SizeError::Unaligned {
            required: wanted,
            limit: asked.limit_bytes,
        })
}

#[cfg(test)]
mod tests;
