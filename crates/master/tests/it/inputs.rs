//! Bad requests, each with its status and words.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{GIB, World, answer};

#[tokio::test]
async fn a_bad_request_is_answered_with_its_fault() {
    let world = World::start().await;
    let mut node = world.with_local().await;
    let (_, accepted) = world
        .post("/v1/volumes", json!({ "name": "taken", "size": GIB }))
        .await;
    assert_eq!(accepted["volume"]["state"], "creating", "{accepted}");
    let operation = node.operation().await;
    node.ended(&world, &operation).await;
    let long = "x".repeat(300);
    let volumes = |body: Value| (Method::POST, "/v1/volumes".to_owned(), Some(body));
    let path = |method: Method, path: &str| (method, path.to_owned(), None);
    for ((method, path, body), status, words) in [
        (
            volumes(json!({ "name": "", "size": 1 })),
            400,
            "volume name is empty",
        ),
        (
            volumes(json!({ "name": long, "size": 1 })),
            400,
            "300 bytes",
        ),
        (volumes(json!({ "name": "a/b", "size": 1 })), 400, "'/'"),
        (
            volumes(json!({ "name": "a\u{7}", "size": 1 })),
            400,
            "character",
        ),
        (volumes(json!({ "name": "x", "size": 0 })), 400, "size is 0"),
        (
            volumes(json!({ "name": "x", "size": -1 })),
            400,
            "invalid value: integer `-1`",
        ),
        (
            volumes(json!({ "name": "x", "size": "many" })),
            400,
            "invalid type: string",
        ),
        (volumes(json!({ "name": "x" })), 400, "missing field `size`"),
        (
            volumes(json!({ "name": "x", "size": 1, "sise": 2 })),
            400,
            "unknown field `sise`",
        ),
        (volumes(json!([])), 400, "invalid length 0"),
        (
            volumes(json!({ "name": "x", "size": 1, "class": "gold" })),
            404,
            "gold",
        ),
        (
            volumes(json!({ "name": "x", "size": 11 * GIB })),
            507,
            "10G",
        ),
        (volumes(json!({ "name": "taken", "size": 1 })), 409, "taken"),
        (
            path(Method::GET, "/v1/volumes/none"),
            404,
            "no volume is called none",
        ),
        (path(Method::GET, "/v1/volumes/a%2Fb"), 400, "'/'"),
        (path(Method::GET, "/v1/volumes/%FF"), 400, "UTF-8"),
        (path(Method::GET, "/v1/volumes/x?until=never"), 400, "never"),
        (
            path(Method::GET, "/v1/volumes/x?wait_ms=-1"),
            400,
            "wait_ms",
        ),
        (
            path(Method::DELETE, "/v1/volumes/taken?purge=maybe"),
            400,
            "purge",
        ),
        (
            path(Method::GET, "/v1/operations/nonsense"),
            400,
            "is not a UUID",
        ),
        (
            path(
                Method::GET,
                "/v1/operations/0190a0a0-0000-7000-8000-000000000000",
            ),
            404,
            "forgotten",
        ),
        (
            path(Method::GET, "/v1/tasks/none"),
            404,
            "no task is called none",
        ),
        (
            path(Method::POST, "/v1/tasks/none/stop"),
            404,
            "no task is called none",
        ),
        (
            path(Method::GET, "/v1/tasks/none/logs"),
            404,
            "no task is called none",
        ),
        (
            path(Method::GET, "/v1/plugins/none/logs"),
            404,
            "no plugin is called none",
        ),
        (
            path(Method::DELETE, "/v1/plugins/local"),
            409,
            "keeps volumes: taken",
        ),
        (path(Method::GET, "/v2"), 404, "nothing at /v2"),
        (
            path(Method::DELETE, "/v1/agents"),
            405,
            "/v1/agents does not take DELETE",
        ),
        (
            path(Method::POST, "/v1/volumes/taken/restore"),
            409,
            "not in the trash",
        ),
    ] {
        let response = world.call(method.clone(), &path, body.clone()).await;
        let (got, problem) = answer(response).await;
        let at = format!("{method} {path} {body:?}: {problem}");
        assert_eq!(got.as_u16(), status, "{at}");
        assert!(
            problem["what"]
                .as_str()
                .is_some_and(|what| what.contains(words)),
            "{at}"
        );
    }
    assert_eq!(
        world.get("/v1/volumes").await.as_array().unwrap().len(),
        1,
        "nothing was made"
    );
}

#[tokio::test]
async fn a_body_is_bounded_typed_and_of_bounded_depth() {
    let world = World::start().await;
    let send = async |kind: &'static str, body: Vec<u8>| {
        let request = world
            .http
            .post(world.url("/v1/volumes"))
            .bearer_auth(world.operator());
        answer(
            request
                .header("content-type", kind)
                .body(body)
                .send()
                .await
                .unwrap(),
        )
        .await
    };
    let (status, problem) = send("application/json", vec![b' '; 2 << 20]).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{problem}");
    assert!(problem["what"].as_str().unwrap().contains("larger"));
    let (status, _) = send("text/plain", b"{}".to_vec()).await;
    assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    let deep = [b"{\"name\":".as_slice(), &deep, b"}"].concat();
    assert_eq!(
        send("application/json", deep).await.0,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(
        send("application/json", b"{\"name\":\"x\"".to_vec())
            .await
            .0,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(
        send("application/json", vec![0xff; 10]).await.0,
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test]
async fn a_huge_head_is_refused_and_the_server_goes_on() {
    let world = World::start().await;
    let request = world
        .http
        .get(world.url("/health"))
        .header("x-long", "y".repeat(200 << 10));
    let refused = request.send().await;
    assert!(refused.is_err() || refused.is_ok_and(|r| r.status().is_client_error()));
    let health = world.http.get(world.url("/health")).send().await.unwrap();
    assert_eq!(health.status(), StatusCode::OK);
}
