//! The clocks of the tests.

use std::time::Duration;

use sutler_api::Timestamp;
use sutler_ids::{Boottime, Now};

/// The moment so many seconds after the start.
pub(crate) fn at(second: u64) -> Now {
    when(Boottime::new(Duration::from_secs(second)))
}

/// The moment of a deadline. Its wall clock jumps by up to weeks at each millisecond, either way,
/// so nothing that must happen in time can rest on it.
pub(crate) fn when(deadline: Boottime) -> Now {
    let ms = deadline.since(Boottime::default()).as_millis();
    let ms = u64::try_from(ms).expect("an age");
    let jumps = ms.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    let wall = i64::try_from(jumps).expect("32 bits");
    Now {
        wall: Timestamp::from_millisecond(wall).expect("in range"),
        boottime: deadline,
    }
}
