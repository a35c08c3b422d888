//! The store's promises: what is unpacked is what the image says, all local forms are read, a
//! crash or a full disk at any point loses nothing, garbage goes and nothing else does.
//! Needs root, for owners, devices and mounts.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

#[path = "support/archive.rs"]
mod archive;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use archive::{Layer, Raw, Tar, gzip, write_layout};
use serde_json::json;
use sutler_images::{
    AuthSources, Digest, Image, ImageBuilder, ImageConfig, ImageError, ImageErrorKind, ImageLimits,
    ImageReference, ImageStore, LocalError, PullOptions, Rootfs, StoreError,
};

struct World {
    _temp: tempfile::TempDir,
    dir: PathBuf,
}

impl World {
    fn new() -> World {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests unpack images and need root"
        );
        let temp = tempfile::tempdir().unwrap();
        World {
            dir: temp.path().canonicalize().unwrap(),
            _temp: temp,
        }
    }

    fn store(&self) -> ImageStore {
        open(&self.dir.join("store"))
    }

    /// The path of a layout with one image of these layers.
    fn layout(&self, name: &str, layers: &[Layer]) -> ImageReference {
        let path = self.dir.join(name);
        write_layout(&path, layers);
        ImageReference::OciLayout { path, tag: None }
    }
}

/// Unmounts on every way out.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _gone = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

fn open(dir: &Path) -> ImageStore {
    ImageStore::open(dir.to_owned(), ImageLimits::default()).unwrap()
}

async fn pull(store: &ImageStore, reference: &ImageReference) -> Result<Image, ImageError> {
    store
        .ensure(reference, &PullOptions::new(AuthSources::none()))
        .await
}

fn file_layer(name: &str, content: &str) -> Layer {
    Layer::honest(&Tar::default().file(name, content.as_bytes()).finish())
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 256];
    let length = match rustix::fs::lgetxattr(path, name, value.as_mut_slice()) {
        Ok(length) => length,
        Err(rustix::io::Errno::NODATA) => return None,
        Err(errno) => panic!("read {name} of {}: {errno}", path.display()),
    };
    value.truncate(length);
    Some(value)
}

#[tokio::test]
async fn owners_modes_times_links_devices_and_attributes_are_kept() {
    let world = World::new();
    let capability: &[u8] = &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let raw = |name: &'static str, kind: u8, mode: u32| Raw {
        name: name.as_bytes(),
        kind,
        mode,
        owner: 1234,
        mtime: 1_000_000_000,
        ..Raw::default()
    };
    let tar = Tar::default()
        .pax("SCHILY.xattr.security.selinux", b"builder_t")
        .raw(&raw("d", b'5', 0o2775), b"")
        .pax("SCHILY.xattr.user.note", b"a\nb=c\0")
        .raw(&raw("d/setuid", b'0', 0o6755), b"data")
        .pax("SCHILY.xattr.security.capability", capability)
        .raw(&raw("d/capable", b'0', 0o755), b"data")
        .hard_link("d/same", "d/setuid")
        .raw(
            &Raw {
                link: b"../elsewhere",
                ..raw("d/link", b'2', 0o777)
            },
            b"",
        )
        .raw(
            &Raw {
                device: (1, 7),
                ..raw("d/full", b'3', 0o666)
            },
            b"",
        )
        .raw(
            &Raw {
                device: (7, 3),
                ..raw("d/loop", b'4', 0o660)
            },
            b"",
        )
        .raw(&raw("d/pipe", b'6', 0o622), b"")
        .pax("mtime", b"-1.5")
        .raw(&raw("d/old", b'0', 0o600), b"");
    let layers = [Layer::honest(&tar.finish())];
    let image = pull(&world.store(), &world.layout("l", &layers))
        .await
        .unwrap();
    let at = |name: &str| image.layers[0].join(name);
    let stat = |name: &str| fs::symlink_metadata(at(name)).unwrap();

    assert_eq!(stat("d").mode() & 0o7777, 0o2775);
    assert_eq!(
        stat("d").mtime(),
        1_000_000_000,
        "the entries inside changed the folder's time"
    );
    assert_eq!(
        stat("d/setuid").mode() & 0o7777,
        0o6755,
        "the change of owner cleared setuid"
    );
    for name in ["d", "d/setuid", "d/link", "d/full", "d/pipe"] {
        assert_eq!((stat(name).uid(), stat(name).gid()), (1234, 1234), "{name}");
        assert_eq!(stat(name).mtime(), 1_000_000_000, "{name}");
    }
    assert_eq!(stat("d/same").ino(), stat("d/setuid").ino());
    assert_eq!(
        fs::read_link(at("d/link")).unwrap(),
        Path::new("../elsewhere")
    );
    assert!(stat("d/full").file_type().is_char_device());
    assert_eq!(stat("d/full").rdev(), rustix::fs::makedev(1, 7));
    assert_eq!(stat("d/full").mode() & 0o777, 0o666);
    assert!(stat("d/loop").file_type().is_block_device());
    assert!(stat("d/pipe").file_type().is_fifo());
    assert_eq!(
        (stat("d/old").mtime(), stat("d/old").mtime_nsec()),
        (-2, 500_000_000)
    );
    assert_eq!(xattr(&at("d/setuid"), "user.note").unwrap(), b"a\nb=c\0");
    assert_eq!(
        xattr(&at("d/capable"), "security.capability").unwrap(),
        capability
    );
    assert_eq!(
        fs::metadata(&image.layers[0]).unwrap().permissions().mode() & 0o7777,
        0o755
    );
}

#[tokio::test]
async fn whiteouts_hide_what_is_below_and_nothing_else() {
    let world = World::new();
    let lower = Tar::default()
        .file("gone", b"1")
        .file("kept", b"1")
        .file("opaque/hidden", b"1")
        .file("merged/below", b"1")
        .file("swapped/below", b"1")
        .file("reborn/below", b"1");
    let upper = Tar::default()
        .file(".wh.gone", b"")
        .file("opaque/.wh..wh..opq", b"")
        .file("opaque/new", b"2")
        .file("merged/above", b"2")
        // A whiteout and a folder of the same name, in both orders.
        .file(".wh.swapped", b"")
        .folder("swapped")
        .file("swapped/above", b"2")
        .folder("reborn")
        .file("reborn/above", b"2")
        .file(".wh.reborn", b"")
        .file(".wh..wh.plnk", b"");
    let layers = [
        Layer::honest(&lower.finish()),
        Layer::honest(&upper.finish()),
    ];
    let image = pull(&world.store(), &world.layout("l", &layers))
        .await
        .unwrap();
    let dir = world.dir.join("container");
    let _mounted = Mounted(dir.join("rootfs"));
    let rootfs = Rootfs::mount(&image.layers, &dir).unwrap();
    let names = |folder: &str| {
        let entries = fs::read_dir(rootfs.join(folder)).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(""), ["kept", "merged", "opaque", "reborn", "swapped"]);
    assert_eq!(names("opaque"), ["new"]);
    assert_eq!(names("merged"), ["above", "below"]);
    assert_eq!(names("swapped"), ["above"]);
    assert_eq!(names("reborn"), ["above"]);
    Rootfs::unmount(&dir).unwrap();
}

#[tokio::test]
async fn plain_gzip_and_zstd_layers_unpack_and_equal_layers_are_kept_once() {
    let world = World::new();
    let tars = ["a", "b", "c"].map(|name| Tar::default().file(name, name.as_bytes()).finish());
    let zstd = zstd::encode_all(tars[2].as_slice(), 3).unwrap();
    let two_members = [gzip(&tars[1][..512]), gzip(&tars[1][512..])].concat();
    let layers = [
        Layer::packed(tars[0].clone(), Digest::of(&tars[0])),
        Layer::packed(two_members, Digest::of(&tars[1])),
        Layer::packed(zstd, Digest::of(&tars[2])),
        Layer::honest(&tars[0]),
    ];
    let store = world.store();
    let image = pull(&store, &world.layout("l", &layers)).await.unwrap();
    assert_eq!(image.layers.len(), 4);
    assert_eq!(image.layers[0], image.layers[3]);
    assert_eq!(
        fs::read_dir(store.root().join("layers")).unwrap().count(),
        3
    );
    let dir = world.dir.join("container");
    let _mounted = Mounted(dir.join("rootfs"));
    let rootfs = Rootfs::mount(&image.layers, &dir).unwrap();
    for name in ["a", "b", "c"] {
        assert_eq!(fs::read_to_string(rootfs.join(name)).unwrap(), name);
    }
    Rootfs::unmount(&dir).unwrap();
}

#[tokio::test]
async fn sparse_files_are_written_with_their_holes() {
    let world = World::new();
    let tree = world.dir.join("tree");
    fs::create_dir(&tree).unwrap();
    let file = fs::File::create(tree.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"middle", 5 << 20).unwrap();
    file.set_len(10 << 20).unwrap();
    for format in ["gnu", "pax"] {
        let path = world.dir.join(format!("{format}.tar"));
        let status = Command::new("tar")
            .args(["--sparse", &format!("--format={format}"), "-cf"])
            .args([&path, Path::new("-C"), &tree, Path::new("sparse")])
            .status();
        assert!(status.unwrap().success());
        let plain = fs::read(&path).unwrap();
        assert!(plain.len() < 1 << 20, "tar did not store it sparsely");
        let layers = [Layer::honest(&plain)];
        let image = pull(
            &open(&world.dir.join(format)),
            &world.layout(format, &layers),
        )
        .await;
        let unpacked = image.unwrap().layers[0].join("sparse");
        let stat = fs::metadata(&unpacked).unwrap();
        assert!(
            stat.blocks() * 512 < 1 << 20,
            "{format}: the holes were filled"
        );
        assert_eq!(
            fs::read(&unpacked).unwrap(),
            fs::read(tree.join("sparse")).unwrap()
        );
    }
}

/// Bytes that a file takes on disk.
fn allocated(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

#[tokio::test]
async fn a_layer_of_zeros_takes_no_disk_and_is_no_bomb() {
    let world = World::new();
    // What `useradd -u 1000000` leaves: 292 bytes per user id, all but the last of them zero.
    let mut lastlog = vec![0; 292 * 1_000_001];
    *lastlog.last_mut().unwrap() = 7;
    let plain = Tar::default().file("var/log/lastlog", &lastlog).finish();
    let layer = Layer::honest(&plain);
    assert!(
        plain.len() as u64 > 200 * layer.size,
        "not a case for the ratio"
    );
    let image = pull(&world.store(), &world.layout("lastlog", &[layer]))
        .await
        .unwrap();
    let unpacked = image.layers[0].join("var/log/lastlog");
    assert!(allocated(&unpacked) <= 1 << 20, "the zeros were written");
    assert!(
        fs::read(&unpacked).unwrap() == lastlog,
        "the content differs"
    );
}

/// A name, where it has data and how much, and its size.
type HoledFile<'a> = (&'a str, &'a [(usize, usize)], usize);

#[tokio::test]
async fn zeros_become_holes_wherever_they_are_and_nothing_else_changes() {
    let world = World::new();
    const MIB: usize = 1 << 20;
    let cases: [HoledFile<'_>; 6] = [
        ("empty", &[], 0),
        ("short", &[], 10),
        ("all", &[], 4 * MIB),
        ("head", &[(0, 5)], 4 * MIB + 3),
        ("tail", &[(4 * MIB + 2, 1)], 4 * MIB + 3),
        (
            "middle",
            &[(MIB - 1, 2), (3 * MIB + 17, 100_000)],
            8 * MIB - 1,
        ),
    ];
    let file = |pieces: &[(usize, usize)], size: usize| {
        let mut data = vec![0; size];
        for (at, length) in pieces {
            data[*at..at + length].fill(9);
        }
        data
    };
    let mut tar = Tar::default();
    for (name, pieces, size) in cases {
        tar = tar.file(name, &file(pieces, size));
    }
    let layers = [Layer::honest(&tar.finish())];
    let image = pull(&world.store(), &world.layout("holes", &layers))
        .await
        .unwrap();
    for (name, pieces, size) in cases {
        let path = image.layers[0].join(name);
        assert!(fs::read(&path).unwrap() == file(pieces, size), "{name}");
        assert!(allocated(&path) <= 512 << 10, "{name}: zeros were written");
    }
}

#[tokio::test]
async fn attributes_that_steer_overlayfs_are_left_out_and_the_rest_is_unpacked() {
    let world = World::new();
    for steering in [
        "user.overlay.origin",
        "user.overlay.metacopy",
        "trusted.overlay.opaque",
        "trusted.overlay.redirect",
    ] {
        let key = format!("SCHILY.xattr.{steering}");
        let tar = Tar::default()
            .pax(&key, b"y")
            .folder("etc")
            .pax(&key, b"y")
            .pax("SCHILY.xattr.user.note", b"kept")
            .file("etc/file", b"inside");
        let layers = [Layer::honest(&tar.finish())];
        let reference = world.layout(steering, &layers);
        let image = pull(&world.store(), &reference).await.unwrap();
        let (etc, file) = (
            image.layers[0].join("etc"),
            image.layers[0].join("etc/file"),
        );
        assert_eq!(fs::read(&file).unwrap(), b"inside", "{steering}");
        assert_eq!(listed(&etc), Vec::<String>::new(), "{steering}");
        assert_eq!(xattr(&etc, "trusted.overlay.opaque"), None, "{steering}");
        assert!(!listed(&file).iter().any(|name| name.contains("overlay")));
    }
}

/// Names of all attributes; as root the kernel lists the trusted ones too.
fn listed(path: &Path) -> Vec<String> {
    let mut names = vec![0_u8; 4096];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let names = names[..length].split(|byte| *byte == 0);
    let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    names.filter(|name| !name.is_empty()).map(text).collect()
}

/// Packs files as `docker save` does.
fn docker_archive(path: &Path, layers: &[&str], tags: &[&str]) {
    let architecture = sutler_images::Platform::host().architecture;
    let plain: Vec<Vec<u8>> = layers
        .iter()
        .map(|name| Tar::default().file(name, b"docker").finish())
        .collect();
    let diff_ids: Vec<Digest> = plain.iter().map(|plain| Digest::of(plain)).collect();
    let config = json!({"architecture": architecture, "os": "linux",
        "config": {"Env": ["A=1"]}, "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let names: Vec<String> = (0..layers.len())
        .map(|at| format!("{at}/layer.tar"))
        .collect();
    let manifest = json!([{"Config": "config.json", "RepoTags": tags, "Layers": names}]);
    let mut tar = Tar::default();
    for (name, plain) in names.iter().zip(&plain) {
        // The last one lies elsewhere, as old versions of Docker have it.
        if name == names.last().unwrap() {
            tar = tar
                .file("shared/layer.tar", plain)
                .symlink(name, "../shared/layer.tar");
        } else {
            tar = tar.file(name, plain);
        }
    }
    let tar = tar
        .file("config.json", config.to_string().as_bytes())
        .file("manifest.json", manifest.to_string().as_bytes());
    fs::write(path, tar.finish()).unwrap();
}

#[tokio::test]
async fn archives_of_oci_and_docker_are_read_plain_and_compressed() {
    let world = World::new();
    let store = world.store();
    let builder = || ImageBuilder::new().bytes("oci", "oci", 0o644).unwrap();
    let oci = world.dir.join("oci.tar");
    let digest = builder().write_archive(&oci, "v1").unwrap();
    let docker = world.dir.join("docker.tar");
    docker_archive(&docker, &["one", "two"], &["team/app:v1"]);
    let packed = |path: &Path| {
        let to = path.with_extension("tar.gz");
        fs::write(&to, gzip(&fs::read(path).unwrap())).unwrap();
        to
    };
    let texts = [
        format!("oci-archive:{}", oci.display()),
        format!("oci-archive:{}:v1", oci.display()),
        oci.display().to_string(),
        packed(&oci).display().to_string(),
    ];
    for text in texts {
        let image = pull(&store, &text.parse().unwrap()).await.unwrap();
        assert_eq!(image.digest, digest, "{text}");
        assert_eq!(fs::read(image.layers[0].join("oci")).unwrap(), b"oci");
    }
    let texts = [
        docker.display().to_string(),
        format!("docker-archive:{}:v1", docker.display()),
        format!("docker-archive:{}:team/app:v1", docker.display()),
        packed(&docker).display().to_string(),
    ];
    let mut digests = Vec::new();
    for text in texts {
        let image = pull(&store, &text.parse().unwrap()).await.unwrap();
        assert_eq!(image.config.env, ["A=1"]);
        assert_eq!(fs::read(image.layers[1].join("two")).unwrap(), b"docker");
        digests.push(image.digest);
    }
    digests.dedup();
    assert_eq!(digests.len(), 1, "the same archive has several digests");
    assert_eq!(
        fs::read_dir(store.root().join("ingest")).unwrap().count(),
        0
    );
}

#[tokio::test]
async fn what_is_no_image_or_several_is_named() {
    let world = World::new();
    let store = world.store();
    let pull_error = async |text: String| match pull(&store, &text.parse().unwrap()).await {
        Err(error @ ImageError::Local { .. }) => match error {
            ImageError::Local { source, .. } => source,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    let layout = world.dir.join("layout");
    for (tag, content) in [("a", "1"), ("b", "2")] {
        let builder = ImageBuilder::new().bytes("f", content, 0o644).unwrap();
        builder.write_layout(&layout, tag).unwrap();
    }
    let tagged = format!("oci:{}:b", layout.display()).parse().unwrap();
    let image = pull(&store, &tagged).await.unwrap();
    assert_eq!(fs::read(image.layers[0].join("f")).unwrap(), b"2");
    match pull_error(format!("oci:{}", layout.display())).await {
        LocalError::NeedsTag { tags, .. } => assert_eq!(tags, ["a", "b"]),
        other => panic!("{other:?}"),
    }
    match pull_error(format!("oci:{}:c", layout.display())).await {
        LocalError::TagAbsent { tag, .. } => assert_eq!(tag, "c"),
        other => panic!("{other:?}"),
    }
    let plain = world.dir.join("plain.tar");
    fs::write(&plain, Tar::default().file("f", b"").finish()).unwrap();
    let error = pull_error(plain.display().to_string()).await;
    assert!(matches!(error, LocalError::NotAnImage { .. }), "{error:?}");
    fs::write(&plain, "no tar at all".repeat(100)).unwrap();
    let error = pull_error(plain.display().to_string()).await;
    assert!(matches!(error, LocalError::Tar { .. }), "{error:?}");
    let error = pull_error(format!("oci:{}", world.dir.display())).await;
    assert!(matches!(error, LocalError::NotAnImage { .. }), "{error:?}");
}

#[tokio::test]
async fn a_stored_image_outlives_its_source_and_a_changed_source_is_seen() {
    let world = World::new();
    let reference = world.layout("l", &[file_layer("f", "first")]);
    let first = pull(&world.store(), &reference).await.unwrap();
    let path = reference.path().unwrap().to_owned();
    fs::rename(&path, world.dir.join("away")).unwrap();
    let store = world.store();
    assert_eq!(pull(&store, &reference).await.unwrap(), first);
    assert_eq!(store.get(&first.digest).unwrap(), Some(first.clone()));

    world.layout("l", &[file_layer("f", "second")]);
    let second = pull(&store, &reference).await.unwrap();
    assert_ne!(second.digest, first.digest);
    assert_eq!(fs::read(second.layers[0].join("f")).unwrap(), b"second");
}

#[tokio::test]
async fn damage_in_the_store_is_repaired_by_the_next_pull() {
    let world = World::new();
    let reference = world.layout("l", &[file_layer("f", "data")]);
    let store = world.store();
    let image = pull(&store, &reference).await.unwrap();
    fs::write(
        store.root().join("blobs/sha256").join(image.digest.hex()),
        "damage",
    )
    .unwrap();
    assert_eq!(store.list().unwrap(), []);
    assert_eq!(pull(&store, &reference).await.unwrap(), image);
    let layer = image.layers[0].parent().unwrap();
    fs::remove_file(layer.join("layer.json")).unwrap();
    assert_eq!(store.list().unwrap(), []);
    assert_eq!(pull(&store, &reference).await.unwrap(), image);
}

#[test]
fn one_process_at_a_time_has_the_store() {
    let world = World::new();
    let store = world.store();
    let second = ImageStore::open(store.root().to_owned(), ImageLimits::default());
    assert!(matches!(second.err(), Some(StoreError::Locked { .. })));
    drop(store);
    world.store();
}

#[tokio::test]
async fn garbage_collection_keeps_exactly_what_is_used() {
    let world = World::new();
    let store = world.store();
    let shared = file_layer("shared", "s");
    let kept = world.layout("kept", &[shared.clone(), file_layer("k", "k")]);
    let kept = pull(&store, &kept).await.unwrap();
    let gone = world.layout("gone", &[shared, file_layer("g", "g")]);
    let gone = pull(&store, &gone).await.unwrap();
    fs::write(
        store.root().join("ingest").join(Digest::of(b"x").hex()),
        "partial",
    )
    .unwrap();

    let report = store.collect_garbage(&[kept.digest, Digest::of(b"never pulled")].into());
    let report = report.unwrap();
    assert_eq!(
        (report.layers_removed, report.refs_removed),
        (1, 1),
        "{report:?}"
    );
    assert_eq!(
        report.blobs_removed, 3,
        "manifest, config and partial download: {report:?}"
    );
    assert!(report.bytes_freed > 1024 && report.unreadable.is_empty() && !report.deferred);
    assert_eq!(store.list().unwrap(), std::slice::from_ref(&kept));
    assert!(kept.layers.iter().all(|layer| layer.exists()));
    assert!(!gone.layers[1].exists());
    let again = store.collect_garbage(&[kept.digest].into()).unwrap();
    assert_eq!(
        again,
        Default::default(),
        "the second collection found something"
    );

    // An image whose layers cannot be told protects all layers.
    fs::write(
        store.root().join("blobs/sha256").join(kept.digest.hex()),
        "damage",
    )
    .unwrap();
    let report = store.collect_garbage(&[kept.digest].into()).unwrap();
    assert_eq!(report.unreadable, [kept.digest]);
    assert!(kept.layers.iter().all(|layer| layer.exists()));
    store.collect_garbage(&[].into()).unwrap();
    assert_eq!(
        fs::read_dir(store.root().join("layers")).unwrap().count(),
        0
    );
}

fn mount_tmpfs(dir: &Path, size: &str) -> Mounted {
    fs::create_dir_all(dir).unwrap();
    let options = std::ffi::CString::new(format!("size={size}")).unwrap();
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", dir, "tmpfs", flags, options.as_c_str()).unwrap();
    Mounted(dir.to_owned())
}

#[tokio::test]
async fn a_full_disk_is_reported_and_recovered_from() {
    let world = World::new();
    let noise: Vec<u8> = (0..6_u32 << 20)
        .map(|at| at.wrapping_mul(2_654_435_761) as u8)
        .collect();
    let layers = [
        file_layer("small", "small"),
        Layer::honest(&Tar::default().file("big", &noise).finish()),
    ];
    let reference = world.layout("l", &layers);
    let dir = world.dir.join("full");
    let _mounted = mount_tmpfs(&dir, "3m");
    let store = open(&dir.join("store"));
    let error = pull(&store, &reference).await.unwrap_err();
    assert_eq!(error.kind(), ImageErrorKind::Local, "{error:?}");
    let source = std::iter::successors(Some(&error as &dyn std::error::Error), |error| {
        error.source()
    });
    let last = source.last().unwrap().to_string();
    assert!(last.contains("No space left"), "{last}");
    assert_eq!(store.list().unwrap(), []);
    // The other layer may still be on its way out when the first is refused.
    let layers = store.root().join("layers");
    let clean = async {
        let named = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().len() == 64;
        while !fs::read_dir(&layers).unwrap().all(named) {
            tokio::task::yield_now().await;
        }
    };
    let cleaned = tokio::time::timeout(std::time::Duration::from_secs(20), clean).await;
    cleaned.expect("what was unpacked in part goes");

    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount_remount(&dir, flags, c"size=64m").unwrap();
    let image = pull(&store, &reference).await.unwrap();
    assert_eq!(fs::read(image.layers[1].join("big")).unwrap(), noise);
}

#[tokio::test]
async fn a_store_on_tmpfs_carries_containers() {
    let world = World::new();
    let dir = world.dir.join("tmpfs");
    let _mounted = mount_tmpfs(&dir, "64m");
    let store = open(&dir.join("store"));
    let image = pull(&store, &world.layout("l", &[file_layer("f", "1")]))
        .await
        .unwrap();
    let container = dir.join("container");
    let _rootfs = Mounted(container.join("rootfs"));
    let rootfs = Rootfs::mount(&image.layers, &container).unwrap();
    fs::write(rootfs.join("f"), "2").unwrap();
    Rootfs::unmount(&container).unwrap();
    assert_eq!(fs::read(image.layers[0].join("f")).unwrap(), b"1");
}

const CRASH_DIR: &str = "SUTLER_TEST_CRASH_DIR";

/// What a crash test runs in a process of its own: a pull, then garbage collection.
#[tokio::test]
#[ignore = "run by a_kill_at_any_failpoint_loses_nothing in a process of its own"]
async fn crashing_process() {
    let dir = PathBuf::from(std::env::var_os(CRASH_DIR).expect("set by the parent"));
    let store = open(&dir.join("store"));
    let keep = ImageReference::OciLayout {
        path: dir.join("keep"),
        tag: None,
    };
    let drop = ImageReference::OciLayout {
        path: dir.join("drop"),
        tag: None,
    };
    let kept = pull(&store, &keep).await.unwrap();
    pull(&store, &drop).await.unwrap();
    store.collect_garbage(&[kept.digest].into()).unwrap();
}

fn run_crashing(dir: &Path, variable: (&str, &str)) -> bool {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crashing_process", "--ignored", "--quiet"])
        .env(CRASH_DIR, dir)
        .env(variable.0, variable.1)
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    status.success()
}

/// Failpoints passed by an undisturbed run, and how often each.
fn failpoints(world: &World) -> BTreeMap<String, usize> {
    let dir = world.dir.join("trace");
    prepare(&dir);
    let trace = dir.join("hits");
    assert!(run_crashing(
        &dir,
        ("SUTLER_FAILPOINT_TRACE", trace.to_str().unwrap())
    ));
    let mut hits = BTreeMap::new();
    for name in fs::read_to_string(trace).unwrap().lines() {
        *hits.entry(name.to_owned()).or_default() += 1;
    }
    hits
}

fn prepare(dir: &Path) {
    let shared = file_layer("shared", "s");
    write_layout(&dir.join("keep"), &[shared.clone(), file_layer("k", "k")]);
    write_layout(&dir.join("drop"), &[shared, file_layer("g", "g")]);
}

#[tokio::test]
async fn a_kill_at_any_failpoint_loses_nothing() {
    let world = World::new();
    let points = failpoints(&world);
    assert!(points.len() >= 9, "failpoints have gone: {points:?}");
    for (name, hits) in points {
        for hit in 1..=hits {
            let dir = world.dir.join(format!("{name}-{hit}"));
            prepare(&dir);
            let armed = format!("{name}:{hit}");
            assert!(
                !run_crashing(&dir, ("SUTLER_FAILPOINT", &armed)),
                "{armed} did not kill"
            );
            check_recovery(&dir, &armed).await;
        }
    }
}

/// After any crash: nothing temporary, everything listed is complete, and the same work succeeds.
async fn check_recovery(dir: &Path, armed: &str) {
    let store = open(&dir.join("store"));
    for folder in ["blobs/sha256", "ingest", "layers", "refs"] {
        for entry in fs::read_dir(store.root().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(!name.starts_with('.'), "{armed}: {folder}/{name} is left");
        }
    }
    for image in store.list().unwrap() {
        assert_eq!(
            fs::read(image.layers[0].join("shared")).unwrap(),
            b"s",
            "{armed}"
        );
    }
    let keep = ImageReference::OciLayout {
        path: dir.join("keep"),
        tag: None,
    };
    let kept = pull(&store, &keep).await.unwrap();
    assert_eq!(fs::read(kept.layers[1].join("k")).unwrap(), b"k", "{armed}");
    store.collect_garbage(&[kept.digest].into()).unwrap();
    assert_eq!(store.list().unwrap(), [kept], "{armed}");
    assert_eq!(
        fs::read_dir(store.root().join("layers")).unwrap().count(),
        2,
        "{armed}"
    );
    assert_eq!(
        fs::read_dir(store.root().join("blobs/sha256"))
            .unwrap()
            .count(),
        2,
        "{armed}"
    );
}

#[tokio::test]
async fn a_built_image_is_what_was_put_in() {
    let world = World::new();
    let config = ImageConfig {
        entrypoint: vec!["/bin/app".into()],
        cmd: vec!["--flag".into()],
        env: vec!["PATH=/bin".into()],
        working_dir: "/data".into(),
        user: "1000:1000".into(),
        stop_signal: "SIGQUIT".into(),
        labels: [("a".to_owned(), "b".to_owned())].into(),
    };
    let long = format!("{}/file", "long".repeat(30));
    let archive = world.dir.join("image.tar");
    ImageBuilder::new()
        .config(config.clone())
        .bytes("bin/app", "#!", 0o4755)
        .unwrap()
        .link("bin/alias", &format!("/{long}"))
        .unwrap()
        .file(&long, Path::new("/proc/self/exe"), 0o755)
        .unwrap()
        .write_archive(&archive, "v1")
        .unwrap();
    let store = world.store();
    let image = pull(&store, &archive.display().to_string().parse().unwrap())
        .await
        .unwrap();
    assert_eq!(image.config, config);
    let root = &image.layers[0];
    assert_eq!(
        fs::metadata(root.join("bin/app")).unwrap().mode() & 0o7777,
        0o4755
    );
    assert_eq!(
        fs::read_link(root.join("bin/alias")).unwrap(),
        Path::new("/").join(&long)
    );
    let exe = fs::read(std::env::current_exe().unwrap()).unwrap();
    assert_eq!(
        Digest::of(&fs::read(root.join(&long)).unwrap()),
        Digest::of(&exe)
    );
}
