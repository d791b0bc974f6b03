//! The state of delivery: which events are where between their arrival and their outcome.
//!
//! [`DeliveryState`] is pure: it takes what happened, with the time as an argument, and says what to do. It does no I/O, has no
//! clock and starts no task; the worker around it does. An entry leaves it in one of three ways: delivered, with its dead letter
//! durable, or, when the state is dropped, without an outcome.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::queues::{BatchLimits, Queues};
use super::rates::RateLimits;
use crate::codes;
use crate::engine::circuit::Circuit;
use crate::engine::retry::RetryPolicy;
use crate::failure::{Failure, FailureKind};
use crate::sink::{Ordering, Target, WriteReport};

/// What the state knows of an entry.
pub(crate) trait Deliverable {
    /// Entries with the same key keep their order.
    fn key(&self) -> Option<u64>;
    fn target(&self) -> &Target;
    fn bytes(&self) -> usize;
    fn arrived(&self) -> Instant;
}

/// The rules of delivery.
#[derive(Debug)]
pub(crate) struct DeliveryRules {
    pub(crate) ordering: Ordering,
    /// May one batch hold several events of one key?
    pub(crate) atomic: bool,
    pub(crate) batch: BatchLimits,
    pub(crate) in_flight: usize,
    pub(crate) retry: RetryPolicy,
    pub(crate) circuit: Circuit,
    pub(crate) rates: RateLimits,
}

pub(crate) type JobId = u64;
pub(crate) type DeadLetterId = u64;

/// A batch from its first write until each of its entries has an outcome. It is split into segments when a part of it has to be
/// written on its own; they are written one after the other.
struct Job<E> {
    target: Target,
    segments: VecDeque<Segment<E>>,
}

/// Entries that are written together.
struct Segment<E> {
    entries: Vec<E>,
    /// Attempts that have failed.
    failed: u32,
    /// Not to be written before.
    not_before: Option<Instant>,
}

/// A write to start: these entries, in order, to this target.
pub(crate) struct Write<'a, E> {
    pub(crate) job: JobId,
    pub(crate) target: &'a Target,
    pub(crate) entries: &'a [E],
    /// 1 for the first.
    pub(crate) attempt: u32,
}

/// What a finished write leads to.
#[derive(Debug)]
pub(crate) struct Finished<E> {
    /// Entries with their outcome: delivered.
    pub(crate) delivered: Vec<E>,
    /// Dead letters to write now.
    pub(crate) dead_letters: Vec<DeadLetterId>,
    /// Entries that will be written again.
    pub(crate) retried: usize,
    /// Nothing can go on, for this reason.
    pub(crate) fatal: Option<Failure>,
}

/// A dead letter that is not durable yet.
pub(crate) struct PendingDeadLetter<E> {
    pub(crate) entry: E,
    pub(crate) failure: Failure,
    /// Attempts that have failed.
    pub(crate) attempts: u32,
    /// It never was in a queue, so no lane waits for it.
    rejected: bool,
}

/// See the [module](self).
pub(crate) struct DeliveryState<E> {
    rules: DeliveryRules,
    queues: Queues<E>,
    jobs: HashMap<JobId, Job<E>>,
    next_job: JobId,
    /// Writes that have been started and not finished.
    writing: usize,
    /// Jobs that may be written at once.
    runnable: VecDeque<JobId>,
    /// Jobs that wait for their next attempt.
    parked: BTreeSet<(Instant, JobId)>,
    pending_dead_letters: HashMap<DeadLetterId, PendingDeadLetter<E>>,
    next_dead_letter: DeadLetterId,
    /// Jobs that go on when these dead letters are durable: a later segment may hold an event of the same key.
    waiting_for_dead_letters: HashMap<JobId, Vec<DeadLetterId>>,
    /// Targets that asked for fewer requests, and until when nothing is written to them.
    pauses: HashMap<Target, Instant>,
    /// The end of the earliest pause.
    next_pause_end: Option<Instant>,
    draining: bool,
    /// Entries that failed their last attempt while draining.
    abandoned: usize,
    /// A write failed, and no event was delivered since.
    failing: bool,
}

impl<E: Deliverable> DeliveryState<E> {
    pub(crate) fn new(mut rules: DeliveryRules) -> Self {
        if rules.ordering == Ordering::Total {
            rules.in_flight = 1;
        }
        Self {
            queues: Queues::new(rules.ordering, rules.atomic, rules.batch),
            rules,
            jobs: HashMap::new(),
            next_job: 0,
            writing: 0,
            runnable: VecDeque::new(),
            parked: BTreeSet::new(),
            pending_dead_letters: HashMap::new(),
            next_dead_letter: 0,
            waiting_for_dead_letters: HashMap::new(),
            pauses: HashMap::new(),
            next_pause_end: None,
            draining: false,
            abandoned: 0,
            failing: false,
        }
    }

    /// An entry has arrived.
    pub(crate) fn accept(&mut self, entry: E) {
        let pauses = &self.pauses;
        self.queues.push(entry, |target| pauses.get(target).copied());
    }

    /// An entry has arrived that can't be written: the dead letter to write now.
    pub(crate) fn reject(&mut self, entry: E, failure: Failure) -> Result<DeadLetterId, Failure> {
        self.add_dead_letter(PendingDeadLetter {
            entry,
            failure,
            attempts: 0,
            rejected: true,
        })
    }

    /// The next write to start now. Call it until it gives none. Before it is started, what the rate limits have spent on it must be
    /// stored: [`RateLimits::take_changes`].
    pub(crate) fn next_write(&mut self, now: Instant) -> Option<Write<'_, E>> {
        self.end_pauses(now);
        while let Some(&(at, job)) = self.parked.first()
            && at <= now
        {
            self.parked.pop_first();
            self.runnable.push_back(job);
        }
        if self.writing >= self.rules.in_flight {
            return None;
        }
        let id = match self.next_runnable(now) {
            Some(id) => id,
            None => self.next_batch(now)?,
        };
        let job = self.jobs.get(&id)?;
        let segment = job.segments.front()?;
        self.writing += 1;
        self.rules.rates.spend(&job.target, segment.entries.len(), now);
        Some(Write {
            job: id,
            target: &job.target,
            entries: &segment.entries,
            attempt: segment.failed + 1,
        })
    }

    /// A job that is ready, and whose target is neither paused nor has spent its rate.
    fn next_runnable(&mut self, now: Instant) -> Option<JobId> {
        while let Some(id) = self.runnable.pop_front() {
            let Some(job) = self.jobs.get(&id) else { continue };
            let pause = self.pauses.get(&job.target).copied().filter(|_| !self.draining);
            let events = job.segments.front().map_or(0, |next| next.entries.len());
            let ready = self.rules.rates.ready_at(&job.target, events, now);
            let at = pause.map_or(ready, |until| until.max(ready));
            if at <= now {
                return Some(id);
            }
            if self.draining {
                self.abandon_job(id);
            } else {
                self.parked.insert((at, id));
            }
        }
        None
    }

    /// Gives up a job while draining: no later entry of its keys overtakes, for its lanes stay busy.
    fn abandon_job(&mut self, id: JobId) {
        let segments = self.jobs.remove(&id).into_iter().flat_map(|job| job.segments);
        self.abandoned += segments.map(|segment| segment.entries.len()).sum::<usize>();
    }

    fn next_batch(&mut self, now: Instant) -> Option<JobId> {
        let (target, available) = loop {
            let (due, target) = self.queues.due()?;
            if due > now && !self.draining {
                return None;
            }
            let target = target.clone();
            match self.rules.rates.available(&target, now) {
                0 if self.draining => self.abandoned += self.queues.take(&target, usize::MAX).len(),
                0 => self.queues.pause(&target, self.rules.rates.ready_at(&target, 1, now)),
                available => break (target, available),
            }
        };
        let segment = Segment {
            entries: self.queues.take(&target, available),
            failed: 0,
            not_before: None,
        };
        let id = self.next_job;
        self.next_job += 1;
        let segments = VecDeque::from([segment]);
        self.jobs.insert(id, Job { target, segments });
        Some(id)
    }

    /// A write has ended.
    pub(crate) fn write_finished(&mut self, id: JobId, report: WriteReport, now: Instant) -> Finished<E> {
        let mut finished = Finished {
            delivered: Vec::new(),
            dead_letters: Vec::new(),
            retried: 0,
            fatal: None,
        };
        self.writing = self.writing.saturating_sub(1);
        let Some(mut job) = self.jobs.remove(&id) else { return finished };
        let Some(mut segment) = job.segments.pop_front() else {
            return finished;
        };
        segment.not_before = None;
        match report {
            WriteReport::Delivered => segment.entries.into_iter().for_each(|entry| self.delivered(entry, &mut finished)),
            WriteReport::Failed(failure) => self.failed(&mut job, segment, failure, now, &mut finished),
            WriteReport::PerEvent(results) => self.answered(&mut job, segment, results, now, &mut finished),
        }
        self.go_on(id, job, &finished.dead_letters);
        finished
    }

    /// What is left of a job runs on at once, unless its last attempt asked for a wait.
    fn go_on(&mut self, id: JobId, job: Job<E>, dead_letters: &[DeadLetterId]) {
        let Some(next) = job.segments.front() else { return };
        match next.not_before {
            // Block later events of a key until the dead letter before them is durable.
            _ if !dead_letters.is_empty() => drop(self.waiting_for_dead_letters.insert(id, dead_letters.to_vec())),
            Some(at) => drop(self.parked.insert((at, id))),
            None => self.runnable.push_back(id),
        }
        self.jobs.insert(id, job);
    }

    fn delivered(&mut self, entry: E, finished: &mut Finished<E>) {
        self.failing = false;
        self.rules.circuit.note(false);
        self.release(&entry);
        finished.delivered.push(entry);
    }

    fn release(&mut self, entry: &E) {
        let pauses = &self.pauses;
        self.queues.release(entry, |target| pauses.get(target).copied());
    }

    /// No event of the segment was written.
    fn failed(&mut self, job: &mut Job<E>, mut segment: Segment<E>, failure: Failure, now: Instant, finished: &mut Finished<E>) {
        if failure.kind == FailureKind::Fatal {
            job.segments.push_front(segment);
            finished.fatal = Some(failure);
            return;
        }
        if segment.entries.len() > 1 && failure.kind == FailureKind::Permanent {
            // At least one event is refused; bisect.
            let second = Segment {
                entries: segment.entries.split_off(segment.entries.len() / 2),
                ..segment
            };
            job.segments.push_front(second);
            job.segments.push_front(segment);
            return;
        }
        segment.failed += 1;
        if self.may_retry(&failure, segment.failed) {
            self.retry_later(job, segment, &failure, now, finished);
            return;
        }
        let attempts = segment.failed;
        for entry in segment.entries {
            self.dead_letter(entry, failure.clone(), attempts, finished);
        }
    }

    /// The sink answered for each event of the segment.
    fn answered(
        &mut self,
        job: &mut Job<E>,
        mut segment: Segment<E>,
        results: Vec<Result<(), Failure>>,
        now: Instant,
        finished: &mut Finished<E>,
    ) {
        if results.len() != segment.entries.len() {
            let message = "the sink answered for another number of events than it was given; this is a bug";
            finished.fatal = Some(Failure::fatal(codes::WRONG_ANSWER_COUNT, message));
            job.segments.push_front(segment);
            return;
        }
        segment.failed += 1;
        let mut longest: Option<Failure> = None;
        for (entry, result) in std::mem::take(&mut segment.entries).into_iter().zip(results) {
            match result {
                Ok(()) => self.delivered(entry, finished),
                Err(failure) if failure.kind == FailureKind::Fatal => {
                    segment.entries.push(entry);
                    finished.fatal.get_or_insert(failure);
                }
                Err(failure) if self.may_retry(&failure, segment.failed) => {
                    if longest.as_ref().is_none_or(|known| asked_wait(known) < asked_wait(&failure)) {
                        longest = Some(failure);
                    }
                    segment.entries.push(entry);
                }
                Err(failure) => self.dead_letter(entry, failure, segment.failed, finished),
            }
        }
        match longest {
            Some(failure) if finished.fatal.is_none() => self.retry_later(job, segment, &failure, now, finished),
            _ if segment.entries.is_empty() => {}
            _ => job.segments.push_front(segment),
        }
    }

    /// While draining, an entry that can't be written stays where it is safe, whatever the limit of attempts.
    fn may_retry(&self, failure: &Failure, failed: u32) -> bool {
        failure.is_retryable() && (self.draining || self.rules.retry.allows(failed))
    }

    fn retry_later(&mut self, job: &mut Job<E>, mut segment: Segment<E>, failure: &Failure, now: Instant, finished: &mut Finished<E>) {
        if self.draining {
            // Left where it is safe: before the acknowledgement, or in the inbox. Its lanes stay busy, so that no later event of
            // their keys overtakes.
            self.abandoned += segment.entries.len() + job.segments.drain(..).map(|rest| rest.entries.len()).sum::<usize>();
            return;
        }
        self.failing = true;
        finished.retried += segment.entries.len();
        let at = now + self.rules.retry.wait(segment.failed, failure);
        if matches!(failure.kind, FailureKind::Throttled { .. }) {
            self.pause(job.target.clone(), at);
        }
        segment.not_before = Some(at);
        job.segments.push_front(segment);
    }

    fn pause(&mut self, target: Target, at: Instant) {
        let until = self.pauses.get(&target).map_or(at, |known| at.max(*known));
        self.queues.pause(&target, until);
        self.pauses.insert(target, until);
        self.next_pause_end = Some(self.next_pause_end.map_or(until, |end| end.min(until)));
    }

    /// Forgets the pauses that have ended.
    fn end_pauses(&mut self, now: Instant) {
        if self.next_pause_end.is_some_and(|end| end <= now) {
            self.pauses.retain(|_, until| *until > now);
            self.next_pause_end = self.pauses.values().min().copied();
        }
    }

    fn dead_letter(&mut self, entry: E, failure: Failure, attempts: u32, finished: &mut Finished<E>) {
        let added = self.add_dead_letter(PendingDeadLetter {
            entry,
            failure,
            attempts,
            rejected: false,
        });
        match added {
            Ok(id) => finished.dead_letters.push(id),
            Err(fatal) => drop(finished.fatal.get_or_insert(fatal)),
        }
    }

    fn add_dead_letter(&mut self, pending: PendingDeadLetter<E>) -> Result<DeadLetterId, Failure> {
        let opened = self.rules.circuit.note(true);
        let reason = opened.then(|| {
            format!(
                "{}; the last reason was {}. The connector stops so that the stream is not emptied into the dead letters",
                self.rules.circuit.describe(),
                pending.failure
            )
        });
        let id = self.next_dead_letter;
        self.next_dead_letter += 1;
        self.pending_dead_letters.insert(id, pending);
        match reason {
            Some(reason) => Err(Failure::fatal(codes::TOO_MANY_DEAD_LETTERS, reason)),
            None => Ok(id),
        }
    }

    /// A dead letter to write.
    pub(crate) fn pending_dead_letter(&self, id: DeadLetterId) -> Option<&PendingDeadLetter<E>> {
        self.pending_dead_letters.get(&id)
    }

    /// A dead letter is durable: its entry has its outcome.
    pub(crate) fn dead_letter_written(&mut self, id: DeadLetterId) -> Option<PendingDeadLetter<E>> {
        let pending = self.pending_dead_letters.remove(&id)?;
        if !pending.rejected {
            self.release(&pending.entry);
        }
        let (runnable, parked, jobs, draining) = (&mut self.runnable, &mut self.parked, &self.jobs, self.draining);
        self.waiting_for_dead_letters.retain(|job, dead_letters| {
            dead_letters.retain(|one| *one != id);
            if dead_letters.is_empty() {
                let next = jobs.get(job).and_then(|job| job.segments.front());
                match next.and_then(|next| next.not_before) {
                    Some(at) if !draining => drop(parked.insert((at, *job))),
                    _ => runnable.push_back(*job),
                }
            }
            !dead_letters.is_empty()
        });
        Some(pending)
    }

    /// When [`Self::next_write`] gives something without another message: a batch's age, a retry, the end of a pause.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        if self.writing >= self.rules.in_flight {
            return None;
        }
        let parked = self.parked.first().map(|(at, _)| *at);
        parked.into_iter().chain(self.queues.due().map(|(due, _)| due)).min()
    }

    /// With little memory left, batches do not wait until they are full: the events that would fill them can't come in.
    pub(crate) fn set_memory_short(&mut self, short: bool) {
        let age = if short { Duration::ZERO } else { self.rules.batch.age };
        self.queues.set_batch_age(age);
    }

    /// What the rate limits have spent.
    pub(crate) fn rates(&mut self) -> &mut RateLimits {
        &mut self.rules.rates
    }

    /// The connector shuts down: nothing waits for a full batch, a retry or a pause any more; what fails from now on, or is
    /// beyond a rate limit, is given up.
    pub(crate) fn drain(&mut self) {
        self.draining = true;
        self.runnable
            .extend(std::mem::take(&mut self.parked).into_iter().map(|(_, job)| job));
        self.pauses.clear();
        self.next_pause_end = None;
        self.queues.resume_all();
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining
    }

    /// Has everything ended that could? Entries behind one that was given up stay where they are.
    pub(crate) fn is_idle(&self) -> bool {
        !self.queues.has_ready() && self.jobs.is_empty() && self.pending_dead_letters.is_empty()
    }

    /// Entries without an outcome.
    pub(crate) fn unresolved(&self) -> usize {
        let segments = self.jobs.values().flat_map(|job| &job.segments);
        let in_jobs: usize = segments.map(|segment| segment.entries.len()).sum();
        self.queues.len() + in_jobs + self.pending_dead_letters.len() + self.abandoned
    }

    /// Has a write failed, and no event been delivered since?
    pub(crate) fn is_failing(&self) -> bool {
        self.failing
    }
}

/// How long the target asked to wait.
fn asked_wait(failure: &Failure) -> Duration {
    match failure.kind {
        FailureKind::Retryable { after } => after.unwrap_or_default(),
        FailureKind::Throttled { after } => after,
        _ => Duration::ZERO,
    }
}
