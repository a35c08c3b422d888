//! The sutler-local program.
fn main() {}
