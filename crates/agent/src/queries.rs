//! Questions of the master on behalf of users: logs and stories, streamed back as bytes.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use sutler_api::agent::AgentQuery;
use sutler_api::task::{LogQuery, LogStream};
use sutler_ids::RequestId;
use sutler_providers::storage::StorageHandle;
use sutler_runtime::{self as runtime, ContainerId, LogStart};
use tokio::task::JoinSet;

use crate::ground::Ground;
use crate::host::{Host, plugin_container, task_container};

/// Answers under way at once: each followed log holds an inotify watch, of which a user has 128
/// by default.
const ANSWERS_MAX: usize = 64;

/// Longest line that is kept whole when two streams are merged.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Answers under way.
#[derive(Default)]
pub(crate) struct Queries {
    answers: JoinSet<()>,
}

impl Queries {
    /// Answers one question, beside whatever else is done.
    pub(crate) fn answer(
        &mut self,
        ground: &Arc<Ground>,
        storage: &StorageHandle,
        request_id: RequestId,
        query: AgentQuery,
    ) {
        if self.answers.len() >= ANSWERS_MAX {
            tracing::warn!(%request_id, "too many answers under way; a question is not answered");
            return;
        }
        let (ground, storage) = (Arc::clone(ground), storage.clone());
        self.answers.spawn(async move {
            let body = body(&ground.host, &storage, query).await;
            if let Err(error) = ground.master.answer(request_id, body).await {
                // The user may have gone away in the middle of a log.
                tracing::debug!(%request_id, %error, "an answer was not taken");
            }
        });
    }

    /// Lets finished answers go.
    pub(crate) fn reap(&mut self) {
        while self.answers.try_join_next().is_some() {}
    }

    /// Cuts all answers off.
    pub(crate) fn abort(&mut self) {
        self.answers.abort_all();
    }
}

type Body = BoxStream<'static, Result<Bytes, String>>;

async fn body(host: &Host, storage: &StorageHandle, query: AgentQuery) -> Body {
    match query {
        AgentQuery::TaskLogs { task_id, log } => logs(host, &task_container(&task_id), &log).await,
        AgentQuery::PluginLogs { plugin, log } => {
            logs(host, &plugin_container(&plugin), &log).await
        }
        AgentQuery::Why { volume_id } => match storage.why(volume_id).await {
            Some(why) => match serde_json::to_vec(&why) {
                Ok(json) => stream::iter([Ok(Bytes::from(json))]).boxed(),
                Err(error) => stream::iter([Err(error.to_string())]).boxed(),
            },
            None => stream::empty().boxed(),
        },
    }
}

async fn logs(host: &Host, id: &ContainerId, query: &LogQuery) -> Body {
    match query.stream {
        LogStream::Stdout => one_log(host, id, runtime::LogStream::Stdout, query).await,
        LogStream::Stderr => one_log(host, id, runtime::LogStream::Stderr, query).await,
        LogStream::Both => {
            let out = one_log(host, id, runtime::LogStream::Stdout, query).await;
            let err = one_log(host, id, runtime::LogStream::Stderr, query).await;
            stream::select(whole_lines(out), whole_lines(err)).boxed()
        }
    }
}

async fn one_log(
    host: &Host,
    id: &ContainerId,
    stream: runtime::LogStream,
    query: &LogQuery,
) -> Body {
    let start = query.tail.map_or(LogStart::Oldest, LogStart::TailLines);
    let asked = runtime::LogQuery {
        stream,
        start,
        follow: query.follow,
    };
    match host.containers.read_logs(id, asked).await {
        Ok(chunks) => chunks
            .map(|chunk| {
                chunk
                    .map(|c| c.bytes)
                    .map_err(|e| sutler_telemetry::chain(&e))
            })
            .boxed(),
        Err(error) => {
            tracing::debug!(container_id = %id, %error, "no log");
            stream::empty().boxed()
        }
    }
}

/// Cuts a stream at line ends, so that two of them merge without tearing lines.
fn whole_lines(body: Body) -> impl Stream<Item = Result<Bytes, String>> + Send {
    let state = (Some(body), BytesMut::new(), VecDeque::new());
    stream::unfold(state, async |(mut body, mut rest, mut ready)| {
        loop {
            if let Some(piece) = ready.pop_front() {
                return Some((piece, (body, rest, ready)));
            }
            let Some(open) = &mut body else { return None };
            match open.next().await {
                Some(Ok(bytes)) => {
                    rest.extend_from_slice(&bytes);
                    let cut = rest
                        .iter()
                        .rposition(|byte| *byte == b'\n')
                        .map(|at| at + 1);
                    let cut = cut.or((rest.len() > LINE_BYTES_MAX).then_some(rest.len()));
                    ready.extend(cut.map(|cut| Ok(rest.split_to(cut).freeze())));
                }
                Some(Err(error)) => ready.push_back(Err(error)),
                None => {
                    body = None;
                    if !rest.is_empty() {
                        ready.push_back(Ok(rest.split().freeze()));
                    }
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_never_torn() {
        let pieces = ["a", "b\nc", "d\ne", ""].map(|text| Ok(Bytes::from(text)));
        let whole: Vec<_> = whole_lines(stream::iter(pieces).boxed()).collect().await;
        let whole: Vec<Bytes> = whole
            .into_iter()
            .map(|piece| piece.expect("no error"))
            .collect();
        assert_eq!(whole, [&b"ab\n"[..], b"cd\n", b"e"]);
    }
}
