//! One parsed Rust file: its functions with their sizes, its code outside tests, its docs.
//! Owns what "size" and "outside tests" mean; judges only module docs and `unwrap`.

use std::ops::RangeInclusive;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Meta};

use super::Finding;

/// A function, method or nested function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Function {
    /// `Type::name` or `name`.
    pub name: String,
    /// Line of its signature.
    pub line: usize,
    /// Lines from signature to closing brace.
    pub lines: usize,
    /// Parameters beside `self`.
    pub parameters: usize,
}

/// A name that the file defines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Defined {
    pub name: String,
    pub line: usize,
}

/// One parsed file.
#[derive(Debug, Default)]
pub(super) struct RustFile {
    /// Path from the repository's root.
    pub path: String,
    /// Whether the whole file is test code.
    pub is_test: bool,
    /// Lines outside test modules.
    pub lines: usize,
    /// Functions outside tests.
    pub functions: Vec<Function>,
    /// Names defined outside tests.
    pub defined: Vec<Defined>,
    /// Code outside tests: line number and text, comments cut off.
    pub code: Vec<(usize, String)>,
    has_docs: bool,
    unwraps: Vec<usize>,
    test_ranges: Vec<RangeInclusive<usize>>,
    owner: Option<String>,
}

impl RustFile {
    /// Parses the text.
    pub(super) fn parse(path: &str, text: &str) -> Result<Self, syn::Error> {
        let syntax = syn::parse_file(text)?;
        let mut file = Self {
            path: path.to_owned(),
            is_test: is_test_path(path),
            has_docs: syntax.attrs.iter().any(|a| a.path().is_ident("doc")),
            ..Self::default()
        };
        file.visit_file(&syntax);
        let outside = |line: &usize| !file.test_ranges.iter().any(|range| range.contains(line));
        file.lines = (1..=text.lines().count())
            .filter(|line| outside(line))
            .count();
        file.code = text
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, without_comment(line).to_owned()))
            .filter(|(line, _)| outside(line))
            .collect();
        Ok(file)
    }

    /// Finds a missing module doc.
    pub(super) fn check_docs(&self) -> Vec<Finding> {
        if self.has_docs {
            return Vec::new();
        }
        let remedy = "begin with `//!`: what it owns, what it never does, where it sits";
        vec![Finding::new(&self.path, 1, "has no module doc", remedy)]
    }

    /// Finds `unwrap` outside tests.
    pub(super) fn check_unwrap(&self) -> Vec<Finding> {
        if self.is_test {
            return Vec::new();
        }
        let remedy = "return the error, or say why it holds with `expect`";
        let finding = |line: &usize| Finding::new(&self.path, *line, "`unwrap` in code", remedy);
        self.unwraps.iter().map(finding).collect()
    }

    fn add_function(&mut self, signature: &syn::Signature, span: proc_macro2::Span) {
        let name = &signature.ident;
        let line = name.span().start().line;
        let named = |input: &&syn::FnArg| matches!(input, syn::FnArg::Typed(_));
        let parameters = signature.inputs.iter().filter(named).count();
        let name = match &self.owner {
            Some(owner) => format!("{owner}::{name}"),
            None => name.to_string(),
        };
        self.functions.push(Function {
            name,
            line,
            lines: span.end().line + 1 - line,
            parameters,
        });
    }

    fn define(&mut self, name: &syn::Ident) {
        self.defined.push(Defined {
            name: name.to_string(),
            line: name.span().start().line,
        });
    }

    /// Notes a test item and says whether to skip it.
    fn is_skipped(&mut self, attrs: &[Attribute], span: proc_macro2::Span) -> bool {
        if !attrs.iter().any(is_test_attribute) {
            return false;
        }
        self.test_ranges.push(span.start().line..=span.end().line);
        true
    }

    fn with_owner(&mut self, owner: String, body: impl FnOnce(&mut Self)) {
        let outer = self.owner.replace(owner);
        body(self);
        self.owner = outer;
    }
}

impl<'ast> Visit<'ast> for RustFile {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !self.is_skipped(item_attributes(item), item.span()) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.define(&item.sig.ident);
        self.add_function(&item.sig, item.span());
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if self.is_skipped(&item.attrs, item.span()) {
            return;
        }
        self.define(&item.sig.ident);
        self.add_function(&item.sig, item.span());
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.define(&item.sig.ident);
        self.add_function(&item.sig, item.span());
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let owner = match &*item.self_ty {
            syn::Type::Path(path) => path.path.segments.last().map(|s| s.ident.to_string()),
            _other => None,
        };
        self.with_owner(owner.unwrap_or_default(), |file| {
            visit::visit_item_impl(file, item)
        });
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.define(&item.ident);
        visit::visit_item_struct(self, item);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.define(&item.ident);
        visit::visit_item_enum(self, item);
    }

    fn visit_variant(&mut self, item: &'ast syn::Variant) {
        self.define(&item.ident);
        visit::visit_variant(self, item);
    }

    fn visit_field(&mut self, item: &'ast syn::Field) {
        if let Some(name) = &item.ident {
            self.define(name);
        }
        visit::visit_field(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.define(&item.ident);
        visit::visit_item_trait(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.define(&item.ident);
        visit::visit_item_mod(self, item);
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.define(&item.ident);
        visit::visit_item_const(self, item);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        if call.method == "unwrap" {
            self.unwraps.push(call.method.span().start().line);
        }
        visit::visit_expr_method_call(self, call);
    }
}

fn is_test_path(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let folder = |wanted: &str| path.split('/').any(|part| part == wanted);
    name == "tests.rs" || name.ends_with("_tests.rs") || folder("tests") || folder("testkit")
}

/// `#[test]`, `#[tokio::test]` and `#[cfg(test)]`.
fn is_test_attribute(attribute: &Attribute) -> bool {
    if attribute
        .path()
        .segments
        .last()
        .is_some_and(|last| last.ident == "test")
    {
        return true;
    }
    match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => list.tokens.to_string() == "test",
        _other => false,
    }
}

fn item_attributes(item: &syn::Item) -> &[Attribute] {
    match item {
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        _other => &[],
    }
}

/// Cuts a line comment off; one inside a string is cut as well, which no check minds.
fn without_comment(line: &str) -> &str {
    line.split("//").next().unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIXED: &str = "//! Doc.\nfn a() {\n    b.unwrap();\n}\nstruct S;\nimpl S {\n    \
        fn m() {}\n}\n#[cfg(test)]\nmod tests {\n    fn t() { x.unwrap() }\n}\n";

    #[test]
    fn tests_count_neither_as_lines_nor_as_functions() {
        let file = RustFile::parse("crates/x/src/lib.rs", MIXED).unwrap();
        assert_eq!(file.lines, 8);
        let names: Vec<_> = file
            .functions
            .iter()
            .map(|f| (f.name.as_str(), f.lines))
            .collect();
        assert_eq!(names, [("a", 3), ("S::m", 1)]);
    }

    #[test]
    fn unwrap_is_found_in_code_only() {
        let file = RustFile::parse("crates/x/src/lib.rs", MIXED).unwrap();
        let lines: Vec<_> = file.check_unwrap().iter().map(|f| f.line).collect();
        assert_eq!(lines, [3]);
        let test = RustFile::parse("crates/x/tests/it.rs", MIXED).unwrap();
        assert_eq!(test.check_unwrap(), []);
    }

    #[test]
    fn a_file_without_module_doc_is_found() {
        let with = RustFile::parse("a.rs", MIXED).unwrap();
        assert_eq!(with.check_docs(), []);
        let without = RustFile::parse("a.rs", "/// Of the function.\nfn a() {}").unwrap();
        assert_eq!(without.check_docs().len(), 1);
    }
}
