//! The agents' protocol over restarts, repeats and crashes.

use std::process::{Command, Stdio};

use reqwest::StatusCode;
use serde_json::json;
use sutler_api::agent::ToAgent;

use crate::journey::gone;
use crate::world::{GIB, Node, SOON, World, agent_post, finished};

#[tokio::test]
async fn a_restarted_master_keeps_its_books_and_tells_what_is_open_again() {
    let mut world = World::start().await;
    let mut node = world.with_local().await;
    world
        .post("/v1/volumes", json!({ "name": "done", "size": GIB }))
        .await;
    let done = node.operation().await;
    node.ended(&world, &done).await;
    world
        .post("/v1/volumes", json!({ "name": "open", "size": GIB }))
        .await;
    let open = node.operation().await;
    let before = world.get("/v1/volumes/done").await;
    world.restart().await;
    let mut after = world.get("/v1/volumes/done").await;
    let problem = after["problem"].take();
    assert_eq!(after, before);
    assert!(
        problem["what"].as_str().unwrap().contains("not connected"),
        "{problem}"
    );
    node.listen(&world).await;
    assert_eq!(node.desired.operations, std::slice::from_ref(&open));
    assert_eq!(node.desired.volumes.len(), 2);
    assert_eq!(node.desired.plugins.len(), 1);
    node.ended(&world, &open).await;
    assert_eq!(world.get("/v1/volumes/open").await["state"], "ready");
}

#[tokio::test]
async fn an_update_told_again_is_recorded_once() {
    let mut world = World::start().await;
    let mut node = world.with_local().await;
    world
        .post("/v1/volumes", json!({ "name": "data", "size": GIB }))
        .await;
    let operation = node.operation().await;
    node.ended(&world, &operation).await;
    let commits = world.metric("sutler_store_commits_total").await;
    node.ended(&world, &operation).await;
    assert_eq!(world.metric("sutler_store_commits_total").await, commits);
    world.restart().await;
    node.listen(&world).await;
    assert!(node.desired.operations.is_empty(), "its end was recorded");
    node.ended(&world, &operation).await;
    let failed = json!({
        "type": "operation", "operation_uuid": operation.operation_uuid,
        "volume_id": operation.volume_id, "at": "2026-01-01T00:00:00Z",
        "outcome": { "failed": { "kind": "internal", "what": "late", "said_by": "sutler" } },
    });
    node.update(&world, failed).await;
    let path = format!("/v1/operations/{}", operation.operation_uuid);
    assert_eq!(
        world.get(&path).await["state"],
        "finished",
        "the first end stands"
    );
    assert_eq!(
        world.metric("sutler_store_commits_total").await,
        0.0,
        "nothing new was written"
    );
}

#[tokio::test]
async fn a_newer_run_ends_the_stream_of_the_older_and_its_word() {
    let world = World::start().await;
    let mut old = world.with_local().await;
    let mut register = old.register.clone();
    register.agent_id = Some(old.id);
    register.incarnation = uuid::Uuid::new_v4();
    let (status, body) = agent_post(&world, "register", &register).await;
    assert_eq!(
        (status, &body["agent_id"]),
        (StatusCode::OK, &json!(old.id))
    );
    old.until_cut_off().await;
    let (status, problem) = old
        .try_update(&world, json!({ "type": "plugins_told" }))
        .await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(
        problem["what"]
            .as_str()
            .unwrap()
            .contains("no longer the latest"),
        "{problem}"
    );
    assert_eq!(old.open(&world).await.status(), StatusCode::CONFLICT);
    let other = Node::join(&world, "b").await;
    let mut taken = other.register.clone();
    taken.agent_id = Some(other.id);
    taken.name = "a".parse().unwrap();
    let (status, problem) = agent_post(&world, "register", &taken).await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
}

#[tokio::test]
async fn a_second_stream_replaces_the_first_and_the_node_stays_connected() {
    let world = World::start().await;
    let mut first = world.with_local().await;
    let response = first.open(&world).await;
    assert_eq!(response.status(), StatusCode::OK);
    first.until_cut_off().await;
    assert_eq!(world.get("/v1/agents").await[0]["connected"], true);
    drop(response);
    gone(&world, &first).await;
    let (status, problem) = world.post("/v1/tasks", json!({ "image": "x" })).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        problem["what"].as_str().unwrap().contains("no node"),
        "{problem}"
    );
}

#[tokio::test]
async fn a_silent_stream_beats() {
    let world = World::start().await;
    let mut node = world.with_local().await;
    let beat = tokio::time::timeout(SOON, node.line())
        .await
        .expect("in time");
    assert_eq!(beat, Some(ToAgent::Heartbeat));
}

#[tokio::test]
async fn bad_messages_of_an_agent_are_refused() {
    let world = World::start().await;
    let node = Node::join(&world, "a").await;
    for (path, body, status) in [
        ("register", json!({}), 400),
        ("updates", json!({ "agent_id": node.id }), 400),
        (
            "updates",
            json!({
                "agent_id": uuid::Uuid::nil(), "incarnation": uuid::Uuid::nil(), "updates": [],
            }),
            404,
        ),
        ("answers/nonsense", json!({}), 400),
    ] {
        let (got, problem) = agent_post(&world, path, &body).await;
        assert_eq!(got.as_u16(), status, "{path} {body}: {problem}");
    }
    let (status, problem) = node.try_update(&world, json!({ "type": "gossip" })).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(
        problem["what"].as_str().unwrap().contains("gossip"),
        "{problem}"
    );
}

/// The body of the child of the crash test: a master until it is killed.
#[tokio::test]
#[ignore = "runs in a child process of another test"]
async fn child_serves_until_killed() {
    let dir = std::env::var_os("MASTER_TEST_DIR").expect("set by the parent");
    let listen = "127.0.0.1:0".parse().unwrap();
    let config = sutler_master::MasterConfig::new(dir, listen);
    let mut master = sutler_master::Master::start(config).await.unwrap();
    master.ended().await;
}

#[tokio::test]
async fn a_master_killed_around_a_record_has_it_wholly_or_not_at_all() {
    for (failpoint, recorded) in [
        ("master.record.operation_accepted.before", false),
        ("master.record.operation_accepted.after", true),
        ("master.send.operation_create.before", true),
        ("master.send.operation_create.after", true),
    ] {
        let mut world = World::start().await;
        let mut node = world.with_local().await;
        world.stop().await;
        let child = Child::start(&world, failpoint);
        let client: serde_json::Value = child.client(&world).await;
        let at = |path: &str| format!("{}{path}", client["address"].as_str().unwrap());
        reconnect(&world, &at, &node).await;
        let request = world
            .http
            .post(at("/v1/volumes"))
            .bearer_auth(world.operator());
        let sent = request
            .json(&json!({ "name": "data", "size": GIB }))
            .send()
            .await;
        assert!(sent.is_err(), "{failpoint}: nothing was answered");
        child.killed(failpoint);
        world.master = Some(
            sutler_master::Master::start(world.config.clone())
                .await
                .unwrap(),
        );
        node.listen(&world).await;
        assert_eq!(
            node.desired.operations.len(),
            usize::from(recorded),
            "{failpoint}"
        );
        assert_eq!(
            world.get("/v1/volumes").await.as_array().unwrap().len(),
            usize::from(recorded)
        );
        if let Some(operation) = node.desired.operations.first().cloned() {
            node.update(&world, finished(&operation)).await;
            assert_eq!(world.get("/v1/volumes/data").await["state"], "ready");
        }
    }
}

/// A master in a process of its own.
struct Child(std::process::Child);

impl Child {
    fn start(world: &World, failpoint: &str) -> Self {
        // The file of the former master would lead to a closed port.
        std::fs::remove_file(world.dir.path().join("client.json")).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "agents::child_serves_until_killed", "--ignored"])
            .env("MASTER_TEST_DIR", world.dir.path())
            .env("SUTLER_FAILPOINT", failpoint)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    async fn client(&self, world: &World) -> serde_json::Value {
        let path = world.dir.path().join("client.json");
        let see = async {
            loop {
                if let Ok(text) = std::fs::read_to_string(&path) {
                    return serde_json::from_str(&text).unwrap();
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(SOON, see)
            .await
            .expect("the child serves")
    }

    fn killed(mut self, failpoint: &str) {
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(self.0.wait().unwrap().signal(), Some(9), "{failpoint}");
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Makes the node ready at another master's address: the stream is left open.
async fn reconnect(world: &World, at: &impl Fn(&str) -> String, node: &Node) {
    let path = format!(
        "/agent/v1/events?agent_id={}&incarnation={}",
        node.id, node.register.incarnation
    );
    let stream = world
        .http
        .get(at(&path))
        .bearer_auth(world.agent_token())
        .send()
        .await
        .unwrap();
    assert_eq!(stream.status(), StatusCode::OK);
    // Kept open until the child dies with it.
    std::mem::forget(stream);
    let instance = json!({
        "agent": "a", "state": "ready", "since": "2026-01-01T00:00:00Z", "restarts": 0,
        "log_tail": [], "free": { "local": 10 * GIB },
    });
    let updates = json!({
        "agent_id": node.id, "incarnation": node.register.incarnation,
        "updates": [{ "type": "plugin", "name": "local", "generation": 1, "instance": instance }],
    });
    let request = world
        .http
        .post(at("/agent/v1/updates"))
        .bearer_auth(world.agent_token());
    assert_eq!(
        request.json(&updates).send().await.unwrap().status(),
        StatusCode::OK
    );
}
