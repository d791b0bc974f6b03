//! The feed of the spool: hands its entries to the publishing task, in order.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use cloudevents::Event;
use tokio::sync::mpsc;

use super::Spooled;
use super::intake::{News, SpoolNews};
use crate::admin::StatusHandle;
use crate::dead_letter::DeadLetters;
use crate::engine::TRANSFORM_BATCH;
use crate::engine::payload::Payload;
use crate::engine::retry::RetryPolicy;
use crate::failure::{Failure, FailureKind};
use crate::inbox::{Chunk, Entries};
use crate::outcome::Receipt;
use crate::record::{NoPosition, Partition, Record};
use crate::source::Admitted;

pub(super) struct Feed {
    pub(super) entries: Entries<Spooled>,
    pub(super) to: mpsc::Sender<Vec<Admitted<NoPosition>>>,
    pub(super) news: News,
    pub(super) dead_letters: Arc<DeadLetters>,
    pub(super) retry: RetryPolicy,
    pub(super) status: StatusHandle,
    pub(super) partition: Partition,
}

impl Feed {
    /// Runs until it is stopped, or the spool can't be read.
    pub(super) async fn run(mut self) {
        loop {
            let handed_over = match self.entries.next().await {
                Some(Ok(chunk)) => self.hand_over(chunk).await,
                Some(Err(error)) => Err(Failure::of(FailureKind::Fatal, error)),
                // The entries of a spool do not end while it is open.
                None => return,
            };
            if let Err(failure) = handed_over {
                self.news.tell(SpoolNews::Failed(failure));
                return;
            }
        }
    }

    async fn hand_over(&self, chunk: Chunk<Spooled>) -> Result<(), Failure> {
        let mut batch = Vec::with_capacity(TRANSFORM_BATCH);
        for (sequence, Spooled { event, arrived_ms }, reservation) in chunk.into_entries() {
            self.news.tell(SpoolNews::HandedOver { sequence, arrived_ms });
            match event {
                Ok(event) => {
                    let data_bytes = openconnect_protocol::payload::bytes(&event).map_or(0, |data| data.len());
                    batch.push(Admitted {
                        record: self.record(sequence, event),
                        data_bytes,
                        reservation,
                    });
                }
                Err((raw, failure)) => self.reject(sequence, raw, failure).await?,
            }
            if batch.len() == TRANSFORM_BATCH {
                self.send(&mut batch).await;
            }
        }
        self.send(&mut batch).await;
        Ok(())
    }

    /// The event, with a receipt that frees its entry.
    fn record(&self, sequence: u64, event: Event) -> Record<NoPosition> {
        let news = self.news.0.clone();
        let receipt = Receipt::telling(move |result| {
            // One that failed stays in the spool.
            if result.is_ok() {
                let _ = news.send(SpoolNews::Resolved(sequence));
            }
        });
        Record::event(self.partition.clone(), event).with_receipt(receipt)
    }

    /// What is no event any more becomes a dead letter, and holds nothing up.
    async fn reject(&self, sequence: u64, raw: Bytes, failure: Failure) -> Result<(), Failure> {
        let letter = Payload::Unreadable(raw, failure.clone());
        self.retry
            .put_dead_letter(&self.dead_letters, &letter, &failure, 1, &self.status)
            .await?;
        self.status.counts().dead_lettered.fetch_add(1, Relaxed);
        self.status.resolved(1);
        tracing::warn!(code = %failure.code, "dead letter: {}", failure.reason());
        self.news.tell(SpoolNews::Resolved(sequence));
        Ok(())
    }

    async fn send(&self, batch: &mut Vec<Admitted<NoPosition>>) {
        if !batch.is_empty() && self.to.send(std::mem::take(batch)).await.is_err() {
            // The publishing task has ended; the keeper knows why, and stops this one.
            std::future::pending::<()>().await;
        }
    }
}
