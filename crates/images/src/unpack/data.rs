//! Writes the data of a file, and nothing where it is only zeros: a run of them becomes a hole.
//!
//! Preallocated databases, disk images and the `lastlog` of a high user id are nearly all zeros.
//! They take no disk this way, and so need not be counted as if they did.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use super::super::limits::ImageLimits;
use super::super::tar_stream::{Entry, TarStream};
use super::error::UnpackError;
use super::name::EntryName;

/// Unpacking buffer, a multiple of the block.
const COPY_BYTES: usize = 128 << 10;
/// What is looked at for zeros, aligned in the file. Smaller holes save little and cut a file
/// into many extents; every file system's own blocks divide it.
const BLOCK_BYTES: usize = 64 << 10;
static ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

/// What a file system gives to a byte that stands alone.
const DISK_BLOCK_BYTES: u64 = 4096;
/// Disk that a file may take beside twice its bytes: some blocks that are not full.
const SCATTERED_FLOOR_BYTES: u64 = 4 * DISK_BLOCK_BYTES;

/// Tells whether pieces of a sparse file take far more disk than they have bytes. Budgets count
/// bytes: a million single bytes a block apart would take 4 GiB unseen. Tools make pieces of whole
/// blocks.
fn is_scattered(pieces: &[(u64, u64)]) -> bool {
    let held = pieces.iter().filter(|(_, length)| *length > 0);
    let (mut bytes, mut disk) = (0_u64, 0_u64);
    for (offset, length) in held {
        let end = offset.saturating_add(*length);
        let blocks = end.div_ceil(DISK_BLOCK_BYTES) - offset / DISK_BLOCK_BYTES;
        bytes = bytes.saturating_add(*length);
        disk = disk.saturating_add(blocks.saturating_mul(DISK_BLOCK_BYTES));
    }
    disk > bytes
        .saturating_mul(2)
        .saturating_add(SCATTERED_FLOOR_BYTES)
}

/// A new file, to be filled.
pub(super) struct Data<'a> {
    pub(super) file: &'a File,
    pub(super) name: &'a EntryName,
    /// Grows by the bytes that were not written.
    pub(super) holes: &'a Cell<u64>,
}

impl Data<'_> {
    pub(super) fn write<R: Read>(
        &mut self,
        entry: &Entry,
        stream: &mut TarStream<'_, R>,
        limits: &ImageLimits,
    ) -> Result<(), UnpackError> {
        let whole = [(0, entry.size)];
        let pieces = match &entry.sparse {
            None => &whole[..],
            Some(_) if entry.size > limits.unpacked_bytes_max => {
                return Err(UnpackError::SparseTooLarge {
                    name: self.name.shown(),
                    max: limits.unpacked_bytes_max,
                });
            }
            Some(pieces) if is_scattered(pieces) => {
                return Err(UnpackError::Scattered {
                    name: self.name.shown(),
                });
            }
            Some(pieces) => pieces,
        };
        let mut end = 0;
        for (offset, length) in pieces {
            end = self.copy(stream, (*offset, *length), end)?;
        }
        if end < entry.size {
            self.file
                .set_len(entry.size)
                .map_err(|source| self.act("set the size of", source))?;
        }
        Ok(())
    }

    /// Copies `length` bytes to `offset`; returns where the last byte ends that was written, at
    /// least `end`.
    fn copy(
        &self,
        from: &mut impl Read,
        (offset, length): (u64, u64),
        mut end: u64,
    ) -> Result<u64, UnpackError> {
        let room = usize::try_from(length)
            .unwrap_or(usize::MAX)
            .min(COPY_BYTES);
        let mut buffer = vec![0; room];
        let (mut at, mut left) = (offset, length);
        while left > 0 {
            // Up to the next border of the buffer, so that blocks stay aligned in the file.
            let to_border = COPY_BYTES as u64 - at % COPY_BYTES as u64;
            let wanted = left.min(to_border).min(room as u64);
            let piece = &mut buffer[..usize::try_from(wanted).expect("at most the buffer")];
            from.read_exact(piece)
                .map_err(|source| UnpackError::ReadData {
                    name: self.name.shown(),
                    source,
                })?;
            end = end.max(self.put(piece, at)?);
            (at, left) = (at + wanted, left - wanted);
        }
        Ok(end)
    }

    /// Writes what is not zero, neighbours together; returns where it ends, or 0.
    fn put(&self, piece: &[u8], at: u64) -> Result<u64, UnpackError> {
        let (mut from, mut to, mut end) = (0, 0, 0);
        while to < piece.len() {
            let here = at + to as u64;
            let border = BLOCK_BYTES - usize::try_from(here % BLOCK_BYTES as u64).expect("small");
            let block = &piece[to..piece.len().min(to + border)];
            let next = to + block.len();
            if block == &ZEROS[..block.len()] {
                self.write_at(&piece[from..to], at + from as u64)?;
                self.holes.set(self.holes.get() + block.len() as u64);
                from = next;
            } else {
                end = at + next as u64;
            }
            to = next;
        }
        self.write_at(&piece[from..], at + from as u64)?;
        Ok(end)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> Result<(), UnpackError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.file
            .write_all_at(bytes, at)
            .map_err(|source| self.act("write", source))
    }

    fn act(&self, act: &'static str, source: io::Error) -> UnpackError {
        let name = self.name.shown();
        UnpackError::Act { act, name, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_bytes_a_block_apart_are_scattered_and_pieces_of_blocks_are_not() {
        let pieces = |count: u64, stride: u64, length: u64| -> Vec<_> {
            (0..count).map(|n| (n * stride, length)).collect()
        };
        assert!(is_scattered(&pieces(100, 4096, 1)));
        assert!(is_scattered(&pieces(100, 4096, 1000)));
        assert!(!is_scattered(&pieces(100, 8192, 4096)));
        assert!(!is_scattered(&pieces(1, 0, 1)));
        assert!(!is_scattered(&pieces(0, 0, 0)));
        // An end that is not a whole block, and one that lies across two.
        assert!(!is_scattered(&[(0, 4096), (1 << 20, 100)]));
        assert!(!is_scattered(&[(u64::MAX - 1, 1)]));
    }
}
