//! Plugins: adding, upgrading, removing, default class, stale reports.

use std::collections::BTreeMap;

use sutler_api::agent::{ToAgent, Update};
use sutler_api::definition::PluginDefinition;
use sutler_api::plugin::{AddPluginRequest, PluginState};
use sutler_ids::{ErrorKind, PluginName, Problem};

use super::world::{GIB, World, instance, refused};
use crate::{Reply, Request};

fn on(nodes: &[&str]) -> AddPluginRequest {
    AddPluginRequest {
        definition: PluginDefinition::of_image("local"),
        set: BTreeMap::new(),
        on: nodes.iter().map(|name| name.parse().unwrap()).collect(),
        in_use: false,
    }
}

fn name(name: &str) -> PluginName {
    name.parse().unwrap()
}

#[test]
fn the_same_definition_again_changes_nothing_and_another_is_an_upgrade() {
    let (mut world, _) = World::with_local();
    world.add("local").unwrap();
    assert_eq!(world.sent_words(), Vec::<String>::new());
    let mut changed = PluginDefinition::of_image("local");
    changed.lanes = std::num::NonZeroU32::new(9).unwrap();
    world.add_definition(changed).unwrap();
    assert_eq!(world.sent_words(), ["plugins"]);
    let plugin = world.books.plugin(&name("local")).unwrap();
    assert_eq!(plugin.generation, 2);
    assert_eq!(
        plugin.instances[0].state,
        PluginState::Waiting,
        "the old report is stale"
    );
}

#[test]
fn a_change_starts_a_plugin_again_in_use_only_when_that_is_said() {
    let (mut world, a) = World::with_local();
    world.created(a, "data");
    world.run_on("job", "data", false).unwrap();
    world.sent_words();
    world.add("local").unwrap();
    let mut changed = on(&[]);
    changed.definition.lanes = std::num::NonZeroU32::new(9).unwrap();
    let mut change = |in_use: bool| {
        changed.in_use = in_use;
        let told = world.request(Request::AddPlugin(Box::new(changed.clone())));
        (told, world.sent_words())
    };
    let (told, sent) = change(false);
    refused(told, ErrorKind::Conflict, &["data (task job)", "--in-use"]);
    assert_eq!(sent, Vec::<String>::new());
    let (told, sent) = change(true);
    told.unwrap();
    assert_eq!(sent, ["plugins"]);
}

#[test]
fn a_change_that_cannot_be_made_is_told_while_the_former_runs_on() {
    let (mut world, a) = World::with_local();
    let mut change = PluginDefinition::of_image("local");
    change.lanes = std::num::NonZeroU32::new(9).unwrap();
    world.add_definition(change.clone()).unwrap();
    let shown = |world: &World| world.books.plugin(&name("local")).unwrap().instances[0].clone();
    assert_eq!(shown(&world).state, PluginState::Waiting);
    let told = |world: &mut World, problem: Option<Problem>| {
        let mut instance = instance(PluginState::Ready, world.now.wall);
        instance.problem = problem;
        let name = name("local");
        let update = Update::Plugin {
            name,
            generation: 1,
            instance,
        };
        world.updates(a, vec![update]).unwrap();
    };
    told(&mut world, None);
    assert_eq!(shown(&world).state, PluginState::Waiting, "it is at it");
    let missing = Problem::new(ErrorKind::NotFound, "there is no such image");
    told(&mut world, Some(missing.clone()));
    assert_eq!(shown(&world).state, PluginState::Outdated);
    assert_eq!(shown(&world).problem, Some(missing.clone()));
    refused(
        world.create("data", 1),
        ErrorKind::Unavailable,
        &["as before a change", "no such image"],
    );
    change.lanes = std::num::NonZeroU32::new(8).unwrap();
    world.add_definition(change).unwrap();
    let state = shown(&world).state;
    assert_eq!(
        state,
        PluginState::Waiting,
        "that was about the change before"
    );
}

#[test]
fn a_class_with_volumes_is_not_lost_by_a_change_of_its_plugin() {
    let (mut world, a) = World::with_local();
    let toml = |text: &str| PluginDefinition::from_toml(text).unwrap();
    let with_class = || toml("image='local'\n[class.fast]\nfs_type='xfs'");
    world.add_definition(with_class()).unwrap();
    world.ready(a, "local", None);
    let request = serde_json::json!({ "name": "data", "size": GIB, "class": "fast" });
    let request = serde_json::from_value(request).unwrap();
    world.request(Request::CreateVolume(request)).unwrap();
    refused(
        world.change_definition(toml("image='local'"), true),
        ErrorKind::Conflict,
        &["cannot lose class fast", "data", "whole definition"],
    );
    let mut other = with_class();
    other.lanes = std::num::NonZeroU32::new(9).unwrap();
    world.change_definition(other, true).unwrap();
}

#[test]
fn a_plugin_is_refused_with_its_fault() {
    let (mut world, a) = World::with_local();
    world.created(a, "data");
    let toml = |text: &str| PluginDefinition::from_toml(text).unwrap();
    refused(world.add(""), ErrorKind::Invalid, &["no `image`"]);
    refused(
        world.add_definition(toml("image='x'\nargs=['{{nope}}']")),
        ErrorKind::Invalid,
        &["\"nope\""],
    );
    refused(
        world.add_definition(toml("image='other'\n[class.local]")),
        ErrorKind::Conflict,
        &["class local of plugin other is taken by plugin local"],
    );
    refused(
        world.add_definition(toml(
            "image='n'\n[[params]]\nkey='t'\nvalues=['a']\n[class.c]\nparameters={t='b'}",
        )),
        ErrorKind::Invalid,
        &["class c sets t to \"b\"", "allowed are a"],
    );
    refused(
        world.request(Request::AddPlugin(Box::new(on(&["zz"])))),
        ErrorKind::NotFound,
        &["called zz"],
    );
    world.agent("b");
    refused(
        world.request(Request::AddPlugin(Box::new(on(&["b"])))),
        ErrorKind::Conflict,
        &["cannot leave node a", "data"],
    );
}

#[test]
fn the_default_class_is_local_else_the_only_one() {
    let mut world = World::new();
    let a = world.agent("a");
    world.add("nas").unwrap();
    world.ready(a, "nas", None);
    world.create("one", 1).unwrap();
    assert_eq!(world.volume("one").class.as_str(), "nas");
    world.add("san").unwrap();
    refused(
        world.create("two", 1),
        ErrorKind::Invalid,
        &["nas, san", "--class"],
    );
    world.add("local").unwrap();
    world.ready(a, "local", None);
    world.create("two", 1).unwrap();
    assert_eq!(world.volume("two").class.as_str(), "local");
    let classes = world.books.class_page(None, usize::MAX);
    let defaults: Vec<&str> = classes
        .iter()
        .filter(|c| c.default)
        .map(|c| c.name.as_str())
        .collect();
    assert_eq!(defaults, ["local"]);
}

#[test]
fn a_plugin_with_volumes_is_not_removed_and_they_are_named() {
    let (mut world, a) = World::with_local();
    for i in 0..7 {
        world.created(a, &format!("v{i}"));
    }
    refused(
        world.request(Request::RemovePlugin {
            name: name("local"),
        }),
        ErrorKind::Conflict,
        &["v0, v1, v2, v3, v4 and 2 more"],
    );
}

#[test]
fn a_removed_plugin_stays_visible_until_its_nodes_have_stopped_it() {
    let (mut world, a) = World::with_local();
    let reply = world
        .request(Request::RemovePlugin {
            name: name("local"),
        })
        .unwrap();
    assert_eq!(reply, Reply::Plugin(name("local")));
    assert_eq!(world.sent_words(), ["plugins"]);
    assert!(world.books.plugin(&name("local")).unwrap().removing);
    refused(
        world.create("x", 1),
        ErrorKind::NotFound,
        &["no plugin was added"],
    );
    let stopping = instance(PluginState::Stopping, world.now.wall);
    world.plugin(a, "local", stopping);
    assert!(world.books.plugin(&name("local")).is_ok());
    let stopped = instance(PluginState::Stopped, world.now.wall);
    world.plugin(a, "local", stopped);
    refused(
        world.books.plugin(&name("local")),
        ErrorKind::NotFound,
        &["called local"],
    );
    world.add("local").unwrap();
    assert_eq!(
        world.books.plugin(&name("local")).unwrap().generation,
        2,
        "never used again"
    );
}

#[test]
fn a_removal_does_not_wait_for_a_node_that_is_away() {
    let (mut world, a) = World::with_local();
    world
        .request(Request::RemovePlugin {
            name: name("local"),
        })
        .unwrap();
    world.disconnect(a);
    refused(
        world.books.plugin(&name("local")),
        ErrorKind::NotFound,
        &["called local"],
    );
    world.sent.clear();
    world.connect(a, 1).unwrap();
    let ToAgent::Desired(desired) = &world.sent[0].1 else {
        panic!()
    };
    assert_eq!(desired.plugins, [], "it stops it when it comes back");
}

#[test]
fn a_plugin_runs_only_where_it_was_put() {
    let mut world = World::new();
    world.agent("a");
    let b = world.agent("b");
    world.sent.clear();
    world
        .request(Request::AddPlugin(Box::new(on(&["b"]))))
        .unwrap();
    for (agent, message) in world.sent.drain(..) {
        let ToAgent::Plugins { plugins } = message else {
            panic!()
        };
        assert_eq!(plugins.len(), usize::from(agent == b));
    }
    world.ready(b, "local", Some(GIB));
    let plugin = world.books.plugin(&name("local")).unwrap();
    let nodes: Vec<&str> = plugin.instances.iter().map(|i| i.agent.as_str()).collect();
    assert_eq!(nodes, ["b"]);
    let request = serde_json::json!({ "name": "x", "size": 1, "agent": "a" });
    refused(
        world.request(Request::CreateVolume(
            serde_json::from_value(request).unwrap(),
        )),
        ErrorKind::Unavailable,
        &["it runs on b only"],
    );
}

#[test]
fn a_report_of_an_old_generation_is_not_shown() {
    let (mut world, a) = World::with_local();
    let mut changed = PluginDefinition::of_image("local");
    changed.lanes = std::num::NonZeroU32::new(9).unwrap();
    world.add_definition(changed).unwrap();
    let instance = instance(PluginState::Ready, world.now.wall);
    let update = Update::Plugin {
        name: name("local"),
        generation: 1,
        instance,
    };
    world.updates(a, vec![update]).unwrap();
    let plugin = world.books.plugin(&name("local")).unwrap();
    assert_eq!(plugin.instances[0].state, PluginState::Waiting);
    refused(world.create("x", 1), ErrorKind::Unavailable, &["local"]);
}

#[test]
fn what_is_no_longer_told_is_gone() {
    let (mut world, a) = World::with_local();
    world.disconnect(a);
    world.connect(a, 1).unwrap();
    assert!(
        world.books.live().agents[&a]
            .plugins
            .contains_key(&name("local")),
        "last known"
    );
    world.updates(a, vec![Update::PluginsTold]).unwrap();
    assert!(world.books.live().agents[&a].plugins.is_empty());
}
