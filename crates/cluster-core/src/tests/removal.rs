//! Last words: what an operator ends in the books alone.

use std::time::Duration;

use sutler_api::agent::{Outcome, VolumeAct};
use sutler_api::operation::OperationState;
use sutler_api::task::TaskState;
use sutler_api::volume::VolumeState;
use sutler_ids::{ErrorKind, Problem};
use uuid::Uuid;

use super::world::{GIB, World, accepted, announce, refused};
use crate::{Event, Reply, Request};

fn forget(world: &mut World, name: &str) -> Result<Reply, Problem> {
    let name = name.parse().unwrap();
    world.request(Request::ForgetVolume { name })
}

fn remove_node(world: &mut World, forget_volumes: bool) -> Result<Reply, Problem> {
    let name = world.books.agent_page(None, usize::MAX)[0].name.clone();
    world.request(Request::RemoveNode {
        name,
        forget_volumes,
    })
}

#[test]
fn a_volume_is_forgotten_by_its_node_and_then_by_the_books() {
    let (mut world, a) = World::with_local();
    let id = world.created(a, "data");
    let uuid = accepted(forget(&mut world, "data").unwrap());
    assert_eq!(world.sent_words(), ["operation forget"]);
    assert_eq!(
        accepted(forget(&mut world, "data").unwrap()),
        uuid,
        "asked twice"
    );
    assert!(
        world.books.volume(&"data".parse().unwrap()).is_ok(),
        "not yet"
    );
    world.end(a, uuid, id, Outcome::Finished);
    assert!(world.books.volume(&"data".parse().unwrap()).is_err());
    assert_eq!(
        world.books.operation(uuid).unwrap().state,
        OperationState::Finished
    );
    world.create("data", GIB).unwrap();
}

#[test]
fn a_deletion_that_never_ends_is_overtaken_by_forgetting_and_goes_on_if_that_is_refused() {
    let (mut world, a) = World::with_local();
    let id = world.created(a, "data");
    let deletion = accepted(world.remove("data", true).unwrap());
    let uuid = accepted(forget(&mut world, "data").unwrap());
    let mounted = Problem::new(ErrorKind::Conflict, "/v/target is still mounted");
    world.end(a, uuid, id, Outcome::Failed(mounted));
    assert_eq!(world.volume("data").state, VolumeState::Deleting);
    let desired = world.books.desired_of(a).operations;
    let acts: Vec<_> = desired.iter().map(|o| (o.operation_uuid, &o.act)).collect();
    assert_eq!(
        acts,
        [(deletion, &VolumeAct::Delete)],
        "the deletion is on again"
    );
    let again = accepted(forget(&mut world, "data").unwrap());
    world.end(a, again, id, Outcome::Finished);
    let overtaken = world.books.operation(deletion).unwrap();
    assert_eq!(overtaken.state, OperationState::Failed);
}

#[test]
fn what_is_in_use_in_the_trash_or_out_of_reach_is_not_forgotten() {
    let (mut world, a) = World::with_local();
    world.created(a, "used");
    world.run_on("t", "used", false).unwrap();
    refused(
        forget(&mut world, "used"),
        ErrorKind::Conflict,
        &["in use by task t"],
    );
    world.created(a, "trashed");
    world.remove("trashed", false).unwrap();
    refused(
        forget(&mut world, "trashed"),
        ErrorKind::Conflict,
        &["trash", "--purge"],
    );
    world.created(a, "away");
    world.disconnect(a);
    let words = &["not connected", "node rm"];
    refused(forget(&mut world, "away"), ErrorKind::Conflict, words);
}

#[test]
fn a_node_that_never_comes_back_is_removed_with_its_tasks_and_volumes() {
    let (mut world, a) = World::with_local();
    let id = world.created(a, "data");
    let pending = world.create("half", GIB).unwrap();
    let task = world.run_on("t", "data", false).unwrap();
    refused(
        remove_node(&mut world, true),
        ErrorKind::Conflict,
        &["is connected"],
    );
    world.disconnect(a);
    let words = &["away for", "wait until 30 s"];
    refused(remove_node(&mut world, true), ErrorKind::Conflict, words);
    world.crash();
    refused(remove_node(&mut world, true), ErrorKind::Conflict, words);
    world.later(Duration::from_secs(30));
    let words = &["has volumes", "data", "half", "--forget-volumes"];
    refused(remove_node(&mut world, false), ErrorKind::Conflict, words);
    let Ok(Reply::NodeRemoved { node, forgotten }) = remove_node(&mut world, true) else {
        panic!("it is away");
    };
    assert_eq!((node.agent_id, forgotten.len()), (a, 2));
    assert!(world.books.agent_page(None, usize::MAX).is_empty());
    assert!(world.books.volume(&"data".parse().unwrap()).is_err());
    assert_eq!(
        world.books.operation(pending).unwrap().state,
        OperationState::Failed
    );
    let shown = world.books.task(&task).unwrap();
    assert_eq!(
        shown.state,
        TaskState::Failed,
        "and it names the node still"
    );
    assert!(shown.problem.unwrap().what.contains("was removed"));
    let late = world.books.live().volumes.get(&id);
    assert_eq!(late, None);
}

#[test]
fn a_removed_node_is_told_so_when_it_comes_back_and_its_name_is_free() {
    let (mut world, a) = World::with_local();
    world.disconnect(a);
    let name = world.books.agent_page(None, usize::MAX)[0].name.to_string();
    world.later(Duration::from_secs(30));
    remove_node(&mut world, false).unwrap();
    world.crash();
    let mut again = announce(&name, 77);
    again.agent_id = Some(a);
    let seed = Uuid::from_u128(1000);
    let register = again.clone();
    let told = world.event(Event::Register { seed, register }).unwrap_err();
    assert!(
        told.what.contains("was removed from this cluster"),
        "{told}"
    );
    again.agent_id = None;
    let register = again;
    world.event(Event::Register { seed, register }).unwrap();
    assert_eq!(world.books.agent_page(None, usize::MAX).len(), 1);
}

#[test]
fn an_ended_task_is_forgotten_with_its_name_and_one_that_runs_is_not() {
    let (mut world, a) = World::with_local();
    world.created(a, "data");
    let id = world.run_on("t", "data", false).unwrap();
    let remove = |world: &mut World| {
        let task_id = id.clone();
        world.request(Request::RemoveTask { task_id })
    };
    refused(
        remove(&mut world),
        ErrorKind::Conflict,
        &["has not ended", "task stop t"],
    );
    world.report_task(a, &id, TaskState::Finished);
    world.sent.clear();
    remove(&mut world).unwrap();
    assert_eq!(world.sent_words(), ["forget_task"]);
    assert!(world.books.task(&id).is_err());
    refused(
        remove(&mut world),
        ErrorKind::NotFound,
        &["no task is called t"],
    );
    world.run_on("t", "data", false).unwrap();
}

#[test]
fn a_deletion_that_fails_late_does_not_end_what_overtook_it() {
    let (mut world, a) = World::with_local();
    let id = world.created(a, "data");
    let deletion = accepted(world.remove("data", true).unwrap());
    let uuid = accepted(forget(&mut world, "data").unwrap());
    let late = Problem::new(ErrorKind::Conflict, "in use");
    world.end(a, deletion, id, Outcome::Failed(late));
    assert_eq!(world.volume("data").state, VolumeState::Deleting);
    let desired = world.books.desired_of(a).operations;
    assert_eq!(desired.len(), 1, "it is told again after a break");
    assert_eq!(desired[0].operation_uuid, uuid);
}
