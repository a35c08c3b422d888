//! What the plugin does not do, and the words it says so in.

use std::path::Path;
use std::process::{Command, Stdio};

use sutler_csi::proto as csi;
use sutler_csi::proto::volume_capability::access_mode::Mode;
use tonic::{Code, Status};

use crate::harness::{Kind, MIB, Plugin, Volume, World};

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, words: &str) {
    let status = answer.expect_err("must be refused");
    assert_eq!(status.code(), code, "{status}");
    assert!(
        status.message().contains(words),
        "{:?} lacks {words:?}",
        status.message()
    );
}

async fn staged(world: &World, kind: Kind) -> (Plugin, Volume) {
    let mut plugin = world.plugin().await;
    let volume = Volume::new(world, kind, "data");
    volume.create(&mut plugin).await.expect("create");
    volume.stage(&mut plugin).await.expect("stage");
    (plugin, volume)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_in_use_is_neither_deleted_nor_unstaged() {
    for kind in Kind::ALL {
        let world = World::new();
        let (mut plugin, volume) = staged(&world, kind).await;
        refused(
            volume.delete(&mut plugin).await,
            Code::FailedPrecondition,
            "in use",
        );
        volume.publish(&mut plugin).await.expect("publish");
        refused(
            volume.delete(&mut plugin).await,
            Code::FailedPrecondition,
            "mounted at",
        );
        let still = volume.unstage(&mut plugin).await;
        refused(still, Code::FailedPrecondition, "still published at");
        volume.write("untouched").expect("write");
        assert!(volume.holds("untouched"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_without_the_recorded_file_system_is_refused_and_left_as_it_is() {
    let world = World::new();
    let mut plugin = world.plugin().await;
    let volume = Volume::new(&world, Kind::Ext4, "data");
    volume.create(&mut plugin).await.expect("create");
    let image = world.path(&format!("state/volumes/{}/data.img", volume.id));
    let size = 16 * 1024 * 1024;
    let zeros = vec![0_u8; size];
    let text = [b"a user's bytes".as_slice(), &zeros[14..]].concat();
    for (bytes, found) in [
        (&zeros, "nothing but zeros"),
        (&text, "neither ext4 nor xfs"),
    ] {
        std::fs::write(&image, bytes).expect("overwrite");
        refused(
            volume.stage(&mut plugin).await,
            Code::FailedPrecondition,
            found,
        );
        assert_eq!(&std::fs::read(&image).expect("read"), bytes);
    }
    let other = Command::new("mkfs.ext4")
        .args(["-q", "-F"])
        .arg(&image)
        .status();
    assert!(other.expect("mkfs.ext4").success());
    refused(
        volume.stage(&mut plugin).await,
        Code::FailedPrecondition,
        "refusing to use or to",
    );
    assert!(plugin.log().contains("ERROR"), "said loudly");
    assert_eq!(world.loops().len() + world.mounts().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_mount_is_neither_used_nor_taken_away() {
    let world = World::new();
    let (mut plugin, volume) = staged(&world, Kind::Ext4).await;
    let strange = world.path("targets/strange");
    std::fs::create_dir(&strange).expect("create");
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", &strange, "tmpfs", flags, Some(c"size=64k")).expect("mount");
    let target = world.text("targets/strange");
    let there = Volume {
        target: target.clone(),
        ..volume.clone()
    };
    refused(
        there.publish(&mut plugin).await,
        Code::FailedPrecondition,
        "something else",
    );
    refused(
        there.unpublish(&mut plugin).await,
        Code::FailedPrecondition,
        "something else",
    );
    let other = Volume {
        staging: target,
        ..Volume::new(&world, Kind::Ext4, "other")
    };
    other.create(&mut plugin).await.expect("create");
    refused(
        other.stage(&mut plugin).await,
        Code::FailedPrecondition,
        "something else",
    );
    refused(
        other.unstage(&mut plugin).await,
        Code::FailedPrecondition,
        "something else",
    );
    let gone = Volume {
        id: sutler_local::pool::Pool::id_of("gone"),
        ..there
    };
    refused(
        gone.unpublish(&mut plugin).await,
        Code::NotFound,
        "is not at",
    );
    assert_eq!(world.mounts().len(), 2, "ours and the stranger's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_holds_data_is_neither_covered_nor_removed() {
    let world = World::new();
    for (kind, content) in [
        (Kind::Ext4, "targets/data/file"),
        (Kind::Block, "targets/data"),
    ] {
        let (mut plugin, volume) = staged(&world, kind).await;
        let path = world.path(content);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("create");
        std::fs::write(&path, b"someone's").expect("write");
        refused(
            volume.publish(&mut plugin).await,
            Code::FailedPrecondition,
            "is not an empty",
        );
        assert!(volume.unpublish(&mut plugin).await.is_err());
        assert_eq!(std::fs::read(&path).expect("read"), b"someone's");
        volume.unstage(&mut plugin).await.expect("unstage");
        volume.delete(&mut plugin).await.expect("delete");
        std::fs::remove_file(&path).expect("remove");
        let _ = std::fs::remove_dir(world.path("targets/data"));
        plugin.kill();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_needs_staging_and_a_single_writer_has_one_target() {
    let world = World::new();
    let mut plugin = world.plugin().await;
    for kind in Kind::ALL {
        let name = format!("{kind:?}");
        let volume = Volume {
            mode: Mode::SingleNodeSingleWriter,
            ..Volume::new(&world, kind, &name)
        };
        volume.create(&mut plugin).await.expect("create");
        refused(
            volume.publish(&mut plugin).await,
            Code::FailedPrecondition,
            "not staged",
        );
        volume.stage(&mut plugin).await.expect("stage");
        volume.publish(&mut plugin).await.expect("publish");
        let second = Volume {
            target: world.text("targets/second"),
            ..volume.clone()
        };
        refused(
            second.publish(&mut plugin).await,
            Code::FailedPrecondition,
            &volume.target,
        );
        assert!(!Path::new(&second.target).exists());
        volume.unpublish(&mut plugin).await.expect("unpublish");
        volume.unstage(&mut plugin).await.expect("unstage");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_is_used_as_what_it_is() {
    let world = World::new();
    let mut plugin = world.plugin().await;
    let volume = Volume::new(&world, Kind::Ext4, "data");
    volume.create(&mut plugin).await.expect("create");
    for kind in [Kind::Xfs, Kind::Block] {
        let other = Volume {
            kind,
            ..volume.clone()
        };
        refused(
            other.stage(&mut plugin).await,
            Code::InvalidArgument,
            "carries ext4",
        );
        refused(
            other.create(&mut plugin).await,
            Code::AlreadyExists,
            "exists with",
        );
    }
    let many = Volume {
        mode: Mode::MultiNodeMultiWriter,
        ..volume.clone()
    };
    refused(
        many.stage(&mut plugin).await,
        Code::InvalidArgument,
        "MULTI_NODE_MULTI_WRITER",
    );
    let nowhere = Volume {
        staging: world.text("absent"),
        ..volume.clone()
    };
    refused(
        nowhere.stage(&mut plugin).await,
        Code::FailedPrecondition,
        "absent",
    );
    let relative = Volume {
        staging: "staging".to_owned(),
        ..volume
    };
    refused(
        relative.stage(&mut plugin).await,
        Code::InvalidArgument,
        "not an absolute path",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_resource_exhausted_and_leaves_nothing() {
    let world = World::new();
    let state = world.path("state");
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", &state, "tmpfs", flags, Some(c"size=32m")).expect("mount");
    let mut plugin = world.plugin().await;
    let fill = |bytes: usize| std::fs::write(state.join("filler"), vec![1; bytes]).expect("fill");
    fill(8 << 20);
    let volume = Volume::new(&world, Kind::Ext4, "data");
    // The books know how much the disk has left.
    let large = Volume {
        kind: Kind::Xfs,
        ..volume.clone()
    };
    refused(
        large.create(&mut plugin).await,
        Code::OutOfRange,
        "more than the whole pool",
    );
    volume.create(&mut plugin).await.expect("fits");
    let second = Volume::new(&world, Kind::Ext4, "second");
    refused(
        second.create(&mut plugin).await,
        Code::ResourceExhausted,
        "available of",
    );
    volume.delete(&mut plugin).await.expect("delete");
    // A thin volume passes the books; its file system then meets the full disk.
    let brim = std::fs::write(state.join("filler"), vec![1; 32 << 20]);
    let full = brim.expect_err("more than the disk has");
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let request = csi::CreateVolumeRequest {
        name: "thin".to_owned(),
        volume_capabilities: vec![Kind::Ext4.capability(Mode::SingleNodeWriter)],
        capacity_range: Some(csi::CapacityRange {
            required_bytes: 16 * MIB,
            limit_bytes: 0,
        }),
        parameters: [("thin".to_owned(), "true".to_owned())].into(),
        ..Default::default()
    };
    let full = plugin.controller.create_volume(request).await;
    refused(full, Code::ResourceExhausted, "No space left");
    assert_eq!(world.names(), Vec::<String>::new());
    fill(8 << 20);
    volume
        .create(&mut plugin)
        .await
        .expect("recovers by itself");
    plugin.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_tool_is_named_by_probe() {
    let world = World::new();
    let tools = world.path("tools");
    std::fs::create_dir(&tools).expect("create");
    for tool in ["mkfs.ext4", "e2fsck", "resize2fs", "mkfs.xfs"] {
        let link = tools.join(tool);
        std::os::unix::fs::symlink("/proc/self/exe", link).expect("link");
    }
    // A world of its own environment: a second program with another PATH.
    let mut child = Command::new(env!("CARGO_BIN_EXE_sutler-local"))
        .args(["--endpoint", &world.text("other.sock"), "--node-id", "here"])
        .args(["--state-dir", &world.text("state")])
        .env("PATH", &tools)
        .stderr(Stdio::piped())
        .spawn()
        .expect("start");
    let mut log = std::io::BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    while !line.contains("serving") {
        line.clear();
        assert_ne!(
            std::io::BufRead::read_line(&mut log, &mut line).expect("read"),
            0
        );
    }
    let endpoint = format!("unix://{}", world.text("other.sock"));
    let channel = tonic::transport::Endpoint::try_from(endpoint)
        .expect("endpoint")
        .connect()
        .await;
    let mut identity = csi::identity_client::IdentityClient::new(channel.expect("connect"));
    let probed = identity.probe(csi::ProbeRequest {}).await;
    child.kill().expect("kill");
    child.wait().expect("wait");
    let status = probed.expect_err("must be refused");
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(status.message(), "not found through PATH: xfs_growfs");
}

#[test]
fn a_bad_start_says_what_is_wrong_and_fails() {
    let world = World::new();
    let state = world.text("state");
    let long = format!("unix:///{}", "a".repeat(110));
    let file = world.text("file");
    std::fs::write(&file, b"").expect("write");
    let good = format!("unix://{}", world.text("csi.sock"));
    let table = [
        (
            long.as_str(),
            state.as_str(),
            "has 111 bytes, at most 107 work",
        ),
        ("tcp://0.0.0.0:1", &state, "is not unix:///PATH"),
        (&good, &file, "cannot prepare the state directory"),
        (
            &format!("unix://{file}"),
            &state,
            "exists and is not a socket",
        ),
    ];
    for (endpoint, state, words) in table {
        let output = Command::new(env!("CARGO_BIN_EXE_sutler-local"))
            .args([
                "--endpoint",
                endpoint,
                "--node-id",
                "here",
                "--state-dir",
                state,
            ])
            .output()
            .expect("start");
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{log}");
        assert!(log.contains(words), "{log}");
    }
}
