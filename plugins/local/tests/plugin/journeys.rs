//! Volumes that do well.

use rustix::process::Signal;
use sutler_csi::proto as csi;
use sutler_csi::proto::volume_capability::access_mode::Mode;

use crate::harness::{Kind, MIB, Plugin, Volume, World};

#[tokio::test(flavor = "multi_thread")]
async fn data_outlives_unstaging_and_every_call_may_be_repeated() {
    for kind in Kind::ALL {
        let world = World::new();
        let mut plugin = world.plugin().await;
        let volume = Volume::new(&world, kind, "data");
        for _ in 0..2 {
            let made = volume.create(&mut plugin).await.expect("create");
            assert_eq!(
                (made.volume_id, made.capacity_bytes),
                (volume.id.clone(), kind.mib() * MIB)
            );
        }
        for round in ["first", "second"] {
            for _ in 0..2 {
                volume.stage(&mut plugin).await.expect("stage");
            }
            for _ in 0..2 {
                volume.publish(&mut plugin).await.expect("publish");
            }
            assert!(round == "first" || volume.holds("first"), "{kind:?}");
            volume.write(round).expect("write");
            assert!(volume.total(&mut plugin).await.expect("stats") > 10 * MIB);
            for _ in 0..2 {
                volume.unpublish(&mut plugin).await.expect("unpublish");
            }
            assert!(
                !std::path::Path::new(&volume.target).exists(),
                "the target is removed"
            );
            for _ in 0..2 {
                volume.unstage(&mut plugin).await.expect("unstage");
            }
            assert_eq!(
                world.mounts().len() + world.loops().len(),
                0,
                "{kind:?} {round}"
            );
        }
        for _ in 0..2 {
            volume.delete(&mut plugin).await.expect("delete");
        }
        volume
            .unpublish(&mut plugin)
            .await
            .expect("of a volume that is gone");
        volume
            .unstage(&mut plugin)
            .await
            .expect("of a volume that is gone");
        world.assert_clean();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_with_volumes_published_changes_nothing() {
    for kind in Kind::ALL {
        let world = World::new();
        let mut plugin = world.plugin().await;
        let volume = Volume::new(&world, kind, "data");
        volume.create(&mut plugin).await.expect("create");
        volume.stage(&mut plugin).await.expect("stage");
        volume.publish(&mut plugin).await.expect("publish");
        volume.write("before").expect("write");
        let (mounts, loops) = (world.mounts(), world.loops());
        plugin.kill();
        assert!(volume.holds("before"), "without the plugin");
        let mut plugin = world.plugin().await;
        volume.stage(&mut plugin).await.expect("stage again");
        volume.publish(&mut plugin).await.expect("publish again");
        assert_eq!((world.mounts(), world.loops()), (mounts, loops), "{kind:?}");
        volume.write("after").expect("write");
        plugin.kill();
        let mut plugin = world.plugin().await;
        volume.unpublish(&mut plugin).await.expect("unpublish");
        volume.unstage(&mut plugin).await.expect("unstage");
        volume.delete(&mut plugin).await.expect("delete");
        world.assert_clean();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_container_takes_over_what_the_old_one_published() {
    for kind in Kind::ALL {
        let world = World::new();
        world.share("shared");
        std::fs::create_dir(world.path("shared/staging")).expect("create");
        let volume = Volume {
            staging: world.text("shared/staging"),
            target: world.text("shared/target"),
            ..Volume::new(&world, kind, "data")
        };
        let mut plugin = Plugin::start_in_namespace(&world).await;
        volume.create(&mut plugin).await.expect("create");
        volume.stage(&mut plugin).await.expect("stage");
        volume.publish(&mut plugin).await.expect("publish");
        volume.write("seen on the host").expect("write");
        plugin.kill();
        assert!(volume.holds("seen on the host"));
        let mut plugin = Plugin::start_in_namespace(&world).await;
        volume.stage(&mut plugin).await.expect("stage again");
        volume.publish(&mut plugin).await.expect("publish again");
        assert!(
            volume.delete(&mut plugin).await.is_err(),
            "in use, and known to be"
        );
        volume.grow(&mut plugin, 400).await.expect("grow");
        volume.unpublish(&mut plugin).await.expect("unpublish");
        volume.unstage(&mut plugin).await.expect("unstage");
        assert_eq!(world.mounts(), [world.path("shared")], "{kind:?}");
        volume.delete(&mut plugin).await.expect("delete");
        assert_eq!(world.names(), Vec::<String>::new());
    }
}

/// A process in a copy of the host's mounts, as a container's runtime is while it starts. The
/// copy lasts until the host's own table has no mount at `path` any more and then some.
fn copy_of_the_mounts_until_gone(path: &str) -> std::process::Child {
    let script = "echo held; \
                  while grep -qF \" $1 \" \"/proc/$2/mountinfo\"; do sleep 0.2; done";
    let host = std::process::id().to_string();
    let mut holder = std::process::Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .args(["sh", "-c", script, "sh", path, &host])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("unshare");
    let mut said = String::new();
    let out = holder.stdout.as_mut().expect("piped");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut said).expect("read");
    assert_eq!(said, "held\n");
    holder
}

#[tokio::test(flavor = "multi_thread")]
async fn unstaged_means_that_no_copy_of_the_mount_keeps_the_device() {
    for kind in [Kind::Ext4, Kind::Xfs] {
        let world = World::new();
        let mut plugin = world.plugin().await;
        let volume = Volume::new(&world, kind, "copied");
        volume.create(&mut plugin).await.expect("create");
        volume.stage(&mut plugin).await.expect("stage");
        let mut holder = copy_of_the_mounts_until_gone(&volume.staging);
        volume.unstage(&mut plugin).await.expect("unstage");
        assert_eq!(world.loops(), Vec::<std::path::PathBuf>::new(), "{kind:?}");
        holder.wait().expect("wait");
        volume.delete(&mut plugin).await.expect("delete");
        world.assert_clean();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_finishes_the_calls_in_flight_and_leaves_volumes_mounted() {
    let world = World::new();
    let mut plugin = world.plugin().await;
    let volume = Volume::new(&world, Kind::Ext4, "data");
    volume.create(&mut plugin).await.expect("create");
    volume.stage(&mut plugin).await.expect("stage");
    volume.publish(&mut plugin).await.expect("publish");
    // Many creates at once, and the signal among them.
    let requests: Vec<_> = (0..16)
        .map(|n| {
            let mut controller = plugin.controller.clone();
            let request = csi::CreateVolumeRequest {
                name: format!("flight-{n}"),
                volume_capabilities: vec![Kind::Ext4.capability(Mode::SingleNodeWriter)],
                capacity_range: Some(csi::CapacityRange {
                    required_bytes: 16 * MIB,
                    limit_bytes: 0,
                }),
                ..Default::default()
            };
            tokio::spawn(async move { controller.create_volume(request).await.is_ok() })
        })
        .collect();
    let mut finished = 0;
    let mut requests = requests.into_iter();
    let first = requests.next().expect("one").await.expect("no panic");
    plugin.signal(Signal::TERM);
    for request in requests {
        finished += usize::from(request.await.expect("no panic"));
    }
    let status = plugin.wait();
    assert_eq!(status.code(), Some(0), "{status}");
    assert_eq!(world.mounts().len(), 2, "staged and published");
    assert!(volume.write("still here").is_ok());
    let names = world.names();
    assert!(
        first && names.iter().all(|name| !name.starts_with('.')),
        "{names:?}"
    );
    assert!(
        names.len() > finished,
        "every volume that was confirmed is there"
    );
    let mut plugin = world.plugin().await;
    volume.unpublish(&mut plugin).await.expect("unpublish");
    volume.unstage(&mut plugin).await.expect("unstage");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mounted_xfs_and_a_block_device_grow_under_their_holders() {
    for kind in [Kind::Xfs, Kind::Block] {
        let world = World::new();
        let mut plugin = world.plugin().await;
        let volume = Volume::new(&world, kind, "data");
        volume.create(&mut plugin).await.expect("create");
        volume.stage(&mut plugin).await.expect("stage");
        volume.publish(&mut plugin).await.expect("publish");
        volume.write("kept").expect("write");
        let before = volume.total(&mut plugin).await.expect("stats");
        for _ in 0..2 {
            assert_eq!(
                volume.grow(&mut plugin, 400).await.expect("grow"),
                400 * MIB
            );
        }
        for _ in 0..2 {
            assert_eq!(volume.expand(&mut plugin).await.expect("expand"), 400 * MIB);
        }
        assert!(volume.total(&mut plugin).await.expect("stats") >= before + 90 * MIB);
        assert!(volume.holds("kept"));
        if kind == Kind::Block {
            use std::io::Seek as _;
            let mut device = std::fs::File::open(&volume.target).expect("open");
            let end = device.seek(std::io::SeekFrom::End(0)).expect("seek");
            assert_eq!(end, 400 << 20);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mounted_ext4_grows_where_the_kernel_allows_it_and_at_the_next_stage_elsewhere() {
    let world = World::new();
    let mut plugin = world.plugin().await;
    let volume = Volume::new(&world, Kind::Ext4, "data");
    volume.create(&mut plugin).await.expect("create");
    volume.stage(&mut plugin).await.expect("stage");
    volume.publish(&mut plugin).await.expect("publish");
    volume.write("kept").expect("write");
    volume.grow(&mut plugin, 100).await.expect("grow");
    let grown = volume.expand(&mut plugin).await;
    if sutler_local::mkfs::may_grow_mounted_ext4() {
        assert_eq!(grown.expect("expand"), 100 * MIB);
    } else {
        let refused = grown.expect_err("not allowed");
        assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
        assert!(refused.message().contains("CAP_SYS_RESOURCE"), "{refused}");
        volume.unpublish(&mut plugin).await.expect("unpublish");
        volume.unstage(&mut plugin).await.expect("unstage");
        volume.stage(&mut plugin).await.expect("stage");
        volume.publish(&mut plugin).await.expect("publish");
        assert_eq!(
            volume
                .expand(&mut plugin)
                .await
                .expect("nothing left to do"),
            100 * MIB
        );
    }
    assert!(volume.total(&mut plugin).await.expect("stats") > 80 * MIB);
    assert!(volume.holds("kept"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_target_takes_no_writes_while_a_writable_one_does() {
    let world = World::new();
    let mut plugin = world.plugin().await;
    let writer = Volume::new(&world, Kind::Ext4, "data");
    let target = world.text("targets/reader");
    let reader = Volume {
        readonly: true,
        target,
        ..writer.clone()
    };
    writer.create(&mut plugin).await.expect("create");
    writer.stage(&mut plugin).await.expect("stage");
    writer.publish(&mut plugin).await.expect("publish");
    reader
        .publish(&mut plugin)
        .await
        .expect("publish read-only");
    writer.write("seen by both").expect("write");
    assert!(reader.holds("seen by both"));
    let error = reader.write("no").expect_err("read-only");
    assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    let flipped = Volume {
        readonly: false,
        ..reader.clone()
    };
    let refused = flipped.publish(&mut plugin).await.expect_err("other mode");
    assert_eq!(refused.code(), tonic::Code::AlreadyExists);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_block_volume_takes_no_writes_until_it_is_published_writable() {
    let world = World::new();
    let mut plugin = world.plugin().await;
    let writer = Volume::new(&world, Kind::Block, "data");
    let target = world.text("targets/reader");
    let reader = Volume {
        mode: Mode::SingleNodeReaderOnly,
        target,
        ..writer.clone()
    };
    writer.create(&mut plugin).await.expect("create");
    reader.stage(&mut plugin).await.expect("stage");
    reader
        .publish(&mut plugin)
        .await
        .expect("publish read-only");
    assert!(reader.write("no").is_err());
    let refused = writer
        .publish(&mut plugin)
        .await
        .expect_err("protected by the other");
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
    assert!(refused.message().contains("targets/reader"), "{refused}");
    writer.unpublish(&mut plugin).await.expect("undo the half");
    reader.unpublish(&mut plugin).await.expect("unpublish");
    writer.publish(&mut plugin).await.expect("publish");
    writer.write("yes").expect("write");
    let refused = reader
        .publish(&mut plugin)
        .await
        .expect_err("written by the other");
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
}

#[tokio::test(flavor = "multi_thread")]
async fn ext4_that_the_kernel_marked_is_checked_before_its_mount() {
    let world = World::new();
    let mut plugin = world.plugin().await;
    let volume = Volume::new(&world, Kind::Ext4, "data");
    volume.create(&mut plugin).await.expect("create");
    let image = world.path(&format!("state/volumes/{}/data.img", volume.id));
    let mark = ["-w", "-R", "ssv state 2"];
    let marked = std::process::Command::new("debugfs")
        .args(mark)
        .arg(&image)
        .output();
    assert!(marked.expect("debugfs").status.success());
    volume.stage(&mut plugin).await.expect("stage");
    assert!(plugin.log().contains("marked as damaged, checking it"));
    let found = sutler_local::superblock::probe(&image).expect("probe");
    let clean = matches!(
        found,
        sutler_local::superblock::Found::Filesystem {
            has_errors: false,
            ..
        }
    );
    assert!(clean, "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn creates_of_one_name_at_the_same_time_make_one_volume() {
    let world = World::new();
    let mut plugin = world.plugin().await;
    let volume = Volume::new(&world, Kind::Ext4, "data");
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let mut controller = plugin.controller.clone();
            let request = csi::CreateVolumeRequest {
                name: volume.name.clone(),
                volume_capabilities: vec![Kind::Ext4.capability(Mode::SingleNodeWriter)],
                ..Default::default()
            };
            tokio::spawn(async move { controller.create_volume(request).await })
        })
        .collect();
    let mut made = 0;
    for call in calls {
        match call.await.expect("no panic") {
            Ok(response) => {
                let id = response.into_inner().volume.expect("volume").volume_id;
                assert_eq!(id, volume.id);
                made += 1;
            }
            Err(status) => assert_eq!(status.code(), tonic::Code::Aborted, "{status}"),
        }
    }
    assert!(made >= 1);
    assert_eq!(plugin.ids().await, [volume.id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plugin_says_who_and_where_it_is() {
    let world = World::new();
    let mut plugin = Plugin::start(&world, None, &["--capacity-bytes", "1073741824"]).await;
    let info = plugin
        .identity
        .get_plugin_info(csi::GetPluginInfoRequest {})
        .await;
    assert_eq!(info.expect("info").into_inner().name, "local.sutler.dev");
    let node = plugin.node.node_get_info(csi::NodeGetInfoRequest {}).await;
    let node = node.expect("node info").into_inner();
    let segments = node.accessible_topology.expect("topology").segments;
    assert_eq!(
        segments,
        [("local.sutler.dev/node".to_owned(), "here".to_owned())].into()
    );
    let made = Volume::new(&world, Kind::Ext4, "data")
        .create(&mut plugin)
        .await
        .expect("create");
    assert_eq!(made.accessible_topology[0].segments, segments);
    let room = |segment: &str| {
        let mut controller = plugin.controller.clone();
        let segments = [("local.sutler.dev/node".to_owned(), segment.to_owned())].into();
        let accessible_topology = Some(csi::Topology { segments });
        let request = csi::GetCapacityRequest {
            accessible_topology,
            ..Default::default()
        };
        async move {
            controller
                .get_capacity(request)
                .await
                .expect("capacity")
                .into_inner()
                .available_capacity
        }
    };
    assert_eq!(room("here").await, (1024 - 16) * MIB);
    assert_eq!(room("elsewhere").await, 0);
}
