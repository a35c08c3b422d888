//! Plugins that say what is not so, and hosts on which it does not last.

use sutler_api::agent::{Outcome, VolumeAct};
use sutler_api::volume::VolumeState;
use sutler_ids::{Bytes, OperationUuid};
use uuid::Uuid;

use super::table::{acquire, created, release};
use super::world::*;
use crate::*;

fn lying(abilities: Abilities, rpc: Rpc, answer: Answer) -> World {
    let mut world = World::new(abilities);
    world.lies.push((rpc, answer));
    world
        .operate(operation(1, VolumeAct::Create(spec())))
        .unwrap();
    world
}

fn outcome(world: &World, n: u128) -> &Outcome {
    &world.outcomes[&OperationUuid::new(Uuid::from_u128(n))]
}

fn why_failed(world: &World, n: u128) -> &str {
    match outcome(world, n) {
        Outcome::Failed(problem) => &problem.what,
        Outcome::Finished => panic!("it is told as finished"),
    }
}

#[test]
fn a_publication_without_a_mount_is_handed_to_nobody_and_is_undone() {
    let mut world = created(ALL);
    world.lies.push((Rpc::Publish, Answer::Done));
    world.trail.clear();
    acquire(&mut world, "a", false);
    let told = world.acquired[&task("a")].clone().unwrap_err();
    assert!(told.contains("nothing is mounted at /v/target"), "{told}");
    let trail = [
        "attach",
        "stage",
        "publish",
        "unpublish",
        "unstage",
        "detach",
    ];
    assert_eq!(world.trail, trail);
    acquire(&mut world, "b", false);
    assert_eq!(
        world.acquired[&task("b")],
        Ok(()),
        "the plugin is well again"
    );
    world.check();
}

#[test]
fn what_is_still_mounted_is_not_down_whatever_the_plugin_says() {
    for rpc in [Rpc::Unpublish, Rpc::Unstage] {
        let mut world = created(ALL);
        acquire(&mut world, "a", false);
        world.lies.push((rpc, Answer::Done));
        world.lies.push((rpc, Answer::Done));
        world.trail.clear();
        release(&mut world, "a");
        let calls = world.trail.iter().filter(|call| *call == rpc.label());
        assert_eq!(
            calls.count(),
            3,
            "repeated until it is true: {:?}",
            world.trail
        );
        assert!(
            world.released.contains(&task("a")),
            "its end does not wait for that"
        );
        world.operate(operation(2, VolumeAct::Delete)).unwrap();
        assert_eq!(outcome(&world, 2), &Outcome::Finished);
        world.check();
    }
}

#[test]
fn the_problem_of_a_mount_that_stays_names_the_path_and_nothing_is_deleted() {
    let mut world = created(ALL);
    acquire(&mut world, "a", false);
    let mut volume = world.volume.take().unwrap();
    let released = Event::Release { task_id: task("a") };
    let step = volume.on_event(released, at(100)).unwrap();
    let Some(Effect::Call(call)) = step.effects.last() else {
        panic!("{:?}", step.effects);
    };
    let lie = Event::Ended {
        call_id: call.call_id,
        result: Ok(Answer::Done),
        shown: Shown::Mounted("/v/target".to_owned()),
    };
    volume.on_event(lie, at(101)).unwrap();
    let problem = volume.problem().unwrap();
    assert!(
        problem.what.contains("yet /v/target is still mounted"),
        "{problem}"
    );
    let delete = Event::Operation(operation(2, VolumeAct::Delete));
    let step = volume.on_event(delete, at(102)).unwrap();
    let calls = |step: &Step| step.effects.iter().any(|e| matches!(e, Effect::Call(_)));
    assert!(calls(&step), "the operator's word makes it try at once");
    let calls = step.effects.iter().filter_map(|effect| match effect {
        Effect::Call(call) => Some(call.rpc),
        _ => None,
    });
    assert_eq!(calls.collect::<Vec<_>>(), [Rpc::Unpublish]);
}

#[test]
fn a_volume_with_the_identity_of_another_is_none_and_nothing_is_deleted() {
    let also = Made {
        also: Some("first".parse().unwrap()),
        ..made("id-1", spec().capacity)
    };
    let world = lying(ALL, Rpc::Create, Answer::Made(also));
    assert!(why_failed(&world, 1).contains("which is volume first"));
    assert_eq!(world.trail, ["create"]);
    let volume = world.volume.as_ref().unwrap();
    assert_eq!(volume.state(), VolumeState::Failed);
    assert!(volume.record().created().is_none());
}

#[test]
fn what_was_made_too_small_is_kept_named_and_unused_until_it_is_deleted() {
    let id = spec().volume_id.csi_name();
    let short = made(&id, Bytes(4096));
    let mut world = lying(ALL, Rpc::Create, Answer::Made(short));
    world.backend.volumes.insert(id.clone(), Bytes(4096));
    let first = OperationUuid::new(Uuid::from_u128(1));
    assert_eq!(world.left_behind[&first].as_ref(), Some(&id));
    assert!(why_failed(&world, 1).contains("4096 bytes"));
    world.restart().unwrap();
    let volume = world.volume.as_ref().unwrap();
    assert_eq!(volume.state(), VolumeState::Failed);
    assert!(volume.problem().is_some());
    acquire(&mut world, "a", false);
    assert!(world.acquired[&task("a")].is_err());
    world.trail.clear();
    let grow = VolumeAct::Grow {
        capacity: Bytes::mib(20),
    };
    world.operate(operation(2, grow)).unwrap();
    assert_eq!(world.trail, Vec::<String>::new(), "it is not grown either");
    world.operate(operation(3, VolumeAct::Delete)).unwrap();
    assert_eq!(world.trail, ["delete"]);
    assert_eq!(outcome(&world, 3), &Outcome::Finished);
    world.check();
}

#[test]
fn a_deletion_that_overtook_a_bad_creation_deletes_nothing_unseen() {
    let create = operation(1, VolumeAct::Create(spec()));
    let (mut volume, _) = Volume::create(&create, "boot", at(0)).unwrap();
    let step = volume.on_event(plugin_up(ALL), at(1)).unwrap();
    let Some(Effect::Call(call)) = step.effects.last() else {
        panic!("{:?}", step.effects);
    };
    let call_id = call.call_id;
    let delete = Event::Operation(operation(2, VolumeAct::Delete));
    volume.on_event(delete, at(2)).unwrap();
    let answer = Ok(Answer::Made(made("fake-7", Bytes(4096))));
    let step = volume.on_event(ended(call_id, answer), at(3)).unwrap();
    let calls = step.effects.iter().filter(|e| matches!(e, Effect::Call(_)));
    assert_eq!(calls.count(), 0);
    let told = step.effects.iter().find_map(|effect| match effect {
        Effect::TellOperation(report) => Some(report),
        _ => None,
    });
    let told = told.expect("the deletion has ended");
    assert_eq!(told.operation_uuid, OperationUuid::new(Uuid::from_u128(2)));
    assert!(matches!(told.outcome, Outcome::Failed(_)));
    assert_eq!(told.left_behind.as_deref(), Some("fake-7"));
}

#[test]
fn a_growth_by_too_little_has_failed_and_the_volume_has_the_size_that_it_has() {
    let mut world = created(ALL);
    let asked = Bytes::mib(20);
    let has = Bytes::mib(15);
    let short = Answer::Expanded(Expanded {
        capacity: has,
        node_expansion_required: false,
    });
    world.lies.push((Rpc::ControllerExpand(asked), short));
    world.trail.clear();
    world
        .operate(operation(2, VolumeAct::Grow { capacity: asked }))
        .unwrap();
    assert!(why_failed(&world, 2).contains("were asked for"));
    assert_eq!(
        world.trail,
        ["controller_expand"],
        "it is not asked for ever"
    );
    let created = world.disk.as_ref().unwrap().created().unwrap();
    assert_eq!(created.capacity, has);
}

#[test]
fn a_growth_in_use_does_not_wait_for_a_node_that_cannot_grow_file_systems() {
    let mut world = created(Abilities {
        expands_node: false,
        ..ALL
    });
    acquire(&mut world, "a", false);
    let capacity = Bytes::mib(20);
    world
        .operate(operation(2, VolumeAct::Grow { capacity }))
        .unwrap();
    assert_eq!(outcome(&world, 2), &Outcome::Finished);
}

#[test]
fn a_detach_goes_to_the_node_that_the_attach_named() {
    for boots in [false, true] {
        let mut world = created(ALL);
        acquire(&mut world, "a", false);
        world.csi_node_id = "node-2";
        match boots {
            false => world.restart().unwrap(),
            true => world.reboot().unwrap(),
        }
        release(&mut world, "a");
        let of = |rpc| {
            let calls = world.calls.iter().filter(move |call| call.rpc == rpc);
            calls
                .map(|call| call.csi_node_id.as_str())
                .collect::<Vec<_>>()
        };
        assert_eq!(of(Rpc::Attach), ["node-1"]);
        assert_eq!(of(Rpc::Detach), ["node-1"], "boots: {boots}");
        acquire(&mut world, "b", false);
        let last = world.calls.iter().rfind(|call| call.rpc == Rpc::Attach);
        assert_eq!(last.unwrap().csi_node_id, "node-2", "a new one is here");
    }
}

#[test]
fn a_changed_name_of_this_node_is_told_of_a_volume_that_is_attached() {
    let mut world = created(ALL);
    acquire(&mut world, "a", false);
    world.send(plugin_up_as(ALL, "node-2")).unwrap();
    let now = world.now();
    let why = world.volume.as_ref().unwrap().why(now);
    let told = |step: &sutler_api::volume::WhyStep| step.text.contains("attached to node-1");
    assert!(why.steps.iter().any(told), "{:?}", why.steps);
}

#[test]
fn a_mount_that_died_under_its_holder_is_seen_with_the_plugins_return_and_the_watch() {
    for event in [plugin_up(ALL), Event::Watch] {
        let mut world = created(ALL);
        acquire(&mut world, "a", false);
        world.backend.target_mounted = false;
        world.send(event).unwrap();
        let volume = world.volume.as_ref().unwrap();
        let problem = volume.problem().expect("a dead mount is no good health");
        assert_eq!(problem.hint.as_deref(), Some("sutler task stop a"));
        assert_eq!(volume.state(), VolumeState::InUse);
    }
}

#[test]
fn a_forgotten_volume_ends_at_once_whatever_was_under_way_and_a_held_one_does_not() {
    let create = operation(1, VolumeAct::Create(spec()));
    let (mut volume, _) = Volume::create(&create, "boot", at(0)).unwrap();
    let step = volume.on_event(plugin_up(ALL), at(1)).unwrap();
    let Some(Effect::Call(call)) = step.effects.last() else {
        panic!("{:?}", step.effects);
    };
    let call_id = call.call_id;
    let forget = || Event::Operation(operation(2, VolumeAct::Forget));
    let step = volume.on_event(forget(), at(2)).unwrap();
    assert!(volume.is_gone() && step.persist.is_some());
    let told = step.effects.iter().filter_map(|effect| match effect {
        Effect::TellOperation(report) => Some(report.outcome == Outcome::Finished),
        _ => None,
    });
    assert_eq!(
        told.collect::<Vec<_>>(),
        [false, true],
        "the creation, then this"
    );
    let answer = Ok(Answer::Made(made("late", spec().capacity)));
    let step = volume.on_event(ended(call_id, answer), at(3)).unwrap();
    assert!(volume.is_gone() && step.persist.is_none(), "too late");

    let mut world = created(ALL);
    acquire(&mut world, "a", false);
    let denied = world.volume.as_mut().unwrap().on_event(forget(), at(900));
    assert_eq!(denied, Err(Denied::InUse("a".to_owned())));
}

/// Published for a task, and the plugin is just back and will not say whether it knows the volume.
fn unverified() -> (World, Volume) {
    let mut world = created(ALL);
    acquire(&mut world, "a", false);
    let mut volume = world.volume.take().unwrap();
    volume.on_event(plugin_up(ALL), at(900)).unwrap();
    let step = volume.on_event(listed(false), at(900)).unwrap();
    let verify = step.effects.iter().find_map(|effect| match effect {
        Effect::Call(call) => Some(call.call_id),
        _ => None,
    });
    let answer = Err(failure(Verdict::Uncertain, "its controller is away"));
    let verify = verify.expect("it is asked");
    volume.on_event(ended(verify, answer), at(901)).unwrap();
    (world, volume)
}

#[test]
fn coming_down_waits_for_no_question_and_an_open_one_is_in_sight() {
    let (_world, mut volume) = unverified();
    let shown = volume.problem().expect("it is told");
    assert_eq!(shown.what, "its controller is away");
    let released = Event::Release { task_id: task("a") };
    let step = volume.on_event(released, at(902)).unwrap();
    let rpcs = step.effects.iter().filter_map(|effect| match effect {
        Effect::Call(call) => Some(call.rpc),
        _ => None,
    });
    assert_eq!(rpcs.collect::<Vec<_>>(), [Rpc::Unpublish]);
}

#[test]
fn a_deletion_refused_after_doubt_has_not_failed() {
    for verdict in [Verdict::Refused, Verdict::NotNow, Verdict::Exhausted] {
        let mut world = created(ALL);
        let mut volume = world.volume.take().unwrap();
        let delete = Event::Operation(operation(2, VolumeAct::Delete));
        let mut step = volume.on_event(delete, at(100)).unwrap();
        let doubts = match verdict {
            Verdict::Exhausted => [verdict].to_vec(),
            _ => [Verdict::Uncertain, verdict].to_vec(),
        };
        for (n, verdict) in (0..).zip(doubts) {
            let call = step.effects.iter().find_map(|effect| match effect {
                Effect::Call(call) => Some(call.call_id),
                _ => None,
            });
            let answer = Err(failure(verdict, "no"));
            let ms = 101 + n * 20_000;
            let told = volume
                .on_event(ended(call.unwrap(), answer), at(ms))
                .unwrap();
            let ends = |e: &Effect| matches!(e, Effect::TellOperation(_));
            assert!(!told.effects.iter().any(ends), "{verdict:?}: {told:?}");
            step = volume.on_event(Event::Due, at(ms + 19_000)).unwrap();
        }
        assert_eq!(volume.state(), VolumeState::Uncertain);
        let Some(Effect::Call(call)) = step.effects.last() else {
            panic!("it is asked again: {:?}", step.effects);
        };
        assert_eq!(call.rpc, Rpc::Delete);
    }
}

#[test]
fn a_volume_that_was_not_found_for_a_moment_is_asked_for_again_when_it_is_wanted() {
    let mut world = created(ALL);
    let lost = std::mem::take(&mut world.backend.volumes);
    world.send(listed(false)).unwrap();
    assert_eq!(world.volume.as_ref().unwrap().state(), VolumeState::Missing);
    world.backend.volumes = lost;
    acquire(&mut world, "a", false);
    assert!(
        world.acquired[&task("a")].is_err(),
        "not before it is known"
    );
    acquire(&mut world, "b", false);
    assert_eq!(world.acquired[&task("b")], Ok(()));
}

#[test]
fn a_mount_that_comes_after_its_end_was_told_is_taken_down_again() {
    for attaches in [true, false] {
        for stages in [true, false] {
            let abilities = Abilities {
                attaches,
                stages,
                ..ALL
            };
            let mut world = created(abilities);
            acquire(&mut world, "a", false);
            world.send(stray(Mount::Target)).unwrap();
            release(&mut world, "a");
            let down = ["unpublish", "unstage", "detach"].map(str::to_owned);
            let down: Vec<String> = down
                .into_iter()
                .filter(|rpc| (stages || rpc != "unstage") && (attaches || rpc != "detach"))
                .collect();
            assert!(world.trail.ends_with(&down), "{:?}", world.trail);
            world.trail.clear();
            // A publish that was given up comes to its end.
            world.backend.published = true;
            world.backend.target_mounted = true;
            world.send(stray(Mount::Target)).unwrap();
            assert_eq!(world.trail, down);
            assert_eq!(world.volume.as_ref().unwrap().state(), VolumeState::Ready);
            world.trail.clear();
            if stages {
                world.backend.staged = true;
                world.backend.staging_mounted = true;
                world.send(stray(Mount::Staging)).unwrap();
                assert_eq!(world.trail, down[1..]);
            }
            world.check();
            world.operate(operation(2, VolumeAct::Delete)).unwrap();
            assert!(world.volume.as_ref().unwrap().is_gone());
            world.trail.clear();
            world.send(stray(Mount::Target)).unwrap();
            assert!(world.trail.is_empty(), "there is nothing to undo it with");
        }
    }
}

fn stray(mount: Mount) -> Event {
    Event::Stray { mount }
}

#[test]
fn a_mount_that_comes_while_a_call_down_is_in_doubt_does_not_keep_it_there() {
    let call_of = |step: &Step| {
        let call = step.effects.iter().find_map(|effect| match effect {
            Effect::Call(call) => Some((call.call_id, call.rpc)),
            _ => None,
        });
        call.expect("a call is made")
    };
    for stuck in [Rpc::Unstage, Rpc::Detach] {
        let mut world = created(ALL);
        acquire(&mut world, "a", false);
        let mut volume = world.volume.take().unwrap();
        let released = Event::Release { task_id: task("a") };
        let mut step = volume.on_event(released, at(900)).unwrap();
        while call_of(&step).1 != stuck {
            let done = ended(call_of(&step).0, Ok(Answer::Done));
            step = volume.on_event(done, at(901)).unwrap();
        }
        let busy = Err(failure(Verdict::Uncertain, "the device is busy"));
        assert!(!volume.is_stray(Mount::Target), "its own end looks");
        let (call_id, _) = call_of(&step);
        volume.on_event(ended(call_id, busy), at(902)).unwrap();
        let step = volume.on_event(stray(Mount::Target), at(903)).unwrap();
        assert_eq!(call_of(&step).1, Rpc::Unpublish);
        // Somebody wants it: all of it comes down first.
        let wanted = Event::Acquire {
            task_id: task("b"),
            read_only: false,
        };
        volume.on_event(wanted, at(904)).unwrap();
        let mut step = step;
        for rpc in [Rpc::Unpublish, Rpc::Unstage, Rpc::Detach] {
            let (call_id, made) = call_of(&step);
            assert_eq!(made, rpc);
            let done = ended(call_id, Ok(Answer::Done));
            step = volume.on_event(done, at(905)).unwrap();
        }
        assert_eq!(call_of(&step).1, Rpc::Attach);
    }
}

#[test]
fn what_a_plugin_that_does_not_stage_has_staged_keeps_nobody_out() {
    let mut world = created(Abilities {
        stages: false,
        ..ALL
    });
    world.send(stray(Mount::Staging)).unwrap();
    assert!(world.trail.is_empty());
    acquire(&mut world, "a", false);
    assert_eq!(world.acquired[&task("a")], Ok(()));
}

#[test]
fn a_late_mount_takes_no_doubt_from_a_deletion() {
    let mut world = created(ALL);
    let mut volume = world.volume.take().unwrap();
    let delete = Event::Operation(operation(2, VolumeAct::Delete));
    let step = volume.on_event(delete, at(100)).unwrap();
    let call = step.effects.iter().find_map(|effect| match effect {
        Effect::Call(call) => Some(call.call_id),
        _ => None,
    });
    let lost = Err(failure(Verdict::Uncertain, "lost"));
    volume
        .on_event(ended(call.unwrap(), lost), at(101))
        .unwrap();
    for mount in [Mount::Target, Mount::Staging] {
        let before = volume.record().clone();
        volume.on_event(stray(mount), at(102)).unwrap();
        assert_eq!(*volume.record(), before);
        assert_eq!(volume.state(), VolumeState::Uncertain);
    }
}
