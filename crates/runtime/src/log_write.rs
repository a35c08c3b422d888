//! Keeping a container's output: a bounded queue, and files that rotate within their bounds.
//!
//! Writing never holds the container for good: if the disk stalls, the queue fills, waits a
//! little and then drops; if it is full, older log files make room and what still does not fit
//! is dropped. Every dropped byte is counted. Rotated files carry the offset of their first byte
//! in their name, so that a reader knows where it is (`log_read.rs`).

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::log_read::rotated;
use super::spec::LogLimits;
use super::status::LogStream;

/// Output that may wait for the disk; with more the shim would not stay small.
const QUEUE_BYTES_MAX: usize = 1 << 20;

/// How long a full queue holds the container before its output is dropped: long enough for a
/// busy disk, short enough that a hung one does not hang the task.
const PATIENCE: Duration = Duration::from_secs(2);

/// Smallest sizes taken from [`LogLimits`]: less rotates more than it writes, and the newest
/// rotated file is what tells the offset of the current one.
const BYTES_MIN: u64 = 4096;
const FILES_MIN: u32 = 2;

/// Output on its way to the disk.
#[derive(Debug, Default)]
pub struct LogQueue {
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct QueueState {
    chunks: VecDeque<(LogStream, Vec<u8>)>,
    bytes: usize,
    closed: bool,
    /// Set when patience ran out; until there is room again nothing waits.
    stalled: bool,
    dropped: u64,
}

impl LogQueue {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        // Every change of the state is a few assignments that do not panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over output, waiting for room at most `PATIENCE`; drops and counts what finds none.
    pub fn push(&self, stream: LogStream, bytes: &[u8]) {
        let full =
            |state: &mut QueueState| state.bytes + bytes.len() > QUEUE_BYTES_MAX && !state.stalled;
        let state = self.lock();
        let (mut state, _) = self
            .changed
            .wait_timeout_while(state, PATIENCE, full)
            .unwrap_or_else(PoisonError::into_inner);
        if state.bytes + bytes.len() > QUEUE_BYTES_MAX {
            state.stalled = true;
            state.dropped += bytes.len() as u64;
            return;
        }
        state.stalled = false;
        state.bytes += bytes.len();
        state.chunks.push_back((stream, bytes.to_vec()));
        self.changed.notify_all();
    }

    /// Tells that no more output comes.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Bytes dropped for want of room.
    pub fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// Writes until the queue is closed and empty; gives the bytes that found no place on disk.
    pub(crate) fn write_out(&self, mut stdout: LogFile, mut stderr: LogFile) -> u64 {
        let idle = |state: &mut QueueState| state.chunks.is_empty() && !state.closed;
        loop {
            let waited = self.changed.wait_while(self.lock(), idle);
            let mut state = waited.unwrap_or_else(PoisonError::into_inner);
            let Some((stream, bytes)) = state.chunks.pop_front() else {
                break;
            };
            drop(state);
            match stream {
                LogStream::Stdout => stdout.append(&bytes),
                LogStream::Stderr => stderr.append(&bytes),
            }
            // Only now is its room free: what is being written is still held in memory.
            self.lock().bytes -= bytes.len();
            self.changed.notify_all();
        }
        stdout.dropped() + stderr.dropped()
    }
}

/// One output's current file and the rotated ones before it.
#[derive(Debug)]
pub struct LogFile {
    dir: PathBuf,
    stream: LogStream,
    bytes_max: u64,
    files_max: usize,
    /// Offset of the current file's first byte, from the container's start.
    base: u64,
    len: u64,
    file: Option<File>,
    dropped: u64,
}

impl LogFile {
    /// The log of a container that starts now; the file is made so that readers find it.
    pub fn new(dir: &Path, stream: LogStream, limits: LogLimits) -> Self {
        let mut log = Self {
            dir: dir.to_owned(),
            stream,
            bytes_max: limits.bytes_max.max(BYTES_MIN),
            files_max: limits.files_max.max(FILES_MIN) as usize,
            base: 0,
            len: 0,
            file: None,
            dropped: 0,
        };
        log.file = log.open().ok();
        log
    }

    /// Bytes that found no place.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Writes all of it, rotating where a file is full, or drops and counts the rest.
    pub fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.write_some(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let full = error.kind() == io::ErrorKind::StorageFull;
                    if !(full && self.make_room()) {
                        self.dropped += bytes.len() as u64;
                        return;
                    }
                }
            }
        }
    }

    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.len >= self.bytes_max {
            self.rotate()?;
        }
        if self.file.is_none() {
            self.file = Some(self.open()?);
        }
        let room = usize::try_from(self.bytes_max - self.len).unwrap_or(usize::MAX);
        let file = self.file.as_mut().expect("opened above");
        let written = file.write(&bytes[..bytes.len().min(room)])?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.len += written as u64;
        Ok(written)
    }

    fn path(&self) -> PathBuf {
        self.dir.join(self.stream.file_name())
    }

    fn open(&self) -> io::Result<File> {
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(self.path())
    }

    /// Moves the full file aside, then removes the oldest beyond the bound: in this order no
    /// byte goes before a newer one is safe.
    fn rotate(&mut self) -> io::Result<()> {
        let aside = self
            .dir
            .join(format!("{}.{}", self.stream.file_name(), self.base));
        fs::rename(self.path(), aside)?;
        self.file = None;
        self.base += self.len;
        self.len = 0;
        let old = rotated(&self.dir, self.stream)?;
        let kept = self.files_max - 1;
        for segment in old.iter().take(old.len().saturating_sub(kept)) {
            fs::remove_file(&segment.path)?;
        }
        Ok(())
    }

    /// Gives up the oldest rotated file of this output; `false` if only the newest is left.
    fn make_room(&mut self) -> bool {
        let Ok(old) = rotated(&self.dir, self.stream) else {
            return false;
        };
        match old.as_slice() {
            [oldest, _, ..] => fs::remove_file(&oldest.path).is_ok(),
            [] | [_] => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::log_read::LogCursor;

    fn log(dir: &Path, files_max: u32) -> LogFile {
        LogFile::new(
            dir,
            LogStream::Stdout,
            LogLimits {
                bytes_max: BYTES_MIN,
                files_max,
            },
        )
    }

    fn read_all(dir: &Path, from: u64) -> (u64, Vec<u8>) {
        let mut cursor = LogCursor::new(dir, LogStream::Stdout, from);
        let mut first = None;
        let mut all = Vec::new();
        while let Some((offset, bytes)) = cursor.read().expect("readable") {
            assert_eq!(
                offset,
                *first.get_or_insert(offset) + all.len() as u64,
                "a gap"
            );
            all.extend(bytes);
        }
        (first.unwrap_or(from), all)
    }

    /// Bytes that differ within any window, so that a lost or repeated one shows.
    fn pattern(len: usize) -> Vec<u8> {
        (0..len as u32)
            .flat_map(|n| n.to_be_bytes())
            .take(len)
            .collect()
    }

    #[test]
    fn rotation_is_bounded_and_keeps_the_newest_bytes_in_order() {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut log = log(dir.path(), 3);
        let written = pattern(100_000);
        for piece in written.chunks(777) {
            log.append(piece);
        }
        let on_disk: u64 = fs::read_dir(dir.path())
            .expect("listed")
            .map(|e| e.expect("entry").metadata().expect("metadata").len())
            .sum();
        assert!(on_disk <= 3 * BYTES_MIN, "{on_disk} bytes kept");
        assert!(on_disk >= 2 * BYTES_MIN, "only {on_disk} bytes kept");
        let (first, kept) = read_all(dir.path(), 0);
        assert_eq!(kept, written[first as usize..]);
        assert_eq!(log.dropped(), 0);
    }

    #[test]
    fn offsets_stay_the_same_across_rotation() {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut log = log(dir.path(), 4);
        let written = pattern(11_000);
        log.append(&written);
        for offset in [0, 1, 4095, 4096, 5000, 8192, 10_999] {
            let (first, kept) = read_all(dir.path(), offset);
            assert_eq!(
                (first, kept.as_slice()),
                (offset, &written[offset as usize..])
            );
        }
    }

    #[test]
    fn a_log_that_cannot_be_written_counts_what_it_drops() {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut log = log(&dir.path().join("not-there"), 2);
        log.append(b"lost");
        log.append(b"too");
        assert_eq!(log.dropped(), 7);
    }

    #[test]
    fn a_stalled_disk_drops_output_instead_of_holding_the_container() {
        let queue = LogQueue::default();
        // Nobody writes out: the queue fills, and every push still returns.
        for _ in 0..20 {
            queue.push(LogStream::Stdout, &[0; 64 << 10]);
        }
        assert_eq!(queue.dropped(), 4 * (64 << 10));
    }

    #[test]
    fn everything_pushed_before_the_close_is_written() {
        let dir = tempfile::tempdir().expect("temp dir");
        let queue = Arc::new(LogQueue::default());
        let limits = LogLimits {
            bytes_max: 64 << 20,
            files_max: 2,
        };
        let writer = {
            let queue = Arc::clone(&queue);
            let stdout = LogFile::new(dir.path(), LogStream::Stdout, limits);
            let stderr = LogFile::new(dir.path(), LogStream::Stderr, limits);
            std::thread::spawn(move || queue.write_out(stdout, stderr))
        };
        let written = pattern(4 << 20);
        for piece in written.chunks(60_000) {
            queue.push(LogStream::Stdout, piece);
        }
        queue.push(LogStream::Stderr, b"other");
        queue.close();
        assert_eq!(writer.join().expect("no panic") + queue.dropped(), 0);
        assert!(read_all(dir.path(), 0).1 == written);
        assert_eq!(
            fs::read(dir.path().join("stderr.log")).expect("there"),
            b"other"
        );
    }
}
