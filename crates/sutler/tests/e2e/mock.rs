//! A plugin that nobody here wrote: Kubernetes' mock driver, by reference from a registry, with
//! attach, staging, topology and expansion on. It forgets its volumes when it dies.

use rustix::process::{Pid, Signal, kill_process};
use sutler_images::{AuthSources, RegistryReference, push};
use sutler_testkit::oracle::{self, Oracle};
use sutler_testkit::poll;
use sutler_testkit::world::{Registry, World, images_folder, items};

use crate::{SOON, alone, config};

/// Our name for the plugin, made from its image.
const PLUGIN: &str = "mock-driver";

/// Volumes that the mock driver has from its start, which are not ours.
const FOREIGN: [&str; 3] = ["1", "2", "3"];

/// Starts a registry with the plugin's image, and a cluster that has added it.
fn world_with_mock() -> (Registry, World) {
    let registry = Registry::start().expect("docker-registry is installed");
    push_image("mock-driver", &registry.reference("csi/mock-driver:latest"));
    let world = World::up(config().without_local()).expect("the cluster comes up");
    let reference = registry.reference("csi/mock-driver:latest");
    let path = world.root().join(format!("{PLUGIN}.toml"));
    let lines = ["mounts = [\"/dev\"]", "mounts_volumes = false"].join("\n");
    std::fs::write(&path, format!("image = {reference:?}\n{lines}\n")).unwrap();
    world.ok(&["plugin", "add", &path.display().to_string()]);
    world.wait_class(PLUGIN, 1).unwrap();
    (registry, world)
}

/// Pushes a packed image.
pub(crate) fn push_image(name: &str, reference: &str) {
    let target: RegistryReference = reference.parse().expect("a reference");
    let layout = images_folder().join(name);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime
        .block_on(push(&layout, None, &target, &AuthSources::none()))
        .expect("it is pushed");
}

fn oracle() -> Oracle {
    let mut oracle = Oracle::default();
    let foreign = FOREIGN.map(str::to_owned).into();
    oracle
        .expectations
        .foreign
        .insert(PLUGIN.to_owned(), foreign);
    oracle
}

/// Gives the calls that the plugin has logged, oldest first.
fn calls(world: &World) -> Vec<String> {
    let log = world.ok(&["plugin", "logs", PLUGIN]);
    let method = |line: &str| {
        let after = line.split_once("\"Method\":\"/csi.v1.")?.1;
        Some(after.split_once('"')?.0.split_once('/')?.1.to_owned())
    };
    log.lines().filter_map(method).collect()
}

fn forget(calls: &[String], of: &[&str]) -> Vec<String> {
    calls
        .iter()
        .filter(|call| of.contains(&call.as_str()))
        .cloned()
        .collect()
}

/// Kills the plugin's process and waits until another one serves.
fn kill_plugin(world: &World) {
    let before = world
        .plugin_container(PLUGIN)
        .unwrap()
        .init
        .expect("it runs");
    kill_process(Pid::from_raw(before).expect("a pid"), Signal::KILL).expect("it runs");
    poll::until("the plugin runs again", SOON, || -> Result<(), String> {
        let container = world
            .plugin_container(PLUGIN)
            .map_err(|error| error.to_string())?;
        poll::holds(container.init != Some(before), || "the old one".to_owned())
    })
    .unwrap();
    world.wait_class(PLUGIN, 1).unwrap();
}

#[test]
fn a_strangers_plugin_is_driven_through_its_whole_life() {
    let _alone = alone();
    let (_registry, world) = world_with_mock();
    let plugin = world.json(&["plugin", "show", PLUGIN]).unwrap();
    let facts = &items(&plugin["instances"])[0]["facts"];
    assert_eq!(facts["driver_name"], "mock.sutler.test", "{plugin}");
    assert!(
        facts["topology"].as_object().is_some_and(|t| !t.is_empty()),
        "{facts}"
    );
    let image = world.image("busybox");

    world.ok(&[
        "volume", "create", "data", "--class", PLUGIN, "--size", "1G",
    ]);
    let line = "echo hello > /data/file; cat /data/file";
    world.ok(&["run", "-v", "data:/data", &image, "--", "sh", "-ec", line]);
    world.ok(&["volume", "grow", "data", "--size", "2G"]);
    world.ok(&["run", "-v", "data:/data", &image, "--", "true"]);
    oracle().assert_holds(&world);
    world.ok(&["volume", "rm", "data", "--purge"]);
    oracle().assert_holds(&world);

    let seen = calls(&world);
    let life = [
        "CreateVolume",
        "ControllerPublishVolume",
        "NodeStageVolume",
        "NodePublishVolume",
        "NodeUnpublishVolume",
        "NodeUnstageVolume",
        "ControllerUnpublishVolume",
        "ControllerExpandVolume",
        "NodeExpandVolume",
        "DeleteVolume",
    ];
    for call in life {
        assert!(
            seen.iter().any(|seen| seen == call),
            "no {call} in {seen:?}"
        );
    }
    let order = forget(&seen, &life);
    assert_eq!(order[..7], life.map(str::to_owned)[..7], "{order:?}");
    assert_eq!(
        order.iter().filter(|call| *call == "CreateVolume").count(),
        1
    );
    assert_eq!(order.last().map(String::as_str), Some("DeleteVolume"));
    let pinned = world.json(&["plugin", "show", PLUGIN]).unwrap();
    let digest = &items(&pinned["instances"])[0]["image_digest"];
    assert!(
        digest.as_str().is_some_and(|d| d.starts_with("sha256:")),
        "{pinned}"
    );
}

#[test]
fn what_a_plugin_says_is_published_and_is_no_mount_is_handed_to_no_task() {
    let _alone = alone();
    let registry = Registry::start().expect("docker-registry is installed");
    let reference = registry.reference("csi/mock-driver:latest");
    push_image("mock-driver", &reference);
    let world = World::up(config().without_local()).expect("the cluster comes up");
    // By its bare image nothing says that it mounts nothing by design.
    world.ok(&["plugin", "add", &reference]);
    world.wait_class(PLUGIN, 1).unwrap();
    world.ok(&[
        "volume", "create", "data", "--class", PLUGIN, "--size", "1G",
    ]);
    let image = world.image("busybox");
    let told = world.sutler(&["run", "-v", "data:/data", &image, "--", "touch", "/data/f"]);
    told.expect(125, &["nothing is mounted at", "mounts_volumes = false"]);
    world.wait_volume("data", "ready", SOON).unwrap();
    let down = forget(&calls(&world), &["ControllerUnpublishVolume"]);
    assert_eq!(down.len(), 1, "what was done is undone");
    world.ok(&["volume", "rm", "data", "--purge"]);
    oracle().assert_holds(&world);
}

#[test]
fn a_volume_that_its_plugin_forgot_is_missing_and_never_made_again() {
    let _alone = alone();
    let (_registry, world) = world_with_mock();
    let image = world.image("busybox");
    world.ok(&[
        "volume", "create", "data", "--class", PLUGIN, "--size", "1G",
    ]);
    let before = world.volume("data").unwrap();

    kill_plugin(&world);

    let missing = world.wait_volume("data", "missing", SOON).unwrap();
    assert_eq!(
        missing["csi_volume_id"], before["csi_volume_id"],
        "the books changed"
    );
    assert!(missing["problem"]["what"].is_string(), "{missing}");
    let told = world.sutler(&["run", "-v", "data:/data", &image, "--", "true"]);
    told.expect(125, &["data"]);
    let why = world.ok(&["volume", "why", "data"]);
    assert!(why.contains("missing"), "{why}");
    let made = forget(&calls(&world), &["CreateVolume"]);
    assert!(made.len() <= 1, "it was made again: {made:?}");
    let listed = oracle::volumes_of(&world, PLUGIN).unwrap();
    assert_eq!(listed.len(), FOREIGN.len(), "{listed:?}");

    world.ok(&["volume", "rm", "data", "--purge"]);
    assert!(items(&world.json(&["volume", "ls"]).unwrap()).is_empty());
    oracle().assert_holds(&world);
}

#[test]
fn a_volume_whose_plugin_is_gone_for_good_is_forgotten_at_the_second_word() {
    let _alone = alone();
    let (_registry, world) = world_with_mock();
    let create = [
        "volume", "create", "data", "--class", PLUGIN, "--size", "1G",
    ];
    world.ok(&create);
    let id = world.volume("data").unwrap()["csi_volume_id"].clone();
    let id = id.as_str().expect("it was made");
    let first = world.sutler(&["volume", "rm", "data", "--forget"]);
    first.expect(1, &["cannot be taken back", id, "--forget --yes"]);
    world.wait_volume("data", "ready", SOON).unwrap();
    let told = world.sutler(&["volume", "rm", "data", "--forget", "--yes"]);
    told.expect(0, &["data is forgotten", id]);
    assert!(items(&world.json(&["volume", "ls"]).unwrap()).is_empty());
    assert!(forget(&calls(&world), &["DeleteVolume"]).is_empty());
    world.ok(&["plugin", "rm", PLUGIN]);
}

#[test]
fn a_task_ends_and_lets_go_though_its_plugin_forgot_the_volume() {
    let _alone = alone();
    let (_registry, world) = world_with_mock();
    let image = world.image("busybox");
    world.ok(&[
        "volume", "create", "data", "--class", PLUGIN, "--size", "1G",
    ]);
    let hold = [
        "run",
        "-d",
        "--name",
        "holder",
        "-v",
        "data:/data",
        &image,
        "--",
    ];
    world.ok(&[&hold[..], &["tail", "-f", "/dev/null"]].concat());
    world.wait_task("holder", "running", SOON).unwrap();

    kill_plugin(&world);

    assert_eq!(
        world.json(&["task", "show", "holder"]).unwrap()["state"],
        "running"
    );
    world.ok(&["task", "stop", "holder"]);
    world.wait_task("holder", "killed", SOON).unwrap();
    world.wait_volume("data", "missing", SOON).unwrap();
    world.ok(&["volume", "rm", "data", "--purge"]);
    assert!(items(&world.json(&["volume", "ls"]).unwrap()).is_empty());
    world.ok(&["plugin", "rm", PLUGIN]);
    assert!(items(&world.json(&["plugin", "ls"]).unwrap()).is_empty());
}
