//! The images that we make.

use super::*;

fn sample() -> ImageBuilder {
    let config = ImageConfig {
        cmd: vec!["/bin/sh".into()],
        ..ImageConfig::default()
    };
    ImageBuilder::new()
        .config(config)
        .bytes("/etc/deep/name", "content", 0o4755)
        .unwrap()
        .link("etc/alias", "deep/name")
        .unwrap()
        .folder("tmp", 0o1777)
        .unwrap()
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let temp = tempfile::tempdir().unwrap();
    let paths = [temp.path().join("a.tar"), temp.path().join("b.tar")];
    let digests = paths
        .clone()
        .map(|path| sample().write_archive(&path, "v1").unwrap());
    assert_eq!(digests[0], digests[1]);
    assert_eq!(fs::read(&paths[0]).unwrap(), fs::read(&paths[1]).unwrap());
    let left: Vec<_> = fs::read_dir(temp.path()).unwrap().collect();
    assert_eq!(left.len(), 2, "working files are left: {left:?}");
}

#[test]
fn a_layout_keeps_its_other_tags() {
    let temp = tempfile::tempdir().unwrap();
    let first = sample().write_layout(temp.path(), "v1").unwrap();
    let other = sample().bytes("more", "x", 0o644).unwrap();
    let second = other.write_layout(temp.path(), "v2").unwrap();
    sample().write_layout(temp.path(), "v1").unwrap();
    let index = fs::read(temp.path().join("index.json")).unwrap();
    let Ok(Document::Index(index)) = Document::parse(&index, &ImageLimits::default()) else {
        panic!("not an index")
    };
    let digests: Vec<Digest> = index.manifests.iter().map(|entry| entry.digest).collect();
    assert_eq!(digests, [first, second]);
}

#[test]
fn trees_are_taken_as_they_are_and_impossible_names_refused() {
    let temp = tempfile::tempdir().unwrap();
    let from = temp.path().join("from");
    fs::create_dir_all(from.join("sub")).unwrap();
    fs::write(from.join("sub/run"), "#!").unwrap();
    fs::set_permissions(from.join("sub/run"), fs::Permissions::from_mode(0o750)).unwrap();
    std::os::unix::fs::symlink("run", from.join("sub/alias")).unwrap();
    let builder = ImageBuilder::new().tree("/opt", &from).unwrap();
    let names: Vec<&str> = builder.nodes.keys().map(String::as_str).collect();
    assert_eq!(names, ["opt", "opt/sub", "opt/sub/alias", "opt/sub/run"]);
    assert!(matches!(
        builder.nodes["opt/sub/run"],
        Node::Copy { mode: 0o750, .. }
    ));
    for name in ["", "/", "a/../b", "a//b", "."] {
        assert!(
            ImageBuilder::new().bytes(name, "", 0o644).is_err(),
            "{name:?}"
        );
    }
}
