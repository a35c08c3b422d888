//! Images made to break out: each is refused by name, and nothing outside the store changes.
//! Needs root, as unpacking does.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

#[path = "support/archive.rs"]
mod archive;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use archive::{Layer, Raw, Tar, gzip, write_layout};
use sutler_images::{
    AuthSources, Digest, Image, ImageError, ImageErrorKind, ImageLimits, ImageReference,
    ImageStore, LayerError, ManifestError, PullOptions, TarError, UnpackError,
};

/// A store, and a folder beside it that must not change.
struct Arena {
    _temp: tempfile::TempDir,
    dir: PathBuf,
    limits: ImageLimits,
}

/// Everything about a tree that an attack could change.
type Fingerprint = BTreeMap<PathBuf, (u32, u64, u32, i64, i64, Vec<u8>)>;

impl Arena {
    fn new() -> Arena {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests unpack images and need root"
        );
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().canonicalize().unwrap();
        fs::create_dir_all(dir.join("outside/folder")).unwrap();
        fs::write(dir.join("outside/secret"), "secret").unwrap();
        fs::write(dir.join("outside/folder/victim"), "victim").unwrap();
        Arena {
            _temp: temp,
            dir,
            limits: ImageLimits::default(),
        }
    }

    fn limited(change: impl FnOnce(&mut ImageLimits)) -> Arena {
        let mut arena = Arena::new();
        change(&mut arena.limits);
        arena
    }

    fn outside(&self) -> PathBuf {
        self.dir.join("outside")
    }

    /// Pulls an image of these layers, checks that nothing outside has changed, and that a
    /// refused one has left nothing in the store.
    async fn pull(&self, layers: &[Layer]) -> Result<Image, ImageError> {
        let layout = self.dir.join("layout");
        write_layout(&layout, layers);
        let before = fingerprint(&self.outside());
        let store = ImageStore::open(self.dir.join("store"), self.limits.clone()).unwrap();
        let reference = ImageReference::OciLayout {
            path: layout,
            tag: None,
        };
        let result = store
            .ensure(&reference, &PullOptions::new(AuthSources::none()))
            .await;
        assert_eq!(
            before,
            fingerprint(&self.outside()),
            "something outside was touched"
        );
        if result.is_err() {
            for name in ["layers", "ingest", "refs"] {
                let left: Vec<_> = fs::read_dir(store.root().join(name)).unwrap().collect();
                assert!(
                    left.is_empty(),
                    "a refused image has left {left:?} in {name}"
                );
            }
            assert!(store.list().unwrap().is_empty());
        }
        result
    }

    async fn unpack(&self, tar: Tar) -> Result<Image, ImageError> {
        self.pull(&[Layer::honest(&tar.finish())]).await
    }

    /// Unpacks what is harmless, and keeps the arena as long as its image is looked at.
    async fn unpack_and_keep(self, tar: Tar) -> (Arena, Image) {
        let image = self.unpack(tar).await.expect("harmless where it lands");
        (self, image)
    }

    async fn refuse(&self, tar: Tar) -> UnpackError {
        match self.unpack(tar).await {
            Err(error @ ImageError::Layer { .. }) => {
                let kind = error.kind();
                match error {
                    ImageError::Layer {
                        source:
                            LayerError::Unpack {
                                source:
                                    source @ UnpackError::Tar {
                                        source: TarError::UnknownKind { .. },
                                    },
                            },
                        ..
                    } => {
                        assert_eq!(kind, ImageErrorKind::Unsupported, "{source:?}");
                        source
                    }
                    ImageError::Layer {
                        source: LayerError::Unpack { source },
                        ..
                    } => {
                        assert_eq!(kind, ImageErrorKind::Refused, "{source:?}");
                        source
                    }
                    other => panic!("refused for another reason: {other:?}"),
                }
            }
            other => panic!("not refused: {other:?}"),
        }
    }
}

fn fingerprint(root: &Path) -> Fingerprint {
    let mut found = Fingerprint::new();
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        let data = fs::symlink_metadata(&path).unwrap();
        let content = if data.is_file() {
            fs::read(&path).unwrap()
        } else {
            Vec::new()
        };
        if data.is_dir() {
            pending.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
        let facts = (
            data.mode(),
            data.nlink(),
            data.uid(),
            data.mtime(),
            data.ctime_nsec(),
            content,
        );
        found.insert(path, facts);
    }
    found
}

/// A relative path from deep inside the store to `outside`, with more `..` than any store is deep.
fn climbing(path: &Path) -> String {
    format!(
        "{}{}",
        "../".repeat(30),
        path.strip_prefix("/").unwrap().display()
    )
}

/// A device node, as which the host's memory or disk could be opened.
fn device(name: &'static str) -> Raw<'static> {
    Raw {
        name: name.as_bytes(),
        kind: b'3',
        device: (1, 3),
        ..Raw::default()
    }
}

macro_rules! refused {
    ($arena:expr, $tar:expr, $pattern:pat) => {
        match $arena.refuse($tar).await {
            $pattern => {}
            other => panic!("refused for another reason: {other:?}"),
        }
    };
}

#[tokio::test]
async fn names_that_climb_are_refused() {
    for name in [
        "..",
        "../escape",
        "a/../../escape",
        "/../escape",
        "a/..",
        "./../x",
    ] {
        let arena = Arena::new();
        refused!(
            arena,
            Tar::default().file(name, b"x"),
            UnpackError::ParentComponent { .. }
        );
    }
    let arena = Arena::new();
    let climb = climbing(&arena.outside().join("escape"));
    refused!(
        arena,
        Tar::default()
            .pax("path", climb.as_bytes())
            .file("innocent", b"x"),
        UnpackError::ParentComponent { .. }
    );
    let zero = Tar::default()
        .pax("path", b"a\0../b")
        .file("innocent", b"x");
    refused!(Arena::new(), zero, UnpackError::ZeroByte { .. });
}

#[tokio::test]
async fn absolute_names_land_inside() {
    let arena = Arena::new();
    let target = arena.outside().join("escape").display().to_string();
    let tar = Tar::default()
        .pax("path", target.as_bytes())
        .file("innocent", b"x");
    let image = arena.unpack(tar).await.unwrap();
    let inside = image.layers[0].join(target.trim_start_matches('/'));
    assert_eq!(fs::read(inside).unwrap(), b"x");
}

#[tokio::test]
async fn writes_through_links_are_refused() {
    let targets: [fn(&Path) -> String; 6] = [
        |outside| outside.display().to_string(),
        climbing,
        |_| "/proc/self/cwd".into(),
        |_| "/proc/self/root".into(),
        |_| "link".into(),
        |_| "nowhere/at/all".into(),
    ];
    for target in targets {
        let arena = Arena::new();
        let target = target(&arena.outside());
        let tar = Tar::default()
            .symlink("link", &target)
            .file("link/folder/new", b"pwned");
        refused!(arena, tar, UnpackError::ThroughLink { .. });
    }
    let arena = Arena::new();
    let tar = Tar::default()
        .symlink("a", "b")
        .symlink("b", &arena.outside().display().to_string())
        .file("a/secret", b"pwned");
    refused!(arena, tar, UnpackError::ThroughLink { .. });
}

#[tokio::test]
async fn the_root_of_a_link_is_the_layers_own() {
    for target in ["/", "../../../../../../..", "/../.."] {
        let tar = Tar::default()
            .symlink("link", target)
            .file("link/folder/new", b"inside");
        let image = Arena::new().unpack_and_keep(tar).await;
        assert_eq!(
            fs::read(image.1.layers[0].join("folder/new")).unwrap(),
            b"inside"
        );
    }
}

#[tokio::test]
async fn links_that_stay_inside_are_followed() {
    let arena = Arena::new();
    let tar = Tar::default()
        .folder("usr/lib")
        .symlink("lib", "usr/lib")
        .symlink("absolute", "/usr")
        .file("lib/a", b"1")
        .file("absolute/b", b"2");
    let layer = arena.unpack(tar).await.unwrap().layers.remove(0);
    assert_eq!(fs::read(layer.join("usr/lib/a")).unwrap(), b"1");
    assert_eq!(fs::read(layer.join("usr/b")).unwrap(), b"2");
}

#[tokio::test]
async fn the_last_component_is_replaced_and_never_followed() {
    let arena = Arena::new();
    let outside = arena.outside();
    let to = |name: &str| outside.join(name).display().to_string();
    let tar = Tar::default()
        .symlink("file", &to("secret"))
        .file("file", b"pwned")
        .symlink("folder", &to("folder"))
        .folder("folder")
        .file("folder/victim", b"pwned")
        .symlink("device", &to("secret"))
        .raw(&device("device"), b"")
        .symlink("again", &to("secret"))
        .symlink("again", &to("folder"));
    let layer = arena.unpack(tar).await.unwrap().layers.remove(0);
    assert_eq!(fs::read(layer.join("file")).unwrap(), b"pwned");
    assert!(fs::symlink_metadata(layer.join("folder")).unwrap().is_dir());
    assert_eq!(
        fs::read_link(layer.join("again")).unwrap(),
        outside.join("folder")
    );
}

#[tokio::test]
async fn hard_links_reach_files_of_their_layer_only() {
    let targets: [fn(&Path) -> String; 6] = [
        |secret| secret.display().to_string(),
        climbing,
        |_| "absent".into(),
        |_| "".into(),
        |_| ".".into(),
        |_| "/etc/passwd".into(),
    ];
    for target in targets {
        let arena = Arena::new();
        let target = target(&arena.outside().join("secret"));
        let tar = Tar::default().hard_link("link", &target);
        refused!(arena, tar, UnpackError::HardLinkTarget { .. });
    }
    let arena = Arena::new();
    let through = Tar::default()
        .symlink("way", &arena.outside().display().to_string())
        .hard_link("link", "way/secret");
    refused!(arena, through, UnpackError::HardLinkTarget { .. });
    let folder = Tar::default().folder("d").hard_link("link", "d");
    refused!(Arena::new(), folder, UnpackError::HardLinkTarget { .. });
}

#[tokio::test]
async fn a_hard_link_to_a_symlink_is_no_way_out() {
    let arena = Arena::new();
    let tar = Tar::default()
        .symlink("way", &arena.outside().join("secret").display().to_string())
        .hard_link("alias", "way")
        .file("alias", b"pwned");
    let layer = arena.unpack(tar).await.unwrap().layers.remove(0);
    assert_eq!(fs::read(layer.join("alias")).unwrap(), b"pwned");
}

#[tokio::test]
async fn whiteouts_through_links_and_impossible_whiteouts_are_refused() {
    for name in [
        "way/.wh.victim",
        "way/.wh..wh..opq",
        "way/folder/.wh.victim",
    ] {
        let arena = Arena::new();
        let way = arena.outside().display().to_string();
        let tar = Tar::default().symlink("way", &way).file(name, b"");
        refused!(arena, tar, UnpackError::ThroughLink { .. });
    }
    for name in [".wh.", ".wh..", ".wh...", "d/.wh..."] {
        let tar = Tar::default().folder("d").file(name, b"");
        refused!(Arena::new(), tar, UnpackError::Whiteout { .. });
    }
}

#[tokio::test]
async fn folders_are_not_replaced_by_other_things() {
    let base = || Tar::default().folder("d").file("d/kept", b"1");
    refused!(
        Arena::new(),
        base().raw(&device("d"), b""),
        UnpackError::ReplacesFolder { .. }
    );
    refused!(
        Arena::new(),
        base().file("d", b""),
        UnpackError::ReplacesFolder { .. }
    );
    refused!(
        Arena::new(),
        base().symlink("d", "/"),
        UnpackError::ReplacesFolder { .. }
    );
    refused!(
        Arena::new(),
        base().file("e", b"").hard_link("d", "e"),
        UnpackError::ReplacesFolder { .. }
    );
    refused!(
        Arena::new(),
        base().symlink(".", "/"),
        UnpackError::ReplacesFolder { .. }
    );
    refused!(
        Arena::new(),
        Tar::default().file("f", b"").file("f/x", b""),
        UnpackError::BelowFile { .. }
    );
}

#[tokio::test]
async fn attributes_without_a_name_are_refused() {
    for key in ["SCHILY.xattr.", "SCHILY.xattr.user.a\0b"] {
        let tar = Tar::default().pax(key, b"/etc").folder("d");
        refused!(Arena::new(), tar, UnpackError::Xattr { .. });
    }
}

#[tokio::test]
async fn the_names_of_folders_are_bounded_together() {
    let arena = Arena::limited(|limits| limits.folder_names_bytes_max = 1_000);
    let parent = "x".repeat(40);
    let tar = (0..30).fold(Tar::default().folder(&parent), |tar, number| {
        tar.folder(&format!("{parent}/{number}"))
    });
    refused!(arena, tar, UnpackError::FolderNames { max: 1_000 });
}

#[tokio::test]
async fn names_and_counts_beyond_the_limits_are_refused() {
    let arena = Arena::limited(|limits| limits.entries_max = 100);
    let many = (0..101).fold(Tar::default(), |tar, index| {
        tar.file(&format!("f{index}"), b"")
    });
    refused!(arena, many, UnpackError::TooManyEntries { max: 100 });
    let deep = "d/".repeat(257) + "f";
    let tar = Tar::default().pax("path", deep.as_bytes()).file("x", b"");
    refused!(Arena::new(), tar, UnpackError::TooDeep { .. });
    let long = "x".repeat(256);
    let tar = Tar::default().pax("path", long.as_bytes()).file("x", b"");
    refused!(Arena::new(), tar, UnpackError::NameTooLong { .. });
    let long = "x/".repeat(3000);
    let tar = Tar::default().pax("path", long.as_bytes()).file("x", b"");
    refused!(Arena::new(), tar, UnpackError::NameTooLong { .. });
    let unknown = Tar::default().raw(
        &Raw {
            name: b"x",
            kind: b'V',
            ..Raw::default()
        },
        b"",
    );
    refused!(Arena::new(), unknown, UnpackError::Tar { .. });
}

#[tokio::test]
async fn deep_nesting_within_the_limit_and_strange_names_unpack() {
    let arena = Arena::new();
    let deep = "d/".repeat(250) + "f";
    let strange = [
        "ünï/🦀",
        "\u{202e}gpj.exe",
        " ",
        "-rf",
        "a\nb",
        "...",
        "\\",
        "\x1b[31m",
    ];
    let mut tar = Tar::default()
        .pax("path", deep.as_bytes())
        .file("x", b"deep");
    for name in strange {
        tar = tar.file(name, name.as_bytes());
    }
    let tar = tar.raw(
        &Raw {
            name: b"\xff\xfe",
            ..Raw::default()
        },
        b"no text",
    );
    let layer = arena.unpack(tar).await.unwrap().layers.remove(0);
    assert_eq!(fs::read(layer.join(deep)).unwrap(), b"deep");
    for name in strange {
        assert_eq!(fs::read(layer.join(name)).unwrap(), name.as_bytes());
    }
}

#[tokio::test]
async fn of_equal_names_the_last_counts() {
    let arena = Arena::new();
    let tar = Tar::default()
        .file("f", b"first")
        .hard_link("kept", "f")
        .file("f", b"second")
        .folder("d")
        .folder("d/")
        .file("./f", b"third");
    let layer = arena.unpack(tar).await.unwrap().layers.remove(0);
    assert_eq!(fs::read(layer.join("f")).unwrap(), b"third");
    assert_eq!(fs::read(layer.join("kept")).unwrap(), b"first");
}

#[tokio::test]
async fn layers_that_are_not_what_they_say_are_refused() {
    let plain = Tar::default().file("f", b"data").finish();
    let honest = Layer::honest(&plain);

    let mut forged = honest.clone();
    *forged.packed.last_mut().unwrap() ^= 1;
    match Arena::new().pull(&[forged]).await {
        Err(ImageError::WrongDigest { expected, .. }) => assert_eq!(expected, honest.digest),
        other => panic!("{other:?}"),
    }
    let mut short = honest.clone();
    short.size += 1;
    match Arena::new().pull(&[short]).await {
        Err(ImageError::WrongSize {
            expected, found, ..
        }) => assert_eq!(expected, found + 1),
        other => panic!("{other:?}"),
    }
    let mut other_content = honest.clone();
    other_content.diff_id = Digest::of(b"something else");
    match Arena::new().pull(&[other_content]).await {
        Err(ImageError::Layer {
            source: LayerError::DiffId { found, .. },
            ..
        }) => {
            assert_eq!(found, honest.diff_id);
        }
        other => panic!("{other:?}"),
    }
    let appended = [plain.as_slice(), b"hidden"].concat();
    let hidden = Layer::packed(gzip(&appended), Digest::of(&plain));
    match Arena::new().pull(&[hidden]).await {
        Err(ImageError::Layer {
            source: LayerError::DiffId { .. },
            ..
        }) => {}
        other => panic!("bytes after the archive went unseen: {other:?}"),
    }
}

#[tokio::test]
async fn truncated_and_trailing_compressed_bytes_are_refused() {
    let plain = Tar::default().file("f", &[7; 100_000]).finish();
    let diff_id = Digest::of(&plain);
    let packed = gzip(&plain);
    let zstd = zstd::encode_all(plain.as_slice(), 3).unwrap();
    let damaged = [
        packed[..packed.len() / 2].to_vec(),
        packed[..packed.len() - 4].to_vec(),
        packed[..11].to_vec(),
        [packed.as_slice(), b"trailing"].concat(),
        zstd[..zstd.len() / 2].to_vec(),
        zstd[..zstd.len() - 1].to_vec(),
    ];
    for bytes in damaged {
        match Arena::new().pull(&[Layer::packed(bytes, diff_id)]).await {
            Err(ImageError::Layer {
                source: LayerError::Decompress { .. },
                ..
            }) => {}
            other => panic!("{other:?}"),
        }
    }
    let cut = Layer::honest(&plain[..60_000]);
    match Arena::new().pull(&[cut]).await {
        Err(ImageError::Layer {
            source: LayerError::Decompress { .. },
            ..
        }) => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn zip_bombs_stop_at_the_limit() {
    const MIB: usize = 1 << 20;
    let pattern = b"ab".repeat(32 * MIB);
    let pattern = Tar::default().file("pattern", &pattern).finish();
    let bomb = Layer::honest(&pattern);
    let arena = Arena::limited(|limits| limits.ratio_floor_bytes = 8 << 20);
    match arena.pull(std::slice::from_ref(&bomb)).await {
        Err(ImageError::Layer {
            source:
                LayerError::Ratio {
                    packed_bytes,
                    max: 200,
                },
            ..
        }) => {
            assert_eq!(packed_bytes, bomb.size);
        }
        other => panic!("{other:?}"),
    }
    let arena = Arena::limited(|limits| limits.unpacked_bytes_max = 16 << 20);
    match arena.pull(std::slice::from_ref(&bomb)).await {
        Err(ImageError::Layer {
            source: LayerError::TooManyBytes { .. },
            ..
        }) => {}
        other => panic!("{other:?}"),
    }
    // Two layers share one image's limit.
    let half = |name: &str| Layer::honest(&Tar::default().file(name, &vec![1; 10 * MIB]).finish());
    match arena_pull_two(&half("a"), &half("b")).await {
        Err(ImageError::Layer {
            source: LayerError::TooManyBytes { .. },
            ..
        }) => {}
        other => panic!("{other:?}"),
    }
    let zstd = Layer::packed(
        zstd::encode_all(pattern.as_slice(), 3).unwrap(),
        Digest::of(&pattern),
    );
    let arena = Arena::limited(|limits| limits.ratio_floor_bytes = 8 << 20);
    match arena.pull(&[zstd]).await {
        Err(ImageError::Layer {
            source: LayerError::Ratio { .. },
            ..
        }) => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn data_between_holes_counts_as_what_it_takes_on_disk() {
    // One byte in each block that could be a hole: nearly all zeros, and all of it on disk.
    let mut dotted = vec![0; 16 << 20];
    dotted.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    let tar = Tar::default().file("dotted", &dotted).finish();
    let arena = Arena::limited(|limits| {
        limits.ratio_floor_bytes = 8 << 20;
        limits.ratio_max = 100;
    });
    match arena.pull(&[Layer::honest(&tar)]).await {
        Err(ImageError::Layer {
            source: LayerError::Ratio { .. },
            ..
        }) => {}
        other => panic!("{other:?}"),
    }
    // Zeros take nothing, and still not more of them than the image may have.
    let zeros = Tar::default().file("zeros", &vec![0; 32 << 20]).finish();
    let arena = Arena::limited(|limits| limits.unpacked_bytes_max = 16 << 20);
    match arena.pull(&[Layer::honest(&zeros)]).await {
        Err(ImageError::Layer {
            source: LayerError::TooManyBytes { .. },
            ..
        }) => {}
        other => panic!("{other:?}"),
    }
}

/// A layer that was complete before its image was refused may stay; it is not looked at here.
async fn arena_pull_two(a: &Layer, b: &Layer) -> Result<Image, ImageError> {
    let arena = Arena::limited(|limits| limits.unpacked_bytes_max = 16 << 20);
    let layout = arena.dir.join("layout");
    write_layout(&layout, &[a.clone(), b.clone()]);
    let store = ImageStore::open(arena.dir.join("store"), arena.limits.clone()).unwrap();
    let reference = ImageReference::OciLayout {
        path: layout,
        tag: None,
    };
    store
        .ensure(&reference, &PullOptions::new(AuthSources::none()))
        .await
}

#[tokio::test]
async fn manifests_of_ten_thousand_layers_are_refused() {
    let layer = Layer::honest(&Tar::default().finish());
    match Arena::new().pull(&vec![layer; 10_000]).await {
        Err(ImageError::Manifest {
            source: ManifestError::TooManyLayers { layers: 10_000, .. },
            ..
        }) => {}
        other => panic!("{other:?}"),
    }
    let arena = Arena::limited(|limits| limits.document_bytes_max = 1000);
    let layer = Layer::honest(&Tar::default().finish());
    match arena.pull(&vec![layer; 10]).await {
        Err(ImageError::Manifest {
            source: ManifestError::TooLarge { .. },
            ..
        }) => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_pipe_in_a_layout_does_not_hang_the_pull() {
    let arena = Arena::new();
    let layout = arena.dir.join("layout");
    write_layout(&layout, &[Layer::honest(&Tar::default().finish())]);
    fs::remove_file(layout.join("index.json")).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mkfifoat(rustix::fs::CWD, layout.join("index.json"), mode).unwrap();
    let store = ImageStore::open(arena.dir.join("store"), ImageLimits::default()).unwrap();
    let reference = ImageReference::OciLayout {
        path: layout,
        tag: None,
    };
    let result = store
        .ensure(&reference, &PullOptions::new(AuthSources::none()))
        .await;
    assert!(
        matches!(result, Err(ImageError::Local { .. })),
        "{result:?}"
    );
}
