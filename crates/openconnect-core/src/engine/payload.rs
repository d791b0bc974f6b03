//! What an event became on its way in.

use std::sync::Arc;

use bytes::Bytes;
use cloudevents::Event;

use crate::failure::Failure;

/// What an entry became on its way in.
#[derive(Clone)]
pub(crate) enum Payload {
    Event(Arc<Event>),
    Filtered,
    /// Readable, but not deliverable: a transform failed, or it is too large.
    Rejected(Arc<Event>, Failure),
    Unreadable(Bytes, Failure),
}

impl Payload {
    /// The event, if it is to be delivered.
    pub(crate) fn event(&self) -> Option<&Arc<Event>> {
        match self {
            Self::Event(event) => Some(event),
            _ => None,
        }
    }
}
