//! How events come to the worker: mesh and replays to the inbox, the inbox to the worker, transformed.

use std::sync::Arc;

use openconnect_protocol::wire;
use tokio::sync::mpsc;

use crate::budget::Reservation;
use crate::dead_letter::ReplayQueue;
use crate::engine::TRANSFORM_BATCH;
use crate::engine::intake::{self, Decoder, IntakeEnds, RECEIVE_BATCH, Read};
use crate::engine::payload::Payload;
use crate::failure::{Failure, FailureKind};
use crate::inbox::{Appender, Chunk, Entries, InboxEntry};
use crate::mesh::Subscriber;
use crate::transform::{Transformed, Transforms};

/// An entry as the inbox's thread reads it.
pub(super) struct Decoded {
    read: Read,
    bytes: usize,
    arrived_ms: u64,
}

/// What the inbox's threads make of an entry, and the memory that it takes.
pub(super) fn decode(decoder: Decoder) -> impl Fn(&InboxEntry<'_>) -> (Decoded, usize) + Clone + Send + 'static {
    move |found| {
        let (read, bytes) = (decoder.read(&found.stored), found.stored.raw.len());
        let memory = intake::memory(&read, bytes);
        let arrived_ms = found.arrived_ms;
        (Decoded { read, bytes, arrived_ms }, memory)
    }
}

/// An entry in the worker, with its part of the budget, until it is staged or has its outcome.
pub(super) struct Entry {
    pub(super) sequence: u64,
    pub(super) payload: Payload,
    pub(super) bytes: usize,
    pub(super) arrived_ms: u64,
    /// Attempts that have failed.
    pub(super) failed: u32,
    _reservation: Reservation,
}

/// Transforms entries and hands them over.
#[derive(Clone)]
pub(super) struct Preparer {
    pub(super) transforms: Arc<Transforms>,
}

impl Preparer {
    /// Hands a chunk to the worker, as `wrap` says; false when the worker is gone.
    pub(super) async fn hand_over<M>(&self, chunk: Chunk<Decoded>, to: &mpsc::Sender<M>, wrap: impl Fn(Vec<Entry>) -> M) -> bool {
        let mut entries = chunk.into_entries();
        loop {
            let ready: Vec<_> = entries.by_ref().take(TRANSFORM_BATCH).collect();
            if ready.is_empty() {
                return true;
            }
            let entries = self.transform(ready).await;
            if to.send(wrap(entries)).await.is_err() {
                return false;
            }
        }
    }

    async fn transform(&self, ready: Vec<(u64, Decoded, Reservation)>) -> Vec<Entry> {
        let (mut read, mut rest) = (Vec::with_capacity(ready.len()), Vec::with_capacity(ready.len()));
        for (sequence, decoded, reservation) in ready {
            read.push(decoded.read);
            rest.push((sequence, decoded.bytes, decoded.arrived_ms, reservation));
        }
        let transformed = self.transforms.apply(read).await;
        let entries = transformed
            .into_iter()
            .zip(rest)
            .map(|(transformed, (sequence, bytes, arrived_ms, reservation))| Entry {
                sequence,
                payload: match transformed {
                    Ok(Transformed::Keep(event, _)) => Payload::Event(event),
                    Ok(Transformed::Failed(event, failure)) => Payload::Rejected(event, failure),
                    Ok(Transformed::Drop) => Payload::Filtered,
                    Ok(Transformed::Lost(failure)) => Payload::Unreadable(bytes::Bytes::new(), failure),
                    Err(unfit) => unfit,
                },
                bytes,
                arrived_ms,
                failed: 0,
                _reservation: reservation,
            });
        entries.collect()
    }
}

/// Feeds the inbox and the worker; one clone a way in. Ends at shutdown.
#[derive(Clone)]
pub(super) struct Feeder {
    pub(super) ends: IntakeEnds,
}

impl Feeder {
    /// From the mesh to the inbox. Gives the subscriber back, which must outlive the inbox for its acknowledgements.
    pub(super) async fn receive(self, mut subscriber: Subscriber, appender: Appender) -> Subscriber {
        let work = async {
            loop {
                let mut deliveries = Vec::new();
                subscriber.recv(&mut deliveries, RECEIVE_BATCH).await?;
                appender.append(deliveries).await?;
            }
        };
        let ended: Result<(), Failure> = tokio::select! {
            biased;
            () = self.ends.shutdown.cancelled() => Ok(()),
            ended = work => ended,
        };
        if let Err(failure) = ended {
            self.ends.fail(failure).await;
        }
        subscriber.stop().await;
        subscriber
    }

    /// From the inbox to the worker.
    pub(super) async fn read(self, mut stored: Entries<Decoded>, preparer: Preparer, to: mpsc::Sender<Vec<Entry>>) {
        let work = async {
            while let Some(chunk) = stored.next().await {
                match chunk {
                    Ok(chunk) => {
                        if !preparer.hand_over(chunk, &to, |entries| entries).await {
                            return;
                        }
                    }
                    Err(error) => {
                        self.ends.fail(Failure::of(FailureKind::Fatal, error)).await;
                        return;
                    }
                }
            }
        };
        self.ends.until_shutdown(work).await;
    }

    /// Dead letters that are replayed go through the inbox like every other event; a replay is done when it is in there.
    pub(super) async fn replay(self, queue: ReplayQueue, appender: Appender) {
        let work = async {
            loop {
                for (token, event) in queue.next().await {
                    let (raw, scope, queue) = (wire::encode(&event, "replay"), token.replay(), queue.clone());
                    let done = move || {
                        if let Err(failure) = queue.done(token) {
                            tracing::error!(code = %failure.code, "{}", failure.reason());
                        }
                    };
                    if let Err(failure) = appender.append_replayed(raw.into(), scope, done).await {
                        self.ends.fail(failure).await;
                        return;
                    }
                }
            }
        };
        self.ends.until_shutdown(work).await;
    }
}
