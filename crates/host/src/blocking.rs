//! Work that blocks, away from the async threads.

use std::any::Any;
use std::convert::Infallible;
use std::fmt;

/// Why work that blocks gave no result.
pub enum NoResult {
    /// It panicked, with this.
    Panicked(Box<dyn Any + Send>),
    /// The tokio runtime is going down and did not begin it.
    Ending,
}

impl NoResult {
    /// Passes a panic on to whoever waited for the work.
    ///
    /// # Errors
    /// [`NoResult::Ending`] is given back: what it means differs between those who wait.
    pub fn or_panic(self) -> Result<Infallible, Ending> {
        match self {
            Self::Panicked(panic) => std::panic::resume_unwind(panic),
            Self::Ending => Err(Ending),
        }
    }
}

/// The tokio runtime is going down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending;

impl fmt::Debug for NoResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for NoResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(panic) => {
                let text = panic.downcast_ref::<&str>().copied();
                let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
                write!(f, "it panicked: {}", text.unwrap_or("without a word"))
            }
            Self::Ending => f.write_str("the program is ending"),
        }
    }
}

/// Runs work that blocks on a thread of its own and waits for its result.
///
/// # Errors
/// [`NoResult`].
///
/// # Cancel safety
/// Work that has begun goes on to its end; its result is dropped.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NoResult> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        error
            .try_into_panic()
            .map_or(NoResult::Ending, NoResult::Panicked)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.expect("a runtime").block_on(future)
    }

    #[test]
    fn a_result_comes_back_and_a_panic_is_told_or_passed_on() {
        assert_eq!(run(blocking(|| 7)).expect("a result"), 7);
        let broken = run(blocking(|| -> () { panic!("at {}", 3) })).expect_err("it panics");
        assert_eq!(broken.to_string(), "it panicked: at 3");
        let passed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| broken.or_panic()));
        let passed = passed.expect_err("the panic is passed on");
        assert_eq!(NoResult::Panicked(passed).to_string(), "it panicked: at 3");
    }

    #[test]
    fn a_runtime_that_goes_down_is_no_panic() {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.expect("a runtime");
        let handle = runtime.handle().clone();
        runtime.shutdown_background();
        let _inside = handle.enter();
        let work = tokio::task::spawn_blocking(|| ());
        drop(_inside);
        let error = run(work).expect_err("nothing runs it");
        assert!(error.is_cancelled(), "{error}");
        assert_eq!(NoResult::Ending.or_panic().expect_err("no panic"), Ending);
    }
}
