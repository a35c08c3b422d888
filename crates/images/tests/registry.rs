//! Pulling and pushing against a real registry, and against servers that misbehave.
//! Needs root, as unpacking does, and Debian's docker-registry.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

#[path = "support/http.rs"]
mod http;
#[path = "support/registry.rs"]
mod registry;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use http::{Server, answer};
use registry::Registry;
use serde_json::json;
use sutler_images::{
    AuthSources, Credential, Digest, Image, ImageBuilder, ImageConfig, ImageError, ImageErrorKind,
    ImageLimits, ImageReference, ImageStore, ManifestError, Platform, PullOptions, PullPolicy,
    PullProgress, PushError, RegistryError, push,
};

const MIB: usize = 1 << 20;

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
            dir: temp.path().to_owned(),
            _temp: temp,
        }
    }

    fn store(&self, name: &str) -> ImageStore {
        ImageStore::open(self.dir.join(name), ImageLimits::default()).unwrap()
    }

    /// A layout with an image of one large file that does not compress.
    fn layout(&self, tag: &str, bytes: usize) -> PathBuf {
        let layout = self.dir.join("layout");
        let config = ImageConfig {
            entrypoint: vec!["/run".into()],
            ..ImageConfig::default()
        };
        ImageBuilder::new()
            .config(config)
            .bytes("run", noise(bytes, tag.len() as u64), 0o755)
            .unwrap()
            .write_layout(&layout, tag)
            .unwrap();
        layout
    }
}

/// Bytes that do not compress, the same for the same seed.
fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..bytes / 8).flat_map(|_| next()).collect()
}

fn reference(text: &str) -> ImageReference {
    text.parse().unwrap()
}

fn options() -> PullOptions {
    PullOptions::new(AuthSources::none())
}

/// Options that keep what was reported.
fn listening() -> (PullOptions, Arc<Mutex<Vec<PullProgress>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listener = heard.clone();
    let progress = Arc::new(move |step| listener.lock().unwrap().push(step));
    (
        PullOptions {
            progress,
            ..options()
        },
        heard,
    )
}

async fn push_to(layout: &Path, tag: &str, target: &str) -> Digest {
    push(
        layout,
        Some(tag),
        &target.parse().unwrap(),
        &AuthSources::none(),
    )
    .await
    .unwrap()
}

fn layer_digest(layout: &Path) -> String {
    let blobs = layout.join("blobs/sha256");
    let size = |path: &PathBuf| fs::metadata(path).unwrap().len();
    let blobs = fs::read_dir(blobs)
        .unwrap()
        .map(|blob| blob.unwrap().path());
    let largest = blobs.max_by_key(size).unwrap();
    format!("sha256:{}", largest.file_name().unwrap().to_str().unwrap())
}

fn registry_error(result: Result<Image, ImageError>) -> RegistryError {
    match result {
        Err(ImageError::Registry { source, .. }) => source,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_was_pushed_is_pulled_by_tag_and_by_digest() {
    let world = World::new();
    let registry = Registry::start(&world.dir);
    let layout = world.layout("v1", MIB);
    let name = format!("{}/team/app", registry.host);
    let digest = push_to(&layout, "v1", &format!("{name}:v1")).await;

    let store = world.store("a");
    let (options, heard) = listening();
    let image = store
        .ensure(&reference(&format!("{name}:v1")), &options)
        .await
        .unwrap();
    assert_eq!((image.digest, image.source_digest), (digest, digest));
    assert_eq!(image.config.entrypoint, ["/run"]);
    assert_eq!(
        fs::read(image.layers[0].join("run")).unwrap(),
        noise(MIB, 2)
    );
    assert!(image.size_bytes > MIB as u64);
    let heard = heard.lock().unwrap().clone();
    assert!(
        matches!(heard[0], PullProgress::Resolved { layers: 1, .. }),
        "{heard:?}"
    );
    assert!(matches!(heard.last(), Some(PullProgress::Done { .. })));
    let full = |step: &PullProgress| {
        matches!(step, PullProgress::Downloading { bytes_done, bytes_total, .. }
            if bytes_done == bytes_total)
    };
    assert!(heard.iter().any(full), "{heard:?}");

    let pinned = reference(&format!("{name}@{digest}"));
    assert_eq!(
        world
            .store("b")
            .ensure(&pinned, &options)
            .await
            .unwrap()
            .digest,
        digest
    );
    // Known by tag, then asked for by digest: the registry is not needed for either.
    drop(registry);
    for known in [pinned, reference(&format!("{name}:v1"))] {
        let again = store.ensure(&known, &options).await.unwrap();
        assert_eq!((again.layers, again.digest), (image.layers.clone(), digest));
    }
    let always = PullOptions {
        policy: PullPolicy::Always,
        ..options
    };
    let error = store
        .ensure(&reference(&format!("{name}:v1")), &always)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ImageErrorKind::Unreachable, "{error:?}");
}

#[tokio::test]
async fn a_moved_tag_is_seen_only_when_asked_for() {
    let world = World::new();
    let registry = Registry::start(&world.dir);
    let name = format!("{}/app:latest", registry.host);
    let first = push_to(&world.layout("v1", MIB), "v1", &name).await;
    let store = world.store("store");
    store.ensure(&reference(&name), &options()).await.unwrap();
    let second = push_to(&world.layout("other", MIB), "other", &name).await;
    assert_ne!(first, second);
    assert_eq!(
        store
            .ensure(&reference(&name), &options())
            .await
            .unwrap()
            .digest,
        first
    );
    let always = PullOptions {
        policy: PullPolicy::Always,
        ..options()
    };
    assert_eq!(
        store
            .ensure(&reference(&name), &always)
            .await
            .unwrap()
            .digest,
        second
    );
    assert_eq!(
        store
            .ensure(&reference(&name), &options())
            .await
            .unwrap()
            .digest,
        second
    );
}

#[tokio::test]
async fn an_index_gives_each_host_its_image() {
    let world = World::new();
    let registry = Registry::start(&world.dir);
    let layout = world.dir.join("multi");
    let other = |architecture: &str| Platform {
        os: "linux".into(),
        architecture: architecture.into(),
        variant: None,
    };
    let build = |platform: Platform, content: &str| {
        let builder = ImageBuilder::new()
            .platform(platform)
            .bytes("who", content, 0o644);
        builder.unwrap().write_layout(&layout, "v1").unwrap()
    };
    build(other("s390x"), "mainframe");
    let ours = build(Platform::host(), "ours");
    let name = format!("{}/multi:v1", registry.host);
    let index = push_to(&layout, "v1", &name).await;

    let image = world
        .store("store")
        .ensure(&reference(&name), &options())
        .await
        .unwrap();
    assert_eq!((image.digest, image.source_digest), (ours, index));
    assert_eq!(
        fs::read_to_string(image.layers[0].join("who")).unwrap(),
        "ours"
    );
    let pinned = reference(&format!("{}/multi@{index}", registry.host));
    let image = world
        .store("pinned")
        .ensure(&pinned, &options())
        .await
        .unwrap();
    assert_eq!((image.digest, image.source_digest), (ours, index));

    let foreign = world.dir.join("foreign");
    let builder = ImageBuilder::new()
        .platform(other("s390x"))
        .bytes("x", "", 0o644)
        .unwrap();
    builder.write_layout(&foreign, "v1").unwrap();
    let name = format!("{}/foreign:v1", registry.host);
    push_to(&foreign, "v1", &name).await;
    let error = world
        .store("none")
        .ensure(&reference(&name), &options())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ImageErrorKind::WrongPlatform);
    match error {
        ImageError::Manifest {
            source: ManifestError::WrongPlatform { available, .. },
            ..
        } => {
            assert_eq!(available, ["linux/s390x"]);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn absent_tags_repositories_and_registries_are_told_apart() {
    let world = World::new();
    let registry = Registry::start(&world.dir);
    let name = format!("{}/app", registry.host);
    push_to(&world.layout("v1", 1024), "v1", &format!("{name}:v1")).await;
    let store = world.store("store");
    let pull = async |text: &str| {
        let result = store.ensure(&reference(text), &options()).await;
        let kind = result.as_ref().unwrap_err().kind();
        (kind, registry_error(result))
    };
    let (kind, error) = pull(&format!("{name}:v2")).await;
    assert_eq!(kind, ImageErrorKind::Absent);
    match &error {
        RegistryError::ImageAbsent {
            selector,
            tags,
            raw,
            ..
        } => {
            assert_eq!(
                (selector.as_str(), tags.as_slice()),
                ("v2", &["v1".to_owned()][..])
            );
            assert!(raw.contains("MANIFEST_UNKNOWN"), "{raw}");
        }
        other => panic!("{other:?}"),
    }
    let (kind, error) = pull(&format!("{}/nothing:v1", registry.host)).await;
    assert_eq!(kind, ImageErrorKind::Absent);
    assert!(
        matches!(error, RegistryError::RepositoryAbsent { .. }),
        "{error:?}"
    );
    let digest = Digest::of(b"nothing");
    let (_, error) = pull(&format!("{name}@{digest}")).await;
    assert!(
        matches!(error, RegistryError::ImageAbsent { .. }),
        "{error:?}"
    );
    let host = registry.host.clone();
    drop(registry);
    let (kind, error) = pull(&format!("{host}/app:v3")).await;
    assert_eq!(kind, ImageErrorKind::Unreachable);
    assert!(error.to_string().contains(&host), "{error}");
}

#[tokio::test]
async fn a_registry_with_users_lets_only_them_in() {
    let world = World::new();
    let registry = Registry::start_with_users(&world.dir);
    let layout = world.layout("v1", MIB);
    let name = format!("{}/app:v1", registry.host);
    let login = |password: &str| {
        let (user, password) = ("user".to_owned(), password.to_owned());
        AuthSources::fixed(&registry.host, Credential::Password { user, password })
    };
    let target = name.parse().unwrap();
    let refused = push(&layout, Some("v1"), &target, &AuthSources::none()).await;
    assert!(
        matches!(
            refused,
            Err(PushError::Registry {
                source: RegistryError::Unauthorised { .. },
                ..
            })
        ),
        "{refused:?}"
    );
    push(&layout, Some("v1"), &target, &login("hunter2"))
        .await
        .unwrap();

    let store = world.store("store");
    for (auth, identity) in [
        (AuthSources::none(), "without a credential"),
        (login("wrong"), "as user"),
    ] {
        let result = store
            .ensure(&reference(&name), &PullOptions::new(auth))
            .await;
        let error = result.as_ref().unwrap_err();
        assert_eq!(error.kind(), ImageErrorKind::Unauthorised);
        assert!(error.raw().unwrap().contains("UNAUTHORIZED"), "{error:?}");
        let error = registry_error(result).to_string();
        assert!(
            error.contains(identity) && !error.contains("wrong"),
            "{error}"
        );
    }
    let file = world.dir.join("auth.json");
    // base64 of user:hunter2
    let with_key = |key: String| {
        let auths = json!({"auths": {key: {"auth": "dXNlcjpodW50ZXIy"}}});
        fs::write(&file, auths.to_string()).unwrap();
        PullOptions::new(AuthSources::file(file.clone()))
    };
    // In clear only where the file says so: who listens there may be a task.
    let options = with_key(registry.host.clone());
    let error = store.ensure(&reference(&name), &options).await.unwrap_err();
    assert_eq!(error.kind(), ImageErrorKind::Credentials, "{error:?}");
    let ImageError::Auth { source, .. } = error else {
        panic!("{error:?}")
    };
    let said = source.to_string();
    let key = format!("http://{}", registry.host);
    assert!(said.contains("in clear") && said.contains(&key), "{said}");
    let options = with_key(key);
    store.ensure(&reference(&name), &options).await.unwrap();
}

#[tokio::test]
async fn no_credential_travels_in_clear_unless_its_file_says_so() {
    let world = World::new();
    let server = Server::scripted(|_| {
        let challenge = "WWW-Authenticate: Basic realm=\"r\"\r\n";
        answer("401 Unauthorized", challenge, b"who are you")
    });
    let name = reference(&format!("{}/app:v1", server.host));
    let entry = json!({ "auth": "dXNlcjpodW50ZXIy" });
    for (at, key) in [
        server.host.clone(),
        format!("https://{}", server.host),
        format!("https://{}/v2/", server.host),
    ]
    .into_iter()
    .enumerate()
    {
        let config = json!({ "auths": { key: entry } });
        let auth = home_with(&world.dir, &config.to_string());
        let store = world.store(&at.to_string());
        let pulled = store.ensure(&name, &PullOptions::new(auth)).await;
        pulled.unwrap_err();
    }
    let asked = server.requests_with("GET ");
    assert!(!asked.is_empty());
    for request in asked {
        assert!(
            !request.to_lowercase().contains("authorization"),
            "{request}"
        );
    }
}

#[tokio::test]
async fn a_cut_connection_is_resumed_where_it_broke() {
    let world = World::new();
    let registry = Registry::start(&world.dir);
    let layout = world.layout("v1", 3 * MIB);
    push_to(&layout, "v1", &format!("{}/app:v1", registry.host)).await;
    let layer = layer_digest(&layout);
    let proxy = Server::cutting(registry.host.clone(), layer.clone(), (3, MIB / 2));
    let name = format!("{}/app:v1", proxy.host);
    let (options, heard) = listening();
    let image = world
        .store("store")
        .ensure(&reference(&name), &options)
        .await
        .unwrap();
    assert_eq!(
        fs::read(image.layers[0].join("run")).unwrap(),
        noise(3 * MIB, 2)
    );

    let asked = proxy.requests_with(&format!("GET /v2/app/blobs/{layer}"));
    let ranges: Vec<u64> = asked
        .iter()
        .filter_map(|head| {
            head.lines()
                .find_map(|line| line.strip_prefix("range: bytes="))
        })
        .map(|range| range.trim_end_matches('-').parse().unwrap())
        .collect();
    assert_eq!((asked.len(), ranges.len()), (4, 3), "{asked:#?}");
    assert!(ranges.is_sorted() && ranges[0] > 0, "{ranges:?}");
    let resumed = heard.lock().unwrap();
    let resumed: Vec<u64> = resumed
        .iter()
        .filter_map(|step| match step {
            PullProgress::Resuming { bytes_done, .. } => Some(*bytes_done),
            _other => None,
        })
        .collect();
    assert_eq!(resumed, ranges);
}

#[tokio::test]
async fn a_pull_given_up_is_resumed_by_the_next_and_damage_is_noticed() {
    let world = World::new();
    let registry = Registry::start(&world.dir);
    let layout = world.layout("v1", 3 * MIB);
    push_to(&layout, "v1", &format!("{}/app:v1", registry.host)).await;
    let layer = layer_digest(&layout);
    let partial = world
        .dir
        .join("store/ingest")
        .join(&layer["sha256:".len()..]);
    let store = world.store("store");

    let proxy = Server::cutting(registry.host.clone(), layer.clone(), (usize::MAX, 1));
    let name = format!("{}/app:v1", proxy.host);
    let error = store
        .ensure(&reference(&name), &options())
        .await
        .unwrap_err();
    assert!(matches!(error, ImageError::Download { .. }), "{error:?}");
    assert_eq!(error.kind(), ImageErrorKind::Unreachable);
    drop((proxy, store));

    // As after a crash in the middle: half a file, and a store opened anew.
    let packed = fs::read(layout.join("blobs/sha256").join(&layer["sha256:".len()..])).unwrap();
    for (content, label) in [(packed[..MIB].to_vec(), "sound"), (vec![7; MIB], "damaged")] {
        fs::write(&partial, &content).unwrap();
        fs::write(world.dir.join("store/ingest/spool-1"), "left").unwrap();
        let store = world.store("store");
        assert!(!world.dir.join("store/ingest/spool-1").exists());
        let proxy = Server::cutting(registry.host.clone(), layer.clone(), (0, 1));
        let name = format!("{}/app:v1", proxy.host);
        let image = store.ensure(&reference(&name), &options()).await.unwrap();
        assert_eq!(
            fs::read(image.layers[0].join("run")).unwrap(),
            noise(3 * MIB, 2),
            "{label}"
        );
        let asked = proxy.requests_with("/blobs/");
        let ranged = format!("range: bytes={MIB}-");
        assert!(
            asked.iter().any(|head| head.contains(&ranged)),
            "{label}: {asked:#?}"
        );
        assert!(
            !partial.exists(),
            "the packed layer stays after it was unpacked"
        );
        store.collect_garbage(&[].into()).unwrap();
    }
}

#[tokio::test]
async fn parallel_pulls_of_one_image_download_it_once() {
    let world = World::new();
    let registry = Registry::start(&world.dir);
    let layout = world.layout("v1", 2 * MIB);
    push_to(&layout, "v1", &format!("{}/app:v1", registry.host)).await;
    let layer = layer_digest(&layout);
    let proxy = Server::cutting(registry.host.clone(), layer.clone(), (0, 1));
    let store = world.store("store");
    let wanted = reference(&format!("{}/app:v1", proxy.host));
    let mut pulls = tokio::task::JoinSet::new();
    for _pull in 0..8 {
        let (store, wanted) = (store.clone(), wanted.clone());
        pulls.spawn(async move { store.ensure(&wanted, &options()).await.unwrap() });
    }
    let images = pulls.join_all().await;
    assert!(images.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(proxy.requests_with(&format!("/blobs/{layer}")).len(), 1);
}

/// A registry by script: one image, whose layer is answered by `blob`.
fn scripted(image: &Fake, blob: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Server {
    let image = image.clone();
    Server::scripted(move |head| {
        if head.contains("/manifests/") {
            answer("200 OK", "", image.manifest.as_bytes())
        } else if head.contains(&image.config_digest) {
            answer("200 OK", "", image.config.as_bytes())
        } else {
            blob(head)
        }
    })
}

/// The documents of an image with one layer.
#[derive(Clone)]
struct Fake {
    manifest: String,
    config: String,
    config_digest: String,
    packed: Vec<u8>,
}

impl Fake {
    fn new() -> Fake {
        let plain = tar::Builder::new(Vec::new()).into_inner().unwrap();
        Fake::of(&plain, plain.len() as u64)
    }

    fn of(packed: &[u8], size: u64) -> Fake {
        let digest = Digest::of(packed);
        let config = json!({
            "architecture": Platform::host().architecture, "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [digest]},
        })
        .to_string();
        let config_digest = Digest::of(config.as_bytes()).to_string();
        let manifest = json!({
            "schemaVersion": 2,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": config_digest, "size": config.len()},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": digest, "size": size}],
        })
        .to_string();
        Fake {
            manifest,
            config,
            config_digest,
            packed: packed.to_vec(),
        }
    }
}

const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

#[tokio::test]
async fn images_with_the_media_types_of_old_and_odd_registries_run() {
    let world = World::new();
    let plain = tar::Builder::new(Vec::new()).into_inner().unwrap();
    let packed = zstd::encode_all(plain.as_slice(), 3).unwrap();
    let docker = "application/vnd.docker.image.rootfs";
    let image_config = "application/vnd.docker.container.image.v1+json";
    let rows = [
        (
            "application/octet-stream",
            format!("{docker}.diff.tar.gzip"),
        ),
        ("", format!("{docker}.diff.tar.gzip")),
        ("application/json", format!("{docker}.diff.tar.gzip")),
        ("text/html", format!("{docker}.diff.tar.gzip")),
        (image_config, format!("{docker}.diff.tar.zstd")),
        (image_config, format!("{docker}.foreign.diff.tar")),
        (
            "application/octet-stream",
            format!("{docker}.foreign.diff.tar.zstd"),
        ),
    ];
    for (at, (config_type, layer_type)) in rows.iter().enumerate() {
        let mut fake = Fake::of(&packed, packed.len() as u64);
        let config = fake.config.clone();
        let diff_id = (
            Digest::of(&packed).to_string(),
            Digest::of(&plain).to_string(),
        );
        fake.config = config.replace(&diff_id.0, &diff_id.1);
        let digest = Digest::of(fake.config.as_bytes()).to_string();
        fake.manifest = fake
            .manifest
            .replace(&fake.config_digest, &digest)
            .replace(OCI_CONFIG, config_type)
            .replace(OCI_LAYER, layer_type)
            .replacen(
                '{',
                "{\"mediaType\":\"application/vnd.docker.distribution.manifest.v2+json\",",
                1,
            );
        fake.config_digest = digest;
        let packed = packed.clone();
        let server = scripted(&fake, move |_| answer("200 OK", "", &packed));
        let name = reference(&format!("{}/app:v1", server.host));
        let pulled = world.store(&at.to_string()).ensure(&name, &options()).await;
        pulled.unwrap_or_else(|error| panic!("{config_type} {layer_type}: {error:?}"));
    }
}

/// A home with one configuration of Docker's, and the sources that read it.
fn home_with(dir: &Path, config: &str) -> AuthSources {
    let file = dir.join("config.json");
    fs::write(&file, config).unwrap();
    AuthSources::file(file)
}

/// Credentials that cannot be looked up, and a word of what must be said of them.
const UNUSABLE: [(&str, &str); 4] = [
    (
        r#"{"auths":{"http://HOST":{}},"credsStore":"not-installed"}"#,
        "docker-credential-not-installed",
    ),
    (r#"{"auths":"#, "is not valid"),
    (
        r#"{"auths":{"http://HOST":{}},"credsStore":"../../bin/sh"}"#,
        "../../bin/sh",
    ),
    ("[1, 2]", "is not valid"),
];

#[tokio::test]
async fn unusable_credentials_do_not_hinder_a_pull_that_needs_none() {
    let world = World::new();
    let fake = Fake::new();
    let packed = fake.packed.clone();
    let server = scripted(&fake, move |_| answer("200 OK", "", &packed));
    let name = reference(&format!("{}/app:v1", server.host));
    for (at, (config, _)) in UNUSABLE.iter().enumerate() {
        let auth = home_with(&world.dir, &config.replace("HOST", &server.host));
        let store = world.store(&at.to_string());
        let pulled = store.ensure(&name, &PullOptions::new(auth)).await;
        pulled.unwrap_or_else(|error| panic!("{config}: {error:?}"));
    }
}

#[tokio::test]
async fn unusable_credentials_are_named_when_the_registry_wants_some() {
    let world = World::new();
    let server = Server::scripted(|_| {
        let challenge = "WWW-Authenticate: Basic realm=\"r\"\r\n";
        answer("401 Unauthorized", challenge, b"who are you")
    });
    let name = reference(&format!("{}/app:v1", server.host));
    for (at, (config, word)) in UNUSABLE.iter().enumerate() {
        let auth = home_with(&world.dir, &config.replace("HOST", &server.host));
        let store = world.store(&at.to_string());
        let error = store
            .ensure(&name, &PullOptions::new(auth))
            .await
            .unwrap_err();
        assert_eq!(
            error.kind(),
            ImageErrorKind::Credentials,
            "{config}: {error:?}"
        );
        assert_eq!(error.raw(), Some("who are you"));
        let ImageError::Auth { source, .. } = error else {
            panic!("{config}: {error:?}")
        };
        let said = source.to_string();
        assert!(
            said.contains(word) && said.contains("config.json"),
            "{said}"
        );
        assert_eq!(source.path(), world.dir.join("config.json"));
    }
}

#[tokio::test]
async fn a_redirect_does_not_carry_the_credential_away() {
    let world = World::new();
    let fake = Fake::new();
    let packed = fake.packed.clone();
    let elsewhere = Server::scripted(move |_| answer("200 OK", "", &packed));
    let location = format!("Location: http://{}/bucket\r\n", elsewhere.host);
    let registry = {
        let fake = fake.clone();
        Server::scripted(move |head| {
            if !head.contains("authorization: Basic") {
                answer(
                    "401 Unauthorized",
                    "WWW-Authenticate: Basic realm=\"r\"\r\n",
                    b"who?",
                )
            } else if head.contains("/manifests/") {
                answer("200 OK", "", fake.manifest.as_bytes())
            } else if head.contains(&fake.config_digest) {
                answer("200 OK", "", fake.config.as_bytes())
            } else {
                answer("307 Temporary Redirect", &location, b"")
            }
        })
    };
    let credential = Credential::Password {
        user: "user".into(),
        password: "hunter2".into(),
    };
    let auth = AuthSources::fixed(&registry.host, credential);
    let name = reference(&format!("{}/app:v1", registry.host));
    world
        .store("store")
        .ensure(&name, &PullOptions::new(auth))
        .await
        .unwrap();
    let asked = elsewhere.requests_with("GET /bucket");
    assert_eq!(asked.len(), 1);
    assert!(
        !asked[0].to_lowercase().contains("authorization"),
        "{}",
        asked[0]
    );
}

#[tokio::test]
async fn tokens_are_fetched_from_the_service_that_the_registry_names() {
    let world = World::new();
    let service = Server::scripted(|head| {
        let asked = head.contains("scope=repository%3Aapp%3Apull") && head.contains("service=s");
        let known = head.contains("authorization: Basic dXNlcjpodW50ZXIy");
        match (asked, known) {
            (true, true) => answer("200 OK", "", br#"{"token": "granted"}"#),
            _refused => answer("401 Unauthorized", "", b"no such user"),
        }
    });
    let challenge = format!(
        "WWW-Authenticate: Bearer realm=\"http://{}/token\",service=\"s\",\
         scope=\"repository:app:pull\"\r\n",
        service.host
    );
    let fake = Fake::new();
    let registry = {
        let fake = fake.clone();
        Server::scripted(move |head| {
            if !head.contains("authorization: Bearer granted") {
                answer("401 Unauthorized", &challenge, b"")
            } else if head.contains("/manifests/") {
                answer("200 OK", "", fake.manifest.as_bytes())
            } else if head.contains(&fake.config_digest) {
                answer("200 OK", "", fake.config.as_bytes())
            } else {
                answer("200 OK", "", &fake.packed)
            }
        })
    };
    let name = reference(&format!("{}/app:v1", registry.host));
    let credential = Credential::Password {
        user: "user".into(),
        password: "hunter2".into(),
    };
    let auth = AuthSources::fixed(&registry.host, credential);
    world
        .store("store")
        .ensure(&name, &PullOptions::new(auth))
        .await
        .unwrap();
    assert_eq!(
        service.requests_with("GET /token").len(),
        1,
        "the token is not reused"
    );

    let result = world.store("other").ensure(&name, &options()).await;
    match registry_error(result) {
        RegistryError::Token { raw, .. } => assert_eq!(raw, "no such user"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn registries_that_lie_are_refused() {
    let world = World::new();
    let pull = async |server: &Server, name: &str, suffix: &str| {
        let reference = reference(&format!("{}/app{suffix}", server.host));
        let result = world.store(name).ensure(&reference, &options()).await;
        let left = fs::read_dir(world.dir.join(name).join("layers"))
            .unwrap()
            .count();
        assert_eq!(left, 0, "{name} left a layer");
        result.unwrap_err()
    };
    let fake = Fake::new();
    let forged = scripted(&fake, |_| answer("200 OK", "", &[1; 1024]));
    let error = pull(&forged, "forged", ":v1").await;
    assert!(matches!(error, ImageError::WrongDigest { .. }), "{error:?}");

    let long = scripted(&fake, |_| answer("200 OK", "", &[0; 4096]));
    let error = pull(&long, "long", ":v1").await;
    assert!(
        matches!(error, ImageError::WrongSize { found: 4096, .. }),
        "{error:?}"
    );

    // No length is announced, so only counting helps.
    let endless = scripted(&fake, |_| {
        [&b"HTTP/1.1 200 OK\r\n\r\n"[..], &[0; 1 << 20]].concat()
    });
    let error = pull(&endless, "endless", ":v1").await;
    assert!(matches!(error, ImageError::WrongSize { .. }), "{error:?}");

    let pinned = format!("@{}", Digest::of(b"another manifest"));
    let error = pull(&forged, "pinned", &pinned).await;
    assert!(matches!(error, ImageError::WrongDigest { .. }), "{error:?}");

    let huge = Server::scripted(|_| answer("200 OK", "", &vec![b' '; 5 << 20]));
    let error = pull(&huge, "huge", ":v1").await;
    assert!(
        matches!(
            &error,
            ImageError::Registry {
                source: RegistryError::TooLong { .. },
                ..
            }
        ),
        "{error:?}"
    );
    let circle = Server::scripted(|_| answer("302 Found", "Location: /v2/again\r\n", b""));
    let error = pull(&circle, "circle", ":v1").await;
    assert!(
        matches!(
            &error,
            ImageError::Registry {
                source: RegistryError::Redirects { .. },
                ..
            }
        ),
        "{error:?}"
    );
    let limited = Server::scripted(|_| answer("429 Too Many Requests", "", b"slow down"));
    let error = pull(&limited, "limited", ":v1").await;
    assert_eq!(error.raw(), Some("slow down"));
    assert_eq!(error.kind(), ImageErrorKind::Unreachable);

    let odd = Fake::of(&fake.packed, fake.packed.len() as u64 + 1);
    let packed = fake.packed.clone();
    let short = scripted(&odd, move |_| answer("200 OK", "", &packed));
    let error = pull(&short, "short", ":v1").await;
    assert!(matches!(error, ImageError::WrongSize { .. }), "{error:?}");
}

#[tokio::test]
async fn garbage_collection_waits_for_pulls() {
    let world = World::new();
    let fake = Fake::new();
    let store = Arc::new(world.store("store"));
    let collecting = store.clone();
    let packed = fake.packed.clone();
    let during = Arc::new(Mutex::new(None));
    let report = during.clone();
    let server = scripted(&fake, move |_| {
        *report.lock().unwrap() = Some(collecting.collect_garbage(&[].into()).unwrap());
        answer("200 OK", "", &packed)
    });
    let name = reference(&format!("{}/app:v1", server.host));
    let image = store.ensure(&name, &options()).await.unwrap();
    assert!(during.lock().unwrap().as_ref().unwrap().deferred);
    assert!(
        !store
            .collect_garbage(&[image.digest].into())
            .unwrap()
            .deferred
    );
    assert_eq!(store.list().unwrap(), [image]);
}
