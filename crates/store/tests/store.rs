//! The laws of the store, on real files: durability over kill -9, a full disk, damage.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use redb::ReadableTable;
use sutler_store::{Batch, CommitError, Loaded, OpenError, Schema, Store, Table};

const SCHEMA: Schema = Schema {
    kind: "test",
    version: 1,
};
const ITEMS: Table = Table("items");

fn put(key: &str, value: &str) -> Batch {
    let mut batch = Batch::new();
    batch.put(ITEMS, key, &value);
    batch
}

fn map(loaded: Loaded) -> BTreeMap<String, String> {
    assert_eq!(loaded.damaged, []);
    let read = |(key, value): (String, Vec<u8>)| (key, serde_json::from_slice(&value).unwrap());
    loaded.records.into_iter().map(read).collect()
}

fn in_new_dir() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made/on/the/way/books.redb");
    (dir, path)
}

#[tokio::test]
async fn what_was_committed_is_there_after_reopening() {
    let (_dir, path) = in_new_dir();
    let store = Store::open(&path, SCHEMA).unwrap();
    assert_eq!(store.load(ITEMS).unwrap(), Loaded::default());
    let mut batch = put("a", "1");
    batch.put(ITEMS, "b", &"2");
    batch.put(ITEMS, "a", &"3");
    batch.delete(ITEMS, "never");
    store.commit(batch).await.unwrap();
    let mut batch = Batch::new();
    batch.delete(ITEMS, "b");
    store.commit(batch).await.unwrap();
    let expected = BTreeMap::from([("a".to_owned(), "3".to_owned())]);
    assert_eq!(map(store.load(ITEMS).unwrap()), expected);
    drop(store);
    assert_eq!(
        map(Store::open(&path, SCHEMA).unwrap().load(ITEMS).unwrap()),
        expected
    );
}

#[tokio::test]
async fn many_waiting_batches_share_few_syncs() {
    let (_dir, path) = in_new_dir();
    let store = Store::open(&path, SCHEMA).unwrap();
    let commits = (0..64).map(|i| store.commit(put(&format!("k{i}"), "v")));
    for done in futures::future::join_all(commits).await {
        done.unwrap();
    }
    assert_eq!(map(store.load(ITEMS).unwrap()).len(), 64);
    assert!(
        store.commits() <= 4,
        "{} commits for 64 batches",
        store.commits()
    );
    let before = store.commits();
    store.commit(Batch::new()).await.unwrap();
    assert_eq!(store.commits(), before, "an empty batch costs nothing");
}

#[test]
fn a_second_opener_is_told_who_has_it() {
    let (_dir, path) = in_new_dir();
    let store = Store::open(&path, SCHEMA).unwrap();
    match Store::open(&path, SCHEMA) {
        Err(OpenError::Locked { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
        other => panic!("{other:?}"),
    }
    drop(store);
    Store::open(&path, SCHEMA).unwrap();
}

#[test]
fn another_version_or_kind_is_refused_by_name() {
    let (_dir, path) = in_new_dir();
    drop(
        Store::open(
            &path,
            Schema {
                version: 2,
                ..SCHEMA
            },
        )
        .unwrap(),
    );
    let error = Store::open(&path, SCHEMA).unwrap_err();
    assert!(
        matches!(
            error,
            OpenError::NewerVersion {
                found: 2,
                known: 1,
                ..
            }
        ),
        "{error}"
    );
    let error = Store::open(
        &path,
        Schema {
            version: 3,
            ..SCHEMA
        },
    )
    .unwrap_err();
    assert!(
        matches!(
            error,
            OpenError::OlderVersion {
                found: 2,
                known: 3,
                ..
            }
        ),
        "{error}"
    );
    let error = Store::open(
        &path,
        Schema {
            kind: "other",
            version: 2,
        },
    )
    .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("books of \"test\", not of \"other\""),
        "{error}"
    );
}

/// The body of the child of the kill test; commits for ever and says what was acknowledged.
#[test]
#[ignore = "runs in a child process of another test"]
fn child_commits_until_killed() {
    let path = PathBuf::from(std::env::var_os("STORE_TEST_PATH").expect("set by the parent"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let store = Store::open(&path, SCHEMA).unwrap();
    let start = store.load(ITEMS).unwrap().records.len();
    for i in start.. {
        let mut batch = put(&format!("{i:08}"), &"x".repeat(i % 5000));
        batch.put(Table("pairs"), &format!("{i:08}"), &i);
        runtime.block_on(store.commit(batch)).unwrap();
        println!("acknowledged {i}");
    }
}

#[test]
fn a_killed_process_loses_nothing_acknowledged() {
    let (_dir, path) = in_new_dir();
    for round in 0..8 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "child_commits_until_killed",
                "--ignored",
                "--nocapture",
            ])
            .env("STORE_TEST_PATH", &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = None;
        for line in lines.by_ref().take(10 + round * 7) {
            acknowledged = number(&line.unwrap()).or(acknowledged);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged = lines
            .map_while(Result::ok)
            .filter_map(|l| number(&l))
            .last()
            .or(acknowledged);
        let store = Store::open(&path, SCHEMA).unwrap();
        let items = map(store.load(ITEMS).unwrap());
        let pairs = store.load(Table("pairs")).unwrap().records;
        assert_eq!(
            items.len(),
            pairs.len(),
            "a batch is there wholly or not at all"
        );
        let last = acknowledged.expect("the child got somewhere");
        for i in 0..=last {
            assert_eq!(
                items[&format!("{i:08}")].len(),
                i % 5000,
                "round {round}, record {i}"
            );
        }
        assert!(items.len() <= last + 2, "at most one commit was under way");
    }
}

fn number(line: &str) -> Option<usize> {
    line.rsplit_once("acknowledged ")
        .and_then(|(_, n)| n.parse().ok())
}

/// A small tmpfs, unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test mounts a tmpfs: run it as root"
        );
        let dir = tempfile::tempdir().unwrap();
        rustix::mount::mount(
            "none",
            dir.path(),
            "tmpfs",
            rustix::mount::MountFlags::empty(),
            Some(c"size=8m"),
        )
        .unwrap();
        Self(dir)
    }

    /// Takes all space but about `left` bytes.
    fn fill(&self, left: u64) -> PathBuf {
        let free = rustix::fs::statvfs(self.0.path()).unwrap();
        let path = self.0.path().join("filler");
        let take = (free.f_bavail * free.f_frsize).saturating_sub(left);
        std::fs::write(&path, vec![1; usize::try_from(take).unwrap()]).unwrap();
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        rustix::mount::unmount(self.0.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}

#[tokio::test]
async fn a_full_disk_refuses_and_the_same_handle_goes_on_when_there_is_space() {
    let disk = SmallDisk::new();
    let store = Store::open(&disk.0.path().join("books.redb"), SCHEMA).unwrap();
    let filler = disk.fill(256 << 10);
    let mut acknowledged = BTreeMap::new();
    let big = "y".repeat(40 << 10);
    let refused = loop {
        let key = format!("{:04}", acknowledged.len());
        match store.commit(put(&key, &big)).await {
            Ok(()) => acknowledged.insert(key, big.clone()),
            Err(error) => break error,
        };
        assert!(
            acknowledged.len() < 10_000,
            "an 8 MiB disk must become full"
        );
    };
    assert!(matches!(refused, CommitError::Full { .. }), "{refused}");
    for _ in 0..3 {
        let again = store.commit(put("more", &big)).await.unwrap_err();
        assert!(matches!(again, CommitError::Full { .. }), "{again}");
    }
    std::fs::remove_file(filler).unwrap();
    assert_eq!(map(store.load(ITEMS).unwrap()), acknowledged);
    store.commit(put("more", "z")).await.unwrap();
    acknowledged.insert("more".to_owned(), "z".to_owned());
    assert_eq!(map(store.load(ITEMS).unwrap()), acknowledged);
}

#[test]
fn a_disk_without_space_for_a_new_store_says_so() {
    let disk = SmallDisk::new();
    let filler = disk.fill(0);
    let path = disk.0.path().join("books.redb");
    let error = Store::open(&path, SCHEMA).unwrap_err();
    assert!(matches!(error, OpenError::Full { .. }), "{error}");
    std::fs::remove_file(filler).unwrap();
    Store::open(&path, SCHEMA).unwrap();
}

#[test]
fn a_read_only_file_system_is_named() {
    let disk = SmallDisk::new();
    let flags = rustix::mount::MountFlags::RDONLY;
    rustix::mount::mount_remount(disk.0.path(), flags, c"").unwrap();
    let error = Store::open(&disk.0.path().join("books.redb"), SCHEMA).unwrap_err();
    assert!(matches!(error, OpenError::NotWritable { .. }), "{error}");
}

async fn filled(path: &Path) -> BTreeMap<String, String> {
    let store = Store::open(path, SCHEMA).unwrap();
    for i in 0..50 {
        store
            .commit(put(
                &format!("{i:04}"),
                &format!("value {i} {}", "v".repeat(400)),
            ))
            .await
            .unwrap();
    }
    map(store.load(ITEMS).unwrap())
}

#[tokio::test]
async fn flipped_bytes_anywhere_are_refused_by_name_or_harmless() {
    let (_dir, path) = in_new_dir();
    let expected = filled(&path).await;
    let sound = std::fs::read(&path).unwrap();
    let mut refused = 0;
    let mut offsets: Vec<usize> = (0..320).collect();
    offsets.extend((320..sound.len()).step_by(997));
    for offset in offsets {
        let mut bytes = sound.clone();
        bytes[offset] ^= 0x5a;
        std::fs::write(&path, &bytes).unwrap();
        match Store::open(&path, SCHEMA) {
            Err(OpenError::Corrupt { .. }) => refused += 1,
            Err(other) => panic!("byte {offset}: {other}"),
            // An unused byte: then every record must be as it was.
            Ok(store) => assert_eq!(map(store.load(ITEMS).unwrap()), expected, "byte {offset}"),
        }
    }
    assert!(refused > 5, "only {refused} refused");
}

#[tokio::test]
async fn a_truncated_or_foreign_file_is_refused_and_kept() {
    let (_dir, path) = in_new_dir();
    filled(&path).await;
    let sound = std::fs::read(&path).unwrap();
    for bytes in [
        &sound[..sound.len() / 2],
        &sound[..100],
        b"not a store at all".as_slice(),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = Store::open(&path, SCHEMA).unwrap_err();
        assert!(
            matches!(error, OpenError::Corrupt { .. }),
            "{} bytes: {error}",
            bytes.len()
        );
        assert_eq!(
            std::fs::read(&path).unwrap(),
            bytes,
            "the file is left as it was"
        );
    }
}

#[tokio::test]
async fn a_record_changed_behind_our_back_is_named_and_the_others_are_given() {
    let (_dir, path) = in_new_dir();
    filled(&path).await;
    edit(&path, |table| {
        let mut bytes = table.get("0007").unwrap().unwrap().value().to_owned();
        *bytes.last_mut().unwrap() ^= 1;
        table.insert("0007", bytes.as_slice()).unwrap();
    });
    let loaded = Store::open(&path, SCHEMA).unwrap().load(ITEMS).unwrap();
    assert_eq!(loaded.records.len(), 49);
    assert_eq!(loaded.damaged.len(), 1);
    assert_eq!(loaded.damaged[0].key, "0007");
}

#[tokio::test]
async fn a_record_that_vanished_is_noticed() {
    let (_dir, path) = in_new_dir();
    filled(&path).await;
    edit(&path, |table| {
        table.remove("0007").unwrap();
    });
    let error = Store::open(&path, SCHEMA).unwrap().load(ITEMS).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("holds 49 records where 50 were written"),
        "{error}"
    );
}

fn edit(path: &Path, act: impl FnOnce(&mut redb::Table<'_, &'static str, &'static [u8]>)) {
    let database = redb::Database::open(path).unwrap();
    let transaction = database.begin_write().unwrap();
    let definition = redb::TableDefinition::<&'static str, &'static [u8]>::new(ITEMS.0);
    act(&mut transaction.open_table(definition).unwrap());
    transaction.commit().unwrap();
}
