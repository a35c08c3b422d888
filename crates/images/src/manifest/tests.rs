//! What is accepted as a manifest, and which platform is chosen.

use serde_json::{Value, json};

use super::*;

fn digest(seed: &str) -> String {
    Digest::of(seed.as_bytes()).to_string()
}

fn parse_value(value: &Value) -> Result<Document, ManifestError> {
    Document::parse(value.to_string().as_bytes(), &ImageLimits::default())
}

fn manifest(layers: usize) -> Value {
    let layer = json!({"mediaType": OCI_LAYER_GZIP, "digest": digest("l"), "size": 3});
    json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": digest("c"), "size": 2},
        "layers": vec![layer; layers],
    })
}

fn entry(os: &str, architecture: &str, variant: Option<&str>) -> Value {
    let seed = format!("{os}{architecture}{variant:?}");
    let mut platform = json!({"os": os, "architecture": architecture});
    if let Some(variant) = variant {
        platform["variant"] = variant.into();
    }
    json!({"mediaType": OCI_MANIFEST, "digest": digest(&seed), "size": 1, "platform": platform})
}

fn pick(entries: Vec<Value>, architecture: &str) -> Result<Digest, ManifestError> {
    let index = json!({"schemaVersion": 2, "manifests": entries});
    let Document::Index(index) = parse_value(&index).unwrap() else {
        panic!("not an index")
    };
    let wanted = Platform {
        architecture: architecture.into(),
        ..Platform::host()
    };
    index.pick(&wanted).map(|entry| entry.digest)
}

#[test]
fn ten_thousand_layers_or_entries_are_refused_by_name() {
    match parse_value(&manifest(10_000)) {
        Err(ManifestError::TooManyLayers {
            layers: 10_000,
            max: 256,
        }) => {}
        other => panic!("{other:?}"),
    }
    let entries = vec![entry("linux", "amd64", None); 10_000];
    match parse_value(&json!({"schemaVersion": 2, "manifests": entries})) {
        Err(ManifestError::TooManyEntries {
            entries: 10_000,
            max: 512,
        }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_document_with_two_meanings_is_refused() {
    let mut both = manifest(1);
    both["manifests"] = json!([entry("linux", "amd64", None)]);
    assert!(matches!(
        parse_value(&both),
        Err(ManifestError::Unclear { .. })
    ));
    let mut disguised = manifest(1);
    disguised["mediaType"] = OCI_INDEX.into();
    assert!(matches!(
        parse_value(&disguised),
        Err(ManifestError::Unclear { .. })
    ));
    assert!(matches!(
        parse_value(&json!({})),
        Err(ManifestError::Unclear { .. })
    ));
}

#[test]
fn what_is_not_an_image_is_named() {
    let old = json!({"schemaVersion": 1, "fsLayers": []});
    assert!(matches!(parse_value(&old), Err(ManifestError::Schema1)));
    let mut chart = manifest(1);
    chart["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json".into();
    assert!(matches!(
        parse_value(&chart),
        Err(ManifestError::NotAnImage { .. })
    ));
    let mut encrypted = manifest(2);
    encrypted["layers"][1]["mediaType"] =
        "application/vnd.oci.image.layer.v1.tar+gzip+encrypted".into();
    assert!(matches!(
        parse_value(&encrypted),
        Err(ManifestError::LayerType { .. })
    ));
    let mut weak = manifest(1);
    weak["layers"][0]["digest"] = "md5:00".into();
    assert!(matches!(
        parse_value(&weak),
        Err(ManifestError::Parse { .. })
    ));
    let huge = vec![b' '; (ImageLimits::default().document_bytes_max + 1) as usize];
    let parsed = Document::parse(&huge, &ImageLimits::default());
    assert!(matches!(parsed, Err(ManifestError::TooLarge { .. })));
}

#[test]
fn the_platform_without_variant_wins_and_others_are_listed() {
    let entries = || {
        vec![
            entry("windows", "amd64", None),
            entry("linux", "arm64", Some("v8")),
            entry("linux", "amd64", Some("v3")),
            entry("linux", "amd64", None),
            entry("unknown", "unknown", None),
        ]
    };
    assert_eq!(
        pick(entries(), "amd64").unwrap(),
        Digest::of(b"linuxamd64None")
    );
    assert_eq!(
        pick(entries(), "arm64").unwrap(),
        Digest::of(b"linuxarm64Some(\"v8\")")
    );
    let error = pick(entries(), "s390x").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the image is not for linux/s390x; it is for: windows/amd64, linux/arm64/v8, \
         linux/amd64/v3, linux/amd64, unknown/unknown"
    );
}

#[test]
fn a_config_must_fit_its_manifest_and_the_host() {
    let Document::Manifest(manifest) = parse_value(&manifest(1)).unwrap() else {
        panic!("not a manifest")
    };
    let check = |config: Value| {
        let bytes = config.to_string();
        let limits = ImageLimits::default();
        ConfigFile::parse(bytes.as_bytes(), &manifest, &Platform::host(), &limits)
    };
    let host = Platform::host();
    let fits = json!({
        "os": "linux", "architecture": host.architecture,
        "config": {
            "Entrypoint": null, "Cmd": ["sh"], "Labels": null, "ExposedPorts": {"1/tcp": {}},
        },
        "rootfs": {"type": "layers", "diff_ids": [digest("d")]}, "history": null,
    });
    let run: ImageConfig = check(fits.clone()).unwrap().config.into();
    assert_eq!(
        run,
        ImageConfig {
            cmd: vec!["sh".into()],
            ..ImageConfig::default()
        }
    );

    let mut none = fits.clone();
    none["config"] = Value::Null;
    assert_eq!(check(none).unwrap().config, RunConfig::default());
    let mut count = fits.clone();
    count["rootfs"]["diff_ids"] = json!([]);
    assert!(matches!(
        check(count),
        Err(ManifestError::LayerCount {
            layers: 1,
            diff_ids: 0
        })
    ));
    let mut foreign = fits;
    foreign["architecture"] = "riscv64000".into();
    assert!(matches!(
        check(foreign),
        Err(ManifestError::WrongPlatform { .. })
    ));
}

/// A manifest of Docker's schema 2 with this type of config.
fn docker_manifest(config_type: Value) -> Value {
    let mut value = manifest(1);
    value["mediaType"] = DOCKER_MANIFEST.into();
    value["config"]["mediaType"] = config_type;
    value
}

#[test]
fn old_docker_manifests_may_have_a_wrong_type_of_config() {
    for wrong in [
        "",
        "application/octet-stream",
        "application/json",
        "text/html",
    ] {
        let parsed = parse_value(&docker_manifest(wrong.into()));
        assert!(
            matches!(parsed, Ok(Document::Manifest(_))),
            "{wrong}: {parsed:?}"
        );
        // In OCI's own format nobody ever wrote that.
        let mut oci = docker_manifest(wrong.into());
        oci["mediaType"] = OCI_MANIFEST.into();
        assert!(
            matches!(parse_value(&oci), Err(ManifestError::NotAnImage { .. })),
            "{wrong}"
        );
        // With anything else among the layers it is no image at all.
        let mut artefact = docker_manifest(wrong.into());
        artefact["layers"][0]["mediaType"] = "application/vnd.cncf.helm.chart.content.v1".into();
        assert!(
            matches!(parse_value(&artefact), Err(ManifestError::LayerType { .. })),
            "{wrong}"
        );
    }
    assert!(parse_value(&docker_manifest(Value::Null)).is_ok());
    for other in ["application/vnd.cncf.helm.config.v1+json", "text/plain"] {
        let parsed = parse_value(&docker_manifest(other.into()));
        assert!(
            matches!(parsed, Err(ManifestError::NotAnImage { .. })),
            "{other}"
        );
    }
}

#[test]
fn layers_of_dockers_other_types_are_known() {
    let docker = "application/vnd.docker.image.rootfs";
    for layer_type in ["diff.tar.zstd", "foreign.diff.tar", "foreign.diff.tar.zstd"] {
        let mut value = docker_manifest(DOCKER_CONFIG.into());
        value["layers"][0]["mediaType"] = format!("{docker}.{layer_type}").into();
        let parsed = parse_value(&value);
        assert!(matches!(parsed, Ok(Document::Manifest(_))), "{parsed:?}");
    }
}

#[test]
fn null_is_as_absent() {
    let mut value = manifest(0);
    value["layers"] = Value::Null;
    value["mediaType"] = Value::Null;
    value["manifests"] = Value::Null;
    let Document::Manifest(parsed) = parse_value(&value).unwrap() else {
        panic!("not a manifest")
    };
    assert_eq!(parsed.layers, []);
    let mut entry = entry("linux", "amd64", None);
    entry["mediaType"] = Value::Null;
    let index =
        json!({"schemaVersion": 2, "mediaType": null, "manifests": [entry], "layers": null});
    assert!(matches!(parse_value(&index).unwrap(), Document::Index(_)));
    let empty = json!({"schemaVersion": 2, "manifests": null});
    assert!(matches!(parse_value(&empty).unwrap(), Document::Index(_)));
    // Absent altogether it stays unclear.
    let mut value = manifest(0);
    value.as_object_mut().unwrap().remove("layers");
    assert!(matches!(
        parse_value(&value),
        Err(ManifestError::Unclear { .. })
    ));
}

#[test]
fn an_image_without_os_is_for_linux() {
    for os in [Value::Null, "".into()] {
        let mut entry = entry("linux", "amd64", None);
        entry["platform"]["os"] = os;
        assert!(pick(vec![entry.clone()], "amd64").is_ok());
        let error = pick(vec![entry], "s390x").unwrap_err().to_string();
        assert!(error.ends_with("it is for: linux/amd64"), "{error}");
    }
    let Document::Manifest(manifest) = parse_value(&manifest(0)).unwrap() else {
        panic!("not a manifest")
    };
    let host = Platform::host();
    let check = |os: Value, architecture: Value| {
        let config = json!({"os": os, "architecture": architecture, "rootfs": {"type": null}});
        let limits = ImageLimits::default();
        ConfigFile::parse(config.to_string().as_bytes(), &manifest, &host, &limits).is_ok()
    };
    assert!(check(Value::Null, host.architecture.clone().into()));
    assert!(check("".into(), "".into()));
    assert!(check("linux".into(), Value::Null));
    assert!(!check("windows".into(), "".into()));
    assert!(!check(Value::Null, "riscv64000".into()));
}
