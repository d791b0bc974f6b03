//! A source without the engine, for tests and measurements of a connector.

use std::sync::Arc;

use openconnect_error::codes::TASK_ENDED;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::emitter::{Admitted, Emitter};
use super::{Source, SourceContext};
use crate::admin::StatusHandle;
use crate::error::{Error, Result};
use crate::failure::Failure;
use crate::record::Record;

/// Runs a source in its task, as the engine does, and gives what it emits: for tests and measurements of a connector.
///
/// Nothing is published, stored or committed. Dropping the runner is as a crash.
pub struct SourceRunner<S: Source> {
    batches: mpsc::Receiver<Vec<Admitted<S::Position>>>,
    failures: mpsc::Receiver<Failure>,
    /// Lets the task go on after a failure.
    resume: Arc<Notify>,
    has_failed: bool,
    stop: CancellationToken,
    task: AbortOnDropHandle<S>,
    /// What `open` made beside the source.
    pub committer: S::Committer,
}

impl<S: Source> SourceRunner<S> {
    /// Opens the source and begins to read.
    ///
    /// # Errors
    /// As [`Source::open`].
    pub async fn start(config: S::Config, cx: SourceContext<S::Position>) -> Result<Self> {
        let (budget, stop) = (cx.budget.clone(), CancellationToken::new());
        let (mut source, committer) = S::open(config, cx).await?;
        let (mut out, batches, _) = Emitter::new(budget, StatusHandle::new("alone", S::NAME, ""), 1);
        let (failed, failures) = mpsc::channel(1);
        let (resume, stopped) = (Arc::new(Notify::new()), stop.clone());
        let resumed = Arc::clone(&resume);
        let task = tokio::spawn(async move {
            while !out.is_finished() {
                let read = tokio::select! {
                    biased;
                    () = stopped.cancelled() => break,
                    read = source.read(&mut out) => read,
                };
                if let Err(failure) = read {
                    // The receiver is here as long as the runner is.
                    let _ = failed.send(failure).await;
                    tokio::select! {
                        () = stopped.cancelled() => break,
                        () = resumed.notified() => {}
                    }
                }
            }
            source
        });
        Ok(Self {
            batches,
            failures,
            resume,
            has_failed: false,
            stop,
            task: AbortOnDropHandle::new(task),
            committer,
        })
    }

    /// The next records, in the parts in which they were emitted; none when the source has finished. May be dropped while it
    /// waits: `read` goes on.
    ///
    /// # Errors
    /// What `read` returned, after all that was emitted before it. The next call lets the source read again.
    pub async fn next(&mut self) -> Result<Vec<Record<S::Position>>, Failure> {
        if std::mem::take(&mut self.has_failed) {
            self.resume.notify_one();
        }
        tokio::select! {
            biased;
            batch = self.batches.recv() => Ok(batch.unwrap_or_default().into_iter().map(whole).collect()),
            Some(failure) = self.failures.recv() => {
                self.has_failed = true;
                Err(failure)
            }
        }
    }

    /// Stops reading and closes the source, as a shutdown does.
    ///
    /// # Errors
    /// As [`Source::close`], and when `read` has panicked.
    pub async fn close(self) -> Result<()> {
        self.stop.cancel();
        let source = self.task.await;
        let source = source.map_err(|e| Error::unavailable(TASK_ENDED, "the source's task ended abnormally").because(e))?;
        source.close().await
    }
}

fn whole<P>(admitted: Admitted<P>) -> Record<P> {
    admitted.record.with_reservation(admitted.reservation)
}
