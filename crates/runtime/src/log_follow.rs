//! Reading a log as a stream, waiting for more where asked.
//!
//! One inotify watch on the container's folder tells of new bytes, rotations and the exit
//! record alike; a shim that was killed is seen through its pidfd. Nothing is polled by time.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use futures::stream::try_unfold;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;

use super::blocking::blocking;
use super::error::LogError;
use super::folder::Folder;
use super::log_read::LogCursor;
use super::observe::{Observed, observe};
use super::status::{LogQuery, LogStart};
use super::watched::watch_readable;

/// Some bytes of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogChunk {
    /// Position of the first byte, counted from the container's start; a jump tells that older
    /// bytes were rotated away.
    pub offset: u64,
    /// The bytes, never empty.
    pub bytes: Bytes,
}

/// Events are only counted, never looked at; what they tell is read from the files.
const EVENT_BYTES: usize = 4096;

/// Opens a stream over a log.
///
/// # Errors
/// If the log cannot be read or its folder not watched.
pub async fn follow(
    folder: Folder,
    query: LogQuery,
) -> Result<impl Stream<Item = Result<LogChunk, LogError>> + Send + 'static, LogError> {
    let watch = if query.follow {
        Some(watch(folder.path())?)
    } else {
        None
    };
    let opened = folder.clone();
    let cursor = blocking(move || open_cursor(&opened, query)).await?;
    let follower = Follower {
        folder,
        cursor,
        watch,
        shim: None,
    };
    Ok(try_unfold(follower, Follower::next))
}

fn open_cursor(folder: &Folder, query: LogQuery) -> Result<LogCursor, LogError> {
    let position = match query.start {
        LogStart::Oldest => 0,
        LogStart::Offset(offset) => offset,
        LogStart::TailLines(lines) => {
            return LogCursor::at_last_lines(folder.path(), query.stream, lines).map_err(
                |source| LogError::Read {
                    path: folder.file(query.stream.file_name()),
                    source,
                },
            );
        }
    };
    Ok(LogCursor::new(folder.path(), query.stream, position))
}

fn watch(dir: &Path) -> Result<AsyncFd<OwnedFd>, LogError> {
    let error = |source: io::Error| LogError::Watch {
        path: dir.to_owned(),
        source,
    };
    let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)
        .map_err(|errno| error(errno.into()))?;
    // CLOSE_WRITE also comes when a start lock is let go of.
    let events = WatchFlags::MODIFY
        | WatchFlags::CREATE
        | WatchFlags::CLOSE_WRITE
        | WatchFlags::MOVED_TO
        | WatchFlags::DELETE_SELF;
    inotify::add_watch(&fd, dir, events).map_err(|errno| error(errno.into()))?;
    watch_readable(fd).map_err(error)
}

struct Follower {
    folder: Folder,
    cursor: LogCursor,
    /// Present while more is waited for.
    watch: Option<AsyncFd<OwnedFd>>,
    /// Pidfd of the shim once it is known.
    shim: Option<Arc<AsyncFd<OwnedFd>>>,
}

impl Follower {
    async fn next(mut self) -> Result<Option<(LogChunk, Self)>, LogError> {
        loop {
            // Before the read: what is written before the end is read after it was seen.
            let last = !self.may_grow().await?;
            let mut cursor = self.cursor.clone();
            let (read, cursor) = blocking(move || (cursor.read(), cursor)).await;
            self.cursor = cursor;
            match read {
                Ok(Some((offset, bytes))) => {
                    let chunk = LogChunk {
                        offset,
                        bytes: Bytes::from(bytes),
                    };
                    return Ok(Some((chunk, self)));
                }
                Ok(None) if last => return Ok(None),
                Ok(None) => self.wait_for_change().await?,
                // The container was removed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(source) => {
                    return Err(LogError::Read {
                        path: self.cursor.path(),
                        source,
                    });
                }
            }
        }
    }

    /// Whether more may come: asked for, and the container has not ended.
    async fn may_grow(&mut self) -> Result<bool, LogError> {
        if self.watch.is_none() {
            return Ok(false);
        }
        let folder = self.folder.clone();
        match blocking(move || observe(&folder)).await {
            Ok(Observed::Starting) => Ok(true),
            Ok(Observed::Running { shim, .. }) => {
                if self.shim.is_none() {
                    let watched = watch_readable(shim);
                    self.shim = Some(Arc::new(watched.map_err(|e| self.watch_error(e))?));
                }
                Ok(true)
            }
            Ok(
                Observed::Missing
                | Observed::NeverStarted(_)
                | Observed::Exited(_)
                | Observed::Lost(_),
            ) => Ok(false),
            Err(error) => Err(self.watch_error(io::Error::other(error))),
        }
    }

    async fn wait_for_change(&self) -> Result<(), LogError> {
        let Some(watch) = &self.watch else {
            return Ok(());
        };
        let shim_ended = async {
            match &self.shim {
                Some(shim) => shim.readable().await.map(|_| ()),
                None => std::future::pending().await,
            }
        };
        // Both arms only wait for readiness and consume nothing, so either may be dropped.
        let changed = tokio::select! {
            changed = drained(watch) => changed,
            ended = shim_ended => ended,
        };
        changed.map_err(|e| self.watch_error(e))
    }

    fn watch_error(&self, source: io::Error) -> LogError {
        LogError::Watch {
            path: self.folder.path().to_owned(),
            source,
        }
    }
}

/// Waits for events and throws them away.
async fn drained(watch: &AsyncFd<OwnedFd>) -> io::Result<()> {
    loop {
        let mut ready = watch.readable().await?;
        let read = ready.try_io(|fd| {
            let mut buffer = [MaybeUninit::uninit(); EVENT_BYTES];
            rustix::io::read(fd.as_fd(), &mut buffer).map_err(io::Error::from)?;
            Ok(())
        });
        match read {
            Ok(result) => return result,
            // A false alarm: readiness is cleared, wait again.
            Err(_would_block) => {}
        }
    }
}
