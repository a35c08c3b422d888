//! Books that are an older copy: what nodes have and they do not.

use sutler_api::agent::Update;
use sutler_api::volume::{VolumeSpec, VolumeState};
use sutler_ids::{AgentId, ErrorKind, Problem};
use uuid::Uuid;

use super::world::{GIB, World, refused, volume_report};
use crate::{Reply, Request};

/// The record of a volume that was made after the copy was taken.
fn lost(name: &str, id: u128) -> VolumeSpec {
    let (mut world, a) = World::with_local();
    let volume_id = world.created(a, name);
    let spec = &world.books.durable().volumes[&volume_id].spec;
    VolumeSpec {
        volume_id: sutler_ids::VolumeId::new(Uuid::from_u128(id)),
        ..spec.clone()
    }
}

fn tell(world: &mut World, on: AgentId, spec: &VolumeSpec) {
    let report = volume_report(spec.volume_id, VolumeState::Ready, world.now.wall);
    let spec = spec.clone();
    let update = Update::UnknownVolume { spec, report };
    world.updates(on, vec![update]).unwrap();
}

fn adopt(
    world: &mut World,
    name: &str,
    node: Option<&str>,
    new_name: Option<&str>,
) -> Result<Reply, Problem> {
    world.request(Request::AdoptVolume {
        name: name.parse().unwrap(),
        agent: node.map(|node| node.parse().unwrap()),
        new_name: new_name.map(|name| name.parse().unwrap()),
    })
}

fn names(world: &World) -> Vec<String> {
    let page = world.books.volume_page(None, 10);
    page.iter().map(|volume| volume.name.to_string()).collect()
}

#[test]
fn a_volume_that_the_books_lost_is_shown_keeps_its_name_and_is_adopted() {
    let (mut world, a) = World::with_local();
    world.created(a, "b");
    let data = lost("data", 900);
    tell(&mut world, a, &data);
    tell(&mut world, a, &lost("a", 901));
    assert_eq!(names(&world), ["a", "b", "data"]);
    let page = world.books.volume_page(Some(&"a".parse().unwrap()), 1);
    assert_eq!(page[0].name.as_str(), "b");
    let shown = world.volume("data");
    assert_eq!(shown.state, VolumeState::Unknown);
    let hint = shown.problem.unwrap().hint.unwrap();
    assert_eq!(hint, "sutler volume adopt data");
    for asked in [
        world.create("data", GIB).map(|_| ()),
        world.remove("data", true).map(|_| ()),
        world.run_on("t", "data", false).map(|_| ()),
    ] {
        let problem = asked.unwrap_err();
        assert_eq!(problem.kind, ErrorKind::Conflict, "{problem}");
        assert_eq!(problem.hint.as_deref(), Some("sutler volume adopt data"));
    }
    world.sent.clear();
    adopt(&mut world, "data", None, None).unwrap();
    assert!(world.sent.is_empty(), "nothing is asked of its node");
    let adopted = world.volume("data");
    assert_eq!(
        (adopted.state, adopted.volume_id),
        (VolumeState::Ready, data.volume_id)
    );
    world.crash();
    assert_eq!(world.volume("data").volume_id, data.volume_id);
    refused(
        adopt(&mut world, "data", None, None),
        ErrorKind::NotFound,
        &["outside the books"],
    );
}

#[test]
fn what_is_adopted_takes_nobodys_name_and_is_one_of_several_by_its_node() {
    let (mut world, a) = World::with_local();
    let b = world.agent("b");
    let data = lost("data", 900);
    world.created(a, "data");
    tell(&mut world, a, &data);
    tell(&mut world, b, &lost("data", 901));
    assert_eq!(
        world.volume("data").state,
        VolumeState::Ready,
        "the known one"
    );
    refused(
        adopt(&mut world, "data", None, None),
        ErrorKind::Conflict,
        &["a, b"],
    );
    refused(
        adopt(&mut world, "data", Some("a"), None),
        ErrorKind::Conflict,
        &["another volume called data"],
    );
    adopt(&mut world, "data", Some("a"), Some("old")).unwrap();
    assert_eq!(world.volume("old").volume_id, data.volume_id);
    adopt(&mut world, "data", None, Some("older")).unwrap();
    assert_eq!(world.volume("older").agent.as_str(), "b");
    assert_eq!(names(&world), ["data", "old", "older"]);
}

#[test]
fn what_a_node_no_longer_tells_is_no_longer_shown_and_news_are() {
    let (mut world, a) = World::with_local();
    let data = lost("data", 900);
    tell(&mut world, a, &data);
    world.report_volume(a, data.volume_id, VolumeState::InUse);
    adopt(&mut world, "data", None, None).unwrap();
    assert_eq!(
        world.volume("data").state,
        VolumeState::InUse,
        "its latest word"
    );
    // What the books have is not unknown, whatever an older message says.
    tell(&mut world, a, &data);
    assert_eq!(names(&world), ["data"]);
    let other = lost("other", 901);
    tell(&mut world, a, &other);
    assert_eq!(names(&world), ["data", "other"]);
    world.connect(a, 1).unwrap();
    assert_eq!(names(&world), ["data", "other"], "its name is not free");
    world.updates(a, vec![Update::VolumesCompared]).unwrap();
    assert_eq!(names(&world), ["data"], "it told anew");
    // A report of a volume that nobody has told of is of no use.
    world.report_volume(a, other.volume_id, VolumeState::Ready);
    assert_eq!(names(&world), ["data"]);
}

#[test]
fn what_was_never_fit_for_use_is_adopted_as_that_and_its_plugin_stays() {
    let (mut world, a) = World::with_local();
    let spec = lost("share", 900);
    let mut report = volume_report(spec.volume_id, VolumeState::Failed, world.now.wall);
    report.problem = Some(Problem::new(ErrorKind::Conflict, "it is somebody's"));
    report.csi_volume_id = Some("theirs".to_owned());
    let update = Update::UnknownVolume {
        spec: spec.clone(),
        report,
    };
    world.updates(a, vec![update]).unwrap();
    let name = "local".parse().unwrap();
    refused(
        world.request(Request::RemovePlugin { name }),
        ErrorKind::Conflict,
        &["not in the cluster's books"],
    );
    let (name, in_use) = ("local".parse().unwrap(), false);
    refused(
        world.request(Request::RestartPlugin { name, in_use }),
        ErrorKind::Conflict,
        &["share (not in the books)"],
    );
    // A plugin that loses sight of it does not make it fit.
    world.report_volume(a, spec.volume_id, VolumeState::Missing);
    adopt(&mut world, "share", None, None).unwrap();
    assert_eq!(world.volume("share").state, VolumeState::Failed);
    refused(
        world.remove("share", false),
        ErrorKind::Conflict,
        &["theirs", "--purge"],
    );
}

#[test]
fn a_new_name_is_nobodys_whether_the_books_have_him_or_not() {
    let (mut world, a) = World::with_local();
    tell(&mut world, a, &lost("one", 900));
    tell(&mut world, a, &lost("two", 901));
    refused(
        adopt(&mut world, "one", None, Some("two")),
        ErrorKind::Conflict,
        &["another volume called two"],
    );
    adopt(&mut world, "one", None, Some("three")).unwrap();
    assert_eq!(names(&world), ["three", "two"]);
}

#[test]
fn a_state_that_is_told_again_is_no_news() {
    let (mut world, a) = World::with_local();
    let id = world.created(a, "data");
    let told = world.books.live().volumes[&id].clone();
    let incarnation = world.books.durable().agents[&a].incarnation;
    let mut changed = |report| {
        let updates = sutler_api::agent::Updates {
            agent_id: a,
            incarnation,
            updates: vec![Update::Volume(report)],
        };
        let event = crate::Event::Updates(updates);
        world.books.on_event(event, world.now).unwrap().changed
    };
    assert!(changed(told.clone()).is_empty());
    let news = sutler_api::agent::VolumeReport {
        state: VolumeState::InUse,
        ..told
    };
    assert_eq!(changed(news).len(), 1);
}
