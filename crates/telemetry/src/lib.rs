//! What every process says of itself and hides of its users: logs, error chains, secrets,
//! and the failpoints of the crash tests.
//!
//! Owns no state of the cluster and decides nothing. Sits above the pure crates and below
//! every shell.

pub mod failpoint;
pub mod logging;
mod secret;

pub use secret::Secret;

/// Most causes that [`chain`] follows: a bound against an error that is its own source.
const CAUSES_MAX: usize = 16;

/// Writes an error with its causes, outermost first: `what: cause: cause`.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    for _ in 0..CAUSES_MAX {
        let Some(cause) = next else { break };
        let cause_text = cause.to_string();
        // A library that repeats its cause in its own text would say everything twice.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
