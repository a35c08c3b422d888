//! A tar as a stream of entries, with every length bounded.
//!
//! Understands ustar, GNU long names and sparse files, and PAX. It only reads: what an entry
//! means for a file system is `unpack`'s business. An own reader, because ready-made ones read
//! extension headers of any size into memory and split attribute values at line feeds.
//!
//! Source: POSIX.1-2024 pax interchange format; GNU tar manual, "Basic Tar Format".

mod pax;
mod sparse;

use std::io::{self, Read};

use self::sparse::SparseMap;
use super::limits::ImageLimits;

const BLOCK_BYTES: usize = 512;
/// Extension headers in front of one entry: a long name, a long link and PAX, doubled.
const EXTENSIONS_MAX: usize = 6;

/// Why a stream is not a tar that we read.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The stream ended or broke inside an entry.
    #[error("read the archive at byte {position}")]
    Read {
        /// Where, counted in unpacked bytes.
        position: u64,
        /// What broke.
        source: io::Error,
    },
    /// A header whose checksum is wrong: not a tar, or damaged.
    #[error("the archive is damaged or not a tar: no header at byte {position}")]
    BadHeader {
        /// Where.
        position: u64,
    },
    /// A header field that is no number or contradicts another.
    #[error("the archive has an invalid {field} at byte {position}")]
    BadField {
        field: &'static str,
        /// Where.
        position: u64,
    },
    /// Extension headers larger or more than any real ones.
    #[error("the archive has an extension header of {bytes} bytes, more than the limit of {max}")]
    ExtensionTooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// Too many extension headers in front of one entry.
    #[error("the archive has more than {max} extension headers for one entry")]
    TooManyExtensions {
        /// The limit.
        max: usize,
    },
    /// An archive that is to hold one image, with more files than any.
    #[error("the archive has more than {max} files")]
    TooManyEntries {
        /// The limit.
        max: usize,
    },
    /// An entry of a kind that images do not have.
    #[error("the archive has an entry of the unknown kind {kind:?} at byte {position}")]
    UnknownKind {
        /// The kind's letter.
        kind: char,
        /// Where.
        position: u64,
    },
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File,
    Directory,
    Symlink,
    HardLink,
    CharDevice { major: u32, minor: u32 },
    BlockDevice { major: u32, minor: u32 },
    Fifo,
}

/// One entry's header. Its data is read from the stream before the next entry is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// As written in the archive, unchecked.
    pub(crate) path: Vec<u8>,
    /// Target of a link, unchecked.
    pub(crate) link: Vec<u8>,
    pub(crate) kind: EntryKind,
    /// Permission bits, setuid, setgid and sticky included.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds and nanoseconds since 1970.
    pub(crate) mtime: (i64, u32),
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Size of the file as it will be.
    pub(crate) size: u64,
    /// The pieces that have data, for sparse files.
    pub(crate) sparse: Option<SparseMap>,
    /// Where its data starts in the stream, and its length there.
    pub(crate) data: (u64, u64),
}

/// Reads entries one after the other.
pub(crate) struct TarStream<'a, R> {
    reader: R,
    limits: &'a ImageLimits,
    /// Bytes read so far.
    position: u64,
    /// Bytes of the current entry's data that have not been read.
    left: u64,
    /// Zero bytes after them, up to the next block.
    padding: u64,
}

/// What extension headers say about the entry after them.
#[derive(Default)]
struct Extensions {
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    pax: pax::Records,
}

impl<'a, R: Read> TarStream<'a, R> {
    pub(crate) fn new(reader: R, limits: &'a ImageLimits) -> TarStream<'a, R> {
        TarStream {
            reader,
            limits,
            position: 0,
            left: 0,
            padding: 0,
        }
    }

    /// Skips what is left of the current entry and reads the next header; `None` at the end.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        let mut extensions = Extensions::default();
        for _extension in 0..=EXTENSIONS_MAX {
            self.skip_data()?;
            let Some(header) = self.read_header()? else {
                return Ok(None);
            };
            let size = number(header.entry_size(), "size", self.position)?;
            match header.entry_type().as_byte() {
                b'L' => extensions.long_name = Some(self.read_name(size)?),
                b'K' => extensions.long_link = Some(self.read_name(size)?),
                b'x' => {
                    let records = self.read_extension(size)?;
                    extensions.pax = pax::parse(&records, self.position)?;
                }
                // Defaults for all entries: archives of images carry comments there, at most.
                b'g' => drop(self.read_extension(size)?),
                _an_entry => return self.entry(&header, extensions).map(Some),
            }
        }
        Err(TarError::TooManyExtensions {
            max: EXTENSIONS_MAX,
        })
    }

    /// Reads the stream to its end, so that a digest of it is complete.
    pub(crate) fn finish(mut self) -> Result<(), TarError> {
        let position = self.position;
        io::copy(&mut self.reader, &mut io::sink())
            .map(drop)
            .map_err(|source| TarError::Read { position, source })
    }

    fn entry(&mut self, header: &tar::Header, found: Extensions) -> Result<Entry, TarError> {
        let at = self.position;
        let Extensions {
            long_name,
            long_link,
            pax,
        } = found;
        let tape_size = match pax.size {
            Some(size) => size,
            None => number(header.entry_size(), "size", at)?,
        };
        let kind = self.kind(header)?;
        let has_data = kind == EntryKind::File;
        self.start_data(if has_data { tape_size } else { 0 })?;
        let owner = |field, own: Option<u64>, stored: io::Result<u64>| {
            let id = own.map_or_else(|| number(stored, field, at), Ok)?;
            u32::try_from(id).map_err(|_range| TarError::BadField {
                field,
                position: at,
            })
        };
        let (sparse, size) = self.sparse(header, &pax, tape_size)?;
        let stored_mtime = || {
            let seconds = number(header.mtime(), "mtime", at)?;
            // Base-256 fields carry times before 1970 in two's complement.
            Ok((seconds.cast_signed(), 0))
        };
        Ok(Entry {
            path: pax
                .sparse_name
                .or(pax.path)
                .or(long_name)
                .unwrap_or_else(|| header.path_bytes().into_owned()),
            link: pax
                .link
                .or(long_link)
                .or_else(|| header.link_name_bytes().map(|name| name.into_owned()))
                .unwrap_or_default(),
            kind,
            mode: number(header.mode(), "mode", at)? & 0o7777,
            uid: owner("uid", pax.uid, header.uid())?,
            gid: owner("gid", pax.gid, header.gid())?,
            mtime: pax.mtime.map_or_else(stored_mtime, Ok)?,
            xattrs: pax.xattrs,
            size: if has_data { size } else { 0 },
            sparse,
            data: (self.position, self.left),
        })
    }

    fn kind(&self, header: &tar::Header) -> Result<EntryKind, TarError> {
        let field = "device number";
        let device = || {
            let part = |value: io::Result<Option<u32>>| {
                let value = number(value, field, self.position)?;
                value.ok_or(TarError::BadField {
                    field,
                    position: self.position,
                })
            };
            Ok((part(header.device_major())?, part(header.device_minor())?))
        };
        Ok(match header.entry_type().as_byte() {
            // Old archives mark a folder by the slash at its end alone.
            0 | b'0' | b'7' if header.path_bytes().ends_with(b"/") => EntryKind::Directory,
            0 | b'0' | b'7' | b'S' => EntryKind::File,
            b'1' => EntryKind::HardLink,
            b'2' => EntryKind::Symlink,
            b'3' => device().map(|(major, minor)| EntryKind::CharDevice { major, minor })?,
            b'4' => device().map(|(major, minor)| EntryKind::BlockDevice { major, minor })?,
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            other => {
                let (kind, position) = (char::from(other), self.position);
                return Err(TarError::UnknownKind { kind, position });
            }
        })
    }

    fn start_data(&mut self, size: u64) -> Result<(), TarError> {
        let block = BLOCK_BYTES as u64;
        self.left = size;
        self.padding = size
            .checked_next_multiple_of(block)
            .ok_or(TarError::BadField {
                field: "size",
                position: self.position,
            })?
            - size;
        Ok(())
    }

    fn skip_data(&mut self) -> Result<(), TarError> {
        let skip = self.left + self.padding;
        (self.left, self.padding) = (0, 0);
        let position = self.position;
        let skipped = io::copy(&mut (&mut self.reader).take(skip), &mut io::sink())
            .map_err(|source| TarError::Read { position, source })?;
        self.position += skipped;
        if skipped < skip {
            let source = io::ErrorKind::UnexpectedEof.into();
            return Err(TarError::Read {
                position: self.position,
                source,
            });
        }
        Ok(())
    }

    /// Reads a header; `None` at the zero block that ends an archive, or where the stream ends.
    fn read_header(&mut self) -> Result<Option<tar::Header>, TarError> {
        let mut header = tar::Header::new_old();
        let block = header.as_mut_bytes();
        let mut filled = 0;
        while filled < BLOCK_BYTES {
            match self.reader.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => {
                    let source = io::ErrorKind::UnexpectedEof.into();
                    return Err(TarError::Read {
                        position: self.position,
                        source,
                    });
                }
                Ok(length) => {
                    filled += length;
                    self.position += length as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(TarError::Read {
                        position: self.position,
                        source,
                    });
                }
            }
        }
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        const CHECKSUM: std::ops::Range<usize> = 148..156;
        let sum: u32 = (0..BLOCK_BYTES)
            .map(|at| {
                u32::from(if CHECKSUM.contains(&at) {
                    b' '
                } else {
                    block[at]
                })
            })
            .sum();
        match header.cksum() {
            Ok(stored) if stored == sum => {
                fill_blank_numbers(header.as_mut_bytes());
                Ok(Some(header))
            }
            Ok(_) | Err(_) => Err(TarError::BadHeader {
                position: self.position,
            }),
        }
    }

    fn read_extension(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        let max = self.limits.extension_bytes_max;
        if size > max {
            return Err(TarError::ExtensionTooLarge { bytes: size, max });
        }
        self.start_data(size)?;
        let length = usize::try_from(size).expect("at most the limit");
        let mut bytes = vec![0; length];
        self.fill(&mut bytes)?;
        self.left = 0;
        Ok(bytes)
    }

    /// A GNU long name, without the zero byte at its end.
    fn read_name(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        let mut name = self.read_extension(size)?;
        if name.last() == Some(&0) {
            name.pop();
        }
        Ok(name)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), TarError> {
        let position = self.position;
        self.reader
            .read_exact(bytes)
            .map_err(|source| TarError::Read { position, source })?;
        self.position += bytes.len() as u64;
        Ok(())
    }
}

/// Reads the data of the current entry; its end is the entry's end.
impl<R: Read> Read for TarStream<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        if room == 0 {
            return Ok(0);
        }
        let length = self.reader.read(&mut buffer[..room])?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= length as u64;
        self.position += length as u64;
        Ok(length)
    }
}

/// Old writers leave numbers blank that they do not know; they mean zero.
fn fill_blank_numbers(block: &mut [u8; BLOCK_BYTES]) {
    const MODE: std::ops::Range<usize> = 100..108;
    const UID: std::ops::Range<usize> = 108..116;
    const GID: std::ops::Range<usize> = 116..124;
    const SIZE: std::ops::Range<usize> = 124..136;
    const MTIME: std::ops::Range<usize> = 136..148;
    const DEVICE_MAJOR: std::ops::Range<usize> = 329..337;
    const DEVICE_MINOR: std::ops::Range<usize> = 337..345;
    for field in [MODE, UID, GID, SIZE, MTIME, DEVICE_MAJOR, DEVICE_MINOR] {
        let digits = &mut block[field];
        if digits.iter().all(|byte| matches!(byte, 0 | b' ')) {
            digits[0] = b'0';
        }
    }
}

fn number<T>(value: io::Result<T>, field: &'static str, position: u64) -> Result<T, TarError> {
    value.map_err(|_text| TarError::BadField { field, position })
}

#[cfg(test)]
mod tests;
