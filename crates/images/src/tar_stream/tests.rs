//! The reader against archives made here and damaged ones.

use super::*;

fn header(name: &str, kind: u8, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_path(name).unwrap();
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    header
}

fn padded(data: &[u8]) -> Vec<u8> {
    let mut data = data.to_vec();
    data.resize(data.len().next_multiple_of(BLOCK_BYTES), 0);
    data
}

fn block(name: &str, kind: u8, data: &[u8]) -> Vec<u8> {
    [
        header(name, kind, data.len() as u64).as_bytes().to_vec(),
        padded(data),
    ]
    .concat()
}

fn read_all(archive: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, TarError> {
    let limits = ImageLimits::default();
    let mut stream = TarStream::new(archive, &limits);
    let mut entries = Vec::new();
    while let Some(entry) = stream.next_entry()? {
        let mut data = Vec::new();
        stream
            .read_to_end(&mut data)
            .map_err(|source| TarError::Read {
                position: 0,
                source,
            })?;
        entries.push((entry, data));
    }
    stream.finish()?;
    Ok(entries)
}

#[test]
fn long_names_apply_to_the_next_entry_only() {
    let long = "d/".repeat(120) + "f";
    let archive = [
        block("././@LongLink", b'L', format!("{long}\0").as_bytes()),
        block("short", b'0', b"data"),
        block("plain", b'0', b""),
        vec![0; 1024],
    ];
    let entries = read_all(&archive.concat()).unwrap();
    assert_eq!(entries[0].0.path, long.as_bytes());
    assert_eq!(entries[0].1, b"data");
    assert_eq!(entries[1].0.path, b"plain");
    assert_eq!(entries.len(), 2);
}

#[test]
fn data_that_is_not_read_is_skipped() {
    let archive = [
        block("a", b'0', &[7; 700]),
        block("b", b'0', b"x"),
        vec![0; 1024],
    ]
    .concat();
    let limits = ImageLimits::default();
    let mut stream = TarStream::new(&archive[..], &limits);
    assert_eq!(stream.next_entry().unwrap().unwrap().data, (512, 700));
    let mut some = [0; 10];
    stream.read_exact(&mut some).unwrap();
    assert_eq!(stream.next_entry().unwrap().unwrap().path, b"b");
    assert_eq!(stream.next_entry().unwrap(), None);
}

#[test]
fn damage_is_named() {
    let good = [block("a", b'0', &[1; 600]), vec![0; 1024]].concat();
    assert!(matches!(read_all(&good[..700]), Err(TarError::Read { .. })));
    assert!(matches!(read_all(&good[..100]), Err(TarError::Read { .. })));
    let mut flipped = good.clone();
    flipped[0] ^= 1;
    assert!(matches!(
        read_all(&flipped),
        Err(TarError::BadHeader { .. })
    ));
    assert!(matches!(
        read_all(&[b'x'; 2048]),
        Err(TarError::BadHeader { .. })
    ));
    let unknown = block("a", b'Z', b"");
    assert!(matches!(
        read_all(&unknown),
        Err(TarError::UnknownKind { kind: 'Z', .. })
    ));
}

#[test]
fn extension_headers_cannot_fill_memory() {
    let mut huge = header("x", b'L', 0);
    huge.set_size(1 << 40);
    huge.set_cksum();
    match read_all(huge.as_bytes()) {
        Err(TarError::ExtensionTooLarge { bytes, .. }) => assert_eq!(bytes, 1 << 40),
        other => panic!("{other:?}"),
    }
    let many: Vec<u8> = (0..20)
        .flat_map(|_| block("x", b'g', b"9 a=bcd\n\n"))
        .collect();
    assert!(matches!(
        read_all(&many),
        Err(TarError::TooManyExtensions { .. })
    ));
    let mut size = header("x", b'0', 0);
    size.as_mut_bytes()[124..136].copy_from_slice(b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff");
    size.set_cksum();
    assert!(matches!(
        read_all(size.as_bytes()),
        Err(TarError::BadField { .. })
    ));
}

#[test]
fn sparse_maps_must_fit_their_data() {
    let sparse = |pieces: &[(u64, u64)], real: u64, data: &[u8]| {
        let mut header = header("s", b'S', data.len() as u64);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.set_real_size(real);
        for (slot, (offset, length)) in gnu.sparse.iter_mut().zip(pieces) {
            slot.set_offset(*offset);
            slot.set_length(*length);
        }
        header.set_cksum();
        [header.as_bytes().to_vec(), padded(data), vec![0; 1024]].concat()
    };
    let entries = read_all(&sparse(&[(512, 3), (4096, 2)], 5000, b"abcde")).unwrap();
    assert_eq!(entries[0].0.sparse, Some(vec![(512, 3), (4096, 2)]));
    assert_eq!(
        (entries[0].0.size, entries[0].1.as_slice()),
        (5000, &b"abcde"[..])
    );
    let lies: [(&[(u64, u64)], u64); 4] = [
        (&[(0, 3), (2, 2)], 5000),
        (&[(0, 5)], 4),
        (&[(0, 4)], 5000),
        (&[(u64::MAX >> 2, 5)], 5000),
    ];
    for (pieces, real) in lies {
        let result = read_all(&sparse(pieces, real, b"abcde"));
        assert!(
            matches!(result, Err(TarError::BadField { .. })),
            "{pieces:?}: {result:?}"
        );
    }
}

#[test]
fn pax_sparse_files_carry_their_map_before_their_data() {
    let record = |text: &str| format!("{} {text}\n", text.len() + 2 + 2).into_bytes();
    let records = [
        record("GNU.sparse.major=1"),
        record("GNU.sparse.minor=0"),
        record("GNU.sparse.name=real/name"),
        record("GNU.sparse.realsize=9000"),
    ]
    .concat();
    let data = [padded(b"2\n0\n3\n8000\n2\n"), b"abcde".to_vec()].concat();
    let archive = [
        block("x", b'x', &records),
        block("GNUSparseFile.1/name", b'0', &data),
        vec![0; 1024],
    ];
    let entries = read_all(&archive.concat()).unwrap();
    assert_eq!(entries[0].0.path, b"real/name");
    assert_eq!(entries[0].0.sparse, Some(vec![(0, 3), (8000, 2)]));
    assert_eq!(
        (entries[0].0.size, entries[0].1.as_slice()),
        (9000, &b"abcde"[..])
    );
}
