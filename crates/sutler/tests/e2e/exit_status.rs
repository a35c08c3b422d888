//! How a task ended, told exactly: status, signal, want of memory, and why it did not start.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sutler_testkit::world::World;

use crate::{SOON, alone, config, up};

fn run(world: &World, options: &[&str], command: &[&str]) -> sutler_testkit::world::Told {
    let image = world.image("busybox");
    world.sutler(&[&["run"], options, &[image.as_str(), "--"], command].concat())
}

#[test]
fn run_ends_as_its_container_does() {
    let _alone = alone();
    let world = World::up(config().without_local()).expect("the cluster comes up");
    run(&world, &[], &["sh", "-c", "echo out; echo err >&2; exit 3"]).expect(3, &["out", "err"]);
    run(&world, &[], &["no-such-command"]).expect(127, &["no-such-command"]);
    run(&world, &[], &["/etc/passwd"]).expect(126, &["/etc/passwd"]);
    let told = run(
        &world,
        &["--name", "streams"],
        &["sh", "-c", "echo o; echo e >&2"],
    );
    assert_eq!((told.stdout.as_str(), told.code), ("o\n", Some(0)));
    assert_eq!(world.ok(&["task", "logs", "streams", "--stderr"]), "e\n");
}

#[test]
fn want_of_memory_is_told_as_such() {
    let _alone = alone();
    let world = World::up(config().without_local()).expect("the cluster comes up");
    let told = run(
        &world,
        &["--name", "hog", "--mem", "32M"],
        &["tail", "/dev/zero"],
    );
    told.expect(137, &["memory"]);
    let task = world.json(&["task", "show", "hog"]).unwrap();
    assert_eq!(task["exit"]["oom_killed"], true, "{task}");
}

#[test]
fn a_container_that_a_signal_ended_is_told_with_its_signal() {
    let _alone = alone();
    let world = World::up(config().without_local()).expect("the cluster comes up");
    // From outside: the kernel keeps the first process from killing itself.
    run(
        &world,
        &["-d", "--name", "victim"],
        &["tail", "-f", "/dev/null"],
    )
    .expect(0, &[]);
    world.wait_task("victim", "running", SOON).unwrap();
    let container = world
        .containers()
        .into_iter()
        .find(|c| c.id.contains("victim"));
    let init = container
        .and_then(|c| c.init)
        .and_then(Pid::from_raw)
        .expect("it runs");
    kill_process(init, Signal::KILL).expect("it runs");
    let task = world.wait_task("victim", "failed", SOON).unwrap();
    assert_eq!(task["exit"]["signal"], 9, "{task}");
    assert_eq!(task["exit"]["oom_killed"], false, "{task}");
}

#[test]
fn environment_and_limits_reach_the_container() {
    let _alone = alone();
    let world = World::up(config().without_local()).expect("the cluster comes up");
    let told = run(
        &world,
        &["--env", "WORD=sesame"],
        &["sh", "-c", "echo $WORD"],
    );
    told.expect(0, &["sesame"]);
    run(&world, &["--mem", "nonsense"], &["true"]).expect(2, &["nonsense"]);
    run(&world, &["--cpus", "0"], &["true"]).expect(2, &["cpus"]);
}

#[test]
fn a_stopped_task_ends_by_its_signal_or_after_its_grace() {
    let _alone = alone();
    let world = World::up(config().without_local()).expect("the cluster comes up");
    let trap = "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.1; done";
    let polite = ["-d", "--name", "polite"];
    run(&world, &polite, &["sh", "-c", trap]).expect(0, &[]);
    world.wait_task("polite", "running", SOON).unwrap();
    world.ok(&["task", "stop", "polite"]);
    let task = world.wait_task("polite", "killed", SOON).unwrap();
    assert_eq!(task["exit"]["code"], 7, "{task}");
    assert!(world.ok(&["task", "logs", "polite"]).contains("bye"));

    let deaf = ["-d", "--name", "deaf", "--stop-grace", "300ms"];
    run(
        &world,
        &deaf,
        &["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"],
    )
    .expect(0, &[]);
    world.wait_task("deaf", "running", SOON).unwrap();
    world.ok(&["task", "stop", "deaf"]);
    let task = world.wait_task("deaf", "killed", SOON).unwrap();
    assert_eq!(task["exit"]["signal"], 9, "{task}");
}

#[test]
fn logs_are_followed_to_their_end() {
    let _alone = alone();
    let world = up();
    let count = "for i in 1 2 3 4 5; do echo line $i; sleep 0.1; done";
    run(&world, &["-d", "--name", "talker"], &["sh", "-c", count]).expect(0, &[]);
    let told = world.sutler_within(Duration::from_secs(20), &["task", "logs", "-f", "talker"]);
    told.expect(0, &["line 1", "line 5"]);
    assert_eq!(
        world.ok(&["task", "logs", "--tail", "1", "talker"]),
        "line 5\n"
    );
}
