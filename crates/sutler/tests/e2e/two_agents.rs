//! Master and agents as processes of their own: on loopback, and over TLS between network
//! namespaces.

use sutler_testkit::oracle::Oracle;
use sutler_testkit::world::{Shape, World};

use crate::{alone, config};

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
