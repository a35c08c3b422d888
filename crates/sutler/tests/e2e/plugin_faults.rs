//! Plugins that do not come up: each told with its cause, its words and a remedy; the agent and
//! the other plugins never notice.

use sutler_testkit::oracle::Oracle;
use sutler_testkit::world::{Told, World, items};

use crate::{alone, up};

/// Adds a plugin from a definition with these lines, and gives what the command told.
fn add(world: &World, name: &str, lines: &str) -> Told {
    let path = world.root().join(format!("{name}.toml"));
    std::fs::write(&path, format!("name = {name:?}\n{lines}\n")).unwrap();
    world.sutler(&[
        "plugin",
        "add",
        &path.display().to_string(),
        "--timeout",
        "20s",
    ])
}

/// The line that names a packed image.
fn image(world: &World, name: &str) -> String {
    let times = "startup_timeout = \"3s\"\nstop_timeout = \"1s\"";
    format!("image = {:?}\n{times}\n", world.image(name))
}

/// The agent still does its work, and the broken plugin can be taken away.
fn assert_unharmed(world: &World, broken: &str) {
    world.wait_class("local", 1).unwrap();
    let told = world.ok(&["plugin", "ls"]);
    assert!(told.contains(broken) && told.contains("local"), "{told}");
    world.ok(&["plugin", "rm", broken]);
    let plugins = world.json(&["plugin", "ls"]).unwrap();
    assert_eq!(items(&plugins).len(), 1, "{plugins}");
    world.ok(&["volume", "create", "after", "--size", "64M"]);
    world.ok(&["volume", "rm", "after", "--purge"]);
    Oracle::default().assert_holds(world);
}

#[test]
fn a_plugin_that_exits_at_once_is_told_with_its_last_words() {
    let _alone = alone();
    let world = up();
    let script = "args = [\"sh\", \"-c\", \"echo cannot read /etc/vendor.conf >&2; exit 3\"]";
    let told = add(&world, "quitter", &(image(&world, "busybox") + script));
    assert!(told.code != Some(0), "{told}");
    let shown = world.ok(&["plugin", "show", "quitter"]);
    for text in ["exit status 3", "cannot read /etc/vendor.conf"] {
        assert!(shown.contains(text), "wanted {text:?}: {shown}\n{told}");
    }
    assert_unharmed(&world, "quitter");
}

#[test]
fn a_change_to_an_image_that_is_not_there_fails_and_what_was_before_runs_on() {
    let _alone = alone();
    let world = up();
    world.ok(&["volume", "create", "data", "--size", "64M"]);
    let definition = include_str!("../../../../catalogue/local.toml");
    let with_image = |image: &str| {
        let lines = definition
            .lines()
            .map(|line| match line.starts_with("image") {
                true => format!("image = {image:?}\n"),
                false => format!("{line}\n"),
            });
        let path = world.root().join("changed.toml");
        std::fs::write(&path, lines.collect::<String>()).unwrap();
        world.sutler(&["plugin", "add", &path.display().to_string()])
    };
    let missing = world.root().join("missing.oci.tar");
    let told = with_image(&format!("oci-archive:{}", missing.display()));
    told.expect(1, &["runs as before the change", "missing.oci.tar"]);
    let shown = world.ok(&["plugin", "show", "local"]);
    assert!(shown.contains("runs as before the change"), "{shown}");
    let busybox = world.image("busybox");
    world.ok(&["run", "-v", "data:/d", &busybox, "--", "touch", "/d/f"]);
    // The way back is the image as it was.
    with_image(&world.image("sutler-local")).expect(0, &[]);
    world.ok(&["volume", "create", "after", "--size", "64M"]);
    Oracle::default().assert_holds(&world);
}

#[test]
fn a_plugin_that_never_listens_is_told_with_the_socket_it_should_make() {
    let _alone = alone();
    let world = up();
    let script = "args = [\"tail\", \"-f\", \"/dev/null\"]";
    let told = add(&world, "mute", &(image(&world, "busybox") + script));
    assert!(told.code != Some(0), "{told}");
    let shown = world.ok(&["plugin", "show", "mute"]);
    assert!(shown.contains("/csi/csi.sock"), "{shown}\n{told}");
    assert_unharmed(&world, "mute");
}

#[test]
fn a_plugin_that_listens_elsewhere_is_told_where() {
    let _alone = alone();
    let world = up();
    let script = "args = [\"-endpoint=unix:///csi/other.sock\"]";
    let told = add(&world, "stray", &(image(&world, "mock-driver") + script));
    assert!(told.code != Some(0), "{told}");
    let shown = world.ok(&["plugin", "show", "stray"]);
    assert!(shown.contains("/csi/other.sock"), "{shown}\n{told}");
    assert_unharmed(&world, "stray");
}

#[test]
fn a_plugin_with_another_name_than_promised_is_refused_with_both() {
    let _alone = alone();
    let world = up();
    let told = add(
        &world,
        "masked",
        &(image(&world, "mock-driver") + "driver = \"vendor.example\""),
    );
    assert!(told.code != Some(0), "{told}");
    let shown = world.ok(&["plugin", "show", "masked"]);
    for text in ["vendor.example", "mock.sutler.test"] {
        assert!(shown.contains(text), "wanted {text:?}: {shown}\n{told}");
    }
    assert_unharmed(&world, "masked");
}

#[test]
fn a_need_that_the_host_lacks_is_named() {
    let _alone = alone();
    let world = up();
    let need = "needs = [\"path:/dev/no-such-device\"]";
    let told = add(&world, "needy", &(image(&world, "mock-driver") + need));
    assert!(told.code != Some(0), "{told}");
    let shown = world.ok(&["plugin", "show", "needy"]);
    assert!(shown.contains("/dev/no-such-device"), "{shown}\n{told}");
    assert_unharmed(&world, "needy");
}

#[test]
fn a_bad_definition_is_refused_and_its_fault_named() {
    let _alone = alone();
    let world = up();
    let long = format!("endpoint = \"/csi/{}\"", "s".repeat(120));
    let image = image(&world, "mock-driver");
    for (lines, texts) in [
        (format!("{image}imgae = \"y\""), ["imgae", "line"]),
        ("lanes = 3".to_owned(), ["image", "definition"]),
        (
            format!("{image}args = [\"{{{{vendor.name}}}}\"]"),
            ["vendor.name", "endpoint.url"],
        ),
        (
            format!("{image}args = [\"{{{{set.zone}}}}\"]"),
            ["--set", "zone"],
        ),
        (format!("{image}{long}"), ["socket path", "107"]),
    ] {
        add(&world, "wrong", &lines).expect(2, &texts);
    }
    let plugins = world.json(&["plugin", "ls"]).unwrap();
    assert_eq!(items(&plugins).len(), 1, "{plugins}");
}

#[test]
fn a_plugin_with_volumes_is_not_removed() {
    let _alone = alone();
    let world = up();
    world.ok(&["volume", "create", "data", "--size", "64M"]);
    world
        .sutler(&["plugin", "rm", "local"])
        .expect(4, &["local", "data"]);
    world.wait_class("local", 1).unwrap();
}
