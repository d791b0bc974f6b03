//! One budget of bytes for the process: whoever holds events, or bytes that become events, reserves them here.
//!
//! A [`Reservation`] travels with its event until the event's outcome, and gives its bytes back when it is dropped. When the
//! budget is spent, whoever reserves waits, and so does what comes before it: the read of a source, the socket of a subscriber.

use std::path::Path;
use std::sync::Arc;

use cloudevents::Event;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Limits;

/// What an event takes beside its data: attributes, queue entries, the allocator.
const EVENT_OVERHEAD: usize = 512;
/// `limits.memory` divided by this is what events may take; the rest is code, stacks, buffers and copies in other encodings.
const MEMORY_PER_BUDGET: u64 = 4;
const DEFAULT_MEMORY: u64 = 64 << 20;
const MIN_BUDGET: usize = 1 << 20;

/// The budget of bytes of this process, sized by `limits.memory`. Cheap to clone; every clone is the same budget.
#[derive(Debug, Clone)]
pub struct Budget {
    free: Arc<Semaphore>,
    total: usize,
}

/// Bytes of the budget, given back when dropped.
#[derive(Debug)]
#[must_use = "a reservation that is dropped holds nothing"]
pub struct Reservation(OwnedSemaphorePermit);

impl Budget {
    /// A budget out of `limits.memory`, or of half of the cgroup's limit when that is less than the default.
    pub(crate) fn new(limits: &Limits) -> Self {
        let memory = limits
            .memory
            .map_or_else(|| DEFAULT_MEMORY.min(cgroup_limit().unwrap_or(u64::MAX) / 2), |size| size.0);
        Self::with_bytes(usize::try_from(memory / MEMORY_PER_BUDGET).unwrap_or(usize::MAX))
    }

    /// A budget of `total` bytes, at least 1 MiB: for tests of a connector. The engine makes its own out of `limits.memory`.
    pub fn with_bytes(total: usize) -> Self {
        let total = total.clamp(MIN_BUDGET, u32::MAX as usize);
        Self {
            free: Arc::new(Semaphore::new(total)),
            total,
        }
    }

    /// Waits until `bytes` are free, and takes them. More than the whole budget counts as the whole budget: such a request
    /// waits until nothing else is held.
    ///
    /// Requests are served in their order. Who waits here while it holds another reservation may wait for itself: reserve once,
    /// or use [`try_reserve`](Self::try_reserve) for what comes on top.
    pub async fn reserve(&self, bytes: usize) -> Reservation {
        match Arc::clone(&self.free).acquire_many_owned(self.permits(bytes)).await {
            Ok(permit) => Reservation(permit),
            // The semaphore is never closed.
            Err(_) => std::future::pending().await,
        }
    }

    /// Takes `bytes` when they are free now. None when they are not, or when others wait for bytes.
    pub fn try_reserve(&self, bytes: usize) -> Option<Reservation> {
        Arc::clone(&self.free)
            .try_acquire_many_owned(self.permits(bytes))
            .ok()
            .map(Reservation)
    }

    /// Bytes that are reserved now.
    pub fn used(&self) -> usize {
        self.total - self.free.available_permits().min(self.total)
    }

    /// Bytes that can be reserved in all.
    pub fn total(&self) -> usize {
        self.total
    }

    fn permits(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.min(self.total)).unwrap_or(u32::MAX)
    }

    /// As [`try_reserve`](Self::try_reserve), for an event with `bytes` of data.
    pub(crate) fn try_acquire(&self, bytes: usize) -> Option<Reservation> {
        self.try_reserve(bytes.saturating_add(EVENT_OVERHEAD))
    }

    /// As [`reserve`](Self::reserve), for an event with `bytes` of data.
    pub(crate) async fn acquire(&self, bytes: usize) -> Reservation {
        self.reserve(bytes.saturating_add(EVENT_OVERHEAD)).await
    }
}

/// What an event takes of the budget: its data, and what its attributes and its way through the engine take on average. For a
/// source that reserves the memory of its events itself.
pub fn event_bytes(event: &Event) -> usize {
    openconnect_protocol::payload::bytes(event).map_or(0, |data| data.len()) + EVENT_OVERHEAD
}

impl Reservation {
    /// How many bytes it holds.
    pub fn bytes(&self) -> usize {
        self.0.num_permits()
    }

    /// Takes `bytes` out of this reservation into one of their own, or all that it holds when that is less.
    pub fn split(&mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.bytes());
        // It splits whenever it holds as much, and it does.
        match self.0.split(bytes) {
            Some(part) => Self(part),
            None => unreachable!("a reservation holds what it was asked for"),
        }
    }

    /// Adds the bytes of `other`, which must be of the same budget.
    ///
    /// # Panics
    /// When it is of another budget: a process has one.
    pub fn merge(&mut self, other: Self) {
        self.0.merge(other.0);
    }
}

fn cgroup_limit() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(Path::new(path)).ok()?.trim().parse().ok();
    read("/sys/fs/cgroup/memory.max").or_else(|| read("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn bytes_come_back_with_the_last_part_of_a_reservation() {
        let budget = Budget::with_bytes(MIN_BUDGET);
        let mut whole = budget.reserve(1000).await;
        let part = whole.split(300);
        let mut rest = whole.split(5000);
        assert_eq!((part.bytes(), rest.bytes(), whole.bytes(), budget.used()), (300, 700, 0, 1000));
        rest.merge(part);
        drop(whole);
        assert_eq!(budget.used(), 1000);
        drop(rest);
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn more_than_the_budget_takes_all_of_it() {
        let budget = Budget::with_bytes(MIN_BUDGET);
        let all = budget.reserve(usize::MAX).await;
        assert_eq!(all.bytes(), budget.total());
        assert!(budget.try_reserve(1).is_none());
    }
}
