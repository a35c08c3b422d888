//! Circles between the top-level modules of a crate: two that need each other are read, changed
//! and tested as one. A type and the files of its `impl` count as one; the crate's front, which
//! names all modules, counts as none.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};
use syn::{Item, UseTree};

use super::{Finding, SourceFile};

type Modules = BTreeSet<String>;

/// Finds one circle for each group of modules that reach each other.
pub(super) fn check(files: &[SourceFile]) -> Vec<Finding> {
    let mut crates: BTreeMap<&str, Vec<(&str, &SourceFile)>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        if let Some((package, below)) = file.path.split_once("/src/") {
            crates.entry(package).or_default().push((below, file));
        }
    }
    let found = crates.into_iter();
    found
        .flat_map(|(package, files)| check_crate(package, &files))
        .collect()
}

/// What one crate's modules define and need.
#[derive(Default)]
struct Graph {
    /// What the front shows under a name, and in which module it is.
    front: BTreeMap<String, String>,
    /// The modules that define a type of a name.
    types: BTreeMap<String, Modules>,
    /// Modules with an inherent `impl`, by the type's name.
    impls: Vec<(String, String)>,
    /// From a module to another that it names.
    needs: BTreeMap<String, Modules>,
}

fn check_crate(package: &str, files: &[(&str, &SourceFile)]) -> Vec<Finding> {
    let mut graph = Graph::default();
    let parsed: Vec<_> = files
        .iter()
        .filter_map(|(below, file)| Some((Place::of(below)?, syn::parse_file(&file.text).ok()?)))
        .collect();
    for (place, syntax) in &parsed {
        graph.note_definitions(place, &syntax.items);
    }
    for (place, syntax) in &parsed {
        if let Some(module) = &place.module {
            let mut needs = Needs {
                graph: &graph,
                place,
                found: Modules::new(),
            };
            needs.visit_file(syntax);
            let found = needs.found;
            graph.needs.entry(module.clone()).or_default().extend(found);
        }
    }
    graph.join_impls();
    let circles = graph.circles().into_iter();
    let finding = |circle: Vec<String>| {
        let needs = |module: &String| graph.needs_within(module, &circle);
        let needs: Vec<String> = circle.iter().map(needs).collect();
        let what = format!("modules need each other: {}", needs.join("; "));
        let remedy = "move what both need into a module beneath them";
        Finding::new(&format!("{package}/src"), 0, what, remedy)
    };
    circles.map(finding).collect()
}

/// Where in its crate a file is.
struct Place {
    /// The top-level module; none for the front.
    module: Option<String>,
    /// How many `super` lead to the crate's root.
    depth: usize,
}

impl Place {
    /// None for test code and programs.
    fn of(below: &str) -> Option<Self> {
        let parts: Vec<&str> = below.trim_end_matches(".rs").split('/').collect();
        if parts.contains(&"tests") || parts[0] == "main" || parts[0] == "bin" {
            return None;
        }
        if parts == ["lib"] {
            return Some(Self {
                module: None,
                depth: 0,
            });
        }
        let own_folder = parts.last() == Some(&"mod");
        Some(Self {
            module: Some(parts[0].to_owned()),
            depth: parts.len() - usize::from(own_folder),
        })
    }
}

impl Graph {
    fn note_definitions(&mut self, place: &Place, items: &[Item]) {
        for item in items {
            match (item, &place.module) {
                (Item::Use(item), None) => self.note_front(&item.tree, None),
                (Item::Mod(item), None) => {
                    let name = item.ident.to_string();
                    self.front.insert(name.clone(), name);
                }
                (Item::Struct(item), Some(module)) => self.note_type(&item.ident, module),
                (Item::Enum(item), Some(module)) => self.note_type(&item.ident, module),
                (Item::Impl(item), Some(module)) if item.trait_.is_none() => {
                    if let syn::Type::Path(path) = &*item.self_ty
                        && let Some(last) = path.path.segments.last()
                    {
                        self.impls.push((last.ident.to_string(), module.clone()));
                    }
                }
                _other => {}
            }
        }
    }

    fn note_type(&mut self, name: &syn::Ident, module: &str) {
        let modules = self.types.entry(name.to_string()).or_default();
        modules.insert(module.to_owned());
    }

    fn note_front(&mut self, tree: &UseTree, module: Option<&str>) {
        let mut show = |name: &syn::Ident| {
            if let Some(module) = module {
                self.front.insert(name.to_string(), module.to_owned());
            }
        };
        match tree {
            UseTree::Path(path) => {
                let first = path.ident.to_string();
                let module = match module {
                    None if first == "crate" || first == "self" => None,
                    None => Some(first.as_str()),
                    Some(module) => Some(module),
                };
                self.note_front(&path.tree, module);
            }
            UseTree::Name(name) => show(&name.ident),
            UseTree::Rename(rename) => show(&rename.rename),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.note_front(tree, module);
                }
            }
            UseTree::Glob(_) => {}
        }
    }

    /// A module with an `impl` of another's type becomes a part of that.
    fn join_impls(&mut self) {
        for (name, module) in std::mem::take(&mut self.impls) {
            // Where several define the name, the nearest is meant, and it is not ours to guess.
            let owner = self.types.get(&name).filter(|modules| modules.len() == 1);
            let owner = owner.and_then(Modules::first).cloned();
            let Some(owner) = owner.filter(|owner| *owner != module) else {
                continue;
            };
            let needs = self.needs.remove(&module).unwrap_or_default();
            self.needs.entry(owner.clone()).or_default().extend(needs);
            let renamed = |name: &String| match *name == module {
                true => owner.clone(),
                false => name.clone(),
            };
            for needs in self.needs.values_mut() {
                *needs = needs.iter().map(renamed).collect();
            }
            for modules in self.types.values_mut() {
                *modules = modules.iter().map(renamed).collect();
            }
        }
        for (module, needs) in &mut self.needs {
            needs.remove(module);
        }
    }

    fn reached(&self, from: &str) -> Modules {
        let mut reached = Modules::new();
        let mut open = vec![from];
        while let Some(module) = open.pop() {
            for next in self.needs.get(module).into_iter().flatten() {
                if reached.insert(next.clone()) {
                    open.push(next);
                }
            }
        }
        reached
    }

    fn needs_within(&self, module: &str, circle: &[String]) -> String {
        let needs = self.needs.get(module).into_iter().flatten();
        let within: Vec<&str> = needs
            .filter(|other| circle.contains(*other))
            .map(String::as_str)
            .collect();
        format!("{module} needs {}", within.join(", "))
    }

    fn circles(&self) -> Vec<Vec<String>> {
        let reached: BTreeMap<&String, Modules> =
            self.needs.keys().map(|m| (m, self.reached(m))).collect();
        let mut circles = BTreeSet::new();
        for (module, reach) in &reached {
            let back = |other: &&String| reached.get(other).is_some_and(|r| r.contains(*module));
            let circle: Vec<String> = reach.iter().filter(back).cloned().collect();
            if circle.len() > 1 {
                circles.insert(circle);
            }
        }
        circles.into_iter().collect()
    }
}

/// Gathers the top-level modules that a file names.
struct Needs<'g> {
    graph: &'g Graph,
    place: &'g Place,
    found: Modules,
}

impl Needs<'_> {
    /// Notes what a path of these names leads to.
    fn note(&mut self, names: &[String]) {
        let supers = names.iter().take_while(|name| *name == "super").count();
        let below = match names.first().map(String::as_str) {
            Some("crate") => &names[1..],
            Some("super") if supers == self.place.depth => &names[supers..],
            Some(_) | None => return,
        };
        let shown = below.first().and_then(|name| self.graph.front.get(name));
        if let Some(module) = shown {
            self.found.insert(module.clone());
        }
    }

    fn note_tree(&mut self, tree: &UseTree, before: &[String]) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.note_tree(&path.tree, &with(&path.ident)),
            UseTree::Name(name) => self.note(&with(&name.ident)),
            UseTree::Rename(rename) => self.note(&with(&rename.ident)),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.note_tree(tree, before);
                }
            }
            UseTree::Glob(_) => self.note(before),
        }
    }
}

impl<'ast> Visit<'ast> for Needs<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        // A module in the file is its tests, whose paths begin one deeper.
        if !matches!(item, Item::Mod(_)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.note_tree(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        self.note(&names);
        visit::visit_path(self, path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circles(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<SourceFile> = files
            .iter()
            .map(|(path, text)| SourceFile {
                path: format!("crates/x/src/{path}"),
                text: (*text).to_owned(),
            })
            .collect();
        check(&files).into_iter().map(|found| found.what).collect()
    }

    #[test]
    fn modules_that_need_each_other_are_named_and_the_rest_is_not() {
        let front = ("lib.rs", "mod a; mod b; mod c; pub use c::Shown;");
        let found = circles(&[
            front,
            ("a.rs", "use crate::b::B; fn f() { crate::c::g(); }"),
            ("b/deep.rs", "use super::super::a::f;"),
            ("c.rs", "use std::fmt; use self::inner::X;"),
        ]);
        assert_eq!(found, ["modules need each other: a needs b; b needs a"]);
        let found = circles(&[
            front,
            ("a.rs", "use crate::b::B;"),
            ("b.rs", "use crate::Shown; use super::c;"),
            ("c.rs", "#[cfg(test)] mod tests { use crate::a; }"),
        ]);
        assert_eq!(found, [] as [String; 0]);
    }

    #[test]
    fn what_the_front_shows_counts_for_its_module() {
        let found = circles(&[
            ("lib.rs", "mod a; mod c; pub use c::{Other, Shown};"),
            ("a.rs", "use crate::Shown;"),
            ("c.rs", "use crate::a::f;"),
        ]);
        assert_eq!(found, ["modules need each other: a needs c; c needs a"]);
    }

    #[test]
    fn a_type_and_the_files_of_its_impl_are_one() {
        let found = circles(&[
            ("lib.rs", "mod books; mod volumes;"),
            ("books.rs", "use crate::volumes; pub struct Books;"),
            (
                "volumes.rs",
                "use crate::books::Books; impl Books { fn v() {} }",
            ),
        ]);
        assert_eq!(found, [] as [String; 0]);
    }
}
