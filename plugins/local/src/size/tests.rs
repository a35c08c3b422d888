//! Sizes, as a table.

use super::*;

fn asked(required_bytes: u64, limit_bytes: u64) -> SizeAsked {
    SizeAsked {
        required_bytes,
        limit_bytes,
    }
}

#[test]
fn a_size_is_what_was_asked_rounded_up_within_the_limit() {
    let ext4 = Some(FsKind::Ext4);
    let table = [
        (asked(0, 0), ext4, Ok(DEFAULT_BYTES)),
        (asked(0, 64 * MIB), ext4, Ok(64 * MIB)),
        (asked(0, 64 * MIB + 5), None, Ok(64 * MIB)),
        (asked(1, 0), ext4, Ok(8 * MIB)),
        (asked(1, 0), None, Ok(MIB)),
        (asked(64 * MIB, 0), ext4, Ok(64 * MIB)),
        (asked(64 * MIB + 1, 0), ext4, Ok(65 * MIB)),
        (
            asked(64 * MIB + 1, 64 * MIB + 4096),
            ext4,
            Ok(64 * MIB + 4096),
        ),
        (asked(64 * MIB, 64 * MIB), ext4, Ok(64 * MIB)),
        (asked(300 * MIB, 0), Some(FsKind::Xfs), Ok(300 * MIB)),
    ];
    for (asked, fs, expected) in table {
        assert_eq!(choose(asked, fs), expected, "{asked:?} {fs:?}");
    }
}

#[test]
fn a_size_that_cannot_be_is_refused_with_its_figures() {
    let text = |asked, fs| choose(asked, fs).expect_err("must be refused").to_string();
    let xfs = text(asked(10 * MIB, 0), Some(FsKind::Xfs));
    assert_eq!(
        xfs,
        "10485760 bytes are too few for xfs: the least is 314572800 bytes"
    );
    let limit = text(asked(1, MIB), Some(FsKind::Ext4));
    assert_eq!(
        limit,
        "1 bytes are too few for ext4: the least is 8388608 bytes"
    );
    let odd = text(asked(64 * MIB + 1, 64 * MIB + 2), None);
    assert!(odd.contains("no multiple of 4096"), "{odd}");
    assert!(
        choose(asked(u64::MAX - 1, 0), None).is_err(),
        "beyond CSI's signed numbers"
    );
}

#[test]
fn figures_below_zero_and_crossed_ranges_are_refused() {
    assert_eq!(SizeAsked::new(-1, 0), Err(SizeError::Negative(-1)));
    assert_eq!(SizeAsked::new(0, -7), Err(SizeError::Negative(-7)));
    assert_eq!(
        SizeAsked::new(5, 4),
        Err(SizeError::Crossed {
            required: 5,
            limit: 4
        })
    );
    let range = SizeAsked::new(5, 7).expect("a good range");
    assert_eq!(
        [4, 5, 7, 8].map(|bytes| range.admits(bytes)),
        [false, true, true, false]
    );
}
