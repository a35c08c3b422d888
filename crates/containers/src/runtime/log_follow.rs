//! Reading a log as a stream, waiting for more where asked.

use bytes::Bytes;

/// Some bytes of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogChunk {
    /// Position of the first byte, counted from the container's start; a jump tells that older
    /// bytes were rotated away.
    pub offset: u64,
    /// The bytes, never empty.
    pub bytes: Bytes,
}
