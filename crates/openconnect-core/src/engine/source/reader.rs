//! The reading task: calls `read` until the connector stops, the source finishes, or it fails for good.

use tokio_util::sync::CancellationToken;

use crate::admin::StatusHandle;
use crate::engine::retry::RetryPolicy;
use crate::failure::Failure;
use crate::source::{Emitter, Source};

/// Gives the source back, so that it can be closed, and why it can't go on.
pub(super) async fn read<S: Source>(
    mut source: S,
    mut out: Emitter<S::Position>,
    retry: RetryPolicy,
    status: StatusHandle,
    stop: CancellationToken,
) -> (S, Result<(), Failure>) {
    let mut failures = 0;
    while !out.is_finished() {
        let before = out.emitted();
        let read = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            read = source.read(&mut out) => read,
        };
        let emitted = out.emitted() > before;
        match read {
            Ok(()) => {
                failures = 0;
                out.recovered();
                if !emitted {
                    // A source that returns at once with nothing must not keep its thread.
                    tokio::task::yield_now().await;
                }
            }
            Err(failure) if failure.is_retryable() => {
                failures = if emitted { 1 } else { failures + 1 };
                let wait = retry.wait(failures, &failure);
                tracing::warn!(code = %failure.code, ?wait, "the source gives no events: {}", failure.reason());
                status.error(failure.code, failure.reason());
                out.troubled(failure.reason());
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = stop.cancelled() => break,
                }
            }
            Err(failure) => return (source, Err(failure)),
        }
    }
    (source, Ok(()))
}
