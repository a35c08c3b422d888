//! Plugins: every way of not coming up is told, and one that comes up serves volumes.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use sutler_api::agent::{Outcome, TaskReport, VolumeAct, VolumeOperation};
use sutler_api::plugin::{PluginInstanceView, PluginState};
use sutler_api::task::{TaskState, TaskVolume};
use sutler_api::volume::{AccessType, VolumeSpec};
use sutler_csi::Rpc;
use sutler_csi::proto::GetCapacityRequest;
use sutler_ids::Bytes;
use sutler_ids::{ClassName, OperationUuid, VolumeId, VolumeName};
use sutler_testkit::fake_plugin::{FakeConfig, FakePlugin, Fault, When};
use uuid::Uuid;

use crate::making::{WAITS, creation, with_volume};
use crate::world::World;

fn backing_off(instance: &PluginInstanceView) -> bool {
    instance.state == PluginState::BackingOff
}

#[test]
fn a_plugin_that_ends_at_once_is_told_with_its_last_words_and_harms_nobody() {
    let world = World::new();
    world.run(async {
        let plugin = world.plugin("bad", "echo no config given; exit 4");
        let name = plugin.name.clone();
        world.master.want(|desired| desired.plugins.push(plugin));
        let told = world.master.wait_plugin(&name, backing_off).await;
        let problem = told.problem.expect("a reason");
        assert_eq!(
            problem.what,
            "plugin bad ended before it was ready with exit status 4"
        );
        assert_eq!(problem.raw.as_deref(), Some("no config given"));
        assert_eq!(told.log_tail, ["no config given"]);
        assert!(told.retry_at.is_some());
        let again = |i: &PluginInstanceView| backing_off(i) && i.restarts >= 2;
        world.master.wait_plugin(&name, again).await;
        let task = world.task("t1", "true");
        let id = task.task_id.clone();
        world.master.run(task);
        assert_eq!(world.master.wait_end(&id).await.state, TaskState::Finished);
    });
}

#[test]
fn a_plugin_that_never_listens_or_listens_elsewhere_is_told_so() {
    let world = World::new();
    world.run(async {
        let plugin = world.plugin("deaf", "echo up; while :; do sleep 0.1; done");
        let name = plugin.name.clone();
        world.master.want(|desired| desired.plugins.push(plugin));
        let told = world.master.wait_plugin(&name, backing_off).await;
        let problem = told.problem.expect("a reason");
        let what = "plugin deaf did not open its socket /csi/csi.sock within 1s";
        assert_eq!(problem.what, what);
        assert_eq!(told.log_tail, ["up"]);

        let mut plugin = world.plugin("odd", "echo up; while :; do sleep 0.1; done");
        plugin.definition.startup_timeout = "3s".to_owned();
        let name = plugin.name.clone();
        world.master.want(|desired| desired.plugins.push(plugin));
        world
            .master
            .wait_plugin(&name, |i| i.state == PluginState::Probing)
            .await;
        // What the plugin itself would do; busybox cannot listen at a unix socket.
        let tmp = world.agent_dir().join("rootfs/plugin-odd/rootfs/tmp");
        // Closed at once: an open one would keep the file system busy, as no container does.
        drop(UnixListener::bind(tmp.join("odd.sock")).expect("its file system is there"));
        let told = world.master.wait_plugin(&name, backing_off).await;
        let problem = told.problem.expect("a reason");
        assert_eq!(
            problem.what,
            "plugin odd listens at /tmp/odd.sock inside its container, not at /csi/csi.sock"
        );
    });
}

#[test]
fn a_missing_need_and_a_missing_image_are_named() {
    let world = World::new();
    world.run(async {
        let mut needy = world.plugin("needy", "true");
        needy.definition.needs = vec!["path:/nowhere".to_owned()];
        let mut absent = world.plugin("absent", "true");
        absent.definition.image = "oci:/nowhere".to_owned();
        let names = [needy.name.clone(), absent.name.clone()];
        world
            .master
            .want(|desired| desired.plugins.extend([needy, absent]));
        let [needy, absent] = names;
        let told = world.master.wait_plugin(&needy, backing_off).await;
        assert!(
            told.problem
                .expect("a reason")
                .what
                .contains("\"path:/nowhere\"")
        );
        let told = world.master.wait_plugin(&absent, backing_off).await;
        assert!(
            told.problem
                .expect("a reason")
                .what
                .contains("oci:/nowhere")
        );
    });
}

pub fn volume(plugin: &sutler_ids::PluginName) -> VolumeSpec {
    VolumeSpec {
        volume_id: VolumeId::new(Uuid::new_v4()),
        name: VolumeName::new("v1").expect("a name"),
        class: ClassName::new("fake").expect("a name"),
        plugin: plugin.clone(),
        capacity: Bytes::mib(10),
        access: AccessType::Mount,
        fs_type: None,
        mount_flags: Vec::new(),
        parameters: BTreeMap::new(),
    }
}

#[test]
fn a_plugin_that_answers_serves_a_volume_to_a_task_and_outlives_the_agent() {
    let mut world = World::new();
    let mut plugin = world.plugin("fake", "while :; do sleep 0.1; done");
    plugin.definition.startup_timeout = "60s".to_owned();
    let slow = sutler_api::definition::ClassDefinition {
        parameters: [("kind".to_owned(), "slow".to_owned())].into(),
        ..Default::default()
    };
    let slow_name = ClassName::new("slow").expect("a name");
    plugin.definition.class.insert(slow_name, slow);
    let name = plugin.name.clone();
    let ready = |i: &PluginInstanceView| i.state == PluginState::Ready;
    let (fake, operation, spec) = world.run(async {
        world.master.want(|desired| desired.plugins.push(plugin));
        world
            .master
            .wait_plugin(&name, |i| i.state == PluginState::Probing)
            .await;
        let config = FakeConfig {
            touches_files: true,
            ..FakeConfig::default()
        };
        let fake = FakePlugin::start(&world.sockets_of(&name), config);
        let told = world.master.wait_plugin(&name, ready).await;
        assert_eq!(
            told.facts.expect("it answered").driver_name,
            "fake.csi.sutler.dev"
        );
        let slow = ClassName::new("slow").expect("a name");
        let room = |i: &PluginInstanceView| i.free.contains_key(&slow) && i.free.len() == 2;
        world.master.wait_plugin(&name, room).await;
        let asked = fake.calls().into_iter();
        let asked = asked.filter(|call| call.rpc == Rpc::GetCapacity);
        let kinds: BTreeSet<_> = asked
            .map(|call| call.args::<GetCapacityRequest>().parameters.into_values())
            .map(Vec::from_iter)
            .collect();
        assert_eq!(kinds, [vec![], vec!["slow".to_owned()]].into());
        let spec = volume(&name);
        let operation = VolumeOperation {
            operation_uuid: OperationUuid::new(spec.volume_id.uuid()),
            volume_id: spec.volume_id,
            act: VolumeAct::Create(spec.clone()),
        };
        world.master.want(|desired| {
            desired.operations.push(operation.clone());
            desired.volumes.push(spec.volume_id);
        });
        let report = world.master.wait_operation(operation.operation_uuid).await;
        assert_eq!(report.outcome, Outcome::Finished);
        (fake, operation, spec)
    });
    world.run(async {
        world.master.want(|desired| desired.operations.clear());
        let mut task = world.task("t1", "echo kept > /data/f; cat /data/f; sleep 1000");
        task.volumes.push(TaskVolume {
            volume_id: spec.volume_id,
            name: spec.name.clone(),
            path: "/data".to_owned(),
            read_only: false,
        });
        let id = task.task_id.clone();
        world.master.run(task);
        world
            .master
            .wait_task(&id, |r| r.state == TaskState::Running)
            .await;
    });
    let _ = operation;
    world.crash();
    world.master.forget_updates();
    world.start().expect("it starts again");
    world.run(async {
        // Adopted: ready again without a second start, and the task still runs.
        let told = world.master.wait_plugin(&name, ready).await;
        assert_eq!(told.restarts, 0);
        let id = sutler_ids::TaskId::new("t1").expect("a name");
        world
            .master
            .wait_task(&id, |r| r.state == TaskState::Running)
            .await;
        world.master.stop(&id);
        assert_eq!(world.master.wait_end(&id).await.state, TaskState::Killed);
        assert_eq!(fake.violations(), [] as [String; 0]);
        // Removed only now that nothing is published, and then wholly.
        world.master.want(|desired| {
            desired.tasks.clear();
            desired.plugins.clear();
        });
        world
            .master
            .wait_plugin(&name, |i| i.state == PluginState::Stopped)
            .await;
        assert!(!world.agent_dir().join("containers/plugin-fake").exists());
    });
}

#[test]
fn a_plugin_that_is_slow_or_says_that_it_is_not_ready_is_left_running_with_its_holders() {
    /// What drivers were seen to need for a Probe that asks their back end; the first version
    /// gave up after 5 s.
    const SLOW: Duration = Duration::from_secs(6);
    let world = World::new();
    world.run(async {
        let mut plugin = world.plugin("fake", WAITS);
        plugin.definition.startup_timeout = "60s".to_owned();
        let name = plugin.name.clone();
        world.master.want(|desired| desired.plugins.push(plugin));
        let is = |state| move |i: &PluginInstanceView| i.state == state;
        let instance = async |state| world.master.wait_plugin(&name, is(state)).await;
        instance(PluginState::Probing).await;
        let config = FakeConfig {
            touches_files: true,
            ..FakeConfig::default()
        };
        let fake = FakePlugin::start(&world.sockets_of(&name), config);
        fake.set_fault(Rpc::Probe, When::Always, Fault::Delay(SLOW));
        instance(PluginState::Ready).await;
        let spec = volume(&name);
        world.master.want(|desired| {
            desired.operations.push(creation(&spec));
            desired.volumes.push(spec.volume_id);
        });
        let task = with_volume(world.task("t1", "sleep 1000"), &spec);
        let task_id = task.task_id.clone();
        world.master.run(task);
        let runs = |r: &TaskReport| r.state == TaskState::Running;
        world.master.wait_task(&task_id, runs).await;
        fake.clear_faults();
        fake.set_ready(false);
        let told = instance(PluginState::NotReady).await;
        let problem = told.problem.expect("a reason");
        assert!(problem.what.contains("says itself that it is not ready"));
        world.master.forget_updates();
        fake.set_ready(true);
        let told = instance(PluginState::Ready).await;
        assert_eq!((told.restarts, told.problem), (0, None));
        assert_eq!(fake.violations(), [] as [String; 0]);
        world.master.stop(&task_id);
        let end = world.master.wait_end(&task_id).await;
        assert_eq!(end.state, TaskState::Killed, "{end:?}");
    });
}
