//! One generation in the worker: what waits, what the sink has taken in, how far its end has come.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use cloudevents::AttributesReader;

use super::entries::{EntryList, count};
use super::feed::Entry;
use super::records::{Records, SealRecord};
use crate::failure::Failure;
use crate::staging::{Group, Handle, OpenGroup, Seal};

/// What is to be done with a generation besides staging what waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Takes events.
    Open,
    /// Its seal was begun by another run: the target is asked first.
    Ask,
    /// Its entries are to be read from the inbox once more.
    Reread,
    /// They are being read.
    Rereading,
    /// No more events come: when all are staged it is sealed.
    Ended,
    /// Its entries are resolved; the records follow.
    Settling,
}

pub(super) struct Generation {
    pub(super) id: u64,
    pub(super) group: Group,
    pub(super) token: Arc<str>,
    pub(super) phase: Phase,
    /// Not staged yet, in order.
    pub(super) pending: VecDeque<Entry>,
    /// Handed to the sink; no answer yet.
    pub(super) staging: Vec<Entry>,
    pub(super) staged: EntryList,
    /// The id of the last event that was staged.
    pub(super) last: Option<String>,
    pub(super) handle: Arc<Mutex<Option<Handle>>>,
    /// Is a task of the sink at work on it?
    pub(super) busy: bool,
    pub(super) not_before: Option<Instant>,
    /// Events in the next batch, at the most: less while one that spoils the others is looked for.
    pub(super) batch_limit: usize,
    /// Dead letters that are being written; the seal waits for them.
    pub(super) open_dead_letters: usize,
    /// The file of records that it is in.
    pub(super) chain: Option<Arc<str>>,
    /// Its record, as ranges; empty until its seal is begun.
    pub(super) sealing: Vec<(u64, u64)>,
    /// Refused by the target for good: its one event goes to the dead letters.
    pub(super) condemned: Option<Failure>,
    /// Given up at shutdown; it is done at the next start.
    pub(super) given_up: bool,
}

impl Generation {
    pub(super) fn open(id: u64, group: Group, records: &Records, batch_limit: usize) -> Self {
        Self {
            id,
            token: records.token(&group, id, None),
            group,
            phase: Phase::Open,
            pending: VecDeque::new(),
            staging: Vec::new(),
            staged: EntryList::new(records.list(id)),
            last: None,
            handle: Arc::default(),
            busy: false,
            not_before: None,
            batch_limit,
            open_dead_letters: 0,
            chain: None,
            sealing: Vec::new(),
            condemned: None,
            given_up: false,
        }
    }

    /// One whose record is on disk.
    pub(super) fn recorded(record: &SealRecord, chain: Arc<str>, phase: Phase, records: &Records, batch_limit: usize) -> Self {
        Self {
            token: Arc::clone(&record.token),
            phase,
            last: record.last.clone(),
            handle: Arc::new(Mutex::new(record.handle.clone())),
            chain: Some(chain),
            sealing: record.entries.clone(),
            ..Self::open(record.generation, record.group.clone(), records, batch_limit)
        }
    }

    /// Takes the next batch off what waits; none when nothing does.
    pub(super) fn take_batch(&mut self, max_bytes: usize) -> bool {
        let mut bytes = 0;
        while let Some(next) = self.pending.front() {
            let fits = self.staging.is_empty() || bytes + next.bytes <= max_bytes;
            if !fits || self.staging.len() >= self.batch_limit {
                break;
            }
            bytes += next.bytes;
            self.staging.extend(self.pending.pop_front());
        }
        !self.staging.is_empty()
    }

    /// Puts these entries back in front of what waits.
    pub(super) fn put_back(&mut self, entries: Vec<Entry>) {
        for entry in entries.into_iter().rev() {
            self.pending.push_front(entry);
        }
    }

    /// May it be worked on now?
    pub(super) fn is_free(&self, now: Instant, hurry: bool) -> bool {
        !self.busy && !self.given_up && (hurry || self.not_before.is_none_or(|at| at <= now))
    }

    /// Has everything that belongs to it been staged, or gone to the dead letters?
    pub(super) fn is_complete(&self) -> bool {
        self.phase == Phase::Ended && self.pending.is_empty() && self.staging.is_empty() && self.open_dead_letters == 0 && !self.busy
    }

    pub(super) fn as_open(&self, records: &Arc<Records>) -> OpenGroup {
        OpenGroup {
            group: self.group.clone(),
            generation: self.id,
            token: Arc::clone(&self.token),
            staged: self.staged.len(),
            handle: Arc::clone(&self.handle),
            keeper: Arc::<Records>::clone(records),
        }
    }

    pub(super) fn note_staged(&mut self, entry: &Entry) {
        self.staged.push(entry.sequence);
        self.not_before = None;
        self.last = entry.payload.event().map(|event| event.id().to_owned());
    }

    pub(super) fn record(&self) -> SealRecord {
        SealRecord {
            token: Arc::clone(&self.token),
            group: self.group.clone(),
            generation: self.id,
            entries: self.sealing.clone(),
            last: self.last.clone(),
            handle: self.handle.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    pub(super) fn as_seal(&self) -> Seal {
        Seal {
            group: self.group.clone(),
            generation: self.id,
            token: Arc::clone(&self.token),
            count: count(&self.sealing),
            handle: self.record().handle,
            attempt: 1,
        }
    }
}
