//! The checks that no compiler makes: sizes, purity, arrows, words, text, links.
//! Owns the walk over the repository and the list of checks; each check is a pure function from
//! texts to [`Finding`]s in a module of its own. Changes nothing on disk.

mod arrows;
mod circles;
mod dependencies;
mod links;
mod purity;
mod ratchet;
mod reach;
mod rust_file;
mod text;
mod words;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use ratchet::Ratchet;
use rust_file::RustFile;

/// Something wrong, where, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Path from the repository's root.
    pub path: String,
    /// Line, from 1; 0 when the whole file is meant.
    pub line: usize,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl Finding {
    fn new(path: &str, line: usize, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": {}; {}", self.what, self.remedy)
    }
}

/// One text file of the repository.
#[derive(Debug)]
struct SourceFile {
    path: String,
    text: String,
}

/// Where the exceptions are listed.
const RATCHET: &str = "xtask/ratchet.toml";

/// Folders that hold nothing written by us.
const SKIPPED_FOLDERS: [&str; 3] = ["target", ".git", "node_modules"];

/// Written by tools: checked by them.
const GENERATED: [&str; 2] = ["Cargo.lock", "go.sum"];

/// Endings of the text files that are checked.
const TEXT_ENDINGS: [&str; 10] = [
    ".rs", ".md", ".toml", ".go", ".mod", ".proto", ".json", ".yml", "justfile", "run",
];

/// Checks the repository at `root` and gives all findings, sorted by path and line.
///
/// # Errors
/// A file cannot be read, or the ratchet is not valid TOML.
pub fn check(root: &Path) -> Result<Vec<Finding>> {
    let files = read_files(root)?;
    let ratchet_text = std::fs::read_to_string(root.join(RATCHET)).context(RATCHET)?;
    let mut ratchet = Ratchet::from_toml(&ratchet_text).context(RATCHET)?;
    let mut findings = Vec::new();
    for file in &files {
        findings.extend(text::check(&file.path, &file.text));
        if file.path.ends_with(".rs") {
            findings.extend(check_rust(file, &mut ratchet));
        }
        if file.path.ends_with(".md") {
            findings.extend(links::check(&file.path, &file.text, &|target| {
                std::fs::read_to_string(root.join(target))
                    .ok()
                    .or_else(|| root.join(target).exists().then(String::new))
            }));
        }
        if file.path.ends_with("Cargo.toml") {
            findings.extend(arrows::check(&file.path, &file.text));
            findings.extend(purity::check_manifest(&file.path, &file.text));
            findings.extend(dependencies::check(&file.path, &file.text, &files));
        }
    }
    findings.extend(circles::check(&files));
    findings.extend(reach::check(&files));
    let clippy =
        |name: &str| std::fs::read_to_string(root.join(format!("crates/{name}/clippy.toml"))).ok();
    findings.extend(purity::check_clippy(&clippy));
    findings.extend(ratchet.unused(RATCHET));
    findings.sort();
    findings.dedup();
    Ok(findings)
}

fn check_rust(file: &SourceFile, ratchet: &mut Ratchet) -> Vec<Finding> {
    let parsed = match RustFile::parse(&file.path, &file.text) {
        Ok(parsed) => parsed,
        Err(error) => {
            let line = error.span().start().line;
            let what = format!("does not parse: {error}");
            return vec![Finding::new(&file.path, line, what, "write valid Rust")];
        }
    };
    let mut findings = ratchet.check(&parsed);
    findings.extend(parsed.check_docs());
    findings.extend(parsed.check_unwrap());
    findings.extend(words::check(&parsed));
    findings.extend(purity::check_code(&parsed));
    findings
}

fn read_files(root: &Path) -> Result<Vec<SourceFile>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type()?;
            if kind.is_dir() && !SKIPPED_FOLDERS.contains(&name.as_str()) {
                folders.push(entry.path());
            }
            let checked = TEXT_ENDINGS.iter().any(|ending| name.ends_with(ending));
            if kind.is_file() && checked && !GENERATED.contains(&name.as_str()) {
                files.push(read_file(root, entry.path())?);
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn read_file(root: &Path, path: PathBuf) -> Result<SourceFile> {
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let path = path
        .strip_prefix(root)
        .unwrap_or(&path)
        .to_string_lossy()
        .into_owned();
    Ok(SourceFile { path, text })
}
