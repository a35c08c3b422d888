//! State folders that are not as they should be: in use, read only, full, elsewhere, newer,
//! damaged. Named, refused, nothing lost, no loop of restarts.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sutler_testkit::oracle::Oracle;
use sutler_testkit::poll;
use sutler_testkit::world::{World, items};

use crate::{SOON, alone, config, up};

/// Mounts a tmpfs; the world unmounts it when it goes.
fn mount_tmpfs(at: &Path, options: &str) {
    fs::create_dir_all(at).unwrap();
    let status = Command::new("mount")
        .args(["-t", "tmpfs", "-o", options, "tmpfs"])
        .arg(at)
        .status();
    assert!(status.expect("mount is there").success());
}

/// Bytes left free, one after the other, so that the disk is full at a different write each time.
const ROOM_LEFT: [u64; 6] = [4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 6 << 20];

/// Longest wait for a plugin's free space to be asked for again.
const FREE_TOLD_WITHIN: Duration = Duration::from_secs(90);

/// Writes to a file until nothing more fits.
fn fill(filler: &Path) {
    let mut file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(filler)
        .unwrap();
    for block in [1 << 20, 4 << 10, 1] {
        while file.write_all(&vec![0; block]).is_ok() {}
    }
}

/// Makes a full file smaller.
fn give_room(filler: &Path, bytes: u64) {
    let file = fs::OpenOptions::new().write(true).open(filler).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(length.saturating_sub(bytes)).unwrap();
}

/// Gives the store files below a state folder.
fn stores(state_dir: &Path) -> Vec<PathBuf> {
    let mut folders = vec![state_dir.to_owned()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|ending| ending == "redb") {
                found.push(path);
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir())
                && path.starts_with(state_dir)
            {
                let skipped = ["images", "containers", "volumes", "plugins"];
                if !skipped.iter().any(|name| path.ends_with(name)) {
                    folders.push(path);
                }
            }
        }
    }
    found
}

/// Starts the world's process, which must end by itself with a failure, and gives its words.
fn refused(world: &mut World) -> String {
    world.start_all().unwrap();
    let status = world.master().wait_end(SOON).expect("it ends by itself");
    assert!(!status.success(), "{status}");
    world.master().log()
}

#[test]
fn a_second_program_on_one_state_folder_is_refused() {
    let _alone = alone();
    let world = up();
    let folder = world.state_dir().display().to_string();
    let told = world.sutler(&["up", "--listen", "127.0.0.1:0", "--no-local"]);
    told.expect(1, &["error:", &folder]);
    let told = world.sutler(&["--json", "up", "--listen", "127.0.0.1:0", "--no-local"]);
    told.expect(1, &["{\"", "\"exit_status\":1", &folder]);
    world.ok(&["volume", "create", "data", "--size", "64M"]);
}

#[test]
fn a_state_folder_that_cannot_be_written_is_named() {
    let _alone = alone();
    let mut world = World::stopped(config().without_local()).unwrap();
    mount_tmpfs(world.state_dir(), "ro,size=1M");
    let folder = world.state_dir().display().to_string();
    let said = refused(&mut world);
    assert!(said.contains(&folder), "{said}");
}

#[test]
fn a_damaged_store_is_named_and_refused() {
    let _alone = alone();
    let mut world = up();
    world.master().terminate(SOON).unwrap();
    for store in stores(world.state_dir()) {
        let keep = fs::read(&store).unwrap();
        let file = fs::OpenOptions::new().write(true).open(&store).unwrap();
        file.write_all_at(&[0xA5; 4096], 0).unwrap();
        let name = store.file_name().unwrap().to_string_lossy().into_owned();
        let said = refused(&mut world);
        assert!(said.contains(&name), "{name} is not named: {said}");
        assert_eq!(
            fs::read(&store).unwrap()[..4096],
            [0xA5; 4096],
            "it was overwritten"
        );
        fs::write(&store, keep).unwrap();
    }
    world.start_all().unwrap();
    world.wait_ready().unwrap();
}

#[test]
fn a_store_of_a_newer_version_is_refused_and_left_as_it_is() {
    let _alone = alone();
    let mut world = World::up(config().without_local()).expect("the cluster comes up");
    world.master().terminate(SOON).unwrap();
    for store in stores(world.state_dir()) {
        let kind = if store.starts_with(world.state_dir().join("agent")) {
            "agent"
        } else {
            "master"
        };
        let keep = fs::read(&store).unwrap();
        fs::remove_file(&store).unwrap();
        let newer = sutler_store::Schema { kind, version: 999 };
        drop(sutler_store::Store::open(&store, newer).expect("a fresh store"));
        let said = refused(&mut world);
        let name = store.file_name().unwrap().to_string_lossy().into_owned();
        assert!(said.contains("999") && said.contains(&name), "{said}");
        fs::write(&store, keep).unwrap();
    }
    world.start_all().unwrap();
    world.wait_ready().unwrap();
}

#[test]
fn a_full_state_folder_on_another_file_system_refuses_and_recovers_by_itself() {
    let _alone = alone();
    let mut world = World::stopped(config()).unwrap();
    let state_dir = world.state_dir().to_owned();
    mount_tmpfs(&state_dir, "size=400M");
    world.start_all().unwrap();
    world.wait_ready().unwrap();
    world.ok(&["volume", "create", "before", "--size", "16M"]);

    let filler = state_dir.join("filler");
    fill(&filler);
    let told = world.sutler(&["volume", "create", "during", "--size", "16M"]);
    assert!(told.code != Some(0), "{told}");
    let told_full = ["full", "space", "do not fit"]
        .iter()
        .any(|text| told.stderr.contains(text));
    assert!(told_full, "{told}");
    for free in ROOM_LEFT {
        give_room(&filler, free);
        let name = format!("with-{free}");
        // Each may succeed or be refused, but ends, and takes nothing down.
        world.sutler(&["volume", "create", &name, "--size", "4M"]);
        world.sutler(&[
            "run",
            "-v",
            "before:/data",
            &world.image("busybox"),
            "--",
            "true",
        ]);
        world.sutler(&["volume", "rm", &name, "--purge"]);
        world.master().ensure_running().unwrap();
        fill(&filler);
    }
    let shown = world.ok(&["volume", "ls"]);
    assert!(shown.contains("before"), "{shown}");

    fs::remove_file(&filler).unwrap();
    poll::until("a volume can be made again", FREE_TOLD_WITHIN, || {
        let told = world.sutler(&["volume", "create", "after", "--size", "16M"]);
        poll::holds(told.code == Some(0), || told.to_string())
    })
    .unwrap();
    let image = world.image("busybox");
    let line = "echo x > /data/f; cat /data/f";
    world.ok(&["run", "-v", "after:/data", &image, "--", "sh", "-ec", line]);
    for volume in items(&world.json(&["volume", "ls"]).unwrap()) {
        world.ok(&[
            "volume",
            "rm",
            volume["name"].as_str().expect("has one"),
            "--purge",
        ]);
    }
    Oracle::default().assert_holds(&world);
}
