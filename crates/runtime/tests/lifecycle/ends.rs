//! How containers end and how that is told.

use std::time::Duration;

use sutler_runtime::{ContainerError, ContainerSpec, Ended, ExitStatus, LogStream, Signal};

use crate::world::{PATIENCE, World, id, runs};

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_is_told_exactly() {
    let world = World::new();
    for code in [0, 1, 7, 255] {
        let name = format!("exit-{code}");
        let record = world.run(&world.sh(&name, &format!("exit {code}"))).await;
        assert_eq!(record.status, ExitStatus::Code(code));
        assert!(!record.oom_killed && record.started_at <= record.ended_at);
        assert_eq!(record.log_bytes_dropped, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ending_signal_is_told_exactly() {
    let world = World::new();
    world.start(&world.spec("c", &["sleep", "1000"])).await;
    world
        .containers
        .kill(&id("c"), Signal::KILL)
        .await
        .expect("signalled");
    let record = world.end("c").await;
    assert_eq!(record.status, ExitStatus::Signal(9));
    assert!(!record.oom_killed);
    // Once it has ended, more signals and stops change nothing.
    world
        .containers
        .kill(&id("c"), Signal::TERM)
        .await
        .expect("nothing to do");
    let again = world
        .containers
        .stop(&id("c"), Duration::ZERO, None)
        .await
        .expect("ended");
    assert_eq!(again, Ended::Exited(record));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graceful_stop_lets_the_container_finish() {
    let world = World::new();
    let script = "trap 'echo bye; exit 3' TERM; echo ready; sleep 1000 & wait";
    world.start(&world.sh("c", script)).await;
    world.wait_for("c", "ready").await;
    let ended = world
        .containers
        .stop(&id("c"), PATIENCE, None)
        .await
        .expect("stopped");
    assert!(matches!(ended, Ended::Exited(r) if r.status == ExitStatus::Code(3)));
    assert_eq!(world.stdout("c").await, "ready\nbye\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_sends_the_images_own_signal() {
    let world = World::new();
    let script = "trap 'exit 4' QUIT; trap 'exit 5' TERM; echo ready; sleep 1000 & wait";
    let signal = Signal::parse("SIGQUIT").expect("known");
    world
        .start(&ContainerSpec {
            stop_signal: signal,
            ..world.sh("c", script)
        })
        .await;
    world.wait_for("c", "ready").await;
    let ended = world
        .containers
        .stop(&id("c"), PATIENCE, None)
        .await
        .expect("stopped");
    assert!(matches!(ended, Ended::Exited(r) if r.status == ExitStatus::Code(4)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_ignores_the_stop_is_killed_after_its_grace() {
    let world = World::new();
    world
        .start(&world.sh("c", "trap '' TERM; echo ready; sleep 1000"))
        .await;
    world.wait_for("c", "ready").await;
    let grace = Duration::from_millis(300);
    let before = std::time::Instant::now();
    let ended = world
        .containers
        .stop(&id("c"), grace, None)
        .await
        .expect("stopped");
    assert!(
        before.elapsed() >= grace,
        "killed before its grace was over"
    );
    assert!(matches!(ended, Ended::Exited(r) if r.status == ExitStatus::Signal(9)));
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_left_in_the_hosts_pid_space_end_with_the_container() {
    let world = World::new();
    let spec = world.sh("c", "sleep 1000 & echo $!");
    let record = world
        .run(&ContainerSpec {
            host_pid: true,
            ..spec
        })
        .await;
    assert_eq!(record.status, ExitStatus::Code(0));
    let pid: i32 = world
        .stdout("c")
        .await
        .trim()
        .parse()
        .expect("a pid of the host");
    assert!(!runs(pid), "process {pid} outlived its container");
    let left = world.cgroups("c");
    assert!(left.is_empty(), "{left:?}: {}", world.shim_words("c"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_waiter_hears_of_the_same_end() {
    let world = World::new();
    world.start(&world.sh("c", "exit 9")).await;
    let name = id("c");
    let (one, two) = tokio::join!(world.containers.wait(&name), world.containers.wait(&name));
    let (one, two) = (one.expect("ended"), two.expect("ended"));
    assert_eq!(one, two);
    assert!(matches!(one, Ended::Exited(r) if r.status == ExitStatus::Code(9)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_leaves_no_cgroup_and_removal_leaves_nothing() {
    let world = World::new();
    world.run(&world.sh("c", "exit 0")).await;
    assert!(world.cgroups("c").is_empty());
    world.remove("c").await;
    assert!(!world.containers.folder(&id("c")).exists());
    assert!(!world.config.runtime.has_state(&id("c")));
    world.remove("c").await;
    let gone = world.containers.wait(&id("c")).await;
    assert!(matches!(gone, Err(ContainerError::NotFound { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn removal_ends_a_running_container() {
    let world = World::new();
    let started = world.start(&world.spec("c", &["sleep", "1000"])).await;
    let shim = world.shim_pid("c");
    world.remove("c").await;
    assert!(!runs(started.pid) && !runs(shim));
    assert!(world.cgroups("c").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn removal_refuses_while_something_is_mounted_in_the_folder() {
    let mut world = World::new();
    world.start(&world.sh("c", "echo kept; sleep 1000")).await;
    world.wait_for("c", "kept").await;
    let inside = world.containers.folder(&id("c")).join("rootfs");
    std::fs::create_dir(&inside).expect("made");
    rustix::mount::mount_bind(world.rootfs(), &inside).expect("mounted");
    world.undo_mount(&inside);
    let refused = world.containers.remove(&id("c")).await;
    assert!(
        matches!(&refused, Err(ContainerError::StillMounted { path, .. }) if *path == inside),
        "{refused:?}"
    );
    assert_eq!(world.log("c", LogStream::Stdout).await, "kept\n");
    assert!(
        runs(world.shim_pid("c")),
        "a refused removal ended the container"
    );
    rustix::mount::unmount(&inside, rustix::mount::UnmountFlags::empty()).expect("unmounted");
    world.remove("c").await;
    assert!(world.rootfs().join("bin/busybox").exists());
}
