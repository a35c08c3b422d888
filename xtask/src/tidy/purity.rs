//! Pure crates stay pure: by the list of what they may depend on, by words that may not occur in
//! their code, and by the clippy file that each of them must have.

use toml::{Table, Value};

use super::Finding;
use super::rust_file::RustFile;

/// The pure crates, by folder.
const PURE: [&str; 5] = ["api", "ids", "cluster-core", "node-core", "volume-core"];

/// All that a pure crate may depend on. None of it does I/O unless asked to, and what would is
/// banned by clippy.
const ALLOWED: [&str; 12] = [
    "sutler-ids",
    "sutler-api",
    "sutler-cluster-core",
    "sutler-node-core",
    "sutler-volume-core",
    "serde",
    "serde_json",
    "jiff",
    "uuid",
    "thiserror",
    "toml",
    "utoipa",
];

/// Words that no code of a pure crate holds.
const BANNED: [(&str, &str); 12] = [
    ("std::fs", "files are the shell's"),
    ("std::net", "the network is the shell's"),
    ("std::os", "the kernel is the shell's"),
    ("std::process", "processes are the shell's"),
    ("std::thread", "a core has no threads"),
    ("std::env", "configuration is an argument"),
    ("SystemTime", "take `now` as an argument"),
    ("Instant", "take `now` as an argument"),
    ("Timestamp::now", "take `now` as an argument"),
    ("new_v4", "take the id as an argument"),
    ("async fn", "an effect is a value, the shell runs it"),
    ("println!", "return what is to be said"),
];

/// What must be banned in every pure crate's clippy file.
const CLIPPY_BANS: [&str; 7] = [
    "std::time::SystemTime::now",
    "std::time::Instant::now",
    "uuid::Uuid::new_v4",
    "jiff::Timestamp::now",
    "std::fs::File",
    "std::net::TcpStream",
    "std::thread::spawn",
];

/// Finds dependencies that a pure crate may not have.
pub(super) fn check_manifest(path: &str, text: &str) -> Vec<Finding> {
    let Some(name) = pure_crate(path) else {
        return Vec::new();
    };
    let Ok(manifest) = text.parse::<Table>() else {
        return Vec::new();
    };
    let tables = ["dependencies", "build-dependencies"];
    let dependencies = tables
        .iter()
        .filter_map(|t| manifest.get(*t).and_then(Value::as_table));
    dependencies
        .flat_map(Table::keys)
        .filter(|dependency| !ALLOWED.contains(&dependency.as_str()))
        .map(|dependency| {
            let line = text
                .lines()
                .position(|line| line.starts_with(dependency.as_str()));
            let what = format!("pure crate {name} depends on {dependency}");
            let remedy = "decide in the core, act in the shell that owns it";
            Finding::new(path, line.map_or(0, |index| index + 1), what, remedy)
        })
        .collect()
}

/// Finds words of I/O, time and randomness in a pure crate's code.
pub(super) fn check_code(file: &RustFile) -> Vec<Finding> {
    let Some(name) = pure_crate(&file.path) else {
        return Vec::new();
    };
    if file.is_test {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (line, text) in &file.code {
        for (word, remedy) in BANNED.iter().filter(|(word, _)| has_word(text, word)) {
            let what = format!("pure crate {name} uses `{word}`");
            findings.push(Finding::new(&file.path, *line, what, *remedy));
        }
    }
    findings
}

/// Finds a missing or weakened clippy file. `read` gives a crate's, by folder.
pub(super) fn check_clippy(read: &dyn Fn(&str) -> Option<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in PURE {
        let path = format!("crates/{name}/clippy.toml");
        let Some(text) = read(name) else {
            let remedy = "copy it from crates/api";
            findings.push(Finding::new(
                &path,
                0,
                "a pure crate has no clippy.toml",
                remedy,
            ));
            continue;
        };
        for ban in CLIPPY_BANS
            .iter()
            .filter(|ban| !text.contains(&format!("\"{ban}\"")))
        {
            let what = format!("does not ban {ban}");
            findings.push(Finding::new(&path, 0, what, "copy it from crates/api"));
        }
    }
    findings
}

fn pure_crate(path: &str) -> Option<&str> {
    let name = path.strip_prefix("crates/")?.split('/').next()?;
    PURE.contains(&name).then_some(name)
}

/// Tells whether `word` stands in `text` on its own, not as a part of a longer name.
pub(super) fn has_word(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(part) && !after.is_some_and(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pure_crate_may_not_depend_on_a_runtime() {
        let text = "[dependencies]\nserde = \"1\"\ntokio = \"1\"\n";
        let found = check_manifest("crates/volume-core/Cargo.toml", text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].line, found[0].what.contains("tokio")), (3, true));
        assert_eq!(check_manifest("crates/agent/Cargo.toml", text), []);
    }

    #[test]
    fn io_time_and_randomness_are_named_outside_tests() {
        let text = "//! Doc.\nuse std::fs;\n// Instant in a comment\nfn a() { Instant::now(); }\n\
            struct Instantly;\n#[cfg(test)]\nmod tests { use std::fs; }\n";
        let file = RustFile::parse("crates/api/src/a.rs", text).unwrap();
        let lines: Vec<_> = check_code(&file).iter().map(|f| f.line).collect();
        assert_eq!(lines, [2, 4]);
        let shell = RustFile::parse("crates/agent/src/a.rs", text).unwrap();
        assert_eq!(check_code(&shell), []);
    }

    #[test]
    fn a_missing_and_a_weakened_clippy_file_are_named() {
        assert_eq!(check_clippy(&|_| None).len(), PURE.len());
        let full = CLIPPY_BANS.map(|ban| format!("\"{ban}\"")).join(",");
        assert_eq!(check_clippy(&|_| Some(full.clone())), []);
        let weak = full.replace("\"std::time::Instant::now\",", "");
        assert_eq!(check_clippy(&|_| Some(weak.clone())).len(), PURE.len());
    }
}
