//! Ends of the agent, wanted and unwanted: containers run on, and nothing is done twice.

use std::fs;
use std::time::{Duration, Instant};

use sutler_agent::StartError;
use sutler_api::agent::{AgentQuery, TaskReport, Update};
use sutler_api::task::{LogQuery, TaskState};
use sutler_store::{Batch, OpenError, Schema, Store, Table};
use sutler_testkit::poll::until;

use crate::world::World;

#[test]
fn an_agent_that_ends_with_nothing_running_leaves_no_cgroup_and_no_sockets() {
    let mut world = World::new();
    let ended = world.task("ended", "echo kept");
    let running = world.task("running", "trap exit TERM; while :; do sleep 0.1; done");
    let (ended_id, running_id) = (ended.task_id.clone(), running.task_id.clone());
    world.run(async {
        world.master.run(ended);
        world.master.wait_end(&ended_id).await;
        world.master.run(running);
        let runs = |r: &TaskReport| r.state == TaskState::Running;
        world.master.wait_task(&running_id, runs).await;
    });
    world.shut_down();
    let cgroups = world.cgroups();
    assert_ne!(cgroups, [] as [std::path::PathBuf; 0], "one runs in it");
    assert!(world.run_folder().is_some(), "one runs");

    world.start().expect("it starts again");
    world.run(async {
        world.master.stop(&running_id);
        world.master.wait_end(&running_id).await;
    });
    world.shut_down();
    let left: Vec<_> = cgroups.iter().filter(|folder| folder.exists()).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(world.run_folder(), None);

    world.master.forget_updates();
    world.start().expect("it starts again");
    let told = world.run(async {
        world.master.wait_end(&ended_id).await;
        let logs = AgentQuery::TaskLogs {
            task_id: ended_id,
            log: LogQuery::default(),
        };
        world.master.ask(logs).await
    });
    assert_eq!(told, "kept\n", "what has ended is kept");
}

#[test]
fn a_task_outlives_the_agent_and_its_end_is_known() {
    for crash in [false, true] {
        let mut world = World::new();
        let running = world.task(
            "long",
            "echo started; while [ ! -e /end ]; do sleep 0.1; done",
        );
        let short = world.task("short", "sleep 1; exit 5");
        let (long_id, short_id) = (running.task_id.clone(), short.task_id.clone());
        world.run(async {
            world.master.run(running);
            world.master.run(short);
            world
                .master
                .wait_task(&long_id, |r| r.state == TaskState::Running)
                .await;
            world
                .master
                .wait_task(&short_id, |r| r.state == TaskState::Running)
                .await;
        });
        if crash {
            world.crash();
        } else {
            world.shut_down();
        }
        // The short one ends while nobody looks: its shim keeps how.
        let exit = world.agent_dir().join("containers/task-short/exit.json");
        let ended = || exit.exists().then_some(()).ok_or("it runs");
        until("the short task has ended", Duration::from_secs(30), ended).expect("it ends");
        world.master.forget_updates();
        world.start().expect("it starts again");
        world.run(async {
            let told = world.master.wait_end(&short_id).await;
            assert_eq!(told.exit.and_then(|exit| exit.code), Some(5));
            world
                .master
                .wait_task(&long_id, |r| r.state == TaskState::Running)
                .await;
            let end = world.agent_dir().join("rootfs/task-long/rootfs/end");
            fs::write(end, "").expect("its file system is mounted");
            assert_eq!(
                world.master.wait_end(&long_id).await.state,
                TaskState::Finished
            );
            let log = LogQuery::default();
            let query = AgentQuery::TaskLogs {
                task_id: long_id.clone(),
                log,
            };
            assert_eq!(
                world.master.ask(query).await,
                "started\n",
                "it was started once"
            );
            let registers = world.master.registers();
            assert_ne!(registers[0].incarnation, registers[1].incarnation);
            assert!(registers[0].agent_id.is_none() && registers[1].agent_id.is_some());
        });
    }
}

#[test]
fn a_start_whose_trace_a_power_cut_took_is_not_repeated() {
    let mut world = World::new();
    let spec = world.task("once", "true");
    let task_id = spec.task_id.clone();
    world.run(async {
        world.master.run(spec);
        world.master.wait_end(&task_id).await;
    });
    world.shut_down();
    let trace = world.agent_dir().join("containers/task-once");
    fs::remove_dir_all(trace).expect("the container's folder");
    world.run(as_of_an_earlier_boot(
        world.agent_dir().join("journal.redb"),
    ));
    world.master.forget_updates();
    world.start().expect("it starts again");
    let end = world.run(world.master.wait_end(&task_id));
    assert_eq!(end.state, TaskState::Failed);
    let problem = end.problem.expect("a reason");
    assert!(problem.what.contains("was started again"), "{problem}");
}

/// Sets the journal back to the moment before its only task's start, in an earlier boot.
async fn as_of_an_earlier_boot(journal: std::path::PathBuf) {
    let schema = Schema {
        kind: "agent",
        version: 2,
    };
    let store = Store::open(&journal, schema).expect("the agent has ended");
    let (key, value) = store.load(Table("tasks")).expect("tasks").records.remove(0);
    let mut record: serde_json::Value = serde_json::from_slice(&value).expect("JSON");
    let digest = record["stage"]["ended"]["digest"].take();
    record["stage"] = serde_json::json!({ "starting": { "digest": digest } });
    let mut batch = Batch::new();
    batch.put(Table("tasks"), &key, &record);
    let boot = serde_json::json!({ "boot_id": "an earlier one" });
    batch.put(Table("node"), "boot", &boot);
    store.commit(batch).await.expect("written");
}

#[test]
fn an_agent_that_forgot_who_it_is_refuses_and_changes_nothing() {
    let mut world = World::new();
    world.run(world.master.wait_registers(1));
    let task = world.task("before", "true");
    let task_id = task.task_id.clone();
    world.master.run(task);
    world.run(world.master.wait_end(&task_id));
    world.shut_down();
    let journal = world.agent_dir().join("journal.redb");
    world.run(async {
        let schema = Schema {
            kind: "agent",
            version: 2,
        };
        let store = Store::open(&journal, schema).expect("the agent has ended");
        let mut batch = Batch::new();
        batch.put(Table("node"), "identity", &"no identity");
        store.commit(batch).await.expect("written");
    });
    for _ in 0..2 {
        let refused = world.start();
        assert!(
            matches!(&refused, Err(StartError::DamagedIdentity { .. })),
            "{refused:?}"
        );
    }
}

#[test]
fn two_agents_cannot_share_a_state_directory() {
    let world = World::new();
    let second = world.run(sutler_agent::Agent::start(world.config()));
    match second {
        Err(StartError::OpenJournal {
            source: OpenError::Locked { .. },
        })
        | Err(StartError::OpenImages { .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_master_that_refuses_what_is_told_is_asked_ever_more_seldom() {
    let mut world = World::without_agent();
    world.master.refuse_updates(true);
    world.start().expect("the agent starts");
    let since = Instant::now();
    world.run(world.master.wait_registers(5));
    // Four pauses of 100 ms, each twice as long as the one before.
    assert!(since.elapsed() >= Duration::from_millis(1500));
    world.master.refuse_updates(false);
    let task = world.task("after", "true");
    let task_id = task.task_id.clone();
    world.master.run(task);
    world.run(world.master.wait_end(&task_id));
}

#[test]
fn an_agent_of_another_cluster_refuses_and_names_both() {
    let mut world = World::new();
    world.run(world.master.wait("the first link", |updates| {
        (!updates.is_empty()).then_some(())
    }));
    world.shut_down();
    let other = world.run(crate::master::Master::start());
    let ours = std::mem::replace(&mut world.master, other);
    world
        .start()
        .expect("it starts, and then meets the wrong master");
    let outcome = {
        let handle = world.handle();
        let end = tokio::runtime::Runtime::new()
            .expect("a runtime")
            .block_on(handle.ended());
        format!("{end:?}")
    };
    assert!(outcome.contains("OtherCluster"), "{outcome}");
    drop(ours);
}

#[test]
fn a_full_disk_is_told_and_overcome_without_help() {
    let mut world = World::without_agent();
    let filler = world.on_small_disk("64m").join("filler");
    world.start().expect("the agent starts");
    world.run(async {
        let first = world.task("first", "true");
        let first_id = first.task_id.clone();
        world.master.run(first);
        world.master.wait_end(&first_id).await;
        fill(&filler);
        // Larger than what the journal's file has to spare. Too large to be run, too: its end is
        // a failure, and is told once it can be recorded.
        let mut second = world.task("second", "true");
        second.env.insert("LARGE".to_owned(), "x".repeat(6 << 20));
        let second_id = second.task_id.clone();
        world.master.run(second);
        let troubled = world
            .master
            .wait("the full disk", |updates| {
                updates.iter().find_map(|update| match update {
                    Update::Agent { problem } => problem.clone(),
                    _ => None,
                })
            })
            .await;
        assert!(
            troubled
                .what
                .contains("journal.redb of agent a cannot be written"),
            "{troubled}"
        );
        assert!(
            troubled
                .raw
                .is_some_and(|raw| raw.contains("no space left"))
        );
        assert_eq!(
            world.master.states(&second_id),
            [],
            "told of a task that is not recorded"
        );
        fs::remove_file(&filler).expect("it is there");
        assert_eq!(
            world.master.wait_end(&second_id).await.state,
            TaskState::Failed
        );
        let third = world.task("third", "true");
        let third_id = third.task_id.clone();
        world.master.run(third);
        assert_eq!(
            world.master.wait_end(&third_id).await.state,
            TaskState::Finished
        );
    });
}

fn fill(path: &std::path::Path) {
    use std::io::Write;
    let mut file = fs::File::create(path).expect("a file");
    let block = vec![1_u8; 4096];
    while file.write_all(&block).is_ok() {}
}
