//! Looks at a volume's mount, beside the calls: the kernel is asked, not the plugin.
//!
//! A file system whose server is away may hold the thread that looks at it for ever. So a look
//! waits a bounded time, one place is looked at once at a time, and all looks together hold a
//! bounded number of threads. A look without an answer says just that.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sutler_host::blocking::blocking;
use sutler_ids::{PluginName, VolumeId};
use sutler_volume_core::{CallId, Event, Mount, Phase, Seen, Settled};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::Input;
use super::host_state::{VolumePaths, not_known};
use super::shell::Shell;

/// Longest wait for a file system's word that it is there: whoever acquires the volume waits too,
/// and is told why from then on.
pub const LOOK_WITHIN: Duration = Duration::from_secs(10);

/// Most looks at once at volumes of one plugin. A look takes microseconds, unless its file system
/// hangs; some that do must not use up the threads that all blocking work shares (tokio has 512),
/// and those of one plugin not keep anybody from the volumes of another.
const LOOKS_MAX: usize = 8;

/// Everything that is being looked at.
#[derive(Debug)]
pub(crate) struct Looks {
    within: Duration,
    permits: HashMap<PluginName, Arc<Semaphore>>,
    places: Arc<Places>,
}

impl Looks {
    pub(crate) fn new(within: Duration) -> Self {
        Self {
            within,
            permits: HashMap::new(),
            places: Arc::default(),
        }
    }

    /// Looks at volumes of one plugin. A plugin keeps its permits for ever: the threads of its
    /// looks may outlive it.
    fn of(&mut self, plugin: &PluginName) -> PluginLooks {
        let permits = self.permits.entry(plugin.clone());
        let permits = permits.or_insert_with(|| Arc::new(Semaphore::new(LOOKS_MAX)));
        PluginLooks {
            within: self.within,
            permits: Arc::clone(permits),
            places: Arc::clone(&self.places),
        }
    }
}

/// What is being looked at of one plugin.
#[derive(Debug)]
struct PluginLooks {
    within: Duration,
    permits: Arc<Semaphore>,
    places: Arc<Places>,
}

impl PluginLooks {
    /// Has a thread look at a place and waits for what it says.
    async fn at(&self, path: PathBuf, look: impl FnOnce() -> Seen + Send + 'static) -> Seen {
        let until = Instant::now() + self.within;
        // Whoever comes during a look needs one that begins later, and most end at once.
        let Ok(place) = timeout_at(until, Place::take(&self.places, &path)).await else {
            return not_known(&path, "an earlier look at it has not come back".to_owned());
        };
        let Ok(permit) = timeout_at(until, Arc::clone(&self.permits).acquire_owned()).await else {
            let raw =
                format!("{LOOKS_MAX} looks at other volumes of its plugin have not come back");
            return not_known(&path, raw);
        };
        // Both are held until the thread is free again, however long nobody waits for it.
        let looking = blocking(move || {
            let _held = (permit, place);
            look()
        });
        match timeout_at(until, looking).await {
            Ok(Ok(seen)) => seen,
            Ok(Err(none)) => not_known(&path, none.to_string()),
            Err(_elapsed) => not_known(
                &path,
                format!("its file system has not answered within {:?}", self.within),
            ),
        }
    }
}

/// The places that are being looked at.
#[derive(Debug, Default)]
struct Places {
    taken: Mutex<HashSet<PathBuf>>,
    freed: Notify,
}

impl Places {
    fn taken(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        // A set of paths is whole after every line, so a panic elsewhere has not torn it.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place that is being looked at, while the look lasts.
struct Place {
    places: Arc<Places>,
    path: PathBuf,
}

impl Place {
    /// Waits until nobody looks at a place.
    async fn take(places: &Arc<Places>, path: &Path) -> Self {
        loop {
            // Made before the set is asked, so that no end of a look is missed.
            let freed = places.freed.notified();
            if places.taken().insert(path.to_owned()) {
                return Self {
                    places: Arc::clone(places),
                    path: path.to_owned(),
                };
            }
            freed.await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken().remove(&self.path);
        self.places.freed.notify_waiters();
    }
}

impl Shell {
    /// Has every mount that is in use looked at: it may have died with whatever serves it.
    pub(crate) fn watch_mounts(&mut self) {
        let in_use = self.volumes.iter().filter(|(_, volume)| {
            matches!(
                &volume.record().phase,
                Phase::Settled(Settled::Published(..))
            )
        });
        for volume_id in in_use.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.send(volume_id, Event::Watch);
        }
    }

    /// Looks whether a mount still stands; the answer is an input.
    pub(crate) fn look(&mut self, volume_id: VolumeId, call_id: CallId, mount: Mount) {
        let Some(inputs) = self.inputs.upgrade() else {
            return;
        };
        let Some(volume) = self.volumes.get(&volume_id) else {
            return;
        };
        let spec = &volume.record().spec;
        let access = spec.access;
        let paths = VolumePaths::new(&self.config.volumes_dir, &spec.plugin, volume_id);
        let looks = self.looks.of(&spec.plugin);
        self.calls.spawn(async move {
            let path = paths.of(mount);
            let seen = looks.at(path, move || paths.look(mount, access)).await;
            match &seen {
                Seen::Stands => {}
                Seen::Gone(problem) | Seen::NotKnown(problem) => {
                    tracing::warn!(%volume_id, ?mount, cause = ?problem.raw, "{}", problem.what);
                }
            }
            let _ = inputs.send(Input::Looked(volume_id, call_id, seen));
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn looks(within: Duration) -> PluginLooks {
        Looks::new(within).of(&"p".parse().unwrap())
    }

    /// Long enough for a look that does not hang, short enough to wait for one that does.
    const SOON: Duration = Duration::from_millis(200);

    #[tokio::test]
    async fn a_place_that_hangs_is_looked_at_once_and_tells_nothing() {
        let looks = looks(SOON);
        let (release, hung) = mpsc::channel::<()>();
        let path = PathBuf::from("/v/target");
        let first = looks.at(path.clone(), move || {
            let _ = hung.recv();
            Seen::Stands
        });
        assert!(matches!(first.await, Seen::NotKnown(_)), "no evidence");
        let second = looks.at(path.clone(), || panic!("a second thread was taken"));
        assert!(matches!(second.await, Seen::NotKnown(_)));
        drop(release);
        // The thread comes back, and the place with it.
        drop(Place::take(&looks.places, &path).await);
        assert_eq!(looks.at(path, || Seen::Stands).await, Seen::Stands);
    }

    #[tokio::test]
    async fn a_look_waits_for_an_earlier_one_at_its_place_and_sees_for_itself() {
        // Only a hung test reaches it.
        let looks = looks(Duration::from_secs(60));
        let (release, held) = mpsc::channel::<()>();
        let path = PathBuf::from("/v/target");
        let first = looks.at(path.clone(), move || {
            let _ = held.recv();
            Seen::Stands
        });
        let own = not_known(&path, "its own".to_owned());
        let seen = own.clone();
        let second = looks.at(path, || seen);
        let end_first = async {
            while looks.places.taken().is_empty() {
                tokio::task::yield_now().await;
            }
            drop(release);
        };
        let (first, second, ()) = tokio::join!(first, second, end_first);
        assert_eq!((first, second), (Seen::Stands, own));
    }

    #[tokio::test]
    async fn looks_that_hang_hold_a_bounded_number_of_threads_of_their_plugin_alone() {
        let mut all = Looks::new(SOON);
        let looks = all.of(&"p".parse().unwrap());
        let (release, hung) = mpsc::channel::<()>();
        let hung = Arc::new(Mutex::new(hung));
        for n in 0..LOOKS_MAX {
            let hung = Arc::clone(&hung);
            let look = looks.at(PathBuf::from(format!("/v/{n}")), move || {
                let _ = hung.lock().map(|hung| hung.recv());
                Seen::Stands
            });
            assert!(matches!(look.await, Seen::NotKnown(_)));
        }
        let one_more = looks.at("/v/more".into(), || panic!("one thread too many"));
        assert!(matches!(one_more.await, Seen::NotKnown(_)));
        let other = all.of(&"other".parse().unwrap());
        assert_eq!(other.at("/v/x".into(), || Seen::Stands).await, Seen::Stands);
        assert_eq!(looks.permits.available_permits(), 0);
        drop(release);
        drop(looks.permits.acquire_many(LOOKS_MAX as u32).await);
        assert_eq!(
            looks.at("/v/more".into(), || Seen::Stands).await,
            Seen::Stands
        );
    }
}
