//! Ages, times, sizes and foreign text, as people read them. Pure.

use std::time::Duration;

use jiff::Timestamp;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Gives the unit in which a span is written: its name and its seconds.
///
/// Each unit goes on to twice its natural end (`90s`, `100m`), so that the figure never has
/// fewer than two digits of meaning.
fn unit(seconds: u64) -> (char, u64) {
    match seconds {
        s if s < 2 * MINUTE => ('s', 1),
        s if s < 2 * HOUR => ('m', MINUTE),
        s if s < 2 * DAY => ('h', HOUR),
        _ => ('d', DAY),
    }
}

/// Writes a span with its largest unit only, rounded down: `12d`, `40h`, `3m`, `9s`.
pub fn span(duration: Duration) -> String {
    let (name, seconds) = unit(duration.as_secs());
    format!("{}{name}", duration.as_secs() / seconds)
}

/// Writes how long ago `then` was; a clock that runs ahead counts as now.
pub fn age(then: Timestamp, now: Timestamp) -> String {
    span(Duration::try_from(now.duration_since(then)).unwrap_or(Duration::ZERO))
}

/// Writes how long it is until `then`, rounded up; zero if it has passed.
pub fn left(then: Timestamp, now: Timestamp) -> String {
    let left = Duration::try_from(then.duration_since(now)).unwrap_or(Duration::ZERO);
    let whole = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    let (name, seconds) = unit(whole);
    format!("{}{name}", whole.div_ceil(seconds))
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
/// written as escapes, and so are those that turn the direction of what is around them.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            c if c.is_control() || turns(c) => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

/// The same for text that is JSON: it stays the same JSON.
pub(crate) fn printable_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // Outside of strings JSON has line ends alone; in them these are escaped already.
        match (c.is_control() && !c.is_ascii_whitespace()) || turns(c) {
            true => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => out.push(c),
        }
    }
    out
}

/// Marks, overrides and isolates of direction.
/// Source: Unicode Standard Annex 9.
fn turns(c: char) -> bool {
    let mark = matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}');
    mark || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
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
pub(crate) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_a_terminal_is_escaped_in_text_and_in_json() {
        let text = "a\u{1b}[2J\u{9b}b\u{202e}c\n\td\u{e9}\u{61c}";
        assert_eq!(
            printable(text),
            "a\\u{1b}[2J\\u{9b}b\\u{202e}c\n\td\u{e9}\\u{61c}"
        );
        let json = serde_json::to_string(&serde_json::json!({ "k\u{7f}": text })).expect("text");
        let safe = printable_json(&json);
        assert!(!safe.chars().any(|c| c.is_control() || turns(c)), "{safe}");
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
        assert_eq!(read(&safe), read(&json));
    }

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
    fn what_is_left_is_rounded_up() {
        let now = Timestamp::from_millisecond(1_000_000).unwrap();
        for (ms, text) in [
            (-5, "0s"),
            (1, "1s"),
            (86_399_001, "24h"),
            (86_400_000, "24h"),
        ] {
            let then = Timestamp::from_millisecond(1_000_000 + ms).unwrap();
            assert_eq!(left(then, now), text, "{ms} ms");
        }
    }

    #[test]
    fn foreign_text_cannot_move_the_cursor() {
        assert_eq!(printable("a\u{1b}[2Jb\r\nc"), "a\\u{1b}[2Jb\\r\nc");
    }
}
