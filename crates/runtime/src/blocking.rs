//! Work that blocks, for callers that go down with the tokio runtime.

use sutler_host::blocking::Ending;

/// Runs what blocks beside the async tasks.
pub(super) async fn blocking<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    match sutler_host::blocking::blocking(act).await {
        Ok(value) => value,
        Err(none) => match none.or_panic() {
            // The tokio runtime is going down, and so is whoever waits for us.
            Err(Ending) => std::future::pending().await,
        },
    }
}
