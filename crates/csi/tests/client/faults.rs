//! The client when the plugin is slow, wrong, dying or gone.

use std::sync::{Arc, Mutex};

use crate::bench::{LONG, SHORT, attach, bench, create};
use sutler_csi::{
    CallReport, Code, ConnectError, CsiError, PluginClient, Rpc, Verdict, classify, proto,
};
use sutler_testkit::fake_plugin::{FakeConfig, FakePlugin, Fault, Outcome, When};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

fn verdict(error: &CsiError) -> Verdict {
    classify(error.rpc, error, true)
}

#[tokio::test]
async fn every_code_arrives_raw() {
    let bench = bench(FakeConfig::default());
    for number in 1..=16 {
        let message = format!("fault {number}");
        let fault = Fault::Fail(tonic::Code::from_i32(number), message.clone());
        bench.plugin.set_fault(Rpc::Probe, When::Next, fault);
        let error = bench.client.probe(LONG).await.expect_err("failed");
        assert_eq!(
            error,
            CsiError {
                code: code_of(number),
                message,
                rpc: Rpc::Probe
            }
        );
    }
}

/// gRPC's own numbering.
fn code_of(number: i32) -> Code {
    match number {
        1 => Code::Cancelled,
        2 => Code::Unknown,
        3 => Code::InvalidArgument,
        4 => Code::DeadlineExceeded,
        5 => Code::NotFound,
        6 => Code::AlreadyExists,
        7 => Code::PermissionDenied,
        8 => Code::ResourceExhausted,
        9 => Code::FailedPrecondition,
        10 => Code::Aborted,
        11 => Code::OutOfRange,
        12 => Code::Unimplemented,
        13 => Code::Internal,
        14 => Code::Unavailable,
        15 => Code::DataLoss,
        16 => Code::Unauthenticated,
        other => panic!("gRPC has no error {other}"),
    }
}

#[tokio::test]
async fn a_hanging_call_ends_at_its_deadline_and_is_in_doubt() {
    let bench = bench(FakeConfig::default());
    for fault in [Fault::Hang, Fault::DoThenHang] {
        bench.plugin.set_fault(Rpc::CreateVolume, When::Next, fault);
        let error = bench
            .client
            .create_volume(&create("v"), SHORT)
            .await
            .expect_err("hangs");
        assert_eq!(error.code, Code::DeadlineExceeded, "{error}");
        assert_eq!(error.message, "no answer within 100ms");
        assert_eq!(verdict(&error), Verdict::Uncertain);
    }
    let volume = bench
        .client
        .create_volume(&create("v"), LONG)
        .await
        .expect("converges");
    assert_eq!(bench.plugin.volumes()[0].volume_id, volume.volume_id);
    assert_eq!(bench.plugin.volumes().len(), 1);
    assert_eq!(bench.plugin.violations(), [""; 0]);
}

#[tokio::test]
async fn work_goes_on_after_the_caller_gave_up() {
    let bench = bench(FakeConfig::default());
    bench
        .plugin
        .set_fault(Rpc::CreateVolume, When::Next, Fault::Hold);
    let error = bench
        .client
        .create_volume(&create("v"), SHORT)
        .await
        .expect_err("held");
    assert_eq!(verdict(&error), Verdict::Uncertain);
    let error = bench
        .client
        .create_volume(&create("v"), LONG)
        .await
        .expect_err("still held");
    assert_eq!(error.code, Code::Aborted);
    assert_eq!(verdict(&error), Verdict::Uncertain);
    bench.plugin.release();
    let done = async {
        while bench
            .client
            .create_volume(&create("v"), LONG)
            .await
            .is_err()
        {}
    };
    tokio::time::timeout(LONG, done)
        .await
        .expect("the work was done");
    assert_eq!(bench.plugin.volumes().len(), 1);
    assert_eq!(bench.plugin.violations(), [""; 0]);
}

#[tokio::test]
async fn a_late_answer_within_the_deadline_is_an_answer() {
    let bench = bench(FakeConfig::default());
    bench
        .plugin
        .set_fault(Rpc::CreateVolume, When::Next, Fault::DoThenHold);
    let client = bench.client.clone();
    let call = tokio::spawn(async move { client.create_volume(&create("v"), LONG).await });
    bench.plugin.wait_calls(Rpc::CreateVolume, 1).await;
    let answered = async {
        while !call.is_finished() {
            bench.plugin.release();
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, answered)
        .await
        .expect("answered");
    call.await.expect("no panic").expect("created");
}

#[tokio::test]
async fn a_broken_connection_is_in_doubt_and_the_next_call_reconnects() {
    let bench = bench(FakeConfig::default());
    for fault in [Fault::DropConnection, Fault::DoThenDropConnection] {
        bench.plugin.set_fault(Rpc::CreateVolume, When::Next, fault);
        let error = bench
            .client
            .create_volume(&create("v"), LONG)
            .await
            .expect_err("breaks");
        assert_eq!(error.code, Code::Transport, "{error}");
        assert_eq!(verdict(&error), Verdict::Uncertain);
    }
    bench
        .client
        .create_volume(&create("v"), LONG)
        .await
        .expect("reconnected");
    assert_eq!(bench.plugin.volumes().len(), 1);
    assert_eq!(bench.plugin.violations(), [""; 0]);
}

#[tokio::test]
async fn answers_are_counted_as_signs_of_life_and_silence_and_probes_are_not() {
    let bench = bench(FakeConfig::default());
    let clone = bench.client.clone();
    bench.client.probe(LONG).await.expect("it is ready");
    assert_eq!(clone.answers(), 0, "Probe is what is to be judged by it");
    bench
        .client
        .create_volume(&create("a"), LONG)
        .await
        .expect("made");
    assert_eq!(clone.answers(), 1);
    let refusal = Fault::Fail(tonic::Code::Internal, "no".to_owned());
    bench
        .plugin
        .set_fault(Rpc::CreateVolume, When::Next, refusal);
    let refused = bench.client.create_volume(&create("b"), LONG).await;
    refused.expect_err("it refuses");
    assert_eq!(clone.answers(), 2, "a refusal is an answer");
    bench
        .plugin
        .set_fault(Rpc::CreateVolume, When::Next, Fault::Hang);
    let silent = bench.client.create_volume(&create("c"), SHORT).await;
    silent.expect_err("it is silent");
    bench
        .plugin
        .set_fault(Rpc::CreateVolume, When::Next, Fault::DropConnection);
    let broken = bench.client.create_volume(&create("d"), LONG).await;
    broken.expect_err("it breaks off");
    assert_eq!(clone.answers(), 2);
}

#[tokio::test]
async fn a_client_outlives_crashes_of_its_plugin() {
    let mut bench = bench(FakeConfig::default());
    for fault in [Fault::Crash, Fault::DoThenCrash] {
        bench.plugin.set_fault(Rpc::CreateVolume, When::Next, fault);
        let error = bench
            .client
            .create_volume(&create("v"), LONG)
            .await
            .expect_err("crashes");
        assert_eq!(error.code, Code::Transport, "{error}");
        let error = bench.client.probe(LONG).await.expect_err("nobody is there");
        assert_eq!(error.code, Code::Transport);
        let socket = bench.plugin.socket().display().to_string();
        assert!(error.message.contains(&socket), "{error}");
        assert!(error.message.contains("Connection refused"), "{error}");
        bench.plugin.restart(true).await;
        bench.client.probe(LONG).await.expect("it is back");
    }
    let volume = bench
        .client
        .create_volume(&create("v"), LONG)
        .await
        .expect("converges");
    assert_eq!(bench.plugin.volumes().len(), 1);

    bench.plugin.restart(false).await;
    // The first call may meet the broken connection; the one after it connects.
    if let Err(error) = bench.client.probe(LONG).await {
        assert_eq!(error.code, Code::Transport);
        bench.client.probe(LONG).await.expect("it is back");
    }
    let error = bench
        .client
        .attach(&attach(&volume), LONG)
        .await
        .expect_err("it forgot");
    assert_eq!(verdict(&error), Verdict::NotFound);
    assert_eq!(bench.plugin.violations(), [""; 0]);
}

#[tokio::test]
async fn a_link_in_place_of_the_socket_is_not_followed() {
    let dir = tempfile::tempdir().expect("a folder");
    let other = FakePlugin::start(dir.path(), FakeConfig::default());
    let socket = dir.path().join("link.sock");
    std::os::unix::fs::symlink(other.socket(), &socket).expect("a link");
    let client = PluginClient::connect(&socket).expect("a short path");
    let error = client.probe(LONG).await.expect_err("it is a link");
    assert_eq!(error.code, Code::Transport);
    assert!(error.message.contains("is no socket"), "{error}");
    std::fs::remove_file(&socket).expect("it is ours");
    std::fs::write(&socket, "").expect("a file");
    let error = client.probe(LONG).await.expect_err("it is a file");
    assert!(error.message.contains("is no socket"), "{error}");
    assert_eq!(other.count(Rpc::Probe), 0);
}

#[tokio::test]
async fn a_plugin_that_is_not_there_is_named() {
    let dir = tempfile::TempDir::new().expect("a temporary directory");
    let socket = dir.path().join("absent.sock");
    let client = PluginClient::connect(&socket).expect("a short path");
    let error = client.probe(LONG).await.expect_err("not there");
    assert_eq!(error.code, Code::Transport);
    assert!(
        error.to_string().starts_with("Probe got no answer: "),
        "{error}"
    );
    assert!(
        error
            .message
            .contains(&format!("connect to {}", socket.display())),
        "{error}"
    );
    assert!(error.message.contains("No such file"), "{error}");
}

#[tokio::test]
async fn a_socket_path_that_the_kernel_refuses_is_refused_first() {
    let longest = format!("/{}", "s".repeat(106));
    PluginClient::connect(&longest).expect("107 bytes are allowed");
    let error = PluginClient::connect(longest + "s").expect_err("108 bytes are not");
    let ConnectError::SocketPathTooLong { bytes, .. } = &error;
    assert_eq!(*bytes, 108);
    assert!(error.to_string().contains("107"), "{error}");
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_an_error_and_in_doubt() {
    let huge = [("huge".to_owned(), "x".repeat(5 << 20))].into();
    let bench = bench(FakeConfig {
        volume_context: huge,
        ..FakeConfig::default()
    });
    let error = bench
        .client
        .create_volume(&create("v"), LONG)
        .await
        .expect_err("too large");
    assert_eq!(error.code, Code::BadAnswer, "{error}");
    assert_eq!(error.message, "the answer is larger than 4194304 bytes");
    assert_eq!(verdict(&error), Verdict::Uncertain);
    assert_eq!(
        bench.plugin.volumes().len(),
        1,
        "it exists in spite of the error"
    );
    bench
        .client
        .probe(LONG)
        .await
        .expect("the connection still works");
}

#[tokio::test]
async fn a_context_that_is_too_large_to_keep_is_not_believed() {
    let large = [("large".to_owned(), "x".repeat(70 << 10))].into();
    let bench = bench(FakeConfig {
        volume_context: large,
        ..FakeConfig::default()
    });
    let error = bench
        .client
        .create_volume(&create("v"), LONG)
        .await
        .expect_err("too large");
    assert_eq!(error.code, Code::BadAnswer);
    assert_eq!(verdict(&error), Verdict::Uncertain);
}

#[tokio::test]
async fn a_long_error_text_is_kept_in_part() {
    let bench = bench(FakeConfig::default());
    let text = "ä".repeat(20 << 10);
    let fault = Fault::Fail(tonic::Code::Internal, text);
    bench.plugin.set_fault(Rpc::Probe, When::Next, fault);
    let error = bench.client.probe(LONG).await.expect_err("failed");
    assert_eq!(error.code, Code::Internal);
    assert!(
        error.message.ends_with("[24576 bytes left out]"),
        "{}",
        error.message.len()
    );
}

#[tokio::test]
async fn a_secret_in_an_error_text_is_blotted_out() {
    let bench = bench(FakeConfig::default());
    let fault = Fault::Fail(tonic::Code::Unauthenticated, "login hunter2 refused".into());
    bench.plugin.set_fault(Rpc::CreateVolume, When::Next, fault);
    let error = bench
        .client
        .create_volume(&create("v"), LONG)
        .await
        .expect_err("refused");
    assert_eq!(error.message, "login <hidden> refused");
}

#[tokio::test]
async fn a_listing_starts_over_when_the_plugin_forgets_its_token() {
    let bench = bench(FakeConfig {
        page_entries: 2,
        ..FakeConfig::default()
    });
    for number in 0..5 {
        let args = create(&format!("v{number}"));
        bench
            .client
            .create_volume(&args, LONG)
            .await
            .expect("created");
    }
    let forgotten = Fault::Fail(tonic::Code::Aborted, "no such token".into());
    bench
        .plugin
        .set_fault(Rpc::ListVolumes, When::Nth(2), forgotten.clone());
    assert_eq!(
        bench
            .client
            .list_volumes(0, LONG)
            .await
            .expect("listed")
            .len(),
        5
    );
    assert_eq!(bench.plugin.count(Rpc::ListVolumes), 2 + 3);

    bench
        .plugin
        .set_fault(Rpc::ListVolumes, When::Always, forgotten);
    let error = bench
        .client
        .list_volumes(0, LONG)
        .await
        .expect_err("it never works");
    assert_eq!(error.code, Code::Aborted);
    assert_eq!(
        bench.plugin.count(Rpc::ListVolumes),
        5 + 4,
        "it starts over three times"
    );
}

#[tokio::test]
async fn a_listing_as_a_whole_keeps_its_deadline() {
    let bench = bench(FakeConfig {
        page_entries: 1,
        ..FakeConfig::default()
    });
    for number in 0..3 {
        let args = create(&format!("v{number}"));
        bench
            .client
            .create_volume(&args, LONG)
            .await
            .expect("created");
    }
    bench
        .plugin
        .set_fault(Rpc::ListVolumes, When::Nth(2), Fault::Hang);
    let error = bench
        .client
        .list_volumes(0, SHORT)
        .await
        .expect_err("hangs");
    assert_eq!(error.code, Code::DeadlineExceeded);
}

/// A plugin whose pages go wrong in one way.
#[derive(Clone)]
struct FaultyPages(fn(&str) -> proto::ListVolumesResponse);

#[tonic::async_trait]
impl proto::controller_server::Controller for FaultyPages {
    async fn list_volumes(
        &self,
        request: Request<proto::ListVolumesRequest>,
    ) -> Result<Response<proto::ListVolumesResponse>, Status> {
        Ok(Response::new((self.0)(
            &request.into_inner().starting_token,
        )))
    }
}

async fn list(plugin: FaultyPages) -> Result<usize, CsiError> {
    let dir = tempfile::TempDir::new().expect("a temporary directory");
    let socket = dir.path().join("csi.sock");
    let listener = UnixListener::bind(&socket).expect("bound");
    let server = tonic::transport::Server::builder()
        .add_service(proto::controller_server::ControllerServer::new(plugin))
        .serve_with_incoming(UnixListenerStream::new(listener));
    let server = tokio::spawn(server);
    let client = PluginClient::connect(socket).expect("a short path");
    let listed = client.list_volumes(0, LONG).await;
    server.abort();
    listed.map(|volumes| volumes.len())
}

fn page(ids: &[&str], next_token: &str) -> proto::ListVolumesResponse {
    let volume = |id: &&str| proto::Volume {
        volume_id: id.to_string(),
        ..Default::default()
    };
    let entry = |id| proto::list_volumes_response::Entry {
        volume: Some(volume(id)),
        status: None,
    };
    let entries = ids.iter().map(entry).collect();
    proto::ListVolumesResponse {
        entries,
        next_token: next_token.to_owned(),
    }
}

#[tokio::test]
async fn a_listing_that_leads_to_itself_ends() {
    let error = list(FaultyPages(|_| page(&["v"], "same")))
        .await
        .expect_err("no end");
    assert_eq!(error.code, Code::BadAnswer);
    let endless = FaultyPages(|token| page(&["v"], if token == "a" { "b" } else { "a" }));
    let error = list(endless).await.expect_err("no end");
    assert_eq!(error.code, Code::BadAnswer, "{error}");
}

#[tokio::test]
async fn a_faulty_entry_does_not_hide_the_others() {
    let listed = list(FaultyPages(|_| {
        let mut page = page(&["a", "", "b"], "");
        page.entries
            .push(proto::list_volumes_response::Entry::default());
        page
    }));
    assert_eq!(listed.await.expect("listed"), 2);
}

#[tokio::test]
async fn a_service_that_is_not_there_is_unimplemented() {
    let bench = bench(FakeConfig {
        controller: false,
        ..FakeConfig::default()
    });
    let error = bench
        .client
        .create_volume(&create("v"), LONG)
        .await
        .expect_err("no service");
    assert_eq!(error.code, Code::Unimplemented);
}

#[tokio::test]
async fn every_call_is_reported_once_however_it_ends() {
    let bench = bench(FakeConfig::default());
    let reports: Arc<Mutex<Vec<CallReport>>> = Arc::default();
    let sink = Arc::clone(&reports);
    let client = bench
        .client
        .clone()
        .with_on_call(Arc::new(move |report: &CallReport| {
            sink.lock().expect("no panic").push(*report);
        }));
    client.probe(LONG).await.expect("answered");
    let fault = Fault::Fail(tonic::Code::Internal, "no".into());
    bench.plugin.set_fault(Rpc::Probe, When::Next, fault);
    client.probe(LONG).await.expect_err("failed");
    bench
        .plugin
        .set_fault(Rpc::Probe, When::Always, Fault::Hang);
    client.probe(SHORT).await.expect_err("hangs");
    tokio::select! {
        _ = client.probe(LONG) => panic!("it hangs"),
        () = bench.plugin.wait_calls(Rpc::Probe, 4) => {}
    }
    let reports = reports.lock().expect("no panic").clone();
    let codes: Vec<_> = reports.iter().map(CallReport::code_text).collect();
    assert_eq!(codes, ["OK", "INTERNAL", "DEADLINE_EXCEEDED", "CANCELLED"]);
    assert!(reports[2].duration >= SHORT, "{:?}", reports[2]);
    let dropped = async {
        while bench.plugin.calls().last().expect("four calls").outcome != Outcome::Dropped {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, dropped)
        .await
        .expect("the plugin learns that the caller is gone");
}
