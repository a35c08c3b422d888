//! The master's stream, line by line.

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::BoxStream;
use sutler_api::agent::ToAgent;

/// Longest line: the whole wanted state of a node with thousands of tasks is some megabytes.
const LINE_BYTES_MAX: usize = 64 << 20;

/// Reads one JSON object a line.
pub(super) struct Lines {
    stream: BoxStream<'static, Result<Bytes, String>>,
    buffer: BytesMut,
    /// Bytes of `buffer` that were searched for a line end already.
    searched: usize,
}

impl Lines {
    pub(super) fn new(stream: BoxStream<'static, Result<Bytes, String>>) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
            searched: 0,
        }
    }

    /// Gives the next message; `None` at the end of the stream.
    ///
    /// # Cancel safety
    /// What was read is kept for the next call.
    pub(super) async fn next(&mut self) -> Option<Result<ToAgent, String>> {
        loop {
            if let Some(end) = self.buffer[self.searched..]
                .iter()
                .position(|b| *b == b'\n')
            {
                let line = self.buffer.split_to(self.searched + end + 1);
                self.searched = 0;
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return Some(serde_json::from_slice(&line).map_err(|error| error.to_string()));
            }
            self.searched = self.buffer.len();
            if self.searched > LINE_BYTES_MAX {
                return Some(Err(format!("a line is longer than {LINE_BYTES_MAX} bytes")));
            }
            match self.stream.next().await? {
                Ok(bytes) => self.buffer.extend_from_slice(&bytes),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_are_read_however_they_are_cut() {
        let text = "{\"type\":\"heartbeat\"}\n\n{\"type\":\"heartbeat\"}\n{\"type\":\"odd\"}\n{";
        for size in 1..text.len() {
            let cut: Vec<_> = text
                .as_bytes()
                .chunks(size)
                .map(|c| Ok(Bytes::copy_from_slice(c)))
                .collect();
            let mut lines = Lines::new(futures::stream::iter(cut).boxed());
            assert_eq!(lines.next().await, Some(Ok(ToAgent::Heartbeat)));
            assert_eq!(lines.next().await, Some(Ok(ToAgent::Heartbeat)));
            assert!(
                lines
                    .next()
                    .await
                    .is_some_and(|m| m.is_err_and(|e| e.contains("odd")))
            );
            assert_eq!(lines.next().await, None);
        }
    }
}
