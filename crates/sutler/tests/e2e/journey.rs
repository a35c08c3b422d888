//! The main job: a volume from a plugin's image, written by one task, read by the next.

use sutler_testkit::host;
use sutler_testkit::oracle::{self, Oracle};
use sutler_testkit::poll;
use sutler_testkit::world::{World, items};

use crate::{SOON, alone, up};

/// Runs a shell line in busybox with one volume, and gives what it prints.
fn shell(world: &World, volume: &str, line: &str) -> String {
    world.ok(&[
        "run",
        "-v",
        volume,
        &world.image("busybox"),
        "--",
        "sh",
        "-ec",
        line,
    ])
}

#[test]
fn what_one_task_writes_the_next_one_reads() {
    let _alone = alone();
    let world = up();
    let mut oracle = Oracle::default();
    oracle.assert_holds(&world);
    world.ok(&[
        "volume", "create", "data", "--class", "local", "--size", "64M",
    ]);
    assert_eq!(world.volume("data").unwrap()["state"], "ready");

    shell(&world, "data:/data", "echo hello > /data/file; sync");
    let read = shell(&world, "data:/data:ro", "cat /data/file");
    assert_eq!(read, "hello\n");
    oracle
        .expectations
        .read_back
        .push(("file".into(), "hello\n".into(), read));
    oracle.assert_holds(&world);
    let told = world.sutler(&[
        "run",
        "-v",
        "data:/data:ro",
        &world.image("busybox"),
        "--",
        "touch",
        "/data/x",
    ]);
    told.expect(1, &["Read-only file system"]);
}

#[test]
fn a_mount_undone_by_hand_is_made_anew_for_the_next_task_when_its_holder_is_gone() {
    let _alone = alone();
    let world = up();
    world.ok(&["volume", "create", "data", "--size", "64M"]);
    let image = world.image("busybox");
    let line = "echo hello > /data/file; sync; exec sleep 1000";
    world.ok(&[
        "run",
        "-d",
        "--name",
        "holder",
        "-v",
        "data:/data",
        &image,
        "--",
        "sh",
        "-ec",
        line,
    ]);
    world.wait_task("holder", "running", SOON).unwrap();
    poll::until("the file is written", SOON, || -> Result<(), String> {
        let told = world.sutler(&[
            "run",
            "-v",
            "data:/data:ro",
            &image,
            "--",
            "cat",
            "/data/file",
        ]);
        poll::holds(told.stdout == "hello\n", || told.to_string())
    })
    .unwrap();
    let id = world.volume("data").unwrap()["volume_id"].clone();
    let id = id.as_str().expect("it has one");
    let target = world.agent_state_dirs()[0].join(format!("agent/volumes/local/{id}/target"));
    rustix::mount::unmount(&target, rustix::mount::UnmountFlags::empty()).expect("it is mounted");
    let reader = [
        "run",
        "-v",
        "data:/data:ro",
        &image,
        "--",
        "cat",
        "/data/file",
    ];
    let read = std::thread::scope(|scope| {
        let read = scope.spawn(|| world.ok(&reader));
        poll::until("the reader's wait is explained", SOON, || {
            let why = world.ok(&["volume", "why", "data"]);
            let told = why.contains("its mount is gone without our doing")
                && why.contains("sutler task stop holder");
            poll::holds(told, || why)
        })
        .unwrap();
        let holder = world.wait_task("holder", "running", SOON);
        holder.expect("it keeps the mount that its container has");
        world.ok(&["task", "stop", "holder"]);
        read.join().expect("it ends")
    });
    assert_eq!(read, "hello\n", "not the bare folder beneath");
    world.wait_volume("data", "ready", SOON).unwrap();
    Oracle::default().assert_holds(&world);
}

#[test]
fn a_volume_grows_with_its_data() {
    let _alone = alone();
    let world = up();
    world.ok(&["volume", "create", "data", "--size", "64M"]);
    shell(&world, "data:/data", "echo kept > /data/file");
    let kib = |world: &World| -> u64 {
        let told = shell(
            world,
            "data:/data",
            "df -k /data | awk 'END { print $(NF-4) }'",
        );
        told.trim().parse().expect("df prints a number")
    };
    let before = kib(&world);

    world.ok(&["volume", "grow", "data", "--size", "256M"]);

    let after = kib(&world);
    assert!(after > 3 * before, "{before} KiB became {after} KiB");
    assert!(world.volume("data").unwrap()["capacity"].as_u64() >= Some(256 << 20));
    assert_eq!(shell(&world, "data:/data", "cat /data/file"), "kept\n");
    let told = world.sutler(&["volume", "grow", "data", "--size", "10M"]);
    assert!(
        matches!(told.code, Some(2 | 4)),
        "a volume was made smaller: {told}"
    );
    Oracle::default().assert_holds(&world);
}

#[test]
fn a_removed_volume_comes_back_from_the_trash_and_a_purged_one_is_gone() {
    let _alone = alone();
    let world = up();
    world.ok(&["volume", "create", "data", "--size", "64M"]);
    shell(&world, "data:/data", "echo precious > /data/file");

    world.ok(&["volume", "rm", "data"]);
    assert_eq!(world.volume("data").unwrap()["state"], "trashed");
    let told = world.sutler(&["volume", "create", "data", "--size", "64M"]);
    told.expect(4, &["data", "trash"]);
    Oracle::default().assert_holds(&world);

    world.ok(&["volume", "restore", "data"]);
    assert_eq!(shell(&world, "data:/data", "cat /data/file"), "precious\n");

    world.ok(&["volume", "rm", "data", "--purge"]);
    let books = world.json(&["volume", "ls"]).unwrap();
    assert!(items(&books).is_empty(), "{books}");
    assert_eq!(oracle::volumes_of(&world, "local").unwrap(), []);
    assert_eq!(host::loop_devices_of(world.root()), []);
    world
        .sutler(&["volume", "show", "data"])
        .expect(1, &["data"]);
}

#[test]
fn run_makes_the_volume_that_it_names_with_a_size() {
    let _alone = alone();
    let world = up();
    shell(&world, "made:64M:/data", "echo here > /data/file");
    assert_eq!(shell(&world, "made:/data", "cat /data/file"), "here\n");
    world
        .sutler(&[
            "run",
            "-v",
            "other:/data",
            &world.image("busybox"),
            "--",
            "true",
        ])
        .expect(125, &["other"]);
}

#[test]
fn an_xfs_volume_and_a_raw_device_keep_their_data_too() {
    let _alone = alone();
    let world = up();
    world.ok(&[
        "volume",
        "create",
        "files",
        "--size",
        "320M",
        "--fs-type",
        "xfs",
    ]);
    let kind = shell(
        &world,
        "files:/data",
        "echo x > /data/f; grep ' /data ' /proc/mounts",
    );
    assert!(kind.contains(" xfs "), "{kind}");
    world.ok(&["volume", "grow", "files", "--size", "400M"]);
    assert_eq!(shell(&world, "files:/data", "cat /data/f"), "x\n");

    world.ok(&["volume", "create", "raw", "--size", "16M", "--block"]);
    shell(
        &world,
        "raw:/dev/raw",
        "echo block | dd of=/dev/raw conv=notrunc,fsync 2>/dev/null",
    );
    let read = shell(
        &world,
        "raw:/dev/raw",
        "test -b /dev/raw; head -c 6 /dev/raw",
    );
    assert_eq!(read, "block\n");
    Oracle::default().assert_holds(&world);
}

#[test]
fn one_writer_holds_a_volume_and_it_is_not_removed_from_under_it() {
    let _alone = alone();
    let world = up();
    world.ok(&["volume", "create", "data", "--size", "64M"]);
    let image = world.image("busybox");
    let hold = ["tail", "-f", "/dev/null"];
    let holder = [
        "run",
        "-d",
        "--name",
        "holder",
        "-v",
        "data:/data",
        &image,
        "--",
    ];
    world.ok(&[&holder[..], &hold].concat());
    world.wait_task("holder", "running", SOON).unwrap();

    world
        .sutler(&["volume", "rm", "data"])
        .expect(4, &["data", "holder"]);
    world
        .sutler(&["volume", "rm", "data", "--purge"])
        .expect(4, &["data", "holder"]);
    let second = [
        "run",
        "--name",
        "second",
        "-v",
        "data:/data",
        &image,
        "--",
        "true",
    ];
    world.sutler(&second).expect(125, &["data", "holder"]);
    let shown = world.ok(&["volume", "ls"]);
    assert!(shown.contains("holder"), "{shown}");
    Oracle::default().assert_holds(&world);

    world.ok(&["task", "stop", "holder"]);
    world.wait_volume("data", "ready", SOON).unwrap();
    world.ok(&["volume", "rm", "data", "--purge"]);
    Oracle::default().assert_holds(&world);
}

#[test]
fn why_tells_the_steps_of_a_volumes_life() {
    let _alone = alone();
    let world = up();
    world.ok(&["volume", "create", "data", "--size", "64M"]);
    shell(&world, "data:/data", "true");
    let told = world.ok(&["volume", "why", "data"]);
    assert!(told.contains("ready"), "{told}");
    let why = world.json(&["volume", "why", "data"]).unwrap();
    assert!(items(&why["steps"]).len() >= 3, "{why}");
}
