//! Arithmetic on measured numbers: quantiles, drift and the worst. Pure.

use std::time::Duration;

/// Most that a calibrator's median may differ between the first and the last third of a run.
pub(super) const DRIFT_MAX: f64 = 0.20;

/// Gives the value below which a share of the numbers lies; 0 of no numbers.
///
/// Between two neighbours it takes the nearer one, so that it is always a measured number.
pub(super) fn quantile(numbers: &[f64], share: f64) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    let place = (last as f64 * share).round() as usize;
    sorted.get(place).copied().unwrap_or_default()
}

/// Gives the middle number, the mean of the two middle ones when there is none.
pub(super) fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        len if len % 2 == 1 => sorted[middle],
        _even => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// Gives the largest number: every figure here is better when it is smaller.
pub(super) fn worst(numbers: &[f64]) -> f64 {
    numbers.iter().copied().fold(0.0, f64::max)
}

/// Gives by which share the medians of the first and the last third differ; 0 of less than
/// three numbers.
pub(super) fn drift(numbers: &[f64]) -> f64 {
    let third = numbers.len() / 3;
    if third == 0 {
        return 0.0;
    }
    let first = median(&numbers[..third]);
    let last = median(&numbers[numbers.len() - third..]);
    first.max(last) / first.min(last) - 1.0
}

/// Gives times as milliseconds.
pub(super) fn ms(times: impl IntoIterator<Item = Duration>) -> Vec<f64> {
    times
        .into_iter()
        .map(|time| time.as_secs_f64() * 1e3)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
    }

    #[test]
    fn a_quantile_is_a_measured_number() {
        let numbers: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(quantile(&numbers, 0.99), 99.0);
        assert_eq!(quantile(&numbers, 1.0), 100.0);
        assert_eq!(quantile(&[7.0], 0.5), 7.0);
        assert_eq!(quantile(&[], 0.5), 0.0);
    }

    #[test]
    fn drift_is_seen_in_both_directions_and_one_outlier_is_none() {
        let rising = [1.0, 1.0, 1.0, 1.1, 1.2, 1.3, 1.3, 1.3, 1.3];
        let falling: Vec<f64> = rising.into_iter().rev().collect();
        assert!(drift(&rising) > DRIFT_MAX && drift(&falling) > DRIFT_MAX);
        let outlier = [1.0, 1.0, 9.0, 1.0, 1.0, 1.0, 1.1, 1.0, 1.0];
        assert!(drift(&outlier) < DRIFT_MAX);
        assert_eq!(drift(&[1.0, 5.0]), 0.0);
    }
}
