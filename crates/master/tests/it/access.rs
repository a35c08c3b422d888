//! Who gets in: tokens, TLS, the open API.

use std::os::unix::fs::PermissionsExt;

use reqwest::{Method, StatusCode};
use serde_json::Value;
use sutler_master::{Master, MasterConfig};

use crate::world::{World, answer, client_with, trusting};

/// Every route: method, path, whether agents call it.
fn routes() -> Vec<(Method, String, bool)> {
    let document = serde_json::to_value(sutler_master::openapi_document()).unwrap();
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item
            .as_object()
            .unwrap()
            .keys()
            .filter(|key| *key != "parameters")
        {
            let path = path.replace("{uuid}", "0190a0a0-0000-7000-8000-000000000000");
            let path = path.replace("{name}", "x").replace("{id}", "x");
            routes.push((method.to_uppercase().parse().unwrap(), path, false));
        }
    }
    for (method, path) in [
        (Method::POST, "/agent/v1/register"),
        (Method::GET, "/agent/v1/events"),
        (Method::POST, "/agent/v1/updates"),
        (
            Method::POST,
            "/agent/v1/answers/0190a0a0-0000-7000-8000-000000000000",
        ),
        (Method::GET, "/agent/v1/unknown"),
    ] {
        routes.push((method, path.to_owned(), true));
    }
    routes.push((Method::GET, "/nowhere".to_owned(), false));
    routes
}

#[tokio::test]
async fn every_route_opens_to_its_own_token_only() {
    let world = World::start().await;
    let (operator, agent) = (world.operator(), world.agent_token());
    assert_ne!(operator, agent);
    let routes = routes();
    assert!(routes.len() > 25, "only {} routes", routes.len());
    for (method, path, for_agents) in routes {
        let (right, wrong) = match for_agents {
            true => (&agent, &operator),
            false => (&operator, &agent),
        };
        let ask = async |token: Option<&str>| {
            let mut request = world.http.request(method.clone(), world.url(&path));
            if let Some(token) = token {
                request = request.header("authorization", token);
            }
            request.send().await.unwrap().status()
        };
        if path == "/health" {
            assert_eq!(ask(None).await, StatusCode::OK);
            continue;
        }
        let bearer = |token: &str| format!("Bearer {token}");
        for token in [
            None,
            Some(bearer("garbage")),
            Some(bearer("")),
            Some(bearer(&right[..63])),
            Some(bearer(&format!("{right}0"))),
            Some(format!("Basic {right}")),
        ] {
            let status = ask(token.as_deref()).await;
            assert_eq!(
                status,
                StatusCode::UNAUTHORIZED,
                "{method} {path} with {token:?}"
            );
        }
        let status = ask(Some(&bearer(wrong))).await;
        assert_eq!(
            status,
            StatusCode::FORBIDDEN,
            "{method} {path} with the other token"
        );
        let status = ask(Some(&bearer(right))).await;
        let let_in = status != StatusCode::UNAUTHORIZED && status != StatusCode::FORBIDDEN;
        assert!(let_in, "{method} {path} with its token: {status}");
    }
}

#[tokio::test]
async fn a_stranger_gets_a_problem_that_names_no_secret() {
    let world = World::start().await;
    let response = world
        .http
        .get(world.url("/v1/volumes"))
        .send()
        .await
        .unwrap();
    assert_eq!(response.headers()["www-authenticate"], "Bearer");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let (_, problem) = answer(response).await;
    assert_eq!(problem["kind"], "unauthorized");
    assert!(
        problem["what"].as_str().unwrap().contains("no token"),
        "{problem}"
    );
    let health = world.http.get(world.url("/health")).send().await.unwrap();
    assert_eq!(health.text().await.unwrap(), "");
}

#[tokio::test]
async fn files_with_secrets_are_for_root_alone_and_last() {
    let mut world = World::start().await;
    let names = ["operator.token", "agent.token", "client.json", "join.json"];
    for name in names {
        let mode = world
            .dir
            .path()
            .join(name)
            .metadata()
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let before = (
        world.operator(),
        world.agent_token(),
        world.file("tls/ca.pem"),
    );
    assert_eq!(before.0.len(), 64);
    world.restart().await;
    assert_eq!(
        (
            world.operator(),
            world.agent_token(),
            world.file("tls/ca.pem")
        ),
        before
    );
}

#[tokio::test]
async fn only_our_authority_is_trusted_and_the_files_say_how() {
    let mut world = World::start_with(|config| {
        config.names = vec!["master.example".to_owned()];
    })
    .await;
    let client: Value = serde_json::from_str(&world.file("client.json")).unwrap();
    let join: Value = serde_json::from_str(&world.file("join.json")).unwrap();
    let addr = world.master.as_ref().unwrap().addr();
    let port = addr.port();
    assert_eq!(client["address"], format!("https://127.0.0.1:{port}"));
    assert_eq!(
        client["ca_pem_file"], "tls/ca.pem",
        "also in a moved folder"
    );
    assert_eq!(client["token_file"], "operator.token");
    assert_eq!(join["address"], format!("https://master.example:{port}"));
    assert_eq!(join["token"].as_str().unwrap(), world.agent_token());
    assert_eq!(
        join["ca_pem"].as_str().unwrap().trim(),
        world.file("tls/ca.pem")
    );
    let foreign = client_with([]).build().unwrap();
    let refused = foreign.get(world.url("/health")).send().await;
    assert!(
        refused.is_err(),
        "a client that does not know the authority refuses"
    );
    world.http = trusting(world.dir.path())
        .resolve("master.example", addr)
        .resolve("other.example", addr)
        .build()
        .unwrap();
    assert_eq!(world.get("/v1/volumes").await, Value::Array(Vec::new()));
    let by_name = async |name: &str| {
        let url = format!("https://{name}:{port}/health");
        world.http.get(url).send().await
    };
    for name in ["master.example", "localhost", "127.0.0.1"] {
        assert_eq!(by_name(name).await.unwrap().status(), StatusCode::OK);
    }
    assert!(
        by_name("other.example").await.is_err(),
        "a name that is not in the certificate"
    );
}

#[tokio::test]
async fn nothing_is_answered_without_tls_on_loopback_either() {
    for insecure_loopback in [false, true] {
        let world = World::start_with(|config| config.insecure_loopback = insecure_loopback).await;
        let port = world.master.as_ref().unwrap().addr().port();
        let plain = client_with([]).build().unwrap();
        for path in ["health", "v1/volumes"] {
            let url = format!("http://127.0.0.1:{port}/{path}");
            assert!(plain.get(url).send().await.is_err(), "{path}");
        }
    }
}

#[tokio::test]
async fn the_certificate_holds_on_ipv6_loopback() {
    let world = World::start_with(|config| config.listen = "[::1]:0".parse().unwrap()).await;
    assert!(world.url("/").starts_with("https://[::1]:"));
    world.get("/v1/volumes").await;
}

#[tokio::test]
async fn an_open_api_needs_no_token_here_and_agents_still_do() {
    let world = World::start_with(|config| config.insecure_loopback = true).await;
    let get = async |path: &str, header: (&'static str, &'static str)| {
        let request = world.http.get(world.url(path)).header(header.0, header.1);
        request.send().await.unwrap().status()
    };
    assert_eq!(get("/v1/volumes", ("accept", "*/*")).await, StatusCode::OK);
    assert_eq!(
        get("/v1/volumes", ("host", "evil.example")).await,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        get("/v1/volumes", ("origin", "http://x")).await,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        get("/agent/v1/events", ("accept", "*/*")).await,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn an_open_api_on_a_reachable_address_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = MasterConfig::new(dir.path(), "0.0.0.0:0".parse().unwrap());
    config.insecure_loopback = true;
    let error = Master::start(config).await.unwrap_err().to_string();
    assert!(
        error.contains("loopback addresses only, and 0.0.0.0:0 is not one"),
        "{error}"
    );
}

#[tokio::test]
async fn a_reachable_address_speaks_tls_and_tells_others_its_own_address() {
    let dir = tempfile::tempdir().unwrap();
    let config = MasterConfig::new(dir.path(), "0.0.0.0:0".parse().unwrap());
    let master = Master::start(config).await.unwrap();
    assert_eq!(
        master.address(),
        format!("https://127.0.0.1:{}", master.addr().port())
    );
    let join = std::fs::read_to_string(dir.path().join("join.json")).unwrap();
    assert!(
        join.contains("\"https://") && join.contains("BEGIN CERTIFICATE"),
        "{join}"
    );
    master.shutdown().await;
}
