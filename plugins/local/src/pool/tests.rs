//! Laws of the pool. Nothing here needs root: no device, no mount.

use super::*;
use crate::record::{Content, FsKind};
use crate::size::SizeAsked;
use crate::superblock::{self, Found};

const GIB: u64 = 1024 * MIB;

struct World {
    state: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self {
            state: tempfile::tempdir().expect("temp dir"),
        }
    }

    fn pool(&self) -> Pool {
        Pool::open(self.state.path(), Some(GIB)).expect("open the pool")
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.state.path().join(VOLUMES)).expect("read");
        let name = |entry: io::Result<fs::DirEntry>| {
            entry
                .expect("entry")
                .file_name()
                .into_string()
                .expect("text")
        };
        entries.map(name).collect()
    }
}

fn asked(name: &str, mib: u64) -> VolumeAsked {
    VolumeAsked {
        name: name.to_owned(),
        size: SizeAsked {
            required_bytes: mib * MIB,
            limit_bytes: 0,
        },
        content: ContentAsked::Filesystem(None),
        thin: false,
        parameters: Default::default(),
    }
}

fn available(pool: &Pool) -> u64 {
    pool.space().expect("space").available_bytes
}

#[test]
fn a_volume_is_there_after_a_restart_with_its_file_system_and_its_room() {
    let world = World::new();
    let made = world.pool().create(&asked("a", 64)).expect("create");
    let pool = world.pool();
    assert_eq!(pool.get(&made.id).expect("get"), made);
    let Content::Filesystem { fs, formatted } = made.content else {
        panic!("{made:?}")
    };
    let found = superblock::probe(&pool.image(&made.id)).expect("probe");
    let (uuid, bytes) = (formatted, 64 * MIB);
    assert_eq!(
        found,
        Found::Filesystem {
            fs,
            uuid,
            bytes,
            has_errors: false
        }
    );
    let blocks = std::os::unix::fs::MetadataExt::blocks(
        &fs::metadata(pool.image(&made.id)).expect("metadata"),
    );
    assert!(blocks * 512 >= 64 * MIB, "the room is held");
    assert_eq!(available(&pool), GIB - 64 * MIB);
}

#[test]
fn the_same_call_again_finds_the_same_volume_and_another_one_is_refused() {
    let world = World::new();
    let pool = world.pool();
    let made = pool.create(&asked("a", 64)).expect("create");
    assert_eq!(pool.create(&asked("a", 64)).expect("again"), made);
    let differ: [fn(&mut VolumeAsked); 5] = [
        |asked| asked.size.required_bytes += MIB,
        |asked| {
            asked.size = SizeAsked {
                required_bytes: 0,
                limit_bytes: 32 * MIB,
            }
        },
        |asked| asked.content = ContentAsked::Block,
        |asked| asked.content = ContentAsked::Filesystem(Some(FsKind::Xfs)),
        |asked| asked.thin = true,
    ];
    for change in differ {
        let mut other = asked("a", 64);
        change(&mut other);
        let error = pool.create(&other).expect_err("must be refused");
        assert!(matches!(error, PoolError::Different { .. }), "{error}");
    }
    assert_eq!(world.names(), [made.id]);
}

#[test]
fn more_than_the_pool_has_is_refused_with_figures_and_leaves_nothing() {
    let world = World::new();
    let pool = world.pool();
    let above = pool.create(&asked("a", 2048)).expect_err("above the pool");
    let text = "2147483648 bytes are more than the whole pool of 1073741824 bytes";
    assert_eq!(above.to_string(), text);
    pool.create(&asked("b", 1000)).expect("fits");
    let full = pool.create(&asked("c", 64)).expect_err("no room");
    let text = "67108864 bytes asked, 25165824 available of 1073741824 in the pool";
    assert_eq!(full.to_string(), text);
    assert_eq!(world.names().len(), 1);
    assert_eq!(
        available(&pool),
        24 * MIB,
        "a refused call keeps no promise"
    );
}

#[test]
fn a_thin_volume_takes_no_room() {
    let world = World::new();
    let pool = world.pool();
    let thin = VolumeAsked {
        thin: true,
        content: ContentAsked::Block,
        ..asked("a", 900)
    };
    let made = pool.create(&thin).expect("create");
    pool.create(&VolumeAsked {
        name: "b".to_owned(),
        ..thin
    })
    .expect("a second one");
    let meta = fs::metadata(pool.image(&made.id)).expect("metadata");
    assert_eq!(meta.len(), 900 * MIB);
    assert_eq!(std::os::unix::fs::MetadataExt::blocks(&meta), 0);
    assert_eq!(available(&pool), GIB);
}

#[test]
fn a_failed_file_system_leaves_nothing() {
    let world = World::new();
    let pool = world.pool();
    let id = Pool::id_of("a");
    // The name is taken by something that a rename cannot replace.
    fs::create_dir_all(world.state.path().join(VOLUMES).join(&id).join("stranger")).expect("make");
    let error = pool.create(&asked("a", 64)).expect_err("must fail");
    assert!(
        matches!(
            error,
            PoolError::File {
                act: "give its name to",
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(world.names(), [id]);
    assert_eq!(available(&pool), GIB);
}

#[test]
fn a_removed_volume_is_gone_also_after_a_restart_and_removing_is_idempotent() {
    let world = World::new();
    let pool = world.pool();
    let made = pool.create(&asked("a", 64)).expect("create");
    pool.remove(&made.id).expect("remove");
    pool.remove(&made.id).expect("again");
    pool.remove("never-there").expect("unknown");
    assert!(world.names().is_empty());
    drop(pool);
    assert!(matches!(
        world.pool().get(&made.id),
        Err(PoolError::Unknown { .. })
    ));
}

#[test]
fn growing_keeps_the_content_and_never_shrinks() {
    let world = World::new();
    let pool = world.pool();
    let made = pool.create(&asked("a", 64)).expect("create");
    let grow = |required: u64, limit: u64| {
        let size = SizeAsked {
            required_bytes: required * MIB,
            limit_bytes: limit * MIB,
        };
        pool.grow(&made.id, size)
    };
    assert_eq!(grow(128, 0).expect("grow").capacity_bytes, 128 * MIB);
    assert_eq!(grow(100, 0).expect("no change").capacity_bytes, 128 * MIB);
    assert!(
        matches!(grow(1, 100), Err(PoolError::Size(_))),
        "would have to shrink"
    );
    assert!(matches!(grow(2048, 0), Err(PoolError::AbovePool { .. })));
    assert_eq!(available(&pool), GIB - 128 * MIB);
    let Found::Filesystem { .. } = superblock::probe(&pool.image(&made.id)).expect("probe") else {
        panic!("the file system is gone");
    };
    drop(pool);
    assert_eq!(
        world.pool().get(&made.id).expect("get").capacity_bytes,
        128 * MIB
    );
}

#[test]
fn pages_go_on_after_the_last_id_even_when_it_is_gone() {
    let world = World::new();
    let pool = world.pool();
    for name in ["a", "b", "c", "d", "e"] {
        pool.create(&asked(name, 8)).expect("create");
    }
    let all: Vec<_> = pool
        .list(None, 10)
        .volumes
        .into_iter()
        .map(|v| v.id)
        .collect();
    assert_eq!(all.len(), 5);
    let first = pool.list(None, 2);
    assert!(first.more);
    let last = &first.volumes[1].id;
    pool.remove(last).expect("remove");
    let rest = pool.list(Some(last), 10);
    assert!(!rest.more);
    let rest: Vec<_> = rest.volumes.into_iter().map(|v| v.id).collect();
    assert_eq!(rest, all[2..]);
}

#[test]
fn two_processes_cannot_own_one_state_directory() {
    let world = World::new();
    let first = world.pool();
    let error = Pool::open(world.state.path(), None).expect_err("must be refused");
    assert!(matches!(error, PoolError::Locked { .. }), "{error}");
    drop(first);
    world.pool();
}

#[test]
fn the_start_sweeps_what_is_half_done_and_nothing_else() {
    let world = World::new();
    let made = world.pool().create(&asked("a", 8)).expect("create");
    let volumes = world.state.path().join(VOLUMES);
    for name in [
        ".creating-x-1",
        ".deleting-y-2",
        "stranger",
        ".creating-with-stranger",
    ] {
        fs::create_dir(volumes.join(name)).expect("make");
        fs::write(volumes.join(name).join(IMAGE_FILE), b"bytes").expect("write");
    }
    fs::write(volumes.join(".creating-with-stranger/precious"), b"bytes").expect("write");
    world.pool();
    let mut names = world.names();
    names.sort();
    let mut expected = vec![
        ".creating-with-stranger".to_owned(),
        made.id,
        "stranger".to_owned(),
    ];
    expected.sort();
    assert_eq!(names, expected);
    assert!(volumes.join(".creating-with-stranger/precious").exists());
    assert!(volumes.join("stranger").join(IMAGE_FILE).exists());
}

#[test]
fn a_damaged_volume_is_named_and_left_alone_and_the_others_work() {
    let world = World::new();
    let pool = world.pool();
    let [torn, newer, short, lost, foreign, good] =
        ["t", "n", "s", "l", "f", "g"].map(|name| pool.create(&asked(name, 8)).expect("create"));
    let folder = |record: &VolumeRecord| world.state.path().join(VOLUMES).join(&record.id);
    drop(pool);
    fs::write(folder(&torn).join(RECORD_FILE), b"{\"format\": 1, \"id\"").expect("write");
    fs::write(
        folder(&newer).join(RECORD_FILE),
        b"{\"format\": 9, \"new\": 1}",
    )
    .expect("write");
    let image = File::options()
        .write(true)
        .open(folder(&short).join(IMAGE_FILE))
        .expect("open");
    image.set_len(MIB).expect("truncate");
    fs::remove_file(folder(&lost).join(IMAGE_FILE)).expect("remove");
    fs::copy(
        folder(&good).join(RECORD_FILE),
        folder(&foreign).join(RECORD_FILE),
    )
    .expect("copy");
    let pool = world.pool();
    let table = [
        (&torn, "is damaged: EOF"),
        (&newer, "has format 9; this version reads up to 1"),
        (&short, "the image has 1048576 bytes of 8388608"),
        (&lost, "the image cannot be found"),
        (&foreign, "speaks of volume"),
    ];
    for (record, cause) in table {
        let mut errors = vec![
            pool.get(&record.id).expect_err("get"),
            pool.create(&asked(&record.name, 8)).expect_err("create"),
        ];
        if record.id != lost.id {
            errors.push(pool.remove(&record.id).expect_err("remove"));
        }
        for error in errors {
            assert!(error.to_string().contains(cause), "{error}");
        }
    }
    assert_eq!(pool.list(None, 10).volumes, [good]);
    assert_eq!(world.names().len(), 6);
    pool.remove(&lost.id)
        .expect("nothing of it is left to lose");
    assert!(!pool.has(&lost.id));
    assert_eq!(world.names().len(), 5);
}
