//! Signals by name and number, and as the kernel interface wants them.
//!
//! Images name their stop signal (`SIGQUIT`, `RTMIN+3`); this file reads that. It sends nothing.

#![expect(
    unsafe_code,
    reason = "rustix has no checked way to name a real-time signal"
)]

use serde::{Deserialize, Serialize};

/// A signal by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "i32", into = "i32")]
pub struct Signal(i32);

impl Signal {
    /// SIGTERM, what a stop sends first unless told otherwise.
    pub const TERM: Self = Self(15);
    /// SIGKILL.
    pub const KILL: Self = Self(9);

    /// Reads `SIGTERM`, `TERM` or `15`; real-time signals as `RTMIN+3`, `SIGRTMAX-1` or number.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let upper = text.trim().to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let number = name
            .parse::<i32>()
            .ok()
            .or_else(|| real_time(name))
            .or_else(|| {
                NAMES
                    .iter()
                    .find(|(n, _)| *n == name)
                    .map(|(_, number)| *number)
            })?;
        Self::try_from(number).ok()
    }

    /// The number.
    #[must_use]
    pub fn number(self) -> i32 {
        self.0
    }

    /// The same for a system call that sends it.
    pub(super) fn to_sent(self) -> rustix::process::Signal {
        // SAFETY: the number is within 1..=RT_MAX (checked on every way in), and the result is
        // only ever sent, never used to install a handler that could upset the C library.
        unsafe { rustix::process::Signal::from_raw_unchecked(self.0) }
    }
}

/// First and last real-time signal that programs see through the C library.
const RT_MIN: i32 = 34;
const RT_MAX: i32 = 64;

fn real_time(name: &str) -> Option<i32> {
    if let Some(rest) = name.strip_prefix("RTMIN") {
        let plus = rest
            .strip_prefix('+')
            .map_or(Some(0), |n| n.parse::<i32>().ok())?;
        return Some(RT_MIN + plus);
    }
    let rest = name.strip_prefix("RTMAX")?;
    let minus = rest
        .strip_prefix('-')
        .map_or(Some(0), |n| n.parse::<i32>().ok())?;
    Some(RT_MAX - minus)
}

/// Linux numbers on every architecture we build for (x86-64, arm64, riscv64).
const NAMES: [(&str, i32); 30] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
];

impl TryFrom<i32> for Signal {
    type Error = String;
    fn try_from(number: i32) -> Result<Self, String> {
        if (1..=RT_MAX).contains(&number) {
            Ok(Self(number))
        } else {
            Err(format!("signal {number} is not within 1 to {RT_MAX}"))
        }
    }
}

impl From<Signal> for i32 {
    fn from(signal: Signal) -> Self {
        signal.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_read_by_name_and_number() {
        for (text, number) in [
            ("SIGTERM", 15),
            ("quit", 3),
            ("9", 9),
            ("RTMIN+3", 37),
            ("SIGRTMAX-1", 63),
        ] {
            assert_eq!(
                Signal::parse(text).map(Signal::number),
                Some(number),
                "{text}"
            );
        }
        assert!(serde_json::from_str::<Signal>("65").is_err());
        for bad in ["", "0", "65", "SIGNOPE", "RTMIN+99", "-1"] {
            assert_eq!(Signal::parse(bad), None, "{bad:?}");
        }
    }
}
