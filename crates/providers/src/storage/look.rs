//! Looks at a volume's mount, beside the calls: the kernel is asked, not the plugin.
//!
//! A file system whose server is away may hold the thread that looks at it for ever. So a look
//! waits a bounded time, one place is looked at once at a time, and all looks together hold a
//! bounded number of threads. A look without an answer says just that.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sutler_ids::{ErrorKind, Problem, SaidBy, VolumeId};
use sutler_volume_core::{CallId, Mount, Seen};
use tokio::sync::Semaphore;

use super::Input;
use super::machine_state::VolumePaths;
use super::shell::Shell;

/// Longest wait for a file system's word that it is there: whoever acquires the volume waits too,
/// and is told why from then on.
pub const LOOK_WITHIN: Duration = Duration::from_secs(10);

/// Most looks at once. A look takes microseconds, unless its file system hangs; some that do must
/// not use up the threads that all blocking work shares (tokio has 512).
const LOOKS_MAX: usize = 16;

/// Everything that is being looked at.
#[derive(Debug, Clone)]
pub(crate) struct Looks {
    within: Duration,
    permits: Arc<Semaphore>,
    places: Arc<Mutex<HashSet<PathBuf>>>,
}

impl Looks {
    pub(crate) fn new(within: Duration) -> Self {
        Self {
            within,
            permits: Arc::new(Semaphore::new(LOOKS_MAX)),
            places: Arc::default(),
        }
    }

    /// Has a thread look at a place and waits for what it says.
    async fn at(
        &self,
        path: PathBuf,
        look: impl FnOnce() -> io::Result<bool> + Send + 'static,
    ) -> Seen {
        let Some(place) = Place::take(&self.places, &path) else {
            return not_known(&path, "an earlier look at it has not come back".to_owned());
        };
        let permits = Arc::clone(&self.permits);
        let looking = async move {
            let permit = permits.acquire_owned().await;
            // Both are held until the thread is free again, however long nobody waits for it.
            tokio::task::spawn_blocking(move || {
                let _held = (permit, place);
                look()
            })
            .await
        };
        match tokio::time::timeout(self.within, looking).await {
            Ok(Ok(Ok(true))) => Seen::Stands,
            Ok(Ok(Ok(false))) => Seen::Gone,
            Ok(Ok(Err(error))) => not_known(&path, error.to_string()),
            Ok(Err(broken)) => not_known(&path, broken.to_string()),
            Err(_elapsed) => not_known(
                &path,
                format!("its file system has not answered within {:?}", self.within),
            ),
        }
    }
}

/// A place that is being looked at, while the look lasts.
struct Place {
    places: Arc<Mutex<HashSet<PathBuf>>>,
    path: PathBuf,
}

impl Place {
    fn take(places: &Arc<Mutex<HashSet<PathBuf>>>, path: &Path) -> Option<Self> {
        // A set of paths is whole after every line, so a panic elsewhere has not torn it.
        let mut set = places.lock().unwrap_or_else(PoisonError::into_inner);
        set.insert(path.to_owned()).then(|| Self {
            places: Arc::clone(places),
            path: path.to_owned(),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut set = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        set.remove(&self.path);
    }
}

fn not_known(path: &Path, raw: String) -> Seen {
    let what = format!("whether {} is still mounted is not known", path.display());
    let problem = Problem::new(ErrorKind::Unavailable, what)
        .said_by(SaidBy::Kernel)
        .raw(raw);
    Seen::NotKnown(problem)
}

impl Shell {
    /// Looks whether a mount still stands; the answer is an input.
    pub(crate) fn look(&mut self, volume_id: VolumeId, call_id: CallId, mount: Mount) {
        let Some(inputs) = self.inputs.upgrade() else {
            return;
        };
        let volume = self.volumes.get(&volume_id);
        let access = volume
            .map(|volume| volume.record().spec.access)
            .unwrap_or_default();
        let paths = VolumePaths::new(&self.config.volumes_dir, volume_id);
        let looks = self.looks.clone();
        self.calls.spawn(async move {
            let path = paths.of(mount);
            let seen = looks.at(path, move || paths.stands(mount, access)).await;
            match &seen {
                Seen::Stands => {}
                Seen::Gone => {
                    tracing::warn!(%volume_id, ?mount, "a mount is gone without our doing");
                }
                Seen::NotKnown(problem) => {
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

    /// Long enough for a look that does not hang, short enough to wait for one that does.
    const SOON: Duration = Duration::from_millis(200);

    #[tokio::test]
    async fn a_place_that_hangs_is_looked_at_once_and_tells_nothing() {
        let looks = Looks::new(SOON);
        let (release, hung) = mpsc::channel::<()>();
        let path = PathBuf::from("/v/target");
        let first = looks.at(path.clone(), move || {
            let _ = hung.recv();
            Ok(true)
        });
        assert!(matches!(first.await, Seen::NotKnown(_)), "no evidence");
        let second = looks.at(path.clone(), || panic!("a second thread was taken"));
        assert!(matches!(second.await, Seen::NotKnown(_)));
        drop(release);
        // The thread comes back, and the place with it.
        while !looks.places.lock().expect("whole").is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(looks.at(path, || Ok(false)).await, Seen::Gone);
    }

    #[tokio::test]
    async fn looks_that_hang_hold_a_bounded_number_of_threads() {
        let looks = Looks::new(SOON);
        let (release, hung) = mpsc::channel::<()>();
        let hung = Arc::new(Mutex::new(hung));
        for n in 0..LOOKS_MAX {
            let hung = Arc::clone(&hung);
            let look = looks.at(PathBuf::from(format!("/v/{n}")), move || {
                let _ = hung.lock().map(|hung| hung.recv());
                Ok(true)
            });
            assert!(matches!(look.await, Seen::NotKnown(_)));
        }
        let one_more = looks.at("/v/more".into(), || panic!("one thread too many"));
        assert!(matches!(one_more.await, Seen::NotKnown(_)));
        assert_eq!(looks.permits.available_permits(), 0);
        drop(release);
        let _all = looks.permits.acquire_many(LOOKS_MAX as u32).await;
        assert_eq!(looks.at("/v/more".into(), || Ok(true)).await, Seen::Stands);
    }
}
