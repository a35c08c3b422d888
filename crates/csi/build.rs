//! Builds the gRPC code from our own `.proto`.
fn main() {}
