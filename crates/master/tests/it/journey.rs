//! The way of a volume and a task through the API, with a fake node at the other end.

use futures::StreamExt;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sutler_api::agent::{AgentQuery, ToAgent, VolumeAct};

use crate::world::{GIB, Node, World, agent_post, answer};

#[tokio::test]
async fn a_volume_is_made_used_and_removed() {
    let world = World::start().await;
    let mut node = world.with_local().await;
    let volume = json!({ "name": "data", "size": GIB });
    let (status, accepted) = world.post("/v1/volumes", volume).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let operation = node.operation().await;
    assert_eq!(json!(operation.operation_uuid), accepted["operation_uuid"]);
    assert!(matches!(&operation.act, VolumeAct::Create(spec) if spec.capacity.get() == GIB));
    let path = format!("/v1/operations/{}?wait_ms=20000", operation.operation_uuid);
    let (ended, ()) = tokio::join!(world.get(&path), node.ended(&world, &operation));
    assert_eq!(
        (&ended["state"], &ended["kind"]),
        (&json!("finished"), &json!("create_volume"))
    );
    let shown = world
        .get("/v1/volumes/data?wait_ms=20000&until=settled")
        .await;
    assert_eq!(shown["state"], "ready");

    let task = json!({
        "task_id": "job", "image": "busybox", "volumes": [{ "name": "data", "path": "/data" }],
    });
    let (status, task) = world.post("/v1/tasks", task).await;
    assert_eq!(
        (status, &task["state"]),
        (StatusCode::CREATED, &json!("accepted"))
    );
    let ToAgent::Task(told) = node.next().await else {
        panic!("a task")
    };
    assert_eq!(told.spec.task_id.as_str(), "job");
    let wait = world.get("/v1/tasks/job?wait_ms=20000&seen_state=accepted");
    let (running, ()) = tokio::join!(wait, node.task(&world, "job", "running", None));
    assert_eq!(running["state"], "running");
    let (status, refused) = world.delete("/v1/volumes/data").await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(
        refused["what"].as_str().unwrap().contains("task job"),
        "{refused}"
    );
    node.task(&world, "job", "finished", Some(0)).await;
    let ended = world
        .get("/v1/tasks/job?wait_ms=20000&seen_state=finished")
        .await;
    assert_eq!(ended["exit"]["code"], 0);

    let (status, trashed) = world.delete("/v1/volumes/data").await;
    assert_eq!(
        (status, &trashed["volume"]["state"]),
        (StatusCode::ACCEPTED, &json!("trashed"))
    );
    let restored = world
        .call(Method::POST, "/v1/volumes/data/restore", None)
        .await;
    assert_eq!(answer(restored).await.1["state"], "ready");
    let (_, deleting) = world.delete("/v1/volumes/data?purge=true").await;
    assert_eq!(deleting["volume"]["state"], "deleting");
    let operation = node.operation().await;
    assert_eq!(operation.act, VolumeAct::Delete);
    node.ended(&world, &operation).await;
    assert!(matches!(node.next().await, ToAgent::ForgetVolume { .. }));
    assert_eq!(world.get("/v1/volumes").await, json!([]));
}

#[tokio::test]
async fn the_trash_lets_go_by_itself_when_its_retention_ends() {
    let world = World::start_with(|config| {
        config.trash_retention = std::time::Duration::from_millis(300);
    })
    .await;
    let mut node = world.with_local().await;
    world
        .post("/v1/volumes", json!({ "name": "data", "size": GIB }))
        .await;
    let create = node.operation().await;
    node.ended(&world, &create).await;
    let (_, trashed) = world.delete("/v1/volumes/data").await;
    assert_eq!(trashed["volume"]["state"], "trashed");
    let delete = node.operation().await;
    assert_eq!(json!(delete.operation_uuid), trashed["operation_uuid"]);
}

#[tokio::test]
async fn logs_flow_from_the_node_to_the_asker_as_they_come() {
    let world = World::start().await;
    let mut node = world.with_local().await;
    world
        .post("/v1/tasks", json!({ "task_id": "job", "image": "x" }))
        .await;
    node.next().await;
    let asked = world.call(
        Method::GET,
        "/v1/tasks/job/logs?stream=stdout&tail=5&follow=true",
        None,
    );
    let (more, pieces) = tokio::sync::mpsc::channel::<Result<&'static str, std::io::Error>>(4);
    let answering = async {
        let ToAgent::Query { request_id, query } = node.next().await else {
            panic!()
        };
        let AgentQuery::TaskLogs { task_id, log } = query else {
            panic!("{query:?}")
        };
        assert_eq!(
            (task_id.as_str(), log.tail, log.follow),
            ("job", Some(5), true)
        );
        more.send(Ok("one\n")).await.unwrap();
        let stream = futures::stream::unfold(pieces, async |mut p| Some((p.recv().await?, p)));
        let path = format!("/agent/v1/answers/{request_id}");
        let request = world
            .http
            .post(world.url(&path))
            .bearer_auth(world.agent_token());
        // In a task of its own: it ends only when the log does.
        (tokio::spawn(
            request.body(reqwest::Body::wrap_stream(stream)).send(),
        ),)
    };
    let (asked, (answering,)) = tokio::join!(asked, answering);
    assert_eq!(asked.status(), StatusCode::OK);
    let mut bytes = asked.bytes_stream();
    assert_eq!(bytes.next().await.unwrap().unwrap(), "one\n");
    more.send(Ok("two\n")).await.unwrap();
    assert_eq!(bytes.next().await.unwrap().unwrap(), "two\n");
    drop(more);
    assert!(bytes.next().await.is_none());
    assert_eq!(answering.await.unwrap().unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn an_asker_that_goes_away_ends_the_nodes_sending() {
    let world = World::start().await;
    let mut node = world.with_local().await;
    world
        .post("/v1/tasks", json!({ "task_id": "job", "image": "x" }))
        .await;
    node.next().await;
    let asked = world.call(Method::GET, "/v1/tasks/job/logs?follow=true", None);
    let answering = async {
        let ToAgent::Query { request_id, .. } = node.next().await else {
            panic!()
        };
        let silent = futures::stream::pending::<Result<&'static str, std::io::Error>>();
        let path = format!("/agent/v1/answers/{request_id}");
        let request = world
            .http
            .post(world.url(&path))
            .bearer_auth(world.agent_token());
        (tokio::spawn(
            request.body(reqwest::Body::wrap_stream(silent)).send(),
        ),)
    };
    let (asked, (answering,)) = tokio::join!(asked, answering);
    drop(asked);
    let told = tokio::time::timeout(crate::world::SOON, answering)
        .await
        .expect("it is told");
    // The connection may be cut instead, for the request's body has not ended.
    if let Ok(response) = told.unwrap() {
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn a_node_may_answer_with_a_problem_and_none_for_nobody() {
    let world = World::start().await;
    let mut node = world.with_local().await;
    let asked = world.call(Method::GET, "/v1/plugins/local/logs", None);
    let answering = async {
        let ToAgent::Query { request_id, query } = node.next().await else {
            panic!()
        };
        assert!(matches!(query, AgentQuery::PluginLogs { .. }), "{query:?}");
        let path = format!("/agent/v1/answers/{request_id}");
        let problem = json!({ "kind": "not_found", "what": "no log yet", "said_by": "sutler" });
        let request = world
            .http
            .post(world.url(&path))
            .bearer_auth(world.agent_token());
        let request = request.header("content-type", "application/problem+json");
        request
            .body(problem.to_string())
            .send()
            .await
            .unwrap()
            .status()
    };
    let (asked, answered) = tokio::join!(asked, answering);
    assert_eq!(answered, StatusCode::OK);
    let (status, problem) = answer(asked).await;
    assert_eq!(
        (status, &problem["what"]),
        (StatusCode::NOT_FOUND, &json!("no log yet"))
    );
    let path = "answers/0190a0a0-0000-7000-8000-000000000000";
    let (status, problem) = agent_post(&world, path, &json!({})).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{problem}");
}

#[tokio::test]
async fn why_tells_the_owners_story_and_the_books_alone_without_it() {
    let world = World::start().await;
    let mut node = world.with_local().await;
    world
        .post("/v1/volumes", json!({ "name": "data", "size": GIB }))
        .await;
    let operation = node.operation().await;
    let answering = async {
        let ToAgent::Query { request_id, query } = node.next().await else {
            panic!()
        };
        assert_eq!(
            query,
            AgentQuery::Why {
                volume_id: operation.volume_id
            }
        );
        let story = json!({
            "steps": [{ "mark": "failed", "text": "CreateVolume", "at": null, "took_ms": 7 }],
            "cause": "the plugin says no", "raw": "code 8", "next": "tried again in 3 s",
        });
        agent_post(&world, &format!("answers/{request_id}"), &story).await
    };
    let (why, _) = tokio::join!(world.get("/v1/volumes/data/why"), answering);
    assert_eq!(why["cause"], "the plugin says no");
    assert_eq!(
        (&why["raw"], &why["next"]),
        (&json!("code 8"), &json!("tried again in 3 s"))
    );
    assert_eq!(why["steps"].as_array().unwrap().len(), 2);
    node.hang_up();
    gone(&world, &node).await;
    let why = world.get("/v1/volumes/data/why").await;
    assert!(
        why["cause"].as_str().unwrap().contains("not connected"),
        "{why}"
    );
    assert!(
        why["summary"]
            .as_str()
            .unwrap()
            .starts_with("volume data on node a is creating")
    );
}

/// Waits until the master knows that a node is gone.
pub async fn gone(world: &World, node: &Node) {
    let see = async {
        loop {
            let agents = world.get("/v1/agents").await;
            let agents = agents.as_array().unwrap();
            let agent = agents
                .iter()
                .find(|a| a["agent_id"] == json!(node.id))
                .unwrap();
            if agent["connected"] == json!(false) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::world::SOON, see)
        .await
        .expect("the master notices");
}

#[tokio::test]
async fn a_plugin_is_started_again_on_demand_and_in_use_only_when_that_is_said() {
    let mut world = World::start().await;
    let mut node = world.with_local().await;
    let volume = json!({ "name": "data", "size": GIB });
    world.post("/v1/volumes", volume).await;
    let operation = node.operation().await;
    node.ended(&world, &operation).await;
    let task = json!({
        "task_id": "job", "image": "busybox", "volumes": [{ "name": "data", "path": "/data" }],
    });
    world.post("/v1/tasks", task).await;
    let ToAgent::Task(_) = node.next().await else {
        panic!("a task")
    };
    node.task(&world, "job", "running", None).await;
    let restart = |request: serde_json::Value| world.post("/v1/plugins/local/restart", request);
    let (status, refused) = restart(json!({})).await;
    assert_eq!(status, StatusCode::CONFLICT, "{refused}");
    let told = refused.to_string();
    for part in ["volumes in use", "job", "--in-use"] {
        assert!(told.contains(part), "wanted {part:?}: {told}");
    }
    let (status, plugin) = restart(json!({ "in_use": true })).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{plugin}");
    let ToAgent::Plugins { plugins } = node.next().await else {
        panic!("the plugins")
    };
    assert_eq!(plugins[0].restart, 1);
    let (status, unknown) = world.post("/v1/plugins/none/restart", json!({})).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{unknown}");
    world.restart().await;
    node.listen(&world).await;
    assert_eq!(node.desired.plugins[0].restart, 1, "it is not forgotten");
}

#[tokio::test]
async fn changes_are_streamed_as_they_become_durable() {
    let world = World::start().await;
    let mut node = world.with_local().await;
    let events = world.call(Method::GET, "/v1/events", None).await;
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    let mut bytes = events.bytes_stream();
    world
        .post("/v1/volumes", json!({ "name": "data", "size": GIB }))
        .await;
    node.operation().await;
    let mut text = String::new();
    while !(text.contains("event: volume") && text.contains("event: operation")) {
        text.push_str(std::str::from_utf8(&bytes.next().await.unwrap().unwrap()).unwrap());
    }
    assert!(
        text.contains("\"name\":\"data\"") && text.contains("create_volume"),
        "{text}"
    );
}

#[tokio::test]
async fn metrics_and_the_description_tell_what_is_there() {
    let world = World::start().await;
    let mut node = world.with_local().await;
    world
        .post("/v1/volumes", json!({ "name": "data", "size": GIB }))
        .await;
    let operation = node.operation().await;
    node.ended(&world, &operation).await;
    let state = |state: &str| format!("sutler_volume_state{{volume=\"data\",state=\"{state}\"}}");
    assert_eq!(world.metric(&state("ready")).await, 1.0);
    let alike = "sutler_volumes{class=\"local\",node=\"a\",state=\"ready\"}";
    assert_eq!(world.metric(alike).await, 1.0);
    assert_eq!(
        world.metric("sutler_agent_connected{node=\"a\"}").await,
        1.0
    );
    let capacity = "sutler_volume_capacity_bytes{volume=\"data\",class=\"local\",node=\"a\"}";
    assert_eq!(world.metric(capacity).await, GIB as f64);
    let ended = "sutler_operations{kind=\"create_volume\",outcome=\"finished\"}";
    assert_eq!(world.metric(ended).await, 1.0);
    let text = world
        .call(Method::GET, "/metrics", None)
        .await
        .text()
        .await
        .unwrap();
    assert!(
        text.contains(
            "sutler_http_requests_total{method=\"POST\",route=\"/v1/volumes\",status=\"202\"} 1"
        ),
        "{text}"
    );
    assert!(text.ends_with("# EOF\n"));
    let document = world.get("/openapi.json").await;
    assert!(document["paths"]["/v1/volumes/{name}/grow"]["post"].is_object());
    assert!(document["components"]["schemas"]["VolumeView"].is_object());
    let version = world.get("/v1/version").await;
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        world.get("/v1/classes").await[0]["free"]["a"],
        json!(10 * GIB)
    );
}

#[tokio::test]
async fn a_wait_ends_with_its_time_and_with_the_master() {
    let mut world = World::start().await;
    let node = world.with_local().await;
    world
        .post("/v1/tasks", json!({ "task_id": "job", "image": "x" }))
        .await;
    let started = std::time::Instant::now();
    let task = world
        .get("/v1/tasks/job?wait_ms=200&seen_state=accepted")
        .await;
    assert_eq!(task["state"], "accepted");
    assert!(started.elapsed() >= std::time::Duration::from_millis(200));
    let url = world.url("/v1/tasks/job?wait_ms=60000&seen_state=accepted");
    let request = world.http.get(url).bearer_auth(world.operator()).send();
    let waiting = tokio::spawn(request);
    // A later call on the same server: the wait has begun, or will find the server gone.
    node.plugin_ready(&world).await;
    let stopping = std::time::Instant::now();
    world.stop().await;
    assert!(
        stopping.elapsed() < std::time::Duration::from_secs(4),
        "no wait holds the end up"
    );
    let _ = waiting.await.unwrap();
}

#[tokio::test]
async fn a_long_list_comes_in_pages_and_its_volumes_are_counted_only() {
    let world = World::start().await;
    let mut node = world.with_local().await;
    for n in 0..=1000 {
        let volume = json!({ "name": format!("v{n:04}"), "size": 1 });
        assert_eq!(world.post("/v1/volumes", volume).await.0, 202);
        node.operation().await;
    }
    let page = async |path: &str| {
        let response = world.call(Method::GET, path, None).await;
        let link = response.headers().get("link").cloned();
        let link = link.map(|link| link.to_str().unwrap().to_owned());
        let page: Value = response.json().await.unwrap();
        let names = page.as_array().unwrap().iter();
        let names: Vec<String> = names
            .map(|volume| volume["name"].as_str().unwrap().to_owned())
            .collect();
        (names, link)
    };
    let (first, next) = page("/v1/volumes").await;
    assert_eq!((first.len(), first[0].as_str()), (1000, "v0000"));
    let next = next.expect("there is more");
    assert_eq!(next, "</v1/volumes?after=v0999&limit=1000>; rel=\"next\"");
    let (last, next) = page("/v1/volumes?after=v0999&limit=1000").await;
    assert_eq!((last, next), (vec!["v1000".to_owned()], None));
    let (two, next) = page("/v1/volumes?after=v0500&limit=2").await;
    assert_eq!(two, ["v0501", "v0502"]);
    assert!(next.unwrap().contains("after=v0502&limit=2"));
    // Exactly what is left: there is no next page.
    assert_eq!(page("/v1/volumes?after=v0998&limit=2").await.1, None);
    assert_eq!(page("/v1/volumes?after=zzz").await, (Vec::new(), None));
    for (query, words) in [
        ("limit=0", "limit must be 1 to 1000"),
        ("limit=1001", "limit must be 1 to 1000"),
        ("after=a%20b", "after: "),
    ] {
        let path = format!("/v1/volumes?{query}");
        let (status, problem) = answer(world.call(Method::GET, &path, None).await).await;
        assert_eq!(status, 400, "{problem}");
        assert!(
            problem["what"].as_str().unwrap().contains(words),
            "{problem}"
        );
    }
    for list in ["tasks", "plugins", "agents", "classes"] {
        let path = format!("/v1/{list}?limit=1&after=a");
        let response = world.call(Method::GET, &path, None).await;
        assert_eq!(answer(response).await.0, 200, "{list}");
    }

    let alike = "sutler_volumes{class=\"local\",node=\"a\",state=\"creating\"}";
    assert_eq!(world.metric(alike).await, 1001.0);
    let response = world.call(Method::GET, "/metrics", None).await;
    let text = response.text().await.unwrap();
    assert!(
        !text.contains("volume=\"v0001\""),
        "1001 series of their own"
    );
}
