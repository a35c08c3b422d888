//! One call at a time on one volume.
//!
//! Owns the set of volumes that a call is at work on. Never waits: a second call is turned
//! away, as CSI asks (ABORTED), and the caller decides when to repeat it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The volumes in work.
#[derive(Debug, Clone, Default)]
pub struct Locks(Arc<Mutex<HashSet<String>>>);

/// Holds a volume until dropped.
#[derive(Debug)]
pub struct Held {
    locks: Locks,
    volume_id: String,
}

impl Locks {
    /// Takes the volume, or gives nothing when another call has it.
    pub fn take(&self, volume_id: &str) -> Option<Held> {
        let taken = self.set().insert(volume_id.to_owned());
        taken.then(|| Held {
            locks: self.clone(),
            volume_id: volume_id.to_owned(),
        })
    }

    /// A panic elsewhere cannot leave a set of strings half-changed.
    fn set(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.locks.set().remove(&self.volume_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_held_once_and_free_after_its_call_even_after_a_panic() {
        let locks = Locks::default();
        let held = locks.take("a").expect("free");
        assert!(locks.take("a").is_none());
        assert!(locks.take("b").is_some(), "another volume is not concerned");
        drop(held);
        let inside = locks.clone();
        let _ = std::thread::spawn(move || {
            let _held = inside.take("a").expect("free");
            panic!("a call goes wrong");
        })
        .join();
        assert!(locks.take("a").is_some());
    }
}
