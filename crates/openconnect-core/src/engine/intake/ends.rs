//! What the tasks of an intake share: how they end.

use std::future::Future;

use openconnect_error::codes::TASK_ENDED;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;

/// The ends of an intake's task; each task has a clone. Shutdown ends the task, and a failure ends the worker.
///
/// A task that panics must not leave a connector that looks alive: dropped in a panic, this ends the worker too.
#[derive(Clone)]
pub(crate) struct IntakeEnds {
    pub(crate) fatal: mpsc::Sender<Failure>,
    pub(crate) shutdown: CancellationToken,
}

impl IntakeEnds {
    /// Runs `work` until it ends by itself or the connector shuts down.
    pub(crate) async fn until_shutdown(&self, work: impl Future<Output = ()>) {
        tokio::select! {
            () = work => {}
            () = self.shutdown.cancelled() => {}
        }
    }

    /// The connector can't go on.
    pub(crate) async fn fail(&self, failure: Failure) {
        let _ = self.fatal.send(failure).await;
    }
}

impl Drop for IntakeEnds {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let ended = Failure::fatal(TASK_ENDED, "a task that takes events in ended abnormally; this is a bug");
            let _ = self.fatal.try_send(ended);
        }
    }
}
