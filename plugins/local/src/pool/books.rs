//! What the pool knows of its volumes, in memory. Pure.
//!
//! Owns the sums: what is taken, what is promised to volumes in the making, what is left.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::PoolError;
use crate::record::VolumeRecord;

/// The room as the disk shows it.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// Size of the pool in bytes.
    pub pool_bytes: u64,
    /// Bytes the disk has left for it.
    pub disk_bytes: u64,
}

/// The room in the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Size of the pool in bytes.
    pub pool_bytes: u64,
    /// Bytes a new volume can have.
    pub available_bytes: u64,
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub volumes: Vec<VolumeRecord>,
    /// Whether volumes follow.
    pub more: bool,
}

/// The volumes, the damaged ones, and the room held for those in the making.
#[derive(Debug, Default)]
pub(super) struct Books {
    volumes: BTreeMap<String, VolumeRecord>,
    damaged: BTreeMap<String, String>,
    pending_bytes: u64,
}

impl Books {
    pub(super) fn get(&self, id: &str) -> Result<VolumeRecord, PoolError> {
        if let Some(cause) = self.damaged.get(id) {
            return Err(PoolError::Damaged {
                id: id.to_owned(),
                cause: cause.clone(),
            });
        }
        let record = self.volumes.get(id).cloned();
        record.ok_or_else(|| PoolError::Unknown { id: id.to_owned() })
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.volumes.contains_key(id) || self.damaged.contains_key(id)
    }

    pub(super) fn put(&mut self, record: VolumeRecord) {
        self.volumes.insert(record.id.clone(), record);
    }

    pub(super) fn put_damaged(&mut self, id: String, cause: String) {
        self.damaged.insert(id, cause);
    }

    pub(super) fn remove(&mut self, id: &str) {
        self.volumes.remove(id);
        self.damaged.remove(id);
    }

    pub(super) fn page(&self, after: Option<&str>, max: usize) -> Page {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.volumes.range::<str, _>((start, Bound::Unbounded));
        let volumes = rest
            .by_ref()
            .take(max)
            .map(|(_, record)| record.clone())
            .collect();
        Page {
            volumes,
            more: rest.next().is_some(),
        }
    }

    pub(super) fn space(&self, measured: Measured) -> Space {
        let whole = self.volumes.values().filter(|record| !record.thin);
        let taken: u64 = whole.map(|record| record.capacity_bytes).sum();
        let free = measured.pool_bytes.saturating_sub(taken);
        // What is in the making is not in the disk's figure for certain, so it counts twice
        // for a moment rather than not at all.
        let available_bytes = free
            .min(measured.disk_bytes)
            .saturating_sub(self.pending_bytes);
        Space {
            pool_bytes: measured.pool_bytes,
            available_bytes,
        }
    }

    /// Promises room, if there is enough.
    pub(super) fn promise(&mut self, asked: u64, measured: Measured) -> Result<(), PoolError> {
        let Space {
            pool_bytes: pool,
            available_bytes: available,
        } = self.space(measured);
        if asked > pool {
            return Err(PoolError::AbovePool { asked, pool });
        }
        if asked > available {
            return Err(PoolError::Exhausted {
                asked,
                available,
                pool,
            });
        }
        self.pending_bytes += asked;
        Ok(())
    }

    /// Ends a promise: kept or broken.
    pub(super) fn settle(&mut self, bytes: u64) {
        self.pending_bytes -= bytes;
    }
}
