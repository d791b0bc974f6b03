//! The worker: the only task that touches the [`DeliveryState`]. It starts the writes and dead-letter writes that the state asks
//! for as tasks, gives it their results, and acknowledges what has its outcome.
//!
//! Entries stay with the state, so that a task that dies loses nothing. An entry is resolved by being consumed; an entry that is
//! dropped is not acknowledged, or stays in the inbox.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

use openconnect_error::codes::TASK_ENDED;
use openconnect_fault::reach;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::state::{DeadLetterId, DeliveryState, Finished, JobId};
use super::{Writer, defects};
use crate::admin::{Flow, State, StatusHandle};
use crate::budget::Budget;
use crate::dead_letter::{DeadLetters, ReplayQueue};
use crate::engine::intake::{Entry, Origin};
use crate::engine::payload::Payload;
use crate::engine::retry::RetryPolicy;
use crate::failure::{Failure, FailureKind};
use crate::inbox::Inbox;
use crate::sink::{Batch, WriteReport};
use crate::store::Store;

/// How often the inbox's checkpoint is written and the status refreshed.
const TICK: Duration = Duration::from_millis(100);

/// What a worker is made of.
pub(crate) struct DeliveryWorker<W> {
    pub(crate) writer: Arc<W>,
    pub(crate) delivery: DeliveryState<Entry>,
    pub(crate) outcomes: Outcomes,
    pub(crate) dead_letters: Arc<DeadLetters>,
    pub(crate) store: Store,
    pub(crate) retry: RetryPolicy,
    /// Where errors are shown.
    pub(crate) status: StatusHandle,
    /// Where its events are counted.
    pub(crate) flow: Arc<Flow>,
    pub(crate) standing: Standing,
    pub(crate) shutdown: CancellationToken,
    /// How long a shutdown may take.
    pub(crate) deadline: Duration,
    pub(crate) budget: Budget,
    pub(crate) tasks: Tasks,
}

/// Where a worker shows whether it goes on.
pub(crate) enum Standing {
    /// As the state of the connector, which does nothing else.
    Connector(StatusHandle),
    /// As what troubles a part of it.
    Part(watch::Sender<Option<String>>),
}

impl Standing {
    fn show(&self, trouble: Option<String>) {
        match self {
            Self::Connector(status) => status.set_state(trouble.map_or(State::Running, State::Blocked)),
            Self::Part(shown) => {
                shown.send_if_modified(|known| {
                    let is_new = *known != trouble;
                    *known = trouble;
                    is_new
                });
            }
        }
    }

    fn draining(&self) {
        if let Self::Connector(status) = self {
            status.set_state(State::Draining);
        }
    }
}

/// How a worker has ended.
pub(crate) struct Ended {
    /// What stopped it, if it could not go on.
    pub(crate) result: Result<(), Failure>,
    /// Events that are left in the mesh or the inbox.
    pub(crate) left: u64,
}

/// The tasks of a worker.
#[derive(Default)]
pub(crate) struct Tasks {
    writes: JoinSet<(JobId, WriteReport, Duration)>,
    dead_letters: JoinSet<(DeadLetterId, Result<(), Failure>)>,
}

/// Where outcomes go: back to the mesh, the inbox or the replay.
pub(crate) struct Outcomes {
    pub(crate) inbox: Option<Inbox>,
    pub(crate) replay: ReplayQueue,
    pub(crate) status: StatusHandle,
}

impl Outcomes {
    fn resolve(&mut self, origin: Origin) {
        match origin {
            Origin::Mesh(ack) => ack.ack(),
            Origin::Inbox(index) => {
                if let Some(inbox) = &mut self.inbox {
                    inbox.resolve(index);
                }
            }
            Origin::Replay(token) => {
                if let Err(failure) = self.replay.done(token) {
                    self.status.error(failure.code, failure.reason());
                }
            }
        }
    }
}

impl<W: Writer> DeliveryWorker<W> {
    /// Runs until shutdown or until nothing can go on. `entries` comes from the intake, which ends first.
    pub(crate) async fn run(mut self, mut entries: mpsc::Receiver<Vec<Entry>>, fatal: &mut mpsc::Receiver<Failure>) -> Ended {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut intake_open = true;
        let mut give_up: Option<tokio::time::Instant> = None;
        let ended = loop {
            self.watch_memory();
            if let Err(failure) = self.start_writes().await {
                break Err(failure);
            }
            if !intake_open && self.delivery.is_idle() {
                break Ok(());
            }
            let wake = self.delivery.next_wake();
            let went_on = tokio::select! {
                biased;
                () = self.shutdown.cancelled(), if give_up.is_none() => {
                    self.standing.draining();
                    self.delivery.drain();
                    give_up = Some(tokio::time::Instant::now() + self.deadline);
                    Ok(())
                }
                () = sleep_until(give_up), if give_up.is_some() => break Ok(()),
                Some(failure) = fatal.recv() => Err(failure),
                Some(done) = self.tasks.writes.join_next() => self.write_finished(done),
                Some(done) = self.tasks.dead_letters.join_next() => self.dead_letter_finished(done),
                received = entries.recv(), if intake_open => match received {
                    Some(received) => self.accept(received),
                    None => {
                        intake_open = false;
                        Ok(())
                    }
                },
                _ = tick.tick() => {
                    self.tick().await;
                    Ok(())
                }
                () = sleep_until(wake.map(Into::into)), if wake.is_some() => Ok(()),
            };
            if let Err(failure) = went_on {
                break Err(failure);
            }
        };
        self.finish(ended).await
    }

    fn accept(&mut self, entries: Vec<Entry>) -> Result<(), Failure> {
        self.flow.counts.received.fetch_add(entries.len() as u64, Relaxed);
        for mut entry in entries {
            let refused = match &entry.payload {
                Payload::Event(event) => match self.writer.target(event) {
                    Ok(target) => {
                        entry.target = target;
                        None
                    }
                    Err(failure) => Some(failure),
                },
                Payload::Filtered => {
                    self.flow.counts.filtered.fetch_add(1, Relaxed);
                    self.outcomes.resolve(entry.origin);
                    continue;
                }
                Payload::Rejected(_, failure) | Payload::Unreadable(_, failure) => Some(failure.clone()),
            };
            match refused {
                Some(failure) if failure.kind == FailureKind::Fatal => return Err(failure),
                Some(failure) => {
                    let id = self.delivery.reject(entry, failure)?;
                    self.write_dead_letter(id);
                }
                None => {
                    if let Some(origin) = defects::spoil_entry(&mut entry) {
                        self.outcomes.resolve(origin);
                    }
                    self.delivery.accept(entry);
                }
            }
        }
        Ok(())
    }

    /// Batches close early when the budget is short, until half of it is free again.
    fn watch_memory(&mut self) {
        if self.budget.is_short() {
            self.delivery.set_memory_short(true);
        } else if self.budget.used() < self.budget.total() / 2 {
            self.delivery.set_memory_short(false);
        }
    }

    /// Starts what may be written now. What it spends of the rate limits is stored before.
    async fn start_writes(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        while let Some(write) = self.delivery.next_write(now) {
            let events = write.entries.iter().filter_map(|entry| entry.event().cloned()).collect();
            let batch = Batch::new(events).with_target(write.target.clone()).with_attempt(write.attempt);
            let (id, writer, draining) = (write.job, Arc::clone(&self.writer), self.delivery.is_draining());
            let spent = self.delivery.rates().take_changes(now, SystemTime::now());
            if !spent.is_empty() {
                self.store.apply(spent).await?;
            }
            self.tasks.writes.spawn(async move {
                let started = Instant::now();
                let events = batch.len();
                let report = writer.write(batch).await;
                (id, defects::spoil_report(report, events, draining), started.elapsed())
            });
        }
        Ok(())
    }

    fn write_finished(&mut self, done: Result<(JobId, WriteReport, Duration), JoinError>) -> Result<(), Failure> {
        let (id, report, took) = done.map_err(|e| ended_abnormally("a write", e))?;
        self.flow.observe_write(took);
        self.note_failures(&report);
        if !matches!(report, WriteReport::Failed(_)) {
            reach(W::WRITTEN);
        }
        let Finished {
            delivered,
            dead_letters,
            retried,
            fatal,
        } = self.delivery.write_finished(id, report, Instant::now());
        let counts = &self.flow.counts;
        counts.delivered.fetch_add(delivered.len() as u64, Relaxed);
        counts.retried.fetch_add(retried as u64, Relaxed);
        delivered.into_iter().for_each(|entry| self.outcomes.resolve(entry.origin));
        dead_letters.into_iter().for_each(|id| self.write_dead_letter(id));
        fatal.map_or(Ok(()), Err)
    }

    fn note_failures(&self, report: &WriteReport) {
        let note = |failure: &Failure| {
            self.status.error(failure.code, failure.reason());
            tracing::warn!(code = %failure.code, kind = ?failure.kind, "write failed: {}", failure.reason());
        };
        match report {
            WriteReport::Delivered => {}
            WriteReport::Failed(failure) => note(failure),
            WriteReport::PerEvent(results) => results.iter().filter_map(|result| result.as_ref().err()).for_each(note),
        }
    }

    /// Starts to write a dead letter; it is tried until it is durable.
    fn write_dead_letter(&mut self, id: DeadLetterId) {
        let Some(pending) = self.delivery.pending_dead_letter(id) else {
            return;
        };
        let (payload, failure, attempts) = (pending.entry.payload.clone(), pending.failure.clone(), pending.attempts);
        let (dead_letters, retry, status) = (Arc::clone(&self.dead_letters), self.retry, self.status.clone());
        self.tasks.dead_letters.spawn(async move {
            let written = retry.put_dead_letter(&dead_letters, &payload, &failure, attempts, &status).await;
            (id, written)
        });
    }

    fn dead_letter_finished(&mut self, done: Result<(DeadLetterId, Result<(), Failure>), JoinError>) -> Result<(), Failure> {
        let (id, written) = done.map_err(|e| ended_abnormally("a dead-letter write", e))?;
        written?;
        reach(W::DEAD_LETTER);
        if let Some(pending) = self.delivery.dead_letter_written(id) {
            self.flow.counts.dead_lettered.fetch_add(1, Relaxed);
            tracing::warn!(code = %pending.failure.code, "dead letter: {}", pending.failure.reason());
            self.outcomes.resolve(pending.entry.origin);
        }
        Ok(())
    }

    async fn tick(&mut self) {
        let mut problem = None;
        let backlog = match &mut self.outcomes.inbox {
            Some(inbox) => {
                inbox.checkpoint().await;
                problem = inbox.problem();
                inbox.backlog()
            }
            None => self.delivery.unresolved() as u64,
        };
        self.flow.set_backlog(backlog);
        if !self.delivery.is_draining() {
            let failing = self.delivery.is_failing().then(|| W::FAILING.to_owned());
            self.standing.show(problem.or(failing));
        }
    }

    async fn finish(mut self, result: Result<(), Failure>) -> Ended {
        // When the worker ended by itself, the intake must end too.
        self.shutdown.cancel();
        self.tasks.writes.shutdown().await;
        self.tasks.dead_letters.shutdown().await;
        let mut left = self.delivery.unresolved() as u64;
        if let Some(inbox) = self.outcomes.inbox.take() {
            left = inbox.backlog();
            inbox.close().await;
        }
        self.flow.set_backlog(left);
        Ended { result, left }
    }
}

fn ended_abnormally(what: &str, error: JoinError) -> Failure {
    Failure::fatal(TASK_ENDED, format!("{what} ended abnormally")).because(error)
}

async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
