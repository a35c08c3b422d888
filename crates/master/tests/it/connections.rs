//! Connections that are silent, that stop half-way, and that are far too many.

use std::time::Duration;

use reqwest::StatusCode;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::json;
use sutler_master::{ConnectionBounds, Places};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::world::{Node, SOON, World, trusting};

/// A bound that a test waits out; all others are far beyond what a test takes.
const SHORT: Duration = Duration::from_millis(300);

/// Beyond every test: a bound that must not be the one that is met.
const LONG: Duration = Duration::from_secs(3600);

/// Bounds that are never met but those that `change` makes so.
fn bounds(change: impl FnOnce(&mut ConnectionBounds)) -> ConnectionBounds {
    let mut bounds = ConnectionBounds::new(Places::of_descriptors(1024));
    bounds.handshake = LONG;
    bounds.stranger = LONG;
    bounds.head = LONG;
    bounds.idle = LONG;
    bounds.body_silence = LONG;
    change(&mut bounds);
    bounds
}

async fn world(change: impl FnOnce(&mut ConnectionBounds)) -> World {
    World::start_with(|config| config.connections = bounds(change)).await
}

async fn connect(world: &World) -> TcpStream {
    let addr = world.master.as_ref().unwrap().addr();
    TcpStream::connect(addr).await.unwrap()
}

/// Connects and shakes hands for a version of HTTP.
async fn shake_hands(world: &World, protocol: &str) -> TlsStream<TcpStream> {
    let ca = world.file("tls/ca.pem");
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap())
        .unwrap();
    let provider = rustls::crypto::ring::default_provider();
    let mut config = rustls::ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(std::sync::Arc::new(config));
    connector.connect(name, connect(world).await).await.unwrap()
}

/// Reads to the end that the master makes; panics if it makes none.
async fn until_closed(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut read = Vec::new();
    let mut piece = [0; 4096];
    let end = async {
        // A connection that is cut ends with an error, which is an end as well.
        while let Ok(count @ 1..) = stream.read(&mut piece).await {
            read.extend_from_slice(&piece[..count]);
        }
    };
    timeout(SOON, end).await.expect("it is closed");
    String::from_utf8_lossy(&read).into_owned()
}

/// Reads one answer that has a length.
async fn one_answer(stream: &mut TlsStream<TcpStream>) -> String {
    let mut read = String::new();
    let mut piece = [0; 4096];
    let whole = async {
        loop {
            let length = read.to_lowercase();
            let length = length
                .split_once("content-length: ")
                .and_then(|(_, rest)| rest.split_once("\r\n")?.0.parse::<usize>().ok());
            let body = read.split_once("\r\n\r\n").map(|(_, body)| body.len());
            if body.is_some() && body >= length {
                return read;
            }
            let count = stream.read(&mut piece).await.unwrap();
            assert!(count > 0, "closed within an answer: {read}");
            read.push_str(std::str::from_utf8(&piece[..count]).unwrap());
        }
    };
    timeout(SOON, whole).await.expect("an answer")
}

/// A head with the operator's token and no end.
fn head(world: &World, line: &str) -> String {
    let token = world.operator();
    format!("{line} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n")
}

async fn ask(world: &World, stream: &mut TlsStream<TcpStream>) {
    let request = head(world, "GET /v1/version") + "\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = one_answer(stream).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn who_does_not_shake_hands_is_closed() {
    let world = world(|bounds| bounds.handshake = SHORT).await;
    let mut silent = connect(&world).await;
    until_closed(&mut silent).await;
    let mut one_byte = connect(&world).await;
    one_byte.write_all(b"\x16").await.unwrap();
    until_closed(&mut one_byte).await;
}

#[tokio::test]
async fn who_shows_no_token_after_its_handshake_is_closed() {
    let world = world(|bounds| bounds.stranger = SHORT).await;
    for protocol in ["http/1.1", "h2"] {
        until_closed(&mut shake_hands(&world, protocol).await).await;
    }
    let mut one_byte = shake_hands(&world, "http/1.1").await;
    one_byte.write_all(b"G").await.unwrap();
    until_closed(&mut one_byte).await;
}

#[tokio::test]
async fn asking_again_and_again_without_a_token_gains_no_time() {
    let world = world(|bounds| bounds.stranger = SHORT).await;
    let mut stream = shake_hands(&world, "http/1.1").await;
    let asking = async {
        let request = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let mut piece = [0; 4096];
        while stream.write_all(request.as_bytes()).await.is_ok() {
            let Ok(1..) = stream.read(&mut piece).await else {
                break;
            };
        }
    };
    timeout(SOON, asking).await.expect("it is closed");
}

#[tokio::test]
async fn a_head_that_has_begun_must_end() {
    let world = world(|bounds| bounds.head = SHORT).await;
    let mut stream = shake_hands(&world, "http/1.1").await;
    ask(&world, &mut stream).await;
    stream.write_all(b"GET /v1/vol").await.unwrap();
    until_closed(&mut stream).await;
}

#[tokio::test]
async fn a_body_that_stops_is_refused_and_its_connection_closed() {
    let world = world(|bounds| bounds.body_silence = SHORT).await;
    let mut stream = shake_hands(&world, "http/1.1").await;
    let request = head(&world, "POST /v1/volumes")
        + "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"name\":";
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = until_closed(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("nothing more of the body came"), "{answer}");
}

#[tokio::test]
async fn a_body_without_a_token_is_not_waited_for() {
    let world = world(|_| {}).await;
    let mut stream = shake_hands(&world, "http/1.1").await;
    let request = "POST /v1/volumes HTTP/1.1\r\nHost: localhost\r\n\
                   Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"name\":";
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = until_closed(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}

#[tokio::test]
async fn a_known_client_may_be_silent_between_requests_but_not_for_ever() {
    let idle = 4 * SHORT;
    let world = world(|bounds| {
        bounds.handshake = SHORT;
        bounds.stranger = SHORT;
        bounds.head = SHORT;
        bounds.idle = idle;
    })
    .await;
    let mut stream = shake_hands(&world, "http/1.1").await;
    ask(&world, &mut stream).await;
    let asked = Instant::now();
    // Nothing to wait for: that nothing happens is what is looked at.
    tokio::time::sleep(2 * SHORT).await;
    if asked.elapsed() < idle {
        ask(&world, &mut stream).await;
    }
    let asked = Instant::now();
    assert_eq!(until_closed(&mut stream).await, "");
    assert!(asked.elapsed() >= idle, "{:?}", asked.elapsed());
}

#[tokio::test]
async fn http_2_is_spoken_and_survives_a_bound_between_two_requests() {
    let world = world(|bounds| {
        bounds.idle = SHORT;
        bounds.head = SHORT;
    })
    .await;
    let client = trusting(world.dir.path()).build().unwrap();
    for _ in 0..2 {
        let request = client.get(world.url("/v1/version"));
        let answer = request.bearer_auth(world.operator()).send().await.unwrap();
        assert_eq!(answer.version(), reqwest::Version::HTTP_2);
        assert_eq!(answer.status(), StatusCode::OK);
        answer.bytes().await.unwrap();
        // A bound that passed between two requests costs a new connection, and no request.
        tokio::time::sleep(2 * SHORT).await;
    }
}

/// The start of an HTTP/2 connection with one request for the version.
/// Source: RFC 9113 sections 3.4, 4.1, 6.2 and 6.5; RFC 7541 section 6.2.2 and appendix A.
fn http_2_request(token: &str) -> Vec<u8> {
    const SETTINGS: u8 = 4;
    const HEADERS: u8 = 1;
    const END_STREAM_AND_HEADERS: u8 = 5;
    let frame = |kind: u8, flags: u8, stream: u8, body: &[u8]| {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        let head = [0, length[0], length[1], kind, flags, 0, 0, 0, stream];
        [&head, body].concat()
    };
    let text = |text: &str| {
        let length = u8::try_from(text.len()).expect("shorter than what needs more bytes");
        assert!(length < 127);
        [&[length], text.as_bytes()].concat()
    };
    // GET and https stand in the table; 4, 1 and 23 are the names of the path, the authority and
    // the authorization there.
    let path = [&[0x04][..], &text("/v1/version")].concat();
    let authority = [&[0x01][..], &text("localhost")].concat();
    let proof = [&[0x0f, 23 - 15][..], &text(&format!("Bearer {token}"))].concat();
    let headers = [&[0x82, 0x87][..], &path, &authority, &proof].concat();
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(SETTINGS, 0, 0, &[]),
        frame(HEADERS, END_STREAM_AND_HEADERS, 1, &headers),
    ]
    .concat()
}

#[tokio::test]
async fn an_idle_connection_of_http_2_is_closed() {
    let idle = 4 * SHORT;
    let world = world(|bounds| bounds.idle = idle).await;
    let mut stream = shake_hands(&world, "h2").await;
    let request = http_2_request(&world.operator());
    stream.write_all(&request).await.unwrap();
    let asked = Instant::now();
    let answer = until_closed(&mut stream).await;
    assert!(answer.contains(env!("CARGO_PKG_VERSION")), "{answer:?}");
    assert!(asked.elapsed() >= idle, "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_stream_outlives_every_bound_on_silence() {
    let world = world(|bounds| {
        bounds.stranger = SHORT;
        bounds.head = SHORT;
        bounds.idle = SHORT;
        bounds.body_silence = SHORT;
    })
    .await;
    let mut node = world.with_local().await;
    // As above: nothing may happen in this time.
    tokio::time::sleep(3 * SHORT).await;
    let create = json!({ "name": "v", "size": 1 << 30 });
    let (status, body) = world.post("/v1/volumes", create).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{body}");
    node.operation().await;
}

#[tokio::test]
async fn six_hundred_silent_connections_shut_out_neither_agents_nor_operators() {
    // The places of 256 descriptors; every connection comes from one address.
    let world = world(|bounds| bounds.places = Places::of_descriptors(256)).await;
    let mut node = world.with_local().await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(connect(&world).await);
    }
    for _ in 0..300 {
        silent.push(shake_hands(&world, "http/1.1").await.into_inner().0);
    }
    let create = json!({ "name": "v", "size": 1 << 30 });
    let (status, body) = world.post("/v1/volumes", create).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{body}");
    let operation = node.operation().await;
    node.ended(&world, &operation).await;
    // And over connections that are new.
    let mut other = Node::join(&world, "b").await;
    other.listen(&world).await;
    let mut stream = shake_hands(&world, "http/1.1").await;
    ask(&world, &mut stream).await;
    let mut held = 0;
    for stream in &silent {
        held += usize::from(matches!(stream.try_read(&mut [0]), Err(error)
            if error.kind() == std::io::ErrorKind::WouldBlock));
    }
    assert!(held <= 96, "{held} of 600 still have a place");
}

#[tokio::test]
async fn who_has_too_many_connections_with_a_token_is_told() {
    let world = world(|bounds| {
        bounds.places.operators = 4;
        bounds.places.operators_per_address = 2;
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = shake_hands(&world, "http/1.1").await;
        ask(&world, &mut stream).await;
        held.push(stream);
    }
    let mut third = shake_hands(&world, "http/1.1").await;
    let request = head(&world, "GET /v1/version") + "\r\n";
    third.write_all(request.as_bytes()).await.unwrap();
    let answer = one_answer(&mut third).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(
        answer.contains("2 connections from this address"),
        "{answer}"
    );
    Node::join(&world, "a").await;
}
