//! An archive that the kernel takes as its first file system: cpio, the "new" kind.
//!
//! Source: kernel `Documentation/driver-api/early-userspace/buffer-format.rst`.

/// Types of files, as in `st_mode`.
const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;

/// Every part starts at a multiple of this.
const ALIGNED: usize = 4;

/// The name that ends an archive.
const TRAILER: &str = "TRAILER!!!";

/// An archive under way.
#[derive(Debug, Default)]
pub(super) struct Cpio {
    bytes: Vec<u8>,
    entries: u32,
}

impl Cpio {
    /// Adds a folder, after the one that it lies in.
    pub(super) fn folder(&mut self, name: &str) {
        self.entry(name, FOLDER | 0o755, &[]);
    }

    /// Adds a program or another file.
    pub(super) fn file(&mut self, name: &str, content: &[u8]) {
        self.entry(name, FILE | 0o755, content);
    }

    /// Ends the archive.
    pub(super) fn into_bytes(mut self) -> Vec<u8> {
        self.entry(TRAILER, 0, &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let links = 1;
        let size = u32::try_from(content.len()).expect("no file of a guest has 4 GiB");
        let name_size = u32::try_from(name.len() + 1).expect("names are short");
        let fields = [
            self.entries,
            mode,
            0,
            0,
            links,
            0,
            size,
            0,
            0,
            0,
            0,
            name_size,
            0,
        ];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend(content);
        self.align();
    }

    fn align(&mut self) {
        let whole = self.bytes.len().next_multiple_of(ALIGNED);
        self.bytes.resize(whole, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_headers_names_and_contents_each_aligned() {
        let mut cpio = Cpio::default();
        cpio.file("ab", b"xyz");
        let bytes = cpio.into_bytes();
        let header = "070701\
            00000001000081ed000000000000000000000001000000000000000300000000\
            00000000000000000000000000000003\
            00000000ab\0\0\0\0xyz\0";
        let header = header.replace(' ', "");
        assert_eq!(String::from_utf8_lossy(&bytes[..120]), &header[..120]);
        assert_eq!(bytes.len() % ALIGNED, 0);
        let tail = String::from_utf8_lossy(&bytes).into_owned();
        assert!(tail.trim_end_matches('\0').ends_with(TRAILER), "{tail}");
    }
}
