//! What is done to end a generation, as tasks of their own: write the record, seal, ask, settle.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use openconnect_fault::{Failpoint, reach};
use tokio_util::sync::CancellationToken;

use super::records::{Chain, Records};
use crate::admin::StatusHandle;
use crate::codes;
use crate::engine::retry::RetryPolicy;
use crate::failure::{Failure, FailureKind};
use crate::staging::{Handle, Seal, Sealed, StagingSink};

/// How an attempt to end a generation went.
#[derive(Debug)]
pub(super) enum SealResult {
    /// So many of its events are visible, perhaps with the id of the last.
    Visible(u64, Option<String>),
    /// The target refuses it for good.
    Refused(Failure),
    /// The connector can't go on.
    Fatal(Failure),
    /// It is not visible, and the shutdown did not wait.
    GivenUp,
}

/// What the tasks share.
pub(super) struct Sealer<S> {
    pub(super) sink: Arc<S>,
    pub(super) records: Arc<Records>,
    pub(super) retry: RetryPolicy,
    pub(super) status: StatusHandle,
    /// Is the target failing at the moment?
    pub(super) failing: Arc<AtomicBool>,
    /// Cancelled at shutdown: one last attempt, no wait.
    pub(super) draining: CancellationToken,
}

impl<S> Clone for Sealer<S> {
    fn clone(&self) -> Self {
        Self {
            sink: Arc::clone(&self.sink),
            records: Arc::clone(&self.records),
            retry: self.retry,
            status: self.status.clone(),
            failing: Arc::clone(&self.failing),
            draining: self.draining.clone(),
        }
    }
}

impl<S: StagingSink> Sealer<S> {
    /// Writes the record and seals, until the generation is visible or can't be.
    pub(super) async fn seal(self, chain: Chain, mut seal: Seal) -> SealResult {
        reach(Failpoint::BeforeSealRecord);
        if !self.write(chain).await {
            return SealResult::GivenUp;
        }
        reach(Failpoint::SealRecorded);
        loop {
            let failure = match self.sink.seal(&seal).await {
                Ok(()) => {
                    reach(Failpoint::Sealed);
                    self.failing.store(false, Ordering::Relaxed);
                    return SealResult::Visible(seal.count, None);
                }
                Err(failure) => failure,
            };
            self.note(&failure, "a group can't be sealed");
            match failure.kind {
                FailureKind::Fatal => return SealResult::Fatal(failure),
                FailureKind::Permanent => return SealResult::Refused(failure),
                _ => {}
            }
            self.status.counts().retried.fetch_add(seal.count, Ordering::Relaxed);
            if !self.wait(seal.attempt, &failure).await {
                return SealResult::GivenUp;
            }
            seal.attempt += 1;
            // It may have come through all the same.
            match self.ask(&seal).await {
                Ok(Sealed::Visible { count, last }) => return SealResult::Visible(count, last),
                Ok(Sealed::NotVisible | Sealed::RepeatIsHarmless | Sealed::Unknown) => {}
                Err(ended) => return ended,
            }
        }
    }

    /// Asks what became of a seal, until there is an answer.
    pub(super) async fn ask(&self, seal: &Seal) -> Result<Sealed, SealResult> {
        let mut attempts = 0;
        loop {
            let failure = match self.sink.sealed(seal).await {
                Ok(sealed) => return Ok(sealed),
                Err(failure) => failure,
            };
            self.note(&failure, "the target does not say whether a group is visible");
            if !failure.is_retryable() {
                return Err(SealResult::Fatal(failure));
            }
            attempts += 1;
            if !self.wait(attempts, &failure).await {
                return Err(SealResult::GivenUp);
            }
        }
    }

    /// Replaces the records when their entries are resolved for good, and forgets the handle of a generation that is visible. One
    /// that shows nothing is discarded first.
    pub(super) async fn settle(self, chain: Option<Chain>, token: Arc<str>, discard: Option<Handle>) -> Result<(), Failure> {
        reach(Failpoint::SealResolved);
        if let Some(handle) = discard {
            reach(Failpoint::BeforeDiscard);
            self.sink.discard(&handle).await;
            reach(Failpoint::Discarded);
        }
        if let Some(chain) = chain
            && !self.write(chain).await
        {
            return Err(Failure::retryable(codes::STAGING_UNWRITTEN, "the seal records can't be written"));
        }
        let records = Arc::clone(&self.records);
        let forgotten = tokio::task::spawn_blocking(move || records.forget_handle(&token)).await;
        if let Ok(Err(failure)) = forgotten {
            // At the next start it is discarded once more, which is harmless.
            self.note(&failure, "a handle can't be removed");
        }
        Ok(())
    }

    /// Writes records, again and again; false when the shutdown does not wait.
    async fn write(&self, chain: Chain) -> bool {
        let chain = Arc::new(chain);
        let mut attempts = 0;
        loop {
            let (records, written) = (Arc::clone(&self.records), Arc::clone(&chain));
            let failure = match tokio::task::spawn_blocking(move || records.write(&written)).await {
                Ok(Ok(())) => return true,
                Ok(Err(failure)) => failure,
                Err(e) => Failure::retryable(codes::STAGING_UNWRITTEN, "writing seal records ended abnormally").because(e),
            };
            self.note(&failure, "seal records can't be written");
            attempts += 1;
            if !self.wait(attempts, &failure).await {
                return false;
            }
        }
    }

    pub(super) fn note(&self, failure: &Failure, what: &str) {
        if failure.is_retryable() {
            self.failing.store(true, Ordering::Relaxed);
        }
        self.status.error(failure.code, failure.reason());
        tracing::warn!(code = %failure.code, kind = ?failure.kind, "{what}: {}", failure.reason());
    }

    /// Waits before another attempt; false when there shall be none: the shutdown grants one.
    async fn wait(&self, attempts: u32, failure: &Failure) -> bool {
        if self.draining.is_cancelled() {
            return false;
        }
        tokio::select! {
            () = tokio::time::sleep(self.retry.wait(attempts, failure)) => {}
            () = self.draining.cancelled() => {}
        }
        true
    }
}
