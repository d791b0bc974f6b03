//! The committing task: tells the source's system which positions are durable, beside everything else.

use std::collections::BTreeMap;

use tokio::sync::mpsc;

use crate::admin::StatusHandle;
use crate::engine::retry::RetryPolicy;
use crate::failure::Failure;
use crate::record::{Partition, Position};
use crate::source::Committer;

/// The newest durable position of each partition that has moved.
pub(super) type Positions<P> = BTreeMap<Partition, P>;

/// Commits until `queue` is closed and all of it is committed. What can't be committed then is tried once more and left: the
/// positions are durable, and come again after the next start.
pub(super) async fn commit<P: Position, C: Committer<P>>(
    mut committer: C,
    mut queue: mpsc::Receiver<Positions<P>>,
    retry: RetryPolicy,
    status: StatusHandle,
) -> Result<(), Failure> {
    let mut waiting = Positions::new();
    let (mut failures, mut is_closed) = (0, false);
    loop {
        if waiting.is_empty() {
            match queue.recv().await {
                Some(positions) => waiting = positions,
                None => return Ok(()),
            }
        }
        let Err(failure) = commit_all(&mut committer, &mut waiting).await else {
            failures = 0;
            continue;
        };
        if !failure.is_retryable() {
            return Err(failure);
        }
        failures += 1;
        let wait = retry.wait(failures, &failure);
        tracing::warn!(code = %failure.code, ?wait, "positions can't be committed now: {}", failure.reason());
        status.error(failure.code, failure.reason());
        if is_closed {
            return Ok(());
        }
        let again = tokio::time::sleep(wait);
        tokio::pin!(again);
        while !is_closed {
            tokio::select! {
                () = &mut again => break,
                more = queue.recv() => match more {
                    Some(mut newer) => waiting.append(&mut newer),
                    None => is_closed = true,
                },
            }
        }
    }
}

/// Commits one after the other; what is left after a failure stays in `waiting`.
async fn commit_all<P: Position, C: Committer<P>>(committer: &mut C, waiting: &mut Positions<P>) -> Result<(), Failure> {
    while let Some(next) = waiting.first_entry() {
        committer.commit(next.key(), next.get()).await?;
        next.remove();
    }
    Ok(())
}
