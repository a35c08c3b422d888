//! What changed in the books: numbers to wait on, and a stream for those who look.
//!
//! Whoever waits for one object is woken by changes of that one alone: a change costs by who
//! waits for it, not by who waits.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

/// Numbers of the latest changes, of each object that somebody waits for and of all, and the
/// stream.
#[derive(Clone)]
pub(crate) struct Changes {
    any: watch::Sender<u64>,
    watched: Arc<Mutex<Watched>>,
    stream: broadcast::Sender<Told>,
}

/// One entry for each object that somebody waits for.
type Watched = HashMap<Subject, watch::Sender<u64>>;

/// A wait for changes; none that comes after it was made is missed.
pub(crate) struct Watch {
    /// There until it is dropped.
    version: Option<watch::Receiver<u64>>,
    /// What is watched, if not everything.
    of: Option<(Subject, Arc<Mutex<Watched>>)>,
}

impl Watch {
    /// Takes what came until now as seen.
    pub(crate) fn seen(&mut self) {
        if let Some(version) = &mut self.version {
            version.borrow_and_update();
        }
    }

    /// Waits for the next change; `false` if there will be none.
    ///
    /// # Cancel safety
    /// Safe: a change that was not waited for to its end is found by the next wait.
    pub(crate) async fn changed(&mut self) -> bool {
        match &mut self.version {
            Some(version) => version.changed().await.is_ok(),
            None => false,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let Some((subject, watched)) = &self.of else {
            return;
        };
        let mut watched = locked(watched);
        // Under the lock, so that the last of several sees that it is the last.
        drop(self.version.take());
        let unwatched = |version: &watch::Sender<u64>| version.receiver_count() == 0;
        if watched.get(subject).is_some_and(unwatched) {
            watched.remove(subject);
        }
    }
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
            any: watch::Sender::new(0),
            watched: Arc::default(),
            stream: broadcast::Sender::new(LAG_MAX),
        }
    }

    /// Gives something to wait on: changes of one object, or of any.
    pub(crate) fn watch(&self, subject: Option<Subject>) -> Watch {
        let Some(subject) = subject else {
            return Watch {
                version: Some(self.any.subscribe()),
                of: None,
            };
        };
        let version = locked(&self.watched)
            .entry(subject.clone())
            .or_insert_with(|| watch::Sender::new(0))
            .subscribe();
        Watch {
            version: Some(version),
            of: Some((subject, Arc::clone(&self.watched))),
        }
    }

    /// Gives the changes from now on.
    pub(crate) fn stream(&self) -> broadcast::Receiver<Told> {
        self.stream.subscribe()
    }

    /// Wakes everyone who waits.
    pub(super) fn touch(&self) {
        bump(&self.any);
        locked(&self.watched).values().for_each(bump);
    }

    pub(super) fn tell(&self, changed: &BTreeSet<Subject>, books: &Books) {
        if changed.is_empty() {
            return;
        }
        bump(&self.any);
        let watched = locked(&self.watched);
        changed
            .iter()
            .filter_map(|subject| watched.get(subject))
            .for_each(bump);
        drop(watched);
        if self.stream.receiver_count() == 0 {
            return;
        }
        for subject in changed {
            // Nobody listening any more is no fault.
            let _ = self.stream.send(told(subject, books));
        }
    }
}

fn bump(version: &watch::Sender<u64>) {
    version.send_modify(|version| *version += 1);
}

/// Nothing is left half done under the lock, so a panic elsewhere does not spoil it.
fn locked(watched: &Mutex<Watched>) -> MutexGuard<'_, Watched> {
    watched.lock().unwrap_or_else(PoisonError::into_inner)
}

fn told(subject: &Subject, books: &Books) -> Told {
    let (name, id, data) = match subject {
        Subject::Agent(id) => ("agent", id.to_string(), json(books.agent(*id))),
        Subject::Plugin(name) => ("plugin", name.to_string(), json(books.plugin(name).ok())),
        Subject::Volume(id) => ("volume", id.to_string(), json(books.volume_of(*id))),
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

#[cfg(test)]
mod tests {
    use sutler_ids::{PluginName, TaskId};

    use super::*;

    fn task() -> Subject {
        Subject::Task(TaskId::new("t").expect("a name"))
    }

    fn plugin() -> Subject {
        Subject::Plugin(PluginName::new("p").expect("a name"))
    }

    fn news(watch: &Watch) -> bool {
        let version = watch.version.as_ref().expect("it was not dropped");
        version.has_changed().expect("the sender lives")
    }

    #[test]
    fn a_change_wakes_who_waits_for_it_and_who_waits_for_any() {
        let changes = Changes::new();
        let (one, other) = (changes.watch(Some(task())), changes.watch(Some(plugin())));
        let any = changes.watch(None);
        let (books, _) = Books::new(
            uuid::Uuid::nil(),
            sutler_cluster_core::Config::default(),
            sutler_host::clock::now(),
        );
        changes.tell(&BTreeSet::from([task()]), &books);
        assert!(news(&one) && news(&any) && !news(&other));
        changes.touch();
        assert!(news(&other));
    }

    #[test]
    fn an_object_that_nobody_waits_for_any_more_is_let_go() {
        let changes = Changes::new();
        let (one, two) = (changes.watch(Some(task())), changes.watch(Some(task())));
        drop(one);
        assert_eq!(locked(&changes.watched).len(), 1);
        changes.touch();
        assert!(news(&two));
        drop(two);
        assert_eq!(locked(&changes.watched).len(), 0);
    }

    #[test]
    fn of_several_that_leave_at_once_the_last_leaves_nothing() {
        let changes = Changes::new();
        for _ in 0..200 {
            let watches: Vec<Watch> = (0..4).map(|_| changes.watch(Some(task()))).collect();
            let threads = watches.into_iter();
            let threads: Vec<_> = threads
                .map(|watch| std::thread::spawn(move || drop(watch)))
                .collect();
            for thread in threads {
                thread.join().expect("it only drops");
            }
            assert_eq!(locked(&changes.watched).len(), 0);
        }
    }
}
