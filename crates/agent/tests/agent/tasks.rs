//! Tasks from the master's wish to their recorded end.

use sutler_api::agent::{AgentQuery, DesiredTask, TaskReport, ToAgent};
use sutler_api::task::{LogQuery, LogStream, TaskState};
use sutler_ids::ErrorKind;

use crate::world::World;

fn logs(stream: LogStream) -> LogQuery {
    LogQuery {
        stream,
        ..LogQuery::default()
    }
}

#[test]
fn a_task_runs_and_its_end_and_output_are_told_exactly() {
    let world = World::new();
    world.run(async {
        let spec = world.task("t1", "echo out; echo err >&2; exit 3");
        let id = spec.task_id.clone();
        world.master.run(spec);
        let report = world.master.wait_end(&id).await;
        assert_eq!(report.state, TaskState::Failed);
        assert_eq!(report.exit.and_then(|exit| exit.code), Some(3));
        assert!(report.started_at.is_some() && report.started_at < report.ended_at);
        assert!(
            report
                .image_digest
                .is_some_and(|digest| digest.starts_with("sha256:"))
        );
        // A state that is over before it could be told is never told.
        let mut in_order = [
            TaskState::Pulling,
            TaskState::Starting,
            TaskState::Running,
            TaskState::Releasing,
            TaskState::Failed,
        ]
        .iter();
        let told = world.master.states(&id);
        let follows = |state: &TaskState| in_order.any(|next| next == state);
        assert!(told.iter().all(follows), "{told:?}");
        assert_eq!(told.last(), Some(&TaskState::Failed), "{told:?}");
        let ask = async |stream| {
            let query = AgentQuery::TaskLogs {
                task_id: id.clone(),
                log: logs(stream),
            };
            world.master.ask(query).await
        };
        assert_eq!(ask(LogStream::Stdout).await, "out\n");
        assert_eq!(ask(LogStream::Stderr).await, "err\n");
        assert_eq!(ask(LogStream::Both).await.len(), "out\nerr\n".len());
    });
}

#[test]
fn a_followed_log_ends_with_its_container() {
    let world = World::new();
    world.run(async {
        let spec = world.task("t1", "echo a; sleep 1; echo b");
        let id = spec.task_id.clone();
        world.master.run(spec);
        world
            .master
            .wait_task(&id, |r| r.state == TaskState::Running)
            .await;
        let log = LogQuery {
            follow: true,
            ..LogQuery::default()
        };
        let told = world
            .master
            .ask(AgentQuery::TaskLogs {
                task_id: id.clone(),
                log,
            })
            .await;
        assert_eq!(told, "a\nb\n");
    });
}

#[test]
fn a_forgotten_task_leaves_nothing() {
    let world = World::new();
    world.run(async {
        let spec = world.task("t1", "true");
        let (id, instance) = (spec.task_id.clone(), spec.instance);
        world.master.run(spec);
        assert_eq!(world.master.wait_end(&id).await.state, TaskState::Finished);
        let folder = world.agent_dir().join("containers/task-t1");
        assert!(folder.exists(), "its logs are kept until it is forgotten");
        assert!(!world.agent_dir().join("rootfs/task-t1").exists());
        world.master.want(|desired| desired.tasks.clear());
        world.master.say(&ToAgent::ForgetTask {
            task_id: id.clone(),
            instance,
        });
        // A later task goes the whole way, so by its end the earlier wish is carried out.
        let next = world.task("t2", "true");
        let next_id = next.task_id.clone();
        world.master.run(next);
        world.master.wait_end(&next_id).await;
        assert!(!folder.exists(), "the folder of a forgotten task stays");
    });
}

#[test]
fn what_cannot_start_says_why() {
    let world = World::new();
    world.run(async {
        let mut absent = world.task("absent", "");
        absent.image = "oci:/nowhere".to_owned();
        let mut malformed = world.task("malformed", "");
        malformed.image = "UPPER CASE".to_owned();
        let mut command = world.task("command", "");
        command.command = vec!["no-such-command".to_owned()];
        let mut none = world.task("none", "");
        none.command.clear();
        for (spec, kind, what) in [
            (absent, ErrorKind::NotFound, "does not exist"),
            (malformed, ErrorKind::Invalid, "is not a reference"),
            (
                command,
                ErrorKind::NotFound,
                "\"no-such-command\" of task command is not in",
            ),
            (none, ErrorKind::Invalid, "names no command"),
        ] {
            let id = spec.task_id.clone();
            world.master.run(spec);
            let report = world.master.wait_end(&id).await;
            assert_eq!(report.state, TaskState::Failed, "{id}");
            let problem = report.problem.expect("a reason");
            assert_eq!(problem.kind, kind, "{problem:?}");
            assert!(problem.what.contains(what), "{problem:?}");
            assert_eq!(report.exit, None, "{id} never ran");
        }
    });
}

#[test]
fn a_stop_lets_the_task_end_itself_and_kills_one_that_does_not() {
    let world = World::new();
    world.run(async {
        let kind = world.task(
            "kind",
            "trap 'exit 7' TERM; echo trapped; while :; do sleep 0.1; done",
        );
        let mut deaf = world.task(
            "deaf",
            "trap '' TERM; echo trapped; while :; do sleep 0.1; done",
        );
        deaf.stop_grace_ms = 300;
        for (spec, code, signal) in [(kind, Some(7), None), (deaf, None, Some(9))] {
            let id = spec.task_id.clone();
            world.master.run(spec);
            world
                .master
                .wait_task(&id, |r| r.state == TaskState::Running)
                .await;
            // A signal that comes before the trap is set finds no handler.
            let said = || {
                world.master.ask(AgentQuery::TaskLogs {
                    task_id: id.clone(),
                    log: logs(LogStream::Stdout),
                })
            };
            while !said().await.contains("trapped") {
                tokio::task::yield_now().await;
            }
            world.master.stop(&id);
            let report = world.master.wait_end(&id).await;
            assert_eq!(report.state, TaskState::Killed, "{id}");
            let exit = report.exit.expect("it ran");
            assert_eq!((exit.code, exit.signal), (code, signal), "{id}");
        }
    });
}

#[test]
fn a_task_out_of_memory_is_told_as_such() {
    let world = World::new();
    world.run(async {
        let mut spec = world.task("big", "x=a; while :; do x=$x$x; done");
        spec.memory = Some(sutler_ids::Bytes::mib(16));
        let id = spec.task_id.clone();
        world.master.run(spec);
        let report = world.master.wait_end(&id).await;
        assert!(
            report.exit.is_some_and(|exit| exit.oom_killed),
            "{report:?}"
        );
        let problem = report.problem.expect("a reason");
        assert_eq!(
            problem.what,
            "task big needed more than its memory limit of 16M"
        );
    });
}

#[test]
fn a_task_that_the_master_does_not_know_is_ended_and_forgotten() {
    let world = World::new();
    world.run(async {
        let spec = world.task("t1", "sleep 1000");
        let id = spec.task_id.clone();
        world.master.run(spec);
        world
            .master
            .wait_task(&id, |r| r.state == TaskState::Running)
            .await;
        world.master.want(|desired| desired.tasks.clear());
        assert_eq!(world.master.wait_end(&id).await.state, TaskState::Killed);
    });
}

#[test]
fn a_later_task_of_the_same_id_begins_when_the_earlier_one_is_gone() {
    let world = World::new();
    world.run(async {
        let earlier = world.task("t1", "sleep 1000");
        let (id, old) = (earlier.task_id.clone(), earlier.instance);
        world.master.run(earlier);
        world
            .master
            .wait_task(&id, |r| r.state == TaskState::Running)
            .await;
        let later = world.task("t1", "echo later; exit 3");
        let new = later.instance;
        // As on a reconnection of a node that was away while the earlier one was forgotten.
        world.master.want(|desired| {
            desired.tasks = vec![DesiredTask {
                spec: later,
                stop: false,
            }];
        });
        let end = world
            .master
            .wait_task(&id, |r| r.instance == new && r.state.is_terminal())
            .await;
        assert_eq!(end.exit.and_then(|exit| exit.code), Some(3));
        let killed = |r: &TaskReport| r.instance == old && r.state == TaskState::Killed;
        world.master.wait_task(&id, killed).await;
        let query = AgentQuery::TaskLogs {
            task_id: id.clone(),
            log: logs(LogStream::Stdout),
        };
        assert_eq!(world.master.ask(query).await, "later\n");
        // A late word about the earlier one does nothing to the later.
        world.master.say(&ToAgent::ForgetTask {
            task_id: id.clone(),
            instance: old,
        });
        let query = AgentQuery::TaskLogs {
            task_id: id,
            log: logs(LogStream::Stdout),
        };
        assert_eq!(world.master.ask(query).await, "later\n");
    });
}
