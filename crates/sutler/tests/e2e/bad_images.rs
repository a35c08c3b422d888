//! Images that cannot be had: malformed, absent, locked, for another architecture.

use sutler_images::{ImageBuilder, Platform};
use sutler_testkit::world::{CREDENTIALS, Registry, World};

use crate::mock::push_image;
use crate::{alone, config};

#[test]
fn an_image_that_cannot_be_had_is_told_with_its_cause() {
    let _alone = alone();
    let registry = Registry::start().expect("docker-registry is installed");
    push_image("busybox", &registry.reference("tools/busybox:latest"));
    let world = World::up(config().without_local()).expect("the cluster comes up");
    let run = |image: &str| world.sutler(&["run", image, "--", "echo", "ran"]);
    run(&registry.reference("tools/busybox:latest")).expect(0, &["ran"]);

    run("UPPER/Case:x:y").expect(125, &["UPPER/Case"]);
    run("oci:/no/such/folder").expect(125, &["/no/such/folder"]);
    run(&registry.reference("tools/busybox:v9")).expect(125, &["v9"]);
    run(&registry.reference("tools/nothing:latest")).expect(125, &["tools/nothing"]);
    run("127.0.0.1:1/tools/busybox:latest").expect(125, &["127.0.0.1:1"]);
    let pinned = format!("tools/busybox@sha256:{}", "0".repeat(64));
    run(&registry.reference(&pinned)).expect(125, &["sha256:0000"]);
}

#[test]
fn an_image_for_another_architecture_is_refused_with_what_there_is() {
    let _alone = alone();
    let world = World::up(config().without_local()).expect("the cluster comes up");
    let folder = world.root().join("other");
    let mut platform = Platform::host();
    platform.architecture = "s390x".to_owned();
    let image = ImageBuilder::new()
        .platform(platform)
        .bytes("bin/sh", "x", 0o755)
        .unwrap();
    image.write_layout(&folder, "latest").unwrap();
    let told = world.sutler(&["run", &format!("oci:{}", folder.display()), "--", "sh"]);
    told.expect(125, &["s390x"]);
}

#[test]
fn a_locked_registry_wants_credentials_and_takes_those_of_an_auth_file() {
    let _alone = alone();
    let registry = Registry::start_locked().expect("docker-registry is installed");
    let (user, password) = CREDENTIALS;
    let auth = registry.write_auth_file(user, password).unwrap();
    push_with(&registry, &auth);
    let image = registry.reference("tools/busybox:latest");
    let mut world = World::up(config().without_local()).expect("the cluster comes up");
    let told = world.sutler(&["run", &image, "--", "echo", "ran"]);
    told.expect(125, &["tools/busybox"]);
    assert!(told.stderr.to_lowercase().contains("unauthori"), "{told}");

    world.agent(0).terminate(crate::SOON).unwrap();
    world
        .agent(0)
        .set_env("REGISTRY_AUTH_FILE", Some(&auth.display().to_string()));
    world.start_all().unwrap();
    world.wait_ready().unwrap();
    world
        .sutler(&["run", &image, "--", "echo", "ran"])
        .expect(0, &["ran"]);
    let log = world.master().log();
    assert!(!log.contains(password), "the password is in the log");
}

fn push_with(registry: &Registry, auth: &std::path::Path) {
    use sutler_images::{AuthSources, push};
    let target = registry
        .reference("tools/busybox:latest")
        .parse()
        .expect("a reference");
    let layout = sutler_testkit::world::images_folder().join("busybox");
    let auth = AuthSources::file(auth.to_owned());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime
        .block_on(push(&layout, None, &target, &auth))
        .expect("it is pushed");
}
