//! The times of a plugin definition: their defaults, bounds and reading.

use std::time::Duration;

use super::{DefinitionError, PluginDefinition};

/// Bounds of `probe_timeout`: a Probe takes a round trip to the plugin's back end at most, and
/// one that takes minutes would leave a dead plugin unnoticed.
const PROBE_LEAST: (u64, &str) = (1_000, "1s");
const PROBE_MOST: (u64, &str) = (300_000, "5m");

/// Bounds of `call_timeout`: under a second nothing is mounted, and a call that takes an hour
/// holds its lane for as long.
const CALL_LEAST: (u64, &str) = (1_000, "1s");
const CALL_MOST: (u64, &str) = (3_600_000, "1h");

pub(super) fn default_startup_timeout() -> String {
    "60s".to_owned()
}

pub(super) fn default_stop_timeout() -> String {
    "30s".to_owned()
}

/// Drivers were seen to need 1 to 10 seconds for a Probe that asks their back end.
pub(super) fn default_probe_timeout() -> String {
    "15s".to_owned()
}

/// Drivers run mkfs, fsck and mount under their caller's deadline, which is two minutes under
/// kubelet. Calls to the controller get the same: drivers share code between the halves, and a
/// call cut short gives an unknown outcome where patience gives an answer.
pub(super) fn default_call_timeout() -> String {
    "120s".to_owned()
}

impl PluginDefinition {
    /// Gives the time until Probe must say ready, in milliseconds.
    ///
    /// # Errors
    /// [`DefinitionError::Time`].
    pub fn startup_timeout_ms(&self) -> Result<u64, DefinitionError> {
        time_ms("startup_timeout", &self.startup_timeout)
    }

    /// Gives the time that a stop waits before it kills, in milliseconds.
    ///
    /// # Errors
    /// [`DefinitionError::Time`].
    pub fn stop_timeout_ms(&self) -> Result<u64, DefinitionError> {
        time_ms("stop_timeout", &self.stop_timeout)
    }

    /// Gives the time for one Probe, and for each question at the plugin's start.
    ///
    /// # Errors
    /// [`DefinitionError::Time`] or [`DefinitionError::TimeBounds`].
    pub fn probe_timeout(&self) -> Result<Duration, DefinitionError> {
        bounded(
            ("probe_timeout", &self.probe_timeout),
            PROBE_LEAST,
            PROBE_MOST,
        )
    }

    /// Gives the time for one call about a volume.
    ///
    /// # Errors
    /// [`DefinitionError::Time`] or [`DefinitionError::TimeBounds`].
    pub fn call_timeout(&self) -> Result<Duration, DefinitionError> {
        bounded(("call_timeout", &self.call_timeout), CALL_LEAST, CALL_MOST)
    }
}

fn bounded(
    (key, text): (&'static str, &str),
    (least_ms, least): (u64, &'static str),
    (most_ms, most): (u64, &'static str),
) -> Result<Duration, DefinitionError> {
    let ms = time_ms(key, text)?;
    if (least_ms..=most_ms).contains(&ms) {
        return Ok(Duration::from_millis(ms));
    }
    Err(DefinitionError::TimeBounds {
        key,
        text: text.to_owned(),
        least,
        most,
    })
}

fn time_ms(key: &'static str, text: &str) -> Result<u64, DefinitionError> {
    let fault = || DefinitionError::Time {
        key,
        text: text.to_owned(),
    };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().map_err(|_| fault())?;
    let factor = match text[digits..].trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(fault()),
    };
    number.checked_mul(factor).ok_or_else(fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_as_long_as_under_kubelet_unless_the_definition_says_otherwise() {
        let mut definition = PluginDefinition::of_image("x");
        let call = |d: &PluginDefinition| d.call_timeout().expect("a time");
        assert_eq!(call(&definition), Duration::from_secs(120));
        let probe = definition.probe_timeout().expect("a time");
        assert_eq!(probe, Duration::from_secs(15));
        definition.call_timeout = "1h".to_owned();
        assert_eq!(call(&definition), Duration::from_secs(3_600));
        let text = "image = 'x'\nprobe_timeout = '30s'\ncall_timeout = '5m'";
        let definition = PluginDefinition::from_toml(text).expect("a definition");
        assert_eq!(call(&definition), Duration::from_secs(300));
    }
}
