//! A state folder that is in use, damaged, from another time, or full.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use reqwest::{Method, StatusCode};
use serde_json::json;
use sutler_master::{Master, MasterConfig, StartError};
use sutler_store::{Schema, Store};
use sutler_telemetry::chain;

use crate::world::{GIB, SmallDisk, World, answer};

async fn refused(config: MasterConfig) -> String {
    match Master::start(config).await {
        Err(error) => chain(&error),
        Ok(_) => panic!("must not start"),
    }
}

#[tokio::test]
async fn a_second_master_on_one_folder_is_told_who_has_it_and_changes_nothing() {
    let world = World::start().await;
    let before = world.file("client.json");
    let text = refused(world.config.clone()).await;
    let expected = format!("is in use by process {}", std::process::id());
    assert!(
        text.contains(&expected) && text.contains("books.redb"),
        "{text}"
    );
    assert_eq!(world.file("client.json"), before);
    world.get("/v1/volumes").await;
}

#[tokio::test]
async fn a_damaged_a_newer_and_a_foreign_folder_are_refused_by_name() {
    let mut world = World::start().await;
    world.stop().await;
    let books = world.dir.path().join("master/books.redb");
    let sound = std::fs::read(&books).unwrap();
    std::fs::write(&books, &sound[..sound.len() / 3]).unwrap();
    let text = refused(world.config.clone()).await;
    assert!(
        text.contains("books.redb is damaged") && text.contains("put back a copy"),
        "{text}"
    );
    std::fs::remove_file(&books).unwrap();
    drop(
        Store::open(
            &books,
            Schema {
                kind: "master",
                version: 99,
            },
        )
        .unwrap(),
    );
    let text = refused(world.config.clone()).await;
    assert!(
        text.contains("newer version") && text.contains("99"),
        "{text}"
    );
    std::fs::remove_file(&books).unwrap();
    drop(
        Store::open(
            &books,
            Schema {
                kind: "agent",
                version: 1,
            },
        )
        .unwrap(),
    );
    let text = refused(world.config.clone()).await;
    assert!(text.contains("\"agent\", not of \"master\""), "{text}");
}

#[tokio::test]
async fn what_others_could_read_is_for_its_owner_alone_after_a_start() {
    let mut world = World::start().await;
    let all = below(world.dir.path());
    for path in &all {
        let loose = if path.is_dir() { 0o755 } else { 0o644 };
        std::fs::set_permissions(path, Permissions::from_mode(loose)).unwrap();
    }
    world.restart().await;
    for path in all {
        // Some are made anew.
        let Ok(found) = std::fs::metadata(&path) else {
            continue;
        };
        let mode = found.permissions().mode() & 0o7777;
        assert_eq!(mode & 0o077, 0, "{} is {mode:o}", path.display());
    }
}

#[tokio::test]
async fn a_link_in_place_of_a_token_is_refused_and_its_target_stays_as_it_is() {
    let mut world = World::start().await;
    world.stop().await;
    let other = tempfile::NamedTempFile::new().unwrap();
    std::fs::set_permissions(other.path(), Permissions::from_mode(0o644)).unwrap();
    let token = world.dir.path().join("operator.token");
    std::fs::remove_file(&token).unwrap();
    std::os::unix::fs::symlink(other.path(), &token).unwrap();
    let text = refused(world.config.clone()).await;
    assert!(text.contains("operator.token"), "{text}");
    let mode = other.path().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
}

/// A folder and all that is below it.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut all = vec![folder.to_owned()];
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(below(&path)),
            false => all.push(path),
        }
    }
    all
}

#[tokio::test]
async fn damaged_tokens_and_unusable_folders_are_named() {
    let mut world = World::start().await;
    world.stop().await;
    std::fs::write(world.dir.path().join("agent.token"), "short\n").unwrap();
    let text = refused(world.config.clone()).await;
    assert!(text.contains("agent.token holds no token"), "{text}");
    let mut config = world.config.clone();
    config.state_dir = world.dir.path().join("operator.token");
    let text = refused(config).await;
    assert!(
        text.contains("state directory") && text.contains("operator.token"),
        "{text}"
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let config = MasterConfig::new(dir.path(), taken.local_addr().unwrap());
    let error = Master::start(config).await.unwrap_err();
    assert!(matches!(error, StartError::Listen { .. }), "{error}");
    assert!(chain(&error).contains("in use"), "{}", chain(&error));
}

#[tokio::test]
async fn a_full_disk_refuses_keeps_all_and_goes_on_when_there_is_space() {
    let disk = SmallDisk::new();
    let path = disk.path().to_owned();
    let world = World::start_with(|config| config.state_dir = path).await;
    let mut node = world.with_local().await;
    let filler = disk.fill();
    let mut made = 0;
    let refused = loop {
        let volume = json!({ "name": format!("v{made}"), "size": GIB });
        let response = world.call(Method::POST, "/v1/volumes", Some(volume)).await;
        let (status, body) = answer(response).await;
        match status {
            StatusCode::ACCEPTED => made += 1,
            StatusCode::INSUFFICIENT_STORAGE => break body,
            other => panic!("{other} {body}"),
        }
        assert!(made < 100_000, "the disk must become full");
    };
    assert_eq!(refused["kind"], "exhausted");
    assert!(
        refused["what"]
            .as_str()
            .unwrap()
            .contains("state directory is full"),
        "{refused}"
    );
    node.until_cut_off().await;
    std::fs::remove_file(filler).unwrap();
    assert_eq!(
        world.get("/v1/volumes").await.as_array().unwrap().len(),
        made
    );
    node.listen(&world).await;
    assert_eq!(node.desired.operations.len(), made);
    node.plugin_ready(&world).await;
    let (status, body) = world
        .post("/v1/volumes", json!({ "name": "after", "size": GIB }))
        .await;
    assert_eq!(status, StatusCode::ACCEPTED, "{body}");
}
