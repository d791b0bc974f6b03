//! What follows a seal: a checkpoint that resolves its entries, then the end of its record; or its entries once more.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::super::entries::EntryList;
use super::super::generation::Phase;
use super::{RereadChunk, TICK, TaskResult, Worker};
use crate::engine::payload::Payload;
use crate::failure::{Failure, FailureKind};
use crate::staging::{Handle, StagingSink};

impl<S: StagingSink> Worker<S> {
    pub(super) fn begin_reread(&mut self, id: u64) {
        let Some(generation) = self.generations.get_mut(&id) else { return };
        let ranges = self.parts.inbox.unresolved(&generation.sealing);
        generation.staged = EntryList::new(self.parts.records.list(id));
        generation.last = None;
        let mut entries = match (self.parts.reread)(&self.parts.inbox, &ranges) {
            Ok(entries) => entries,
            Err(error) => {
                let failure = Failure::of(FailureKind::Retryable { after: None }, error);
                self.sealer.note(&failure, "the inbox can't be read");
                generation.not_before = Some(Instant::now() + self.parts.retry.wait(1, &failure));
                generation.given_up = self.draining;
                return;
            }
        };
        generation.phase = Phase::Rereading;
        let (to, preparer) = (self.reread_chunks.0.clone(), self.parts.preparer.clone());
        self.rereads.spawn(async move {
            while let Some(chunk) = entries.next().await {
                let handed = match chunk {
                    Ok(chunk) => preparer.hand_over(chunk, &to, |entries| (id, Some(Ok(entries)))).await,
                    Err(error) => to.send((id, Some(Err(error)))).await.is_ok(),
                };
                if !handed {
                    return;
                }
            }
            let _ = to.send((id, None)).await;
        });
    }

    pub(super) fn read_again(&mut self, (id, read): RereadChunk) -> Result<(), Failure> {
        let Some(generation) = self.generations.get_mut(&id) else {
            return Ok(());
        };
        self.work.insert(id);
        let Some(read) = read else {
            generation.phase = Phase::Ended;
            return Ok(());
        };
        let condemned = generation.condemned.clone();
        for entry in read.map_err(|error| Failure::of(FailureKind::Fatal, error))? {
            let failure = match (&entry.payload, &condemned) {
                (Payload::Filtered, _) => {
                    self.filtered(entry.sequence);
                    continue;
                }
                (Payload::Event(_), None) => {
                    if let Some(generation) = self.generations.get_mut(&id) {
                        generation.pending.push_back(entry);
                    }
                    continue;
                }
                (Payload::Rejected(_, failure) | Payload::Unreadable(_, failure), _) => failure.clone(),
                (Payload::Event(_), Some(failure)) => failure.clone(),
            };
            self.dead_letter(Some(id), entry, failure)?;
        }
        Ok(())
    }

    /// A generation without events: nothing becomes visible, its records go.
    pub(super) fn settle(&mut self, id: u64) {
        if let Some(generation) = self.generations.get_mut(&id) {
            generation.phase = Phase::Settling;
            generation.sealing.clear();
            self.resolved.push(id);
        }
    }

    /// Lets a checkpoint be written for the generations that are resolved.
    pub(super) async fn begin_checkpoint(&mut self) {
        if self.checkpoint.is_none() && !self.resolved.is_empty() {
            let written = self.parts.inbox.checkpoint_confirmed().await;
            self.checkpoint = Some((written, std::mem::take(&mut self.resolved)));
        }
    }

    /// What is resolved will stay so: the records can go. After a failure it is tried again at the next tick.
    pub(super) fn checkpoint_done(&mut self, written: bool) {
        let Some((_, ids)) = self.checkpoint.take() else { return };
        if !written {
            self.failing.store(true, Relaxed);
            for id in ids {
                if let Some(generation) = self.generations.get_mut(&id) {
                    generation.given_up |= self.draining && generation.not_before.is_some();
                    generation.not_before = Some(Instant::now() + TICK);
                    self.work.insert(id);
                }
            }
            return;
        }
        for id in ids {
            self.remove_records(id);
        }
    }

    pub(super) fn remove_records(&mut self, id: u64) {
        let Some(generation) = self.generations.get_mut(&id) else { return };
        let (token, empty) = (
            Arc::clone(&generation.token),
            generation.staged.len() == 0 && generation.chain.is_none(),
        );
        let handle = generation.handle.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let discard: Option<Handle> = handle.filter(|_| empty);
        let rest = std::mem::take(&mut generation.sealing);
        generation.busy = true;
        let name = generation.chain.clone();
        if rest.is_empty() {
            if let Some(chain) = name.as_ref().and_then(|name| self.chains.get_mut(name)) {
                chain.records.retain(|record| record.token != token);
            }
            let chain = name.as_ref().and_then(|name| self.chains.get(name)).cloned();
            let sealer = self.sealer.clone();
            self.jobs
                .spawn(async move { TaskResult::Settled(id, sealer.settle(chain, token, discard).await) });
        } else {
            if let Err(failure) = self.parts.records.forget_handle(&token) {
                self.sealer.note(&failure, "a handle can't be removed");
            }
            self.replace(id, vec![rest]);
        }
    }

    pub(super) fn settled(&mut self, id: u64, result: Result<(), Failure>) {
        if let Err(failure) = result {
            self.sealer.note(&failure, "a group can't be finished");
            if let Some(generation) = self.generations.get_mut(&id) {
                generation.given_up = true;
            }
            return;
        }
        let Some(generation) = self.generations.remove(&id) else { return };
        self.work.remove(&id);
        if let Some(name) = &generation.chain
            && self.chains.get(name).is_some_and(|chain| chain.records.is_empty())
        {
            self.chains.remove(name);
        }
        if let Some(lane) = self.lanes.get_mut(&generation.group) {
            lane.retain(|known| *known != id);
            self.work.extend(lane.front());
            if lane.is_empty() {
                self.lanes.remove(&generation.group);
            }
        }
        self.admit_waiting();
    }
}
