//! The intake of the spool: makes durable what the source emits, and tells who waits.

use bytes::Bytes;
use openconnect_error::codes::TASK_ENDED;
use openconnect_protocol::json;
use tokio::sync::{mpsc, oneshot};

use crate::failure::Failure;
use crate::inbox::Appender;
use crate::outcome::Outcome;
use crate::record::Record;
use crate::source::{Admitted, EMIT_QUEUE};

/// What the keeper of the spool is told.
pub(super) enum SpoolNews {
    /// The entry is handed over to be published; it is in the spool since this time, in ms since the epoch.
    HandedOver { sequence: u64, arrived_ms: u64 },
    /// The entry has its outcome.
    Resolved(u64),
    /// Nothing more is appended.
    IntakeEnded,
    /// Nothing can go on.
    Failed(Failure),
}

/// Where the keeper is told. A task that panics must not leave a connector that looks alive: dropped in a panic, this says so.
pub(super) struct News(pub(super) mpsc::UnboundedSender<SpoolNews>);

impl News {
    /// The keeper may have ended; then nobody needs to know.
    pub(super) fn tell(&self, news: SpoolNews) {
        let _ = self.0.send(news);
    }
}

impl Drop for News {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell(SpoolNews::Failed(Failure::fatal(
                TASK_ENDED,
                "a task of the spool ended abnormally; this is a bug",
            )));
        }
    }
}

/// Appends what the source emits. When it is dropped, nothing more is appended.
pub(in crate::engine::source) struct SpoolIntake {
    appender: Appender,
    news: News,
}

impl SpoolIntake {
    pub(super) fn new(appender: Appender, news: News) -> Self {
        Self { appender, news }
    }

    /// Runs until `records` is closed and all of it is durable.
    pub(in crate::engine::source) async fn run<P>(self, mut records: mpsc::Receiver<Vec<Admitted<P>>>) {
        let mut batches = Vec::with_capacity(EMIT_QUEUE);
        while records.recv_many(&mut batches, EMIT_QUEUE).await > 0 {
            if let Err(failure) = self.take(batches.drain(..).flatten()).await {
                self.news.tell(SpoolNews::Failed(failure));
                return;
            }
        }
    }

    /// Makes these durable together, in their order. While the disk syncs, the next ones gather in the queue.
    async fn take<P>(&self, admitted: impl Iterator<Item = Admitted<P>>) -> Result<(), Failure> {
        let (mut raw, mut receipts, mut reserved) = (Vec::new(), Vec::new(), Vec::new());
        for Admitted { record, reservation, .. } in admitted {
            // There is nothing to keep of mere progress: a source with a spool has no positions.
            if let Record::Event { event, receipt, .. } = record {
                raw.push(Bytes::from(json::encode(&event)));
                receipts.extend(receipt);
                reserved.push(reservation);
            }
        }
        if raw.is_empty() {
            return Ok(());
        }
        let (done, durable) = oneshot::channel();
        // This task waits for it, unless the connector has stopped.
        self.appender.append_events(raw, move || _ = done.send(())).await?;
        let gone = |_| Failure::fatal(TASK_ENDED, "the thread that writes the spool ended abnormally; this is a bug");
        durable.await.map_err(gone)?;
        drop(reserved);
        receipts.into_iter().for_each(|receipt| receipt.resolve(Outcome::Delivered));
        Ok(())
    }
}

impl Drop for SpoolIntake {
    fn drop(&mut self) {
        self.news.tell(SpoolNews::IntakeEnded);
    }
}
