//! What every call works on: the pool, the locks and which node this is.

use std::path::PathBuf;

use crate::locks::Locks;
use crate::pool::{Pool, PoolError};
use crate::record::VolumeRecord;

/// The name under which the plugin is known unless it is told another.
pub const DRIVER_NAME: &str = "local.sutler.dev";

/// This host, to the plugin.
#[derive(Debug)]
pub struct Host {
    /// The volumes.
    pub pool: Pool,
    /// The volumes in work.
    pub locks: Locks,
    /// The orchestrator's name for this node.
    pub node_id: String,
    /// The plugin's name.
    pub driver_name: String,
}

/// A volume and where its bytes are.
#[derive(Debug, Clone)]
pub struct Volume {
    /// What is known of it.
    pub record: VolumeRecord,
    pub image: PathBuf,
}

impl Host {
    /// The volume with this id.
    ///
    /// # Errors
    /// Unknown or damaged.
    pub fn volume(&self, id: &str) -> Result<Volume, PoolError> {
        let record = self.pool.get(id)?;
        Ok(Volume {
            image: self.pool.image(id),
            record,
        })
    }

    /// The volume with this id, or nothing when it is unknown.
    ///
    /// # Errors
    /// Damaged.
    pub(crate) fn volume_if_known(&self, id: &str) -> Result<Option<Volume>, PoolError> {
        match self.volume(id) {
            Ok(volume) => Ok(Some(volume)),
            Err(PoolError::Unknown { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The one topology segment of this node's volumes: its key.
    pub(crate) fn topology_key(&self) -> String {
        format!("{}/node", self.driver_name)
    }
}
