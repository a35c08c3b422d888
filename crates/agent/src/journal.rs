//! The agent's records: who it is, its tasks, its plugins, when images were last used.
//!
//! Volume records lie in the same file and belong to the storage provider. Reading never fails
//! for a single damaged record: it is named, and its owner decides.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sutler_api::Timestamp;
use sutler_ids::AgentId;
use sutler_node_core::plugin::{PluginPersist, PluginRecord};
use sutler_node_core::task::{TaskPersist, TaskRecord};
use sutler_store::{Batch, LoadError, Schema, Store, Table};
use uuid::Uuid;

/// What an agent's store is.
pub(crate) const SCHEMA: Schema = Schema {
    kind: "agent",
    version: 2,
};

const NODE: Table = Table("node");
const TASKS: Table = Table("tasks");
const PLUGINS: Table = Table("plugins");
const IMAGES: Table = Table("images");

const IDENTITY_KEY: &str = "identity";
const BOOT_KEY: &str = "boot";

/// Who this node is in which cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IdentityRecord {
    pub agent_id: AgentId,
    pub cluster_id: Uuid,
}

/// The boot that the records of containers and mounts are about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BootRecord {
    pub boot_id: String,
}

/// When an image was last started from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImageUseRecord {
    pub last_used: Timestamp,
}

/// A record that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DamagedRecord {
    pub table: &'static str,
    pub key: String,
    pub what: String,
}

/// Everything that was in the journal.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    pub identity: Option<IdentityRecord>,
    pub boot: Option<BootRecord>,
    pub tasks: Vec<TaskRecord>,
    pub plugins: Vec<PluginRecord>,
    pub images: BTreeMap<String, ImageUseRecord>,
    pub damaged_tasks: Vec<DamagedRecord>,
    pub damaged_others: Vec<DamagedRecord>,
}

impl Journal {
    /// Reads everything.
    pub(crate) fn load(store: &Store) -> Result<Self, LoadError> {
        let mut journal = Self::default();
        let mut others = Vec::new();
        for (key, value) in raw(store, NODE, &mut others)? {
            match key.as_str() {
                IDENTITY_KEY => journal.identity = read(NODE, &key, &value, &mut others),
                BOOT_KEY => journal.boot = read(NODE, &key, &value, &mut others),
                _unknown => {}
            }
        }
        journal.tasks = table(store, TASKS, &mut journal.damaged_tasks)?
            .into_values()
            .collect();
        journal.plugins = table(store, PLUGINS, &mut others)?.into_values().collect();
        journal.images = table(store, IMAGES, &mut others)?;
        journal.damaged_others = others;
        Ok(journal)
    }

    /// Gives what is wrong with the record of who this node is, if it is damaged.
    ///
    /// Nobody else has it: without it the node would come to its master as a stranger of
    /// the same name, and its volumes would be out of reach.
    pub(crate) fn damaged_identity(&self) -> Option<&str> {
        let mut others = self.damaged_others.iter();
        others
            .find(|record| record.table == NODE.0 && record.key == IDENTITY_KEY)
            .map(|record| record.what.as_str())
    }
}

fn raw(
    store: &Store,
    table: Table,
    damaged: &mut Vec<DamagedRecord>,
) -> Result<Vec<(String, Vec<u8>)>, LoadError> {
    let loaded = store.load(table)?;
    damaged.extend(loaded.damaged.into_iter().map(|record| DamagedRecord {
        table: table.0,
        key: record.key,
        what: record.what,
    }));
    Ok(loaded.records)
}

fn read<T: DeserializeOwned>(
    table: Table,
    key: &str,
    value: &[u8],
    damaged: &mut Vec<DamagedRecord>,
) -> Option<T> {
    serde_json::from_slice(value)
        .map_err(|error| {
            damaged.push(DamagedRecord {
                table: table.0,
                key: key.to_owned(),
                what: error.to_string(),
            });
        })
        .ok()
}

fn table<T: DeserializeOwned>(
    store: &Store,
    table: Table,
    damaged: &mut Vec<DamagedRecord>,
) -> Result<BTreeMap<String, T>, LoadError> {
    let records = raw(store, table, damaged)?;
    let read = |(key, value): (String, Vec<u8>)| {
        read(table, &key, &value, damaged).map(|record| (key, record))
    };
    Ok(records.into_iter().filter_map(read).collect())
}

/// Records that become durable together, with the failpoints around them.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    batch: Batch,
    names: Vec<String>,
}

impl Pages {
    pub(crate) fn identity(&mut self, identity: IdentityRecord) {
        self.names.push("agent.node.record.identity".to_owned());
        self.batch.put(NODE, IDENTITY_KEY, &identity);
    }

    pub(crate) fn boot(&mut self, boot_id: &str) {
        self.names.push("agent.node.record.boot".to_owned());
        let record = BootRecord {
            boot_id: boot_id.to_owned(),
        };
        self.batch.put(NODE, BOOT_KEY, &record);
    }

    pub(crate) fn task(&mut self, persist: &TaskPersist) {
        self.names
            .push(format!("agent.task.record.{}", persist.name()));
        match persist {
            TaskPersist::Put(record) => {
                self.batch
                    .put(TASKS, record.spec.task_id.as_str(), record.as_ref());
            }
            TaskPersist::Delete(task_id) => self.batch.delete(TASKS, task_id.as_str()),
        }
    }

    pub(crate) fn plugin(&mut self, persist: &PluginPersist) {
        self.names
            .push(format!("agent.plugin.record.{}", persist.name()));
        match persist {
            PluginPersist::Put(record) => {
                self.batch
                    .put(PLUGINS, record.wanted.name.as_str(), record.as_ref());
            }
            PluginPersist::Delete(name) => self.batch.delete(PLUGINS, name.as_str()),
        }
    }

    pub(crate) fn image_used(&mut self, digest: &str, now: Timestamp) {
        self.batch
            .put(IMAGES, digest, &ImageUseRecord { last_used: now });
    }

    pub(crate) fn image_forgotten(&mut self, digest: &str) {
        self.batch.delete(IMAGES, digest);
    }

    pub(crate) fn delete_damaged(&mut self, record: &DamagedRecord) {
        self.names.push("agent.node.record.drop_damaged".to_owned());
        self.batch.delete(Table(record.table), &record.key);
    }

    /// Gives the batch and the names of its failpoints.
    pub(crate) fn take(self) -> (Batch, Vec<String>) {
        (self.batch, self.names)
    }
}
