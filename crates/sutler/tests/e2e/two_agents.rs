//! Master and agents as processes of their own: on loopback, and over TLS between network
//! namespaces.

use serde_json::Value;
use sutler_testkit::oracle::Oracle;
use sutler_testkit::poll;
use sutler_testkit::world::{Shape, World, items};

use crate::{SOON, alone, config};

/// The main job on one node of the cluster.
fn main_job_on(world: &World, agent: &str) {
    let volume = format!("data-{agent}");
    let mount = format!("{volume}:/data");
    let image = world.image("busybox");
    world.ok(&[
        "volume", "create", &volume, "--size", "64M", "--agent", agent,
    ]);
    assert_eq!(world.volume(&volume).unwrap()["agent"], agent);
    let line = "echo $0 > /data/file; sync";
    world.ok(&["run", "-v", &mount, &image, "--", "sh", "-ec", line, agent]);
    let read = world.ok(&["run", "-v", &mount, &image, "--", "cat", "/data/file"]);
    assert_eq!(read.trim(), agent);
}

#[test]
fn master_and_agent_apart_do_the_main_job() {
    let _alone = alone();
    let world = World::up(config().shape(Shape::Split(1))).expect("the cluster comes up");
    main_job_on(&world, "a1");
    Oracle::default().assert_holds(&world);
}

#[test]
fn two_agents_in_network_namespaces_do_the_main_job_over_tls() {
    let _alone = alone();
    let world = World::up(config().shape(Shape::Namespaces(2))).expect("the cluster comes up");
    let client = std::fs::read_to_string(world.state_dir().join("client.json")).unwrap();
    assert!(client.contains("https://"), "{client}");

    main_job_on(&world, "a1");
    main_job_on(&world, "a2");

    let image = world.image("busybox");
    let elsewhere = [
        "run",
        "--agent",
        "a2",
        "-v",
        "data-a1:/data",
        &image,
        "--",
        "true",
    ];
    world.sutler(&elsewhere).expect(125, &["data-a1", "a1"]);
    let both = [
        "run",
        "-v",
        "data-a1:/a",
        "-v",
        "data-a2:/b",
        &image,
        "--",
        "true",
    ];
    world.sutler(&both).expect(125, &["data-a1", "data-a2"]);
    let network = ["run", "--agent", "a1", &image, "--", "ip", "-o", "addr"];
    let told = world.ok(&network);
    assert!(
        told.contains("up0"),
        "the task is not in its agent's network: {told}"
    );
    Oracle::default().assert_holds(&world);
}

#[test]
fn a_call_without_the_token_is_refused() {
    let _alone = alone();
    let world = World::up(config().without_local()).expect("the cluster comes up");
    let wrong = world.root().join("wrong-token");
    std::fs::write(&wrong, "0".repeat(64)).unwrap();
    let wrong = wrong.display().to_string();
    let master = format!("https://{}", world.address());
    let ca = world.state_dir().join("tls/ca.pem").display().to_string();
    let call = |token: &str| {
        let ca = ["--ca-file", &ca, "--token-file", token];
        world.sutler(&[&["--master", &master], &ca[..], &["volume", "ls"]].concat())
    };
    call(&wrong).expect(1, &["token"]);
    call("/no/such/file").expect(1, &["/no/such/file"]);
    let join = std::fs::read_to_string(world.state_dir().join("join.json")).unwrap();
    let join: serde_json::Value = serde_json::from_str(&join).unwrap();
    let agents = world.root().join("agent-token");
    std::fs::write(&agents, join["token"].as_str().expect("it holds a token")).unwrap();
    call(&agents.display().to_string()).expect(1, &["token"]);
}

#[test]
fn a_node_that_never_comes_back_is_removed_and_refused_if_it_does() {
    let _alone = alone();
    let mut world = World::up(config().shape(Shape::Split(2))).expect("the cluster comes up");
    main_job_on(&world, "a1");
    main_job_on(&world, "a2");
    world
        .sutler(&["node", "rm", "a2"])
        .expect(4, &["a2 is connected"]);
    assert!(world.agent(1).terminate(SOON).unwrap().success());
    let away = |node: &Value| node["name"] == "a2" && node["connected"] == false;
    poll::until("a2 is away", SOON, || {
        let nodes = world
            .json(&["node", "ls"])
            .map_err(|error| error.to_string())?;
        poll::holds(items(&nodes).iter().any(away), || nodes.to_string())
    })
    .unwrap();
    let forget = ["volume", "rm", "data-a2", "--forget", "--yes"];
    world
        .sutler(&forget)
        .expect(4, &["not connected", "node rm a2"]);
    // Away for a moment says nothing of a node.
    world
        .sutler(&["node", "rm", "a2"])
        .expect(4, &["a2 is away for"]);
    poll::until("it has been away long enough", SOON * 2, || {
        let told = world.sutler(&["node", "rm", "a2"]);
        assert_eq!(told.code, Some(4), "{told}");
        poll::holds(told.stderr.contains("--forget-volumes"), || {
            told.to_string()
        })
    })
    .unwrap();
    let told = world.sutler(&["node", "rm", "a2", "--forget-volumes"]);
    told.expect(0, &["data-a2 is forgotten", "plugin local on node a2"]);
    let nodes = world.json(&["node", "ls"]).unwrap();
    assert_eq!(items(&nodes).len(), 1, "{nodes}");
    world.agent(1).start().unwrap();
    poll::until("it is told that it was removed", SOON, || {
        let log = world.agent(1).log();
        poll::holds(log.contains("was removed from this cluster"), || {
            log.clone()
        })
    })
    .unwrap();
    world.ok(&["volume", "rm", "data-a1", "--purge"]);
}
