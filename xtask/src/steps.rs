//! Steps of a longer run: each with its name and the time it took, failures included.

use std::time::{Duration, Instant};

use anyhow::Result;

/// Writes steps to standard output as they end.
#[derive(Debug)]
pub struct Steps {
    started: Instant,
}

impl Default for Steps {
    fn default() -> Self {
        Self {
            started: Instant::now(),
        }
    }
}

impl Steps {
    /// Does one step and says how long it took. A step's value is its caller's.
    ///
    /// # Errors
    /// What the step failed with.
    pub fn step<T>(&self, name: &str, act: impl FnOnce() -> Result<T>) -> Result<T> {
        let started = Instant::now();
        let result = act();
        let mark = if result.is_ok() { "✓" } else { "✗" };
        println!("{mark} {name:<58} {:>9}", shown(started.elapsed()));
        result
    }

    /// Gives the time since the first step could begin.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Gives a time with the unit that leaves two to four digits.
pub fn shown(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1e3)
    } else if seconds < 100.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{} min {:02} s", time.as_secs() / 60, time.as_secs() % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_short_to_read() {
        for (ms, text) in [
            (7, "7 ms"),
            (999, "999 ms"),
            (1500, "1.5 s"),
            (125_000, "2 min 05 s"),
        ] {
            assert_eq!(shown(Duration::from_millis(ms)), text);
        }
    }
}
