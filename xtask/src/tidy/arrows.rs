//! Arrows of dependency between our crates go down only, and what is beside is used in tests only.
//! Owns the order of the crates; it is the order of ARCHITECTURE.md.

use toml::{Table, Value};

use super::Finding;

/// Our crates, top first. A crate may depend on those below it.
const ORDER: [&str; 17] = [
    "sutler",
    "sutler-cli",
    "sutler-ui",
    "sutler-master",
    "sutler-agent",
    "sutler-providers",
    "sutler-images",
    "sutler-runtime",
    "sutler-csi",
    "sutler-store",
    "sutler-telemetry",
    "sutler-host",
    "sutler-cluster-core",
    "sutler-node-core",
    "sutler-volume-core",
    "sutler-api",
    "sutler-ids",
];

/// Beside the order: they may use all of it, and no crate of it uses them outside tests.
const BESIDE: [&str; 6] = [
    "sutler-cases",
    "sutler-testkit",
    "sutler-bench",
    "sutler-lab",
    "workspace-hack",
    "xtask",
];

/// Programs of ours that speak CSI alone: all they may use of us.
const PLUGIN_USES: [&str; 3] = ["sutler-csi", "sutler-host", "sutler-telemetry"];

/// Finds arrows that go up in one manifest.
pub(super) fn check(path: &str, text: &str) -> Vec<Finding> {
    let manifest: Table = match text.parse() {
        Ok(manifest) => manifest,
        Err(error) => return vec![Finding::new(path, 0, error.to_string(), "write valid TOML")],
    };
    let Some(name) = manifest
        .get("package")
        .and_then(|p| p.get("name"))
        .and_then(Value::as_str)
    else {
        return Vec::new();
    };
    let ours = |key: &str| {
        let table = manifest.get(key).and_then(Value::as_table);
        table
            .into_iter()
            .flat_map(Table::keys)
            .filter(|d| is_ours(d))
            .collect::<Vec<_>>()
    };
    let uses = [ours("dependencies"), ours("build-dependencies")].concat();
    if let Some(fault) = unknown(path, name) {
        return vec![fault];
    }
    uses.into_iter()
        .filter_map(|used| wrong_arrow(path, name, used))
        .map(|what| Finding::new(path, line_of(text, &what.used), what.text, what.remedy))
        .collect()
}

struct WrongArrow {
    used: String,
    text: String,
    remedy: &'static str,
}

fn is_ours(name: &str) -> bool {
    name.starts_with("sutler") || name == "xtask"
}

fn rank(name: &str) -> Option<usize> {
    ORDER.iter().position(|known| *known == name)
}

fn unknown(path: &str, name: &str) -> Option<Finding> {
    let known = rank(name).is_some() || BESIDE.contains(&name) || path.starts_with("plugins/");
    let remedy = "give it its place in ORDER in xtask/src/tidy/arrows.rs and in ARCHITECTURE.md";
    (!known).then(|| Finding::new(path, 1, format!("crate {name} has no place"), remedy))
}

fn wrong_arrow(path: &str, name: &str, used: &str) -> Option<WrongArrow> {
    let wrong = |text: String, remedy| {
        Some(WrongArrow {
            used: used.to_owned(),
            text,
            remedy,
        })
    };
    if path.starts_with("plugins/") {
        return match PLUGIN_USES.contains(&used) {
            true => None,
            false => wrong(
                format!("plugin {name} depends on {used}"),
                "a plugin stands alone: it may use sutler-csi, sutler-host and sutler-telemetry",
            ),
        };
    }
    match (rank(name), rank(used)) {
        (None, _) => None,
        (Some(_), None) => wrong(
            format!("{name} depends on {used} outside tests"),
            "move it to dev-dependencies",
        ),
        (Some(from), Some(to)) if to > from => None,
        (Some(_), Some(_)) => wrong(
            format!("{name} depends on {used}, which stands above it"),
            "move the shared part down, or pass it in",
        ),
    }
}

fn line_of(text: &str, dependency: &str) -> usize {
    let starts = |line: &str| line.trim_start().starts_with(dependency);
    text.lines().position(starts).map_or(0, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> String {
        check(path, text).iter().map(|f| format!("{f}\n")).collect()
    }

    #[test]
    fn an_arrow_down_passes_and_an_arrow_up_is_named() {
        let csi = |used: &str| {
            found(
                "crates/csi/Cargo.toml",
                &format!("[package]\nname = \"sutler-csi\"\n[dependencies]\n{used} = \"1\"\n"),
            )
        };
        assert_eq!(csi("sutler-telemetry"), "");
        assert_eq!(csi("tokio"), "");
        assert!(csi("sutler-agent").contains(":4: sutler-csi depends on sutler-agent, which"));
        assert!(csi("sutler-testkit").contains("outside tests"));
    }

    #[test]
    fn tests_may_use_the_testkit() {
        let text = "[package]\nname = \"sutler-csi\"\n[dev-dependencies]\nsutler-testkit = \"1\"";
        assert_eq!(found("crates/csi/Cargo.toml", text), "");
    }

    #[test]
    fn a_crate_without_a_place_and_a_plugin_that_leans_on_us_are_named() {
        let text = "[package]\nname = \"sutler-new\"";
        assert!(found("crates/new/Cargo.toml", text).contains("has no place"));
        let text = "[package]\nname = \"sutler-local\"\n[dependencies]\nsutler-api = \"1\"";
        assert!(found("plugins/local/Cargo.toml", text).contains("stands alone"));
    }
}
