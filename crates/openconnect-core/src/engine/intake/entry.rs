//! An event on its way in: decoded, transformed, keyed and budgeted before the worker sees it.

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use cloudevents::Event;
use openconnect_protocol::wire;
use tokio::sync::mpsc;

use crate::budget::{Budget, EventLimit, Reservation, attributes_overhead, with_overhead};
use crate::codes;
use crate::dead_letter::ReplayToken;
use crate::engine::TRANSFORM_BATCH;
use crate::engine::delivery::Deliverable;
use crate::engine::payload::Payload;
use crate::failure::Failure;
use crate::inbox::Stored;
use crate::mesh::{Ack, Delivery};
use crate::sink::Target;
use crate::transform::{Transformed, Transforms};

/// Deliveries taken from the mesh at once.
pub(crate) const RECEIVE_BATCH: usize = 256;

/// Where an entry's outcome goes.
pub(crate) enum Origin {
    Mesh(Ack),
    Inbox(u64),
    Replay(ReplayToken),
}

/// One event in the worker, with its part of the budget, until its outcome.
pub(crate) struct Entry {
    pub(crate) payload: Payload,
    pub(crate) origin: Origin,
    pub(crate) key: Option<u64>,
    /// Set by the worker, which knows where it goes.
    pub(crate) target: Target,
    bytes: usize,
    arrived: Instant,
    _permit: Reservation,
}

impl Entry {
    pub(crate) fn event(&self) -> Option<&Arc<Event>> {
        self.payload.event()
    }
}

impl Deliverable for Entry {
    fn key(&self) -> Option<u64> {
        self.key
    }

    fn target(&self) -> &Target {
        &self.target
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn arrived(&self) -> Instant {
        self.arrived
    }
}

/// What was read, before it is transformed: the event, or what it is instead.
pub(crate) type Read = Result<Arc<Event>, Payload>;

/// What the budget has to hold for what was read out of so many bytes.
pub(crate) fn memory(read: &Read, bytes: usize) -> usize {
    let attributes = match read {
        Ok(event) | Err(Payload::Event(event) | Payload::Rejected(event, _)) => attributes_overhead(event),
        Err(Payload::Filtered | Payload::Unreadable(..)) => 0,
    };
    with_overhead(bytes) + attributes
}

/// What was read and has its part of the budget.
type Ready = (Read, Origin, usize, Reservation);

/// Reads what the mesh delivered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decoder {
    pub(crate) limit: EventLimit,
}

impl Decoder {
    pub(crate) fn read(self, stored: &Stored<'_>) -> Read {
        let unreadable = |reason| {
            Payload::Unreadable(
                Bytes::copy_from_slice(stored.raw),
                Failure::permanent(codes::EVENT_UNREADABLE, reason),
            )
        };
        if let Some(reason) = &stored.unreadable {
            return Err(unreadable(format!("the mesh could not deliver the event: {reason}")));
        }
        let event = wire::decode(stored.raw).map_err(|error| unreadable(error.to_string()))?;
        match self.limit.refuses("the event has", stored.raw.len()) {
            Some(failure) => Err(Payload::Rejected(Arc::new(event), failure)),
            None => Ok(Arc::new(event)),
        }
    }
}

/// Turns what arrived into entries.
pub(crate) struct Preparer {
    pub(crate) transforms: Transforms,
    pub(crate) budget: Budget,
    pub(crate) decoder: Decoder,
    pub(crate) hasher: RandomState,
}

/// Something that has arrived.
pub(crate) enum Arrived {
    /// From the mesh: it is read once it has its part of the budget. Until then it has one of the subscriber's.
    Raw(Bytes, Option<String>, Option<Reservation>),
    /// It took so many bytes where it came from, and has its part of the budget, or none yet.
    Read(Read, usize, Option<Reservation>),
}

impl From<Delivery> for (Arrived, Origin) {
    fn from(delivery: Delivery) -> Self {
        let arrived = Arrived::Raw(delivery.raw, delivery.unreadable, delivery.reservation);
        (arrived, Origin::Mesh(delivery.ack))
    }
}

impl Preparer {
    /// Prepares what arrived and hands it to the worker; false when the worker is gone. What has its permit already is
    /// handed over before waiting for more budget: else this would wait for itself.
    pub(crate) async fn hand_over(&self, arrived: Vec<(Arrived, Origin)>, to: &mpsc::Sender<Vec<Entry>>) -> bool {
        let mut ready = Vec::with_capacity(arrived.len().min(TRANSFORM_BATCH));
        for (mut arrived, origin) in arrived {
            let (bytes, own) = match &mut arrived {
                Arrived::Raw(raw, ..) => (raw.len(), None),
                Arrived::Read(_, bytes, own) => (*bytes, own.take()),
            };
            let mut permit = match own.or_else(|| self.budget.try_acquire(bytes)) {
                Some(permit) => permit,
                None => {
                    if !self.send(std::mem::take(&mut ready), to).await {
                        return false;
                    }
                    self.budget.acquire(bytes).await
                }
            };
            let read = match arrived {
                Arrived::Raw(raw, unreadable, _reservation) => self.decoder.read(&Stored {
                    raw: &raw,
                    unreadable: unreadable.map(Cow::Owned),
                }),
                Arrived::Read(read, ..) => read,
            };
            // What was not reserved before it was read: only now are its attributes known.
            let missing = memory(&read, bytes).saturating_sub(permit.bytes());
            match self.budget.try_reserve(missing) {
                Some(more) => permit.merge(more),
                None => {
                    if !self.send(std::mem::take(&mut ready), to).await {
                        return false;
                    }
                    self.budget.extend(&mut permit, memory(&read, bytes)).await;
                }
            }
            ready.push((read, origin, bytes, permit));
            if ready.len() == TRANSFORM_BATCH && !self.send(std::mem::take(&mut ready), to).await {
                return false;
            }
        }
        self.send(ready, to).await
    }

    /// Transforms what is readable, and hands all of it to the worker.
    async fn send(&self, ready: Vec<Ready>, to: &mpsc::Sender<Vec<Entry>>) -> bool {
        if ready.is_empty() {
            return true;
        }
        let (mut read, mut rest) = (Vec::with_capacity(ready.len()), Vec::with_capacity(ready.len()));
        for (event, origin, bytes, permit) in ready {
            read.push(event);
            rest.push((origin, bytes, permit));
        }
        let transformed = self.transforms.apply(read).await;
        let entries = transformed.into_iter().zip(rest).map(|(transformed, (origin, bytes, permit))| {
            let (payload, key) = match transformed {
                Ok(Transformed::Keep(event, key)) => (Payload::Event(event), key),
                Ok(Transformed::Failed(event, failure)) => (Payload::Rejected(event, failure), None),
                Ok(Transformed::Drop) => (Payload::Filtered, None),
                Ok(Transformed::Lost(failure)) => (Payload::Unreadable(Bytes::new(), failure), None),
                Err(unfit) => (unfit, None),
            };
            Entry {
                payload,
                origin,
                key: key.map(|key| self.hasher.hash_one(key)),
                bytes,
                target: Target::ONE,
                arrived: Instant::now(),
                _permit: permit,
            }
        });
        to.send(entries.collect()).await.is_ok()
    }
}
