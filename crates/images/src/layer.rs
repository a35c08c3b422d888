//! From the bytes of a packed layer to a verified folder: decompression and its limits.
//!
//! The kind of compression is told by the first bytes, as media types are often wrong. The
//! stream is hashed as it is unpacked and read to its very end, so what is in the folder is
//! exactly what the image's config vouches for.

use std::cell::Cell;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

use super::digest::{Digest, Hasher};
use super::kind::ImageErrorKind;
use super::limits::ImageLimits;
use super::tar_stream::TarError;
use super::unpack::{self, UnpackError};

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Largest zstd window as a power of two: 128 MiB, the most that the zstd tool takes by default.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// Size of the read buffers; large enough that system calls do not count.
const BUFFER_BYTES: usize = 128 << 10;

/// Why a layer did not become a folder.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The packed bytes cannot be decompressed: truncated or damaged.
    #[error("decompress the layer (truncated or damaged)")]
    Decompress {
        /// The decoder's answer.
        source: io::Error,
    },
    /// The layer unpacks to more than the image may have.
    #[error("the image unpacks to more than the limit of {max} bytes")]
    TooManyBytes {
        /// The limit.
        max: u64,
    },
    /// The layer would take suspiciously many times its size on the disk.
    #[error(
        "the layer takes more than {max} times its {packed_bytes} bytes, zeros not counted \
         (a zip bomb?)"
    )]
    Ratio {
        /// Its packed size.
        packed_bytes: u64,
        /// The limit.
        max: u64,
    },
    /// What was unpacked is not what the image's config says.
    #[error("the layer unpacks to {found}, not to {expected} as the image's config says")]
    DiffId {
        /// As the config says.
        expected: Digest,
        found: Digest,
    },
    /// An entry was refused or could not be written.
    #[error("unpack the layer")]
    Unpack {
        /// Why.
        source: UnpackError,
    },
}

impl LayerError {
    pub(crate) fn kind(&self) -> ImageErrorKind {
        let unknown = matches!(
            self,
            LayerError::Unpack {
                source: UnpackError::Tar {
                    source: TarError::UnknownKind { .. }
                }
            }
        );
        if self.is_local() {
            ImageErrorKind::Local
        } else if unknown {
            ImageErrorKind::Unsupported
        } else {
            ImageErrorKind::Refused
        }
    }
}

impl LayerError {
    /// Tells whether this host is at fault and not the layer.
    pub(crate) fn is_local(&self) -> bool {
        match self {
            LayerError::Unpack { source } => matches!(
                source,
                UnpackError::Act { .. } | UnpackError::OpenRoot { .. }
            ),
            LayerError::Decompress { .. }
            | LayerError::TooManyBytes { .. }
            | LayerError::Ratio { .. }
            | LayerError::DiffId { .. } => false,
        }
    }
}

/// What one image may still unpack to; shared by its layers.
pub(crate) struct Budget {
    left: AtomicU64,
    max: u64,
}

impl Budget {
    pub(crate) fn new(limits: &ImageLimits) -> Budget {
        let max = limits.unpacked_bytes_max;
        Budget {
            left: AtomicU64::new(max),
            max,
        }
    }

    fn take(&self, bytes: u64) -> Result<(), LimitHit> {
        let reduce = |left: u64| left.checked_sub(bytes);
        // Relaxed: nothing else is read by what this counter says.
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, reduce)
            .map(drop)
            .map_err(|_left| LimitHit::Bytes { max: self.max })
    }
}

/// A limit reached inside a reader; travels in an `io::Error`.
#[derive(Clone, Copy, Debug, thiserror::Error)]
enum LimitHit {
    #[error("more than {max} bytes")]
    Bytes { max: u64 },
    #[error("more than {max} times {packed_bytes} bytes")]
    Ratio { packed_bytes: u64, max: u64 },
}

/// A packed layer and what it must be.
pub(crate) struct PackedLayer<R> {
    pub(crate) reader: R,
    pub(crate) packed_bytes: u64,
    pub(crate) diff_id: Digest,
}

/// Unpacks a layer into the empty folder `into` and verifies it; returns the number of unpacked
/// bytes. After an error the folder holds a part, to be removed.
///
/// # Durability
///
/// None: the caller syncs before it gives the folder its name.
pub(crate) fn unpack_layer<R: Read>(
    layer: PackedLayer<R>,
    into: &Path,
    limits: &ImageLimits,
    budget: &Budget,
) -> Result<u64, LayerError> {
    let expected = layer.diff_id;
    let holes = Cell::new(0);
    let mut metered = Metered {
        reader: decompress(layer.reader).map_err(|source| LayerError::Decompress { source })?,
        hasher: Hasher::default(),
        bytes: 0,
        holes: &holes,
        packed_bytes: layer.packed_bytes,
        limits,
        budget,
    };
    unpack::unpack_tar(&mut metered, into, limits, &holes).map_err(classify)?;
    let Metered { hasher, bytes, .. } = metered;
    let found = hasher.finish();
    if found != expected {
        return Err(LayerError::DiffId { expected, found });
    }
    Ok(bytes)
}

/// Wraps a reader in the decoder that its first bytes ask for.
pub(crate) fn decompress<R: Read>(reader: R) -> io::Result<Decoder<R>> {
    let mut magic = [0; 4];
    let mut reader = reader;
    let mut filled = 0;
    while filled < magic.len() {
        match reader.read(&mut magic[filled..])? {
            0 => break,
            length => filled += length,
        }
    }
    let start = magic[..filled].to_vec();
    let whole = BufReader::with_capacity(BUFFER_BYTES, io::Cursor::new(start).chain(reader));
    Ok(if filled >= GZIP_MAGIC.len() && magic[..2] == GZIP_MAGIC {
        Decoder::Gzip(MultiGzDecoder::new(whole))
    } else if filled == ZSTD_MAGIC.len() && magic == ZSTD_MAGIC {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(whole)?;
        decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
        Decoder::Zstd(Box::new(decoder))
    } else {
        Decoder::Plain(whole)
    })
}

type Rejoined<R> = BufReader<io::Chain<io::Cursor<Vec<u8>>, R>>;

/// A stream, decompressed if it was compressed.
pub(crate) enum Decoder<R> {
    Plain(Rejoined<R>),
    Gzip(MultiGzDecoder<Rejoined<R>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, Rejoined<R>>>),
}

impl<R> Decoder<R> {
    /// Tells whether the stream was not compressed.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self, Decoder::Plain(_))
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Decoder::Plain(reader) => reader.read(buffer),
            Decoder::Gzip(reader) => reader.read(buffer),
            Decoder::Zstd(reader) => reader.read(buffer),
        }
    }
}

/// Counts, limits and hashes what comes out of the decoder.
struct Metered<'a, R> {
    reader: Decoder<R>,
    hasher: Hasher,
    bytes: u64,
    /// Bytes that became holes: they take nothing of the disk, so the ratio leaves them out. What
    /// is read and not yet written counts, one buffer at most.
    holes: &'a Cell<u64>,
    packed_bytes: u64,
    limits: &'a ImageLimits,
    budget: &'a Budget,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.reader.read(buffer)?;
        self.hasher.update(&buffer[..length]);
        self.bytes += length as u64;
        self.budget.take(length as u64).map_err(io::Error::other)?;
        let (packed_bytes, max) = (self.packed_bytes, self.limits.ratio_max);
        let taken = self.bytes.saturating_sub(self.holes.get());
        if taken > self.limits.ratio_floor_bytes && taken > packed_bytes.saturating_mul(max) {
            return Err(io::Error::other(LimitHit::Ratio { packed_bytes, max }));
        }
        Ok(length)
    }
}

/// Finds the reason behind a failed read: our limit, the decoder, or the entry itself.
fn classify(error: UnpackError) -> LayerError {
    match error.into_read_error() {
        Ok(source) => limit_hit(&source).unwrap_or(LayerError::Decompress { source }),
        Err(source) => LayerError::Unpack { source },
    }
}

fn limit_hit(error: &io::Error) -> Option<LayerError> {
    let hit = error.get_ref()?.downcast_ref::<LimitHit>()?;
    Some(match *hit {
        LimitHit::Bytes { max } => LayerError::TooManyBytes { max },
        LimitHit::Ratio { packed_bytes, max } => LayerError::Ratio { packed_bytes, max },
    })
}
