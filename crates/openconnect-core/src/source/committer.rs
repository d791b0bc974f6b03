//! How a source's system learns that events are safe.

use std::future::Future;

use crate::failure::Failure;
use crate::record::{Partition, Position};

/// Tells the system that is read how far its events are safe: acknowledgements and deletions upstream happen here only.
///
/// It is made by [`Source::open`](super::Source::open) and runs in a task of its own, beside `read`. Calls follow each other;
/// none is dropped half-way before the shutdown's deadline. A source whose system need not be told uses [`NoCommit`].
pub trait Committer<P>: Send + 'static {
    /// Everything up to `position` in `partition` is resolved (confirmed by the mesh, dropped by a transform, or a dead letter),
    /// and where the core keeps the offsets, this one is durable. Positions of a partition come in the order in which they
    /// were emitted; between two flushes (`state.flush_interval`) only the newest one comes.
    ///
    /// At shutdown it is called with the last positions, after the last outcome and before
    /// [`Source::close`](super::Source::close).
    ///
    /// # Errors
    /// After a retryable failure the core waits (`delivery.retry`) and calls again, with this or a later position of the
    /// partition. Any other failure stops the connector.
    fn commit(&mut self, partition: &Partition, position: &P) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Tells nobody: for a source that resumes at the stored position by itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCommit;

impl<P: Position> Committer<P> for NoCommit {
    async fn commit(&mut self, _: &Partition, _: &P) -> Result<(), Failure> {
        Ok(())
    }
}
