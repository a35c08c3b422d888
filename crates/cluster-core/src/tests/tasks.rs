//! Tasks: refusals, waiting, one writer, placement, stopping, states that only go on.

use serde_json::json;
use sutler_api::agent::{Outcome, TaskReport, ToAgent, Update};
use sutler_api::task::TaskState;
use sutler_api::volume::VolumeState;
use sutler_ids::{ErrorKind, Problem};
use sutler_ids::{OperationUuid, TaskId, TaskInstance};
use uuid::Uuid;

use super::world::{GIB, World, refused, task_report, volume_report};
use crate::{Event, Request};

fn stop(world: &mut World, id: &TaskId) {
    world
        .request(Request::StopTask {
            task_id: id.clone(),
        })
        .unwrap();
}

#[test]
fn a_task_is_refused_with_its_fault() {
    let (mut world, a) = World::with_local();
    world.created(a, "data");
    let with = |volumes: serde_json::Value| json!({ "image": "x", "volumes": volumes });
    let one = |name: &str, path: &str| with(json!([{ "name": name, "path": path }]));
    use ErrorKind::{Conflict, Exhausted, Invalid, NotFound};
    for (task, kind, words) in [
        (
            json!({ "image": "" }),
            Invalid,
            vec!["not an image reference"],
        ),
        (json!({ "image": "a b" }), Invalid, vec!["\"a b\""]),
        (
            json!({ "image": "x", "cpus": 0.0 }),
            Invalid,
            vec!["0 cores"],
        ),
        (
            json!({ "image": "x", "cpus": -1.0 }),
            Invalid,
            vec!["-1 cores"],
        ),
        (
            json!({ "image": "x", "cpus": 5.0 }),
            Exhausted,
            vec!["node a has 4 cores, not 5"],
        ),
        (
            json!({ "image": "x", "memory": 1024 }),
            Invalid,
            vec!["1K of memory", "6M"],
        ),
        (
            json!({ "image": "x", "memory": 9 * GIB }),
            Exhausted,
            vec!["8G of memory, not 9G"],
        ),
        (
            json!({ "image": "x", "agent": "z" }),
            NotFound,
            vec!["called z"],
        ),
        (
            json!({ "image": "x", "env": { "A=B": "" } }),
            Invalid,
            vec!["\"A=B\""],
        ),
        (
            json!({ "image": "x", "command": ["a\u{0}b"] }),
            Invalid,
            vec!["NUL"],
        ),
        (
            json!({ "image": "x", "stop_grace_ms": u64::MAX }),
            Invalid,
            vec!["a stop cannot wait"],
        ),
        (
            one("data", "data"),
            Invalid,
            vec!["\"data\"", "not absolute"],
        ),
        (one("data", "/a/../b"), Invalid, vec![".."]),
        (one("data", "//"), Invalid, vec!["container's root"]),
        (
            one("none", "/data"),
            NotFound,
            vec!["called none", "-v none:1G:/data"],
        ),
        (
            with(json!([{ "name": "data", "path": "/a" }, { "name": "data", "path": "/b" }])),
            Invalid,
            vec!["named twice"],
        ),
        (
            with(json!([{ "name": "data", "path": "/a" },
                        { "name": "b", "size": 1, "path": "/a/" }])),
            Invalid,
            vec!["two volumes have the path"],
        ),
        (
            with(json!([{ "name": "data", "path": "/a", "size": 2 * GIB }])),
            Conflict,
            vec!["exists with 1G", "volume grow data"],
        ),
        (
            with(json!([{ "name": "data", "path": "/a", "class": "gold" }])),
            Conflict,
            vec!["in class local, not gold"],
        ),
        (
            with(json!([{ "name": "n", "path": "/a", "size": 11 * GIB }])),
            Exhausted,
            vec!["11G", "10G"],
        ),
    ] {
        let text = task.to_string();
        let result = world.run(task);
        assert!(result.is_err(), "{text}");
        refused(result, kind, &words);
    }
}

#[test]
fn a_volume_has_one_writer_and_the_holder_is_named() {
    let (mut world, a) = World::with_local();
    world.created(a, "data");
    let writer = world.run_on("writer", "data", false).unwrap();
    refused(
        world.run_on("second", "data", false),
        ErrorKind::Conflict,
        &[
            "volume data is held by task writer on node a",
            "sutler task stop writer",
        ],
    );
    world.run_on("reader", "data", true).unwrap();
    world.report_task(a, &writer, TaskState::Finished);
    world.run_on("second", "data", false).unwrap();
}

#[test]
fn a_task_id_is_used_once_and_made_from_the_image_when_absent() {
    let (mut world, _) = World::with_local();
    let id = world
        .run(json!({ "image": "localhost:5000/lib/BusyBox:1@sha256:00" }))
        .unwrap();
    assert!(id.as_str().starts_with("busybox-"), "{id}");
    let again = json!({ "image": "x", "task_id": id.as_str() });
    refused(world.run(again), ErrorKind::Conflict, &["exists"]);
}

#[test]
fn a_task_goes_to_its_node_after_the_operations_that_make_its_volumes() {
    let (mut world, a) = World::with_local();
    world
        .run(json!({ "image": "x", "volumes": [
            { "name": "one", "size": 1, "path": "/1" }, { "name": "two", "size": 1, "path": "/2" },
        ] }))
        .unwrap();
    assert_eq!(
        world.sent_words(),
        ["operation create", "operation create", "task"]
    );
    world.crash();
    world.connect(a, 1).unwrap();
    let ToAgent::Desired(desired) = &world.sent[0].1 else {
        panic!()
    };
    assert_eq!((desired.tasks.len(), desired.operations.len()), (1, 2));
}

#[test]
fn a_task_that_waits_for_a_volume_in_trouble_says_for_what() {
    let (mut world, a) = World::with_local();
    let volume_id = world.created(a, "data");
    let id = world.run_on("job", "data", false).unwrap();
    let problem = |world: &World| world.books.task(&id).unwrap().problem;
    let lost = Problem::new(ErrorKind::Unavailable, "its outcome is not known");
    let mut report = volume_report(volume_id, VolumeState::Uncertain, world.now.wall);
    report.problem = Some(lost.clone());
    world
        .updates(a, vec![Update::Volume(report.clone())])
        .unwrap();
    world.report_task(a, &id, TaskState::Pulling);
    assert_eq!(problem(&world), None, "it does not wait for it yet");
    world.report_task(a, &id, TaskState::Preparing);
    assert_eq!(problem(&world), Some(lost));
    report.state = VolumeState::InUse;
    world.updates(a, vec![Update::Volume(report)]).unwrap();
    assert_eq!(problem(&world), None, "it has it");
}

#[test]
fn a_task_whose_volume_could_not_be_made_is_ended_by_its_node() {
    let (mut world, a) = World::with_local();
    let task = json!({ "image": "x", "volumes": [{ "name": "v", "size": 1, "path": "/1" }] });
    let id = world.run(task).unwrap();
    let volume = world.volume("v").volume_id;
    let why = Problem::new(ErrorKind::Exhausted, "no space in the pool");
    let failed = Outcome::Failed(why);
    world.end(a, OperationUuid::new(volume.uuid()), volume, failed);
    assert_eq!(world.task_state(&id), TaskState::Accepted);
    refused(
        world.remove("v", false),
        ErrorKind::Conflict,
        &[id.as_str()],
    );
    world.report_task(a, &id, TaskState::Failed);
    assert_eq!(world.task_state(&id), TaskState::Failed);
    world.remove("v", false).unwrap();
}

#[test]
fn a_stop_is_recorded_and_carried_out_by_the_agent() {
    let (mut world, a) = World::with_local();
    let sent = world.run(json!({ "image": "x" })).unwrap();
    world.report_task(a, &sent, TaskState::Running);
    world.sent.clear();
    stop(&mut world, &sent);
    stop(&mut world, &sent);
    assert_eq!(
        world.sent_words(),
        ["task stop"],
        "a level: the second changes nothing"
    );
    assert_eq!(world.task_state(&sent), TaskState::Stopping);
    world.crash();
    assert_eq!(world.task_state(&sent), TaskState::Stopping, "recorded");
    world.connect(a, 1).unwrap();
    world.report_task(a, &sent, TaskState::Killed);
    assert_eq!(world.task_state(&sent), TaskState::Killed);
    stop(&mut world, &sent);
    assert_eq!(world.task_state(&sent), TaskState::Killed);
}

#[test]
fn a_tasks_state_never_goes_backwards_also_over_a_restart() {
    let (mut world, a) = World::with_local();
    let id = world.run(json!({ "image": "x" })).unwrap();
    for (told, seen) in [
        (TaskState::Starting, TaskState::Starting),
        (TaskState::Pulling, TaskState::Starting),
        (TaskState::Running, TaskState::Running),
        (TaskState::Preparing, TaskState::Running),
        (TaskState::Releasing, TaskState::Releasing),
    ] {
        world.report_task(a, &id, told);
        assert_eq!(world.task_state(&id), seen, "after {told:?}");
    }
    world.crash();
    assert_eq!(world.task_state(&id), TaskState::Running);
    world.connect(a, 1).unwrap();
    world.report_task(a, &id, TaskState::Finished);
    world.report_task(a, &id, TaskState::Failed);
    assert_eq!(world.task_state(&id), TaskState::Finished);
}

#[test]
fn a_task_goes_to_its_volumes_else_where_least_runs() {
    let (mut world, a) = World::with_local();
    world.created(a, "on-a");
    let b = world.agent("b");
    world.ready(b, "local", Some(20 * GIB));
    world.created(b, "on-b");
    let first = world.run_on("first", "on-a", false).unwrap();
    assert_eq!(world.books.task(&first).unwrap().agent.as_str(), "a");
    let free = world.run(json!({ "image": "x" })).unwrap();
    assert_eq!(world.books.task(&free).unwrap().agent.as_str(), "b");
    let both = json!({ "image": "x", "volumes": [
        { "name": "on-a", "path": "/a", "read_only": true }, { "name": "on-b", "path": "/b" },
    ] });
    refused(
        world.run(both),
        ErrorKind::Conflict,
        &["on-a on a", "on-b on b"],
    );
    let elsewhere = json!({ "image": "x", "agent": "b", "volumes": [
        { "name": "on-a", "path": "/a", "read_only": true } ] });
    refused(
        world.run(elsewhere),
        ErrorKind::Conflict,
        &["volume on-a is on node a, not b"],
    );
    world.disconnect(a);
    world.disconnect(b);
    refused(
        world.run(json!({ "image": "x" })),
        ErrorKind::Unavailable,
        &["no node"],
    );
}

#[test]
fn a_task_cannot_use_a_volume_that_is_going_away() {
    let (mut world, a) = World::with_local();
    world.created(a, "data");
    world.remove("data", false).unwrap();
    refused(
        world.run_on("t", "data", false),
        ErrorKind::Conflict,
        &["in the trash", "restore"],
    );
    world.remove("data", true).unwrap();
    refused(
        world.run_on("t", "data", false),
        ErrorKind::Conflict,
        &["being deleted"],
    );
}

#[test]
fn ended_tasks_are_bounded_and_their_agents_told() {
    let (mut world, a) = World::with_local();
    world.replay_each = false;
    let first = world.run(json!({ "image": "x" })).unwrap();
    world.report_task(a, &first, TaskState::Finished);
    for _ in 0..crate::tasks::ENDED_TASKS_MAX - 1 {
        let id = world.run(json!({ "image": "x" })).unwrap();
        world.report_task(a, &id, TaskState::Failed);
    }
    world.sent.clear();
    let open = world.run(json!({ "image": "x" })).unwrap();
    assert_eq!(world.sent_words(), ["task"]);
    world.report_task(a, &open, TaskState::Killed);
    assert_eq!(world.sent_words(), ["forget_task"]);
    refused(
        world.books.task(&first),
        ErrorKind::NotFound,
        &[first.as_str()],
    );
    world
        .updates(
            a,
            vec![Update::Task(task_report(&first, TaskState::Finished))],
        )
        .unwrap();
    assert_eq!(
        world.sent_words(),
        ["forget_task"],
        "told again for one that did not hear"
    );
    assert_eq!(world.recovered().durable(), world.books.durable());
}

#[test]
fn what_is_told_of_an_earlier_task_of_the_same_id_does_not_count() {
    let (mut world, a) = World::with_local();
    let id = world
        .run(json!({ "image": "x", "task_id": "again" }))
        .unwrap();
    let earlier = TaskReport {
        instance: TaskInstance::new(Uuid::from_u128(u128::MAX)),
        ..task_report(&id, TaskState::Finished)
    };
    world.sent.clear();
    world
        .updates(a, vec![Update::Task(earlier.clone())])
        .unwrap();
    assert_eq!(world.task_state(&id), TaskState::Accepted);
    let forget = ToAgent::ForgetTask {
        task_id: id.clone(),
        instance: earlier.instance,
    };
    assert_eq!(world.sent, [(a, forget)]);
    world.report_task(a, &id, TaskState::Running);
    world.updates(a, vec![Update::Task(earlier)]).unwrap();
    assert_eq!(world.task_state(&id), TaskState::Running);
    // A node whose record of the task is damaged cannot say which it was.
    let unknown = task_report(&id, TaskState::Failed);
    world.updates(a, vec![Update::Task(unknown)]).unwrap();
    assert_eq!(world.task_state(&id), TaskState::Failed);
}

#[test]
fn a_volume_told_in_use_names_its_holders_from_the_books_until_its_owner_tells() {
    let (mut world, a) = World::with_local();
    let id = world.created(a, "data");
    world.run_on("job", "data", true).unwrap();
    world.crash();
    let holders = world.volume("data").holders;
    assert_eq!(holders.len(), 1);
    assert!(holders[0].read_only);
    world.connect(a, 1).unwrap();
    world.report_volume(a, id, VolumeState::Ready);
    assert_eq!(world.volume("data").holders, []);
    world.event(Event::Timer).unwrap();
}
