//! How an event ended, and who waits to learn it.

use std::fmt;
use std::sync::{Arc, OnceLock};

use tokio::sync::oneshot;

use crate::codes;
use crate::failure::Failure;

/// How an event ended. Only the first three move anything forward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Safe at the other side: the mesh (source) or the target (sink) has confirmed it.
    Delivered,
    /// A transform dropped it.
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

/// Tells a source how the events of one request ended: an HTTP source answers its caller from it.
///
/// The source makes it with [`Receipt::new`], gives a clone to each event of the request
/// ([`Record::with_receipt`](crate::record::Record::with_receipt)) and waits for the other end. The result arrives when every
/// clone has its outcome: when the mesh has confirmed the event, a transform has dropped it, or its dead letter is written; with
/// [`Accept::Spool`](crate::source::Accept::Spool) when the event is durable in the spool. A receipt that is dropped without an outcome counts as [`Outcome::Failed`]: no caller waits for ever, and none is told that an
/// event is safe when it is not.
#[derive(Debug, Clone)]
pub struct Receipt {
    request: Arc<Request>,
    /// Of other requests that the same event belongs to.
    others: Vec<Arc<Request>>,
    resolved: bool,
}

/// What the receipts of a request share; the last of them sends the result.
struct Request {
    failed: OnceLock<Failure>,
    tell: Option<Tell>,
    /// Does whoever is told still have the events?
    keeps_events: bool,
}

/// Who learns the result.
type Tell = Box<dyn FnOnce(Result<(), Failure>) + Send + Sync>;

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("failed", &self.failed).finish_non_exhaustive()
    }
}

impl Receipt {
    /// A receipt and the end where the result of its request arrives: the first failure, when an event was not delivered.
    pub fn new() -> (Self, oneshot::Receiver<Result<(), Failure>>) {
        let (sender, result) = oneshot::channel();
        // The caller may have dropped its end; ignore that.
        let tell = |told| _ = sender.send(told);
        (Self::of(tell, true), result)
    }

    /// A receipt whose result goes to `tell`, which must not block, and which does not have the event itself.
    pub(crate) fn telling(tell: impl FnOnce(Result<(), Failure>) + Send + Sync + 'static) -> Self {
        Self::of(tell, false)
    }

    fn of(tell: impl FnOnce(Result<(), Failure>) + Send + Sync + 'static, keeps_events: bool) -> Self {
        let request = Arc::new(Request {
            failed: OnceLock::new(),
            tell: Some(Box::new(tell)),
            keeps_events,
        });
        Self {
            request,
            others: Vec::new(),
            resolved: false,
        }
    }

    /// One receipt for an event that belongs to the requests of both.
    pub(crate) fn and(mut self, mut other: Self) -> Self {
        self.others.push(Arc::clone(&other.request));
        self.others.append(&mut other.others);
        // Its requests are this one's now.
        other.resolved = true;
        self
    }

    /// Tells the outcome. The core calls it; a test of a source may.
    pub fn resolve(mut self, outcome: Outcome) {
        self.resolved = true;
        if let Outcome::Failed(failure) = outcome {
            self.failed(&failure);
        }
    }

    /// Does everybody who is told still have the event? Then nothing is lost when it is refused.
    pub(crate) fn keeps_event(&self) -> bool {
        self.requests().all(|request| request.keeps_events)
    }

    fn failed(&self, failure: &Failure) {
        for request in self.requests() {
            let _ = request.failed.set(failure.clone());
        }
    }

    fn requests(&self) -> impl Iterator<Item = &Arc<Request>> {
        std::iter::once(&self.request).chain(&self.others)
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if !self.resolved {
            self.failed(&Failure::retryable(
                codes::STOPPED_FIRST,
                "the connector stopped before the event was delivered",
            ));
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if let Some(tell) = self.tell.take() {
            tell(self.failed.take().map_or(Ok(()), Err));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::codes::tests::TARGET_BUSY;

    fn failure() -> Failure {
        Failure::retryable(TARGET_BUSY, "y")
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
    fn an_event_of_two_requests_tells_both() {
        for (outcome, told) in [(Outcome::Filtered, Ok(())), (Outcome::Failed(failure()), Err(failure()))] {
            let (first, mut one) = Receipt::new();
            let (second, mut other) = Receipt::new();
            let open = second.clone();
            let both = first.and(second);
            assert!(one.try_recv().is_err() && other.try_recv().is_err());
            both.resolve(outcome);
            assert_eq!(one.try_recv().unwrap(), told);
            assert!(other.try_recv().is_err(), "another event of it is open");
            open.resolve(Outcome::Delivered);
            assert_eq!(other.try_recv().unwrap(), told);
        }
        let (first, mut one) = Receipt::new();
        let (second, mut other) = Receipt::new();
        let both = first.and(second);
        assert!(both.keeps_event());
        assert!(!both.clone().and(Receipt::telling(drop)).keeps_event());
        drop(both);
        for result in [&mut one, &mut other] {
            assert_eq!(result.try_recv().unwrap().unwrap_err().code, "OC0401");
        }
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
