//! Limits of a task: cores and memory. Pure.

use sutler_ids::Bytes;

/// Least memory for a container: the runtime itself needs about this much to start one.
pub const MEMORY_MIN: Bytes = Bytes::mib(6);

/// Fewest cores: one millisecond of each 100, the kernel's shortest quota.
pub const CPUS_MIN: f64 = 0.01;

/// Most cores: the largest host the kernel supports.
pub const CPUS_MAX: f64 = 8192.0;

/// Reads a number of cores such as `0.5`.
///
/// # Errors
/// A text that names the fault.
pub fn cpus(text: &str) -> Result<f64, String> {
    let number: f64 = text
        .parse()
        .map_err(|_| format!("{text:?} is not a number of cores such as 2 or 0.5"))?;
    if !number.is_finite() {
        return Err(format!(
            "{text:?} is not a number of cores such as 2 or 0.5"
        ));
    }
    if number < CPUS_MIN {
        return Err(format!(
            "{text} cores is below the least possible, {CPUS_MIN}"
        ));
    }
    if number > CPUS_MAX {
        return Err(format!(
            "{text} cores is over the most possible, {CPUS_MAX}"
        ));
    }
    Ok(number)
}

/// Reads an amount of memory such as `64M`.
///
/// # Errors
/// A text that names the fault.
pub fn memory(text: &str) -> Result<Bytes, String> {
    let bytes: Bytes = text.parse().map_err(|error| format!("{error}"))?;
    if bytes < MEMORY_MIN {
        return Err(format!(
            "{text} of memory is below the least possible, {MEMORY_MIN}"
        ));
    }
    Ok(bytes)
}

/// Reads a volume's size such as `10G`.
///
/// # Errors
/// A text that names the fault.
pub(crate) fn volume_size(text: &str) -> Result<Bytes, String> {
    text.parse::<Bytes>()
        .and_then(Bytes::checked_volume_size)
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_out_of_range_are_refused_with_the_range() {
        for (text, fault) in [
            ("0", "below the least possible, 0.01"),
            ("-1", "below"),
            ("nan", "not a number"),
            ("inf", "not a number"),
            ("two", "not a number"),
            ("9000", "over the most possible, 8192"),
        ] {
            let error = cpus(text).unwrap_err();
            assert!(error.contains(fault), "{text}: {error}");
        }
        assert_eq!(cpus("0.5"), Ok(0.5));
        assert!(
            memory("0")
                .unwrap_err()
                .contains("below the least possible, 6M")
        );
        assert!(memory("64X").unwrap_err().contains("not a number"));
        assert_eq!(memory("64M"), Ok(Bytes::mib(64)));
        assert!(volume_size("0").unwrap_err().contains("size is 0"));
        assert!(volume_size("-1G").unwrap_err().contains("negative"));
    }
}
