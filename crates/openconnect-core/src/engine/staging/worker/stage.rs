//! Staging: batches to the sink, and what becomes of them.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use openconnect_error::codes::TASK_ENDED;
use openconnect_fault::{Defect, Failpoint, planted, reach};
use tokio::task::JoinError;

use super::super::feed::Entry;
use super::{TaskResult, Worker};
use crate::codes;
use crate::failure::{Failure, FailureKind};
use crate::sink::{Batch, WriteReport};
use crate::staging::StagingSink;

impl<S: StagingSink> Worker<S> {
    pub(super) fn stage(&mut self, id: u64) {
        let Some(generation) = self.generations.get_mut(&id) else { return };
        generation.busy = true;
        let events: Vec<_> = generation
            .staging
            .iter()
            .filter_map(|entry| entry.payload.event().cloned())
            .collect();
        let attempt = generation.staging.first().map_or(1, |entry| entry.failed + 1);
        let (open, batch) = (generation.as_open(&self.parts.records), Batch::new(events).with_attempt(attempt));
        let sink = Arc::clone(&self.parts.sink);
        self.jobs.spawn(async move {
            let started = Instant::now();
            reach(Failpoint::BeforeStage);
            let report = sink.stage(&open, &batch).await;
            if !matches!(report, WriteReport::Failed(_)) {
                reach(Failpoint::Staged);
            }
            TaskResult::Staged(id, report, started.elapsed())
        });
    }

    pub(super) fn staged(&mut self, id: u64, report: WriteReport) -> Result<(), Failure> {
        let Some(generation) = self.generations.get_mut(&id) else {
            return Ok(());
        };
        generation.busy = false;
        let entries = std::mem::take(&mut generation.staging);
        match report {
            WriteReport::Delivered => {
                let most = self.parts.profile.batch_events;
                generation.batch_limit = (generation.batch_limit * 2).min(most);
                self.failing.store(false, Relaxed);
                self.note_staged(id, &entries);
                Ok(())
            }
            WriteReport::Failed(failure) => self.stage_failed(id, entries, failure),
            WriteReport::PerEvent(results) => self.staged_in_part(id, entries, results),
        }
    }

    pub(super) fn note_staged(&mut self, id: u64, entries: &[Entry]) {
        let Some(generation) = self.generations.get_mut(&id) else { return };
        entries.iter().for_each(|entry| generation.note_staged(entry));
        if planted(Defect::ResolveWhenStaged) {
            entries.iter().for_each(|entry| self.parts.inbox.resolve(entry.sequence));
        }
    }

    pub(super) fn stage_failed(&mut self, id: u64, mut entries: Vec<Entry>, failure: Failure) -> Result<(), Failure> {
        self.sealer.note(&failure, "events can't be staged");
        if failure.kind == FailureKind::Fatal {
            return Err(failure);
        }
        if failure.kind == FailureKind::Permanent && entries.len() > 1 {
            // One of them spoils the others: fewer, until it stands alone.
            if let Some(generation) = self.generations.get_mut(&id) {
                generation.batch_limit = entries.len() / 2;
                generation.put_back(entries);
            }
            return Ok(());
        }
        entries.iter_mut().for_each(|entry| entry.failed += 1);
        let may_retry = entries.first().is_some_and(|entry| self.parts.retry.allows(entry.failed));
        if failure.is_retryable() && (self.draining || may_retry) {
            self.stage_later(id, entries, &failure);
            return Ok(());
        }
        entries
            .into_iter()
            .try_for_each(|entry| self.dead_letter(Some(id), entry, failure.clone()))
    }

    /// One answer for each event: a prefix is taken in, or refused for good; the rest is tried again.
    pub(super) fn staged_in_part(&mut self, id: u64, entries: Vec<Entry>, results: Vec<Result<(), Failure>>) -> Result<(), Failure> {
        if results.len() != entries.len() {
            return Err(Failure::fatal(
                codes::WRONG_ANSWER_COUNT,
                "the sink answered for another number of events than it was given; this is a bug",
            ));
        }
        let mut again: Vec<Entry> = Vec::new();
        let mut reason = None;
        for (mut entry, result) in entries.into_iter().zip(results) {
            match result {
                Ok(()) if reason.is_some() => {
                    return Err(Failure::fatal(
                        codes::WRONG_ANSWER_COUNT,
                        "the sink took in an event behind one that is to be tried again; this is a bug",
                    ));
                }
                Ok(()) => {
                    self.note_staged(id, &[entry]);
                }
                Err(failure) if failure.kind == FailureKind::Fatal => return Err(failure),
                Err(failure) => {
                    self.sealer.note(&failure, "an event can't be staged");
                    entry.failed += 1;
                    if failure.is_retryable() && (self.draining || self.parts.retry.allows(entry.failed)) {
                        reason.get_or_insert(failure);
                        again.push(entry);
                    } else {
                        self.dead_letter(Some(id), entry, failure)?;
                    }
                }
            }
        }
        if let Some(failure) = reason {
            self.stage_later(id, again, &failure);
        }
        Ok(())
    }

    pub(super) fn stage_later(&mut self, id: u64, entries: Vec<Entry>, failure: &Failure) {
        self.parts.status.counts().retried.fetch_add(entries.len() as u64, Relaxed);
        let attempts = entries.first().map_or(1, |entry| entry.failed);
        let at = Instant::now() + self.parts.retry.wait(attempts, failure);
        if matches!(failure.kind, FailureKind::Throttled { .. }) && !self.draining {
            self.paused_until = Some(self.paused_until.map_or(at, |until| until.max(at)));
        }
        if let Some(generation) = self.generations.get_mut(&id) {
            generation.put_back(entries);
            // The shutdown granted a last attempt.
            generation.given_up = self.draining && generation.not_before.is_some();
            generation.not_before = Some(at);
        }
    }

    pub(super) fn dead_letter(&mut self, of: Option<u64>, entry: Entry, failure: Failure) -> Result<(), Failure> {
        if self.parts.circuit.note(true) {
            return Err(Failure::fatal(
                codes::TOO_MANY_DEAD_LETTERS,
                format!(
                    "{}; the connector stops so that the stream is not emptied into the dead letters; the last reason",
                    self.parts.circuit.describe()
                ),
            )
            .because(failure));
        }
        if let Some(generation) = of.and_then(|id| self.generations.get_mut(&id)) {
            generation.open_dead_letters += 1;
        }
        let (dead_letters, retry, status) = (Arc::clone(&self.parts.dead_letters), self.parts.retry, self.parts.status.clone());
        self.dead_letter_tasks.spawn(async move {
            let put = retry
                .put_dead_letter(&dead_letters, &entry.payload, &failure, entry.failed, &status)
                .await;
            (of.unwrap_or(0), entry, failure, put)
        });
        Ok(())
    }

    pub(super) fn dead_letter_written(
        &mut self,
        done: Result<(u64, Entry, Failure, Result<(), Failure>), JoinError>,
    ) -> Result<(), Failure> {
        let (of, entry, failure, put) = done.map_err(|e| Failure::fatal(TASK_ENDED, "a dead-letter write ended abnormally").because(e))?;
        put?;
        reach(Failpoint::DeadLetter);
        self.parts.status.counts().dead_lettered.fetch_add(1, Relaxed);
        tracing::warn!(code = %failure.code, "dead letter: {}", failure.reason());
        self.parts.inbox.resolve(entry.sequence);
        if let Some(generation) = self.generations.get_mut(&of) {
            generation.open_dead_letters -= 1;
            self.work.insert(of);
        }
        Ok(())
    }
}
