//! Reading a kept log by offset, across its rotated files, while it is being written.
//!
//! A position is the number of bytes since the container's start. Files are looked up afresh
//! for each read: between two reads any of them may be rotated or removed. It never waits;
//! `log_follow.rs` does.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::status::LogStream;

/// Most bytes given at once.
const CHUNK_BYTES_MAX: usize = 64 << 10;

/// How often a read starts over because the files changed under it; each retry means a whole
/// file was written meanwhile.
const RETRIES_MAX: u32 = 64;

/// How far back the last lines are sought: as much as a log view shows.
pub(crate) const TAIL_BYTES_MAX: u64 = 1 << 20;

/// A rotated file: complete, never written again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Offset of its first byte.
    pub base: u64,
    /// Where it is.
    pub path: PathBuf,
}

/// The rotated files of an output, oldest first.
///
/// # Errors
/// If the folder cannot be listed.
pub fn rotated(dir: &Path, stream: LogStream) -> io::Result<Vec<Segment>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let base = name.to_str().and_then(|name| {
            name.strip_prefix(stream.file_name())?
                .strip_prefix('.')?
                .parse::<u64>()
                .ok()
        });
        found.extend(base.map(|base| Segment {
            base,
            path: entry.path(),
        }));
    }
    found.sort_by_key(|segment| segment.base);
    Ok(found)
}

/// A position in a log.
#[derive(Debug, Clone)]
pub struct LogCursor {
    dir: PathBuf,
    stream: LogStream,
    position: u64,
}

/// What one look at the files gave.
enum Look {
    Bytes(Vec<u8>),
    /// The position is the end.
    End,
    /// The next byte that still exists is here.
    MovedTo(u64),
    /// The files changed during the look.
    Changed,
}

impl LogCursor {
    /// A cursor at `position` bytes after the container's start.
    pub fn new(dir: &Path, stream: LogStream, position: u64) -> Self {
        Self {
            dir: dir.to_owned(),
            stream,
            position,
        }
    }

    /// A cursor so many lines before the end, at most 1 MiB.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub(crate) fn at_last_lines(dir: &Path, stream: LogStream, lines: usize) -> io::Result<Self> {
        let end = end(dir, stream)?;
        let mut cursor = Self::new(dir, stream, end.saturating_sub(TAIL_BYTES_MAX));
        let mut bytes = Vec::new();
        let mut first = None;
        while let Some((offset, chunk)) = cursor.read()? {
            first.get_or_insert(offset);
            bytes.extend(chunk);
            if cursor.position >= end {
                break;
            }
        }
        let start = first.unwrap_or(end) + start_of_last_lines(&bytes, lines) as u64;
        Ok(Self::new(dir, stream, start))
    }

    /// The file that holds the newest bytes, for error texts.
    pub fn path(&self) -> PathBuf {
        self.dir.join(self.stream.file_name())
    }

    /// Reads on and moves on; `None` at the present end. The offset may jump ahead over bytes
    /// that were rotated away.
    ///
    /// # Errors
    /// If the files cannot be read.
    pub fn read(&mut self) -> io::Result<Option<(u64, Vec<u8>)>> {
        for _ in 0..RETRIES_MAX {
            match self.look()? {
                Look::Bytes(bytes) => {
                    let offset = self.position;
                    self.position += bytes.len() as u64;
                    return Ok(Some((offset, bytes)));
                }
                Look::End => return Ok(None),
                Look::MovedTo(position) => self.position = position,
                Look::Changed => {}
            }
        }
        Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "rotated faster than it can be read",
        ))
    }

    fn look(&self) -> io::Result<Look> {
        let old = rotated(&self.dir, self.stream)?;
        if old
            .first()
            .is_some_and(|oldest| oldest.base > self.position)
        {
            return Ok(Look::MovedTo(old[0].base));
        }
        let Some(segment) = old.iter().rfind(|segment| segment.base <= self.position) else {
            return self.look_at_current(0, None);
        };
        let Some(file) = open(&segment.path)? else {
            return Ok(Look::Changed);
        };
        let end = segment.base + file.metadata()?.len();
        if self.position < end {
            return read_at(&file, self.position - segment.base);
        }
        // Every rotated file begins where the one before ends, so only the newest is passed.
        self.look_at_current(end, Some(segment))
    }

    /// Reads the current file, whose base is known only if nothing was rotated meanwhile.
    fn look_at_current(&self, base: u64, newest: Option<&Segment>) -> io::Result<Look> {
        let file = open(&self.path())?;
        if rotated(&self.dir, self.stream)?.last() != newest {
            return Ok(Look::Changed);
        }
        match file {
            Some(file) => read_at(&file, self.position.saturating_sub(base)),
            None => Ok(Look::End),
        }
    }
}

/// The offset after the last byte.
fn end(dir: &Path, stream: LogStream) -> io::Result<u64> {
    for _ in 0..RETRIES_MAX {
        let newest = rotated(dir, stream)?.pop();
        let base = match &newest {
            None => 0,
            Some(segment) => match open(&segment.path)? {
                Some(file) => segment.base + file.metadata()?.len(),
                None => continue,
            },
        };
        let current = open(&dir.join(stream.file_name()))?;
        if rotated(dir, stream)?.pop() == newest {
            let len = current
                .map(|file| file.metadata())
                .transpose()?
                .map_or(0, |m| m.len());
            return Ok(base + len);
        }
    }
    Err(io::Error::new(
        io::ErrorKind::ResourceBusy,
        "rotated faster than it can be read",
    ))
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn read_at(file: &File, offset: u64) -> io::Result<Look> {
    let mut bytes = vec![0; CHUNK_BYTES_MAX];
    let count = file.read_at(&mut bytes, offset)?;
    bytes.truncate(count);
    Ok(if count == 0 {
        Look::End
    } else {
        Look::Bytes(bytes)
    })
}

/// Index of the first of the last `lines` lines; a last line without its end counts as one.
fn start_of_last_lines(bytes: &[u8], lines: usize) -> usize {
    if lines == 0 {
        return bytes.len();
    }
    let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let mut ends = body
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, byte)| **byte == b'\n');
    ends.nth(lines - 1).map_or(0, |(index, _)| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_lines_are_counted_with_and_without_a_final_end() {
        for (text, lines, rest) in [
            ("a\nb\nc\n", 2, "b\nc\n"),
            ("a\nb\nc", 2, "b\nc"),
            ("a\nb\n", 9, "a\nb\n"),
            ("a\nb\n", 0, ""),
            ("", 3, ""),
            ("\n\n\n", 2, "\n\n"),
        ] {
            assert_eq!(
                &text[start_of_last_lines(text.as_bytes(), lines)..],
                rest,
                "{text:?}"
            );
        }
    }

    #[test]
    fn the_last_lines_are_found_across_rotated_files() {
        let dir = tempfile::tempdir().expect("temp dir");
        fs::write(dir.path().join("stdout.log.100"), "old\none").expect("written");
        fs::write(dir.path().join("stdout.log"), " line\nlast\n").expect("written");
        let mut cursor =
            LogCursor::at_last_lines(dir.path(), LogStream::Stdout, 2).expect("readable");
        assert_eq!(
            cursor.read().expect("readable"),
            Some((104, b"one".to_vec()))
        );
        assert_eq!(
            cursor.read().expect("readable"),
            Some((107, b" line\nlast\n".to_vec()))
        );
        assert_eq!(cursor.read().expect("readable"), None);
    }

    #[test]
    fn bytes_rotated_away_are_skipped_with_a_visible_jump() {
        let dir = tempfile::tempdir().expect("temp dir");
        fs::write(dir.path().join("stdout.log.50"), "abc").expect("written");
        let mut cursor = LogCursor::new(dir.path(), LogStream::Stdout, 7);
        assert_eq!(
            cursor.read().expect("readable"),
            Some((50, b"abc".to_vec()))
        );
    }
}
