//! The sutler program: subcommands only.
fn main() {}
