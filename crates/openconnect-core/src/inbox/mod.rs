//! The inbox: events that the mesh (of a sink) or the caller (of a source with a spool) has been told are safe, in a local
//! journal until they have their outcome.
//!
//! A writer thread appends what arrives, syncs once for all that is queued, and only then acknowledges. A
//! reader thread hands the entries to the engine in order. What is resolved is kept as a prefix and the numbers beyond it,
//! in a small file that is replaced as a whole; after a crash some resolved events are delivered again, none is missing.
//!
//! An entry is known by its *sequence*, which never changes. Its *index* in the journal is the same, until a staging sink
//! holds it for so long that it is copied to the journal's end, so that the segments in front become free. The checkpoint
//! says where copied entries are; a copy that no checkpoint names does not count.
//!
//! | file | what is in it |
//! |---|---|
//! | `entry.rs` | the bytes of an entry |
//! | `resolved.rs` | which entries have their outcome, where copied ones are, the checkpoint |
//! | `writer.rs`, `reader.rs` | the threads |
//! | `window.rs` | the identities of the last events, for staging sinks: a repeat is dropped |

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc as blocking;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use openconnect_error::codes::TASK_ENDED;
use openconnect_fault::{Defect, planted};
use openconnect_journal::{Journal, JournalError, JournalOptions, Reader};
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::budget::{Budget, Reservation};
use crate::codes;
use crate::error::{Error, Result};
use crate::failure::Failure;
use crate::mesh::Delivery;
use crate::state::write_atomically;

mod entry;
mod reader;
mod resolved;
#[cfg(test)]
mod tests;
mod window;
mod writer;

pub(crate) use entry::Stored;
pub(crate) use window::WINDOW_EVENTS;

use entry::Header;
use reader::{ChunkMemory, ReadEntry};
use resolved::{CopiedEntries, Resolved, read_checkpoint};
use window::IdentityWindow;
use writer::{Arriving, Command, Confirm, Copied, Writer};

const QUEUE: usize = 16;
/// One chunk that a reader thread hands over.
const CHUNK_EVENTS: usize = 256;
const CHUNK_BYTES: usize = 256 << 10;
const SEGMENT_BYTES: u64 = 16 << 20;
const SMALLEST_SEGMENT: u64 = 64 << 10;
/// Segments that fit into an inbox, at the least: it is freed by segments.
const SEGMENTS: u64 = 16;
/// The part of its size at which a staging sink's inbox asks for room.
pub(crate) const PRESSURE: f64 = 0.8;
/// Of the threads: to read an event takes some for each level of its JSON.
const STACK: usize = 1 << 20;
/// How long closing waits for the writer thread; a disk that hangs longer loses only the checkpoint.
const CLOSE: Duration = Duration::from_secs(5);

/// How an inbox is kept.
#[derive(Debug, Clone, Default)]
pub(crate) struct InboxOptions {
    /// Nothing is appended beyond this size.
    pub(crate) max_bytes: u64,
    /// Entries keep the time of their arrival.
    pub(crate) timed: bool,
    /// For a staging sink: as `timed`; repeats are dropped, and held entries do not pin the journal.
    pub(crate) staging: bool,
    /// Ranges of sequences, ascending, that are read by [`Inbox::reread`] and not handed over with the others.
    pub(crate) apart: Vec<(u64, u64)>,
    /// Nothing is appended: the entries end with those that an earlier run left.
    pub(crate) drain: bool,
}

/// An entry as it is read.
pub(crate) struct InboxEntry<'a> {
    pub(crate) stored: Stored<'a>,
    /// When it arrived, in ms since the epoch; an entry that does not say arrives now.
    pub(crate) arrived_ms: u64,
}

impl<'a> InboxEntry<'a> {
    fn read(entry: &'a [u8]) -> Self {
        let (header, rest) = Header::split(entry);
        Self {
            stored: Stored::decode(rest),
            arrived_ms: header.map_or_else(now_ms, |header| header.arrived_ms),
        }
    }
}

/// The wall clock, in ms since the epoch.
pub(crate) fn now_ms() -> u64 {
    epoch_ms(SystemTime::now())
}

/// A time in ms since the epoch; 0 for one before it.
pub(crate) fn epoch_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[derive(Default)]
struct Shared {
    next: AtomicU64,
    size: AtomicU64,
    /// The index up to which entries were handed over, not included.
    read: AtomicU64,
    room: Notify,
    problem: Mutex<Option<Failure>>,
    /// Entries that were copied; the engine's end has not noted them.
    copied: Mutex<Vec<Copied>>,
    /// Copies that do not count.
    orphans: Mutex<Vec<u64>>,
}

/// The engine's end of the inbox.
pub(crate) struct Inbox {
    appender: Appender,
    done: Resolved,
    moved: CopiedEntries,
    dirty: bool,
    staging: bool,
    reader: Reader,
    /// Lent to each reader of [`Self::reread`]: nothing is copied meanwhile.
    rereading: Arc<()>,
    writer: Option<thread::JoinHandle<()>>,
}

/// Entries that are read together, and the memory that they take.
pub(crate) struct Chunk<T> {
    entries: Vec<ReadEntry<T>>,
    /// As much as all of them take; less where there is not as much.
    reservation: Reservation,
}

impl<T> Chunk<T> {
    /// Each with its sequence and its part of the memory.
    pub(crate) fn into_entries(self) -> impl Iterator<Item = (u64, T, Reservation)> {
        let mut reservation = self.reservation;
        let entries = self.entries.into_iter();
        entries.map(move |entry| (entry.sequence, entry.decoded, reservation.split(entry.memory)))
    }
}

/// Where the entries come out, in order.
pub(crate) struct Entries<T> {
    /// Do they end with what is stored?
    ends: bool,
    chunks: mpsc::Receiver<Result<Chunk<T>>>,
    _reading: Option<Arc<()>>,
}

/// The intake's end. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Appender {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
    max_bytes: u64,
}

impl Inbox {
    /// Opens or makes `inbox/` in the instance's folder; a torn tail (never acknowledged) is cut off. The thread that reads
    /// the entries makes of each what `decode` gives, with the memory that it takes; it is reserved of `budget`.
    pub(crate) fn open<T: Send + 'static>(
        state: &Path,
        options: &InboxOptions,
        budget: Budget,
        decode: impl Fn(&InboxEntry<'_>) -> (T, usize) + Send + 'static,
    ) -> Result<(Self, Entries<T>)> {
        let dir = state.join("inbox");
        let journal_options = JournalOptions {
            segment_bytes: (options.max_bytes / SEGMENTS).clamp(SMALLEST_SEGMENT, SEGMENT_BYTES),
            fsync: true,
        };
        let (journal, recovery) = Journal::open(&dir, journal_options).map_err(|e| unusable(&dir, e))?;
        if recovery.truncated_bytes > 0 {
            tracing::warn!(bytes = recovery.truncated_bytes, "cut an unfinished entry off the end of the inbox");
        }
        let file = dir.join("checkpoint.json");
        let (done, moved) = recall(&file, &journal)?;
        let window = match options.staging {
            true => Some(complete(IdentityWindow::open(dir.join("identities"))?, &journal, &dir)?),
            false => None,
        };
        let shared = Arc::new(Shared::default());
        shared.next.store(journal.next_index(), Ordering::Release);
        shared.size.store(journal.size_bytes(), Ordering::Release);
        let (wake, woken) = blocking::sync_channel(1);
        let (chunks, entries) = mpsc::channel(2);
        let (commands, queue) = mpsc::channel(QUEUE);
        let runs = moved.runs();
        let follower = reader::Follower {
            reader: journal.reader(done.prefix + 1),
            copies: journal.reader(1),
            moved_to: indexes(&runs),
            moved: runs,
            done: done.clone(),
            skip: Resolved::new(0, &options.apart, u64::MAX - 1),
            opened_at: journal.next_index(),
            ends: options.drain,
            shared: Arc::clone(&shared),
            memory: ChunkMemory::new(budget),
            decode,
        };
        let reader = journal.reader(1);
        spawn("inbox-reader", move || follower.run(&woken, &chunks))?;
        let writer = Writer {
            journal,
            file,
            shared: Arc::clone(&shared),
            wake,
            handle: Handle::current(),
            max_bytes: options.max_bytes,
            is_timed: options.timed || options.staging,
            window,
            copied_through: 0,
            last_copy: None,
        };
        let writer = spawn("inbox-writer", move || writer.run(queue))?;
        let appender = Appender {
            commands,
            shared,
            max_bytes: options.max_bytes,
        };
        let inbox = Self {
            appender,
            done,
            moved,
            dirty: false,
            staging: options.staging,
            reader,
            rereading: Arc::new(()),
            writer: Some(writer),
        };
        Ok((
            inbox,
            Entries {
                ends: options.drain,
                chunks: entries,
                _reading: None,
            },
        ))
    }

    pub(crate) fn appender(&self) -> Appender {
        self.appender.clone()
    }

    /// This entry has its outcome.
    pub(crate) fn resolve(&mut self, sequence: u64) {
        self.dirty = true;
        self.done.add(self.moved.index(sequence));
        self.moved.remove(sequence);
    }

    /// Those of these entries, as ascending ranges, that have no outcome.
    pub(crate) fn unresolved(&self, ranges: &[(u64, u64)]) -> Vec<(u64, u64)> {
        let mut open: Vec<(u64, u64)> = Vec::new();
        for sequence in ranges.iter().flat_map(|&(first, last)| first..=last) {
            if self.done.contains(self.moved.index(sequence)) {
                continue;
            }
            match open.last_mut() {
                Some((_, last)) if *last + 1 == sequence => *last = sequence,
                _ => open.push((sequence, sequence)),
            }
        }
        open
    }

    /// Reads these entries once more, in their order. None of them may be resolved. They take of `budget`.
    pub(crate) fn reread<T: Send + 'static>(
        &self,
        ranges: &[(u64, u64)],
        budget: Budget,
        decode: impl Fn(&InboxEntry<'_>) -> (T, usize) + Send + 'static,
    ) -> Result<Entries<T>> {
        let mut runs: Vec<(u64, u64, u64)> = Vec::new();
        for sequence in ranges.iter().flat_map(|&(first, last)| first..=last) {
            let index = self.moved.index(sequence);
            match runs.last_mut() {
                Some((first, at, count)) if *first + *count == sequence && *at + *count == index => *count += 1,
                _ => runs.push((sequence, index, 1)),
            }
        }
        let (chunks, entries) = mpsc::channel(1);
        let reader = self.reader.another(1);
        let (reading, memory) = (Arc::clone(&self.rereading), ChunkMemory::new(budget));
        spawn("inbox-reread", move || {
            reader::reread(reader, runs, &memory, decode, &chunks);
            drop(reading);
        })?;
        Ok(Entries {
            chunks: entries,
            ends: true,
            _reading: Some(Arc::clone(&self.rereading)),
        })
    }

    /// Entries without an outcome.
    pub(crate) fn backlog(&self) -> u64 {
        (self.appender.shared.next.load(Ordering::Acquire) - 1).saturating_sub(self.done.prefix + self.done.beyond)
    }

    /// Is so much of its size taken that held entries must go?
    pub(crate) fn is_under_pressure(&self) -> bool {
        self.appender.shared.size.load(Ordering::Acquire) as f64 >= self.appender.max_bytes as f64 * PRESSURE
    }

    /// Bytes on disk, and how many there may be.
    pub(crate) fn size(&self) -> (u64, u64) {
        (self.appender.shared.size.load(Ordering::Acquire), self.appender.max_bytes)
    }

    /// Why nothing can be appended at the moment, for people.
    pub(crate) fn problem(&self) -> Option<String> {
        let problem = self.appender.shared.problem.lock().unwrap_or_else(PoisonError::into_inner);
        problem.as_ref().map(Failure::reason)
    }

    /// Hands what is resolved to the writer thread, if it changed.
    pub(crate) async fn checkpoint(&mut self) {
        self.note_copies();
        if std::mem::take(&mut self.dirty) {
            self.send_checkpoint(None).await;
        }
    }

    /// Hands what is resolved to the writer thread. The answer comes when it is durable; none comes when it could not be
    /// written.
    pub(crate) async fn checkpoint_confirmed(&mut self) -> oneshot::Receiver<()> {
        self.note_copies();
        self.dirty = false;
        let (written, answer) = oneshot::channel();
        self.send_checkpoint(Some(written)).await;
        answer
    }

    async fn send_checkpoint(&self, written: Option<oneshot::Sender<()>>) {
        let mut checkpoint = self.done.checkpoint(&self.moved);
        if planted(Defect::CheckpointAhead) {
            checkpoint.prefix = self.appender.shared.next.load(Ordering::Acquire) - 1;
        }
        let command = Command::Checkpoint {
            checkpoint,
            may_copy: self.staging && Arc::strong_count(&self.rereading) == 1,
            written,
        };
        let _ = self.appender.commands.send(command).await;
    }

    /// Entries that were copied are found at their new index from now on.
    fn note_copies(&mut self) {
        let shared = Arc::clone(&self.appender.shared);
        for Copied { sequence, from, to } in shared.copied.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            self.dirty = true;
            if self.done.contains(from) {
                self.done.add(to);
            } else {
                self.moved.set(sequence, to);
                self.done.add(from);
            }
        }
        for index in shared.orphans.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            self.dirty = true;
            self.done.add(index);
        }
    }

    /// Writes the last checkpoint and waits until everything queued is on disk. Drop every [`Appender`] before.
    pub(crate) async fn close(mut self) {
        self.dirty = true;
        self.checkpoint().await;
        let writer = self.writer.take();
        drop(self);
        if let Some(writer) = writer {
            let joined = tokio::task::spawn_blocking(move || writer.join());
            let _ = tokio::time::timeout(CLOSE, joined).await;
        }
    }
}

impl<T> Entries<T> {
    /// The next entries; `None` after the last, which only [`Inbox::reread`] and [`InboxOptions::drain`] have. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Result<Chunk<T>>> {
        let chunk = self.chunks.recv().await;
        if chunk.is_none() && !self.ends {
            return Some(Err(Error::undelivered(codes::INBOX_UNREADABLE, "the inbox's reader has stopped")));
        }
        chunk
    }
}

impl Appender {
    /// Queues deliveries; each is acknowledged once it is on disk. Waits while the inbox is over its size.
    pub(crate) async fn append(&self, deliveries: Vec<Delivery>) -> std::result::Result<(), Failure> {
        self.queue(deliveries.into_iter().map(Arriving::from).collect()).await
    }

    /// Queues a source's events; `done` is called once all of them are on disk. Waits while the inbox is over its size.
    pub(crate) async fn append_events(&self, raw: Vec<Bytes>, done: impl FnOnce() + Send + 'static) -> std::result::Result<(), Failure> {
        let mut arriving: Vec<Arriving> = raw.into_iter().map(Arriving::unconfirmed).collect();
        // They become durable together, and are confirmed in their order.
        if let Some(last) = arriving.last_mut() {
            last.confirm = Confirm::Call(Box::new(done));
        }
        self.queue(arriving).await
    }

    /// Queues an event of the replay `scope`, taken once for each replay; `done` is called once it is on disk.
    pub(crate) async fn append_replayed(
        &self,
        raw: Bytes,
        scope: String,
        done: impl FnOnce() + Send + 'static,
    ) -> std::result::Result<(), Failure> {
        let arriving = Arriving {
            scope,
            confirm: Confirm::Call(Box::new(done)),
            ..Arriving::unconfirmed(raw)
        };
        self.queue(vec![arriving]).await
    }

    async fn queue(&self, arriving: Vec<Arriving>) -> std::result::Result<(), Failure> {
        loop {
            let room = self.shared.room.notified();
            if self.shared.size.load(Ordering::Acquire) < self.max_bytes {
                break;
            }
            room.await;
        }
        let gone = |_| Failure::fatal(TASK_ENDED, "the thread that writes the inbox ended abnormally; this is a bug");
        self.commands.send(Command::Append(arriving)).await.map_err(gone)
    }
}

/// What the checkpoint says, as far as the journal bears it out. A checkpoint that knows of entries which a crash took with
/// the tail must not speak of those that get their numbers.
fn recall(file: &Path, journal: &Journal) -> Result<(Resolved, CopiedEntries)> {
    let checkpoint = read_checkpoint(file)?;
    let newest = journal.next_index() - 1;
    let prefix = checkpoint.prefix.max(journal.first_index().saturating_sub(1)).min(newest);
    let done = Resolved::new(prefix, &checkpoint.done, newest);
    let moved = CopiedEntries::from_runs(&checkpoint.moved);
    let mended = done.checkpoint(&moved);
    if mended != checkpoint {
        let bytes = serde_json::to_vec(&mended)
            .map_err(|e| Error::unavailable(codes::CHECKPOINT_CORRUPT, "the checkpoint can't be encoded").because(e))?;
        write_atomically(file, &bytes)?;
    }
    Ok((done, moved))
}

/// Adds to the window what the journal has got since it was saved.
fn complete(mut window: IdentityWindow, journal: &Journal, dir: &Path) -> Result<IdentityWindow> {
    let mut reader = journal.reader(window.through + 1);
    loop {
        let read = reader.read_each(CHUNK_EVENTS, CHUNK_BYTES, |_, entry| {
            if let (Some(Header { identity: Some(id), .. }), _) = Header::split(entry) {
                window.insert(id);
            }
        });
        if read.map_err(|e| unusable(dir, e))? == 0 {
            return Ok(window);
        }
    }
}

/// The indexes that runs name.
fn indexes(runs: &[(u64, u64, u64)]) -> Resolved {
    let mut ranges: Vec<(u64, u64)> = runs.iter().map(|&(_, index, count)| (index, index + count - 1)).collect();
    ranges.sort_unstable();
    Resolved::new(0, &ranges, u64::MAX - 1)
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<thread::JoinHandle<()>> {
    thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK)
        .spawn(run)
        .map_err(|e| Error::unavailable(codes::INBOX_UNUSABLE, format!("the thread {name} can't be started")).because(e))
}

fn unusable(path: &Path, error: JournalError) -> Error {
    Error::unavailable(codes::INBOX_UNUSABLE, format!("the inbox in {} can't be used", path.display()))
        .because(error)
        .hint("If the disk is full, free space. If a file is damaged, restore it from a copy, or move the inbox away: the events in it are then lost to this sink.")
}
