//! The public API as others see it: described, measured, and closed without a token.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use sutler_testkit::world::World;

use crate::{alone, config, up};

/// Sends one bare request without a token and gives the whole answer.
fn bare(world: &World, request: &str) -> String {
    let mut stream = TcpStream::connect(world.address()).unwrap();
    write!(
        stream,
        "{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn only_health_is_open() {
    let _alone = alone();
    let world = World::up(config().without_local()).expect("the cluster comes up");
    assert!(bare(&world, "GET /health").starts_with("HTTP/1.1 200"));
    for request in [
        "GET /v1/volumes",
        "GET /v1/tasks",
        "GET /v1/plugins",
        "GET /metrics",
        "GET /openapi.json",
        "DELETE /v1/volumes/x",
        "POST /agent/v1/register",
        "GET /agent/v1/events",
    ] {
        let answer = bare(&world, request);
        assert!(answer.starts_with("HTTP/1.1 401"), "{request}: {answer}");
    }
}

#[test]
fn the_api_is_described_and_counts_what_there_is() {
    let _alone = alone();
    let world = up();
    world.ok(&["volume", "create", "data", "--size", "16M"]);
    let described: serde_json::Value =
        serde_json::from_str(&world.ok(&["api", "GET", "/openapi.json"])).unwrap();
    for path in [
        "/v1/volumes",
        "/v1/tasks",
        "/v1/plugins",
        "/v1/operations/{uuid}",
    ] {
        assert!(
            described["paths"][path].is_object(),
            "{path} is not described"
        );
    }
    let metrics = world.ok(&["api", "GET", "/metrics"]);
    for name in ["sutler_volume_state", "sutler_agent_connected"] {
        assert!(metrics.contains(name), "no {name}: {metrics}");
    }
}

#[test]
fn the_clients_key_is_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let _alone = alone();
    let world = World::up(config().without_local()).expect("the cluster comes up");
    for name in ["client.json", "join.json"] {
        let mode = std::fs::metadata(world.state_dir().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}
