//! Every call of the client, against a plugin that does what CSI asks.

use std::collections::BTreeSet;

use crate::bench::{LONG, attach, bench, capability, create, publish, secrets, stage};
use sutler_csi::call::{
    DeleteVolume, Detach, ExpandController, ExpandNode, GetCapacity, GetVolumeStats, Unpublish,
    Unstage, Validate,
};
use sutler_csi::{
    CapacityRange, Code, ControllerCap, Expansion, NodeCap, PluginCap, PluginFacts, Rpc, Secrets,
    Topology, Usage, Validation, interrogate, proto,
};
use sutler_testkit::fake_plugin::{FakeConfig, FakePlugin};

const GIB: u64 = 1 << 30;

#[tokio::test]
async fn a_volume_goes_all_the_way_up_and_down() {
    let bench = bench(FakeConfig::default());
    let (client, plugin) = (&bench.client, &bench.plugin);
    let volume = client
        .create_volume(&create("v"), LONG)
        .await
        .expect("created");
    assert_eq!(volume.capacity_bytes, Some(1 << 20));
    let id = volume.volume_id.clone();
    let context = client
        .attach(&attach(&volume), LONG)
        .await
        .expect("attached");
    client
        .stage(&stage(&volume, &context), LONG)
        .await
        .expect("staged");
    client
        .publish(&publish(&volume, &context), LONG)
        .await
        .expect("published");
    let up = &plugin.volumes()[0];
    assert_eq!(up.attached, BTreeSet::from(["node-a".into()]));
    assert_eq!(
        up.staged,
        BTreeSet::from([("node-a".into(), "/staging/v".into())])
    );
    assert_eq!(
        up.published,
        BTreeSet::from([("node-a".into(), "/target/v".into())])
    );

    let args = Unpublish {
        volume_id: id.clone(),
        target_path: "/target/v".into(),
    };
    client.unpublish(&args, LONG).await.expect("unpublished");
    let args = Unstage {
        volume_id: id.clone(),
        staging_path: "/staging/v".into(),
    };
    client.unstage(&args, LONG).await.expect("unstaged");
    let args = Detach {
        volume_id: id.clone(),
        node_id: "node-a".into(),
        secrets: Secrets::none(),
    };
    client.detach(&args, LONG).await.expect("detached");
    let args = DeleteVolume {
        volume_id: id,
        secrets: secrets(),
    };
    client.delete_volume(&args, LONG).await.expect("deleted");
    client
        .delete_volume(&args, LONG)
        .await
        .expect("deleting what is gone is no error");
    assert!(plugin.volumes().is_empty());
    assert_eq!(plugin.violations(), [""; 0]);
}

#[tokio::test]
async fn every_argument_reaches_the_plugin() {
    let bench = bench(FakeConfig::default());
    let (client, plugin) = (&bench.client, &bench.plugin);
    let volume = client
        .create_volume(&create("v"), LONG)
        .await
        .expect("created");
    let context = client
        .attach(&attach(&volume), LONG)
        .await
        .expect("attached");
    client
        .stage(&stage(&volume, &context), LONG)
        .await
        .expect("staged");
    client
        .publish(&publish(&volume, &context), LONG)
        .await
        .expect("published");

    let calls = plugin.calls();
    let created: proto::CreateVolumeRequest = calls[0].args();
    assert_eq!(created.name, "v");
    assert_eq!(
        created.capacity_range.map(|range| range.required_bytes),
        Some(1 << 20)
    );
    assert_eq!(created.parameters["kind"], "fast");
    assert_eq!(created.secrets["password"], "hunter2");
    assert!(created.accessibility_requirements.is_none());
    let attached: proto::ControllerPublishVolumeRequest = calls[1].args();
    assert_eq!(attached.node_id, "node-a");
    assert_eq!(&attached.volume_context, volume.context.reveal());
    let published: proto::NodePublishVolumeRequest = calls[3].args();
    assert!(published.readonly);
    assert_eq!(published.staging_target_path, "/staging/v");
    assert_eq!(&published.publish_context, context.reveal());
    assert_eq!(published.secrets["password"], "hunter2");
}

#[tokio::test]
async fn a_volume_is_validated_grown_and_counted() {
    let bench = bench(FakeConfig::default());
    let (client, plugin) = (&bench.client, &bench.plugin);
    let volume = client
        .create_volume(&create("v"), LONG)
        .await
        .expect("created");
    let id = volume.volume_id.clone();
    let context = client
        .attach(&attach(&volume), LONG)
        .await
        .expect("attached");
    client
        .stage(&stage(&volume, &context), LONG)
        .await
        .expect("staged");

    let args = Validate {
        volume_id: id.clone(),
        volume_context: volume.context.clone(),
        capabilities: vec![capability()],
        parameters: Default::default(),
        secrets: Secrets::none(),
    };
    let confirmed = client
        .validate_volume_capabilities(&args, LONG)
        .await
        .expect("validated");
    assert_eq!(confirmed, Validation::Confirmed { all_echoed: true });

    let capacity = CapacityRange {
        required_bytes: 2 * GIB,
        limit_bytes: None,
    };
    let args = ExpandController {
        volume_id: id.clone(),
        capacity,
        capability: Some(capability()),
        secrets: secrets(),
    };
    let grown = client.controller_expand(&args, LONG).await.expect("grown");
    assert_eq!(
        (grown.capacity_bytes, grown.node_expansion_required),
        (2 * GIB, true)
    );
    let args = ExpandNode {
        volume_id: id.clone(),
        volume_path: "/staging/v".into(),
        staging_path: Some("/staging/v".into()),
        capacity: Some(capacity),
        capability: Some(capability()),
        secrets: Secrets::none(),
    };
    assert_eq!(
        client.node_expand(&args, LONG).await.expect("grown"),
        Some(2 * GIB)
    );

    let volume_path = "/staging/v".into();
    let args = GetVolumeStats {
        volume_id: id,
        volume_path,
        staging_path: None,
    };
    let stats = client
        .node_get_volume_stats(&args, LONG)
        .await
        .expect("counted");
    let bytes = Usage {
        total: 2 * GIB,
        used: GIB / 2,
        available: 2 * GIB - GIB / 2,
    };
    assert_eq!((stats.bytes, stats.inodes), (Some(bytes), None));
    let room = client
        .get_capacity(&GetCapacity::default(), LONG)
        .await
        .expect("told");
    assert_eq!(room.available_bytes, 98 * GIB);
    assert_eq!(room.volume_bytes_max, Some(100 * GIB));
    assert_eq!(plugin.violations(), [""; 0]);
}

#[tokio::test]
async fn a_listing_joins_pages_and_forgives_repeats() {
    for (page_entries, pages_overlap) in [(0, false), (3, false), (3, true)] {
        let config = FakeConfig {
            page_entries,
            pages_overlap,
            ..FakeConfig::default()
        };
        let bench = bench(config);
        for number in 0..10 {
            let args = create(&format!("v{number}"));
            bench
                .client
                .create_volume(&args, LONG)
                .await
                .expect("created");
        }
        let first = bench.client.list_volumes(0, LONG).await.expect("listed")[0]
            .volume
            .clone();
        bench
            .client
            .attach(&attach(&first), LONG)
            .await
            .expect("attached");
        for asked in [0, 4] {
            let listed = bench
                .client
                .list_volumes(asked, LONG)
                .await
                .expect("listed");
            let ids: Vec<_> = listed.iter().map(|one| &one.volume.volume_id).collect();
            let there = bench.plugin.volumes();
            assert_eq!(
                ids,
                there.iter().map(|one| &one.volume_id).collect::<Vec<_>>()
            );
            assert_eq!(listed[0].attached_nodes, BTreeSet::from(["node-a".into()]));
            assert!(listed[1].attached_nodes.is_empty());
        }
    }
}

#[tokio::test]
async fn a_plugin_tells_all_there_is_to_know() {
    let topology = [("rack".to_owned(), "r1".to_owned())].into();
    let config = FakeConfig {
        topology,
        max_volumes: 7,
        ..FakeConfig::default()
    };
    let bench = bench(config);
    let facts = interrogate(&bench.client, LONG)
        .await
        .expect("interrogated");
    assert_eq!(facts.name, "fake.csi.sutler.dev");
    assert!(facts.attaches() && facts.stages() && facts.lists_volumes() && facts.stats());
    assert!(facts.expands_controller() && facts.expands_node() && facts.gets_capacity());
    assert!(facts.has_topology() && facts.creates_volumes() && facts.knows_single_node_modes());
    assert_eq!(facts.expansion(), Some(Expansion::Online));
    let node = facts.node.clone().expect("the node half is there");
    assert_eq!(
        (node.node_id.as_str(), node.max_volumes),
        ("node-a", Some(7))
    );
    assert_eq!(
        node.topology,
        Topology([("rack".to_owned(), "r1".to_owned())].into())
    );
    let record = serde_json::to_string(&facts).expect("serialises");
    assert_eq!(
        serde_json::from_str::<PluginFacts>(&record).expect("reads back"),
        facts
    );
}

#[tokio::test]
async fn a_bare_plugin_has_no_capability_that_it_does_not_state() {
    let facts = interrogate(&bench(FakeConfig::bare()).client, LONG)
        .await
        .expect("told");
    assert_eq!(
        facts.plugin_caps,
        BTreeSet::from([PluginCap::ControllerService])
    );
    assert_eq!(
        facts.controller_caps,
        BTreeSet::from([ControllerCap::CreateDeleteVolume])
    );
    assert_eq!(facts.node_caps, BTreeSet::<NodeCap>::new());
    assert!(!facts.attaches() && !facts.stages() && !facts.has_topology() && !facts.stats());
    assert_eq!(facts.expansion(), None);
}

#[tokio::test]
async fn two_halves_make_one_plugin_if_they_agree_on_its_name() {
    let controller = bench(FakeConfig {
        node: false,
        ..FakeConfig::default()
    });
    let node = bench(FakeConfig {
        controller: false,
        ..FakeConfig::default()
    });
    let controller = interrogate(&controller.client, LONG)
        .await
        .expect("no node is no error");
    let node = interrogate(&node.client, LONG)
        .await
        .expect("no controller is no error");
    assert!(controller.node.is_none() && !controller.serves_node && controller.attaches());
    assert!(!node.serves_controller && node.stages() && !node.attaches());
    let other = PluginFacts {
        name: "other".into(),
        ..node.clone()
    };
    let whole = PluginFacts::join(controller.clone(), node).expect("the names agree");
    assert!(whole.attaches() && whole.stages() && whole.node.is_some());
    assert!(PluginFacts::join(controller, other).is_err());
}

#[tokio::test]
async fn a_probe_tells_starting_from_ready() {
    let bench = bench(FakeConfig {
        not_ready_probes: 1,
        ..FakeConfig::default()
    });
    assert!(!bench.client.probe(LONG).await.expect("answered"));
    assert!(bench.client.probe(LONG).await.expect("answered"));
}

#[tokio::test]
async fn a_faulty_identity_is_not_believed() {
    let bad_name = FakeConfig {
        name: "../../etc".into(),
        ..FakeConfig::default()
    };
    let error = bench(bad_name)
        .client
        .plugin_info(LONG)
        .await
        .expect_err("refused");
    assert_eq!(error.code, Code::BadAnswer);
    for node_id in [String::new(), "n".repeat(257)] {
        let config = FakeConfig {
            node_id,
            ..FakeConfig::default()
        };
        let error = bench(config)
            .client
            .node_info(LONG)
            .await
            .expect_err("refused");
        assert_eq!(error.code, Code::BadAnswer);
    }
    let longest = FakeConfig {
        node_id: "n".repeat(256),
        ..FakeConfig::default()
    };
    bench(longest)
        .client
        .node_info(LONG)
        .await
        .expect("256 bytes are allowed");
}

#[tokio::test]
async fn what_breaks_a_limit_is_never_sent() {
    let bench = bench(FakeConfig::default());
    let (client, plugin) = (&bench.client, &bench.plugin);
    let volume = client
        .create_volume(&create(&"n".repeat(128)), LONG)
        .await
        .expect("128 is ok");
    let mut large = create("v");
    large.parameters = [("k".to_owned(), "x".repeat(4096))].into();
    let mut shapeless = create("v");
    shapeless.capabilities.clear();
    let mut torn = create("v");
    torn.capacity.limit_bytes = Some(1);
    for args in [create(""), create(&"n".repeat(129)), large, shapeless, torn] {
        let error = client
            .create_volume(&args, LONG)
            .await
            .expect_err("refused");
        assert_eq!(error.code, Code::NotSent, "{error}");
    }
    let mut relative = stage(&volume, &Default::default());
    relative.staging_path = "staging".into();
    let error = client.stage(&relative, LONG).await.expect_err("refused");
    assert_eq!(
        error.to_string(),
        "NodeStageVolume was not sent: staging path \"staging\" is not absolute"
    );
    let everywhere = Detach {
        volume_id: volume.volume_id,
        node_id: String::new(),
        secrets: Secrets::none(),
    };
    let error = client.detach(&everywhere, LONG).await.expect_err("refused");
    assert_eq!(error.code, Code::NotSent);
    assert_eq!(plugin.calls().len(), 1, "only the first was sent");
    assert_eq!(plugin.count(Rpc::CreateVolume), 1);
}

#[tokio::test]
async fn one_client_carries_many_calls_at_once() {
    let bench = bench(FakeConfig::default());
    let mut crowd = tokio::task::JoinSet::new();
    for number in 0..50 {
        let client = bench.client.clone();
        crowd.spawn(async move {
            client
                .create_volume(&create(&format!("v{number}")), LONG)
                .await
                .expect("created")
        });
    }
    let ids: BTreeSet<_> = crowd
        .join_all()
        .await
        .into_iter()
        .map(|one| one.volume_id)
        .collect();
    assert_eq!(ids.len(), 50);
    assert_eq!(bench.plugin.violations(), [""; 0]);
}

#[tokio::test]
async fn a_block_volume_is_asked_for_as_block() {
    let dir = tempfile::TempDir::new().expect("a temporary directory");
    let plugin = FakePlugin::start(dir.path(), FakeConfig::bare());
    let client = sutler_csi::PluginClient::connect(plugin.socket()).expect("a short path");
    let mut args = create("v");
    args.capabilities[0].access_type = sutler_csi::AccessType::Block;
    client.create_volume(&args, LONG).await.expect("created");
    let sent: proto::CreateVolumeRequest = plugin.calls()[0].args();
    let sent = sent.volume_capabilities[0]
        .access_type
        .clone()
        .expect("a type");
    assert!(matches!(
        sent,
        proto::volume_capability::AccessType::Block(_)
    ));
}
