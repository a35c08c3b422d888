//! Requests that are wrong: each refused with what is wrong, the right exit status, and no trace.

use sutler_testkit::oracle::Oracle;
use sutler_testkit::world::items;

use crate::{alone, up};

#[test]
fn a_volume_that_cannot_be_is_refused_and_leaves_no_trace() {
    let _alone = alone();
    let world = up();
    world.ok(&["volume", "create", "taken", "--size", "16M"]);
    let long = "n".repeat(300);
    let create = |name: &str, size: &str, more: &[&str]| {
        world.sutler(&[&["volume", "create", name, "--size", size], more].concat())
    };
    create("v", "1G", &["--class", "gold"]).expect(1, &["gold", "local"]);
    create("v", "0", &[]).expect(2, &["0"]);
    create("v", "-5G", &[]).expect(2, &["negative"]);
    create("v", "much", &[]).expect(2, &["much", "number"]);
    create("v", "4096T", &[]).expect(1, &["4P"]);
    create("taken", "16M", &[]).expect(4, &["taken"]);
    create("", "16M", &[]).expect(2, &["empty"]);
    create(&long, "16M", &[]).expect(2, &["300", "63"]);
    create("a/b", "16M", &[]).expect(2, &["a/b", "'/'"]);
    create("a\nb", "16M", &[]).expect(2, &["character"]);
    create("v", "16M", &["--agent", "nowhere"]).expect(1, &["nowhere"]);
    create("v", "16M", &["--fs-type", "vfat"]).expect(1, &["vfat"]);

    let books = world.json(&["volume", "ls"]).unwrap();
    let left: Vec<_> = items(&books)
        .iter()
        .filter(|v| v["name"] != "taken")
        .collect();
    let failed = |volume: &&&serde_json::Value| volume["state"] == "failed";
    assert_eq!(left.iter().filter(failed).count(), left.len(), "{books}");
    for volume in left {
        world.ok(&[
            "volume",
            "rm",
            volume["name"].as_str().expect("has one"),
            "--purge",
        ]);
    }
    Oracle::default().assert_holds(&world);
}

#[test]
fn a_verb_for_something_that_is_not_there_says_so() {
    let _alone = alone();
    let world = up();
    for args in [
        &["volume", "show", "ghost"][..],
        &["volume", "why", "ghost"],
        &["volume", "rm", "ghost"],
        &["volume", "restore", "ghost"],
        &["volume", "grow", "ghost", "--size", "1G"],
        &["task", "show", "ghost"],
        &["task", "stop", "ghost"],
        &["task", "logs", "ghost"],
        &["plugin", "show", "ghost"],
        &["plugin", "rm", "ghost"],
        &["plugin", "logs", "ghost"],
    ] {
        let told = world.sutler(args);
        told.expect(1, &["error:", "ghost"]);
        assert!(told.stdout.is_empty(), "data on stdout: {told}");
    }
}

#[test]
fn a_volume_argument_that_is_wrong_is_explained() {
    let _alone = alone();
    let world = up();
    let image = world.image("busybox");
    for (volume, text) in [
        ("data", "no path"),
        ("data:relative", "relative"),
        ("/host:/data", "folder on the host"),
        ("data:/data:maybe", "maybe"),
        ("data:-1G:/data", "negative"),
        (":/data", "empty"),
    ] {
        world
            .sutler(&["run", "-v", volume, &image, "--", "true"])
            .expect(2, &[text]);
    }
    let twice = ["run", "-v", "d:64M:/a", "-v", "d:/b", &image, "--", "true"];
    world.sutler(&twice).expect(125, &["d"]);
}
