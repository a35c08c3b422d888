//! The books on disk: reading them at the start and after a failed commit, writing changes.

use std::collections::BTreeSet;

use sutler_cluster_core::{Books, Change, Config, TABLES};
use sutler_host::clock;
use sutler_store::{Batch, CommitError, Schema, Store, Table};
use sutler_telemetry::failpoint;
use uuid::Uuid;

use crate::StartError;

/// Whose books these are and how their records are written.
pub(crate) const SCHEMA: Schema = Schema {
    kind: "master",
    version: 2,
};

/// The store with the names of our tables.
#[derive(Clone)]
pub(crate) struct Journal {
    store: Store,
}

impl Journal {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    /// Rebuilds the books, or starts those of a new cluster.
    pub(crate) async fn recover(&self, config: Config) -> Result<Books, StartError> {
        let now = clock::now();
        let changes = self.read()?;
        let found = Books::recover(changes, config, now)
            .map_err(|source| StartError::RecoverBooks { source })?;
        if let Some(books) = found {
            return Ok(books);
        }
        let (books, change) = Books::new(Uuid::new_v4(), config, now);
        let committed = self.commit(&[change]).await;
        committed.map_err(|source| StartError::CommitBooks { source })?;
        Ok(books)
    }

    fn read(&self) -> Result<Vec<Change>, StartError> {
        let mut changes = Vec::new();
        let mut damaged = Vec::new();
        for table in TABLES {
            let loaded = self
                .store
                .load(Table(table))
                .map_err(|source| StartError::LoadBooks { source })?;
            for record in loaded.damaged {
                damaged.push(format!("{table} {} {}", record.key, record.what));
            }
            for (key, value) in loaded.records {
                let change = Change::read(table, &key, &value);
                changes.push(change.map_err(|source| StartError::ReadBooks { source })?);
            }
        }
        if !damaged.is_empty() {
            let path = self.store.path().to_owned();
            return Err(StartError::DamagedBooks {
                path,
                records: damaged.join("; "),
            });
        }
        Ok(changes)
    }

    /// Makes changes durable, all or none.
    pub(crate) async fn commit(&self, changes: &[Change]) -> Result<(), CommitError> {
        if changes.is_empty() {
            return Ok(());
        }
        let steps: BTreeSet<&'static str> = changes.iter().map(Change::step).collect();
        for step in &steps {
            failpoint::hit(&format!("master.record.{step}.before"));
        }
        let mut batch = Batch::new();
        for change in changes {
            let written = change.written();
            match &written.value {
                Some(value) => batch.put(Table(written.table), &written.key, value),
                None => batch.delete(Table(written.table), &written.key),
            }
        }
        self.store.commit(batch).await?;
        for step in &steps {
            failpoint::hit(&format!("master.record.{step}.after"));
        }
        Ok(())
    }

    /// Counts the commits so far.
    pub(crate) fn commits(&self) -> u64 {
        self.store.commits()
    }
}
