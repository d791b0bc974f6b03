//! The way out of a source: the publishing task and the resolver, for what is read or for what comes out of the spool.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::lease;
use super::publishing::Publishing;
use super::resolver::{Progress, Resolver};
use crate::admin::StatusHandle;
use crate::budget::EventLimit;
use crate::config::Settings;
use crate::dead_letter::DeadLetters;
use crate::engine::circuit::Circuit;
use crate::engine::retry::RetryPolicy;
use crate::mesh::Publisher;
use crate::source::Admitted;
use crate::transform::Transforms;

/// Batches on their way to the resolver, at the most.
const PENDING_BATCHES: usize = 64;

/// What is needed to publish.
pub(super) struct Outbound {
    pub(super) publisher: Publisher,
    pub(super) topic: String,
    pub(super) transforms: Transforms,
    pub(super) limit: EventLimit,
    pub(super) dead_letters: Arc<DeadLetters>,
    pub(super) retry: RetryPolicy,
    pub(super) circuit: Circuit,
    /// Does the caller of a request that fails still have its events?
    pub(super) callers_keep_events: bool,
    pub(super) status: StatusHandle,
}

/// The running tasks. They are aborted when this is dropped.
pub(super) struct OutboundTasks {
    publishing: AbortOnDropHandle<()>,
    resolving: AbortOnDropHandle<()>,
}

impl Outbound {
    pub(super) fn new(
        settings: &Settings,
        transforms: Transforms,
        limit: EventLimit,
        publisher: &Publisher,
        dead_letters: &Arc<DeadLetters>,
        callers_keep_events: bool,
        status: &StatusHandle,
    ) -> Self {
        Self {
            publisher: publisher.clone(),
            topic: settings.mesh.topic.clone(),
            transforms,
            limit,
            dead_letters: Arc::clone(dead_letters),
            retry: RetryPolicy::new(&settings.delivery.retry),
            circuit: Circuit::new(&settings.delivery.circuit),
            callers_keep_events,
            status: status.clone(),
        }
    }

    /// Publishes `records` until their queue is closed and each has its outcome. `progress` is told how far partitions have come,
    /// and what stops the connector.
    pub(super) fn start<P: Clone + Send + 'static>(
        self,
        lease: lease::Watch,
        records: mpsc::Receiver<Vec<Admitted<P>>>,
        progress: mpsc::Sender<Progress<P>>,
    ) -> OutboundTasks {
        let (pending, handed_over) = mpsc::channel(PENDING_BATCHES);
        #[allow(
            clippy::disallowed_methods,
            reason = "bounded by the events in flight, each of which has one result"
        )]
        let (results, told) = mpsc::unbounded_channel();
        let publishing = Publishing {
            publisher: self.publisher.clone(),
            topic: self.topic,
            transforms: self.transforms,
            limit: self.limit,
            lease,
            results,
            pending,
            number: 0,
        };
        let resolver = Resolver::new(
            self.dead_letters,
            self.publisher,
            (self.retry, self.circuit),
            self.callers_keep_events,
            self.status,
            progress,
        );
        OutboundTasks {
            publishing: AbortOnDropHandle::new(tokio::spawn(publishing.run(records))),
            resolving: AbortOnDropHandle::new(tokio::spawn(resolver.run(handed_over, told))),
        }
    }
}

impl OutboundTasks {
    /// Ends the tasks, whatever is left; false when the resolver had ended abnormally.
    pub(super) async fn stop(self) -> bool {
        self.publishing.abort();
        self.resolving.abort();
        !self.resolving.await.is_err_and(|e| e.is_panic())
    }
}
