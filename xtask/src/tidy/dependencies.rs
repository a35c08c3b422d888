//! Dependencies that a crate's code never names: each costs every build of the crate.

use toml::{Table, Value};

use super::{Finding, SourceFile};

/// Which part of a package may name what a table of its manifest lists.
const TABLES: [(&str, &[&str]); 3] = [
    ("dependencies", &["src/"]),
    ("dev-dependencies", &["src/", "tests/", "examples/"]),
    ("build-dependencies", &["build.rs"]),
];

/// Named by generated code alone.
const OF_GENERATED: [(&str, &str); 3] = [
    ("sutler-csi", "prost"),
    ("sutler-csi", "prost-types"),
    ("sutler-csi", "tonic-prost"),
];

/// The crate that no code names, on purpose; its own manifest is generated.
const HACK: &str = "workspace-hack";

/// Finds what a manifest lists and no code of its package names.
pub(super) fn check(path: &str, text: &str, files: &[SourceFile]) -> Vec<Finding> {
    let Ok(manifest) = text.parse::<Table>() else {
        return Vec::new();
    };
    let package = manifest.get("package").and_then(|p| p.get("name"));
    let Some(package) = package.and_then(Value::as_str) else {
        return Vec::new();
    };
    let folder = path.trim_end_matches("Cargo.toml");
    let mut findings = Vec::new();
    for (table, parts) in TABLES {
        let listed = manifest.get(table).and_then(Value::as_table);
        let unused = listed.into_iter().flat_map(Table::keys).filter(|name| {
            let excepted = package == HACK
                || *name == HACK
                || OF_GENERATED.contains(&(package, name.as_str()));
            !excepted && !is_named(name, folder, parts, files)
        });
        findings.extend(unused.map(|name| {
            let line = text
                .lines()
                .position(|line| line.starts_with(name.as_str()));
            let what = format!("{package} lists {name} in [{table}] and never names it");
            Finding::new(path, line.map_or(0, |at| at + 1), what, "take it out")
        }));
    }
    findings.sort_by_key(|finding| finding.line);
    findings
}

fn is_named(name: &str, folder: &str, parts: &[&str], files: &[SourceFile]) -> bool {
    let word = name.replace('-', "_");
    files.iter().any(|file| {
        let below = file.path.strip_prefix(folder).unwrap_or_default();
        file.path.ends_with(".rs")
            && parts.iter().any(|part| below.starts_with(part))
            && super::purity::has_word(&file.text, &word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn what_no_code_names_is_found_in_the_table_that_lists_it() {
        let manifest = "[package]\nname = \"sutler-a\"\n[dependencies]\ntokio-util = \"1\"\n\
            serde = \"1\"\nworkspace-hack = \"1\"\n[dev-dependencies]\ntempfile = \"3\"\n";
        let check = |files: &[SourceFile]| check("crates/a/Cargo.toml", manifest, files);
        let all = [
            file(
                "crates/a/src/lib.rs",
                "use serde::Serialize; tokio_util::x();",
            ),
            file("crates/a/tests/it/main.rs", "tempfile::tempdir()"),
        ];
        assert_eq!(check(&all), []);
        let other = [
            file(
                "crates/a/src/lib.rs",
                "use serde_json::Value; my_tokio_util();",
            ),
            file("crates/b/src/lib.rs", "use serde::Serialize;"),
            file(
                "crates/a/tests/it/main.rs",
                "tokio_util::x(); tempfile::tempdir()",
            ),
        ];
        let lines: Vec<_> = check(&other).iter().map(|f| f.line).collect();
        assert_eq!(lines, [4, 5]);
    }
}
