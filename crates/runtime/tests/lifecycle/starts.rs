//! Starts that fail, told exactly, and what a started container is given.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use sutler_runtime::{
    AdoptedState, ContainerError, ContainerSpec, EnvVar, ExitStatus, MountSpec, StartError,
    StartFailure, UserError,
};

use crate::world::{World, chain, id};

async fn refusal(world: &World, spec: &ContainerSpec) -> StartFailure {
    match world.containers.start(spec).await {
        Err(StartError::Failed(failure)) => failure,
        Err(other) => panic!("another error: {}", chain(&other)),
        Ok(started) => panic!("it started: {started:?}"),
    }
}

/// Nothing of a failed start is left but its folder, and an agent that comes later knows why.
async fn check_kept(world: &World, name: &str, failure: &StartFailure) {
    assert!(world.cgroups(name).is_empty());
    assert!(!world.config.runtime.has_state(&id(name)));
    let adopted = world.containers.adopt().await.expect("listed");
    let found = adopted
        .iter()
        .find(|a| a.id == id(name))
        .expect("its folder is there");
    assert!(matches!(&found.state, AdoptedState::NeverStarted(Some(f)) if f == failure));
    let waited = world.containers.wait(&id(name)).await;
    assert!(matches!(waited, Err(ContainerError::NeverStarted { .. })));
    world.remove(name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_not_there_is_named() {
    let world = World::new();
    for command in ["/bin/nope", "nope"] {
        let failure = refusal(&world, &world.spec("c", &[command])).await;
        assert!(
            matches!(&failure, StartFailure::CommandNotFound { command: c, .. } if c == command),
            "{failure:?}"
        );
        check_kept(&world, "c", &failure).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_executable_is_named() {
    let world = World::new();
    fs::write(world.rootfs().join("data"), "text").expect("written");
    let failure = refusal(&world, &world.spec("c", &["/data"])).await;
    assert!(
        matches!(&failure, StartFailure::PermissionDenied { .. }),
        "{failure:?}"
    );
    check_kept(&world, "c", &failure).await;
}

fn executable(world: &World, name: &str, content: &[u8]) {
    let path = world.rootfs().join(name);
    fs::write(&path, content).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_of_another_architecture_is_named() {
    let world = World::new();
    // An ELF header for a machine that no one has (EM_AVR).
    let mut elf = *b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x53\0";
    elf[18] = 0x53;
    executable(&world, "foreign", &[&elf[..], &[0; 100]].concat());
    let failure = refusal(&world, &world.spec("c", &["/foreign"])).await;
    assert!(
        matches!(&failure, StartFailure::ExecFormat { .. }),
        "{failure:?}"
    );
    check_kept(&world, "c", &failure).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_without_its_interpreter_is_named() {
    let world = World::new();
    executable(&world, "script", b"#!/no/such/interpreter\n");
    let failure = refusal(&world, &world.spec("c", &["/script"])).await;
    assert!(
        matches!(&failure, StartFailure::CommandNotFound { .. }),
        "{failure:?}"
    );
    check_kept(&world, "c", &failure).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_mount_source_is_named_before_anything_is_made() {
    let world = World::new();
    let mut spec = world.sh("c", "exit 0");
    spec.mounts
        .push(MountSpec::bind("/no/such/source", "/data"));
    let failure = refusal(&world, &spec).await;
    assert!(matches!(
        &failure,
        StartFailure::MountSource { path, .. } if path.as_os_str() == "/no/such/source"
    ));
    assert!(!world.containers.folder(&id("c")).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn other_refusals_keep_the_runtimes_words() {
    let world = World::new();
    fs::write(world.rootfs().join("file"), "").expect("written");
    let spec = ContainerSpec {
        cwd: "/file".into(),
        ..world.sh("c", "exit 0")
    };
    let failure = refusal(&world, &spec).await;
    assert!(matches!(&failure, StartFailure::Runtime { raw } if raw.contains("/file")));
    check_kept(&world, "c", &failure).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_is_taken_until_it_is_removed() {
    let world = World::new();
    world.start(&world.spec("c", &["sleep", "1000"])).await;
    let second = world.containers.start(&world.sh("c", "exit 0")).await;
    assert!(matches!(second, Err(StartError::AlreadyExists { .. })));
    world.remove("c").await;
    assert_eq!(
        world.run(&world.sh("c", "exit 6")).await.status,
        ExitStatus::Code(6)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_that_cannot_run_or_dies_is_told() {
    let world = World::new();
    let mut config = world.config.clone();
    config.shim_command = vec!["/no/such/shim".into()];
    let absent = sutler_runtime::Containers::new(config.clone());
    let failed = absent.start(&world.sh("a", "exit 0")).await;
    assert!(
        matches!(failed, Err(StartError::SpawnShim { .. })),
        "{failed:?}"
    );
    config.shim_command = ["/bin/sh", "-c", "echo last words >&2; exit 1"]
        .map(Into::into)
        .into();
    let dying = sutler_runtime::Containers::new(config);
    let failed = dying.start(&world.sh("b", "exit 0")).await;
    assert!(matches!(failed, Err(StartError::ShimDied { words, .. }) if words == "last words"));
    for name in ["a", "b"] {
        world.remove(name).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn user_environment_folder_and_name_are_as_asked() {
    let world = World::new();
    let mut spec = world.sh(
        "c",
        "id -u; id -g; id -G; pwd; hostname; echo $COLOUR; echo $HOME",
    );
    spec.user = "app".into();
    spec.cwd = "/tmp".into();
    spec.hostname = Some("box".into());
    spec.env = vec![EnvVar::new("COLOUR", "blue")];
    assert_eq!(world.run(&spec).await.status, ExitStatus::Code(0));
    assert_eq!(
        world.stdout("c").await,
        "1000\n1001\n1001 6\n/tmp\nbox\nblue\n/srv/app\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_user_is_refused_before_anything_is_made() {
    let world = World::new();
    let spec = ContainerSpec {
        user: "nobody-here".into(),
        ..world.sh("c", "exit 0")
    };
    let refused = world.containers.start(&spec).await;
    assert!(matches!(
        refused,
        Err(StartError::ResolveUser {
            source: UserError::UnknownUser { .. },
            ..
        })
    ));
    assert!(!world.containers.folder(&id("c")).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_root_refuses_writes() {
    let world = World::new();
    let spec = world.sh("c", "echo x > /tmp/x || exit 30");
    let record = world
        .run(&ContainerSpec {
            readonly_rootfs: true,
            ..spec
        })
        .await;
    assert_eq!(record.status, ExitStatus::Code(30));
    assert!(!world.rootfs().join("tmp/x").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_inherits_nothing_but_its_three_standard_files() {
    let world = World::new();
    // The shell opens the folder to list it, hence the second look.
    let script = "for f in /proc/1/fd/*; do test -e $f && echo ${f##*/}; done; exit 0";
    world.run(&world.sh("c", script)).await;
    assert_eq!(world.stdout("c").await, "0\n1\n2\n");
}
