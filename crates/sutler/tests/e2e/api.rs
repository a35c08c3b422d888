//! The public API as others see it: described, measured, and closed without a token.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;

use sutler_testkit::world::World;

use crate::{alone, config, up};

#[test]
fn only_health_is_open() {
    let _alone = alone();
    let world = World::up(config().without_local()).expect("the cluster comes up");
    // By another name than the state folder's, so that its token is not for it.
    let master = format!("https://localhost:{}", world.address().port());
    let ca = world.state_dir().join("tls/ca.pem").display().to_string();
    let bare = |method: &str, path: &str| {
        world.sutler(&["--master", &master, "--ca-file", &ca, "api", method, path])
    };
    bare("GET", "/health").expect(0, &[]);
    for (method, path) in [
        ("GET", "/v1/volumes"),
        ("GET", "/v1/tasks"),
        ("GET", "/v1/plugins"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
        ("DELETE", "/v1/volumes/x"),
        ("POST", "/agent/v1/register"),
        ("GET", "/agent/v1/events"),
    ] {
        bare(method, path).expect(1, &["the call has no token"]);
    }
}

#[test]
fn a_token_is_given_to_nobody_who_listens_in_the_masters_place() {
    let _alone = alone();
    let mut world = World::up(config().without_local()).expect("the cluster comes up");
    world.master().kill();
    let listener = TcpListener::bind(world.address()).unwrap();
    let heard = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut heard = [0; 4096];
        let count = stream.read(&mut heard).unwrap();
        // Not an answer to a handshake, so the caller gives up.
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        heard[..count].to_vec()
    });
    world
        .sutler(&["volume", "ls"])
        .expect(1, &["cannot reach the master"]);
    let heard = heard.join().unwrap();
    let token = std::fs::read_to_string(world.state_dir().join("operator.token")).unwrap();
    let shown = heard
        .windows(8)
        .any(|part| token.as_bytes().starts_with(part));
    assert!(!shown, "the token was sent");
    assert_eq!(heard.first(), Some(&0x16), "a handshake: {heard:?}");
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

#[test]
fn silent_strangers_and_few_descriptors_shut_nobody_out() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("sutler");
    let script = format!(
        "#!/bin/sh\nulimit -n 256\nexec {} \"$@\"\n",
        env!("CARGO_BIN_EXE_sutler")
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let mut config = config().without_local();
    config.sutler = program;
    let world = World::up(config).expect("the cluster comes up");
    let silent: Vec<TcpStream> = (0..600)
        .map(|_| TcpStream::connect(world.address()).unwrap())
        .collect();
    world.ok(&["volume", "ls"]);
    // The agent's next call is answered as well: its report on a task that has come and gone.
    let image = world.image("busybox");
    world.ok(&["run", &image, "--", "true"]);
    drop(silent);
}
