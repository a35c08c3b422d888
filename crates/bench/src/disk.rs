//! The disk as a calibrator: what one durable record costs without any of us.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Size of one record: a page of the store.
const RECORD_BYTES: usize = 4096;

/// A file that records are appended to.
#[derive(Debug)]
pub(super) struct SyncedFile {
    file: File,
    written: u64,
}

impl SyncedFile {
    /// Makes the file in a folder.
    pub(super) fn create(folder: &Path) -> Result<Self> {
        let path = folder.join("calibrator");
        let file = File::create(&path).with_context(|| path.display().to_string())?;
        Ok(Self { file, written: 0 })
    }

    /// Appends records, each with its own fdatasync, and gives the time of each.
    pub(super) fn append(&mut self, records: usize) -> Result<Vec<Duration>> {
        (0..records).map(|_| self.append_one()).collect()
    }

    fn append_one(&mut self) -> Result<Duration> {
        self.written += 1;
        // Unique content: equal records could be told apart from work by a clever disk.
        let record = self.written.to_le_bytes().repeat(RECORD_BYTES / 8);
        let began = Instant::now();
        self.file.write_all(&record).context("append a record")?;
        self.file.sync_data().context("fdatasync")?;
        Ok(began.elapsed())
    }
}
