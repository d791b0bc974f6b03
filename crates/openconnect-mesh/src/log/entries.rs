//! A topic's entries: its journal, and the newest of them in memory.

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use openconnect_journal::{Journal, Reader};

use super::tail::{Place, Tail};
use crate::lock::locked;

/// What a topic's groups read.
pub(crate) struct Entries {
    journal: Mutex<Journal>,
    tail: Mutex<Tail>,
    tail_bytes: usize,
}

impl Entries {
    /// The entries of a journal, of which the newest `tail_bytes` stay in memory.
    pub(super) fn new(journal: Journal, tail_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            tail: Mutex::new(Tail::new(journal.next_index())),
            journal: Mutex::new(journal),
            tail_bytes,
        })
    }

    pub(super) fn journal(&self) -> MutexGuard<'_, Journal> {
        locked(&self.journal)
    }

    /// Shows readers what the journal holds durably.
    pub(super) fn commit(&self, entries: impl Iterator<Item = Bytes>) {
        locked(&self.tail).push(entries, self.tail_bytes);
    }

    /// Frees the memory of entries before `index`; they stay in the journal.
    pub(super) fn forget_before(&self, index: u64) {
        locked(&self.tail).drop_before(index);
    }

    /// Copies committed entries from `index` on, as far as they are in memory.
    pub(crate) fn read_tail(&self, index: u64, max: usize, out: &mut Vec<(u64, Bytes)>) -> Place {
        locked(&self.tail).read(index, max, out)
    }

    /// The index behind the last committed entry.
    pub(crate) fn committed(&self) -> u64 {
        locked(&self.tail).next()
    }

    /// Reads the journal from `from` on.
    pub(crate) fn reader(&self, from: u64) -> Reader {
        locked(&self.journal).reader(from)
    }
}
