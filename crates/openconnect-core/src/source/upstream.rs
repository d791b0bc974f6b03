//! Offsets that the system keeps, for the commands `offsets show|set|reset`.

use std::collections::BTreeMap;
use std::future::Future;

use crate::codes;
use crate::error::{Error, Result};
use crate::record::{Partition, Position};

/// The offsets that the system keeps for one instance of a source, as a message queue does for a consumer group.
///
/// [`Source::upstream_offsets`](super::Source::upstream_offsets) opens them for the commands `offsets show`, `offsets set` and `offsets reset`.
/// A running source does not use them: it reads, and its [`Committer`](super::Committer) commits.
///
/// Every call ends by itself within a bounded time. What it changed is durable in the system when it returns.
pub trait UpstreamOffsets<P: Position>: Send {
    /// The offset of each partition: where the next member begins to read it. Partitions without an offset are left out.
    ///
    /// # Errors
    /// The system can't be reached, or refuses.
    fn all(&mut self) -> impl Future<Output = Result<BTreeMap<Partition, P>>> + Send;

    /// The members that read now, by a name that people find. While there is one, offsets are shown but not changed: members would
    /// commit their own over them. A system that does not know its members has none; if it refuses a change itself, `set` says so.
    ///
    /// # Errors
    /// The system can't be reached, or refuses.
    fn members(&mut self) -> impl Future<Output = Result<Vec<String>>> + Send {
        async { Ok(Vec::new()) }
    }

    /// Sets the offset of one partition.
    ///
    /// # Errors
    /// There is no such partition or position, a member has joined, or the system can't be reached.
    fn set(&mut self, partition: &Partition, position: &P) -> impl Future<Output = Result<()>> + Send;

    /// Forgets the offset of one partition, which [`all`](Self::all) has named: the next member begins there as if for the first time.
    ///
    /// # Errors
    /// A member has joined, or the system can't be reached.
    fn reset(&mut self, partition: &Partition) -> impl Future<Output = Result<()>> + Send;
}

/// The offsets of a source that has no [`UpstreamOffsets`]: each call is an error.
pub(crate) struct NoUpstreamOffsets;

impl<P: Position> UpstreamOffsets<P> for NoUpstreamOffsets {
    async fn all(&mut self) -> Result<BTreeMap<Partition, P>> {
        Err(unreachable_by_command())
    }

    async fn set(&mut self, _: &Partition, _: &P) -> Result<()> {
        Err(unreachable_by_command())
    }

    async fn reset(&mut self, _: &Partition) -> Result<()> {
        Err(unreachable_by_command())
    }
}

fn unreachable_by_command() -> Error {
    Error::config(
        codes::UPSTREAM_UNCHANGED,
        "the offsets are kept by the system that is read, and this connector has no commands for them",
    )
    .hint("Use the system's own tools.")
}
