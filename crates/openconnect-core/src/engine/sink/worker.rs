//! The sink worker: takes events from the mesh or the inbox, batches, writes, retries, and resolves each with its outcome.
//!
//! One task owns all state. It starts writes and dead-letter puts as tasks and learns their results as messages; entries
//! stay with it, so that a task that dies loses nothing. An entry is resolved by being consumed; an entry that is dropped is
//! not acknowledged, or stays in the inbox.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use openconnect_fault::{Defect, Failpoint, planted, reach};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::intake::{Entry, Origin, Payload};
use super::scheduler::Scheduler;
use crate::admin::{State, StatusHandle};
use crate::budget::Budget;
use crate::dead_letter::{DeadLetters, ReplayQueue};
use crate::engine::circuit::Circuit;
use crate::engine::retry::RetryPolicy;
use crate::error::{Error, Exit, Result};
use crate::failure::{Failure, FailureKind};
use crate::inbox::Inbox;
use crate::sink::{Batch, Sink, WriteReport};

/// How often the inbox's checkpoint is written and the status refreshed.
const TICK: Duration = Duration::from_millis(100);

/// What a worker is made of.
pub(crate) struct SinkWorker<S> {
    pub(crate) sink: Arc<S>,
    pub(crate) scheduler: Scheduler<Entry>,
    pub(crate) retry: RetryPolicy,
    pub(crate) circuit: Circuit,
    pub(crate) in_flight: usize,
    /// The smallest time between the starts of two writes.
    pub(crate) pace: Option<Duration>,
    pub(crate) dead_letters: Arc<DeadLetters>,
    pub(crate) replay: ReplayQueue,
    pub(crate) inbox: Option<Inbox>,
    pub(crate) status: StatusHandle,
    pub(crate) shutdown: CancellationToken,
    pub(crate) deadline: Duration,
    pub(crate) budget: Budget,
}

/// Entries that are written together; split into segments when one of them spoils the rest.
type Job = VecDeque<Vec<Entry>>;

struct Run {
    jobs: HashMap<u64, Job>,
    next_job: u64,
    /// Jobs that wait for their next attempt.
    parked: Vec<(Instant, u64)>,
    /// Jobs whose next segment may be written at once.
    runnable: VecDeque<u64>,
    writes: JoinSet<(u64, WriteReport, Duration)>,
    puts: JoinSet<(u64, Result<(), Failure>)>,
    putting: HashMap<u64, (Entry, Failure)>,
    next_put: u64,
    /// Jobs that go on when these dead letters are durable.
    held: HashMap<u64, Vec<u64>>,
    paused_until: Option<Instant>,
    next_write: Instant,
    draining: bool,
    /// Entries given up during the drain.
    abandoned: u64,
    failing_since: Option<Instant>,
}

impl<S: Sink> SinkWorker<S> {
    /// Runs until shutdown or until nothing can go on. `entries` comes from the intake, which ends first.
    pub(crate) async fn run(mut self, mut entries: mpsc::Receiver<Vec<Entry>>, fatal: &mut mpsc::Receiver<Failure>) -> Result<Exit> {
        let mut run = Run {
            jobs: HashMap::new(),
            next_job: 0,
            parked: Vec::new(),
            runnable: VecDeque::new(),
            writes: JoinSet::new(),
            puts: JoinSet::new(),
            putting: HashMap::new(),
            next_put: 0,
            held: HashMap::new(),
            paused_until: None,
            next_write: Instant::now(),
            draining: false,
            abandoned: 0,
            failing_since: None,
        };
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut intake_open = true;
        let mut give_up: Option<tokio::time::Instant> = None;
        let ended = loop {
            self.start_writes(&mut run);
            if run.draining && !intake_open && self.is_idle(&run) {
                break Ok(());
            }
            let wake = self.next_wake(&run);
            tokio::select! {
                biased;
                () = self.shutdown.cancelled(), if !run.draining => {
                    run.draining = true;
                    self.status.set_state(State::Draining);
                    give_up = Some(tokio::time::Instant::now() + self.deadline);
                    // No retry timer is waited for: one last attempt each.
                    run.runnable.extend(run.parked.drain(..).map(|(_, job)| job));
                    run.paused_until = None;
                }
                () = tokio::time::sleep_until(give_up.unwrap_or_else(tokio::time::Instant::now)), if give_up.is_some() => break Ok(()),
                Some(failure) = fatal.recv() => break Err(failure),
                Some(done) = run.writes.join_next(), if !run.writes.is_empty() => {
                    if let Err(failure) = self.written(&mut run, done) {
                        break Err(failure);
                    }
                }
                Some(done) = run.puts.join_next(), if !run.puts.is_empty() => {
                    if let Err(failure) = self.put_done(&mut run, done) {
                        break Err(failure);
                    }
                }
                received = entries.recv(), if intake_open => match received {
                    Some(received) => {
                        if let Err(failure) = self.accept(&mut run, received) {
                            break Err(failure);
                        }
                    }
                    None => intake_open = false,
                },
                _ = tick.tick() => self.tick(&mut run).await,
                () = sleep_until(wake), if wake.is_some() => {}
            }
        };
        self.finish(run, ended).await
    }

    fn is_idle(&self, run: &Run) -> bool {
        // Entries behind one that was given up stay where they are.
        self.scheduler.due().is_none() && run.jobs.is_empty() && run.putting.is_empty()
    }

    /// When something becomes due without a message: a batch's age, a retry, the end of a pause.
    fn next_wake(&self, run: &Run) -> Option<Instant> {
        let batch = if run.writes.len() < self.in_flight {
            self.scheduler.due()
        } else {
            None
        };
        let gate = run.paused_until.into_iter().chain(self.pace.map(|_| run.next_write)).max();
        let parked = run.parked.iter().map(|(at, _)| *at).min();
        let due = batch.into_iter().chain(parked).min()?;
        Some(gate.map_or(due, |gate| due.max(gate)))
    }

    fn accept(&mut self, run: &mut Run, entries: Vec<Entry>) -> Result<(), Failure> {
        for entry in entries {
            self.status.counts().received.fetch_add(1, Relaxed);
            match &entry.payload {
                Payload::Event(_) => {
                    let entry = if planted(Defect::AckBeforeWrite) {
                        self.acknowledge_early(entry)
                    } else {
                        entry
                    };
                    self.scheduler.push(entry);
                }
                Payload::Filtered => {
                    self.status.counts().filtered.fetch_add(1, Relaxed);
                    self.resolve(entry);
                }
                Payload::Rejected(_, failure) | Payload::Unreadable(_, failure) => {
                    let failure = failure.clone();
                    if failure.kind == FailureKind::Fatal {
                        return Err(failure);
                    }
                    self.dead_letter(run, entry, failure)?;
                }
            }
        }
        Ok(())
    }

    fn start_writes(&mut self, run: &mut Run) {
        let now = Instant::now();
        let (due, later): (Vec<_>, Vec<_>) = run.parked.drain(..).partition(|(at, _)| *at <= now);
        run.parked = later;
        run.runnable.extend(due.into_iter().map(|(_, job)| job));
        while run.writes.len() < self.in_flight && run.paused_until.is_none_or(|until| until <= now) {
            if self.pace.is_some() && run.next_write > now {
                return;
            }
            let job = match run.runnable.pop_front() {
                Some(job) => job,
                None => match self.next_batch(run, now) {
                    Some(job) => job,
                    None => return,
                },
            };
            if let Some(pace) = self.pace {
                run.next_write = run.next_write.max(now) + pace;
            }
            self.write(run, job);
        }
    }

    fn next_batch(&mut self, run: &mut Run, now: Instant) -> Option<u64> {
        let due = self.scheduler.due()?;
        if due > now && !run.draining {
            return None;
        }
        let entries = self.scheduler.take();
        let id = run.next_job;
        run.next_job += 1;
        run.jobs.insert(id, Job::from([entries]));
        Some(id)
    }

    fn write(&self, run: &mut Run, id: u64) {
        let Some(segment) = run.jobs.get(&id).and_then(VecDeque::front) else {
            return;
        };
        let events = segment.iter().filter_map(|entry| entry.event().cloned()).collect();
        let batch = Batch::new(events, segment.first().map_or(1, |entry| entry.failed + 1));
        let sink = Arc::clone(&self.sink);
        run.writes.spawn(async move {
            let started = Instant::now();
            let report = sink.write(&batch).await;
            (id, report, started.elapsed())
        });
    }

    fn written(
        &mut self,
        run: &mut Run,
        done: std::result::Result<(u64, WriteReport, Duration), tokio::task::JoinError>,
    ) -> Result<(), Failure> {
        let (id, report, took) = done.map_err(|e| Failure::fatal("OC0490", format!("a write ended abnormally: {e}")))?;
        self.status.observe_write(took);
        let Some(mut job) = run.jobs.remove(&id) else { return Ok(()) };
        let Some(segment) = job.pop_front() else { return Ok(()) };
        let first_put = run.next_put;
        if !matches!(report, WriteReport::Failed(_)) {
            reach(Failpoint::Written);
        }
        match report {
            WriteReport::Delivered => {
                run.failing_since = None;
                segment.into_iter().for_each(|entry| self.delivered(entry));
            }
            WriteReport::Failed(failure) => self.failed(run, &mut job, segment, failure)?,
            WriteReport::PerEvent(results) => self.per_event(run, &mut job, segment, results)?,
        }
        // What is left runs on at once, unless its last attempt asked for a wait.
        let Some(next) = job.front().and_then(|segment| segment.first()) else {
            return Ok(());
        };
        match next.not_before {
            // An event may follow a dead letter of its key: it waits until that can't be lost.
            _ if run.next_put > first_put => drop(run.held.insert(id, (first_put..run.next_put).collect())),
            Some(at) => run.parked.push((at, id)),
            None => run.runnable.push_back(id),
        }
        run.jobs.insert(id, job);
        Ok(())
    }

    fn delivered(&mut self, entry: Entry) {
        self.circuit.note(false);
        self.status.counts().delivered.fetch_add(1, Relaxed);
        self.scheduler.release(&entry);
        self.resolve(entry);
    }

    fn may_retry(&self, run: &Run, entry: &Entry) -> bool {
        run.draining || self.retry.allows(entry.failed)
    }

    fn failed(&mut self, run: &mut Run, job: &mut Job, mut segment: Vec<Entry>, failure: Failure) -> Result<(), Failure> {
        self.note_failure(&failure);
        if failure.kind == FailureKind::Fatal {
            return Err(failure);
        }
        if segment.len() > 1 && failure.kind == FailureKind::Permanent {
            if planted(Defect::PoisonBatch) {
                segment.into_iter().for_each(|entry| self.delivered(entry));
                return Ok(());
            }
            // Someone in here is poison: halve until it stands alone.
            let second = segment.split_off(segment.len() / 2);
            job.push_front(second);
            job.push_front(segment);
            return Ok(());
        }
        segment.iter_mut().for_each(|entry| entry.failed += 1);
        if failure.is_retryable() && segment.first().is_some_and(|entry| self.may_retry(run, entry)) {
            self.retry_later(run, job, segment, &failure);
            return Ok(());
        }
        segment
            .into_iter()
            .try_for_each(|entry| self.dead_letter(run, entry, failure.clone()))
    }

    fn per_event(&mut self, run: &mut Run, job: &mut Job, segment: Vec<Entry>, results: Vec<Result<(), Failure>>) -> Result<(), Failure> {
        if results.len() != segment.len() {
            return Err(Failure::fatal(
                "OC0491",
                "the sink answered for another number of events than it was given; this is a bug",
            ));
        }
        let mut again: Vec<Entry> = Vec::new();
        let mut longest: Option<Failure> = None;
        for (mut entry, result) in segment.into_iter().zip(results) {
            let Err(failure) = result else {
                run.failing_since = None;
                self.delivered(entry);
                continue;
            };
            if failure.kind == FailureKind::Fatal {
                return Err(failure);
            }
            self.note_failure(&failure);
            entry.failed += 1;
            if failure.is_retryable() && self.may_retry(run, &entry) {
                if longest.as_ref().is_none_or(|known| after(known) < after(&failure)) {
                    longest = Some(failure);
                }
                again.push(entry);
            } else {
                self.dead_letter(run, entry, failure)?;
            }
        }
        if let Some(failure) = longest {
            self.retry_later(run, job, again, &failure);
        }
        Ok(())
    }

    fn note_failure(&self, failure: &Failure) {
        self.status.error(failure.code.clone(), failure.message.clone());
        tracing::warn!(code = %failure.code, kind = ?failure.kind, "write failed: {}", failure.message);
    }

    fn retry_later(&mut self, run: &mut Run, job: &mut Job, mut segment: Vec<Entry>, failure: &Failure) {
        if run.draining && planted(Defect::DropOnShutdown) {
            segment
                .into_iter()
                .chain(job.drain(..).flatten())
                .for_each(|entry| self.delivered(entry));
            return;
        }
        if run.draining {
            // Left where it is safe: before the acknowledgement, or in the inbox.
            run.abandoned += segment.len() as u64 + job.drain(..).map(|rest| rest.len() as u64).sum::<u64>();
            return;
        }
        self.status.counts().retried.fetch_add(segment.len() as u64, Relaxed);
        run.failing_since.get_or_insert_with(Instant::now);
        if planted(Defect::ReorderOnRetry) {
            segment.iter().for_each(|entry| self.scheduler.release(entry));
        }
        let attempts = segment.first().map_or(1, |entry| entry.failed);
        let at = Instant::now() + self.retry.wait(attempts, failure);
        if matches!(failure.kind, FailureKind::Throttled { .. }) {
            run.paused_until = Some(run.paused_until.map_or(at, |until| until.max(at)));
        }
        if let Some(first) = segment.first_mut() {
            first.not_before = Some(at);
        }
        job.push_front(segment);
    }

    fn dead_letter(&mut self, run: &mut Run, entry: Entry, failure: Failure) -> Result<(), Failure> {
        if planted(Defect::SwallowedFailure) {
            self.delivered(entry);
            return Ok(());
        }
        if self.circuit.note(true) {
            return Err(Failure::fatal(
                "OC0420",
                format!(
                    "{}; the last reason was {failure}. The connector stops so that the stream is not emptied into the dead letters",
                    self.circuit.describe()
                ),
            ));
        }
        let id = run.next_put;
        run.next_put += 1;
        let (dead_letters, payload, reason) = (Arc::clone(&self.dead_letters), entry.payload.clone(), failure.clone());
        let (attempts, retry, status) = (entry.failed, self.retry, self.status.clone());
        run.puts.spawn(async move {
            let put = retry.put_dead_letter(&dead_letters, &payload, &reason, attempts, &status).await;
            (id, put)
        });
        run.putting.insert(id, (entry, failure));
        Ok(())
    }

    fn put_done(
        &mut self,
        run: &mut Run,
        done: std::result::Result<(u64, Result<(), Failure>), tokio::task::JoinError>,
    ) -> Result<(), Failure> {
        let (id, result) = done.map_err(|e| Failure::fatal("OC0490", format!("a dead-letter write ended abnormally: {e}")))?;
        result?;
        reach(Failpoint::DeadLetter);
        if let Some((entry, failure)) = run.putting.remove(&id) {
            self.status.counts().dead_lettered.fetch_add(1, Relaxed);
            tracing::warn!(code = %failure.code, "dead letter: {}", failure.message);
            if entry.event().is_some() {
                self.scheduler.release(&entry);
            }
            self.resolve(entry);
        }
        run.held.retain(|job, puts| {
            puts.retain(|put| *put != id);
            if puts.is_empty() {
                run.runnable.push_back(*job);
            }
            !puts.is_empty()
        });
        Ok(())
    }

    /// The defect of that name.
    fn acknowledge_early(&mut self, mut entry: Entry) -> Entry {
        let origin = std::mem::replace(&mut entry.origin, Origin::Inbox(0));
        self.resolve_origin(origin);
        entry
    }

    fn resolve(&mut self, entry: Entry) {
        self.resolve_origin(entry.origin);
    }

    fn resolve_origin(&mut self, origin: Origin) {
        match origin {
            Origin::Mesh(ack) => ack.ack(),
            Origin::Inbox(index) => {
                if let Some(inbox) = &mut self.inbox {
                    inbox.resolve(index);
                }
            }
            Origin::Replay(token) => {
                if let Err(failure) = self.replay.done(token) {
                    self.status.error(failure.code.clone(), failure.message);
                }
            }
        }
    }

    /// Entries in the worker that have no outcome.
    fn held(&self, run: &Run) -> u64 {
        let in_jobs: usize = run.jobs.values().flatten().map(Vec::len).sum();
        (self.scheduler.len() + in_jobs + run.putting.len()) as u64
    }

    async fn tick(&mut self, run: &mut Run) {
        let mut problem = None;
        let backlog = match &mut self.inbox {
            Some(inbox) => {
                inbox.checkpoint().await;
                problem = inbox.problem();
                inbox.backlog()
            }
            None => self.held(run),
        };
        self.status.set_backlog(backlog);
        self.status.set_memory(self.budget.used() as u64, self.budget.total() as u64);
        if !run.draining {
            let blocked = problem.or_else(|| run.failing_since.map(|_| "the target does not take events".to_owned()));
            self.status.set_state(blocked.map_or(State::Running, State::Blocked));
        }
    }

    async fn finish(mut self, mut run: Run, ended: Result<(), Failure>) -> Result<Exit> {
        // When the worker ended by itself, the intake must end too.
        self.shutdown.cancel();
        run.writes.abort_all();
        while run.writes.join_next().await.is_some() {}
        run.puts.abort_all();
        while run.puts.join_next().await.is_some() {}
        let mut left = self.held(&run) + run.abandoned;
        if let Some(inbox) = self.inbox.take() {
            left = inbox.backlog();
            inbox.close().await;
        }
        if let Err(failure) = ended {
            self.status.error(failure.code.clone(), failure.message.clone());
            return Err(Error::undelivered("OC0421", format!("the connector can't go on: {failure}"))
                .hint("Mend the cause and start again: what is undelivered is kept and delivered then."));
        }
        if left > 0 {
            tracing::warn!(
                events = left,
                "stopped with undelivered events; they are kept and delivered at the next start"
            );
            return Ok(Exit::Undelivered);
        }
        Ok(Exit::Clean)
    }
}

fn after(failure: &Failure) -> Duration {
    match failure.kind {
        FailureKind::Retryable { after } => after.unwrap_or_default(),
        FailureKind::Throttled { after } => after,
        _ => Duration::ZERO,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
