//! One budget of bytes for the process: whoever holds events, or bytes that become events, reserves them here.
//!
//! A [`Reservation`] travels with its event until the event's outcome, and gives its bytes back when it is dropped. When the
//! budget is spent, whoever reserves waits, and so does what comes before it: the read of a source, the socket of a subscriber.
//!
//! Nothing waits for itself, by two rules:
//!
//! * One request is for half of the budget at the most, and whoever waits holds half of it at the most. An event that is larger than
//!   that becomes a dead letter.
//! * What can go on only when others go on has a part of the budget of its own (`Budget::divide`). In a sink the subscriber waits
//!   for room in the inbox, and that for the entries behind it; in a staging sink these can wait for entries that are read once
//!   more. What the last of them holds comes back without anybody else's help: by outcomes, which need no budget.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cloudevents::event::ExtensionValue;
use cloudevents::{AttributesReader, Event};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::codes;
use crate::config::Limits;
use crate::failure::Failure;

/// What an event takes beside its data: attributes, queue entries, the allocator.
const EVENT_OVERHEAD: usize = 512;
/// What an extension attribute takes beside its text: its place in the event, and the allocator.
const ATTRIBUTE_OVERHEAD: usize = 128;
/// `limits.memory` divided by this is what events may take; the rest is code, stacks, buffers and copies in other encodings.
const MEMORY_PER_BUDGET: u64 = 4;
const DEFAULT_MEMORY: u64 = 64 << 20;
const MIN_BUDGET: usize = 1 << 20;

/// The budget of bytes of this process, sized by `limits.memory`. Cheap to clone; every clone is the same budget.
#[derive(Debug, Clone)]
pub struct Budget {
    free: Arc<Semaphore>,
    total: usize,
    /// One request is for no more.
    largest: usize,
    /// Requests that wait.
    waiting: Arc<AtomicUsize>,
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
        Self::of(total, total / 2)
    }

    fn of(total: usize, largest: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(total)),
            total,
            largest,
            waiting: Arc::default(),
        }
    }

    /// Divides the budget into parts of these weights, for those of which one can go on only when another does. Nothing moves from
    /// one part to another, so that what one holds never keeps another waiting.
    pub(crate) fn divide<const N: usize>(self, weights: [usize; N]) -> [Self; N] {
        let sum = weights.iter().sum::<usize>().max(1);
        weights.map(|weight| {
            let total = self.total / sum * weight;
            Self::of(total, self.largest.min(total))
        })
    }

    /// Waits until `bytes` are free, and takes them. More than half of the budget counts as half of it.
    ///
    /// Requests are served in their order. Who waits here may hold other reservations, of half of the budget together: with more it
    /// may wait for itself. For what comes on top use [`try_reserve`](Self::try_reserve).
    pub async fn reserve(&self, bytes: usize) -> Reservation {
        match self.try_reserve(bytes) {
            Some(reservation) => reservation,
            None => self.wait(self.permits(bytes)).await,
        }
    }

    async fn wait(&self, permits: u32) -> Reservation {
        let _waiting = Waiting::begin(&self.waiting);
        match Arc::clone(&self.free).acquire_many_owned(permits).await {
            Ok(permit) => Reservation(permit),
            // The semaphore is never closed.
            Err(_) => std::future::pending().await,
        }
    }

    /// Waits until `reservation` holds `bytes`, or as much as there is in all. Only for one who holds nothing else.
    pub(crate) async fn extend(&self, reservation: &mut Reservation, bytes: usize) {
        let missing = bytes.min(self.total).saturating_sub(reservation.bytes());
        if missing > 0 {
            let more = self.wait(u32::try_from(missing).unwrap_or(u32::MAX)).await;
            reservation.merge(more);
        }
    }

    /// The largest request.
    pub(crate) fn largest(&self) -> usize {
        self.largest
    }

    /// Is it nearly spent, or does somebody wait for bytes? What holds some to have more together must let them go.
    pub(crate) fn is_short(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0 || self.used() > self.total / 4 * 3
    }

    /// The largest event that is taken: `limits.max_event_bytes`, or what there is room for.
    pub(crate) fn event_limit(&self, limits: &Limits) -> EventLimit {
        let (configured, room) = (limits.max_event_bytes.as_usize(), self.largest.saturating_sub(EVENT_OVERHEAD));
        if room < configured {
            tracing::warn!(
                limit = room,
                "limits.memory leaves room for smaller events than limits.max_event_bytes: larger ones become dead letters"
            );
        }
        EventLimit {
            bytes: configured.min(room),
            is_memory: room < configured,
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
        u32::try_from(bytes.min(self.largest)).unwrap_or(u32::MAX)
    }

    /// As [`try_reserve`](Self::try_reserve), for an event with `bytes` of data.
    pub(crate) fn try_acquire(&self, bytes: usize) -> Option<Reservation> {
        self.try_reserve(with_overhead(bytes))
    }

    /// As [`reserve`](Self::reserve), for an event with `bytes` of data.
    pub(crate) async fn acquire(&self, bytes: usize) -> Reservation {
        self.reserve(with_overhead(bytes)).await
    }
}

/// A request that waits, until this is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The largest event that is taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EventLimit {
    /// In bytes.
    pub(crate) bytes: usize,
    /// Does `limits.memory` set it?
    is_memory: bool,
}

impl EventLimit {
    /// Why something of `bytes` is not taken; none when it is. `what` has them: "the event has".
    pub(crate) fn refuses(self, what: &str, bytes: usize) -> Option<Failure> {
        let limit = self.bytes;
        let reason = || match self.is_memory {
            true => format!("{what} {bytes} bytes, limits.memory leaves room for {limit}"),
            false => format!("{what} {bytes} bytes, limits.max_event_bytes is {limit}"),
        };
        (bytes > limit).then(|| Failure::permanent(codes::EVENT_TOO_LARGE, reason()))
    }
}

/// What an event with `bytes` of data takes of the budget.
pub(crate) fn with_overhead(bytes: usize) -> usize {
    bytes.saturating_add(EVENT_OVERHEAD)
}

/// What an event takes of the budget: its data, its attributes, and its way through the engine. For a source that reserves the memory
/// of its events itself.
pub fn event_bytes(event: &Event) -> usize {
    let data = openconnect_protocol::payload::bytes(event).map_or(0, |data| data.len());
    let own = [event.id(), event.ty(), event.source().as_str(), event.subject().unwrap_or_default()];
    let extensions = event.iter_extensions().map(|(name, value)| match value {
        ExtensionValue::String(text) => ATTRIBUTE_OVERHEAD + name.len() + text.len(),
        ExtensionValue::Boolean(_) | ExtensionValue::Integer(_) => ATTRIBUTE_OVERHEAD + name.len(),
    });
    with_overhead(data + own.map(str::len).into_iter().chain(extensions).sum::<usize>())
}

/// What the extension attributes of an event take beside their text: many short ones are mostly that.
pub(crate) fn attributes_overhead(event: &Event) -> usize {
    event.iter_extensions().count() * ATTRIBUTE_OVERHEAD
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
    use futures_util::FutureExt as _;
    use proptest::prelude::*;

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
    async fn a_request_is_for_half_of_the_budget_at_the_most() {
        let budget = Budget::with_bytes(MIN_BUDGET);
        let half = budget.reserve(usize::MAX).await;
        assert_eq!(half.bytes(), budget.total() / 2);
        assert!(!budget.is_short());
        let other = budget.try_reserve(usize::MAX).unwrap();
        assert_eq!((half.bytes() + other.bytes(), budget.used()), (budget.total(), budget.total()));
        assert!(budget.is_short() && budget.try_reserve(1).is_none());
        drop(other);
        assert!(!budget.is_short());
        let mut waits = Box::pin(async {
            drop(budget.reserve(1).await);
            budget.reserve(usize::MAX).await
        });
        let third = budget.reserve(1).await;
        assert!(waits.as_mut().now_or_never().is_none());
        assert!(budget.is_short(), "somebody waits");
        drop(third);
        assert_eq!(waits.await.bytes(), half.bytes());
        assert!(!budget.is_short());
    }

    #[tokio::test]
    async fn parts_add_up_and_do_not_take_from_each_other() {
        let budget = Budget::with_bytes(MIN_BUDGET);
        let [one, two, three] = budget.divide([1, 2, 1]);
        assert_eq!(
            [&one, &two, &three].map(Budget::total),
            [MIN_BUDGET / 4, MIN_BUDGET / 2, MIN_BUDGET / 4]
        );
        let mut all = two.reserve(usize::MAX).await;
        assert_eq!(all.bytes(), MIN_BUDGET / 2);
        assert!(two.try_reserve(1).is_none());
        assert_eq!(one.try_reserve(usize::MAX).unwrap().bytes(), MIN_BUDGET / 4);
        let kept = all.split(100);
        drop(all);
        let mut grown = three.reserve(5).await;
        three.extend(&mut grown, usize::MAX).await;
        assert_eq!((grown.bytes(), kept.bytes(), two.used()), (three.total(), 100, 100));
    }

    proptest! {
        /// Whoever keeps to the rules gets what it asks for, once those who hold something have gone on.
        #[test]
        fn nobody_waits_for_itself(holds in proptest::collection::vec((0..=MIN_BUDGET, 0..=MIN_BUDGET), 1..20)) {
            let budget = Budget::with_bytes(MIN_BUDGET);
            for (held, asked) in holds {
                // As a snapshot does that waits for the log, and the log for room.
                let held = budget.reserve(held).now_or_never();
                prop_assert!(held.is_some(), "what was held before has come back");
                prop_assert!(budget.reserve(asked).now_or_never().is_some());
            }
        }
    }
}
