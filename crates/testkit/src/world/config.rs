//! What a world is made of, as a test asks for it. Plain data; starts nothing.

use std::path::{Path, PathBuf};

/// Which processes a world has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `sutler up`: master and agent in one process.
    Up,
    /// A master and this many agents as processes of their own, on loopback.
    Split(usize),
    /// The same, each agent in a network namespace, over TLS.
    Namespaces(usize),
}

/// What a world is made of.
#[derive(Debug, Clone)]
pub struct WorldConfig {
    /// The program.
    pub sutler: PathBuf,
    /// The folder with packed images.
    pub images: PathBuf,
    /// Its processes.
    pub shape: Shape,
    /// Whether the local plugin is there.
    pub local: bool,
    /// Environment of every process.
    pub env: Vec<(String, String)>,
    /// A folder of its own that outlives it; otherwise one is made and removed.
    pub root: Option<PathBuf>,
}

impl WorldConfig {
    /// `sutler up` with the local plugin.
    pub fn new(sutler: impl Into<PathBuf>) -> Self {
        Self {
            sutler: sutler.into(),
            images: images_folder(),
            shape: Shape::Up,
            local: true,
            env: Vec::new(),
            root: None,
        }
    }

    /// The same with other processes.
    #[must_use]
    pub fn shape(mut self, shape: Shape) -> Self {
        self.shape = shape;
        self
    }

    /// The same without the local plugin.
    #[must_use]
    pub fn without_local(mut self) -> Self {
        self.local = false;
        self
    }

    /// The same in a folder that is kept, and that may hold an earlier world's state.
    #[must_use]
    pub fn at(mut self, root: &Path) -> Self {
        self.root = Some(root.to_owned());
        self
    }
}

/// Gives the folder of the images that `cargo xtask pack` makes, or `SUTLER_TEST_IMAGES`.
pub fn images_folder() -> PathBuf {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/images");
    std::env::var_os("SUTLER_TEST_IMAGES").map_or(default, PathBuf::from)
}
