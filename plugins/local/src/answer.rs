//! One call: taken, done on a thread that may block, logged, answered.
//!
//! Owns what all calls have in common. A call that was begun is finished even when its caller
//! goes away, because what it does to the disk and the mount table must not stop half-way.

use std::sync::Arc;
use std::time::Instant;

use tonic::{Code, Response, Status};

use crate::host::Host;
use crate::refusal::Refusal;

/// Which call, and on what.
#[derive(Debug, Clone)]
pub struct Call {
    rpc: &'static str,
    volume_id: String,
    exclusive: bool,
}

impl Call {
    /// A call that changes a volume: one at a time.
    pub(crate) fn exclusive(rpc: &'static str, volume_id: String) -> Self {
        Self {
            rpc,
            volume_id,
            exclusive: true,
        }
    }

    /// A call that only looks.
    pub fn shared(rpc: &'static str, volume_id: String) -> Self {
        Self {
            rpc,
            volume_id,
            exclusive: false,
        }
    }
}

/// Does the work of a call and answers it.
///
/// # Errors
/// What the work refuses; ABORTED when another call is at work on the volume.
pub async fn answer<T, W>(host: &Arc<Host>, call: Call, work: W) -> Result<Response<T>, Status>
where
    T: Send + 'static,
    W: FnOnce(&Host) -> Result<T, Refusal> + Send + 'static,
{
    let start = Instant::now();
    let outcome = run(host, &call, work).await;
    let ms = format_args!("{:.1}", start.elapsed().as_secs_f64() * 1000.0).to_string();
    let (rpc, volume_id) = (call.rpc, call.volume_id);
    match &outcome {
        Ok(_) => tracing::info!(rpc, volume_id, outcome = "ok", ms = %ms, "answered"),
        Err(Refusal { code, text }) => {
            tracing::warn!(rpc, volume_id, outcome = ?code, cause = text, ms = %ms, "refused");
        }
    }
    outcome.map(Response::new).map_err(Status::from)
}

async fn run<T, W>(host: &Arc<Host>, call: &Call, work: W) -> Result<T, Refusal>
where
    T: Send + 'static,
    W: FnOnce(&Host) -> Result<T, Refusal> + Send + 'static,
{
    // A call without an id is refused by its work.
    let held = match call.exclusive && !call.volume_id.is_empty() {
        true => Some(
            host.locks
                .take(&call.volume_id)
                .ok_or_else(|| Refusal::busy(&call.volume_id))?,
        ),
        false => None,
    };
    let host = Arc::clone(host);
    let done = sutler_host::blocking::blocking(move || {
        let _held = held;
        work(&host)
    });
    done.await.unwrap_or_else(|none| {
        Err(Refusal {
            code: Code::Internal,
            text: format!("the call broke: {none}"),
        })
    })
}
