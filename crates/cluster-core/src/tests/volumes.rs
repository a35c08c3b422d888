//! Volumes: refusals, the trash, deletion, growth, outcomes told once or twice.

use std::time::Duration;

use serde_json::json;
use sutler_api::agent::{OperationReport, Outcome, ToAgent, Update, VolumeAct, VolumeReport};
use sutler_api::definition::PluginDefinition;
use sutler_api::operation::OperationState;
use sutler_api::plugin::PluginState;
use sutler_api::volume::{VolumeHolder, VolumeState};
use sutler_ids::{Bytes, ErrorKind, Problem};
use sutler_ids::{OperationUuid, VolumeId};
use uuid::Uuid;

use super::world::{GIB, World, accepted, instance, refused};
use crate::{Config, Event, Reply, Request};

#[test]
fn a_volume_goes_from_acceptance_to_ready_and_its_identity_is_the_operations() {
    let (mut world, a) = World::with_local();
    let uuid = world.create("data", GIB).unwrap();
    let volume = world.volume("data");
    assert_eq!(volume.volume_id.uuid(), uuid.uuid());
    assert_eq!(volume.state, VolumeState::Creating);
    assert_eq!(world.sent_words(), ["operation create"]);
    assert_eq!(
        world.books.operation(uuid).unwrap().state,
        OperationState::Pending
    );
    world.end(a, uuid, volume.volume_id, Outcome::Finished);
    assert_eq!(world.volume("data").state, VolumeState::Ready);
    assert_eq!(
        world.books.operation(uuid).unwrap().state,
        OperationState::Finished
    );
}

#[test]
fn a_volume_is_refused_with_its_fault() {
    let (mut world, a) = World::with_local();
    world.created(a, "taken");
    let create = |world: &mut World, value: serde_json::Value| {
        world.request(Request::CreateVolume(
            serde_json::from_value(value).unwrap(),
        ))
    };
    use ErrorKind::{Conflict, Exhausted, Invalid, NotFound};
    for (request, kind, words) in [
        (
            json!({"name": "x", "size": 0}),
            Invalid,
            vec!["size is 0", "volume x"],
        ),
        (
            json!({"name": "x", "size": u64::MAX}),
            Invalid,
            vec!["over the largest"],
        ),
        (
            json!({"name": "x", "size": 11 * GIB}),
            Exhausted,
            vec![
                "11G (11811160064 bytes)",
                "10G (10737418240 bytes)",
                "node a",
            ],
        ),
        (
            json!({"name": "taken", "size": 1}),
            Conflict,
            vec!["taken exists", "volume show taken"],
        ),
        (
            json!({"name": "x", "size": 1, "class": "gold"}),
            NotFound,
            vec!["gold", "local", "class ls"],
        ),
        (
            json!({"name": "x", "size": 1, "agent": "b"}),
            NotFound,
            vec!["called b", "known are: a"],
        ),
        (
            json!({"name": "x", "size": 1, "fs_type": "../etc"}),
            Invalid,
            vec!["../etc"],
        ),
        (
            json!({"name": "x", "size": 1, "fs_type": "ext4", "access": "block"}),
            Invalid,
            vec!["block device"],
        ),
    ] {
        refused(create(&mut world, request), kind, &words);
    }
}

#[test]
fn without_a_ready_plugin_the_refusal_says_where_and_why() {
    let mut world = World::new();
    refused(
        world.create("x", 1),
        ErrorKind::NotFound,
        &["no plugin was added", "plugin add"],
    );
    world.add("local").unwrap();
    refused(
        world.create("x", 1),
        ErrorKind::Unavailable,
        &["there is no node"],
    );
    let a = world.agent("a");
    refused(
        world.create("x", 1),
        ErrorKind::Unavailable,
        &["on a: it has not begun to start"],
    );
    let mut failing = super::world::instance(PluginState::BackingOff, world.now.wall);
    failing.problem = Some(Problem::new(
        ErrorKind::Unavailable,
        "its container exited with 1",
    ));
    world.plugin(a, "local", failing);
    refused(
        world.create("x", 1),
        ErrorKind::Unavailable,
        &["exited with 1", "plugin show local"],
    );
    world.ready(a, "local", None);
    world.disconnect(a);
    refused(
        world.create("x", 1),
        ErrorKind::Unavailable,
        &["on a: the node is not connected"],
    );
    let b = world.agent("b");
    world.ready(b, "local", None);
    let on_a = serde_json::from_value(json!({"name": "x", "size": 1, "agent": "a"})).unwrap();
    refused(
        world.request(Request::CreateVolume(on_a)),
        ErrorKind::Unavailable,
        &["node a", "not connected", "it is ready on b"],
    );
}

#[test]
fn a_volume_goes_where_most_is_free() {
    let (mut world, _) = World::with_local();
    let b = world.agent("b");
    world.ready(b, "local", Some(20 * GIB));
    world.create("x", 15 * GIB).unwrap();
    assert_eq!(world.volume("x").agent.as_str(), "b");
}

#[test]
fn each_class_of_a_plugin_has_room_of_its_own() {
    let mut world = World::new();
    let a = world.agent("a");
    let toml = "image = 'nas'\n[class.fast]\n[class.slow]\n";
    world
        .add_definition(PluginDefinition::from_toml(toml).unwrap())
        .unwrap();
    let mut view = instance(PluginState::Ready, world.now.wall);
    view.free = [("fast", 2 * GIB), ("nas", 0)]
        .map(|(class, free)| (class.parse().unwrap(), Bytes(free)))
        .into();
    world.plugin(a, "nas", view);
    let create = |name: &str, class: &str| {
        let size = 2 * GIB;
        let request = json!({"name": name, "size": size, "class": class});
        Request::CreateVolume(serde_json::from_value(request).unwrap())
    };
    refused(
        world.request(create("x", "nas")),
        ErrorKind::Exhausted,
        &["class nas has 0", "node a"],
    );
    world.request(create("x", "fast")).unwrap();
    // Nothing is told of this class: the plugin has the word.
    world.request(create("y", "slow")).unwrap();
    let shown = world.books.class_page(None, usize::MAX).into_iter();
    let free: Vec<_> = shown.map(|class| class.free.get("a").copied()).collect();
    assert_eq!(free, [Some(Bytes(2 * GIB)), Some(Bytes(0)), None]);
}

#[test]
fn parameters_are_checked_against_the_definition_and_defaults_filled() {
    let mut world = World::new();
    let a = world.agent("a");
    let toml = "image = 'nas'\n[[params]]\nkey = 'type'\nvalues = ['fast', 'slow']\n\
                default = 'slow'\n[[params]]\nkey = 'pool'\nrequired = true\n\
                [class.good]\nparameters = { pool = 'p1' }\nfs_type = 'xfs'\n";
    world
        .add_definition(PluginDefinition::from_toml(toml).unwrap())
        .unwrap();
    world.ready(a, "nas", None);
    let create = |class: &str| {
        Request::CreateVolume(
            serde_json::from_value(json!({"name": "x", "size": 1, "class": class})).unwrap(),
        )
    };
    refused(
        world.request(create("nas")),
        ErrorKind::Invalid,
        &["\"pool\"", "requires"],
    );
    world.sent.clear();
    world.request(create("good")).unwrap();
    let ToAgent::Operation(operation) = &world.sent[0].1 else {
        panic!("{:?}", world.sent)
    };
    let VolumeAct::Create(spec) = &operation.act else {
        panic!("{operation:?}")
    };
    assert_eq!(spec.fs_type.as_deref(), Some("xfs"));
    let parameters: Vec<(&str, &str)> = spec
        .parameters
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    assert_eq!(parameters, [("pool", "p1"), ("type", "slow")]);
}

#[test]
fn a_failed_creation_stays_visible_until_it_is_removed() {
    let (mut world, a) = World::with_local();
    let uuid = world.create("data", GIB).unwrap();
    let id = VolumeId::new(uuid.uuid());
    let problem = Problem::new(ErrorKind::Exhausted, "the plugin has no space");
    world.end(a, uuid, id, Outcome::Failed(problem.clone()));
    let volume = world.volume("data");
    assert_eq!(
        (volume.state, volume.problem),
        (VolumeState::Failed, Some(problem))
    );
    refused(
        world.create("data", 1),
        ErrorKind::Conflict,
        &["could not be created", "rm data"],
    );
    world.sent.clear();
    let deletion = accepted(world.remove("data", false).unwrap());
    assert_eq!(
        world.books.operation(deletion).unwrap().state,
        OperationState::Finished
    );
    assert_eq!(world.sent_words(), ["forget_volume"]);
    world.create("data", 1).unwrap();
}

#[test]
fn the_trash_keeps_a_volume_until_its_retention_ends() {
    let (mut world, a) = World::with_local();
    let id = world.created(a, "data");
    let deletion = accepted(world.remove("data", false).unwrap());
    let volume = world.volume("data");
    assert_eq!(volume.state, VolumeState::Trashed);
    let until = world.now.after_ms(Config::default().trash_retention_ms);
    assert_eq!(volume.trash_until, Some(world.now.wall_of(until)));
    assert_eq!(
        world.sent_words(),
        Vec::<String>::new(),
        "nothing is deleted yet"
    );
    let held = world.books.operation(deletion).unwrap();
    assert_eq!(held.state, OperationState::Pending);
    assert!(
        held.problem
            .unwrap()
            .what
            .contains("stays in the trash until")
    );
    refused(
        world.create("data", 1),
        ErrorKind::Conflict,
        &["in the trash", "restore data"],
    );
    assert_eq!(
        accepted(world.remove("data", false).unwrap()),
        deletion,
        "asked twice"
    );
    world.event(Event::Timer).unwrap();
    assert_eq!(world.sent_words(), Vec::<String>::new());
    world.later(world.now.until(until));
    world.event(Event::Timer).unwrap();
    assert_eq!(world.sent_words(), ["operation delete"]);
    assert_eq!(world.volume("data").state, VolumeState::Deleting);
    assert_eq!(world.books.wake_at(), None);
    world.end(a, deletion, id, Outcome::Finished);
    assert_eq!(world.sent_words(), ["forget_volume"]);
    assert!(world.books.volume_page(None, usize::MAX).is_empty());
    assert_eq!(
        world.books.operation(deletion).unwrap().state,
        OperationState::Finished
    );
}

#[test]
fn the_trash_is_kept_for_the_time_that_masters_ran_whatever_the_clocks_say() {
    let (mut world, a) = World::with_local();
    world.created(a, "data");
    world.remove("data", false).unwrap();
    let day = Duration::from_secs(24 * 3600);
    let left = |world: &mut World| {
        world.event(Event::Timer).unwrap();
        let volume = world.volume("data");
        assert_eq!(volume.state, VolumeState::Trashed);
        let until = volume.trash_until.unwrap();
        Duration::try_from(until.duration_since(world.now.wall)).unwrap()
    };
    assert!(left(&mut world) <= day);
    // The wall clock is set: a month forward, a year back.
    world.now.wall += day * 30;
    assert!(left(&mut world) > day - Duration::from_secs(60));
    world.now.wall -= day * 365;
    assert!(left(&mut world) > day - Duration::from_secs(60));
    // Twenty hours, told of every ten minutes, then a crash and a boot: at most ten are lost.
    while left(&mut world) > Duration::from_secs(4 * 3600) {
        let wait = world.now.until(world.books.wake_at().unwrap());
        assert!(wait <= Duration::from_secs(600), "{wait:?}");
        world.later(wait);
    }
    world.now.wall += day * 30;
    world.reboot();
    let after = left(&mut world);
    assert!(after <= Duration::from_secs(4 * 3600 + 600), "{after:?}");
    assert!(after > Duration::from_secs(3 * 3600), "{after:?}");
    world.later(after);
    world.event(Event::Timer).unwrap();
    assert_eq!(world.volume("data").state, VolumeState::Deleting);
    assert_eq!(
        world.books.wake_at(),
        None,
        "nothing is written for an empty trash"
    );
}

#[test]
fn a_volume_comes_back_from_the_trash_and_its_deletion_never_begins() {
    let (mut world, a) = World::with_local();
    let id = world.created(a, "data");
    let restore = Request::RestoreVolume {
        name: "data".parse().unwrap(),
    };
    refused(
        world.request(restore.clone()),
        ErrorKind::Conflict,
        &["not in the trash", "ready"],
    );
    let deletion = accepted(world.remove("data", false).unwrap());
    assert_eq!(world.request(restore).unwrap(), Reply::Volume(id));
    assert_eq!(world.volume("data").state, VolumeState::Ready);
    let ended = world.books.operation(deletion).unwrap();
    assert_eq!(ended.state, OperationState::Failed);
    world.hours(48);
    world.event(Event::Timer).unwrap();
    assert_eq!(world.sent_words(), Vec::<String>::new());
}

#[test]
fn purge_deletes_at_once_also_from_the_trash() {
    let (mut world, a) = World::with_local();
    let id = world.created(a, "one");
    let deletion = accepted(world.remove("one", true).unwrap());
    assert_eq!(world.sent_words(), ["operation delete"]);
    assert_eq!(
        accepted(world.remove("one", true).unwrap()),
        deletion,
        "asked twice"
    );
    world.end(a, deletion, id, Outcome::Finished);
    world.created(a, "two");
    let deletion = accepted(world.remove("two", false).unwrap());
    assert_eq!(accepted(world.remove("two", true).unwrap()), deletion);
    assert_eq!(world.sent_words(), ["operation delete"]);
}

#[test]
fn a_volume_that_cannot_be_deleted_stays_with_the_reason() {
    let (mut world, a) = World::with_local();
    let id = world.created(a, "data");
    let deletion = accepted(world.remove("data", true).unwrap());
    let why = Problem::new(ErrorKind::Conflict, "a snapshot depends on it");
    world.end(a, deletion, id, Outcome::Failed(why.clone()));
    let volume = world.volume("data");
    assert_eq!(
        (volume.state, volume.problem),
        (VolumeState::Ready, Some(why))
    );
}

#[test]
fn purge_overtakes_a_creation_that_does_not_end_and_both_operations_end() {
    let (mut world, a) = World::with_local();
    let creation = world.create("data", GIB).unwrap();
    let id = VolumeId::new(creation.uuid());
    refused(
        world.remove("data", false),
        ErrorKind::Conflict,
        &["being created", "--purge"],
    );
    let deletion = accepted(world.remove("data", true).unwrap());
    assert_eq!(world.volume("data").state, VolumeState::Deleting);
    world.end(a, deletion, id, Outcome::Finished);
    assert_eq!(
        world.books.operation(creation).unwrap().state,
        OperationState::Failed
    );
    assert_eq!(
        world.books.operation(deletion).unwrap().state,
        OperationState::Finished
    );
}

#[test]
fn a_used_volume_is_not_removed_and_its_holder_is_named() {
    let (mut world, a) = World::with_local();
    let id = world.created(a, "data");
    let task = world.run_on("job", "data", false).unwrap();
    for purge in [false, true] {
        refused(
            world.remove("data", purge),
            ErrorKind::Conflict,
            &["task job on node a"],
        );
    }
    world.report_task(a, &task, sutler_api::task::TaskState::Finished);
    let holder = VolumeHolder {
        task_id: task,
        read_only: false,
    };
    let held = VolumeReport {
        volume_id: id,
        state: VolumeState::Releasing,
        since: world.now.wall,
        csi_volume_id: None,
        capacity: None,
        used: None,
        holders: vec![holder],
        problem: None,
    };
    world.updates(a, vec![Update::Volume(held)]).unwrap();
    refused(
        world.remove("data", false),
        ErrorKind::Conflict,
        &["still held for task job"],
    );
    world.report_volume(a, id, VolumeState::Ready);
    world.remove("data", false).unwrap();
}

#[test]
fn a_volume_grows_only_where_and_when_it_can() {
    let (mut world, a) = World::with_local();
    let id = world.created(a, "data");
    let grow = |world: &mut World, size: u64| {
        world.request(Request::GrowVolume {
            name: "data".parse().unwrap(),
            size: Bytes(size),
        })
    };
    refused(
        grow(&mut world, GIB - 1),
        ErrorKind::Invalid,
        &["1G", "cannot become smaller"],
    );
    refused(
        grow(&mut world, 12 * GIB),
        ErrorKind::Exhausted,
        &["11G", "10G"],
    );
    world.report_volume(a, id, VolumeState::Uncertain);
    refused(
        grow(&mut world, 2 * GIB),
        ErrorKind::Conflict,
        &["uncertain"],
    );
    world.report_volume(a, id, VolumeState::InUse);
    let uuid = accepted(grow(&mut world, 2 * GIB).unwrap());
    assert_eq!(world.sent_words(), ["operation grow"]);
    assert_eq!(world.volume("data").state, VolumeState::Growing);
    refused(
        grow(&mut world, 3 * GIB),
        ErrorKind::Conflict,
        &["being grown already"],
    );
    world.end(a, uuid, id, Outcome::Finished);
    assert_eq!(world.volume("data").capacity, Bytes(2 * GIB));
    let uuid = accepted(grow(&mut world, 3 * GIB).unwrap());
    let why = Problem::new(ErrorKind::Internal, "no");
    world.end(a, uuid, id, Outcome::Failed(why.clone()));
    let volume = world.volume("data");
    assert_eq!(
        (volume.capacity, volume.problem),
        (Bytes(2 * GIB), Some(why))
    );
}

#[test]
fn a_plugin_that_cannot_expand_is_said_so() {
    let (mut world, a) = World::with_local();
    world.created(a, "data");
    let mut view = super::world::instance(PluginState::Ready, world.now.wall);
    view.facts = Some(sutler_api::plugin::PluginFactsView::default());
    world.plugin(a, "local", view);
    let grow = Request::GrowVolume {
        name: "data".parse().unwrap(),
        size: Bytes(2 * GIB),
    };
    refused(
        world.request(grow),
        ErrorKind::Conflict,
        &["plugin local cannot grow"],
    );
}

#[test]
fn an_outcome_counts_once_and_only_from_the_owner() {
    let (mut world, a) = World::with_local();
    let b = world.agent("b");
    let uuid = world.create("data", GIB).unwrap();
    let id = VolumeId::new(uuid.uuid());
    world.end(b, uuid, id, Outcome::Finished);
    assert_eq!(
        world.volume("data").state,
        VolumeState::Creating,
        "not the owner"
    );
    world.end(a, uuid, id, Outcome::Finished);
    let why = Problem::new(ErrorKind::Internal, "late");
    world.end(a, uuid, id, Outcome::Failed(why));
    assert_eq!(world.volume("data").state, VolumeState::Ready, "told twice");
    assert_eq!(
        world.books.operation(uuid).unwrap().state,
        OperationState::Finished
    );
    world.sent.clear();
    let unknown = VolumeId::new(world.seed());
    world.end(
        a,
        OperationUuid::new(unknown.uuid()),
        unknown,
        Outcome::Finished,
    );
    assert_eq!(
        world.sent_words(),
        ["forget_volume"],
        "its owner may drop the tombstone"
    );
}

#[test]
fn a_deletion_held_by_the_trash_cannot_be_ended_by_a_report() {
    let (mut world, a) = World::with_local();
    let id = world.created(a, "data");
    let deletion = accepted(world.remove("data", false).unwrap());
    world.end(a, deletion, id, Outcome::Finished);
    assert_eq!(world.volume("data").state, VolumeState::Trashed);
}

#[test]
fn what_a_lost_node_last_told_stays_with_a_problem_and_no_timer_decides() {
    let (mut world, a) = World::with_local();
    let id = world.created(a, "data");
    world.report_volume(a, id, VolumeState::InUse);
    let pending = world.create("more", GIB).unwrap();
    world.disconnect(a);
    world.hours(1000);
    world.event(Event::Timer).unwrap();
    let volume = world.volume("data");
    assert_eq!(volume.state, VolumeState::InUse);
    assert!(
        volume
            .problem
            .unwrap()
            .what
            .contains("node a is not connected since")
    );
    let waiting = world.books.operation(pending).unwrap();
    assert_eq!(waiting.state, OperationState::Pending);
    assert!(waiting.problem.unwrap().what.contains("not connected"));
    world.sent.clear();
    world.connect(a, 1).unwrap();
    let ToAgent::Desired(desired) = &world.sent[0].1 else {
        panic!("{:?}", world.sent)
    };
    assert_eq!(
        desired.operations.len(),
        1,
        "told again on the next connection"
    );
    assert_eq!(desired.volumes.len(), 2);
}

#[test]
fn ended_operations_are_bounded_and_open_ones_are_never_forgotten() {
    let (mut world, a) = World::with_local();
    world.replay_each = false;
    let open = world.create("open", GIB).unwrap();
    for _ in 0..crate::operations::ENDED_OPERATIONS_MAX / 2 + 5 {
        let id = world.created(a, "x");
        let deletion = accepted(world.remove("x", true).unwrap());
        world.end(a, deletion, id, Outcome::Finished);
    }
    let durable = world.books.durable();
    assert_eq!(
        durable.operations.len(),
        crate::operations::ENDED_OPERATIONS_MAX + 1
    );
    assert!(durable.operations.contains_key(&open));
    assert_eq!(world.recovered().durable(), world.books.durable());
}

#[test]
fn a_node_that_was_away_hears_of_a_creation_before_its_deletion() {
    let (mut world, a) = World::with_local();
    let request = json!({ "name": "data", "size": GIB });
    // The creation's identity is the greatest there is, so it sorts after the deletion's.
    world
        .event(Event::Request {
            seed: Uuid::max(),
            request: Request::CreateVolume(serde_json::from_value(request).unwrap()),
        })
        .unwrap();
    world.disconnect(a);
    world.remove("data", true).unwrap();
    world.sent.clear();
    world.connect(a, 1).unwrap();
    let ToAgent::Desired(desired) = &world.sent[0].1 else {
        panic!("{:?}", world.sent)
    };
    let acts: Vec<&VolumeAct> = desired.operations.iter().map(|o| &o.act).collect();
    assert!(
        matches!(&acts[..], [VolumeAct::Create(_), VolumeAct::Delete]),
        "{acts:?}"
    );
}

#[test]
fn what_a_failed_creation_has_left_behind_is_deleted_by_the_full_word_alone() {
    let (mut world, a) = World::with_local();
    let uuid = world.create("short", GIB).unwrap();
    let id = VolumeId::new(uuid.uuid());
    let why = Problem::new(ErrorKind::Conflict, "made too small");
    let failed = |world: &World, operation_uuid| OperationReport {
        operation_uuid,
        volume_id: id,
        outcome: Outcome::Failed(why.clone()),
        left_behind: Some("fake-7".to_owned()),
        at: world.now.wall,
    };
    let report = failed(&world, uuid);
    world.report_operation(a, report);
    assert_eq!(world.volume("short").state, VolumeState::Failed);
    let refused = world.remove("short", false).unwrap_err();
    assert!(refused.what.contains("has fake-7 for it"), "{refused}");
    assert!(refused.hint.unwrap().contains("rm short --purge"));
    world.sent.clear();
    let deletion = accepted(world.remove("short", true).unwrap());
    assert_eq!(world.sent_words(), ["operation delete"]);
    // A deletion that fails makes it no better.
    let report = failed(&world, deletion);
    world.report_operation(a, report);
    assert_eq!(world.volume("short").state, VolumeState::Failed);
    let again = accepted(world.remove("short", true).unwrap());
    world.end(a, again, id, Outcome::Finished);
    assert!(world.books.volume(&"short".parse().unwrap()).is_err());
}

#[test]
fn a_deletion_that_overtook_a_bad_creation_ends_with_what_was_left_behind() {
    let (mut world, a) = World::with_local();
    let uuid = world.create("short", GIB).unwrap();
    let deletion = accepted(world.remove("short", true).unwrap());
    let report = OperationReport {
        operation_uuid: deletion,
        volume_id: VolumeId::new(uuid.uuid()),
        outcome: Outcome::Failed(Problem::new(ErrorKind::Conflict, "made too small")),
        left_behind: Some("fake-7".to_owned()),
        at: world.now.wall,
    };
    world.report_operation(a, report);
    assert_eq!(world.volume("short").state, VolumeState::Failed);
    let refused = world.remove("short", false).unwrap_err();
    assert!(refused.what.contains("fake-7"), "{refused}");
}
