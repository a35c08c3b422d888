//! One word, one meaning: names that we do not give, each with the word to use instead.
//! Looks at the names that a file defines and at the file's own name, never at prose or at the
//! wire's words in strings.

use super::Finding;
use super::rust_file::RustFile;

/// Part of a name, and what to say instead.
const BANNED: [(&str, &str); 7] = [
    ("slave", "agent"),
    ("worker", "agent, shim or task, whichever it is"),
    ("reconcile", "converge"),
    ("checkpoint", "record or persist"),
    ("sandbox", "container or bundle"),
    ("whitelist", "allowed"),
    ("blacklist", "denied"),
];

/// File names that say nothing.
const EMPTY_FILE_NAMES: [&str; 5] = ["utils", "util", "helpers", "misc", "common"];

/// Names that the kernel gave: mount propagation.
const KERNEL_WORDS: [&str; 4] = ["RSlave", "Slave", "rslave", "RSLAVE"];

/// Finds names with a banned part.
pub(super) fn check(file: &RustFile) -> Vec<Finding> {
    let stem = file
        .path
        .rsplit('/')
        .next()
        .and_then(|name| name.strip_suffix(".rs"));
    if let Some(stem) = stem.filter(|stem| EMPTY_FILE_NAMES.contains(stem)) {
        let what = format!("file name {stem} says nothing");
        return vec![Finding::new(&file.path, 0, what, "say what the file owns")];
    }
    let own_name = stem.into_iter().map(|stem| (stem, 0));
    let defined = file
        .defined
        .iter()
        .map(|defined| (defined.name.as_str(), defined.line));
    own_name
        .chain(defined)
        .filter(|(name, _)| !KERNEL_WORDS.contains(name))
        .filter_map(|(name, line)| {
            let (part, instead) = banned_part(name)?;
            let what = format!("name {name} says {part:?}");
            Some(Finding::new(
                &file.path,
                line,
                what,
                format!("say {instead}"),
            ))
        })
        .collect()
}

fn banned_part(name: &str) -> Option<(&'static str, &'static str)> {
    let parts = parts(name);
    BANNED
        .into_iter()
        .find(|(word, _)| parts.iter().any(|part| part == word))
}

/// Splits `snake_case` and `CamelCase` into lower-case parts.
fn parts(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut was_lower = false;
    for c in name.chars() {
        if c == '_' || (c.is_uppercase() && was_lower) {
            parts.push(String::new());
        }
        if c != '_' {
            parts
                .last_mut()
                .expect("starts with one part")
                .extend(c.to_lowercase());
        }
        was_lower = c.is_lowercase();
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        let file = RustFile::parse(path, text).unwrap();
        check(&file).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_banned_name_gets_its_replacement() {
        let text = "//! Doc.\nstruct SlaveInfo { checkpoint_dir: u8 }\nfn spawn_worker() {}\n";
        let found = found("crates/x/src/a.rs", text);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(
            found[0].contains("a.rs:2: name SlaveInfo says \"slave\"; say agent"),
            "{found:?}"
        );
    }

    #[test]
    fn the_kernels_words_and_parts_of_other_words_pass() {
        let text = "//! Doc.\nenum Propagation { RSlave }\nfn network() {}\nfn misconfigured() {}";
        assert_eq!(found("crates/x/src/a.rs", text), [] as [String; 0]);
    }

    #[test]
    fn a_banned_file_name_is_found() {
        assert_eq!(found("crates/x/src/utils.rs", "//! Doc.").len(), 1);
    }
}
