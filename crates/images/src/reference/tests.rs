//! The reference grammar, row by row.

use super::*;

const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn canonical(text: &str) -> String {
    text.parse::<ImageReference>().unwrap().to_string()
}

#[test]
fn defaults_are_dockers() {
    let pinned = format!("docker.io/library/busybox@sha256:{HEX}");
    let rows = [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36"),
        ("org/app", "docker.io/org/app:latest"),
        ("index.docker.io/org/app", "docker.io/org/app:latest"),
        ("ghcr.io/a/b/c:v1", "ghcr.io/a/b/c:v1"),
        ("localhost/app", "localhost/app:latest"),
        ("127.0.0.1:5000/app:2", "127.0.0.1:5000/app:2"),
        ("[::1]:5000/app", "[::1]:5000/app:latest"),
        ("HOST/app", "HOST/app:latest"),
        ("host:443/my__app.x/y--z", "host:443/my__app.x/y--z:latest"),
        (&format!("busybox@sha256:{HEX}"), &pinned),
    ];
    for (text, expected) in rows {
        assert_eq!(canonical(text), expected, "{text}");
        assert_eq!(
            canonical(expected),
            expected,
            "canonical form is not stable"
        );
    }
    let both = canonical(&format!("host:1/app:v1@sha256:{HEX}"));
    assert_eq!(both, format!("host:1/app:v1@sha256:{HEX}"));
}

#[test]
fn malformed_references_are_refused() {
    let long = "a".repeat(300);
    let rows = [
        "",
        "Busybox",
        "a//b",
        "a/",
        "-a",
        "a-",
        "a..b",
        "a___b",
        "a b",
        "a:",
        "a:-x",
        "a@",
        "a@b",
        "host:99999/a",
        "host:0/a",
        "-x.y/a",
        "[::g]:1/a",
        "a:b:c",
        "a\n",
        "ünïcode",
        &long,
        "a@sha512:00",
        "localhost/",
        "oci:",
        "oci-archive:",
        "docker-archive::x",
    ];
    for text in rows {
        assert!(
            text.parse::<ImageReference>().is_err(),
            "{text:?} was accepted"
        );
    }
    let huge = "a".repeat(REFERENCE_BYTES_MAX + 1);
    assert!(matches!(
        huge.parse::<ImageReference>(),
        Err(ReferenceError::TooLong { .. })
    ));
}

#[test]
fn paths_are_told_from_names() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("lay:out");
    std::fs::create_dir(&dir).unwrap();
    let file = temp.path().join("image.tar");
    std::fs::write(&file, "").unwrap();
    let parse = |text: String| text.parse::<ImageReference>();
    assert_eq!(
        parse(dir.display().to_string()),
        Ok(ImageReference::OciLayout {
            path: dir.clone(),
            tag: None
        })
    );
    assert_eq!(
        parse(file.display().to_string()),
        Ok(ImageReference::Archive { path: file.clone() })
    );
    assert_eq!(
        parse(format!("oci:{}", dir.display())),
        Ok(ImageReference::OciLayout {
            path: dir.clone(),
            tag: None
        })
    );
    assert_eq!(
        parse(format!("oci:{}:v1", dir.display())),
        Ok(ImageReference::OciLayout {
            path: dir,
            tag: Some("v1".into())
        })
    );
    assert_eq!(
        parse(format!("docker-archive:{}:a/b:v1", file.display())),
        Ok(ImageReference::DockerArchive {
            path: file.clone(),
            tag: Some("a/b:v1".into())
        })
    );
    assert!(matches!(
        "/no/such/image.tar".parse::<ImageReference>(),
        Err(ReferenceError::PathAbsent { .. })
    ));
}

#[test]
fn only_this_hosts_own_names_are_loopback() {
    for host in ["localhost", "127.0.0.1", "127.9.9.9", "[::1]"] {
        assert!(is_loopback_host(host), "{host}");
    }
    for host in [
        "localhost.evil.example",
        "128.0.0.1",
        "127.0.0.1.evil",
        "[::2]",
        "10.0.0.1",
    ] {
        assert!(!is_loopback_host(host), "{host}");
    }
}
