//! One packed layer from a registry into a partial file, however often the connection breaks.
//!
//! The partial file is named by the digest and belongs to one download at a time (the store's
//! lock on the digest). It is continued, never trusted: what is there is hashed again first.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use reqwest::header::CONTENT_RANGE;
use reqwest::{Response, StatusCode};
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncSeekExt, AsyncWriteExt, BufWriter, SeekFrom};

use super::super::digest::Hasher;
use super::super::error::{Blame, ImageError};
use super::super::local::Section;
use super::super::manifest::Descriptor;
use super::super::model::{Progress, PullProgress};
use super::super::registry::{RegistryError, Session};

/// Tries that bring no new byte before a download is given up.
const FRUITLESS_TRIES_MAX: u32 = 5;
/// Tries in all: a registry that cuts every connection early must not hold us for ever.
const TRIES_MAX: u32 = 200;
/// First wait between fruitless tries; doubles each time, so five tries span 1.5 seconds.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// Bytes between two progress reports: a few per second on a fast network.
const REPORT_EVERY_BYTES: u64 = 1 << 20;
/// Write buffer: fewer hops to the blocking pool.
const BUFFER_BYTES: usize = 512 << 10;

/// What a download needs beside the session.
pub(crate) struct Download<'a> {
    pub(crate) blame: &'a Blame,
    pub(crate) partial: PathBuf,
    pub(crate) progress: &'a Progress,
}

/// How one try ended.
enum Try {
    Complete,
    /// The connection broke; what has arrived is kept.
    Broke(RegistryError),
    /// What was there is of no use and has been dropped.
    StartOver,
}

/// The partial file and the digest of its content.
struct Partial {
    file: BufWriter<File>,
    bytes: u64,
    hasher: Hasher,
    resumed: bool,
}

impl Download<'_> {
    /// Downloads until the layer is complete and verified; the file then holds exactly it.
    pub(crate) async fn run(
        &self,
        session: &Session,
        wanted: &Descriptor,
    ) -> Result<Section, ImageError> {
        let (mut tries, mut fruitless) = (0, 0);
        loop {
            tries += 1;
            let before = self.bytes_on_disk().await;
            let source = match self.try_once(session, wanted).await? {
                Try::Complete => return self.section(wanted).await,
                Try::Broke(source) => source,
                Try::StartOver => session.inconsistent(),
            };
            let bytes_done = self.bytes_on_disk().await;
            fruitless = if bytes_done > before {
                0
            } else {
                fruitless + 1
            };
            if fruitless >= FRUITLESS_TRIES_MAX || tries >= TRIES_MAX {
                return Err(self.give_up(wanted, tries, source));
            }
            let (layer, cause) = (wanted.digest, error_chain(&source));
            (self.progress)(PullProgress::Resuming {
                layer,
                bytes_done,
                cause,
            });
            if fruitless > 0 {
                tokio::time::sleep(BACKOFF_FIRST * 2_u32.pow(fruitless - 1)).await;
            }
        }
    }

    async fn try_once(&self, session: &Session, wanted: &Descriptor) -> Result<Try, ImageError> {
        let mut partial = self.open_partial(wanted).await?;
        if partial.bytes < wanted.size || partial.bytes == 0 {
            let answer = match session
                .blob(&wanted.digest.to_string(), partial.bytes)
                .await
            {
                Ok(answer) => answer,
                Err(error) if error.is_passing() => return Ok(Try::Broke(error)),
                Err(error) => return Err(self.blame.registry(error)),
            };
            if answer.status() == StatusCode::RANGE_NOT_SATISFIABLE {
                self.truncate(&mut partial).await?;
                return Ok(Try::StartOver);
            }
            if partial.bytes > 0 && !continues_at(&answer, partial.bytes) {
                // The registry ignores ranges and sends all of it.
                self.truncate(&mut partial).await?;
            }
            if let Some(broke) = self
                .receive(&mut partial, answer, (session, wanted))
                .await?
            {
                return Ok(Try::Broke(broke));
            }
        }
        let (resumed, found) = (partial.resumed, partial.hasher.clone().finish());
        if found != wanted.digest {
            self.truncate(&mut partial).await?;
            // A partial file that a crash has damaged deserves one clean try.
            return if resumed {
                Ok(Try::StartOver)
            } else {
                self.blame
                    .verify(wanted.digest, found)
                    .map(|()| Try::Complete)
            };
        }
        Ok(Try::Complete)
    }

    /// Appends an answer to the partial file. Returns what broke the connection, if anything.
    async fn receive(
        &self,
        partial: &mut Partial,
        answer: Response,
        (session, wanted): (&Session, &Descriptor),
    ) -> Result<Option<RegistryError>, ImageError> {
        let wrong_size = |found| self.blame.wrong_size(wanted.digest, wanted.size, found);
        if let Some(length) = answer.content_length()
            && partial.bytes.saturating_add(length) != wanted.size
        {
            return Err(wrong_size(partial.bytes.saturating_add(length)));
        }
        let mut reported = partial.bytes;
        let mut stream = answer.bytes_stream();
        while let Some(chunk) = stream.next().await {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => {
                    self.flush(partial).await?;
                    return Ok(Some(session.unreachable(error)));
                }
            };
            let bytes = partial.bytes + chunk.len() as u64;
            if bytes > wanted.size {
                self.truncate(partial).await?;
                return Err(wrong_size(bytes));
            }
            partial
                .file
                .write_all(&chunk)
                .await
                .map_err(|source| self.write_error(source))?;
            partial.hasher.update(&chunk);
            partial.bytes = bytes;
            if bytes - reported >= REPORT_EVERY_BYTES || bytes == wanted.size {
                reported = bytes;
                self.report(wanted, bytes);
            }
        }
        self.flush(partial).await?;
        if partial.bytes == wanted.size {
            return Ok(None);
        }
        // The answer ended properly, so this is all there is.
        let found = partial.bytes;
        self.truncate(partial).await?;
        Err(wrong_size(found))
    }

    async fn open_partial(&self, wanted: &Descriptor) -> Result<Partial, ImageError> {
        let failed = |source| self.write_error(source);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&self.partial).await.map_err(failed)?;
        let mut bytes = file.metadata().await.map_err(failed)?.len();
        if bytes > wanted.size {
            file.set_len(0).await.map_err(failed)?;
            bytes = 0;
        }
        let path = self.partial.clone();
        let hashed = self.blame.blocking(move || hash_file(&path, bytes)).await?;
        let hasher = hashed.map_err(failed)?;
        file.seek(SeekFrom::Start(bytes)).await.map_err(failed)?;
        let file = BufWriter::with_capacity(BUFFER_BYTES, file);
        Ok(Partial {
            file,
            bytes,
            hasher,
            resumed: bytes > 0,
        })
    }

    async fn truncate(&self, partial: &mut Partial) -> Result<(), ImageError> {
        let failed = |source| self.write_error(source);
        partial.file.flush().await.map_err(failed)?;
        partial.file.get_mut().set_len(0).await.map_err(failed)?;
        partial
            .file
            .seek(SeekFrom::Start(0))
            .await
            .map_err(failed)?;
        (partial.bytes, partial.hasher) = (0, Hasher::default());
        partial.resumed = false;
        Ok(())
    }

    async fn flush(&self, partial: &mut Partial) -> Result<(), ImageError> {
        partial
            .file
            .flush()
            .await
            .map_err(|source| self.write_error(source))
    }

    async fn section(&self, wanted: &Descriptor) -> Result<Section, ImageError> {
        let file = File::open(&self.partial)
            .await
            .map_err(|source| self.write_error(source))?;
        let file = Arc::new(file.into_std().await);
        Ok(Section {
            file,
            offset: 0,
            bytes: wanted.size,
        })
    }

    async fn bytes_on_disk(&self) -> u64 {
        tokio::fs::metadata(&self.partial)
            .await
            .map_or(0, |metadata| metadata.len())
    }

    fn report(&self, wanted: &Descriptor, bytes_done: u64) {
        let (layer, bytes_total) = (wanted.digest, wanted.size);
        (self.progress)(PullProgress::Downloading {
            layer,
            bytes_done,
            bytes_total,
        });
    }

    fn give_up(&self, wanted: &Descriptor, tries: u32, source: RegistryError) -> ImageError {
        let (reference, digest) = (self.blame.reference(), wanted.digest);
        ImageError::Download {
            reference,
            digest,
            tries,
            source: Box::new(source),
        }
    }

    fn write_error(&self, source: io::Error) -> ImageError {
        self.blame.write(self.partial.clone(), source)
    }
}

/// Tells whether an answer is the rest from `offset` on.
fn continues_at(answer: &Response, offset: u64) -> bool {
    let range = answer
        .headers()
        .get(CONTENT_RANGE)
        .and_then(|value| value.to_str().ok());
    let start = range
        .and_then(|range| range.strip_prefix("bytes "))
        .and_then(|range| range.split_once('-'))
        .and_then(|(start, _)| start.trim().parse::<u64>().ok());
    answer.status() == StatusCode::PARTIAL_CONTENT && start == Some(offset)
}

fn hash_file(path: &Path, bytes: u64) -> io::Result<Hasher> {
    let mut hasher = Hasher::default();
    if bytes > 0 {
        io::copy(&mut std::fs::File::open(path)?.take(bytes), &mut hasher)?;
    }
    Ok(hasher)
}

/// The error and its causes on one line, for a progress report.
fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
