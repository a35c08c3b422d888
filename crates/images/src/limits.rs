//! How much an image may ask of us. Every limit has its reason beside it; reaching one is a
//! named error, never a crash or a full disk found out too late.

/// Bounds on what one image may contain. `Default` suits real images with room to spare.
#[derive(Clone, Debug)]
pub struct ImageLimits {
    /// Largest manifest, index or config in bytes. Registries themselves stop at 4 MiB.
    pub document_bytes_max: u64,
    /// Most layers of one image; overlayfs stacks 500 at most.
    pub layers_max: usize,
    /// Most manifests in one index; the largest public ones have a few dozen.
    pub index_entries_max: usize,
    /// Most bytes of all unpacked layers of one image together, tar headers and zeros included:
    /// what the disk must hold at worst, and how long a stream of zeros may keep us busy.
    pub unpacked_bytes_max: u64,
    /// Most entries in one layer; a full distribution has about 300,000.
    pub entries_max: u64,
    /// Most bytes of all names of folders in one layer: they are kept in memory until its end. A
    /// full distribution has some 3 MiB.
    pub folder_names_bytes_max: u64,
    /// Longest path in a layer in bytes: the kernel's own `PATH_MAX`.
    pub path_bytes_max: usize,
    /// Deepest path in components; deeper trees break the tools people use to look at them.
    pub depth_max: usize,
    /// Most bytes of one tar extension header (long names, attributes).
    pub extension_bytes_max: u64,
    /// Above `ratio_floor_bytes`, a layer may take at most this many times its packed size, runs
    /// of zeros left out as they take no disk. Repeated text reaches about 1,000 with gzip; real
    /// layers stay below 20.
    pub ratio_max: u64,
    /// Below this many such bytes the ratio is not looked at: small layers of one pattern are real.
    pub ratio_floor_bytes: u64,
}

impl Default for ImageLimits {
    fn default() -> ImageLimits {
        ImageLimits {
            document_bytes_max: 4 << 20,
            layers_max: 256,
            index_entries_max: 512,
            unpacked_bytes_max: 64 << 30,
            entries_max: 2_000_000,
            folder_names_bytes_max: 64 << 20,
            path_bytes_max: 4095,
            depth_max: 256,
            extension_bytes_max: 1 << 20,
            ratio_max: 200,
            ratio_floor_bytes: 256 << 20,
        }
    }
}
