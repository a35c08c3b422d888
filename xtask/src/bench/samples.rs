//! Numbers from repeated rounds, and what is said of them.

use std::time::Duration;

/// The values of one figure, one for each round.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Samples(Vec<f64>);

impl From<Vec<f64>> for Samples {
    fn from(values: Vec<f64>) -> Self {
        Self(values)
    }
}

impl Samples {
    /// Adds a time, in milliseconds.
    pub fn add_time(&mut self, time: Duration) {
        self.0.push(time.as_secs_f64() * 1e3);
    }

    /// Adds a number.
    pub fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    /// Gives the middle value; the mean of the two middle ones of an even number.
    ///
    /// # Panics
    /// There are none.
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.len() % 2 {
            1 => sorted[middle],
            _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
        }
    }

    /// Gives the largest value.
    pub fn worst(&self) -> f64 {
        self.0.iter().copied().fold(f64::MIN, f64::max)
    }

    /// Divides round by round.
    #[must_use]
    pub fn over(&self, base: &Self) -> Self {
        Self(
            self.0
                .iter()
                .zip(&base.0)
                .map(|(value, base)| value / base)
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_worst_do_not_depend_on_the_order() {
        let samples = Samples::from(vec![3.0, 1.0, 2.0, 10.0]);
        assert_eq!((samples.median(), samples.worst()), (2.5, 10.0));
        assert_eq!(Samples::from(vec![5.0]).median(), 5.0);
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let ratio = Samples::from(vec![2.0, 9.0]).over(&Samples::from(vec![1.0, 3.0]));
        assert_eq!(ratio, Samples::from(vec![2.0, 3.0]));
    }
}
