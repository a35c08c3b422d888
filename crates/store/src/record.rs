//! How one record lies on disk, and the seal over each table.
//!
//! | bytes | of a record |
//! |---|---|
//! | 0..8 | first 8 bytes of SHA-256 over table name, NUL, key, NUL, value |
//! | 8.. | the value, JSON |
//!
//! The seal of a table is the number of its records and the XOR of their checksums, so that
//! a record that vanished or came back is noticed too.

use sha2::{Digest, Sha256};

const CHECKSUM_BYTES: usize = 8;

/// What a table holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Key and value of each sound record, in order of keys.
    pub records: Vec<(String, Vec<u8>)>,
    /// The others.
    pub damaged: Vec<Damaged>,
}

/// A record that is not as we wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// Its key, as found.
    pub key: String,
    /// What is wrong with it.
    pub what: String,
}

/// Number and combined checksum of a table's records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Seal {
    pub count: u64,
    pub xor: u64,
}

impl Seal {
    pub(crate) fn add(&mut self, framed: &[u8]) {
        self.count = self.count.wrapping_add(1);
        self.xor ^= checksum_of(framed);
    }

    pub(crate) fn remove(&mut self, framed: &[u8]) {
        self.count = self.count.wrapping_sub(1);
        self.xor ^= checksum_of(framed);
    }

    pub(crate) fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.count) << 64 | u128::from(self.xor)).to_le_bytes()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let whole = u128::from_le_bytes(bytes.try_into().ok()?);
        // Truncation is meant: the two halves.
        Some(Self {
            count: (whole >> 64) as u64,
            xor: whole as u64,
        })
    }
}

/// Puts the checksum before a value.
pub(crate) fn frame(table: &str, key: &str, value: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(CHECKSUM_BYTES + value.len());
    framed.extend_from_slice(&checksum(table, key, value));
    framed.extend_from_slice(value);
    framed
}

/// Checks and strips the checksum, or says what is wrong.
pub(crate) fn unframe(table: &str, key: &str, framed: &[u8]) -> Result<Vec<u8>, String> {
    let Some((stored, value)) = framed.split_at_checked(CHECKSUM_BYTES) else {
        return Err(format!(
            "has {} bytes, too few for a checksum",
            framed.len()
        ));
    };
    if stored != checksum(table, key, value) {
        return Err("does not match its checksum".to_owned());
    }
    Ok(value.to_owned())
}

fn checksum(table: &str, key: &str, value: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hash = Sha256::new();
    for part in [table.as_bytes(), b"\0", key.as_bytes(), b"\0", value] {
        hash.update(part);
    }
    let mut out = [0; CHECKSUM_BYTES];
    out.copy_from_slice(&hash.finalize()[..CHECKSUM_BYTES]);
    out
}

fn checksum_of(framed: &[u8]) -> u64 {
    framed
        .first_chunk()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
