//! What a library shows and nobody outside it names: each such name is a promise that costs
//! readers and keeps the compiler from telling what is dead.
//!
//! Judges functions and constants. A type may have to be public because a public function gives
//! it, also where nobody names it.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};
use syn::{ImplItem, Item, Visibility};

use super::{Finding, SourceFile};

/// A library that is usable alone: what it shows is for others too.
const ALONE: &str = "crates/csi/";

/// Called by macros or by name from outside of Rust.
const CALLED_OTHERWISE: [&str; 1] = ["main"];

/// Finds what no other package, and no test beside the library, names.
pub(super) fn check(files: &[SourceFile]) -> Vec<Finding> {
    let rust = || files.iter().filter(|file| file.path.ends_with(".rs"));
    // In how many packages a word is, a library and the rest of its package counted apart.
    let mut places: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for file in rust() {
        let place = place_of(&file.path);
        for word in words(&file.text) {
            places.entry(word).or_default().insert(place);
        }
    }
    let mut findings = Vec::new();
    for file in rust().filter(|file| is_library(&file.path)) {
        let Ok(syntax) = syn::parse_file(&file.text) else {
            continue;
        };
        let mut shown = Shown::default();
        shown.visit_file(&syntax);
        let own = place_of(&file.path);
        let unnamed = shown.0.into_iter().filter(|(name, _)| {
            let named = places.get(name.as_str()).into_iter().flatten();
            named.filter(|place| **place != own).count() == 0
        });
        findings.extend(unnamed.map(|(name, line)| {
            let what = format!("`pub` {name} is named nowhere outside its crate");
            Finding::new(&file.path, line, what, "make it pub(crate) or private")
        }));
    }
    findings
}

/// The library of a package, or all else of it.
fn place_of(path: &str) -> &str {
    match path.split_once("/src/") {
        Some((package, below)) if !is_program(below) => package,
        Some(_) | None => path,
    }
}

fn is_library(path: &str) -> bool {
    let below = path.split_once("/src/").map(|(_, below)| below);
    let is_test = path.ends_with("tests.rs") || path.contains("/src/tests/");
    below.is_some_and(|below| !is_program(below) && !is_test && !path.starts_with(ALONE))
}

fn is_program(below: &str) -> bool {
    below == "main.rs" || below.starts_with("bin/")
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
}

/// Public functions and constants, with their lines.
#[derive(Default)]
struct Shown(Vec<(String, usize)>);

impl Shown {
    fn note(&mut self, vis: &Visibility, name: &syn::Ident) {
        let text = name.to_string();
        if matches!(vis, Visibility::Public(_)) && !CALLED_OTHERWISE.contains(&text.as_str()) {
            self.0.push((text, name.span().start().line));
        }
    }
}

impl<'ast> Visit<'ast> for Shown {
    fn visit_item(&mut self, item: &'ast Item) {
        match item {
            Item::Fn(item) => self.note(&item.vis, &item.sig.ident),
            Item::Const(item) => self.note(&item.vis, &item.ident),
            Item::Static(item) => self.note(&item.vis, &item.ident),
            Item::Impl(_) => visit::visit_item(self, item),
            _other => {}
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        match item {
            ImplItem::Fn(item) => self.note(&item.vis, &item.sig.ident),
            ImplItem::Const(item) => self.note(&item.vis, &item.ident),
            _other => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<SourceFile> = files
            .iter()
            .map(|(path, text)| SourceFile {
                path: (*path).to_owned(),
                text: (*text).to_owned(),
            })
            .collect();
        let findings = check(&files).into_iter();
        findings.map(|found| found.what).collect()
    }

    #[test]
    fn what_only_its_own_crate_names_is_found() {
        let library = "pub fn used() {} pub(crate) fn inside() { lonely(); }
            pub const SIZE: u8 = 1; pub fn lonely() {} impl X { pub fn get(&self) {} }";
        let a = ("crates/a/src/lib.rs", library);
        let all = [
            "`pub` SIZE is named nowhere outside its crate",
            "`pub` lonely is named nowhere outside its crate",
            "`pub` get is named nowhere outside its crate",
        ];
        assert_eq!(found(&[a, ("crates/b/src/x.rs", "a::used()")]), all);
        let users = [
            a,
            ("crates/b/src/x.rs", "used(); lonely()"),
            ("crates/a/tests/it.rs", "a::SIZE;"),
            ("crates/a/src/main.rs", "x.get()"),
        ];
        assert_eq!(found(&users), [] as [String; 0]);
    }
}
