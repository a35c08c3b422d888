//! Writes the one layer of an image of ours: a sorted tar, packed with gzip, hashed on the way.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use flate2::{Compression, GzBuilder};

use super::super::digest::{Digest, Hasher};
use super::super::manifest::{Descriptor, OCI_LAYER_GZIP};
use super::{BuildError, Node, descriptor};

/// Writes the layer's blob; returns its descriptor and the digest of the tar inside.
pub(super) fn write_layer(
    nodes: &BTreeMap<String, Node>,
    blobs: &Path,
) -> Result<(Descriptor, Digest), BuildError> {
    let temporary = blobs.join(format!(".layer-{}", std::process::id()));
    let failed = |source| BuildError::Write {
        path: temporary.clone(),
        source,
    };
    let file = io::BufWriter::new(File::create(&temporary).map_err(failed)?);
    let packed = Hashing {
        writer: file,
        hasher: Hasher::default(),
        bytes: 0,
    };
    let gzip = GzBuilder::new()
        .mtime(0)
        .write(packed, Compression::default());
    let mut tar = tar::Builder::new(Hashing {
        writer: gzip,
        hasher: Hasher::default(),
        bytes: 0,
    });
    for (name, node) in nodes {
        append(&mut tar, name, node)?;
    }
    let plain = tar.into_inner().map_err(failed)?;
    let diff_id = plain.hasher.finish();
    let mut packed = plain.writer.finish().map_err(failed)?;
    packed.flush().map_err(failed)?;
    let (digest, size) = (packed.hasher.finish(), packed.bytes);
    fs::rename(&temporary, blobs.join(digest.hex())).map_err(failed)?;
    Ok((descriptor(OCI_LAYER_GZIP, digest, size), diff_id))
}

fn append<W: Write>(tar: &mut tar::Builder<W>, name: &str, node: &Node) -> Result<(), BuildError> {
    let failed = |source| BuildError::Write {
        path: name.into(),
        source,
    };
    let mut header = tar::Header::new_gnu();
    let mut prepare = |kind: tar::EntryType, mode: u32, size: u64| {
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.clone()
    };
    match node {
        Node::Folder { mode } => {
            let mut header = prepare(tar::EntryType::Directory, *mode, 0);
            tar.append_data(&mut header, format!("{name}/"), io::empty())
                .map_err(failed)
        }
        Node::Bytes { content, mode } => {
            let mut header = prepare(tar::EntryType::Regular, *mode, content.len() as u64);
            tar.append_data(&mut header, name, content.as_slice())
                .map_err(failed)
        }
        Node::Copy { from, mode } => {
            let read = |source| BuildError::Read {
                path: from.clone(),
                source,
            };
            let file = File::open(from).map_err(read)?;
            let size = file.metadata().map_err(read)?.len();
            let mut header = prepare(tar::EntryType::Regular, *mode, size);
            // A file that shrinks or grows meanwhile must not shift what follows.
            let exact = io::Read::take(file, size);
            tar.append_data(&mut header, name, exact).map_err(read)
        }
        Node::Link { target } => {
            let mut header = prepare(tar::EntryType::Symlink, 0o777, 0);
            tar.append_link(&mut header, name, target).map_err(failed)
        }
    }
}

/// Passes bytes on, counted and hashed.
struct Hashing<W> {
    writer: W,
    hasher: Hasher,
    bytes: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.writer.write(bytes)?;
        self.hasher.update(&bytes[..length]);
        self.bytes += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
