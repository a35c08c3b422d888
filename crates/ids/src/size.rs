//! Amounts of bytes, as people write them and as the wire carries them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An amount of bytes. On the wire a JSON number; people write `10G`, `512MiB` or `1000`.
///
/// Units are powers of 1024 with and without `i` (`K`, `Ki`, `KiB`, `KB` are the same),
/// as disks and memory are sized everywhere in this field.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(transparent)]
pub struct Bytes(pub u64);

/// Says why a text is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// Nothing was given.
    #[error("size is empty; write for example 10G")]
    Empty,
    /// Below zero.
    #[error("size {text:?} is negative")]
    Negative {
        /// What was given.
        text: String,
    },
    /// Zero.
    #[error("size is 0; a volume needs at least one byte")]
    Zero,
    /// No number at its start.
    #[error("size {text:?} is not a number with an optional unit K, M, G, T or P")]
    NotANumber {
        /// What was given.
        text: String,
    },
    /// Past what CSI can carry.
    #[error("size {text:?} is over the largest possible, 8 EiB - 1 byte")]
    TooLarge {
        /// What was given.
        text: String,
    },
}

const UNITS: [(&str, u32); 6] = [
    ("", 0),
    ("k", 10),
    ("m", 20),
    ("g", 30),
    ("t", 40),
    ("p", 50),
];

impl Bytes {
    /// Gives one mebibyte times `n`.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// Gives the amount itself.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Gives the amount as CSI carries it.
    pub fn as_i64(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }

    /// Checks that the amount can be a volume's size.
    ///
    /// # Errors
    /// [`SizeError::Zero`] and [`SizeError::TooLarge`].
    pub fn checked_volume_size(self) -> Result<Self, SizeError> {
        match self.0 {
            0 => Err(SizeError::Zero),
            n if i64::try_from(n).is_err() => Err(SizeError::TooLarge {
                text: n.to_string(),
            }),
            _ => Ok(self),
        }
    }
}

impl FromStr for Bytes {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err(SizeError::Empty);
        }
        if trimmed.starts_with('-') {
            return Err(SizeError::Negative {
                text: text.to_owned(),
            });
        }
        let not_a_number = || SizeError::NotANumber {
            text: text.to_owned(),
        };
        let too_large = || SizeError::TooLarge {
            text: text.to_owned(),
        };
        let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = trimmed.split_at(digits);
        if number.is_empty() {
            return Err(not_a_number());
        }
        let number: u64 = number.parse().map_err(|_| too_large())?;
        let unit = unit.trim().to_ascii_lowercase();
        let unit = unit.strip_suffix('b').unwrap_or(&unit);
        let unit = unit.strip_suffix('i').unwrap_or(unit);
        let shift = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .map(|(_, s)| *s)
            .ok_or_else(not_a_number)?;
        let bytes = number.checked_mul(1 << shift).ok_or_else(too_large)?;
        if i64::try_from(bytes).is_err() {
            return Err(too_large());
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Bytes {
    /// Writes three significant digits at most: `1.5G`, `40M`, `100`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = ["", "K", "M", "G", "T", "P", "E"];
        let mut value = self.0 as f64;
        let mut step = 0;
        while value >= 1024.0 && step + 1 < steps.len() {
            value /= 1024.0;
            step += 1;
        }
        if step == 0 {
            write!(f, "{}", self.0)
        } else if value < 10.0 && (value * 10.0).round() % 10.0 != 0.0 {
            write!(f, "{value:.1}{}", steps[step])
        } else {
            write!(f, "{value:.0}{}", steps[step])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_write_them() {
        for (text, bytes) in [
            ("1", 1),
            ("10K", 10 << 10),
            ("10 MiB", 10 << 20),
            ("3g", 3 << 30),
            ("2TB", 2 << 40),
            ("0", 0),
        ] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
    }

    #[test]
    fn a_bad_size_names_its_fault() {
        for (text, fault) in [
            ("", "empty"),
            ("-1G", "negative"),
            ("G", "not a number"),
            ("10X", "not a number"),
            ("1.5G", "not a number"),
            ("9999999999P", "over the largest"),
            ("99999999999999999999", "over the largest"),
        ] {
            let error = text.parse::<Bytes>().unwrap_err().to_string();
            assert!(error.contains(fault), "{text:?}: {error}");
        }
    }

    #[test]
    fn display_is_short() {
        for (bytes, text) in [
            (0, "0"),
            (1023, "1023"),
            (1 << 30, "1G"),
            (3 << 29, "1.5G"),
            (40 << 20, "40M"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }
}
