//! Verbs that wait, against a fake master: what they ask, print and exit with.

use std::time::Duration;

use axum::response::IntoResponse;
use sutler_api::operation::{OperationKind, OperationState};
use sutler_api::plugin::{PluginInstanceView, PluginState};
use sutler_api::volume::{ClassView, VolumeState};
use sutler_ids::{ClassName, ErrorKind, Problem, SaidBy};
use tokio::sync::mpsc;

use super::fake::rests;
use super::fake::{Captured, Fake, json, not_found, refuse, sutler};
use super::sample::{
    UUID, accepted, broken_instance, class, exited, instance, operation, plugin, problem, volume,
};

const CREATE: [&str; 5] = ["volume", "create", "data", "--size", "10G"];

/// A master where creating `data` ends in `state` at the third question.
async fn creating(state: OperationState) -> Fake {
    let operation_line = format!("GET /v1/operations/{UUID}");
    Fake::start(move |call| match call.line.as_str() {
        "POST /v1/volumes" => json(&accepted(VolumeState::Creating)),
        "GET /v1/volumes/data" => json(&volume("data", VolumeState::Ready)),
        line if line == operation_line && call.before < 2 => json(&operation(
            OperationKind::CreateVolume,
            OperationState::Pending,
        )),
        line if line == operation_line => json(&operation(OperationKind::CreateVolume, state)),
        _ => not_found(call),
    })
    .await
}

#[tokio::test]
async fn create_waits_for_the_operation_and_prints_the_name() {
    let fake = creating(OperationState::Finished).await;
    let done = fake.sutler(&CREATE).await;
    assert_eq!(
        (done.status, done.stdout.as_str()),
        (0, "data\n"),
        "{}",
        done.stderr
    );
    assert_eq!(
        done.stderr,
        "volume data: create volume\nvolume data is ready: 10G of class local on node web-1\n"
    );
    let calls = fake.calls();
    let body: serde_json::Value = serde_json::from_str(&calls[0].body).unwrap();
    assert_eq!(
        (&body["name"], &body["size"]),
        (&"data".into(), &(10_u64 << 30).into())
    );
}

#[tokio::test]
async fn a_token_is_not_sent_without_tls_wherever_the_address_is_from() {
    let fake = creating(OperationState::Finished).await;
    let token = fake.state_dir().join("token");
    std::fs::write(&token, "s3cret\n").unwrap();
    let token = token.to_str().unwrap();
    let given = [
        "--master",
        fake.address(),
        "--token-file",
        token,
        "volume",
        "ls",
    ];
    let by_flag = fake.sutler(&given).await;
    let client = serde_json::json!({ "address": fake.address(), "token_file": "token" });
    std::fs::write(fake.state_dir().join("client.json"), client.to_string()).unwrap();
    let by_file = fake.sutler(&["volume", "ls"]).await;
    for done in [by_flag, by_file] {
        assert_eq!(done.status, 2, "{}", done.stderr);
        assert!(
            done.stderr.contains("the token is not sent to http://"),
            "{}",
            done.stderr
        );
        assert!(
            done.stderr.contains("hint: a master speaks only TLS"),
            "{}",
            done.stderr
        );
    }
    assert!(fake.calls().is_empty(), "nothing was sent at all");
}

#[tokio::test]
async fn a_failed_operation_is_told_with_cause_and_hint() {
    let fake = creating(OperationState::Failed).await;
    let done = fake.sutler(&CREATE).await;
    assert_eq!((done.status, done.stdout.as_str()), (1, ""));
    insta::assert_snapshot!("failed_operation", done.stderr);
}

#[tokio::test]
async fn a_failed_operation_is_one_json_document_all_the_same() {
    let fake = creating(OperationState::Failed).await;
    let done = fake.sutler(&[&["--json"][..], &CREATE].concat()).await;
    let told: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    let expected = operation(OperationKind::CreateVolume, OperationState::Failed);
    assert_eq!(
        (done.status, told),
        (1, serde_json::to_value(expected).unwrap())
    );
    let failure: serde_json::Value = serde_json::from_str(&done.stderr).unwrap();
    assert_eq!(failure["exit_status"], 1, "and nothing else on stderr");
}

#[tokio::test]
async fn no_wait_returns_the_operation_at_once() {
    let fake = creating(OperationState::Finished).await;
    let done = fake.sutler(&[&CREATE[..], &["--no-wait"]].concat()).await;
    assert_eq!((done.status, done.stdout), (0, format!("{UUID}\n")));
    assert_eq!(fake.lines(), ["POST /v1/volumes"]);
    assert!(
        done.stderr
            .contains(&format!("sutler operation show {UUID}")),
        "{}",
        done.stderr
    );
}

/// A master where nothing ever settles; tells each time it is asked for the operation.
async fn never(asked: mpsc::Sender<()>) -> Fake {
    Fake::start(move |call| match call.line.as_str() {
        "POST /v1/volumes" => json(&accepted(VolumeState::Creating)),
        _ => {
            let _ = asked.try_send(());
            json(&operation(
                OperationKind::CreateVolume,
                OperationState::Pending,
            ))
        }
    })
    .await
}

#[tokio::test]
async fn a_wait_that_times_out_says_how_to_look_again() {
    let (asked, _keep) = mpsc::channel(1);
    let fake = never(asked).await;
    let done = fake
        .sutler(&[&CREATE[..], &["--timeout", "300ms"]].concat())
        .await;
    assert_eq!((done.status, done.stdout.as_str()), (3, ""));
    insta::assert_snapshot!("timed_out", done.stderr);
}

#[tokio::test]
async fn ctrl_c_leaves_a_wait_and_changes_nothing() {
    // The fake master itself presses Ctrl-C when it is asked.
    let (press, interrupts) = mpsc::channel(1);
    let fake = never(press).await;
    let done = fake.sutler_interrupted(&CREATE, interrupts).await;
    assert_eq!(done.status, 3);
    assert!(
        done.stderr.contains("it goes on without us"),
        "{}",
        done.stderr
    );
    assert!(
        done.stderr
            .contains(&format!("hint: look again: sutler operation show {UUID}"))
    );
    assert!(
        fake.lines()
            .iter()
            .all(|line| !line.contains("stop") && !line.contains("DELETE"))
    );
}

#[tokio::test]
async fn a_wait_outlives_a_master_that_is_away_for_a_while() {
    let operation_line = format!("GET /v1/operations/{UUID}");
    let fake = Fake::start(move |call| match call.line.as_str() {
        "POST /v1/volumes" => json(&accepted(VolumeState::Creating)),
        "GET /v1/volumes/data" => json(&volume("data", VolumeState::Ready)),
        line if line == operation_line && call.before == 0 => refuse(
            503,
            &Problem::new(ErrorKind::Unavailable, "the master is starting"),
        ),
        _ => json(&operation(
            OperationKind::CreateVolume,
            OperationState::Finished,
        )),
    })
    .await;
    let done = fake.sutler(&CREATE).await;
    assert_eq!(
        (done.status, done.stdout.as_str()),
        (0, "data\n"),
        "{}",
        done.stderr
    );
    assert!(
        done.stderr.contains("the master is starting; trying again"),
        "{}",
        done.stderr
    );
}

#[tokio::test]
async fn the_kind_of_a_refusal_decides_the_exit_status() {
    for (http, kind, exit) in [
        (400, ErrorKind::Invalid, 2),
        (401, ErrorKind::Unauthorized, 1),
        (404, ErrorKind::NotFound, 1),
        (409, ErrorKind::Conflict, 4),
        (503, ErrorKind::Unavailable, 1),
        (507, ErrorKind::Exhausted, 1),
        (500, ErrorKind::Internal, 1),
    ] {
        let fake = Fake::start(move |_| refuse(http, &Problem::new(kind, "volume data: no"))).await;
        let done = fake.sutler(&["volume", "rm", "data"]).await;
        assert_eq!(done.status, exit, "{kind:?}");
        assert!(
            done.stderr.starts_with("error: volume data: no\n"),
            "{}",
            done.stderr
        );
    }
}

#[tokio::test]
async fn who_said_it_and_the_raw_text_are_told() {
    for said_by in [
        SaidBy::Kernel,
        SaidBy::Runtime,
        SaidBy::Registry("registry.example.org".to_owned()),
        SaidBy::Sutler,
    ] {
        let name = format!("{said_by:?}");
        let problem = Problem::new(ErrorKind::Internal, "it failed")
            .said_by(said_by)
            .raw("first\n\u{1b}[31msecond\n");
        let fake = Fake::start(move |_| refuse(500, &problem)).await;
        let done = fake.sutler(&["volume", "ls"]).await;
        let name = name.split('(').next().unwrap();
        insta::assert_snapshot!(format!("said_by_{name}"), done.stderr);
    }
}

#[tokio::test]
async fn an_unreachable_master_and_a_foreign_one_are_told_apart() {
    let fake =
        Fake::start(|_| (axum::http::StatusCode::BAD_GATEWAY, "<html>").into_response()).await;
    let done = fake.sutler(&["volume", "ls"]).await;
    let text = done.stderr.replace(fake.address(), "http://MASTER");
    insta::assert_snapshot!("foreign_master", text);

    // A port that was bound and is free again refuses connections.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let address = format!("http://{free}");
    let done = fake.sutler(&["--master", &address, "volume", "ls"]).await;
    assert_eq!(done.status, 1);
    insta::assert_snapshot!(
        "unreachable_master",
        done.stderr.replace(&address, "http://MASTER")
    );
}

#[tokio::test]
async fn json_is_what_the_api_gave() {
    let list = vec![volume("data", VolumeState::Ready)];
    let expected = serde_json::to_value(&list).unwrap();
    let fake = Fake::start(move |_| json(&list)).await;
    let done = fake.sutler(&["volume", "ls", "--json"]).await;
    assert_eq!(done.status, 0, "{}", done.stderr);
    let told: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!((told, done.stderr.as_str()), (expected, ""));
}

#[tokio::test]
async fn a_list_is_read_to_its_end_page_after_page() {
    let of = |name: &str| volume(name, VolumeState::Ready);
    let fake = Fake::start(move |call| {
        let link = |path: &str| [("link", format!("<{path}>; rel=\"next\""))];
        match call.line.as_str() {
            "GET /v1/volumes" => {
                (link("/v1/volumes?after=a&limit=1"), json(&[of("a")])).into_response()
            }
            "GET /v1/volumes?after=a&limit=1" => {
                // No path of this master: not followed.
                (link("https://elsewhere/v1/volumes"), json(&[of("b")])).into_response()
            }
            other => panic!("{other}"),
        }
    })
    .await;
    let done = fake.sutler(&["volume", "ls", "--json"]).await;
    let told: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    let names = told.as_array().unwrap().iter().map(|v| v["name"].as_str());
    assert_eq!(names.collect::<Vec<_>>(), [Some("a"), Some("b")]);
}

#[tokio::test]
async fn a_closed_stdout_is_a_quiet_end() {
    let fake = Fake::start(|_| json(&vec![volume("data", VolumeState::Ready)])).await;
    let state_dir = fake.state_dir();
    let (_keep, interrupts) = mpsc::channel(1);
    let arguments = [
        "sutler",
        "--state-dir",
        state_dir.to_str().unwrap(),
        "volume",
        "ls",
    ];
    let to = Captured {
        closed: true,
        ..Captured::default()
    };
    let done = sutler(&arguments, to, interrupts).await;
    assert_eq!((done.status, done.stderr.as_str()), (0, ""));
}

#[tokio::test]
async fn rm_to_the_trash_waits_for_nothing_and_names_the_way_back() {
    let fake = Fake::start(|_| json(&accepted(VolumeState::Trashed))).await;
    let done = fake.sutler(&["volume", "rm", "data"]).await;
    assert_eq!((done.status, done.stdout.as_str()), (0, "data\n"));
    assert!(
        done.stderr.contains("sutler volume restore data"),
        "{}",
        done.stderr
    );
    assert_eq!(fake.lines(), ["DELETE /v1/volumes/data"]);
}

#[tokio::test]
async fn purge_is_done_when_volume_and_operation_have_left_the_books() {
    let fake = Fake::start(|call| match call.line.as_str() {
        "DELETE /v1/volumes/data?purge=true" => json(&accepted(VolumeState::Deleting)),
        _ => not_found(call),
    })
    .await;
    let done = fake.sutler(&["volume", "rm", "data", "--purge"]).await;
    assert_eq!(
        (done.status, done.stdout.as_str()),
        (0, "data\n"),
        "{}",
        done.stderr
    );
    assert!(
        done.stderr.contains("volume data is gone"),
        "{}",
        done.stderr
    );
}

#[tokio::test]
async fn an_operation_lost_while_its_volume_is_there_is_a_failure() {
    let fake = Fake::start(|call| match call.line.as_str() {
        "POST /v1/volumes" => json(&accepted(VolumeState::Creating)),
        "GET /v1/volumes/data" => json(&volume("data", VolumeState::Creating)),
        _ => not_found(call),
    })
    .await;
    let done = fake.sutler(&CREATE).await;
    assert_eq!(done.status, 1);
    assert!(
        done.stderr.contains(&format!("/v1/operations/{UUID}")),
        "{}",
        done.stderr
    );
}

#[tokio::test]
async fn plugin_add_waits_until_it_answers_everywhere() {
    let fake = Fake::start(|call| match call.line.as_str() {
        "POST /v1/plugins" => json(&plugin(Vec::new())),
        _ if call.before == 0 => json(&plugin(vec![instance("web-1", PluginState::Pulling)])),
        _ if call.before == 1 => json(&plugin(vec![
            instance("web-1", PluginState::Ready),
            instance("web-2", PluginState::Probing),
        ])),
        _ => json(&plugin(vec![
            instance("web-1", PluginState::Ready),
            instance("web-2", PluginState::Ready),
        ])),
    })
    .await;
    let done = fake
        .sutler(&[
            "plugin",
            "add",
            "registry.example.org/hostpathplugin:v1.17.0",
        ])
        .await;
    assert_eq!(
        (done.status, done.stdout.as_str()),
        (0, "hostpath\n"),
        "{}",
        done.stderr
    );
    insta::assert_snapshot!("plugin_added", done.stderr);
    assert_eq!(
        fake.lines()[1],
        "GET /v1/plugins/hostpathplugin?until=ready"
    );
}

#[tokio::test]
async fn plugin_add_tells_a_plugin_that_does_not_come_up() {
    let fake = Fake::start(|_| {
        json(&plugin(vec![
            instance("web-1", PluginState::Ready),
            broken_instance("db-1"),
        ]))
    })
    .await;
    let done = fake
        .sutler(&["plugin", "add", "example.org/hostpath"])
        .await;
    assert_eq!(done.status, 1);
    insta::assert_snapshot!("plugin_broken", done.stderr);
}

#[tokio::test]
async fn plugin_restart_waits_for_what_comes_after_and_not_for_what_was() {
    let later = |mut instance: PluginInstanceView| {
        instance.since += jiff::SignedDuration::from_secs(1);
        instance
    };
    for broken in [false, true] {
        let fake = Fake::start(move |call| match call.line.as_str() {
            "POST /v1/plugins/hostpath/restart" => {
                json(&plugin(vec![instance("web-1", PluginState::Ready)]))
            }
            // The agent has not heard of it; then it stops; then it is back.
            _ if call.before == 0 => json(&plugin(vec![instance("web-1", PluginState::Ready)])),
            _ if call.before == 1 => json(&plugin(vec![later(instance(
                "web-1",
                PluginState::Stopping,
            ))])),
            _ if broken => json(&plugin(vec![later(broken_instance("web-1"))])),
            _ => json(&plugin(vec![later(instance("web-1", PluginState::Ready))])),
        })
        .await;
        let done = fake.sutler(&["plugin", "restart", "hostpath"]).await;
        let expected = (u8::from(broken), "hostpath\n");
        assert_eq!(
            (done.status, done.stdout.as_str()),
            expected,
            "{}",
            done.stderr
        );
        assert_eq!(fake.lines().len(), 4, "{:?}", fake.lines());
    }
}

#[tokio::test]
async fn a_definition_is_checked_before_anything_is_sent() {
    let fake = Fake::start(not_found).await;
    let path = fake.state_dir().join("nfs.toml");
    let add = |text: &str| {
        std::fs::write(&path, text).unwrap();
        ["plugin", "add", path.to_str().unwrap()]
    };
    for (text, fault) in [
        ("image = 'x'\nimgae = 'y'", "imgae"),
        ("name = 'x'", "no `image`"),
        (
            "image = 'x'\nargs = ['{{set.server}}']",
            "--set server=VALUE",
        ),
    ] {
        let done = fake.sutler(&add(text)).await;
        assert_eq!(done.status, 2, "{text}");
        assert!(done.stderr.contains(fault), "{text}: {}", done.stderr);
    }
    assert!(fake.lines().is_empty(), "{:?}", fake.lines());
    let done = fake.sutler(&["plugin", "add", "/nowhere/x.toml"]).await;
    assert_eq!(done.status, 2);
    assert!(
        done.stderr
            .contains("cannot read definition /nowhere/x.toml"),
        "{}",
        done.stderr
    );
}

#[tokio::test]
async fn a_definition_without_name_is_named_like_its_file() {
    let fake = Fake::start(|_| json(&plugin(vec![instance("a", PluginState::Ready)]))).await;
    let path = fake.state_dir().join("nfs.toml");
    std::fs::write(
        &path,
        "image = 'oci-archive:nfs.tar'\nargs = ['{{set.server}}']",
    )
    .unwrap();
    let path = path.to_str().unwrap();
    let done = fake
        .sutler(&["plugin", "add", path, "--set", "server=10.0.0.5"])
        .await;
    assert_eq!(done.status, 0, "{}", done.stderr);
    let body: serde_json::Value = serde_json::from_str(&fake.calls()[0].body).unwrap();
    assert_eq!(body["definition"]["name"], "nfs");
    assert_eq!(body["set"]["server"], "10.0.0.5");
    let image = format!("oci-archive:{}", fake.state_dir().join("nfs.tar").display());
    assert_eq!(body["definition"]["image"], image);
}

#[tokio::test]
async fn plugin_rm_waits_until_it_has_left_the_books() {
    let fake = Fake::start(|call| match call.line.as_str() {
        "DELETE /v1/plugins/hostpath" => json(&serde_json::json!({})),
        "GET /v1/classes" => json(&[class()]),
        _ if call.before < 2 => json(&plugin(vec![instance("web-1", PluginState::Stopping)])),
        _ => not_found(call),
    })
    .await;
    let done = fake.sutler(&["plugin", "rm", "hostpath"]).await;
    assert_eq!(
        (done.status, done.stdout.as_str()),
        (0, "hostpath\n"),
        "{}",
        done.stderr
    );
    assert_eq!(done.stderr, "plugin hostpath: stopping on web-1\n");
    assert_eq!(fake.lines().len(), 6);
}

#[tokio::test]
async fn plugin_rm_says_which_class_is_the_default_now_and_what_brings_local_back() {
    let other = || ClassView {
        name: ClassName::new("nfs").unwrap(),
        ..class()
    };
    for (after, told) in [
        (vec![class()], ""),
        (
            vec![other()],
            "volumes without --class are made from class nfs now, no longer from local\n",
        ),
        (
            vec![ClassView {
                default: false,
                ..other()
            }],
            "no class is the default any more, as local was: name one with --class\n",
        ),
    ] {
        let fake = Fake::start(move |call| match call.line.as_str() {
            "DELETE /v1/plugins/local" => json(&serde_json::json!({})),
            "GET /v1/classes" if call.before == 0 => json(&[class()]),
            "GET /v1/classes" => json(&after),
            _ => not_found(call),
        })
        .await;
        let done = fake.sutler(&["plugin", "rm", "local"]).await;
        assert_eq!((done.status, done.stdout.as_str()), (0, "local\n"));
        let (first, rest) = done.stderr.split_once('\n').unwrap();
        assert!(first.contains("--no-local"), "{first}");
        assert_eq!(rest, told);
    }
}

/// A master that refuses to make anything until the plugin `local` of web-1, which is in these
/// states one after another, is ready.
async fn coming_up(states: &'static [PluginState]) -> Fake {
    Fake::start(move |call| {
        let at = |question: usize| {
            let state = states[question.min(states.len() - 1)];
            match state {
                PluginState::BackingOff => broken_instance("web-1"),
                state => instance("web-1", state),
            }
        };
        let refused = Problem::new(ErrorKind::Unavailable, "plugin local is ready nowhere");
        let ready = states.last() == Some(&PluginState::Ready);
        match call.line.as_str() {
            "POST /v1/volumes" if call.before > 0 && ready => {
                json(&accepted(VolumeState::Creating))
            }
            "POST /v1/tasks" if call.before > 0 && ready => json(&exited(7)),
            "POST /v1/volumes" | "POST /v1/tasks" => refuse(503, &refused),
            "GET /v1/classes" => json(&[class()]),
            "GET /v1/plugins/local" => json(&plugin(vec![at(0)])),
            "GET /v1/plugins/local?until=ready" => json(&plugin(vec![at(call.before)])),
            "GET /v1/volumes/data" => json(&volume("data", VolumeState::Ready)),
            line if line == format!("GET /v1/operations/{UUID}") => json(&operation(
                OperationKind::CreateVolume,
                OperationState::Finished,
            )),
            _ => not_found(call),
        }
    })
    .await
}

const WITH_VOLUME: [&str; 4] = ["run", "-v", "data:1G:/data", "busybox"];

#[tokio::test]
async fn what_needs_a_plugin_on_its_way_up_waits_for_it() {
    let states = &[
        PluginState::Starting,
        PluginState::Probing,
        PluginState::Ready,
    ];
    let fake = coming_up(states).await;
    let done = fake.sutler(&CREATE).await;
    let told = (done.status, done.stdout.as_str());
    assert_eq!(told, (0, "data\n"), "{}", done.stderr);
    assert!(
        done.stderr
            .starts_with("plugin hostpath: starting on web-1\n")
    );
    let fake = coming_up(states).await;
    let done = fake.sutler(&WITH_VOLUME).await;
    assert_eq!(done.status, 7, "{}", done.stderr);
}

#[tokio::test]
async fn plugin_add_fails_where_the_former_runs_on_because_the_change_cannot_be_made() {
    let held = PluginInstanceView {
        problem: Some(Problem::new(ErrorKind::NotFound, "there is no such image")),
        ..instance("web-1", PluginState::Outdated)
    };
    let fake = Fake::start(move |call| match call.line.as_str() {
        "POST /v1/plugins" => json(&plugin(vec![instance("web-1", PluginState::Waiting)])),
        _ => json(&plugin(vec![held.clone()])),
    })
    .await;
    let done = fake
        .sutler(&["plugin", "add", "example.org/driver:v9"])
        .await;
    assert_eq!(done.status, 1, "{}", done.stderr);
    for part in ["runs as before the change", "there is no such image"] {
        assert!(done.stderr.contains(part), "{}", done.stderr);
    }
}

#[tokio::test]
async fn what_needs_a_plugin_that_fails_is_told_so_at_once() {
    for states in [
        &[PluginState::BackingOff][..],
        &[PluginState::NotReady],
        &[PluginState::Starting, PluginState::BackingOff],
    ] {
        let fake = coming_up(states).await;
        for (arguments, status) in [(&CREATE[..], 1), (&WITH_VOLUME[..], 125)] {
            let done = fake.sutler(arguments).await;
            assert_eq!(done.status, status, "{states:?}");
            let what = "error: plugin local is ready nowhere\n";
            assert!(done.stderr.ends_with(what), "{}", done.stderr);
        }
    }
}

#[tokio::test]
async fn nothing_waits_for_a_plugin_that_is_told_not_to_or_comes_up_elsewhere() {
    for extra in [&["--no-wait"][..], &["--agent", "web-2"]] {
        let fake = coming_up(&[PluginState::Starting]).await;
        let done = fake.sutler(&[&CREATE[..], extra].concat()).await;
        assert_eq!(done.status, 1, "{}", done.stderr);
        let waited = fake.lines().iter().any(|line| line.contains("until=ready"));
        assert!(!waited, "{:?}", fake.lines());
    }
}

#[tokio::test]
async fn a_wait_for_a_plugin_that_is_left_gives_the_refusal_for_nothing_was_accepted() {
    let fake = coming_up(&[PluginState::Starting]).await;
    let limited = fake
        .sutler(&[&CREATE[..], &["--timeout", "1s"]].concat())
        .await;
    assert_eq!(limited.status, 1, "{}", limited.stderr);
    assert!(
        limited
            .stderr
            .ends_with("error: plugin local is ready nowhere\n")
    );
}

#[tokio::test]
async fn a_failure_is_a_json_object_where_json_is_asked_for() {
    let fake = Fake::start(|_| refuse(409, &problem())).await;
    let done = fake.sutler(&["--json", "volume", "ls"]).await;
    let told: serde_json::Value = serde_json::from_str(&done.stderr).unwrap();
    assert_eq!((done.status, done.stdout.as_str()), (1, ""));
    let expected = serde_json::json!({
        "error": problem().what,
        "causes": ["plugin local says:\nResourceExhausted: need 10G,\nhave 3G"],
        "hint": "sutler class ls",
        "exit_status": 1,
    });
    assert_eq!(told, expected);
}

#[tokio::test]
async fn api_passes_bytes_through_and_refusals_on() {
    let fake = Fake::start(|call| match call.line.as_str() {
        "POST /v1/x?a=b" => json(&serde_json::json!({ "got": call.body })),
        _ => refuse(404, &problem()),
    })
    .await;
    let done = fake
        .sutler(&["api", "post", "/v1/x?a=b", "--data", "{\"n\":1}"])
        .await;
    assert_eq!(
        (done.status, done.stdout.as_str()),
        (0, "{\"got\":\"{\\\"n\\\":1}\"}\n")
    );
    assert_eq!(fake.sutler(&["api", "GET", "/v1/none"]).await.status, 1);
}

#[tokio::test]
async fn version_prints_ours_always_and_fails_where_no_master_answers() {
    let fake = Fake::start(|_| json(&serde_json::json!({ "version": "9.9.9" }))).await;
    let done = fake.sutler(&["version"]).await;
    let ours = env!("CARGO_PKG_VERSION");
    let address = fake.address();
    assert_eq!(
        (done.status, done.stdout),
        (0, format!("sutler {ours}\nmaster 9.9.9 at {address}\n"))
    );
    let none = tempfile::tempdir().unwrap();
    let none = none.path().to_str().unwrap();
    let done = fake.sutler(&["version", "--state-dir", none]).await;
    assert_eq!((done.status, done.stdout), (1, format!("sutler {ours}\n")));
    assert!(
        done.stderr.starts_with("error: no cluster is known here"),
        "{}",
        done.stderr
    );
    let done = fake
        .sutler(&["--json", "version", "--state-dir", none])
        .await;
    let told: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    let expected = serde_json::json!({ "version": ours, "master": null });
    assert_eq!((done.status, told), (1, expected));
    // Refuses every connection: nobody listens there any more.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = listener.local_addr().unwrap().to_string();
    drop(listener);
    let done = fake
        .sutler(&["version", "--master", &format!("http://{gone}")])
        .await;
    assert_eq!((done.status, done.stdout), (1, format!("sutler {ours}\n")));
    let done = fake.sutler(&["--version", "--state-dir", none]).await;
    assert_eq!(done.status, 0);
}

#[tokio::test]
async fn no_wait_pauses_after_news() {
    let fake = creating(OperationState::Finished).await;
    assert_eq!(fake.sutler(&CREATE).await.status, 0);
    // The first `pending` is news; the second came at once and says nothing new.
    assert!(matches!(rests()[..], [Duration::ZERO, pause] if !pause.is_zero()));
}

#[tokio::test]
async fn a_bare_host_without_authorities_reaches_its_own_master() {
    // What a Debian without ca-certificates looks like to the TLS library.
    let done = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::waiting::json_is_what_the_api_gave"])
        .env("SSL_CERT_FILE", "/nowhere")
        .env("SSL_CERT_DIR", "/nowhere")
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test]
async fn adopting_names_the_node_and_the_new_name() {
    let fake = Fake::start(|call| match call.line.as_str() {
        "POST /v1/volumes/data/adopt" => json(&volume("old", VolumeState::Ready)),
        _ => not_found(call),
    })
    .await;
    let done = fake
        .sutler(&["volume", "adopt", "data", "--node", "n1", "--as", "old"])
        .await;
    assert_eq!((done.status, done.stdout.as_str()), (0, "old\n"));
    assert!(
        done.stderr.contains("volume old of node"),
        "{}",
        done.stderr
    );
    let body: serde_json::Value = serde_json::from_str(&fake.calls()[0].body).unwrap();
    assert_eq!(
        body,
        serde_json::json!({ "agent": "n1", "new_name": "old" })
    );
}
