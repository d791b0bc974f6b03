//! Which events may be written now: ordering by key, without stopping the stream for one key.
//!
//! Every key that has an event here has a lane. A lane has at most one event in `ready`, the rest waits in the lane; while
//! an event of the lane is being written, retried or dead-lettered, the lane is busy and gives nothing.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::sink::Ordering;

/// What the scheduler must know of an entry.
pub(crate) trait Schedulable {
    fn key(&self) -> Option<u64>;
    fn bytes(&self) -> usize;
    fn arrived(&self) -> Instant;
}

/// The limits of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchLimits {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
    pub(crate) age: Duration,
}

pub(crate) struct Scheduler<E> {
    ordering: Ordering,
    /// May one batch hold several events of one key?
    atomic: bool,
    limits: BatchLimits,
    ready: VecDeque<E>,
    ready_bytes: usize,
    lanes: HashMap<u64, Lane<E>>,
    waiting: usize,
}

struct Lane<E> {
    /// Entries that were taken and not yet released.
    busy: usize,
    waiting: VecDeque<E>,
}

/// The one lane of `ordering: total`.
const TOTAL: u64 = 0;

impl<E: Schedulable> Scheduler<E> {
    pub(crate) fn new(ordering: Ordering, atomic: bool, limits: BatchLimits) -> Self {
        Self {
            ordering,
            atomic,
            limits,
            ready: VecDeque::new(),
            ready_bytes: 0,
            lanes: HashMap::new(),
            waiting: 0,
        }
    }

    /// Events that are here and not in a batch.
    pub(crate) fn len(&self) -> usize {
        self.ready.len() + self.waiting
    }

    fn lane(&self, entry: &E) -> Option<u64> {
        match self.ordering {
            Ordering::None => None,
            Ordering::Key => entry.key(),
            Ordering::Total => Some(TOTAL),
        }
    }

    pub(crate) fn push(&mut self, entry: E) {
        if let Some(key) = self.lane(&entry) {
            if let Some(lane) = self.lanes.get_mut(&key) {
                lane.waiting.push_back(entry);
                self.waiting += 1;
                return;
            }
            self.lanes.insert(
                key,
                Lane {
                    busy: 0,
                    waiting: VecDeque::new(),
                },
            );
        }
        self.make_ready(entry);
    }

    fn make_ready(&mut self, entry: E) {
        self.ready_bytes += entry.bytes();
        self.ready.push_back(entry);
    }

    /// When the next batch is due: at once when it is full, later when it may still grow, never when there is nothing.
    pub(crate) fn due(&self) -> Option<Instant> {
        let oldest = self.ready.front()?.arrived();
        let full = self.ready.len() >= self.limits.events || self.ready_bytes >= self.limits.bytes;
        Some(if full { oldest } else { oldest + self.limits.age })
    }

    /// The next batch, full or not. The lanes of its events are busy until [`Self::release`].
    pub(crate) fn take(&mut self) -> Vec<E> {
        let mut batch = Vec::with_capacity(self.ready.len().min(self.limits.events));
        let mut bytes = 0;
        while self
            .ready
            .front()
            .is_some_and(|next| batch.is_empty() || fits(&self.limits, batch.len(), bytes, next))
        {
            let Some(entry) = self.ready.pop_front() else { break };
            self.ready_bytes -= entry.bytes();
            bytes += entry.bytes();
            let key = self.lane(&entry);
            batch.push(entry);
            let Some(key) = key else { continue };
            if let Some(lane) = self.lanes.get_mut(&key) {
                lane.busy += 1;
            }
            if self.atomic {
                self.take_followers(key, &mut batch, &mut bytes);
            }
        }
        batch
    }

    fn take_followers(&mut self, key: u64, batch: &mut Vec<E>, bytes: &mut usize) {
        let Some(lane) = self.lanes.get_mut(&key) else { return };
        while let Some(next) = lane.waiting.pop_front_if(|next| fits(&self.limits, batch.len(), *bytes, next)) {
            *bytes += next.bytes();
            self.waiting -= 1;
            lane.busy += 1;
            batch.push(next);
        }
    }

    /// This entry, which was taken, has its outcome. The last one of its lane lets the next one go.
    pub(crate) fn release(&mut self, entry: &E) {
        let Some(key) = self.lane(entry) else { return };
        let Some(lane) = self.lanes.get_mut(&key) else { return };
        lane.busy = lane.busy.saturating_sub(1);
        if lane.busy > 0 {
            return;
        }
        match lane.waiting.pop_front() {
            Some(next) => {
                self.waiting -= 1;
                self.make_ready(next);
            }
            None => {
                self.lanes.remove(&key);
            }
        }
    }
}

fn fits<E: Schedulable>(limits: &BatchLimits, events: usize, bytes: usize, next: &E) -> bool {
    events < limits.events && bytes + next.bytes() <= limits.bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Item(u32, Option<u64>, Instant);
    impl Schedulable for Item {
        fn key(&self) -> Option<u64> {
            self.1
        }
        fn bytes(&self) -> usize {
            10
        }
        fn arrived(&self) -> Instant {
            self.2
        }
    }

    fn scheduler(ordering: Ordering, atomic: bool, items: &[(u32, Option<u64>)]) -> Scheduler<Item> {
        let mut scheduler = Scheduler::new(
            ordering,
            atomic,
            BatchLimits {
                events: 3,
                bytes: 1000,
                age: Duration::ZERO,
            },
        );
        for (id, key) in items {
            scheduler.push(Item(*id, *key, Instant::now()));
        }
        scheduler
    }

    fn ids(batch: &[Item]) -> Vec<u32> {
        batch.iter().map(|i| i.0).collect()
    }

    #[test]
    fn a_key_in_flight_waits_while_others_go_on() {
        let mut s = scheduler(Ordering::Key, false, &[(1, Some(1)), (2, Some(1)), (3, Some(2)), (4, None)]);
        let first = s.take();
        assert_eq!(ids(&first), [1, 3, 4]);
        assert!(s.take().is_empty());
        s.push(Item(5, Some(1), Instant::now()));
        s.release(&first[0]);
        let second = s.take();
        assert_eq!(ids(&second), [2]);
        s.release(&second[0]);
        assert_eq!(ids(&s.take()), [5]);
    }

    #[test]
    fn an_atomic_batch_takes_several_events_of_one_key_in_order() {
        let mut s = scheduler(Ordering::Key, true, &[(1, Some(1)), (2, Some(1)), (3, Some(1)), (4, Some(1))]);
        let first = s.take();
        assert_eq!(ids(&first), [1, 2, 3]);
        s.release(&first[0]);
        s.release(&first[2]);
        assert!(s.take().is_empty(), "one event of the key is still in flight");
        s.release(&first[1]);
        assert_eq!(ids(&s.take()), [4]);
    }

    #[test]
    fn total_order_has_one_batch_at_a_time() {
        let mut s = scheduler(Ordering::Total, true, &[(1, None), (2, Some(7)), (3, None), (4, None)]);
        let first = s.take();
        assert_eq!(ids(&first), [1, 2, 3]);
        assert!(s.take().is_empty());
        first.iter().for_each(|item| s.release(item));
        assert_eq!(ids(&s.take()), [4]);
    }
}
