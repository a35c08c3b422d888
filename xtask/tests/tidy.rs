//! The repository as it stands passes `cargo xtask tidy`.

use std::path::Path;

#[test]
fn the_repository_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the root");
    let findings = xtask::tidy::check(root).expect("the repository can be read");
    let told: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(
        told.is_empty(),
        "{} findings:\n{}",
        told.len(),
        told.join("\n")
    );
}
