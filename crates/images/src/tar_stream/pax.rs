//! PAX extended header records: `<length> <key>=<value>\n`, where the length counts all of it.
//! Values are bytes: attributes hold line feeds and zeros.

use super::TarError;
use super::sparse::{SPARSE_PIECES_MAX, SparseMap};

const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";

/// The records that mean something to us.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<(i64, u32)>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse_major: Option<u64>,
    pub(super) sparse_name: Option<Vec<u8>>,
    pub(super) sparse_size: Option<u64>,
    pub(super) sparse_map: Option<SparseMap>,
}

pub(super) fn parse(bytes: &[u8], position: u64) -> Result<Records, TarError> {
    let bad = |field| TarError::BadField { field, position };
    let mut records = Records::default();
    let mut rest = bytes;
    while !rest.is_empty() && rest[0] != 0 {
        let (key, value, tail) = split_record(rest).ok_or_else(|| bad("PAX record"))?;
        rest = tail;
        match key {
            b"path" => records.path = Some(value.to_vec()),
            b"linkpath" => records.link = Some(value.to_vec()),
            b"size" => records.size = Some(decimal(value).ok_or_else(|| bad("size"))?),
            b"uid" => records.uid = Some(decimal(value).ok_or_else(|| bad("uid"))?),
            b"gid" => records.gid = Some(decimal(value).ok_or_else(|| bad("gid"))?),
            b"mtime" => records.mtime = Some(time(value).ok_or_else(|| bad("mtime"))?),
            b"GNU.sparse.major" => records.sparse_major = decimal(value),
            b"GNU.sparse.name" => records.sparse_name = Some(value.to_vec()),
            b"GNU.sparse.realsize" | b"GNU.sparse.size" => {
                records.sparse_size = Some(decimal(value).ok_or_else(|| bad("sparse size"))?);
            }
            b"GNU.sparse.map" => {
                records.sparse_map = Some(map(value).ok_or_else(|| bad("sparse map"))?);
            }
            key => {
                if let Some(name) = key.strip_prefix(XATTR_PREFIX) {
                    records.xattrs.push((name.to_vec(), value.to_vec()));
                }
            }
        }
    }
    Ok(records)
}

/// Splits the first record off: key, value, rest.
fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(&bytes[..space])?).ok()?;
    let record = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], &bytes[length..]))
}

fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// `[-]seconds[.fraction]`, rounded towards the past so that the fraction is never negative.
fn time(text: &[u8]) -> Option<(i64, u32)> {
    const NANOS: i64 = 1_000_000_000;
    let text = std::str::from_utf8(text).ok()?;
    let (negative, text) = match text.strip_prefix('-') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds = i64::try_from(decimal(seconds.as_bytes())?).ok()?;
    let digits: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    let nanos = i64::try_from(decimal(digits.as_bytes())?).ok()?;
    let (seconds, nanos) = match (negative, nanos) {
        (false, nanos) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        (true, nanos) => (-seconds - 1, NANOS - nanos),
    };
    Some((seconds, u32::try_from(nanos).ok()?))
}

/// The PAX 0.1 sparse map: `offset,length,offset,length…`.
fn map(text: &[u8]) -> Option<SparseMap> {
    let numbers: Option<Vec<u64>> = text.split(|byte| *byte == b',').map(decimal).collect();
    let numbers = numbers?;
    if numbers.len() % 2 != 0 || numbers.len() > SPARSE_PIECES_MAX * 2 {
        return None;
    }
    Some(
        numbers
            .chunks_exact(2)
            .map(|pair| (pair[0], pair[1]))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, value: &[u8]) -> Vec<u8> {
        let body = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
        let digits = (1..).find(|digits| (body.len() + digits).to_string().len() == *digits);
        let length = body.len() + digits.unwrap();
        [length.to_string().as_bytes(), &body].concat()
    }

    #[test]
    fn values_keep_line_feeds_and_equal_signs() {
        let value = b"\x01\n=\x00\n 9 x=y\n";
        let bytes = [
            record("SCHILY.xattr.security.capability", value),
            record("uid", b"70000"),
        ];
        let records = parse(&bytes.concat(), 0).unwrap();
        assert_eq!(
            records.xattrs,
            [(b"security.capability".to_vec(), value.to_vec())]
        );
        assert_eq!(records.uid, Some(70_000));
    }

    #[test]
    fn times_before_1970_and_fractions_are_exact() {
        assert_eq!(time(b"1.5"), Some((1, 500_000_000)));
        assert_eq!(time(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time(b"-3"), Some((-3, 0)));
        assert_eq!(time(b"7.1234567891"), Some((7, 123_456_789)));
        for bad in [&b""[..], b"x", b"1.x", b"--1", b"99999999999999999999"] {
            assert_eq!(time(bad), None);
        }
    }

    #[test]
    fn lying_lengths_are_refused() {
        for bad in [
            &b"9 a=b\n"[..],
            b"5 a=b\n",
            b"x a=b\n",
            b"18446744073709551615 a=b\n",
            b"3 \n",
            b"7",
        ] {
            assert!(
                matches!(parse(bad, 0), Err(TarError::BadField { .. })),
                "{bad:?}"
            );
        }
    }
}
