//! One event sequence a law.

use sutler_api::agent::{Outcome, VolumeAct};
use sutler_api::volume::VolumeState;
use sutler_ids::{Bytes, ErrorKind, Problem};

use super::world::*;
use crate::*;

pub(super) fn created(abilities: Abilities) -> World {
    let mut world = World::new(abilities);
    world
        .operate(operation(1, VolumeAct::Create(spec())))
        .unwrap();
    assert_eq!(volume(&world).state(), VolumeState::Ready);
    world.trail.clear();
    world
}

fn volume(world: &World) -> &Volume {
    world.volume.as_ref().unwrap()
}

pub(super) fn acquire(world: &mut World, name: &str, read_only: bool) {
    world
        .send(Event::Acquire {
            task_id: task(name),
            read_only,
        })
        .unwrap();
}

pub(super) fn release(world: &mut World, name: &str) {
    world
        .send(Event::Release {
            task_id: task(name),
        })
        .unwrap();
}

#[test]
fn a_plugin_with_every_capability_goes_through_every_rung_and_back() {
    let mut world = created(ALL);
    acquire(&mut world, "a", false);
    assert_eq!(world.acquired[&task("a")], Ok(()));
    release(&mut world, "a");
    assert!(world.released.contains(&task("a")));
    assert_eq!(
        world.trail,
        [
            "attach",
            "stage",
            "publish",
            "unpublish",
            "unstage",
            "detach"
        ]
    );
    world.check();
}

#[test]
fn a_plugin_without_capabilities_is_only_published() {
    let mut world = created(NONE);
    acquire(&mut world, "a", false);
    release(&mut world, "a");
    assert_eq!(world.trail, ["publish", "unpublish"]);
    world.check();
}

#[test]
fn a_second_writer_is_refused_by_the_holders_name_and_a_reader_is_not() {
    let mut world = created(ALL);
    acquire(&mut world, "a", false);
    acquire(&mut world, "b", false);
    let refused = world.acquired[&task("b")].clone().unwrap_err();
    assert!(refused.contains("held by task a"), "{refused}");
    acquire(&mut world, "c", true);
    assert_eq!(world.acquired[&task("c")], Ok(()));
    release(&mut world, "a");
    assert!(
        world.released.contains(&task("a")),
        "told at once while another holds it"
    );
    assert!(world.backend.published);
    release(&mut world, "c");
    world.check();
}

#[test]
fn deletion_is_denied_while_held() {
    let mut world = created(ALL);
    acquire(&mut world, "a", false);
    let now = world.now();
    let denied = world
        .volume
        .as_mut()
        .unwrap()
        .on_event(Event::Operation(operation(2, VolumeAct::Delete)), now);
    assert_eq!(denied, Err(Denied::InUse("a".to_owned())));
}

#[test]
fn an_operation_repeated_is_told_again_and_done_once() {
    let mut world = created(ALL);
    world.outcomes.clear();
    world
        .send(Event::Operation(operation(1, VolumeAct::Create(spec()))))
        .unwrap();
    assert_eq!(world.outcomes.len(), 1);
    assert_eq!(world.backend.creations, 1);
    world.operate(operation(2, VolumeAct::Delete)).unwrap();
    assert!(volume(&world).is_gone());
    world.operate(operation(2, VolumeAct::Delete)).unwrap();
    world.check();
}

#[test]
fn growth_in_use_grows_the_file_system_too_and_is_then_finished() {
    let mut world = created(ALL);
    acquire(&mut world, "a", false);
    world.trail.clear();
    world
        .operate(operation(
            2,
            VolumeAct::Grow {
                capacity: Bytes::mib(20),
            },
        ))
        .unwrap();
    assert_eq!(world.trail, ["controller_expand", "node_expand"]);
    assert_eq!(volume(&world).report().capacity, Some(Bytes::mib(20)));
    assert_eq!(world.outcomes.values().last(), Some(&Outcome::Finished));
}

#[test]
fn growth_at_rest_grows_the_file_system_at_the_next_publish() {
    let mut world = created(ALL);
    world
        .operate(operation(
            2,
            VolumeAct::Grow {
                capacity: Bytes::mib(20),
            },
        ))
        .unwrap();
    assert_eq!(world.trail, ["controller_expand"]);
    let next = |world: &World| volume(world).why(at(9)).next;
    let owed = "nothing to do now; its file system is grown to 20M at the next use";
    assert_eq!(next(&world), owed);
    world.trail.clear();
    acquire(&mut world, "a", false);
    assert_eq!(world.trail, ["attach", "stage", "publish", "node_expand"]);
    assert_eq!(world.acquired[&task("a")], Ok(()));
    assert_eq!(next(&world), "nothing to do");
}

#[test]
fn a_file_system_that_cannot_grow_now_is_shown_and_grows_at_the_next_publish() {
    let mut world = created(ALL);
    acquire(&mut world, "a", false);
    let mut volume = world.volume.take().unwrap();
    let grow = Event::Operation(operation(
        2,
        VolumeAct::Grow {
            capacity: Bytes::mib(20),
        },
    ));
    let expand = open_call(volume.on_event(grow, at(50)).unwrap());
    let result = world.backend.carry_out(&expand);
    let ended = ended(expand.call_id, result);
    let node_expand = open_call(volume.on_event(ended, at(51)).unwrap());
    let step = end(&mut volume, &node_expand, Verdict::Refused, 52);
    assert!(step.effects.iter().any(|effect| matches!(
        effect,
        Effect::TellOperation(report) if report.outcome == Outcome::Finished
    )));
    assert!(volume.problem().is_some());
    world.volume = Some(volume);
    release(&mut world, "a");
    world.trail.clear();
    acquire(&mut world, "b", false);
    assert_eq!(world.trail, ["attach", "stage", "publish", "node_expand"]);
}

/// Drives one call by hand.
fn open_call(step: Step) -> Call {
    step.effects
        .into_iter()
        .find_map(|effect| match effect {
            Effect::Call(call) => Some(*call),
            Effect::WakeAt(_)
            | Effect::TellOperation(_)
            | Effect::TellAcquired { .. }
            | Effect::TellReleased { .. }
            | Effect::Look { .. } => None,
        })
        .expect("a call is made")
}

fn creating() -> (Volume, Call) {
    let create = operation(1, VolumeAct::Create(spec()));
    let (mut volume, step) = Volume::create(&create, "boot", at(0)).unwrap();
    assert!(
        step.persist.is_some(),
        "the operation is durable before anything is done"
    );
    let step = volume.on_event(plugin_up(ALL), at(1)).unwrap();
    assert!(
        step.persist.is_some(),
        "the intent is durable before the call"
    );
    (volume, open_call(step))
}

fn end(volume: &mut Volume, call: &Call, verdict: Verdict, ms: u64) -> Step {
    let result = Err(failure(verdict, "said so"));
    volume
        .on_event(ended(call.call_id, result), at(ms))
        .unwrap()
}

#[test]
fn a_creation_refused_at_once_fails_and_leaves_nothing() {
    let (mut volume, call) = creating();
    let step = end(&mut volume, &call, Verdict::Refused, 2);
    assert_eq!(volume.state(), VolumeState::Failed);
    assert!(matches!(
        &step.effects[..],
        [Effect::TellOperation(report)] if matches!(report.outcome, Outcome::Failed(_))
    ));
}

fn acquire_while_creating(volume: &mut Volume, name: &str) -> Step {
    let acquire = Event::Acquire {
        task_id: task(name),
        read_only: false,
    };
    volume.on_event(acquire, at(2)).unwrap()
}

#[test]
fn a_volume_held_while_it_is_made_goes_on_to_be_published() {
    let (mut volume, call) = creating();
    let step = acquire_while_creating(&mut volume, "a");
    assert!(step.persist.is_some(), "its holder is durable");
    assert_eq!(step.effects, [], "nothing more is called or told yet");
    let result = Backend::default().carry_out(&call);
    let call_id = call.call_id;
    let step = volume.on_event(ended(call_id, result), at(3)).unwrap();
    assert!(
        matches!(&step.effects[..], [Effect::TellOperation(report), Effect::Call(next)]
            if report.outcome == Outcome::Finished && next.rpc == Rpc::Attach),
        "{:?}",
        step.effects
    );
    let record = step.persist.expect("result and next intent in one record");
    assert!(matches!(&record.phase, Phase::InFlight(flight) if flight.rpc == Rpc::Attach));
}

#[test]
fn a_creation_that_fails_lets_its_holders_go_with_the_cause() {
    let (mut volume, call) = creating();
    acquire_while_creating(&mut volume, "a");
    let now = at(3);
    let delete = Event::Operation(operation(2, VolumeAct::Delete));
    let denied = volume.on_event(delete, now);
    assert_eq!(denied, Err(Denied::InUse("a".to_owned())));
    let step = end(&mut volume, &call, Verdict::Refused, 4);
    assert!(
        step.effects.iter().any(|effect| matches!(
            effect,
            Effect::TellAcquired { task_id, result: Err(problem) }
                if *task_id == task("a") && problem.what == "said so"
        )),
        "{:?}",
        step.effects
    );
    assert!(volume.record().holders.is_empty());
    let step = acquire_while_creating(&mut volume, "b");
    assert!(
        matches!(&step.effects[..], [Effect::TellAcquired { result: Err(problem), .. }]
            if problem.what == "said so"),
        "a late holder is told the same: {:?}",
        step.effects
    );
}

#[test]
fn a_holder_from_before_a_restart_is_told_that_the_creation_failed() {
    let (mut volume, _) = creating();
    acquire_while_creating(&mut volume, "a");
    let (mut volume, _) = Volume::recover(volume.record().clone(), "boot", at(3));
    let call = open_call(volume.on_event(plugin_up(ALL), at(4)).unwrap());
    assert_eq!(call.rpc, Rpc::Create);
    let call = open_call(end(&mut volume, &call, Verdict::Refused, 5));
    assert_eq!(call.rpc, Rpc::Verify, "an earlier attempt may have made it");
    let (call_id, result) = (call.call_id, Ok(Answer::Done));
    volume.on_event(ended(call_id, result), at(6)).unwrap();
    assert_eq!(volume.state(), VolumeState::Failed);
    assert!(volume.record().holders.is_empty());
    let step = acquire_while_creating(&mut volume, "a");
    assert!(
        matches!(&step.effects[..], [Effect::TellAcquired { result: Err(problem), .. }]
            if problem.what == "said so"),
        "its own question is answered too: {:?}",
        step.effects
    );
}

#[test]
fn a_holder_that_leaves_before_the_volume_is_made_does_not_wait_for_it() {
    let (mut volume, call) = creating();
    acquire_while_creating(&mut volume, "a");
    let task_id = task("a");
    let release = Event::Release { task_id };
    let step = volume.on_event(release, at(3)).unwrap();
    assert!(matches!(
        &step.effects[..],
        [Effect::TellReleased { task_id }] if *task_id == task("a")
    ));
    let result = Backend::default().carry_out(&call);
    let call_id = call.call_id;
    volume.on_event(ended(call_id, result), at(4)).unwrap();
    assert_eq!(volume.state(), VolumeState::Ready);
}

#[test]
fn an_unknown_outcome_is_visible_and_only_the_same_call_is_made() {
    let (mut volume, call) = creating();
    let step = end(&mut volume, &call, Verdict::Uncertain, 2);
    assert_eq!(volume.state(), VolumeState::Uncertain);
    let Some(Effect::WakeAt(when)) = step.effects.last() else {
        panic!("{step:?}")
    };
    let mut step = volume.on_event(Event::Due, at(ms_of(*when))).unwrap();
    assert_eq!(step.persist, None, "the intent is on disk already");
    let again = open_call(std::mem::take(&mut step));
    assert_eq!((again.rpc, &again.spec), (Rpc::Create, &call.spec));
}

#[test]
fn a_name_taken_after_an_unknown_outcome_stays_uncertain() {
    let (mut volume, call) = creating();
    end(&mut volume, &call, Verdict::Uncertain, 2);
    let call = open_call(volume.on_event(Event::Due, at(5_000)).unwrap());
    end(&mut volume, &call, Verdict::AlreadyExists, 5_001);
    assert_eq!(volume.state(), VolumeState::Uncertain);
}

#[test]
fn a_creation_refused_after_doubt_fails_only_when_the_list_shows_nothing() {
    for (listed, state) in [
        (Ok(Answer::Done), VolumeState::Failed),
        (
            Err(failure(Verdict::Uncertain, "lists more")),
            VolumeState::Uncertain,
        ),
        (
            Err(failure(Verdict::Refused, "cannot list")),
            VolumeState::Uncertain,
        ),
    ] {
        let (mut volume, call) = creating();
        end(&mut volume, &call, Verdict::Uncertain, 2);
        let call = open_call(volume.on_event(Event::Due, at(5_000)).unwrap());
        let verify = open_call(end(&mut volume, &call, Verdict::Exhausted, 5_001));
        assert_eq!(verify.rpc, Rpc::Verify);
        let ended = ended(verify.call_id, listed);
        volume.on_event(ended, at(5_002)).unwrap();
        assert_eq!(volume.state(), state);
    }
}

#[test]
fn a_creation_that_is_never_possible_ends_when_its_deletion_is_asked_for() {
    let (mut volume, call) = creating();
    let step = end(&mut volume, &call, Verdict::NotNow, 2);
    assert!(
        matches!(&step.effects[..], [Effect::WakeAt(_)]),
        "it is tried again: {:?}",
        step.effects
    );
    let delete = Event::Operation(operation(2, VolumeAct::Delete));
    let call = open_call(volume.on_event(delete, at(3)).unwrap());
    assert_eq!(call.rpc, Rpc::Create, "it may have become possible");
    let step = end(&mut volume, &call, Verdict::NotNow, 4);
    assert!(volume.is_gone());
    assert!(matches!(
        &step.effects[..],
        [Effect::TellOperation(report)] if report.outcome == Outcome::Finished
    ));
}

#[test]
fn a_creation_in_doubt_and_then_not_possible_ends_when_the_list_shows_nothing() {
    let (mut volume, call) = creating();
    end(&mut volume, &call, Verdict::Uncertain, 2);
    let delete = Event::Operation(operation(2, VolumeAct::Delete));
    let call = open_call(volume.on_event(delete, at(3)).unwrap());
    let call = open_call(end(&mut volume, &call, Verdict::NotNow, 4));
    assert_eq!(call.rpc, Rpc::Verify);
    let result = Ok(Answer::Done);
    let call_id = call.call_id;
    volume.on_event(ended(call_id, result), at(5)).unwrap();
    assert!(volume.is_gone());
}

#[test]
fn a_volume_that_the_plugin_calls_damaged_shows_it_until_it_is_well() {
    let mut world = created(ALL);
    let verify = |world: &mut World, event, result| {
        let now = world.now();
        let volume = world.volume.as_mut().unwrap();
        let call = open_call(volume.on_event(event, now).unwrap());
        assert_eq!(call.rpc, Rpc::Verify);
        let call_id = call.call_id;
        volume.on_event(ended(call_id, result), now).unwrap();
        (volume.state(), volume.problem().map(|problem| problem.what))
    };
    let damaged = failure(Verdict::NotNow, "its image is gone");
    assert_eq!(
        verify(&mut world, listed(false), Err(damaged)),
        (VolumeState::Ready, Some("its image is gone".to_owned()))
    );
    assert_eq!(
        verify(&mut world, plugin_up(ALL), Ok(Answer::Done)),
        (VolumeState::Ready, None)
    );
}

#[test]
fn deletion_of_an_uncertain_creation_creates_first_and_deletes_then() {
    let (mut volume, call) = creating();
    end(&mut volume, &call, Verdict::Uncertain, 2);
    let delete = Event::Operation(operation(2, VolumeAct::Delete));
    let call = open_call(volume.on_event(delete, at(3)).unwrap());
    assert_eq!(call.rpc, Rpc::Create);
    let mut backend = Backend::default();
    let result = backend.carry_out(&call);
    let ended = ended(call.call_id, result);
    let call = open_call(volume.on_event(ended, at(4)).unwrap());
    assert_eq!(call.rpc, Rpc::Delete);
}

#[test]
fn a_late_answer_changes_nothing() {
    let (mut volume, call) = creating();
    end(&mut volume, &call, Verdict::Uncertain, 2);
    let before = volume.record().clone();
    let late = ended(call.call_id, Ok(Answer::Done));
    volume.on_event(late, at(3)).unwrap();
    assert_eq!(volume.record(), &before);
}

fn staging() -> (Volume, Call) {
    let mut world = created(ALL);
    let mut volume = world.volume.take().unwrap();
    let acquire = Event::Acquire {
        task_id: task("a"),
        read_only: false,
    };
    let attach = open_call(volume.on_event(acquire, at(10)).unwrap());
    let result = world.backend.carry_out(&attach);
    let ended = ended(attach.call_id, result);
    let stage = open_call(volume.on_event(ended, at(11)).unwrap());
    (volume, stage)
}

#[test]
fn a_publish_path_refused_fails_the_task_and_comes_down() {
    let (mut volume, stage) = staging();
    let step = end(&mut volume, &stage, Verdict::NotNow, 12);
    assert!(
        step.effects
            .iter()
            .any(|effect| matches!(effect, Effect::TellAcquired { result: Err(_), .. }))
    );
    assert_eq!(open_call(step).rpc, Rpc::Detach, "nothing was staged");
}

#[test]
fn an_uncertain_stage_given_up_is_unstaged() {
    let (mut volume, stage) = staging();
    end(&mut volume, &stage, Verdict::Uncertain, 12);
    let step = volume
        .on_event(Event::Release { task_id: task("a") }, at(13))
        .unwrap();
    assert_eq!(open_call(step).rpc, Rpc::Unstage);
}

#[test]
fn a_limit_met_on_the_way_up_is_undone() {
    let (mut volume, stage) = staging();
    let step = end(&mut volume, &stage, Verdict::Exhausted, 12);
    assert_eq!(open_call(step).rpc, Rpc::Unstage);
}

#[test]
fn a_refusal_after_doubt_is_still_undone() {
    let (mut volume, stage) = staging();
    end(&mut volume, &stage, Verdict::Uncertain, 12);
    let again = open_call(volume.on_event(Event::Due, at(60_000)).unwrap());
    assert_eq!(again.rpc, Rpc::Stage);
    let step = end(&mut volume, &again, Verdict::Refused, 60_001);
    assert_eq!(open_call(step).rpc, Rpc::Unstage);
}

#[test]
fn a_volume_that_the_plugin_forgot_is_missing_never_made_again() {
    let mut world = created(ALL);
    world.backend.volumes.clear();
    world.send(Event::PluginDown).unwrap();
    world.send(plugin_up(ALL)).unwrap();
    assert!(world.trail.is_empty(), "nobody wants it");
    world.send(listed(false)).unwrap();
    assert_eq!(volume(&world).state(), VolumeState::Missing);
    acquire(&mut world, "a", false);
    let refused = world.acquired[&task("a")].clone().unwrap_err();
    assert!(refused.contains("no longer knows"), "{refused}");
    assert_eq!(world.backend.creations, 1);
    assert_eq!(
        world.trail,
        ["verify", "verify"],
        "asked again for whoever wants it"
    );
    // The operator's word ends it.
    world.operate(operation(2, VolumeAct::Delete)).unwrap();
    assert!(volume(&world).is_gone());
}

#[test]
fn a_volume_that_the_plugin_lists_is_not_asked_for_before_its_use() {
    let mut world = created(ALL);
    world.send(plugin_up(ALL)).unwrap();
    world.send(listed(true)).unwrap();
    acquire(&mut world, "a", false);
    assert_eq!(world.trail, ["attach", "stage", "publish"]);
    // The next start of the plugin is another matter, and what is in use already is not asked for.
    world.trail.clear();
    world.send(plugin_up(ALL)).unwrap();
    acquire(&mut world, "b", true);
    assert!(world.trail.is_empty(), "{:?}", world.trail);
    release(&mut world, "a");
    release(&mut world, "b");
    assert_eq!(world.trail, ["unpublish", "unstage", "detach"]);
    world.trail.clear();
    acquire(&mut world, "c", false);
    assert_eq!(world.trail, ["verify", "attach", "stage", "publish"]);
}

#[test]
fn a_list_alone_ends_no_doubt() {
    let mut world = created(ALL);
    let kept = std::mem::take(&mut world.backend.volumes);
    world.send(listed(false)).unwrap();
    assert_eq!(volume(&world).state(), VolumeState::Missing);
    world.send(listed(true)).unwrap();
    assert_eq!(
        volume(&world).state(),
        VolumeState::Missing,
        "it said so of this very one"
    );
    world.backend.volumes = kept;
    // A list that lies harms nothing.
    world.send(listed(false)).unwrap();
    assert_eq!(volume(&world).state(), VolumeState::Ready);
}

#[test]
fn a_volume_that_is_found_again_is_ready_again() {
    let mut world = created(ALL);
    let kept = std::mem::take(&mut world.backend.volumes);
    world.send(plugin_up(ALL)).unwrap();
    world.send(listed(false)).unwrap();
    assert_eq!(volume(&world).state(), VolumeState::Missing);
    world.backend.volumes = kept;
    world.send(plugin_up(ALL)).unwrap();
    assert_eq!(volume(&world).state(), VolumeState::Ready);
}

#[test]
fn an_absent_plugin_blocks_and_changes_nothing() {
    let mut world = created(ALL);
    world.send(Event::PluginDown).unwrap();
    acquire(&mut world, "a", false);
    assert!(world.trail.is_empty() && world.acquired.is_empty());
    world.send(plugin_up(ALL)).unwrap();
    assert_eq!(world.acquired[&task("a")], Ok(()));
}

#[test]
fn after_a_boot_nothing_is_taken_to_be_mounted() {
    let mut world = created(ALL);
    acquire(&mut world, "a", false);
    world.trail.clear();
    world.reboot().unwrap();
    assert_eq!(world.trail, ["verify", "stage", "publish"]);
    assert!(world.backend.published);
}

#[test]
fn after_a_boot_a_plugin_that_does_not_attach_is_not_asked_to_detach() {
    for stages in [true, false] {
        let mut world = created(Abilities { stages, ..NONE });
        acquire(&mut world, "a", false);
        let now = world.now();
        let release = Event::Release { task_id: task("a") };
        // The host goes down before anything of the release is done.
        world
            .volume
            .as_mut()
            .unwrap()
            .on_event(release, now)
            .unwrap();
        world.disk.as_mut().unwrap().holders.clear();
        world.trail.clear();
        world.reboot().unwrap();
        assert!(world.trail.is_empty(), "{:?}", world.trail);
        assert_eq!(volume(&world).state(), VolumeState::Ready);
        world.operate(operation(2, VolumeAct::Delete)).unwrap();
        assert!(volume(&world).is_gone());
        world.check();
    }
}

#[test]
fn a_growth_is_not_finished_by_an_earlier_one_whose_file_system_stays_small() {
    let grow = |n: u128, mib: u64| {
        Event::Operation(operation(
            n,
            VolumeAct::Grow {
                capacity: Bytes::mib(mib),
            },
        ))
    };
    let mut world = created(ALL);
    world.send(grow(2, 20)).unwrap();
    acquire(&mut world, "a", false);
    release(&mut world, "a");
    let mut record = world.disk.clone().unwrap();
    record.node_expand_due = Some(Bytes::mib(20));
    let (mut volume, _) = Volume::recover(record, "1", at(100));
    volume.on_event(plugin_up(ALL), at(101)).unwrap();
    let acquire = Event::Acquire {
        task_id: task("b"),
        read_only: false,
    };
    let mut call = open_call(volume.on_event(acquire, at(102)).unwrap());
    assert_eq!(call.rpc, Rpc::Verify, "before it is used");
    while !matches!(call.rpc, Rpc::NodeExpand(_)) {
        let result = world.backend.carry_out(&call);
        let ended = ended(call.call_id, result);
        call = open_call(volume.on_event(ended, at(103)).unwrap());
    }
    volume.on_event(grow(3, 40), at(104)).unwrap();
    let step = end(&mut volume, &call, Verdict::Refused, 105);
    let told = |effect: &Effect| matches!(effect, Effect::TellOperation(_));
    assert!(!step.effects.iter().any(told), "told of a growth not made");
    assert_eq!(open_call(step).rpc, Rpc::ControllerExpand(Bytes::mib(40)));
}

#[test]
fn a_volume_of_which_nothing_was_made_is_deleted_without_its_plugin() {
    let create = operation(1, VolumeAct::Create(spec()));
    let (mut volume, _) = Volume::create(&create, "boot", at(0)).unwrap();
    let delete = Event::Operation(operation(2, VolumeAct::Delete));
    let step = volume.on_event(delete, at(1)).unwrap();
    assert!(volume.is_gone());
    assert_eq!(
        step.effects.len(),
        2,
        "both operations have ended: {step:?}"
    );
}

#[test]
fn a_deletion_answered_while_the_plugin_goes_down_is_finished() {
    let mut world = created(ALL);
    let mut volume = world.volume.take().unwrap();
    let delete = Event::Operation(operation(2, VolumeAct::Delete));
    let call = open_call(volume.on_event(delete, at(50)).unwrap());
    let result = world.backend.carry_out(&call);
    volume.on_event(Event::PluginDown, at(51)).unwrap();
    let call_id = call.call_id;
    let step = volume.on_event(ended(call_id, result), at(52)).unwrap();
    assert!(volume.is_gone());
    assert!(matches!(
        &step.effects[..],
        [Effect::TellOperation(report)] if report.outcome == Outcome::Finished
    ));
}

#[test]
fn an_operation_that_was_denied_stays_denied() {
    let mut world = created(ALL);
    acquire(&mut world, "a", false);
    let delete = operation(2, VolumeAct::Delete);
    let mut volume = world.volume.take().unwrap();
    let denied = volume
        .on_event(Event::Operation(delete.clone()), at(50))
        .unwrap_err();
    let problem = Problem::new(ErrorKind::Conflict, denied.to_string());
    let step = volume.refuse(delete.operation_uuid, problem, at(51));
    assert!(step.persist.is_some(), "also after a restart");
    world.volume = Some(volume);
    release(&mut world, "a");
    world.outcomes.clear();
    world.operate(delete).unwrap();
    assert!(!world.trail.contains(&"delete".to_owned()));
    assert!(matches!(
        world.outcomes.values().last(),
        Some(Outcome::Failed(_))
    ));
}

#[test]
fn retries_slow_down_and_never_overflow() {
    let (mut volume, mut call) = creating();
    let mut waits = Vec::new();
    let mut now = 2;
    for _ in 0..80 {
        let step = end(&mut volume, &call, Verdict::Uncertain, now);
        let Some(Effect::WakeAt(when)) = step.effects.last() else {
            panic!("{step:?}")
        };
        let wait = ms_of(*when) - now;
        waits.push(wait);
        now += wait;
        call = open_call(volume.on_event(Event::Due, at(now)).unwrap());
    }
    assert!(waits.is_sorted());
    assert_eq!(waits.last(), Some(&RETRY_MS_MAX));
}

#[test]
fn a_failed_descent_is_shown_and_does_not_hold_the_task() {
    let mut world = created(ALL);
    acquire(&mut world, "a", false);
    let mut volume = world.volume.take().unwrap();
    let step = volume
        .on_event(Event::Release { task_id: task("a") }, at(50))
        .unwrap();
    let unpublish = open_call(step);
    let step = end(&mut volume, &unpublish, Verdict::NotNow, 51);
    assert!(
        step.effects
            .iter()
            .any(|e| matches!(e, Effect::TellReleased { .. }))
    );
    assert_eq!(volume.state(), VolumeState::Releasing);
    assert!(volume.problem().is_some());
}

fn unmount(world: &mut World, staging: bool) {
    world.backend.target_mounted = false;
    world.backend.staging_mounted &= !staging;
    world.trail.clear();
}

#[test]
fn a_mount_that_is_gone_is_made_anew_once_nobody_holds_it_before_the_next_is_told() {
    let mut world = created(ALL);
    acquire(&mut world, "a", false);
    unmount(&mut world, false);
    acquire(&mut world, "b", true);
    assert!(!world.acquired.contains_key(&task("b")), "told of a folder");
    let nothing: [&str; 0] = [];
    assert_eq!(world.trail, nothing, "a's container may have its own copy");
    let problem = volume(&world).problem().expect("the wait has a reason");
    assert_eq!(problem.hint.as_deref(), Some("sutler task stop a"));
    let now = world.now();
    let next = volume(&world).why(now).next;
    assert!(next.starts_with("looks at its mount again in "), "{next}");
    release(&mut world, "a");
    assert_eq!(world.acquired[&task("b")], Ok(()));
    assert_eq!(world.trail, ["unpublish", "publish"]);
    assert!(world.backend.target_mounted);
    assert_eq!(volume(&world).problem(), None);
    release(&mut world, "b");
    world.check();
}

#[test]
fn a_staging_mount_that_is_gone_too_is_staged_again_before_the_publish() {
    let mut world = created(ALL);
    acquire(&mut world, "a", false);
    unmount(&mut world, true);
    acquire(&mut world, "b", true);
    release(&mut world, "a");
    assert_eq!(world.acquired[&task("b")], Ok(()));
    assert_eq!(world.trail, ["unpublish", "unstage", "stage", "publish"]);
    assert!(world.backend.staging_mounted && world.backend.target_mounted);
}

#[test]
fn a_mount_that_stands_or_never_was_one_is_used_as_it_is() {
    let mut world = created(ALL);
    acquire(&mut world, "a", false);
    world.trail.clear();
    acquire(&mut world, "b", true);
    assert_eq!(world.acquired[&task("b")], Ok(()));
    assert_eq!(world.trail, Vec::<String>::new());
    // A plugin that mounts nothing, as its record says.
    let volume = world.volume.as_mut().unwrap();
    volume.record.mounts = Mounts::default();
    unmount(&mut world, true);
    world.backend.target_mounted = true;
    acquire(&mut world, "c", true);
    assert_eq!(world.acquired[&task("c")], Ok(()));
    assert_eq!(world.trail, Vec::<String>::new());
}

#[test]
fn a_lost_mount_is_found_also_after_a_restart_and_while_the_plugin_is_away() {
    let mut world = created(ALL);
    acquire(&mut world, "a", false);
    unmount(&mut world, false);
    world.restart().unwrap();
    world.send(Event::PluginDown).unwrap();
    world.acquired.clear();
    world.trail.clear();
    acquire(&mut world, "b", true);
    assert!(!world.acquired.contains_key(&task("b")), "told of a folder");
    world.send(plugin_up(ALL)).unwrap();
    assert_eq!(world.trail, Vec::<String>::new(), "a may still run");
    release(&mut world, "a");
    assert_eq!(world.acquired[&task("b")], Ok(()));
    assert_eq!(world.trail, ["unpublish", "verify", "publish"]);
}

#[test]
fn an_answer_to_an_earlier_look_does_not_count() {
    let mut world = created(ALL);
    acquire(&mut world, "a", false);
    let volume = world.volume.as_mut().unwrap();
    let ask = |volume: &mut Volume, name| {
        let event = Event::Acquire {
            task_id: task(name),
            read_only: true,
        };
        let step = volume.on_event(event, at(9)).unwrap();
        let look = step.effects.into_iter().find_map(|effect| match effect {
            Effect::Look { call_id, .. } => Some(call_id),
            _ => None,
        });
        look.expect("it looks")
    };
    let early = ask(volume, "b");
    let late = ask(volume, "c");
    let mut answer = |call_id, stands| {
        let seen = seen(stands);
        let event = Event::Looked { call_id, seen };
        volume.on_event(event, at(9)).unwrap().effects.len()
    };
    assert_eq!(answer(early, true), 0, "it was seen before the second came");
    assert_eq!(answer(late, true), 2, "both are told");
}

#[test]
fn a_lost_mount_that_cannot_be_made_anew_fails_who_waits() {
    let mut world = created(NONE);
    acquire(&mut world, "a", false);
    world.backend.target_mounted = false;
    let mut volume = world.volume.take().unwrap();
    // Who asks again has not started, so nobody holds it.
    let event = Event::Acquire {
        task_id: task("a"),
        read_only: false,
    };
    let step = volume.on_event(event, at(9)).unwrap();
    let Some(Effect::Look { call_id, mount }) = step.effects.first().cloned() else {
        panic!("it looks: {step:?}");
    };
    assert_eq!(mount, Mount::Target);
    let seen = seen(false);
    let step = volume.on_event(Event::Looked { call_id, seen }, at(9));
    let unpublish = open_call(step.unwrap());
    assert_eq!(unpublish.rpc, Rpc::Unpublish);
    let done = ended(unpublish.call_id, Ok(Answer::Done));
    let publish = open_call(volume.on_event(done, at(10)).unwrap());
    assert_eq!(publish.rpc, Rpc::Publish);
    let refused = ended(publish.call_id, Err(failure(Verdict::Refused, "no")));
    let step = volume.on_event(refused, at(11)).unwrap();
    let told = |effect: &Effect| matches!(effect, Effect::TellAcquired { result: Err(_), .. });
    assert_eq!(step.effects.iter().filter(|e| told(e)).count(), 1);
    assert!(volume.record().holders.is_empty());
}

#[test]
fn a_look_without_an_answer_takes_nothing_from_whoever_holds_the_mount() {
    let mut world = created(ALL);
    acquire(&mut world, "a", false);
    let volume = world.volume.as_mut().unwrap();
    let event = Event::Acquire {
        task_id: task("b"),
        read_only: true,
    };
    let look = |step: &Step| {
        step.effects.iter().find_map(|effect| match effect {
            Effect::Look { call_id, .. } => Some(*call_id),
            _ => None,
        })
    };
    let step = volume.on_event(event, at(9)).unwrap();
    let problem = Problem::new(ErrorKind::Unavailable, "no answer");
    let seen = Seen::NotKnown(problem.clone());
    let call_id = look(&step).unwrap();
    let step = volume
        .on_event(Event::Looked { call_id, seen }, at(10))
        .unwrap();
    assert!(matches!(step.effects[..], [Effect::WakeAt(_)]), "{step:?}");
    assert_eq!(volume.problem(), Some(problem), "the wait has a reason");
    // Whatever else comes, it waits for a look, and another look comes.
    let step = volume.on_event(plugin_up(ALL), at(11)).unwrap();
    assert!(!step.effects.iter().any(|e| matches!(
        e,
        Effect::Call(call) if call.rpc != Rpc::Verify
    )));
    let step = volume.on_event(Event::Due, at(60_000)).unwrap();
    let call_id = look(&step).unwrap();
    let seen = Seen::Stands;
    let step = volume
        .on_event(Event::Looked { call_id, seen }, at(60_001))
        .unwrap();
    let told = |effect: &Effect| matches!(effect, Effect::TellAcquired { result: Ok(_), .. });
    assert!(step.effects.iter().any(told), "{step:?}");
    assert_eq!(volume.problem(), None);
}

#[test]
fn a_volume_that_nobody_wants_comes_down_though_its_mount_is_not_known() {
    let mut world = created(NONE);
    acquire(&mut world, "a", false);
    let volume = world.volume.as_mut().unwrap();
    let event = Event::Acquire {
        task_id: task("b"),
        read_only: true,
    };
    let step = volume.on_event(event, at(9)).unwrap();
    let Some(Effect::Look { call_id, .. }) = step.effects.first() else {
        panic!("it looks: {step:?}");
    };
    let seen = Seen::NotKnown(Problem::new(ErrorKind::Unavailable, "no answer"));
    let event = Event::Looked {
        call_id: *call_id,
        seen,
    };
    volume.on_event(event, at(10)).unwrap();
    for name in ["a", "b"] {
        let event = Event::Release {
            task_id: task(name),
        };
        let step = volume.on_event(event, at(11)).unwrap();
        if name == "b" {
            assert_eq!(open_call(step).rpc, Rpc::Unpublish);
        }
    }
}
