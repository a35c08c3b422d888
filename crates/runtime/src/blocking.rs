//! Work that blocks, away from the async threads.

/// Runs what blocks beside the async tasks.
pub(super) async fn blocking<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(act).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Cancelled: the tokio runtime is going down, and so is whoever waits for us.
            Err(_cancelled) => std::future::pending().await,
        },
    }
}
