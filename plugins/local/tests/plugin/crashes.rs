//! kill -9 between any two acts, then the same call again, or its inverse.
//!
//! One journey per step and kind: the plugin is armed to die at the step; whichever call that
//! hits is settled by a fresh plugin, and the journey goes on to its end. Nothing may be left.

use std::os::unix::process::ExitStatusExt as _;

use rustix::process::Signal;
use sutler_local::mkfs::may_grow_mounted_ext4;
use sutler_local::steps::Step;
use tonic::Status;

use crate::harness::{Kind, Plugin, Volume, World};

/// How an interrupted call is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Settle {
    /// By the same call.
    Repeat,
    /// By its inverse, and then the call.
    Inverse,
}

/// The calls of a volume's life, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Create,
    Stage,
    Publish,
    Grow,
    Expand,
    Unpublish,
    Unstage,
    Delete,
}

const LIFE: [Act; 8] = [
    Act::Create,
    Act::Stage,
    Act::Publish,
    Act::Grow,
    Act::Expand,
    Act::Unpublish,
    Act::Unstage,
    Act::Delete,
];

impl Act {
    async fn run(self, volume: &Volume, plugin: &mut Plugin) -> Result<(), Status> {
        match self {
            Act::Create => volume.create(plugin).await.map(drop),
            Act::Stage => volume.stage(plugin).await,
            Act::Publish => volume.publish(plugin).await,
            Act::Grow => volume.grow(plugin, volume.kind.mib() + 16).await.map(drop),
            Act::Expand => match volume.expand(plugin).await {
                // journeys.rs has what happens then.
                Err(status) if is_not_allowed(volume.kind, &status) => Ok(()),
                answer => answer.map(drop),
            },
            Act::Unpublish => volume.unpublish(plugin).await,
            Act::Unstage => volume.unstage(plugin).await,
            Act::Delete => volume.delete(plugin).await,
        }
    }

    fn inverse(self) -> Option<Act> {
        match self {
            Act::Create => Some(Act::Delete),
            Act::Stage => Some(Act::Unstage),
            Act::Publish => Some(Act::Unpublish),
            Act::Unpublish => Some(Act::Publish),
            Act::Unstage => Some(Act::Stage),
            Act::Delete => Some(Act::Create),
            Act::Grow | Act::Expand => None,
        }
    }
}

fn is_not_allowed(kind: Kind, status: &Status) -> bool {
    let refused = status.code() == tonic::Code::FailedPrecondition;
    refused && kind == Kind::Ext4 && !may_grow_mounted_ext4()
}

/// Whether a life of this kind passes the step.
fn is_passed(step: Step, kind: Kind) -> bool {
    match step {
        Step::StageMounted | Step::UnstageUnmounted => kind != Kind::Block,
        Step::ExpandFilesystem => match kind {
            Kind::Block => false,
            Kind::Xfs => true,
            Kind::Ext4 => may_grow_mounted_ext4(),
        },
        _ => true,
    }
}

async fn live(kind: Kind, step: Step, settle: Settle) {
    let world = World::new();
    let volume = Volume::new(&world, kind, "data");
    let mut plugin = world.plugin_dying_at(step).await;
    let mut died_in = None;
    for act in LIFE {
        let mut ran = act.run(&volume, &mut plugin).await;
        // A child that another test forks holds our open device for a moment: busy, and the
        // caller repeats, as CSI tells it to.
        while matches!(&ran, Err(status) if status.message().contains("(os error 16)")) {
            ran = act.run(&volume, &mut plugin).await;
        }
        if let Err(status) = ran {
            assert!(
                died_in.is_none() && !plugin.is_alive().await,
                "{act:?}: {status}"
            );
            died_in = Some(act);
            let status = plugin.wait();
            assert_eq!(
                status.signal(),
                Some(Signal::KILL.as_raw()),
                "{act:?}: {status}"
            );
            plugin = world.plugin().await;
            check_settled(&world, &volume, &mut plugin).await;
            settle_by(settle, act, &volume, &mut plugin).await;
        }
        match act {
            Act::Publish => volume.write("kept").expect("write"),
            Act::Grow | Act::Expand => assert!(volume.holds("kept"), "{act:?}"),
            Act::Create | Act::Stage | Act::Unpublish | Act::Unstage | Act::Delete => {}
        }
    }
    assert_eq!(
        died_in.is_some(),
        is_passed(step, kind),
        "the step was passed or not"
    );
    plugin.kill();
    // What a kill left of a removed volume is swept at the next start.
    world.plugin().await.kill();
    world.assert_clean();
}

/// After a restart there is a whole volume or none, and nothing half done.
async fn check_settled(world: &World, volume: &Volume, plugin: &mut Plugin) {
    let ids = plugin.ids().await;
    assert!(ids.is_empty() || ids == [volume.id.clone()], "{ids:?}");
    assert_eq!(world.names(), ids, "what is on the disk is what is listed");
    let image = world.path(&format!("state/volumes/{}/data.img", volume.id));
    if !ids.is_empty() && volume.kind != Kind::Block {
        let found = sutler_local::superblock::probe(&image).expect("probe");
        let whole = matches!(found, sutler_local::superblock::Found::Filesystem { .. });
        assert!(whole, "{found}");
    }
}

async fn settle_by(settle: Settle, act: Act, volume: &Volume, plugin: &mut Plugin) {
    if let (Settle::Inverse, Some(inverse)) = (settle, act.inverse()) {
        inverse
            .run(volume, plugin)
            .await
            .unwrap_or_else(|status| panic!("{inverse:?}: {status}"));
    }
    act.run(volume, plugin)
        .await
        .unwrap_or_else(|status| panic!("{act:?} again: {status}"));
}

async fn live_through_every_step(kind: Kind) {
    for step in Step::ALL {
        for settle in [Settle::Repeat, Settle::Inverse] {
            eprintln!("{kind:?} {} {settle:?}", step.name());
            live(kind, step, settle).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_step_of_an_ext4_volume_is_settled_by_repeat_or_inverse() {
    live_through_every_step(Kind::Ext4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_step_of_an_xfs_volume_is_settled_by_repeat_or_inverse() {
    live_through_every_step(Kind::Xfs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_step_of_a_block_volume_is_settled_by_repeat_or_inverse() {
    live_through_every_step(Kind::Block).await;
}
