//! Set-up, demo, tests, benchmarks, checks.
fn main() {}
