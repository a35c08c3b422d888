//! Builds the gRPC code from our own `.proto`, without protoc.
//!
//! Fields marked `debug_redact` in the `.proto` may hold secrets: the `Debug` of their
//! messages is written here instead of derived, and shows only how many entries they have.

use std::fmt::Write as _;
use std::path::PathBuf;

use protox::prost_reflect::{DescriptorPool, FieldDescriptor, MessageDescriptor};

const PROTO: &str = "proto/csi.proto";

fn main() {
    println!("cargo::rerun-if-changed={PROTO}");
    println!("cargo::rerun-if-changed=build.rs");
    let mut compiler = protox::Compiler::new(["proto"]).expect("the include folder is there");
    compiler.include_imports(true).include_source_info(true);
    compiler
        .open_file("csi.proto")
        .unwrap_or_else(|error| panic!("{error:?}"));

    let pool = compiler.descriptor_pool();
    let redacted = redacted_messages(&pool);
    assert!(
        redacted.len() > 20,
        "debug_redact was not read from {PROTO}"
    );
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    std::fs::write(out.join("redacted.rs"), debug_impls(&redacted)).expect("OUT_DIR is ours");

    tonic_prost_build::configure()
        // Ordered maps: a replayed call has the same bytes as the first.
        .btree_map(".")
        // A server answers UNIMPLEMENTED for what it leaves out, as CSI wants it.
        .generate_default_stubs(true)
        .skip_debug(
            redacted
                .iter()
                .map(|message| format!(".{}", message.full_name())),
        )
        .compile_fds(compiler.file_descriptor_set())
        .expect("the descriptors are complete");
}

fn redacted_messages(pool: &DescriptorPool) -> Vec<MessageDescriptor> {
    pool.all_messages()
        .filter(|message| message.package_name() == "csi.v1" && !message.is_map_entry())
        .filter(|message| message.fields().any(|field| is_redacted(&field)))
        .collect()
}

fn is_redacted(field: &FieldDescriptor) -> bool {
    let options = field.options();
    options
        .get_field_by_name("debug_redact")
        .and_then(|value| value.as_bool())
        .unwrap_or(false)
}

fn debug_impls(messages: &[MessageDescriptor]) -> String {
    let mut code = String::new();
    for message in messages {
        assert!(
            message.oneofs().next().is_none(),
            "oneofs are not written here"
        );
        let (path, name) = (rust_path(message), message.name());
        write!(
            code,
            "impl ::core::fmt::Debug for {path} {{\n\
             fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {{\n\
             f.debug_struct(\"{name}\")"
        )
        .expect("a String takes everything");
        for field in message.fields() {
            let name = field.name();
            let value = match is_redacted(&field) {
                true => format!("&format_args!(\"<{{}} hidden>\", self.{name}.len())"),
                false => format!("&self.{name}"),
            };
            write!(code, "\n.field(\"{name}\", {value})").expect("a String takes everything");
        }
        code.push_str("\n.finish()\n}\n}\n");
    }
    code
}

/// The path of a message inside the generated module: parents become modules.
fn rust_path(message: &MessageDescriptor) -> String {
    match message.parent_message() {
        Some(parent) => format!("{}::{}", snake_case(parent.name()), message.name()),
        None => message.name().to_owned(),
    }
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}
