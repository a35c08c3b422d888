//! A container is the same whatever its starter had: umask, limits, open files, niceness, score.
//! A program of its own: all of these belong to the whole process.

use std::fs;

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit, umask};

#[expect(
    dead_code,
    reason = "shared with the lifecycle tests, which use all of it"
)]
#[path = "lifecycle/world.rs"]
mod world;

use world::World;

/// What the container says of itself, a line each.
const SAY: &str = "stat -c %a /made/on/the/way; cat /proc/self/oom_score_adj; \
    ulimit -n; ulimit -c; umask; /bin/busybox cut -d' ' -f19 /proc/self/stat; echo end";

#[tokio::test]
async fn a_container_gets_nothing_that_its_starter_had() {
    let world = World::new();
    umask(Mode::from_raw_mode(0o077));
    fs::write("/proc/self/oom_score_adj", "700").expect("raising is allowed");
    setpriority_process(None, 5).expect("lowering is allowed");
    let soft = Rlimit {
        current: Some(300),
        ..getrlimit(Resource::Nofile)
    };
    setrlimit(Resource::Nofile, soft).expect("lowering is allowed");
    let lock = fs::File::create(world.path().join("lock")).expect("made");
    // A duplicate is not closed on execution, like a descriptor that a shell opened.
    let lock = rustix::io::dup(&lock).expect("duplicated");

    let mut spec = world.sh("c", &format!("{SAY}; sleep 1000"));
    spec.cwd = "/made/on/the/way".into();
    world.start(&spec).await;
    let shim = fs::read_to_string(world.containers.folder(&world::id("c")).join("shim.json"));
    let shim: serde_json::Value = serde_json::from_str(&shim.expect("written")).expect("JSON");
    let pid = shim["shim"]["pid"].as_i64().expect("a pid");
    let held = fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs");
    let held: Vec<_> = held
        .filter_map(|fd| fs::read_link(fd.ok()?.path()).ok())
        .filter(|path| path == &world.path().join("lock"))
        .collect();
    assert!(held.is_empty(), "the shim holds {held:?}");
    drop(lock);

    world.wait_for("c", "end\n").await;
    let said = world.stdout("c").await;
    assert_eq!(said, "755\n0\n1024\n0\n0022\n0\nend\n");
}
