//! Processes that are killed: containers go on, nothing that was told is lost, data reads back.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sutler_testkit::oracle::Oracle;
use sutler_testkit::poll;
use sutler_testkit::world::{Shape, World, WorldConfig};

use crate::{SOON, alone, config, up};

/// Writes a line every tenth of a second until it is told to end.
const WRITER: &str = "trap 'sync; exit 0' TERM; i=0; \
    while :; do i=$((i+1)); echo $i >> /data/log; sleep 0.1; done";

/// Starts a task that keeps writing, and gives its container's first process.
fn start_writer(world: &World) -> i32 {
    let image = world.image("busybox");
    let run = [
        "run",
        "-d",
        "--name",
        "writer",
        "-v",
        "data:64M:/data",
        &image,
        "--",
    ];
    world.ok(&[&run[..], &["sh", "-c", WRITER]].concat());
    world.wait_task("writer", "running", SOON).unwrap();
    init_of(world, "writer").expect("it runs")
}

fn init_of(world: &World, task: &str) -> Option<i32> {
    world
        .containers()
        .into_iter()
        .find(|c| c.id.contains(task))
        .and_then(|c| c.init)
}

fn kill(pid: i32) {
    let pid = Pid::from_raw(pid).expect("a process's id");
    kill_process(pid, Signal::KILL).expect("it runs");
}

/// Stops the writer and checks that its log has no gap.
fn read_back(world: &World) -> usize {
    world.ok(&["task", "stop", "writer"]);
    world.wait_task("writer", "killed", SOON).unwrap();
    let image = world.image("busybox");
    let log = world.ok(&[
        "run",
        "-v",
        "data:/data:ro",
        &image,
        "--",
        "cat",
        "/data/log",
    ]);
    let lines: Vec<usize> = log.lines().map(|l| l.parse().expect("a number")).collect();
    assert!(
        lines.iter().copied().eq(1..=lines.len()),
        "the log has a gap: {log}"
    );
    lines.len()
}

#[test]
fn containers_outlive_a_killed_agent_and_are_adopted() {
    let _alone = alone();
    let mut world = up();
    let init = start_writer(&world);
    let plugin = world.plugin_container("local").unwrap().init;

    world.agent(0).kill();
    assert_eq!(
        init_of(&world, "writer"),
        Some(init),
        "the task died with its agent"
    );
    world.start_all().unwrap();
    world.wait_ready().unwrap();

    assert_eq!(
        init_of(&world, "writer"),
        Some(init),
        "the task was started again"
    );
    assert_eq!(
        world.plugin_container("local").unwrap().init,
        plugin,
        "the plugin too"
    );
    world.wait_task("writer", "running", SOON).unwrap();
    Oracle::default().assert_holds(&world);
    assert!(read_back(&world) > 0);
    Oracle::default().assert_holds(&world);
}

#[test]
fn an_exit_while_the_agent_was_dead_is_not_lost() {
    let _alone = alone();
    let mut world = World::up(config().without_local()).expect("the cluster comes up");
    let image = world.image("busybox");
    let run = ["run", "-d", "--name", "short", &image, "--", "sh", "-c"];
    world.ok(&[
        &run[..],
        &["trap 'exit 5' USR1; while :; do sleep 0.1; done"],
    ]
    .concat());
    world.wait_task("short", "running", SOON).unwrap();
    let init = init_of(&world, "short").expect("it runs");

    world.agent(0).kill();
    kill_process(Pid::from_raw(init).expect("a pid"), Signal::USR1).expect("it runs");
    poll::until("the container has ended", SOON, || {
        poll::holds(init_of(&world, "short").is_none(), || "it runs".to_owned())
    })
    .unwrap();
    world.start_all().unwrap();
    world.wait_ready().unwrap();

    let task = world.wait_task("short", "failed", SOON);
    let task = task
        .or_else(|_| world.wait_task("short", "finished", SOON))
        .unwrap();
    assert_eq!(task["exit"]["code"], 5, "{task}");
}

#[test]
fn sigterm_ends_the_program_and_leaves_containers_running() {
    let _alone = alone();
    let mut world = up();
    let init = start_writer(&world);
    let status = world.agent(0).terminate(SOON).unwrap();
    assert!(status.success(), "{status}");
    let log = world.agent(0).log();
    assert!(log.contains("1 task goes on without us"), "{log}");
    assert_eq!(init_of(&world, "writer"), Some(init));
    world.start_all().unwrap();
    world.wait_ready().unwrap();
    assert!(read_back(&world) > 0);
}

#[test]
fn data_survives_a_killed_plugin_with_volumes_published() {
    let _alone = alone();
    let world = up();
    start_writer(&world);
    let before = world
        .plugin_container("local")
        .unwrap()
        .init
        .expect("it runs");

    kill(before);
    poll::until("the plugin runs again", SOON, || -> Result<(), String> {
        let container = world
            .plugin_container("local")
            .map_err(|error| error.to_string())?;
        poll::holds(container.init != Some(before), || "the old one".to_owned())
    })
    .unwrap();
    world.wait_class("local", 1).unwrap();

    world.wait_volume("data", "in_use", SOON).unwrap();
    assert!(read_back(&world) > 0);
    world.ok(&["volume", "grow", "data", "--size", "128M"]);
    Oracle::default().assert_holds(&world);
    world.ok(&["volume", "rm", "data", "--purge"]);
    Oracle::default().assert_holds(&world);
}

#[test]
fn a_killed_master_comes_back_with_its_books() {
    let _alone = alone();
    let shape = config().shape(Shape::Split(1));
    let mut world = World::up(shape).expect("the cluster comes up");
    let init = start_writer(&world);
    let before = world.volume("data").unwrap();

    world.master().kill();
    world
        .sutler_within(Duration::from_secs(30), &["volume", "ls"])
        .expect(1, &["hint"]);
    assert_eq!(
        init_of(&world, "writer"),
        Some(init),
        "the task died with the master"
    );
    world.start_all().unwrap();
    world.wait_ready().unwrap();

    world.wait_volume("data", "in_use", SOON).unwrap();
    let after = world.volume("data").unwrap();
    assert_eq!(before["volume_id"], after["volume_id"]);
    assert_eq!(before["csi_volume_id"], after["csi_volume_id"]);
    assert!(read_back(&world) > 0);
    Oracle::default().assert_holds(&world);
}

/// The program as a unit file with `PrivateTmp=` starts it: in a mount namespace of its own, made
/// anew at each start.
fn in_namespaces_of_its_own(folder: &std::path::Path) -> WorldConfig {
    use std::os::unix::fs::PermissionsExt as _;
    let plain = config();
    let wrapper = folder.join("sutler");
    let exec = format!(
        "exec unshare --mount --propagation slave {} \"$@\"",
        plain.sutler.display()
    );
    std::fs::write(&wrapper, format!("#!/bin/sh\n{exec}\n")).unwrap();
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();
    WorldConfig {
        sutler: wrapper,
        ..plain
    }
}

#[test]
fn a_plugin_of_an_earlier_mount_namespace_is_started_anew_and_data_reads_back() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::up(in_namespaces_of_its_own(folder.path())).unwrap();
    let image = world.image("busybox");
    let run = |world: &World, volume: &str, line: &str| {
        world.ok(&["run", "-v", volume, &image, "--", "sh", "-ec", line])
    };
    run(&world, "first:64M:/d", "echo one > /d/f");
    assert!(world.agent(0).terminate(SOON).unwrap().success());
    world.start_all().unwrap();
    world.wait_ready().unwrap();
    assert_eq!(run(&world, "first:/d", "cat /d/f").trim(), "one");
    run(&world, "second:64M:/d", "echo two > /d/f");
    assert_eq!(run(&world, "second:/d", "cat /d/f").trim(), "two");
    let log = world.agent(0).log();
    assert!(
        log.contains("the mount namespace of an earlier start"),
        "{log}"
    );
    for volume in ["first", "second"] {
        world.ok(&["volume", "rm", volume, "--purge"]);
    }
}

/// Copies what a stopped master has on the disk.
fn copy_of(folder: &std::path::Path, to: &std::path::Path) {
    let status = std::process::Command::new("cp")
        .args(["-a", "--"])
        .args([folder, to])
        .status()
        .expect("cp is there");
    assert!(status.success(), "cp {}", folder.display());
}

#[test]
fn books_that_are_an_older_copy_lose_no_volume() {
    let _alone = alone();
    let mut world = up();
    let books = world.state_dir().join("master");
    let older = world.root().join("older");
    world.master().terminate(SOON).unwrap();
    copy_of(&books, &older);
    world.start_all().unwrap();
    world.wait_ready().unwrap();
    let image = world.image("busybox");
    let write = ["sh", "-c", "echo kept > /data/file; sync"];
    world.ok(&[&["run", "-v", "data:64M:/data", &image, "--"], &write[..]].concat());
    world.wait_volume("data", "ready", SOON).unwrap();
    world.master().terminate(SOON).unwrap();

    std::fs::rename(&books, world.root().join("newer")).unwrap();
    copy_of(&older, &books);
    world.start_all().unwrap();
    world.wait_ready().unwrap();
    let unknown = world.wait_volume("data", "unknown", SOON).unwrap();
    assert_eq!(
        unknown["problem"]["hint"], "sutler volume adopt data",
        "{unknown}"
    );
    let read = [
        "run",
        "-v",
        "data:/data:ro",
        &image,
        "--",
        "cat",
        "/data/file",
    ];
    world
        .sutler(&read)
        .expect(125, &["not in the cluster's books", "volume adopt data"]);
    world
        .sutler(&["volume", "create", "data", "--size", "64M"])
        .expect(4, &["not in the cluster's books"]);
    assert_eq!(world.ok(&["volume", "adopt", "data"]), "data\n");
    world.wait_volume("data", "ready", SOON).unwrap();
    assert_eq!(world.ok(&read), "kept\n");
    Oracle::default().assert_holds(&world);
    world.ok(&["volume", "rm", "data", "--purge"]);
    Oracle::default().assert_holds(&world);
}
