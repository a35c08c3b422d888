//! Sizes of files and functions, and the list of those that are over.
//! The list only shrinks: an entry must tell the present size, and go when it is not needed.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::Finding;
use super::rust_file::RustFile;

/// Most lines of a file, tests not counted: what one reads in one go.
const FILE_LINES_MAX: usize = 500;

/// Most parameters of a function beside `self`: more are a struct that has no name yet.
const PARAMETERS_MAX: usize = 4;

/// Most lines of a function: what one sees at once, with what is around it.
const FUNCTION_LINES_MAX: usize = 40;

/// The exceptions: what is over its limit, and by how much it may be.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Ratchet {
    /// Path to lines.
    files: BTreeMap<String, usize>,
    /// `path::function` to lines.
    functions: BTreeMap<String, usize>,
    #[serde(skip)]
    used: BTreeSet<String>,
}

impl Ratchet {
    /// Reads the list.
    pub(super) fn from_toml(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// Finds what is over its limit in one file.
    pub(super) fn check(&mut self, file: &RustFile) -> Vec<Finding> {
        if file.is_test {
            return Vec::new();
        }
        let mut findings = Vec::new();
        let allowed = self.files.get(&file.path).copied();
        self.used.insert(file.path.clone());
        let wrong = judge(file.lines, FILE_LINES_MAX, allowed);
        findings.extend(
            wrong.map(|what| {
                Finding::new(&file.path, 0, what, "split the file by what its parts own")
            }),
        );
        for function in &file.functions {
            let key = format!("{}::{}", file.path, function.name);
            let allowed = self.functions.get(&key).copied();
            self.used.insert(key);
            let wrong = judge(function.lines, FUNCTION_LINES_MAX, allowed);
            findings.extend(wrong.map(|what| {
                let what = format!("function {} {what}", function.name);
                let remedy = "keep the control flow here and move pure leaves out";
                Finding::new(&file.path, function.line, what, remedy)
            }));
            if function.parameters > PARAMETERS_MAX {
                let (name, count) = (&function.name, function.parameters);
                let what =
                    format!("function {name} has {count} parameters, {PARAMETERS_MAX} are allowed");
                let remedy = "give those that go together a struct";
                findings.push(Finding::new(&file.path, function.line, what, remedy));
            }
        }
        findings
    }

    /// Finds entries for things that are gone.
    pub(super) fn unused(&self, path: &str) -> Vec<Finding> {
        let keys = self.files.keys().chain(self.functions.keys());
        keys.filter(|key| !self.used.contains(*key))
            .map(|key| Finding::new(path, 0, format!("{key} is gone"), "remove its entry"))
            .collect()
    }
}

fn judge(lines: usize, limit: usize, allowed: Option<usize>) -> Option<String> {
    match allowed {
        None if lines > limit => Some(format!("has {lines} lines, {limit} are allowed")),
        None => None,
        Some(_) if lines <= limit => {
            Some(format!("has {lines} lines now: remove its ratchet entry"))
        }
        Some(allowed) if lines < allowed => Some(format!(
            "has {lines} lines now: lower its ratchet entry from {allowed}"
        )),
        Some(allowed) if lines > allowed => Some(format!(
            "has {lines} lines, its ratchet entry allows {allowed}"
        )),
        Some(_equal) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(lines: usize) -> RustFile {
        let text = format!(
            "//! Doc.\nfn long() {{\n{}}}\n",
            "    a();\n".repeat(lines - 3)
        );
        RustFile::parse("crates/x/src/a.rs", &text).unwrap()
    }

    fn check(ratchet: &str, lines: usize) -> Vec<String> {
        let mut ratchet = Ratchet::from_toml(ratchet).unwrap();
        let mut findings = ratchet.check(&file(lines));
        findings.extend(ratchet.unused("ratchet.toml"));
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn sizes_up_to_the_limit_pass() {
        assert_eq!(check("", 41), [] as [String; 0]);
    }

    #[test]
    fn a_long_function_and_a_long_file_are_named() {
        let found = check("", 501).join("\n");
        assert!(
            found.contains("a.rs: has 501 lines, 500 are allowed; split"),
            "{found}"
        );
        assert!(
            found.contains("a.rs:2: function long has 500 lines, 40"),
            "{found}"
        );
    }

    #[test]
    fn an_exception_may_only_shrink() {
        let at =
            |lines| check("functions = { \"crates/x/src/a.rs::long\" = 80 }", lines).join("\n");
        assert_eq!(at(81), "");
        assert!(at(82).contains("its ratchet entry allows 80"));
        assert!(at(80).contains("lower its ratchet entry"));
        assert!(at(30).contains("remove its ratchet entry"));
    }

    #[test]
    fn an_exception_for_nothing_is_named() {
        let found = check("files = { \"gone.rs\" = 900 }", 10).join("\n");
        assert!(found.contains("gone.rs is gone; remove"), "{found}");
    }
}
