//! The redb file behind a store: opening, creating, writing a group, reading a table.
//!
//! Never retries and never keeps state between calls; the writer does that.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableError};

use crate::batch::Change;
use crate::record::{Damaged, Loaded, Seal, frame, unframe};
use crate::{Batch, OpenError, Schema, Table, beside, private};

type Records = TableDefinition<'static, &'static str, &'static [u8]>;

const SEALS: Records = TableDefinition::new("sutler.seals");
const SCHEMA: Records = TableDefinition::new("sutler.schema");

/// Memory for pages: the books of one cluster are a few MiB, and an idle program stays small.
const CACHE_BYTES: usize = 8 << 20;

/// Opens the file, or makes it with its schema.
pub(crate) fn open(path: &Path, schema: Schema) -> Result<Database, OpenError> {
    let exists = path
        .try_exists()
        .map_err(|e| OpenError::from_io(path.to_owned(), e))?;
    if exists {
        // Before the first record is read: others may have read it, but never again.
        File::open(path)
            .and_then(|file| private::tighten(&file))
            .map_err(|e| OpenError::from_io(path.to_owned(), e))?;
    } else {
        create(path, schema)?;
    }
    reopen(path, schema)
}

/// Opens the file, which must be there.
pub(crate) fn reopen(path: &Path, schema: Schema) -> Result<Database, OpenError> {
    let database =
        guarded(|| open_checked(path)).unwrap_or_else(|panic| Err(corrupt(path, panic)))?;
    guarded(|| check_schema(path, &database, schema))
        .unwrap_or_else(|panic| Err(corrupt(path, panic)))?;
    Ok(database)
}

/// Throws away what the page cache holds of the file: after a failed write it may differ
/// from the disk, and recovery must see the disk.
pub(crate) fn forget_cached_pages(path: &Path) {
    let dropped = File::open(path).and_then(|file| {
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).map_err(io::Error::from)
    });
    if let Err(error) = dropped {
        tracing::debug!(path = %path.display(), %error, "cannot drop cached pages");
    }
}

/// Applies batches in order and makes them durable together.
pub(crate) fn write(database: &Database, batches: &[Batch]) -> Result<(), redb::Error> {
    let mut by_table: BTreeMap<Table, Vec<&Change>> = BTreeMap::new();
    for change in batches.iter().flat_map(|batch| &batch.changes) {
        by_table.entry(change.table).or_default().push(change);
    }
    let transaction = database.begin_write()?;
    {
        let mut seals = transaction.open_table(SEALS)?;
        for (table, changes) in by_table {
            let stored = seals.get(table.0)?.map(|bytes| bytes.value().to_owned());
            let mut seal = stored
                .as_deref()
                .and_then(Seal::from_bytes)
                .unwrap_or_default();
            let mut records = transaction.open_table(Records::new(table.0))?;
            for change in changes {
                apply(&mut records, &mut seal, change)?;
            }
            seals.insert(table.0, seal.to_bytes().as_slice())?;
        }
    }
    transaction.commit()?;
    Ok(())
}

/// Reads a table; the outer error is the disk's, the inner one a damaged table.
pub(crate) fn read(
    database: &Database,
    table: Table,
) -> Result<Result<Loaded, String>, redb::Error> {
    let transaction = database.begin_read()?;
    let records = match transaction.open_table(Records::new(table.0)) {
        Ok(records) => records,
        Err(TableError::TableDoesNotExist(_)) => return Ok(Ok(Loaded::default())),
        Err(error) => return Err(error.into()),
    };
    let mut loaded = Loaded::default();
    let mut found = Seal::default();
    for row in records.iter()? {
        let (key, framed) = row?;
        let key = key.value().to_owned();
        found.add(framed.value());
        match unframe(table.0, &key, framed.value()) {
            Ok(value) => loaded.records.push((key, value)),
            Err(what) => loaded.damaged.push(Damaged { key, what }),
        }
    }
    let seals = transaction.open_table(SEALS)?;
    let stored = seals
        .get(table.0)?
        .and_then(|bytes| Seal::from_bytes(bytes.value()));
    if loaded.damaged.is_empty() && stored != Some(found) {
        return Ok(Err(format!(
            "it holds {} records where {} were written, or one of another time",
            found.count,
            stored.map_or(0, |seal| seal.count),
        )));
    }
    Ok(Ok(loaded))
}

/// Runs `act`, turning a panic of the library on impossible bytes into a text.
pub(crate) fn guarded<T>(act: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(act)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        format!(
            "its structure makes no sense ({})",
            text.unwrap_or("unknown")
        )
    })
}

fn apply(
    records: &mut redb::Table<'_, &'static str, &'static [u8]>,
    seal: &mut Seal,
    change: &Change,
) -> Result<(), redb::Error> {
    let old = match &change.value {
        Some(value) => {
            let framed = frame(change.table.0, &change.key, value);
            seal.add(&framed);
            records.insert(change.key.as_str(), framed.as_slice())?
        }
        None => records.remove(change.key.as_str())?,
    };
    if let Some(old) = old {
        seal.remove(old.value());
    }
    Ok(())
}

/// Makes the file under another name first: a crash midway leaves no half-made store.
fn create(path: &Path, schema: Schema) -> Result<(), OpenError> {
    let new = beside(path, ".new");
    let io_fault = |source| OpenError::from_io(path.to_owned(), source);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_fault(error)),
        _ => {}
    }
    // The library makes a store of an empty file that is there, and leaves its mode alone.
    private::create_new(&new).map_err(io_fault)?;
    let database = builder()
        .create(&new)
        .map_err(|e| open_error(path, e.into()))?;
    let kind = frame(SCHEMA_NAME, "kind", schema.kind.as_bytes());
    let version = frame(
        SCHEMA_NAME,
        "version",
        schema.version.to_string().as_bytes(),
    );
    let write = || -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        {
            let mut table = transaction.open_table(SCHEMA)?;
            table.insert("kind", kind.as_slice())?;
            table.insert("version", version.as_slice())?;
            transaction.open_table(SEALS)?;
        }
        transaction.commit()?;
        Ok(())
    };
    write().map_err(|e| open_error(path, e))?;
    database.close().map_err(|e| open_error(path, e.into()))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(&new)
        .and_then(|file| file.sync_all())
        .map_err(io_fault)?;
    fs::rename(&new, path).map_err(io_fault)?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(io_fault)
}

const SCHEMA_NAME: &str = "sutler.schema";

fn builder() -> redb::Builder {
    let mut builder = redb::Builder::new();
    // A full check at each opening: bytes changed behind our back are found before anything
    // is decided on them, at the cost of reading a file of a few MiB.
    builder
        .set_cache_size(CACHE_BYTES)
        .set_check_integrity_on_open(true);
    builder
}

fn open_checked(path: &Path) -> Result<Database, OpenError> {
    builder()
        .open(path)
        .map_err(|error| open_error(path, error.into()))
}

fn check_schema(path: &Path, database: &Database, schema: Schema) -> Result<(), OpenError> {
    let read = |key: &str| -> Result<Option<Vec<u8>>, redb::Error> {
        let table = database.begin_read()?.open_table(SCHEMA)?;
        Ok(table.get(key)?.map(|bytes| bytes.value().to_owned()))
    };
    let text = |key: &str| -> Result<String, OpenError> {
        let framed = match read(key) {
            Ok(found) => found.ok_or_else(|| corrupt(path, format!("it has no {key}")))?,
            Err(error) => return Err(open_error(path, error)),
        };
        let value = unframe(SCHEMA_NAME, key, &framed)
            .map_err(|what| corrupt(path, format!("its {key} {what}")))?;
        String::from_utf8(value).map_err(|_| corrupt(path, format!("its {key} is no text")))
    };
    let kind = text("kind")?;
    if kind != schema.kind {
        let path = path.to_owned();
        return Err(OpenError::WrongKind {
            path,
            found: kind,
            expected: schema.kind,
        });
    }
    let found: u32 = text("version")?
        .parse()
        .map_err(|_| corrupt(path, "its version is no number".to_owned()))?;
    let (path, known) = (path.to_owned(), schema.version);
    match found.cmp(&known) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(OpenError::NewerVersion { path, found, known }),
        std::cmp::Ordering::Less => Err(OpenError::OlderVersion { path, found, known }),
    }
}

fn corrupt(path: &Path, what: String) -> OpenError {
    OpenError::Corrupt {
        path: path.to_owned(),
        what,
    }
}

fn open_error(path: &Path, error: redb::Error) -> OpenError {
    match error {
        redb::Error::DatabaseAlreadyOpen => OpenError::Locked {
            path: path.to_owned(),
            pid: None,
        },
        // What redb says of a file that ends too early or does not begin as it should.
        redb::Error::Io(source)
            if matches!(
                source.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
            ) =>
        {
            corrupt(path, source.to_string())
        }
        redb::Error::Io(source) => OpenError::from_io(path.to_owned(), source),
        other => corrupt(path, other.to_string()),
    }
}
