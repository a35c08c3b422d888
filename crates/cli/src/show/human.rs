//! Ages, times, sizes and foreign text, as people read them. Pure.

use std::time::Duration;

use jiff::Timestamp;

/// Writes a span with its largest unit only: `12d`, `40h`, `3m`, `9s`.
///
/// Each unit goes on to twice its natural end (`90s`, `100m`), so that the figure never has
/// fewer than two digits of meaning.
pub fn span(duration: Duration) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match duration.as_secs() {
        s if s < 2 * MINUTE => format!("{s}s"),
        s if s < 2 * HOUR => format!("{}m", s / MINUTE),
        s if s < 2 * DAY => format!("{}h", s / HOUR),
        s => format!("{}d", s / DAY),
    }
}

/// Writes how long ago `then` was; a clock that runs ahead counts as now.
pub fn age(then: Timestamp, now: Timestamp) -> String {
    span(Duration::try_from(now.duration_since(then)).unwrap_or(Duration::ZERO))
}

/// Writes how long it is until `then`; zero if it has passed.
pub fn left(then: Timestamp, now: Timestamp) -> String {
    age(now, then)
}

/// Writes a wall clock time in UTC.
pub fn clock(at: Timestamp) -> String {
    at.strftime("%H:%M:%S").to_string()
}

/// Writes a moment in UTC with its age.
pub fn moment(at: Timestamp, now: Timestamp) -> String {
    format!(
        "{} ({} ago)",
        at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        age(at, now)
    )
}

/// Makes foreign text harmless for a terminal: control characters but line ends and tabs are
/// written as escapes.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

/// Writes names one after another, or `-` for none.
pub fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() {
        "-".to_owned()
    } else {
        items.join(",")
    }
}

/// Writes a value or `-`.
pub fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_keeps_two_digits_of_meaning() {
        for (seconds, text) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (7199, "119m"),
            (7200, "2h"),
            (172_799, "47h"),
            (172_800, "2d"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn a_clock_that_runs_ahead_counts_as_now() {
        let now = Timestamp::from_second(1_000).unwrap();
        assert_eq!(age(Timestamp::from_second(2_000).unwrap(), now), "0s");
    }

    #[test]
    fn foreign_text_cannot_move_the_cursor() {
        assert_eq!(printable("a\u{1b}[2Jb\r\nc"), "a\\u{1b}[2Jb\\r\nc");
    }
}
