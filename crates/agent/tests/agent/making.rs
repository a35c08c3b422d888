//! A task and the volume that is made for it: both are under way at the same time.

use std::net::TcpListener;

use sutler_api::agent::{Update, VolumeAct, VolumeOperation};
use sutler_api::plugin::{DesiredPlugin, PluginState};
use sutler_api::task::{TaskSpec, TaskState, TaskVolume};
use sutler_api::volume::{VolumeSpec, VolumeState};
use sutler_csi::Rpc;
use sutler_ids::{OperationUuid, TaskId};
use sutler_testkit::fake_plugin::{FakeConfig, FakePlugin, Fault, When};
use tonic::Code;

use crate::plugins::volume;
use crate::world::World;

/// Brings a plugin up and describes a volume of it.
async fn plugin_up(world: &World) -> (FakePlugin, VolumeSpec) {
    let config = FakeConfig {
        touches_files: true,
        ..FakeConfig::default()
    };
    plugin_like(world, world.plugin("fake", WAITS), config).await
}

/// What a plugin's container runs while the fake answers in its place.
pub const WAITS: &str = "while :; do sleep 0.1; done";

/// Brings a plugin up that answers as configured, and describes a volume of it.
pub async fn plugin_like(
    world: &World,
    mut plugin: DesiredPlugin,
    config: FakeConfig,
) -> (FakePlugin, VolumeSpec) {
    plugin.definition.startup_timeout = "60s".to_owned();
    let name = plugin.name.clone();
    world.master.want(|desired| desired.plugins.push(plugin));
    let probing = |i: &_| plugin_is(i, PluginState::Probing);
    world.master.wait_plugin(&name, probing).await;
    let fake = FakePlugin::start(&world.sockets_of(&name), config);
    let ready = |i: &_| plugin_is(i, PluginState::Ready);
    world.master.wait_plugin(&name, ready).await;
    (fake, volume(&name))
}

fn plugin_is(instance: &sutler_api::plugin::PluginInstanceView, state: PluginState) -> bool {
    instance.state == state
}

pub fn creation(spec: &VolumeSpec) -> VolumeOperation {
    VolumeOperation {
        operation_uuid: OperationUuid::new(spec.volume_id.uuid()),
        volume_id: spec.volume_id,
        act: VolumeAct::Create(spec.clone()),
    }
}

pub fn with_volume(mut task: TaskSpec, spec: &VolumeSpec) -> TaskSpec {
    task.volumes.push(TaskVolume {
        volume_id: spec.volume_id,
        name: spec.name.clone(),
        path: "/data".to_owned(),
        read_only: false,
    });
    task
}

/// Waits until a volume that is still being made has the task as its holder.
async fn wait_held_while_made(world: &World, task_id: &TaskId) {
    let what = "a volume that is being made and has a holder";
    let held = |update: &Update| {
        matches!(update, Update::Volume(report)
            if report.state == VolumeState::Creating
                && report.holders.iter().any(|holder| holder.task_id == *task_id))
    };
    let wait = world
        .master
        .wait(what, |updates| updates.iter().any(held).then_some(()));
    wait.await;
}

/// Has a task wait for a volume whose CreateVolume is held back by its plugin.
async fn task_of_a_held_creation(world: &World) -> (FakePlugin, VolumeSpec, TaskId) {
    let (fake, spec) = plugin_up(world).await;
    fake.set_fault(Rpc::CreateVolume, When::Next, Fault::Hold);
    let task = with_volume(world.task("t1", "echo once >> /data/f; cat /data/f"), &spec);
    let id = task.task_id.clone();
    world.master.want(|desired| {
        desired.operations.push(creation(&spec));
        desired.volumes.push(spec.volume_id);
    });
    world.master.run(task);
    wait_held_while_made(world, &id).await;
    (fake, spec, id)
}

#[test]
fn a_task_prepares_while_its_volume_is_made_and_starts_when_it_is() {
    let world = World::new();
    world.run(async {
        let (fake, _, id) = task_of_a_held_creation(&world).await;
        assert_eq!(fake.count(Rpc::Publish), 0);
        fake.release();
        let report = world.master.wait_end(&id).await;
        assert_eq!(report.state, TaskState::Finished, "{report:?}");
        assert_eq!(fake.count(Rpc::CreateVolume), 1);
        assert_eq!(fake.violations(), [] as [String; 0]);
    });
}

#[test]
fn an_agent_that_dies_while_a_held_volume_is_made_starts_its_task_once() {
    let mut world = World::new();
    let (fake, spec, id) = world.run(task_of_a_held_creation(&world));
    world.crash();
    world.master.forget_updates();
    fake.release();
    world.start().expect("it starts again");
    world.run(async {
        let report = world.master.wait_end(&id).await;
        assert_eq!(report.state, TaskState::Finished, "{report:?}");
        let volumes = fake.volumes();
        assert_eq!(volumes.len(), 1, "{volumes:?}");
        assert_eq!(volumes[0].name, spec.volume_id.csi_name());
        assert_eq!(fake.violations(), [] as [String; 0]);
    });
}

#[test]
fn a_volume_that_cannot_be_made_ends_its_task_without_waiting_for_the_image() {
    let world = World::new();
    world.run(async {
        let (fake, spec) = plugin_up(&world).await;
        let refusal = Fault::Fail(Code::InvalidArgument, "no such kind".to_owned());
        fake.set_fault(Rpc::CreateVolume, When::Always, refusal);
        // A registry that takes the connection and never says anything.
        let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let registry = silent.local_addr().expect("it is bound");
        let mut task = with_volume(world.task("t1", "true"), &spec);
        task.image = format!("{registry}/none:1");
        let id = task.task_id.clone();
        world.master.run(task);
        let pulling = |r: &sutler_api::agent::TaskReport| r.state == TaskState::Pulling;
        world.master.wait_task(&id, pulling).await;
        world.master.want(|desired| {
            desired.operations.push(creation(&spec));
            desired.volumes.push(spec.volume_id);
        });
        let report = world.master.wait_end(&id).await;
        assert_eq!(report.state, TaskState::Failed);
        let problem = report.problem.expect("a reason");
        assert_eq!(
            problem.raw.as_deref(),
            Some("INVALID_ARGUMENT: no such kind"),
            "{problem:?}"
        );
        drop(silent);
    });
}
