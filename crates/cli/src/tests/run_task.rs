//! `sutler run` against a fake master: output, exit status, Ctrl-C, broken connections.

use std::time::Duration;

use axum::response::Response;
use sutler_api::task::{TaskState, TaskView};
use sutler_ids::{ErrorKind, Problem, SaidBy};
use tokio::sync::mpsc;

use super::fake::{Call, Captured, Fake, bytes, json, not_found, refuse, rests, sutler};
use super::sample::{exited, not_started, signalled, task};

const STDOUT: &str = "GET /v1/tasks/web/logs?stream=stdout&follow=true";
const STDERR: &str = "GET /v1/tasks/web/logs?stream=stderr&follow=true";

/// Whether a call asks for the task itself.
fn asks_task(call: &Call) -> bool {
    call.line == "GET /v1/tasks/web" || call.line.starts_with("GET /v1/tasks/web?")
}

/// A master whose task pulls, runs and ends as told, with `out` and `err` as its output.
async fn running(end: TaskView, out: &'static str, err: &'static str) -> Fake {
    Fake::start(move |call| match call.line.as_str() {
        "POST /v1/tasks" => json(&task(TaskState::Accepted)),
        STDOUT => bytes(&[out], false),
        STDERR => bytes(&[err], false),
        "GET /v1/tasks/web?seen_state=accepted" => json(&task(TaskState::Pulling)),
        "GET /v1/tasks/web?seen_state=pulling" => json(&task(TaskState::Running)),
        "GET /v1/tasks/web?seen_state=running" => json(&end),
        "GET /v1/tasks/web" => json(&task(TaskState::Accepted)),
        _ => not_found(call),
    })
    .await
}

#[tokio::test]
async fn output_goes_where_the_container_wrote_it_and_its_status_is_ours() {
    let fake = running(exited(7), "out\n", "err\n").await;
    let done = fake.sutler(&["run", "busybox", "sh", "-c", "x"]).await;
    assert_eq!(
        (done.status, done.stdout.as_str()),
        (7, "out\n"),
        "{}",
        done.stderr
    );
    assert_eq!(
        done.stderr,
        "task web: accepted\ntask web: pulling busybox\nerr\n"
    );
}

#[tokio::test]
async fn run_asks_once_for_each_state_and_pauses_after_none() {
    let fake = running(exited(0), "", "").await;
    assert_eq!(fake.sutler(&["run", "busybox"]).await.status, 0);
    let mut asked = fake.lines();
    asked.retain(|line| line.starts_with("GET /v1/tasks/web?"));
    // The end is asked for by the watcher and by each output.
    asked.dedup();
    let states = ["accepted", "pulling", "running"];
    assert_eq!(
        asked,
        states.map(|state| format!("GET /v1/tasks/web?seen_state={state}"))
    );
    assert!(!fake.lines().contains(&"GET /v1/tasks/web".to_owned()));
    assert!(rests().iter().all(Duration::is_zero), "{:?}", rests());
}

#[tokio::test]
async fn a_master_that_answers_at_once_without_news_is_asked_ever_less() {
    let fake = Fake::start(|call| match call.line.as_str() {
        "POST /v1/tasks" => json(&task(TaskState::Accepted)),
        _ if call.before < 3 => json(&task(TaskState::Accepted)),
        _ => json(&exited(0)),
    })
    .await;
    assert_eq!(fake.sutler(&["run", "busybox"]).await.status, 0);
    let rests = rests();
    assert_eq!(rests.len(), 3, "{rests:?}");
    assert!(rests.is_sorted() && !rests[0].is_zero(), "{rests:?}");
}

#[tokio::test]
async fn the_request_says_what_the_command_line_says() {
    let fake = running(exited(0), "", "").await;
    let done = fake
        .sutler(&[
            "run",
            "-v",
            "data:1G:fast:/data:ro",
            "--cpus",
            "0.5",
            "--mem",
            "64M",
            "-e",
            "A=b=c",
            "--name",
            "web",
            "--node",
            "n1",
            "--stop-grace",
            "3s",
            "--pull",
            "always",
            "busybox",
            "--",
            "sh",
            "-c",
            "echo -n",
        ])
        .await;
    assert_eq!(done.status, 0, "{}", done.stderr);
    let body: serde_json::Value = serde_json::from_str(&fake.calls()[0].body).unwrap();
    insta::assert_json_snapshot!("run_request", body);
}

#[tokio::test]
async fn each_end_has_its_exit_status_and_words() {
    let runtime = |kind, what: &str| {
        Problem::new(kind, what)
            .said_by(SaidBy::Runtime)
            .raw("exec")
    };
    let no_command = runtime(
        ErrorKind::NotFound,
        "command \"x\" not found in the container",
    );
    let no_exec = runtime(ErrorKind::Invalid, "command \"x\" cannot be executed");
    let no_image = Problem::new(ErrorKind::NotFound, "no image x")
        .said_by(SaidBy::Registry("example.org".to_owned()))
        .raw("404");
    for (end, status, words) in [
        (exited(0), 0, ""),
        (exited(255), 255, ""),
        (
            signalled(TaskState::Failed, 9, true),
            137,
            "the kernel killed task web: it was out of its memory of 64M",
        ),
        (
            signalled(TaskState::Failed, 11, false),
            139,
            "was ended by signal 11",
        ),
        (signalled(TaskState::Killed, 15, false), 143, ""),
        (not_started(no_command), 127, "not found in the container"),
        (not_started(no_exec), 126, "cannot be executed"),
        (not_started(no_image), 125, "registry example.org says:"),
        (task(TaskState::Failed), 125, "failed without a reason"),
        (
            task(TaskState::Killed),
            130,
            "stopped before its container ran",
        ),
    ] {
        let text = format!("{end:?}");
        let fake = running(end.clone(), "", "").await;
        let done = fake.sutler(&["run", "busybox"]).await;
        assert_eq!(done.status, status, "{text}: {}", done.stderr);
        assert!(done.stderr.contains(words), "{text}: {}", done.stderr);
        let fake = running(end, "", "").await;
        let done = fake.sutler(&["--json", "run", "busybox"]).await;
        assert_eq!(done.status, status);
        if !words.is_empty() {
            let told: serde_json::Value = serde_json::from_str(&done.stderr).expect("one object");
            assert_eq!(told["exit_status"], status);
        }
    }
}

#[tokio::test]
async fn a_refusal_is_never_taken_for_the_containers_status() {
    let fake = Fake::start(|_| {
        let what = "volume data is held by task db on node web-1";
        refuse(409, &Problem::new(ErrorKind::Conflict, what))
    })
    .await;
    let done = fake.sutler(&["run", "-v", "data:/data", "busybox"]).await;
    assert_eq!(done.status, 125);
    assert!(done.stderr.contains("held by task db"), "{}", done.stderr);
    let done = fake
        .sutler(&["run", "-d", "-v", "data:/data", "busybox"])
        .await;
    assert_eq!(done.status, 4);
}

#[tokio::test]
async fn output_goes_on_after_a_broken_connection_without_gap_or_repeat() {
    let fake = Fake::start(|call| match call.line.as_str() {
        "POST /v1/tasks" => json(&task(TaskState::Running)),
        // Broken in the middle, then whole again from its beginning.
        STDOUT if call.before == 0 => bytes(&["one ", "two "], true),
        STDOUT => bytes(&["one t", "wo three\n"], false),
        STDERR => bytes(&[], false),
        _ if asks_task(call) => json(&exited(0)),
        _ => not_found(call),
    })
    .await;
    let done = fake.sutler(&["run", "busybox"]).await;
    assert_eq!(
        (done.status, done.stdout.as_str()),
        (0, "one two three\n"),
        "{}",
        done.stderr
    );
}

#[tokio::test]
async fn output_that_cannot_be_had_is_said() {
    let fake = Fake::start(|call| match call.line.as_str() {
        "POST /v1/tasks" => json(&task(TaskState::Running)),
        STDOUT => refuse(
            500,
            &Problem::new(ErrorKind::Internal, "the log is damaged"),
        ),
        STDERR => bytes(&["err\n"], false),
        _ if asks_task(call) => json(&exited(0)),
        _ => not_found(call),
    })
    .await;
    let done = fake.sutler(&["run", "busybox"]).await;
    assert_eq!(done.status, 0);
    assert!(
        done.stderr
            .contains("warning: some output of the task is not shown: the log is")
    );
    assert!(done.stderr.contains("err\n"), "{}", done.stderr);
}

/// A master whose task runs until it is told to stop; `running` is told once it is seen.
async fn until_stopped(running: mpsc::Sender<()>, ends: bool) -> Fake {
    let stopped = std::sync::atomic::AtomicBool::new(false);
    Fake::start(move |call| -> Response {
        use std::sync::atomic::Ordering::SeqCst;
        match call.line.as_str() {
            "POST /v1/tasks" => json(&task(TaskState::Running)),
            "POST /v1/tasks/web/stop" => {
                stopped.store(true, SeqCst);
                let _ = running.try_send(());
                json(&task(TaskState::Stopping))
            }
            STDOUT | STDERR => bytes(&[], false),
            _ if stopped.load(SeqCst) && ends => json(&signalled(TaskState::Killed, 15, false)),
            _ => {
                let _ = running.try_send(());
                json(&task(TaskState::Running))
            }
        }
    })
    .await
}

#[tokio::test]
async fn ctrl_c_stops_the_task_and_its_end_is_ours() {
    let (press, interrupts) = mpsc::channel(1);
    let fake = until_stopped(press, true).await;
    // The second press comes with the stop itself; the end may win or lose against it, so the
    // channel takes one press at a time and this master ends the task at once.
    let done = fake
        .sutler_interrupted(&["run", "busybox"], once(interrupts))
        .await;
    assert_eq!(done.status, 143, "{}", done.stderr);
    assert!(done.stderr.contains("stopping task web"), "{}", done.stderr);
    assert_eq!(
        fake.lines()
            .iter()
            .filter(|l| *l == "POST /v1/tasks/web/stop")
            .count(),
        1
    );
}

/// Lets only the first press through.
fn once(mut from: mpsc::Receiver<()>) -> mpsc::Receiver<()> {
    let (to, first) = mpsc::channel(1);
    tokio::spawn(async move {
        if from.recv().await.is_some() {
            let _ = to.send(()).await;
            to.closed().await;
        }
    });
    first
}

#[tokio::test]
async fn a_second_ctrl_c_leaves_the_task_to_itself() {
    let (press, interrupts) = mpsc::channel(1);
    let fake = until_stopped(press, false).await;
    let done = fake
        .sutler_interrupted(&["run", "busybox"], interrupts)
        .await;
    assert_eq!(done.status, 3, "{}", done.stderr);
    assert!(
        done.stderr
            .contains("hint: look again: sutler task show web"),
        "{}",
        done.stderr
    );
}

#[tokio::test]
async fn detach_returns_once_the_container_runs() {
    let fake = running(exited(0), "", "").await;
    let done = fake.sutler(&["run", "-d", "--no-wait", "busybox"]).await;
    assert_eq!((done.status, done.stdout.as_str()), (0, "web\n"));
    assert_eq!(fake.lines(), ["POST /v1/tasks"]);
    let fake = Fake::start(|call| match call.line.as_str() {
        "POST /v1/tasks" => json(&task(TaskState::Accepted)),
        _ if call.before == 0 => json(&task(TaskState::Preparing)),
        _ => json(&task(TaskState::Running)),
    })
    .await;
    let done = fake.sutler(&["run", "-d", "busybox"]).await;
    assert_eq!((done.status, done.stdout.as_str()), (0, "web\n"));
    assert_eq!(done.stderr, "task web: making its volumes ready\n");
}

#[tokio::test]
async fn detach_tells_a_start_that_failed() {
    let end = not_started(Problem::new(ErrorKind::Unavailable, "no such image"));
    let fake = Fake::start(move |_| json(&end)).await;
    let done = fake.sutler(&["--json", "run", "-d", "busybox"]).await;
    let told: serde_json::Value = serde_json::from_str(&done.stderr).expect("one object");
    assert_eq!((done.status, &told["exit_status"]), (1, &1.into()));
    let done = fake.sutler(&["run", "-d", "busybox"]).await;
    assert_eq!((done.status, done.stdout.as_str()), (1, "web\n"));
    assert!(
        done.stderr
            .contains("error: no such image\nhint: sutler task show web")
    );
}

#[tokio::test]
async fn json_prints_the_task_and_leaves_its_output_in_the_log() {
    let fake = running(exited(3), "out\n", "err\n").await;
    let done = fake.sutler(&["run", "--json", "busybox"]).await;
    let told: TaskView = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!((done.status, told), (3, exited(3)));
    assert!(
        fake.lines().iter().all(|line| !line.contains("/logs")),
        "{:?}",
        fake.lines()
    );
}

#[tokio::test]
async fn a_reader_that_goes_away_does_not_change_the_status() {
    let fake = running(exited(7), "out\n", "").await;
    let state_dir = fake.state_dir();
    let (_keep, interrupts) = mpsc::channel(1);
    let arguments = [
        "sutler",
        "--state-dir",
        state_dir.to_str().unwrap(),
        "run",
        "busybox",
    ];
    let to = Captured {
        closed: true,
        ..Captured::default()
    };
    assert_eq!(sutler(&arguments, to, interrupts).await.status, 7);
}

#[tokio::test]
async fn stop_waits_for_the_end() {
    let fake = Fake::start(|call| match call.line.as_str() {
        "POST /v1/tasks/web/stop" => json(&task(TaskState::Stopping)),
        _ if call.before == 0 => json(&task(TaskState::Releasing)),
        _ => json(&signalled(TaskState::Killed, 15, false)),
    })
    .await;
    let done = fake.sutler(&["task", "stop", "web"]).await;
    assert_eq!((done.status, done.stdout.as_str()), (0, "web\n"));
    assert_eq!(
        done.stderr,
        "task web has its stop signal; it is killed if it has not ended after its grace\n\
         task web: releasing\n"
    );
}

#[tokio::test]
async fn logs_ask_for_what_was_asked_for() {
    for (arguments, query) in [
        (
            &["task", "logs", "web"][..],
            "/v1/tasks/web/logs?stream=both&follow=false",
        ),
        (
            &["task", "logs", "-f", "--tail", "5", "--stderr", "web"][..],
            "/v1/tasks/web/logs?stream=stderr&follow=true&tail=5",
        ),
        (
            &["plugin", "logs", "nfs", "--agent", "a", "--stdout"][..],
            "/v1/plugins/nfs/logs?agent=a&stream=stdout&follow=false",
        ),
    ] {
        let fake = Fake::start(|_| bytes(&["a\n", "b"], false)).await;
        let done = fake.sutler(arguments).await;
        assert_eq!((done.status, done.stdout.as_str()), (0, "a\nb"));
        assert_eq!(fake.lines(), [format!("GET {query}")]);
    }
    let fake = Fake::start(|_| bytes(&["a\n"], false)).await;
    let done = fake.sutler(&["task", "logs", "web", "--json"]).await;
    assert_eq!(done.stdout, "{\n  \"output\": \"a\\n\"\n}\n");
    assert_eq!(
        fake.sutler(&["task", "logs", "-f", "web", "--json"])
            .await
            .status,
        2
    );
}

#[tokio::test]
async fn a_broken_log_is_a_failure_and_not_a_short_log() {
    let fake = Fake::start(|_| bytes(&["a\n"], true)).await;
    let done = fake.sutler(&["task", "logs", "web"]).await;
    assert_eq!(done.status, 1);
    assert!(
        done.stderr.contains("lost the connection to the master"),
        "{}",
        done.stderr
    );
}
