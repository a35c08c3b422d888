//! Nodes: identity, names, runs, streams.

use sutler_api::agent::{ToAgent, Updates};
use sutler_ids::AgentId;
use sutler_ids::{Bytes, ErrorKind};
use uuid::Uuid;

use super::world::{World, announce, refused};
use crate::Event;

#[test]
fn a_node_keeps_its_identity_and_its_name_is_its_own() {
    let (mut world, a) = World::with_local();
    let mut again = announce("a", 2);
    again.agent_id = Some(a);
    again.memory = Bytes(1);
    assert_eq!(world.register(again).unwrap(), a);
    assert_eq!(world.books.agent_page(None, usize::MAX)[0].memory, Bytes(1));
    world.connect(a, 2).unwrap();
    refused(
        world.register(announce("a", 3)),
        ErrorKind::Conflict,
        &["name a is taken", "--name"],
    );
    let mut stranger = announce("c", 1);
    stranger.agent_id = Some(AgentId::new(Uuid::from_u128(9)));
    refused(
        world.register(stranger),
        ErrorKind::Conflict,
        &["does not know", "another cluster"],
    );
    let b = world.agent("b");
    let mut renamed = announce("a", 1);
    renamed.agent_id = Some(b);
    refused(
        world.register(renamed),
        ErrorKind::Conflict,
        &["name a is taken"],
    );
}

#[test]
fn a_node_that_lost_its_first_answer_gets_the_same_identity() {
    let mut world = World::new();
    let a = world.register(announce("a", 1)).unwrap();
    assert_eq!(
        world.register(announce("a", 1)).unwrap(),
        a,
        "the same run asks again"
    );
    assert_eq!(
        world.register(announce("a", 2)).unwrap(),
        a,
        "it died before it recorded it"
    );
    world.connect(a, 2).unwrap();
    refused(
        world.register(announce("a", 3)),
        ErrorKind::Conflict,
        &["taken"],
    );
    world.add("local").unwrap();
    world.ready(a, "local", None);
    world.created(a, "data");
    world.disconnect(a);
    refused(
        world.register(announce("a", 3)),
        ErrorKind::Conflict,
        &["taken"],
    );
}

#[test]
fn an_older_run_is_stale() {
    let (mut world, a) = World::with_local();
    let stream = world.books.live().agents[&a].stream.unwrap();
    let mut newer = announce("a", 2);
    newer.agent_id = Some(a);
    world.register(newer).unwrap();
    assert_eq!(world.closed, [stream], "its stream is ended");
    refused(
        world.connect(a, 1),
        ErrorKind::Conflict,
        &["no longer the latest"],
    );
    let incarnation = Uuid::from_u128(1);
    let stale = Updates {
        agent_id: a,
        incarnation,
        updates: Vec::new(),
    };
    refused(
        world.event(Event::Updates(stale)),
        ErrorKind::Conflict,
        &["node a"],
    );
    let unknown = AgentId::new(Uuid::from_u128(5));
    refused(
        world.connect(unknown, 1),
        ErrorKind::NotFound,
        &["register first"],
    );
}

#[test]
fn only_the_end_of_the_present_stream_disconnects() {
    let (mut world, a) = World::with_local();
    let first = world.books.live().agents[&a].stream.unwrap();
    let second = world.connect(a, 1).unwrap();
    assert_eq!(world.closed, [first]);
    world
        .event(Event::StreamDown {
            agent_id: a,
            stream: first,
        })
        .unwrap();
    assert!(world.books.connected(a), "a late end of the first");
    world
        .event(Event::StreamDown {
            agent_id: a,
            stream: second,
        })
        .unwrap();
    assert!(!world.books.connected(a));
    let view = &world.books.agent_page(None, usize::MAX)[0];
    assert!(
        view.problem
            .as_ref()
            .unwrap()
            .what
            .contains("node a is not connected")
    );
}

#[test]
fn the_first_line_of_each_stream_is_everything() {
    let (mut world, a) = World::with_local();
    let data = world.created(a, "data");
    let task = world.run_on("job", "data", false).unwrap();
    let ended = world.run_on("old", "data", true).unwrap();
    world.report_task(a, &ended, sutler_api::task::TaskState::Finished);
    world.create("more", 1).unwrap();
    world.crash();
    world.connect(a, 1).unwrap();
    assert_eq!(world.sent.len(), 1);
    let ToAgent::Desired(desired) = &world.sent[0].1 else {
        panic!()
    };
    assert_eq!(desired.plugins[0].name.as_str(), "local");
    assert_eq!(desired.operations.len(), 1);
    assert_eq!(desired.tasks[0].spec.task_id, task);
    assert!(desired.kept_tasks.keys().eq([&ended]));
    assert!(desired.volumes.contains(&data) && desired.volumes.len() == 2);
}
