//! Entries that are not in a batch: which may be written now, by key and by target.
//!
//! Every key that has an entry here has a lane. Of a lane at most one entry is ready; the rest waits in the lane. While entries of
//! the lane are being written, retried or dead-lettered, the lane is busy and gives nothing, whatever the target of its next entry.
//! Ready entries stand in the queue of their target.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::state::Deliverable;
use crate::sink::{Ordering, Target};

/// The limits of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchLimits {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
    pub(crate) age: Duration,
}

/// Entries that wait for their first write.
pub(super) struct Queues<E> {
    ordering: Ordering,
    /// May one batch hold several events of one key?
    atomic: bool,
    limits: BatchLimits,
    lanes: HashMap<u64, Lane<E>>,
    /// Entries in lanes.
    waiting: usize,
    /// The queue of [`Target::ONE`].
    one: ReadyQueue<E>,
    /// The queues of named targets that have ready entries.
    named: HashMap<Target, ReadyQueue<E>>,
    /// Each queue with ready entries, by the time of its next batch. The number tells queues of the same time apart.
    schedule: BTreeMap<(Instant, u64), Target>,
    next_number: u64,
    ready: usize,
}

struct Lane<E> {
    /// Entries that were taken and not yet released.
    busy: usize,
    waiting: VecDeque<E>,
}

/// Ready entries of one target.
struct ReadyQueue<E> {
    number: u64,
    entries: VecDeque<E>,
    bytes: usize,
    /// Its place in the schedule.
    due: Option<Instant>,
    /// No batch before this time.
    paused_until: Option<Instant>,
}

impl<E> ReadyQueue<E> {
    fn new(number: u64, paused_until: Option<Instant>) -> Self {
        Self {
            number,
            entries: VecDeque::new(),
            bytes: 0,
            due: None,
            paused_until,
        }
    }
}

/// The one lane of `ordering: total`.
const TOTAL: u64 = 0;

impl<E: Deliverable> Queues<E> {
    pub(super) fn new(ordering: Ordering, atomic: bool, limits: BatchLimits) -> Self {
        Self {
            ordering,
            atomic,
            limits,
            lanes: HashMap::new(),
            waiting: 0,
            one: ReadyQueue::new(0, None),
            named: HashMap::new(),
            schedule: BTreeMap::new(),
            next_number: 1,
            ready: 0,
        }
    }

    /// Entries that are here and not in a batch.
    pub(super) fn len(&self) -> usize {
        self.ready + self.waiting
    }

    /// Is an entry ready? Entries that wait in a busy lane do not count.
    pub(super) fn has_ready(&self) -> bool {
        self.ready > 0
    }

    fn lane(&self, entry: &E) -> Option<u64> {
        match self.ordering {
            Ordering::None => None,
            Ordering::Key => entry.key(),
            Ordering::Total => Some(TOTAL),
        }
    }

    /// Takes an entry in. `paused_until` is the pause of its target, where it has one.
    pub(super) fn push(&mut self, entry: E, paused_until: impl FnOnce(&Target) -> Option<Instant>) {
        if let Some(key) = self.lane(&entry) {
            if let Some(lane) = self.lanes.get_mut(&key) {
                lane.waiting.push_back(entry);
                self.waiting += 1;
                return;
            }
            let waiting = VecDeque::new();
            self.lanes.insert(key, Lane { busy: 0, waiting });
        }
        self.make_ready(entry, paused_until);
    }

    fn make_ready(&mut self, entry: E, paused_until: impl FnOnce(&Target) -> Option<Instant>) {
        let target = entry.target().clone();
        self.ready += 1;
        let queue = if target.is_one() {
            if self.one.entries.is_empty() {
                self.one.paused_until = paused_until(&target);
            }
            &mut self.one
        } else {
            self.named.entry(target.clone()).or_insert_with(|| {
                self.next_number += 1;
                ReadyQueue::new(self.next_number, paused_until(&target))
            })
        };
        queue.bytes += entry.bytes();
        queue.entries.push_back(entry);
        self.reschedule(&target);
    }

    fn queue(&mut self, target: &Target) -> Option<&mut ReadyQueue<E>> {
        if target.is_one() {
            Some(&mut self.one)
        } else {
            self.named.get_mut(target)
        }
    }

    /// Puts the queue where it belongs in the schedule: at once when a batch is full, later when it may still grow or its target is
    /// paused.
    fn reschedule(&mut self, target: &Target) {
        let limits = self.limits;
        let Some(queue) = self.queue(target) else { return };
        let due = queue.entries.front().map(|oldest| {
            let full = queue.entries.len() >= limits.events || queue.bytes >= limits.bytes;
            let due = oldest.arrived() + if full { Duration::ZERO } else { limits.age };
            queue.paused_until.map_or(due, |until| due.max(until))
        });
        let (number, before) = (queue.number, std::mem::replace(&mut queue.due, due));
        if due == before {
            return;
        }
        if let Some(before) = before {
            self.schedule.remove(&(before, number));
        }
        match due {
            Some(due) => drop(self.schedule.insert((due, number), target.clone())),
            None => drop(self.named.remove(target)),
        }
    }

    /// No batch of this target before `until`.
    pub(super) fn pause(&mut self, target: &Target, until: Instant) {
        if let Some(queue) = self.queue(target) {
            queue.paused_until = Some(until);
            self.reschedule(target);
        }
    }

    /// Sets how long a batch that is not full waits from now on.
    pub(super) fn set_batch_age(&mut self, age: Duration) {
        if self.limits.age != age {
            self.limits.age = age;
            self.reschedule_all();
        }
    }

    /// Ends all pauses.
    pub(super) fn resume_all(&mut self) {
        self.one.paused_until = None;
        self.named.values_mut().for_each(|queue| queue.paused_until = None);
        self.reschedule_all();
    }

    fn reschedule_all(&mut self) {
        let targets: Vec<Target> = self.schedule.values().cloned().collect();
        targets.iter().for_each(|target| self.reschedule(target));
    }

    /// When the next batch is due, and its target.
    pub(super) fn due(&self) -> Option<(Instant, &Target)> {
        self.schedule.first_key_value().map(|((due, _), target)| (*due, target))
    }

    /// The next batch of this target, full or not, of at most `most` entries. The lanes of its entries are busy until
    /// [`Self::release`].
    pub(super) fn take(&mut self, target: &Target, most: usize) -> Vec<E> {
        let limits = BatchLimits {
            events: self.limits.events.min(most),
            ..self.limits
        };
        let Some(queue) = self.queue(target) else { return Vec::new() };
        let mut batch = Vec::with_capacity(queue.entries.len().min(limits.events));
        let mut bytes = 0;
        while let Some(queue) = self.queue(target) {
            let next = queue
                .entries
                .pop_front_if(|next| batch.is_empty() || limits.allow(batch.len(), bytes, next));
            let Some(entry) = next else { break };
            queue.bytes -= entry.bytes();
            self.ready -= 1;
            bytes += entry.bytes();
            let key = self.lane(&entry);
            batch.push(entry);
            let Some(key) = key else { continue };
            if let Some(lane) = self.lanes.get_mut(&key) {
                lane.busy += 1;
            }
            if self.atomic {
                self.take_followers(key, target, &limits, &mut batch, &mut bytes);
            }
        }
        self.reschedule(target);
        batch
    }

    /// The next entries of the same lane, up to the first one that has another target.
    fn take_followers(&mut self, key: u64, target: &Target, limits: &BatchLimits, batch: &mut Vec<E>, bytes: &mut usize) {
        let Some(lane) = self.lanes.get_mut(&key) else { return };
        let fits = |next: &mut E, batch: &Vec<E>, bytes: usize| next.target() == target && limits.allow(batch.len(), bytes, next);
        while let Some(next) = lane.waiting.pop_front_if(|next| fits(next, batch, *bytes)) {
            *bytes += next.bytes();
            self.waiting -= 1;
            lane.busy += 1;
            batch.push(next);
        }
    }

    /// This entry, which was taken, has its outcome. The last one of its lane makes the next one ready.
    pub(super) fn release(&mut self, entry: &E, paused_until: impl FnOnce(&Target) -> Option<Instant>) {
        let Some(key) = self.lane(entry) else { return };
        let Some(lane) = self.lanes.get_mut(&key) else { return };
        lane.busy = lane.busy.saturating_sub(1);
        if lane.busy > 0 {
            return;
        }
        match lane.waiting.pop_front() {
            Some(next) => {
                self.waiting -= 1;
                self.make_ready(next, paused_until);
            }
            None => drop(self.lanes.remove(&key)),
        }
    }
}

impl BatchLimits {
    fn allow<E: Deliverable>(&self, events: usize, bytes: usize, next: &E) -> bool {
        events < self.events && bytes + next.bytes() <= self.bytes
    }
}
