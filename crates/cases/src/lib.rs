//! How thorough property tests are: one setting for all of them. Tests only.

use proptest::test_runner::Config;

/// Cases of each property where `SUTLER_CASES` does not say otherwise.
const CASES: u32 = 500;

/// Gives the settings of a property, and prints how many cases it tries.
///
/// Failures leave no file behind: a history that failed is written down as a row of a table, where
/// it can be read and outlives a change of the generator.
///
/// # Panics
/// `SUTLER_CASES` is no number: a test that silently tries fewer cases than asked proves nothing.
pub fn config() -> Config {
    let cases = match std::env::var("SUTLER_CASES") {
        Ok(text) => text.parse().expect("SUTLER_CASES is a number of cases"),
        Err(_unset) => CASES,
    };
    println!("{cases} cases");
    Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    }
}
