//! One byte budget for the process: a permit travels with every event until its outcome.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Limits;

/// What an event costs beside its bytes: attributes, queue entries, the allocator.
const PER_EVENT: usize = 512;
/// The part of the process's memory that events may take; the rest is code, stacks, buffers and the client library.
const SHARE: u64 = 4;
const DEFAULT_MEMORY: u64 = 64 << 20;

/// The budget. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    bytes: Arc<Semaphore>,
    total: usize,
}

/// A part of the budget, given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit(#[allow(dead_code, reason = "held for its Drop")] OwnedSemaphorePermit);

impl Budget {
    /// A budget out of `limits.memory`, or of half of the cgroup's limit when that is less than the default.
    pub(crate) fn new(limits: &Limits) -> Self {
        let memory = limits
            .memory
            .map_or_else(|| DEFAULT_MEMORY.min(cgroup_limit().unwrap_or(u64::MAX) / 2), |size| size.0);
        Self::with_bytes(usize::try_from(memory / SHARE).unwrap_or(usize::MAX))
    }

    /// A budget of so many bytes.
    pub(crate) fn with_bytes(total: usize) -> Self {
        let total = total.clamp(1 << 20, u32::MAX as usize);
        Self {
            bytes: Arc::new(Semaphore::new(total)),
            total,
        }
    }

    fn cost(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.saturating_add(PER_EVENT).min(self.total)).unwrap_or(u32::MAX)
    }

    /// A permit if an event of `bytes` fits now.
    pub(crate) fn try_acquire(&self, bytes: usize) -> Option<Permit> {
        Arc::clone(&self.bytes).try_acquire_many_owned(self.cost(bytes)).ok().map(Permit)
    }

    /// Bytes taken at the moment.
    pub(crate) fn used(&self) -> usize {
        self.total - self.bytes.available_permits().min(self.total)
    }

    /// Waits until an event of `bytes` fits. An event larger than the whole budget takes all of it.
    pub(crate) async fn acquire(&self, bytes: usize) -> Permit {
        match Arc::clone(&self.bytes).acquire_many_owned(self.cost(bytes)).await {
            Ok(permit) => Permit(permit),
            // The semaphore is never closed.
            Err(_) => std::future::pending().await,
        }
    }

    /// Bytes that events may take at most.
    pub(crate) fn total(&self) -> usize {
        self.total
    }
}

fn cgroup_limit() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(Path::new(path)).ok()?.trim().parse().ok();
    read("/sys/fs/cgroup/memory.max").or_else(|| read("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
}
