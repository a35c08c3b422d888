//! What a plugin may do to others: it sees its own volumes alone, and what it makes in place of
//! a volume is looked at, never followed.

use std::fs;
use std::path::{Path, PathBuf};

use sutler_api::agent::{AgentQuery, TaskReport};
use sutler_api::plugin::{DesiredPlugin, PluginState};
use sutler_api::task::{LogQuery, TaskState};
use sutler_api::volume::{AccessType, VolumeSpec};
use sutler_ids::{PluginName, Problem};
use sutler_testkit::fake_plugin::{FakeConfig, FakePlugin, Makes};
use sutler_testkit::host;

use crate::making::{WAITS, creation, plugin_like, with_volume};
use crate::world::World;

/// A device of the host that every one has; its numbers do no harm.
const RAM_DISK: Makes = Makes::BlockNode { major: 1, minor: 0 };

fn unprivileged(world: &World, name: &str) -> DesiredPlugin {
    let mut plugin = world.plugin(name, WAITS);
    plugin.definition.privileged = false;
    plugin
}

/// Brings up a plugin that makes something else than it is asked for.
async fn hostile(world: &World, access: AccessType, makes: Makes) -> (FakePlugin, VolumeSpec) {
    let config = FakeConfig {
        touches_files: true,
        makes,
        ..FakeConfig::bare()
    };
    let (fake, mut spec) = plugin_like(world, unprivileged(world, "fake"), config).await;
    spec.access = access;
    world.master.want(|desired| {
        desired.operations.push(creation(&spec));
        desired.volumes.push(spec.volume_id);
    });
    (fake, spec)
}

/// Runs a task with the volume at /data to its end.
async fn run(world: &World, spec: &VolumeSpec, script: &str) -> (TaskReport, String) {
    let task = with_volume(world.task("t1", script), spec);
    let task_id = task.task_id.clone();
    world.master.run(task);
    let report = world.master.wait_end(&task_id).await;
    let log = LogQuery::default();
    let said = match report.state {
        TaskState::Finished => {
            let query = AgentQuery::TaskLogs { task_id, log };
            world.master.ask(query).await
        }
        _ => String::new(),
    };
    (report, said)
}

/// What a task is told whose plugin has made this.
fn refusal(access: AccessType, makes: Makes) -> Problem {
    let world = World::new();
    let (report, said) = world.run(async {
        let (_fake, spec) = hostile(&world, access, makes).await;
        run(&world, &spec, "ls /data; ls /data/*").await
    });
    assert_eq!(report.state, TaskState::Failed, "{report:?}: {said}");
    assert_eq!(pinned(&world), [] as [PathBuf; 0]);
    report.problem.expect("a reason")
}

/// Mounts of tasks' volumes on the host.
fn pinned(world: &World) -> Vec<PathBuf> {
    let below = host::mounts_under(&world.agent_dir().join("rootfs"));
    let points = below.into_iter().map(|mount| mount.point);
    points
        .filter(|point| point.iter().any(|part| part == "volumes"))
        .collect()
}

fn assert_tells(problem: &Problem, texts: &[&str]) {
    let told = format!("{problem} {:?}", problem.raw);
    for text in texts {
        assert!(told.contains(text), "wanted {text:?}: {told}");
    }
}

#[test]
fn a_link_in_place_of_a_volume_is_told_and_gives_nothing_of_the_host() {
    let secret = tempfile::tempdir().expect("a folder");
    fs::create_dir(secret.path().join("target")).expect("a folder");
    let to = secret.path().to_owned();
    let problem = refusal(AccessType::Mount, Makes::LinkTo(to.clone()));
    let shown = to.display().to_string();
    assert_tells(
        &problem,
        &["plugin fake", "/target", "symbolic link", &shown],
    );
    let problem = refusal(AccessType::Mount, Makes::FolderLinkTo(to));
    assert_tells(&problem, &["plugin fake", "symbolic link", &shown]);
}

#[test]
fn a_volume_of_another_kind_than_was_asked_for_is_told() {
    let problem = refusal(AccessType::Mount, Makes::Fifo);
    assert_tells(&problem, &["plugin fake", "/target", "pipe", "folder"]);
    let problem = refusal(AccessType::Mount, RAM_DISK);
    assert_tells(&problem, &["plugin fake", "/target", "block device"]);
    let problem = refusal(AccessType::Block, Makes::Asked);
    assert_tells(&problem, &["plugin fake", "/target", "a file"]);
    let link = Makes::LinkTo("/dev/loop0".into());
    let problem = refusal(AccessType::Block, link);
    assert_tells(&problem, &["plugin fake", "/target", "symbolic link"]);
}

#[test]
fn a_node_that_a_plugin_made_by_itself_is_believed_of_a_privileged_one_only() {
    let problem = refusal(AccessType::Block, RAM_DISK);
    assert_tells(
        &problem,
        &["plugin fake", "/target", "not mounted", "privileged"],
    );
    let world = World::new();
    let (report, said) = world.run(async {
        let config = FakeConfig {
            touches_files: true,
            makes: RAM_DISK,
            ..FakeConfig::bare()
        };
        let (_fake, mut spec) = plugin_like(&world, world.plugin("fake", WAITS), config).await;
        spec.access = AccessType::Block;
        world.master.want(|desired| {
            desired.operations.push(creation(&spec));
            desired.volumes.push(spec.volume_id);
        });
        run(&world, &spec, "test -b /data && echo a device").await
    });
    assert_eq!(said, "a device\n", "{report:?}");
    assert_eq!(pinned(&world), [] as [PathBuf; 0]);
}

#[test]
fn a_plugin_sees_its_own_volumes_and_no_others() {
    let world = World::new();
    world.run(async {
        let config = FakeConfig {
            touches_files: true,
            ..FakeConfig::bare()
        };
        let (_fake, spec) = plugin_like(&world, unprivileged(&world, "fake"), config).await;
        world.master.want(|desired| {
            desired.operations.push(creation(&spec));
            desired.volumes.push(spec.volume_id);
            desired.plugins.push(unprivileged(&world, "other"));
        });
        let other = PluginName::new("other").expect("a name");
        let up = |i: &sutler_api::plugin::PluginInstanceView| i.state == PluginState::Probing;
        world.master.wait_plugin(&other, up).await;
        let task = with_volume(world.task("t1", "echo kept > /data/f; sleep 1000"), &spec);
        let task_id = task.task_id.clone();
        world.master.run(task);
        let runs = |r: &TaskReport| r.state == TaskState::Running;
        world.master.wait_task(&task_id, runs).await;
        // By the name that the agent uses, as the other plugin sees it.
        let seen = seen_by(&world, "other").join("volumes");
        let names = |path: &Path| -> Vec<_> {
            let entries = fs::read_dir(path).expect("it is there").flatten();
            entries.map(|entry| entry.file_name()).collect()
        };
        assert_eq!(names(&seen), ["other"]);
        let own = seen_by(&world, "fake").join("volumes/fake");
        assert_eq!(names(&own), [spec.volume_id.to_string().as_str()]);
        let file = own.join(spec.volume_id.to_string()).join("target/f");
        assert_eq!(fs::read_to_string(file).expect("it is there"), "kept\n");
        world.master.stop(&task_id);
        world.master.wait_end(&task_id).await;
    });
}

#[test]
fn a_pin_that_a_death_left_goes_at_the_next_start_and_the_task_keeps_its_volume() {
    let mut world = World::new();
    let (_fake, task_id) = world.run(async {
        let config = FakeConfig {
            touches_files: true,
            ..FakeConfig::bare()
        };
        let (fake, spec) = plugin_like(&world, unprivileged(&world, "fake"), config).await;
        world.master.want(|desired| {
            desired.operations.push(creation(&spec));
            desired.volumes.push(spec.volume_id);
        });
        let script = "while [ ! -e /data/end ]; do sleep 0.1; done; echo seen";
        let task = with_volume(world.task("t1", script), &spec);
        let task_id = task.task_id.clone();
        world.master.run(task);
        let runs = |r: &TaskReport| r.state == TaskState::Running;
        world.master.wait_task(&task_id, runs).await;
        (fake, task_id)
    });
    assert_eq!(pinned(&world), [] as [PathBuf; 0]);
    world.crash();
    let volumes = world.agent_dir().join("volumes/fake");
    let volume = fs::read_dir(volumes).expect("made").next().expect("one");
    let volume = volume.expect("readable").path().join("target");
    // As a death between the pins and the start leaves it, of this task and of one unknown.
    let rootfs = world.agent_dir().join("rootfs");
    for pin in ["task-t1/volumes/0", "task-gone/volumes/0"].map(|name| rootfs.join(name)) {
        fs::create_dir_all(&pin).expect("a folder");
        rustix::mount::mount_bind(&volume, &pin).expect("run as root");
    }
    world.master.forget_updates();
    world.start().expect("it starts again");
    world.run(async {
        let runs = |r: &TaskReport| r.state == TaskState::Running;
        world.master.wait_task(&task_id, runs).await;
    });
    assert_eq!(pinned(&world), [] as [PathBuf; 0]);
    assert!(!rootfs.join("task-gone").exists());
    fs::write(volume.join("end"), "").expect("a file");
    let end = world.run(world.master.wait_end(&task_id));
    assert_eq!(end.state, TaskState::Finished, "{end:?}");
}

#[test]
fn a_link_that_a_plugin_left_in_its_folder_is_not_mounted_at_its_next_start() {
    let world = World::new();
    let mut plugin = unprivileged(&world, "fake");
    plugin.definition.mounts = vec!["{{state_dir}}/conf:/conf".to_owned()];
    let name = plugin.name.clone();
    let state = world.agent_dir().join("plugins/fake/state");
    fs::create_dir_all(&state).expect("a folder");
    std::os::unix::fs::symlink("/etc", state.join("conf")).expect("a link");
    world.master.want(|desired| desired.plugins.push(plugin));
    let told = |i: &sutler_api::plugin::PluginInstanceView| i.problem.is_some();
    let told = world.run(world.master.wait_plugin(&name, told));
    let problem = told.problem.expect("asked for");
    assert_tells(
        &problem,
        &["plugin fake", "state/conf", "symbolic link", "/etc"],
    );
}

/// The agent's folder as the container of a plugin shows it.
fn seen_by(world: &World, plugin: &str) -> PathBuf {
    let folder = world.agent_dir().join("containers");
    let record = folder.join(format!("plugin-{plugin}")).join("shim.json");
    let record = fs::read(record).expect("it runs");
    let record: serde_json::Value = serde_json::from_slice(&record).expect("JSON");
    let pid = record["container"]["pid"].as_i64().expect("a process");
    let inside = world.agent_dir();
    let inside = inside.strip_prefix("/").expect("absolute");
    Path::new("/proc")
        .join(pid.to_string())
        .join("root")
        .join(inside)
}
