//! The watches of the fake bite: every breach of a caller's duty is found, and what is
//! allowed is not taken for one.

use std::time::Duration;

use sutler_csi::call::{
    Attach, CreateVolume, DeleteVolume, Detach, Publish, Stage, Unpublish, Unstage,
};
use sutler_csi::{
    AccessMode, AccessType, Capability, CapacityRange, Code, Context, CsiError, PluginClient, Rpc,
    Secrets, VolumeDescription,
};
use tempfile::TempDir;

use super::{FakeConfig, FakePlugin, Fault, When};

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(50);

struct Bench {
    plugin: FakePlugin,
    client: PluginClient,
    dir: TempDir,
}

fn bench(config: FakeConfig) -> Bench {
    let dir = TempDir::new().expect("a temporary directory");
    let plugin = FakePlugin::start(dir.path(), config);
    let client = PluginClient::connect(plugin.socket()).expect("a short path");
    Bench {
        plugin,
        client,
        dir,
    }
}

/// A bench with a volume that is attached, staged and published as far as the plugin goes.
async fn up(config: FakeConfig) -> (Bench, VolumeDescription, Context) {
    let bench = bench(config.clone());
    let volume = bench
        .client
        .create_volume(&create("v"), LONG)
        .await
        .expect("created");
    let context = match config.attach {
        true => bench
            .client
            .attach(&attach(&volume, "node-a"), LONG)
            .await
            .expect("attached"),
        false => Context::default(),
    };
    if config.stage {
        bench
            .client
            .stage(&stage(&volume, &context), LONG)
            .await
            .expect("staged");
    }
    bench
        .client
        .publish(&publish(&volume, &context), LONG)
        .await
        .expect("published");
    assert_eq!(bench.plugin.violations(), [""; 0]);
    (bench, volume, context)
}

fn capability() -> Capability {
    Capability {
        access_type: AccessType::mount(),
        access_mode: AccessMode::SingleNodeWriter,
    }
}

fn create(name: &str) -> CreateVolume {
    CreateVolume {
        name: name.to_owned(),
        capacity: CapacityRange::default(),
        capabilities: vec![capability()],
        parameters: Default::default(),
        mutable_parameters: Default::default(),
        source: None,
        requisite: Vec::new(),
        preferred: Vec::new(),
        secrets: Secrets::none(),
    }
}

fn attach(volume: &VolumeDescription, node_id: &str) -> Attach {
    Attach {
        volume_id: volume.volume_id.clone(),
        node_id: node_id.to_owned(),
        capability: capability(),
        read_only: false,
        volume_context: volume.context.clone(),
        secrets: Secrets::none(),
    }
}

fn detach(volume: &VolumeDescription) -> Detach {
    let volume_id = volume.volume_id.clone();
    Detach {
        volume_id,
        node_id: "node-a".to_owned(),
        secrets: Secrets::none(),
    }
}

fn stage(volume: &VolumeDescription, publish_context: &Context) -> Stage {
    Stage {
        volume_id: volume.volume_id.clone(),
        staging_path: "/staging".into(),
        capability: capability(),
        publish_context: publish_context.clone(),
        volume_context: volume.context.clone(),
        secrets: Secrets::none(),
    }
}

fn unstage(volume: &VolumeDescription) -> Unstage {
    Unstage {
        volume_id: volume.volume_id.clone(),
        staging_path: "/staging".into(),
    }
}

fn publish(volume: &VolumeDescription, publish_context: &Context) -> Publish {
    Publish {
        volume_id: volume.volume_id.clone(),
        staging_path: Some("/staging".into()),
        target_path: "/target".into(),
        capability: capability(),
        read_only: false,
        publish_context: publish_context.clone(),
        volume_context: volume.context.clone(),
        secrets: Secrets::none(),
    }
}

fn delete(volume: &VolumeDescription) -> DeleteVolume {
    DeleteVolume {
        volume_id: volume.volume_id.clone(),
        secrets: Secrets::none(),
    }
}

/// Asserts that exactly one violation was found, with these words.
fn found(bench: &Bench, words: &str) {
    let violations = bench.plugin.violations();
    assert_eq!(violations.len(), 1, "{violations:?}");
    assert!(violations[0].contains(words), "{violations:?}");
}

fn refused<T: std::fmt::Debug>(result: Result<T, CsiError>) {
    assert_eq!(result.expect_err("refused").code, Code::FailedPrecondition);
}

#[tokio::test]
async fn two_calls_in_flight_on_one_volume_are_found() {
    let bench = bench(FakeConfig::default());
    bench
        .plugin
        .set_fault(Rpc::CreateVolume, When::Next, Fault::Hang);
    let client = bench.client.clone();
    let first = tokio::spawn(async move { client.create_volume(&create("v"), LONG).await });
    bench.plugin.wait_calls(Rpc::CreateVolume, 1).await;
    bench
        .client
        .create_volume(&create("v"), LONG)
        .await
        .expect("created");
    found(
        &bench,
        "CreateVolume for v while CreateVolume was in flight",
    );
    first.abort();
}

#[tokio::test]
async fn a_call_that_was_given_up_is_not_in_flight() {
    let bench = bench(FakeConfig::default());
    for _ in 0..20 {
        bench
            .plugin
            .set_fault(Rpc::CreateVolume, When::Next, Fault::DoThenHang);
        bench
            .client
            .create_volume(&create("v"), SHORT)
            .await
            .expect_err("hangs");
    }
    bench
        .client
        .create_volume(&create("v"), LONG)
        .await
        .expect("created");
    assert_eq!(bench.plugin.violations(), [""; 0]);
}

#[tokio::test]
async fn a_volume_is_one_by_its_name_and_by_its_id() {
    let bench = bench(FakeConfig::default());
    let volume = bench
        .client
        .create_volume(&create("v"), LONG)
        .await
        .expect("created");
    bench
        .plugin
        .set_fault(Rpc::CreateVolume, When::Next, Fault::Hang);
    let client = bench.client.clone();
    let replay = tokio::spawn(async move { client.create_volume(&create("v"), LONG).await });
    bench.plugin.wait_calls(Rpc::CreateVolume, 2).await;
    bench
        .client
        .delete_volume(&delete(&volume), LONG)
        .await
        .expect("deleted");
    found(
        &bench,
        "DeleteVolume for v while CreateVolume was in flight",
    );
    replay.abort();
}

#[tokio::test]
async fn steps_out_of_order_are_found_on_the_way_up() {
    let start = bench(FakeConfig::default());
    let volume = start
        .client
        .create_volume(&create("v"), LONG)
        .await
        .expect("created");
    refused(
        start
            .client
            .stage(&stage(&volume, &Context::default()), LONG)
            .await,
    );
    found(&start, "staged on node-a before it was attached");

    let attached = bench(FakeConfig::default());
    let volume = attached
        .client
        .create_volume(&create("v"), LONG)
        .await
        .expect("created");
    let context = attached
        .client
        .attach(&attach(&volume, "node-a"), LONG)
        .await;
    let context = context.expect("attached");
    refused(
        attached
            .client
            .publish(&publish(&volume, &context), LONG)
            .await,
    );
    found(&attached, "published on node-a before it was staged");
}

#[tokio::test]
async fn steps_out_of_order_are_found_on_the_way_down() {
    let (bench, volume, _) = up(FakeConfig::default()).await;
    refused(bench.client.unstage(&unstage(&volume), LONG).await);
    found(&bench, "unstaged while published");
    let (bench, volume, _) = up(FakeConfig::default()).await;
    refused(bench.client.detach(&detach(&volume), LONG).await);
    found(&bench, "detached while in use");
    let (bench, volume, _) = up(FakeConfig::default()).await;
    refused(bench.client.delete_volume(&delete(&volume), LONG).await);
    found(&bench, "deleted while in use");
}

#[tokio::test]
async fn a_second_node_for_a_single_node_volume_is_found() {
    let (bench, volume, _) = up(FakeConfig::default()).await;
    let other = TempDir::new().expect("a temporary directory");
    let _other = bench
        .plugin
        .join(other.path(), FakeConfig::default().on("node-b"));
    refused(bench.client.attach(&attach(&volume, "node-b"), LONG).await);
    found(&bench, "attached to a second node node-b");

    let config = FakeConfig {
        attach: false,
        stage: false,
        ..FakeConfig::default()
    };
    let first = self::bench(config.clone());
    let volume = first
        .client
        .create_volume(&create("v"), LONG)
        .await
        .expect("created");
    let publish = Publish {
        staging_path: None,
        ..publish(&volume, &Context::default())
    };
    first
        .client
        .publish(&publish, LONG)
        .await
        .expect("published");
    let second = first.plugin.join(other.path(), config.on("node-b"));
    let client = PluginClient::connect(second.socket()).expect("a short path");
    refused(client.publish(&publish, LONG).await);
    found(&first, "published on a second node node-b");
    assert_eq!(second.count(Rpc::Publish), 1);
    assert_eq!(first.plugin.count(Rpc::Publish), 1);
}

#[tokio::test]
async fn a_repeat_with_other_arguments_is_found() {
    let bench = bench(FakeConfig::default());
    let fault = Fault::Fail(tonic::Code::Unavailable, "busy".into());
    bench.plugin.set_fault(Rpc::CreateVolume, When::Next, fault);
    bench
        .client
        .create_volume(&create("v"), LONG)
        .await
        .expect_err("in doubt");
    let mut other = create("v");
    other.capacity.required_bytes = 5;
    bench
        .client
        .create_volume(&other, LONG)
        .await
        .expect("created");
    found(&bench, "CreateVolume for v repeated with other arguments");
}

#[tokio::test]
async fn new_secrets_and_new_first_attempts_are_no_repeats() {
    let (bench, volume, context) = up(FakeConfig::default()).await;
    let client = &bench.client;
    let mut again = publish(&volume, &context);
    again.secrets = [("key".to_owned(), "rotated".to_owned())]
        .into_iter()
        .collect();
    client
        .publish(&again, LONG)
        .await
        .expect("the same but for the secrets");

    let args = Unpublish {
        volume_id: volume.volume_id.clone(),
        target_path: "/target".into(),
    };
    client.unpublish(&args, LONG).await.expect("unpublished");
    let read_only = Publish {
        read_only: true,
        ..publish(&volume, &context)
    };
    client
        .publish(&read_only, LONG)
        .await
        .expect("published in another way");
    client.unpublish(&args, LONG).await.expect("unpublished");
    client
        .unstage(&unstage(&volume), LONG)
        .await
        .expect("unstaged");
    let elsewhere = Stage {
        staging_path: "/other".into(),
        ..stage(&volume, &context)
    };
    client
        .stage(&elsewhere, LONG)
        .await
        .expect("staged elsewhere");
    let elsewhere = Unstage {
        staging_path: "/other".into(),
        ..unstage(&volume)
    };
    client.unstage(&elsewhere, LONG).await.expect("unstaged");
    client
        .detach(&detach(&volume), LONG)
        .await
        .expect("detached");
    let read_only = Attach {
        read_only: true,
        ..attach(&volume, "node-a")
    };
    client
        .attach(&read_only, LONG)
        .await
        .expect("attached in another way");
    client
        .detach(&detach(&volume), LONG)
        .await
        .expect("detached");
    client
        .delete_volume(&delete(&volume), LONG)
        .await
        .expect("deleted");
    let mut larger = create("v");
    larger.capacity.required_bytes = 5 << 30;
    client
        .create_volume(&larger, LONG)
        .await
        .expect("created anew");
    assert_eq!(bench.plugin.violations(), [""; 0]);
}

#[tokio::test]
async fn a_lost_context_is_found() {
    let bench = bench(FakeConfig::default());
    let volume = bench
        .client
        .create_volume(&create("v"), LONG)
        .await
        .expect("created");
    let forgetful = VolumeDescription {
        context: Context::default(),
        ..volume.clone()
    };
    let context = bench
        .client
        .attach(&attach(&forgetful, "node-a"), LONG)
        .await;
    found(&bench, "attached with another volume context");
    bench
        .client
        .stage(&stage(&volume, &Context::default()), LONG)
        .await
        .expect("staged");
    assert!(bench.plugin.violations()[1].contains("another publish context"));
    assert!(!context.expect("attached").is_empty());
}

#[tokio::test]
async fn a_call_without_its_capability_is_found() {
    let bench = bench(FakeConfig::bare());
    let volume = bench
        .client
        .create_volume(&create("v"), LONG)
        .await
        .expect("created");
    let error = bench
        .client
        .stage(&stage(&volume, &Context::default()), LONG)
        .await;
    assert_eq!(error.expect_err("it has none").code, Code::Unimplemented);
    found(
        &bench,
        "NodeStageVolume, for which the plugin has no capability",
    );
}

#[tokio::test]
async fn the_back_end_has_an_end() {
    let config = FakeConfig {
        capacity_bytes: 3 << 30,
        ..FakeConfig::default()
    };
    let bench = bench(config);
    let mut args = create("large");
    args.capacity.required_bytes = 4 << 30;
    let error = bench
        .client
        .create_volume(&args, LONG)
        .await
        .expect_err("larger than all");
    assert_eq!(error.code, Code::OutOfRange);
    args.capacity.required_bytes = 2 << 30;
    bench
        .client
        .create_volume(&args, LONG)
        .await
        .expect("created");
    args.name = "other".to_owned();
    let error = bench
        .client
        .create_volume(&args, LONG)
        .await
        .expect_err("no room left");
    assert_eq!(error.code, Code::ResourceExhausted);
    assert_eq!(bench.plugin.volumes().len(), 1);
    assert_eq!(
        bench.plugin.violations(),
        [""; 0],
        "both were first attempts"
    );
}

#[tokio::test]
async fn a_dead_plugin_keeps_or_loses_its_volumes_as_told() {
    let (mut bench, ..) = up(FakeConfig::default()).await;
    bench.plugin.kill().await;
    assert!(
        bench.plugin.socket().exists(),
        "a dead process leaves its socket behind"
    );
    bench.client.probe(LONG).await.expect_err("nobody is there");
    bench.plugin.restart(true).await;
    assert_eq!(bench.plugin.volumes().len(), 1);
    bench.plugin.restart(false).await;
    assert!(bench.plugin.volumes().is_empty());
}

#[tokio::test]
async fn target_paths_come_and_go_with_publish() {
    let config = FakeConfig {
        touches_files: true,
        ..FakeConfig::default()
    };
    let bench = bench(config);
    let (staging, parent) = (
        bench.dir.path().join("staging"),
        bench.dir.path().join("parent"),
    );
    let target = parent.join("target");
    let volume = bench
        .client
        .create_volume(&create("v"), LONG)
        .await
        .expect("created");
    let context = bench.client.attach(&attach(&volume, "node-a"), LONG).await;
    let context = context.expect("attached");
    let args = Stage {
        staging_path: staging.clone(),
        ..stage(&volume, &context)
    };
    refused(bench.client.stage(&args, LONG).await);
    std::fs::create_dir(&staging).expect("made");
    bench.client.stage(&args, LONG).await.expect("staged");
    let args = Publish {
        staging_path: Some(staging),
        target_path: target.clone(),
        ..publish(&volume, &context)
    };
    bench
        .client
        .publish(&args, LONG)
        .await
        .expect_err("the parent is missing");
    std::fs::create_dir(&parent).expect("made");
    bench.client.publish(&args, LONG).await.expect("published");
    assert!(target.is_dir());
    let args = Unpublish {
        volume_id: volume.volume_id,
        target_path: target.clone(),
    };
    bench
        .client
        .unpublish(&args, LONG)
        .await
        .expect("unpublished");
    assert!(!target.exists());
    assert_eq!(bench.plugin.violations(), [""; 0]);
}

#[tokio::test]
async fn a_volume_is_made_where_it_is_wanted() {
    let rack = |name: &str| std::collections::BTreeMap::from([("rack".into(), name.to_owned())]);
    let config = FakeConfig {
        topology: rack("r1"),
        ..FakeConfig::default()
    };
    let bench = bench(config.clone());
    let other = TempDir::new().expect("a temporary directory");
    let config = FakeConfig {
        topology: rack("r2"),
        ..config.on("node-b")
    };
    let _other = bench.plugin.join(other.path(), config);
    let mut args = create("v");
    args.requisite = vec![sutler_csi::Topology(rack("r2"))];
    let volume = bench
        .client
        .create_volume(&args, LONG)
        .await
        .expect("created");
    assert_eq!(volume.topology, args.requisite);
    let context = bench
        .client
        .attach(&attach(&volume, "node-a"), LONG)
        .await
        .expect("attached");
    refused(bench.client.stage(&stage(&volume, &context), LONG).await);
    found(&bench, "staged on node-a, from where it is not reachable");
    let mut nowhere = create("w");
    nowhere.requisite = vec![sutler_csi::Topology(rack("r3"))];
    let error = bench
        .client
        .create_volume(&nowhere, LONG)
        .await
        .expect_err("no such place");
    assert_eq!(error.code, Code::ResourceExhausted);
}
