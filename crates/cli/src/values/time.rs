//! Times such as `30s`, `5m` or `24h`. Pure.

use std::time::Duration;

const UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// Longest time taken: a hundred years, so that no sum with it overflows.
const MAX: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Reads a whole number with a unit.
///
/// # Errors
/// A text that names the fault.
pub fn time(text: &str) -> Result<Duration, String> {
    let fault = || format!("{text:?} is not a time such as 500ms, 30s, 5m, 24h or 7d");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| fault())?;
    let (_, factor) = UNITS
        .into_iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(fault)?;
    match number.checked_mul(factor).map(Duration::from_millis) {
        Some(time) if time <= MAX => Ok(time),
        Some(_) | None => Err(format!("{text:?} is over a hundred years")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_need_a_unit() {
        assert_eq!(time("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(time("7d"), Ok(Duration::from_secs(604_800)));
        assert_eq!(time("0s"), Ok(Duration::ZERO));
        for text in ["", "10", "s", "-1s", "1.5h", "1w", "99999999999999999999s"] {
            assert!(time(text).unwrap_err().contains("not a time"), "{text:?}");
        }
        for text in ["99999999999999999d", "36501d"] {
            assert!(
                time(text).unwrap_err().contains("hundred years"),
                "{text:?}"
            );
        }
    }
}
