//! The reader threads: they hand entries to the engine, in the order of their sequence.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, mpsc as blocking};

use openconnect_journal::Reader;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::entry::Header;
use super::resolved::Resolved;
use super::{CHUNK_BYTES, CHUNK_EVENTS, Chunk, InboxEntry, Shared};
use crate::budget::{Budget, Reservation, with_overhead};
use crate::codes;
use crate::error::{BoxError, Error, Result};

/// Where a reader thread gets the memory of what it reads. It waits with one chunk in hand and no other: those before it have all
/// that they need, so that they go on.
pub(super) struct ChunkMemory {
    budget: Budget,
    handle: Handle,
}

impl ChunkMemory {
    pub(super) fn new(budget: Budget) -> Self {
        Self {
            budget,
            handle: Handle::current(),
        }
    }

    /// Waits for the memory of a chunk of usual size.
    fn reserve(&self) -> Reservation {
        let usual = CHUNK_BYTES + CHUNK_EVENTS * with_overhead(0);
        self.handle.block_on(self.budget.reserve(usual.min(self.budget.total() / 4)))
    }

    /// A chunk with what its entries take: an entry can be larger than a chunk is.
    fn chunk<T>(&self, read: Vec<ReadEntry<T>>, mut reservation: Reservation) -> Chunk<T> {
        let bytes = read.iter().map(|entry| entry.memory).sum();
        self.handle.block_on(self.budget.extend(&mut reservation, bytes));
        Chunk {
            entries: read,
            reservation: reservation.split(bytes),
        }
    }
}

/// An entry that was read.
pub(super) struct ReadEntry<T> {
    pub(super) sequence: u64,
    pub(super) decoded: T,
    /// Bytes that it takes in memory.
    pub(super) memory: usize,
}

/// What the thread that follows the journal needs.
pub(super) struct Follower<D> {
    pub(super) reader: Reader,
    /// Reads the entries that were copied; the other reader never goes back.
    pub(super) copies: Reader,
    /// Copied entries, in the order of their sequence: sequence and index of the first, and how many follow both.
    pub(super) moved: Vec<(u64, u64, u64)>,
    /// Indexes that are resolved.
    pub(super) done: Resolved,
    /// Indexes that `moved` names.
    pub(super) moved_to: Resolved,
    /// Sequences that the engine reads by [`super::Inbox::reread`].
    pub(super) skip: Resolved,
    /// The index of the first entry of this run: a copy from there on was handed over before it was copied.
    pub(super) opened_at: u64,
    /// Does it end with the journal?
    pub(super) ends: bool,
    pub(super) shared: Arc<Shared>,
    pub(super) memory: ChunkMemory,
    pub(super) decode: D,
}

impl<T, D: Fn(&InboxEntry<'_>) -> (T, usize)> Follower<D> {
    /// Hands over what is in the journal and what comes, until nobody takes it or the writer has ended.
    pub(super) fn run(mut self, woken: &blocking::Receiver<()>, chunks: &mpsc::Sender<Result<Chunk<T>>>) {
        self.moved.reverse();
        loop {
            let reservation = self.memory.reserve();
            match self.next() {
                Ok(None) if self.ends => return,
                Ok(None) => {
                    drop(reservation);
                    if woken.recv().is_err() {
                        return;
                    }
                }
                Ok(Some(read)) => {
                    let handed_over = read.is_empty() || chunks.blocking_send(Ok(self.memory.chunk(read, reservation))).is_ok();
                    self.shared.read.store(self.reader.position(), Ordering::Release);
                    if !handed_over {
                        return;
                    }
                }
                Err(e) => {
                    let _ = chunks.blocking_send(Err(e));
                    return;
                }
            }
        }
    }

    /// The next entries, perhaps none of those that were read; `None` at the end of the journal.
    fn next(&mut self) -> Result<Option<Vec<ReadEntry<T>>>> {
        let at = self.reader.position();
        let Some(&(sequence, index, count)) = self.moved.last() else {
            return self.follow(CHUNK_EVENTS);
        };
        // A copied entry comes when everything of a lower sequence has.
        if sequence > at {
            let before = usize::try_from(sequence - at).unwrap_or(CHUNK_EVENTS);
            let chunk = self.follow(before.min(CHUNK_EVENTS))?;
            if chunk.is_some() {
                return Ok(chunk);
            }
        }
        let due = count.min(CHUNK_EVENTS as u64).min((at + 1).saturating_sub(sequence).max(1));
        let mut chunk = Vec::new();
        let taken = read_run(&mut self.copies, sequence, index, due, &self.decode, &mut chunk)?;
        chunk.retain(|entry| !self.skip.contains(entry.sequence));
        self.moved.pop();
        if taken < count {
            self.moved.push((sequence + taken, index + taken, count - taken));
        }
        Ok(Some(chunk))
    }

    fn follow(&mut self, limit: usize) -> Result<Option<Vec<ReadEntry<T>>>> {
        let mut chunk = Vec::new();
        let mut orphans = Vec::new();
        let (reader, done, skip, decode) = (&mut self.reader, &self.done, &self.skip, &self.decode);
        let (opened_at, moved_to) = (self.opened_at, &self.moved_to);
        let read = reader.read_each(limit, CHUNK_BYTES, |index, entry| {
            if done.contains(index) {
                return;
            }
            let (header, _) = Header::split(entry);
            if header.is_some_and(|header| header.copy_of.is_some()) {
                // In the checkpoint, and handed over; or a crash came before the checkpoint, and the original still counts.
                if index < opened_at && !moved_to.contains(index) {
                    orphans.push(index);
                }
                return;
            }
            if !skip.contains(index) {
                chunk.push(read_entry(index, entry, decode));
            }
        });
        let read = read.map_err(unreadable)?;
        if !orphans.is_empty() {
            self.shared.orphans.lock().unwrap_or_else(PoisonError::into_inner).extend(orphans);
        }
        Ok((read > 0).then_some(chunk))
    }
}

/// Hands over the entries of these runs, in their order.
pub(super) fn reread<T>(
    mut reader: Reader,
    runs: Vec<(u64, u64, u64)>,
    memory: &ChunkMemory,
    decode: impl Fn(&InboxEntry<'_>) -> (T, usize),
    chunks: &mpsc::Sender<Result<Chunk<T>>>,
) {
    for (mut sequence, mut index, mut count) in runs {
        while count > 0 {
            let (mut chunk, reservation) = (Vec::new(), memory.reserve());
            let taken = match read_run(&mut reader, sequence, index, count.min(CHUNK_EVENTS as u64), &decode, &mut chunk) {
                Ok(taken) => taken,
                Err(e) => {
                    let _ = chunks.blocking_send(Err(e));
                    return;
                }
            };
            if chunks.blocking_send(Ok(memory.chunk(chunk, reservation))).is_err() {
                return;
            }
            (sequence, index, count) = (sequence + taken, index + taken, count - taken);
        }
    }
}

/// Reads at most `count` entries from `index` on and says how many; never none.
fn read_run<T>(
    reader: &mut Reader,
    sequence: u64,
    index: u64,
    count: u64,
    decode: &impl Fn(&InboxEntry<'_>) -> (T, usize),
    chunk: &mut Vec<ReadEntry<T>>,
) -> Result<u64> {
    reader.seek(index);
    let limit = usize::try_from(count).unwrap_or(usize::MAX);
    let mut as_told = true;
    let read = reader.read_each(limit, CHUNK_BYTES, |at, entry| {
        let (header, _) = Header::split(entry);
        let expected = sequence + at.saturating_sub(index);
        as_told &= header.and_then(|header| header.copy_of).unwrap_or(at) == expected;
        chunk.push(read_entry(expected, entry, decode));
    });
    let read = read.map_err(unreadable)?;
    if read == 0 || !as_told {
        return Err(unreadable(format!("entry {sequence} is not at {index}")));
    }
    Ok(read as u64)
}

fn read_entry<T>(sequence: u64, entry: &[u8], decode: &impl Fn(&InboxEntry<'_>) -> (T, usize)) -> ReadEntry<T> {
    let (decoded, memory) = decode(&InboxEntry::read(entry));
    ReadEntry { sequence, decoded, memory }
}

fn unreadable(error: impl Into<BoxError>) -> Error {
    Error::undelivered(codes::INBOX_UNREADABLE, "the inbox can't be read").because(error)
}
