//! A batch: the changes that become durable together.

use serde::Serialize;

/// A named set of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Table(pub &'static str);

/// Changes to records, applied in order and all at once.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    pub(crate) changes: Vec<Change>,
}

#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub table: Table,
    pub key: String,
    /// The new value, or none to delete.
    pub value: Option<Vec<u8>>,
}

impl Batch {
    /// Makes an empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces a record.
    ///
    /// # Panics
    /// When the value cannot be written as JSON, which for a record type is a bug.
    pub fn put(&mut self, table: Table, key: &str, value: &impl Serialize) {
        let value = serde_json::to_vec(value).expect("a record type can be written as JSON");
        self.changes.push(Change {
            table,
            key: key.to_owned(),
            value: Some(value),
        });
    }

    /// Removes a record; none there is no fault.
    pub fn delete(&mut self, table: Table, key: &str) {
        self.changes.push(Change {
            table,
            key: key.to_owned(),
            value: None,
        });
    }

    /// Tells whether the batch changes nothing.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}
