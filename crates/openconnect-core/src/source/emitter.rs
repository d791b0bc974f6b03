//! The way from a source's `read` into the engine: bounded in memory and in number.

use tokio::sync::{mpsc, watch};

use crate::admin::StatusHandle;
use crate::budget::{Budget, Reservation, event_bytes, with_overhead};
use crate::record::Record;

/// Records that go on together, at the most.
const EMIT_BATCH: usize = 32;
/// Batches between `read` and the publisher, at the most.
pub(crate) const EMIT_QUEUE: usize = 16;

/// A record with its part of the memory.
pub(crate) struct Admitted<P> {
    pub(crate) record: Record<P>,
    /// Bytes of the event's data.
    pub(crate) data_bytes: usize,
    pub(crate) reservation: Reservation,
}

/// Takes the records of a [`Source`](super::Source) in the order in which they are emitted.
///
/// Each call waits while the mesh takes nothing or the memory (`limits.memory`) is spent; that is how a source is slowed down.
/// When it returns, the records are in the engine, and **not yet safe**: that is what receipts and the
/// [`Committer`](super::Committer) tell. Once the connector stops, a call may never return; `read` is dropped there.
#[derive(Debug)]
pub struct Emitter<P> {
    queue: mpsc::Sender<Vec<Admitted<P>>>,
    budget: Budget,
    status: StatusHandle,
    /// Why the source gives no events now.
    trouble: watch::Sender<Option<String>>,
    is_in_trouble: bool,
    emitted: u64,
    finished: bool,
}

impl<P> Emitter<P> {
    /// An emitter, and the ends where its batches arrive and where the trouble of its source is seen.
    #[allow(clippy::type_complexity, reason = "three ends of one thing, taken apart at once")]
    pub(crate) fn new(
        budget: Budget,
        status: StatusHandle,
        queue: usize,
    ) -> (Self, mpsc::Receiver<Vec<Admitted<P>>>, watch::Receiver<Option<String>>) {
        let (queue, batches) = mpsc::channel(queue);
        let (trouble, troubles) = watch::channel(None);
        let emitter = Self {
            queue,
            budget,
            status,
            trouble,
            is_in_trouble: false,
            emitted: 0,
            finished: false,
        };
        (emitter, batches, troubles)
    }

    /// Hands one record over. Where several are at hand, [`emit_all`](Self::emit_all) costs less.
    pub async fn emit(&mut self, record: Record<P>) {
        self.emit_all([record]).await;
    }

    /// Hands records over, in order. They may go on in parts: the first ones are published while the others wait for memory.
    pub async fn emit_all(&mut self, records: impl IntoIterator<Item = Record<P>>) {
        let records = records.into_iter();
        let mut batch = Vec::with_capacity(records.size_hint().0.clamp(1, EMIT_BATCH));
        for mut record in records {
            let data_bytes = record.as_event().map_or(0, data_bytes);
            let bytes = record.as_event().map_or(with_overhead(0), event_bytes);
            let own = match &mut record {
                Record::Event { reservation, .. } => reservation.take(),
                Record::Progress { .. } => None,
            };
            let reservation = match own.or_else(|| self.budget.try_reserve(bytes)) {
                Some(reservation) => reservation,
                // What is in the batch goes on first: its outcome gives back what this one waits for.
                None => {
                    self.hand_over(&mut batch).await;
                    self.budget.reserve(bytes).await
                }
            };
            batch.push(Admitted {
                record,
                data_bytes,
                reservation,
            });
            if batch.len() == EMIT_BATCH {
                self.hand_over(&mut batch).await;
            }
        }
        self.hand_over(&mut batch).await;
    }

    /// The source has come to its end: after this call of `read` there is no other. The connector waits for the outcomes of what
    /// was emitted, stores and commits the last positions, and ends with exit code 0. A source that has nothing now, but may
    /// have something later, waits in `read` instead.
    pub fn finish(&mut self) {
        self.finished = true;
    }

    async fn hand_over(&mut self, batch: &mut Vec<Admitted<P>>) {
        if batch.is_empty() {
            return;
        }
        let events = batch.iter().filter(|admitted| admitted.record.as_event().is_some()).count();
        self.emitted += batch.len() as u64;
        self.recovered();
        self.status.accepted(events as u64);
        if self.queue.send(std::mem::take(batch)).await.is_err() {
            // The engine has stopped, and drops this future.
            std::future::pending::<()>().await;
        }
    }

    /// Records so far.
    pub(crate) fn emitted(&self) -> u64 {
        self.emitted
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Shows why the source gives nothing, until it gives something.
    pub(crate) fn troubled(&mut self, reason: String) {
        self.is_in_trouble = true;
        self.trouble.send_replace(Some(reason));
    }

    /// The source reads again.
    pub(crate) fn recovered(&mut self) {
        if std::mem::take(&mut self.is_in_trouble) {
            self.trouble.send_replace(None);
        }
    }
}

fn data_bytes(event: &cloudevents::Event) -> usize {
    openconnect_protocol::payload::bytes(event).map_or(0, |data| data.len())
}
