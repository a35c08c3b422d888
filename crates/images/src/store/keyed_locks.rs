//! A lock per digest, so that two pulls do not do the same work twice.
//! Locks nobody holds or waits for are forgotten.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

use super::Digest;

type Lock = tokio::sync::Mutex<()>;

#[derive(Default)]
pub(super) struct KeyedLocks {
    locks: Mutex<HashMap<Digest, Weak<Lock>>>,
}

impl KeyedLocks {
    /// Waits for the lock of a digest. Cancel safe: a waiter that is dropped leaves the queue.
    pub(super) async fn lock(&self, key: Digest) -> OwnedMutexGuard<()> {
        self.of(key).lock_owned().await
    }

    fn of(&self, key: Digest) -> Arc<Lock> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = locks.get(&key).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::new(Lock::new(()));
        locks.insert(key, Arc::downgrade(&lock));
        lock
    }
}
