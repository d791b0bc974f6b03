//! What a source hands to the core: an event and where it came from, or how far the source has read without one.

use std::fmt;
use std::sync::Arc;

use cloudevents::Event;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::budget::{Reservation, event_bytes};
use crate::outcome::{Outcome, Receipt};
use crate::source::Ticket;

/// One independently ordered part of a source: a table, a shard, an object. Offsets are kept per partition.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition(Arc<str>);

impl Partition {
    /// A partition by its name; the name is the key under which its offset is stored.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where to resume in one partition. Stored as JSON.
pub trait Position: Serialize + DeserializeOwned + Clone + fmt::Debug + Send + Sync + 'static {}
impl<T: Serialize + DeserializeOwned + Clone + fmt::Debug + Send + Sync + 'static> Position for T {}

/// The position of a source that has none, such as a webhook: its caller sends again what was not confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoPosition {}

/// One event from a source, or how far the source has read without one.
///
/// ```
/// use openconnect_core::cloudevents::{EventBuilder, EventBuilderV10};
/// use openconnect_core::record::{Partition, Record};
///
/// let partition = Partition::new("orders");
/// let event = EventBuilderV10::new().id("orders/17").source("/shop").ty("org.example.order").build()?;
/// let record = Record::event(partition.clone(), event).with_position(17_u64);
/// assert_eq!(record.position(), Some(&17));
/// // Rows 18 to 40 were of no interest: after a restart they are not read again.
/// let progress = Record::progress(partition, 40_u64);
/// assert!(progress.as_event().is_none());
/// # Ok::<(), openconnect_core::cloudevents::event::EventBuilderError>(())
/// ```
#[derive(Debug)]
pub enum Record<P> {
    /// An event. Made by [`Record::event`].
    #[non_exhaustive]
    Event {
        /// The event. Its `id` is derived from the position where there is one, so that an event that is read again has the
        /// same id.
        event: Arc<Event>,
        /// The partition that it belongs to.
        partition: Partition,
        /// Where the source resumes after this event; `None` when the source has no position.
        position: Option<P>,
        /// Who waits for the outcome.
        receipt: Option<Receipt>,
        /// The memory that the event takes, when the source has reserved it already.
        reservation: Option<Reservation>,
    },
    /// The source has read up to this position and found no event. Made by [`Record::progress`].
    #[non_exhaustive]
    Progress {
        /// The partition.
        partition: Partition,
        /// Where the source resumes.
        position: P,
    },
}

impl<P> Record<P> {
    /// An event of `partition`.
    pub fn event(partition: Partition, event: Event) -> Self {
        Self::Event {
            event: Arc::new(event),
            partition,
            position: None,
            receipt: None,
            reservation: None,
        }
    }

    /// The source has read up to `position` and found no event on the way, as where a log goes on without changes of the tables
    /// that are read. The offset moves there once everything before it is resolved.
    pub fn progress(partition: Partition, position: P) -> Self {
        Self::Progress { partition, position }
    }

    /// With the position at which the source resumes after this record.
    #[must_use]
    pub fn with_position(mut self, after: P) -> Self {
        match &mut self {
            Self::Event { position, .. } => *position = Some(after),
            Self::Progress { position, .. } => *position = after,
        }
        self
    }

    /// With a receipt that gets the event's outcome, beside those that it has. Progress has none: its receipt counts as dropped.
    #[must_use]
    pub fn with_receipt(mut self, waiting: Receipt) -> Self {
        if let Self::Event { receipt, .. } = &mut self {
            *receipt = Some(match receipt.take() {
                Some(first) => first.and(waiting),
                None => waiting,
            });
        }
        self
    }

    /// As an answer to an event of the [`Input`](crate::source::Input), or with several calls to several: they are done only when this
    /// record has its outcome. A record that is dropped before it is emitted has them come again. Mere progress answers nothing.
    #[must_use]
    pub fn answers(self, ticket: &Ticket) -> Self {
        match (&self, ticket.receipt()) {
            (Self::Event { .. }, Some(receipt)) => self.with_receipt(receipt),
            _ => self,
        }
    }

    /// Tells the event's outcome to whoever waits for it. The engine does so itself; this is for tests of a source.
    pub fn resolve(self, outcome: Outcome) {
        if let Self::Event {
            receipt: Some(receipt), ..
        } = self
        {
            receipt.resolve(outcome);
        }
    }

    /// With memory that the source has reserved for the event: the [`Emitter`](crate::source::Emitter) then reserves none. It
    /// is given back with the event's outcome.
    #[must_use]
    pub fn with_reservation(mut self, reserved: Reservation) -> Self {
        if let Self::Event { reservation, .. } = &mut self {
            *reservation = Some(reserved);
        }
        self
    }

    /// With memory for the event out of what the source has reserved for many, such as a page of rows. When that holds less than the
    /// event takes, the rest of it is given back, and the [`Emitter`](crate::source::Emitter) reserves for this event and those after
    /// it: a source that waits for memory must not hold any that waits behind.
    #[must_use]
    pub fn reserved_from(mut self, reserved: &mut Reservation) -> Self {
        if let Self::Event {
            event,
            reservation: reservation @ None,
            ..
        } = &mut self
        {
            let bytes = event_bytes(event);
            let part = reserved.split(bytes);
            *reservation = (part.bytes() == bytes).then_some(part);
        }
        self
    }

    /// The partition.
    pub fn partition(&self) -> &Partition {
        match self {
            Self::Event { partition, .. } | Self::Progress { partition, .. } => partition,
        }
    }

    /// Where the source resumes after this record.
    pub fn position(&self) -> Option<&P> {
        match self {
            Self::Event { position, .. } => position.as_ref(),
            Self::Progress { position, .. } => Some(position),
        }
    }

    /// The event; none where it is mere progress.
    pub fn as_event(&self) -> Option<&Event> {
        match self {
            Self::Event { event, .. } => Some(event),
            Self::Progress { .. } => None,
        }
    }

    /// The event itself; a receipt counts as dropped.
    pub fn into_event(self) -> Option<Event> {
        match self {
            Self::Event { event, .. } => Some(Arc::unwrap_or_clone(event)),
            Self::Progress { .. } => None,
        }
    }
}
