//! What a source hands to the core: an event, where it came from, and who waits for its outcome.

use std::fmt;
use std::sync::{Arc, OnceLock};

use cloudevents::Event;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use crate::failure::Failure;

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

/// How an event ended. Only the first three move anything forward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Safe at the other side: the mesh (source) or the target (sink) has confirmed it.
    Delivered,
    /// A transform said that it shall not be delivered.
    Filtered,
    /// The dead-letter target has confirmed it.
    DeadLettered(Failure),
    /// Not delivered; it stays in the inbox or before the offset.
    Failed(Failure),
}

impl Outcome {
    /// May an offset move past this event?
    pub fn is_resolved(&self) -> bool {
        !matches!(self, Self::Failed(_))
    }
}

/// Tells the source how its events ended: an HTTP source answers its client from it.
///
/// A clone is for another event of the same request: what becomes of the request is known when every clone has its outcome.
/// Dropping a receipt without an outcome is as good as [`Outcome::Failed`].
#[derive(Debug, Clone)]
pub struct Receipt {
    request: Arc<Request>,
    resolved: bool,
}

/// The receipts of a request share it; the last one to go tells.
#[derive(Debug)]
struct Request {
    failed: OnceLock<Failure>,
    tell: Option<oneshot::Sender<Result<(), Failure>>>,
}

impl Receipt {
    /// A receipt and the end where the result of its request arrives: the first failure, when an event was not delivered.
    pub fn new() -> (Self, oneshot::Receiver<Result<(), Failure>>) {
        let (tell, result) = oneshot::channel();
        let request = Arc::new(Request {
            failed: OnceLock::new(),
            tell: Some(tell),
        });
        (Self { request, resolved: false }, result)
    }

    /// Tells the outcome. The core calls it; a test of a source may.
    pub fn resolve(mut self, outcome: Outcome) {
        self.resolved = true;
        if let Outcome::Failed(failure) = outcome {
            let _ = self.request.failed.set(failure);
        }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if !self.resolved {
            let _ = self
                .request
                .failed
                .set(Failure::retryable("OC0401", "the connector stopped before the event was delivered"));
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if let Some(tell) = self.tell.take() {
            let _ = tell.send(self.failed.take().map_or(Ok(()), Err));
        }
    }
}

/// One event from a source, or how far it has come without one.
#[derive(Debug)]
pub struct Record<P> {
    /// The event. Its `id` must be derived from the source position where there is one. None: the source has come to this
    /// position and found nothing to tell, as where a log goes on without changes of the tables that are read; the offset
    /// moves there once everything before it is resolved.
    pub event: Option<Event>,
    /// The partition it belongs to.
    pub partition: Partition,
    /// Where the source resumes after this event; `None` when the source has no position (a webhook).
    pub position: Option<P>,
    /// Who waits for the outcome.
    pub receipt: Option<Receipt>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn failure() -> Failure {
        Failure::retryable("X", "y")
    }

    #[test]
    fn a_request_is_resolved_when_each_of_its_events_is() {
        let (first, mut result) = Receipt::new();
        let second = first.clone();
        first.resolve(Outcome::Delivered);
        assert!(result.try_recv().is_err());
        second.resolve(Outcome::DeadLettered(failure()));
        assert_eq!(result.try_recv().unwrap(), Ok(()));
    }

    #[test]
    fn one_event_that_failed_or_was_dropped_fails_the_request() {
        let (first, mut result) = Receipt::new();
        let second = first.clone();
        first.resolve(Outcome::Failed(failure()));
        second.resolve(Outcome::Delivered);
        assert_eq!(result.try_recv().unwrap(), Err(failure()));
        let (dropped, mut result) = Receipt::new();
        dropped.clone().resolve(Outcome::Delivered);
        drop(dropped);
        assert_eq!(result.try_recv().unwrap().unwrap_err().code, "OC0401");
    }
}
