//! The publishing task: transforms what was read, hands it to the mesh client in order, and tells the resolver.

use std::sync::Arc;

use cloudevents::{AttributesReader, AttributesWriter, Event};
use openconnect_fault::{Defect, planted};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::lease;
use super::resolver::{Ending, Open, Pending};
use crate::budget::EventLimit;
use crate::codes;
use crate::engine::TRANSFORM_BATCH;
use crate::failure::Failure;
use crate::mesh::{Publisher, Told};
use crate::record::Record;
use crate::source::{Admitted, EMIT_QUEUE};
use crate::transform::{Transformed, Transforms};

/// What the task is made of.
pub(super) struct Publishing<P> {
    pub(super) publisher: Publisher,
    pub(super) topic: String,
    pub(super) transforms: Transforms,
    pub(super) limit: EventLimit,
    pub(super) lease: lease::Watch,
    /// Where the mesh client tells how events ended, by number.
    pub(super) results: mpsc::UnboundedSender<Told>,
    pub(super) pending: mpsc::Sender<Vec<Pending<P>>>,
    /// Of the next event.
    pub(super) number: u64,
}

impl<P> Publishing<P> {
    /// Runs until `queue` is closed and all of it is handed over, or nobody follows the outcomes any more.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Vec<Admitted<P>>>) {
        let mut batches = Vec::with_capacity(EMIT_QUEUE);
        while queue.recv_many(&mut batches, EMIT_QUEUE).await > 0 {
            let mut ready = Vec::with_capacity(TRANSFORM_BATCH);
            for admitted in batches.drain(..).flatten() {
                ready.push(admitted);
                if ready.len() == TRANSFORM_BATCH && self.publish(std::mem::take(&mut ready)).await.is_err() {
                    return;
                }
            }
            if self.publish(ready).await.is_err() {
                return;
            }
        }
    }

    /// Publishes records in order; fails when nobody follows their outcomes any more.
    async fn publish(&mut self, ready: Vec<Admitted<P>>) -> Result<(), Stopped> {
        if ready.is_empty() {
            return Ok(());
        }
        let (mut events, mut rest) = (Vec::with_capacity(ready.len()), Vec::with_capacity(ready.len()));
        for admitted in ready {
            let (event, open) = self.open(admitted);
            events.push(event);
            rest.push(open);
        }
        let transformed = self.transforms.apply(events).await;
        let (mut publish, mut handed_over) = (Vec::with_capacity(rest.len()), Vec::with_capacity(rest.len()));
        for (transformed, open) in transformed.into_iter().zip(rest) {
            let ending = match transformed {
                Ok(Transformed::Keep(event, key)) => {
                    publish.push((open.number, damaged(event), key));
                    Ending::Published
                }
                Ok(Transformed::Failed(event, failure)) => Ending::Rejected(failure, event),
                Ok(Transformed::Drop) => Ending::Filtered,
                Ok(Transformed::Lost(failure)) => Ending::Rejected(failure, Arc::default()),
                Err(unfit) => unfit,
            };
            handed_over.push(Pending { ending, open });
        }
        self.lease.lasting().await;
        let published = Instant::now();
        handed_over.iter_mut().for_each(|pending| pending.open.published = published);
        self.publisher.send_many(&self.topic, publish, &self.results).await;
        self.pending.send(handed_over).await.map_err(|_| Stopped)
    }

    /// The event of a record, or how it ends without the mesh; and what is kept of it until its outcome.
    fn open(&mut self, admitted: Admitted<P>) -> (Result<Arc<Event>, Ending>, Open<P>) {
        let (event, partition, position, receipt) = match admitted.record {
            Record::Event {
                event,
                partition,
                position,
                receipt,
                ..
            } => (Some(event), partition, position, receipt),
            Record::Progress { partition, position } => (None, partition, Some(position), None),
        };
        let event = match event {
            None => Err(Ending::Nothing),
            Some(event) => match self.unfit(&event, admitted.data_bytes) {
                Some(failure) => Err(Ending::Refused(failure, event)),
                None => Ok(event),
            },
        };
        let number = self.number;
        self.number += 1;
        let open = Open {
            number,
            partition,
            position,
            receipt,
            published: Instant::now(),
            _reservation: admitted.reservation,
        };
        (event, open)
    }

    /// Why the event can't be published, whatever the mesh says.
    fn unfit(&self, event: &Event, data_bytes: usize) -> Option<Failure> {
        let invalid = || {
            let error = openconnect_protocol::check(event).err()?;
            Some(Failure::permanent(codes::EVENT_INVALID, "the event can't be published").because(error))
        };
        self.limit.refuses("the event's data has", data_bytes).or_else(invalid)
    }
}

/// Nobody follows the outcomes any more.
struct Stopped;

/// As the event is, but for the defects that the proof of delivery plants.
fn damaged(mut event: Arc<Event>) -> Arc<Event> {
    if planted(Defect::FreshId) {
        Arc::make_mut(&mut event).set_id(uuid::Uuid::new_v4().to_string());
    }
    if planted(Defect::AlteredPayload) && event.id().ends_with('7') {
        Arc::make_mut(&mut event).set_data_unchecked(b"{}".to_vec());
    }
    event
}
