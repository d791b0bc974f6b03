//! The end of a generation: its seal, what the target says of it, its parts when it was cut or refused.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::super::entries::{count, split};
use super::super::generation::Phase;
use super::super::records::{Chain, SealRecord};
use super::super::sealing::SealResult;
use super::{TaskResult, Worker};
use crate::codes;
use crate::failure::Failure;
use crate::staging::{Refused, Sealed, StagingSink};

impl<S: StagingSink> Worker<S> {
    /// Writes the seal record of a generation and seals it.
    pub(super) fn seal(&mut self, id: u64) {
        let Some(generation) = self.generations.get_mut(&id) else { return };
        let ranges = match generation.staged.ranges() {
            Ok(ranges) => ranges,
            Err(e) => {
                let failure = Failure::retryable(codes::STAGING_UNWRITTEN, "the entries of a group can't be read").because(e);
                self.sealer.note(&failure, "a group can't be sealed");
                generation.given_up = self.draining;
                generation.not_before = Some(Instant::now() + self.parts.retry.wait(1, &failure));
                return;
            }
        };
        generation.busy = true;
        generation.sealing = ranges;
        let name = Arc::clone(generation.chain.get_or_insert_with(|| Arc::clone(&generation.token)));
        let record = generation.record();
        let chain = self
            .chains
            .entry(Arc::clone(&name))
            .or_insert_with(|| Chain { name, records: Vec::new() });
        match chain.records.iter_mut().find(|known| known.token == record.token) {
            Some(known) => *known = record,
            None => chain.records.push(record),
        }
        let (sealer, chain, seal) = (self.sealer.clone(), chain.clone(), generation.as_seal());
        self.jobs
            .spawn(async move { TaskResult::Sealed(id, sealer.seal(chain, seal).await) });
    }

    /// Asks what became of a seal that another run had begun.
    pub(super) fn ask(&mut self, id: u64) {
        let Some(generation) = self.generations.get_mut(&id) else { return };
        generation.busy = true;
        let (sealer, seal) = (self.sealer.clone(), generation.as_seal());
        self.jobs.spawn(async move { TaskResult::Asked(id, sealer.ask(&seal).await) });
    }

    pub(super) fn asked(&mut self, id: u64, answer: std::result::Result<Sealed, SealResult>) -> Result<(), Failure> {
        let phase = match answer {
            Ok(Sealed::Visible { count, last }) => return self.ended(id, SealResult::Visible(count, last)),
            Ok(Sealed::NotVisible | Sealed::RepeatIsHarmless | Sealed::Unknown) => Phase::Reread,
            Err(ended) => return self.ended(id, ended),
        };
        if let Some(generation) = self.generations.get_mut(&id) {
            (generation.busy, generation.phase) = (false, phase);
        }
        Ok(())
    }

    pub(super) fn ended(&mut self, id: u64, ended: SealResult) -> Result<(), Failure> {
        let Some(generation) = self.generations.get_mut(&id) else {
            return Ok(());
        };
        generation.busy = false;
        match ended {
            SealResult::Visible(visible, last) => self.visible(id, visible, last.as_deref()),
            SealResult::Fatal(failure) => Err(failure),
            SealResult::GivenUp => {
                generation.given_up = true;
                Ok(())
            }
            SealResult::Refused(failure) if self.parts.profile.refused == Refused::Stop => Err(Failure::fatal(
                codes::GROUP_REFUSED,
                format!("the target refuses the group {} for good", generation.group),
            )
            .because(failure)),
            SealResult::Refused(failure) => self.halve(id, failure),
        }
    }

    /// The first `visible` events of a generation are in the target: they have their outcome. The rest is staged again.
    pub(super) fn visible(&mut self, id: u64, visible: u64, last: Option<&str>) -> Result<(), Failure> {
        let Some(generation) = self.generations.get_mut(&id) else {
            return Ok(());
        };
        let all = count(&generation.sealing);
        let foreign = visible == all && last.is_some() && generation.last.is_some() && last != generation.last.as_deref();
        if visible > all || foreign {
            return Err(Failure::fatal(
                codes::SEALED_DIFFERENTLY,
                format!(
                    "the target shows other events than were sealed under the token {} of the group {}",
                    generation.token, generation.group
                ),
            ));
        }
        let (seen, rest) = split(&generation.sealing, visible);
        generation.phase = Phase::Settling;
        generation.sealing = rest;
        for sequence in seen.into_iter().flat_map(|(first, last)| first..=last) {
            self.parts.inbox.resolve(sequence);
        }
        for _ in 0..visible {
            self.parts.circuit.note(false);
        }
        self.parts.status.counts().delivered.fetch_add(visible, Relaxed);
        self.resolved.push(id);
        Ok(())
    }

    /// Every half gets a record of its own in place of the whole; a single event goes to the dead letters.
    pub(super) fn halve(&mut self, id: u64, failure: Failure) -> Result<(), Failure> {
        let Some(generation) = self.generations.get_mut(&id) else {
            return Ok(());
        };
        let all = count(&generation.sealing);
        if all <= 1 {
            generation.condemned = Some(failure);
            generation.phase = Phase::Reread;
            return Ok(());
        }
        let (first, second) = split(&generation.sealing, all / 2);
        let handle = generation.handle.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (sealer, token) = (self.sealer.clone(), Arc::clone(&generation.token));
        // No generation has the id 0: nothing follows from this task.
        self.jobs
            .spawn(async move { TaskResult::Settled(0, sealer.settle(None, token, handle).await) });
        self.replace(id, vec![first, second]);
        Ok(())
    }

    /// Puts parts of a generation in its place, in its lane and in its records. The records are written with the next seal; until
    /// then the whole stands there, which was never visible.
    pub(super) fn replace(&mut self, id: u64, parts: Vec<Vec<(u64, u64)>>) {
        let Some(whole) = self.generations.remove(&id) else { return };
        let records: Vec<SealRecord> = parts
            .into_iter()
            .filter_map(|entries| {
                let generation = entries.first()?.0;
                Some(SealRecord {
                    token: self.parts.records.token(&whole.group, generation, Some(count(&entries))),
                    group: whole.group.clone(),
                    generation,
                    entries,
                    last: None,
                    handle: None,
                })
            })
            .collect();
        let name = whole.chain.clone().unwrap_or_else(|| Arc::clone(&whole.token));
        if let Some(chain) = self.chains.get_mut(&name)
            && let Some(at) = chain.records.iter().position(|record| record.token == whole.token)
        {
            chain.records.splice(at..=at, records.iter().cloned());
        }
        let lane = self.lanes.entry(whole.group.clone()).or_default();
        lane.retain(|known| *known != id);
        for record in records.iter().rev() {
            lane.push_front(record.generation);
        }
        for record in &records {
            let part = self.recorded(record, &name, Phase::Reread);
            self.work.insert(part.id);
            self.generations.insert(part.id, part);
        }
    }
}
