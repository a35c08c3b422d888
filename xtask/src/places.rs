//! Where things lie in this repository and its build folder.

use std::path::{Path, PathBuf};

/// The repository's root.
pub fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().expect("xtask lies in the root").to_owned()
}

/// The build folder.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// What [`crate::pack`] makes.
pub fn images() -> PathBuf {
    target().join("images")
}

/// Where the images of optimised programs are kept: tests pack theirs under the same names.
pub fn bench_images() -> PathBuf {
    target().join("bench-images")
}

/// How a program is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Quick to build; for demo and tests.
    Dev,
    /// Quick to run; for measurements.
    Release,
}

impl Profile {
    /// The folder of its programs.
    pub fn folder(self) -> PathBuf {
        match self {
            Self::Dev => target().join("debug"),
            Self::Release => target().join("release"),
        }
    }
}
