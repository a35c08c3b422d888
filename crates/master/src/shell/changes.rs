//! What changed in the books: a number to wait on, and a stream for those who look.

use std::collections::BTreeSet;

use serde::Serialize;
use sutler_cluster_core::{Books, Subject};
use tokio::sync::{broadcast, watch};

/// Changes that a slow reader may lag behind before it is told that it missed some.
const LAG_MAX: usize = 1024;

/// One change, ready to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub name: &'static str,
    pub data: String,
}

/// The number of the latest change, and the stream.
#[derive(Clone)]
pub(crate) struct Changes {
    version: watch::Sender<u64>,
    stream: broadcast::Sender<Told>,
}

/// An object that is no longer there.
#[derive(Serialize)]
struct Gone {
    id: String,
    gone: bool,
}

impl Changes {
    pub(super) fn new() -> Self {
        Self {
            version: watch::Sender::new(0),
            stream: broadcast::Sender::new(LAG_MAX),
        }
    }

    /// Gives something to wait on; a change after this call is never missed.
    pub(crate) fn version(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Gives the changes from now on.
    pub(crate) fn stream(&self) -> broadcast::Receiver<Told> {
        self.stream.subscribe()
    }

    /// Wakes everyone who waits.
    pub(super) fn touch(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    pub(super) fn tell(&self, changed: &BTreeSet<Subject>, books: &Books) {
        if changed.is_empty() {
            return;
        }
        self.touch();
        if self.stream.receiver_count() == 0 {
            return;
        }
        for subject in changed {
            // Nobody listening any more is no fault.
            let _ = self.stream.send(told(subject, books));
        }
    }
}

fn told(subject: &Subject, books: &Books) -> Told {
    let (name, id, data) = match subject {
        Subject::Agent(id) => ("agent", id.to_string(), json(books.agent(*id))),
        Subject::Plugin(name) => ("plugin", name.to_string(), json(books.plugin(name).ok())),
        Subject::Volume(id) => {
            let volume = books.durable().volumes.get(id);
            (
                "volume",
                id.to_string(),
                json(volume.map(|volume| books.volume_view(volume))),
            )
        }
        Subject::Operation(uuid) => (
            "operation",
            uuid.to_string(),
            json(books.operation(*uuid).ok()),
        ),
        Subject::Task(id) => ("task", id.to_string(), json(books.task(id).ok())),
    };
    let gone = || json(Some(Gone { id, gone: true })).unwrap_or_default();
    Told {
        name,
        data: data.unwrap_or_else(gone),
    }
}

fn json(value: Option<impl Serialize>) -> Option<String> {
    value.map(|value| serde_json::to_string(&value).expect("views are plain JSON"))
}
