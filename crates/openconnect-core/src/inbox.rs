//! The sink's inbox: events that the mesh has been told are safe, in a local journal until they have their outcome.
//!
//! A writer thread appends what arrives, syncs once for all that is queued, and only then acknowledges to the mesh. A
//! reader thread hands the entries to the engine in order. What is resolved is kept as a prefix and the numbers beyond it,
//! in a small file that is replaced as a whole; after a crash some resolved events are delivered again, none is missing.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc as blocking;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use openconnect_fault::{Defect, Failpoint, planted, reach};
use openconnect_journal::{Journal, JournalError, JournalOptions, Reader};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc};

use crate::error::{Error, Result};
use crate::failure::Failure;
use crate::mesh::{Ack, Delivery};
use crate::state::write_atomically;

const QUEUE: usize = 16;
/// One chunk that the reader thread hands over.
const CHUNK_EVENTS: usize = 256;
const CHUNK_BYTES: usize = 256 << 10;
const SEGMENT_BYTES: u64 = 16 << 20;
/// Of the threads: to read an event takes some for each level of its JSON.
const STACK: usize = 1 << 20;
/// How long closing waits for the writer thread; a disk that hangs longer loses only the checkpoint.
const CLOSE: Duration = Duration::from_secs(5);
/// How often a full or failing disk is tried again.
const DISK_RETRY: Duration = Duration::from_secs(1);

/// One entry: an event as the mesh delivered it, or something that the mesh could not read.
#[derive(Debug)]
pub(crate) struct Stored<'a> {
    pub(crate) raw: &'a [u8],
    pub(crate) unreadable: Option<Cow<'a, str>>,
}

impl<'a> Stored<'a> {
    fn encode(delivery: &Delivery) -> Bytes {
        let reason = delivery.unreadable.as_deref();
        let mut out = BytesMut::with_capacity(delivery.raw.len() + 5 + reason.map_or(0, str::len));
        match reason {
            None => out.put_u8(0),
            Some(reason) => {
                out.put_u8(1);
                out.put_u32(u32::try_from(reason.len()).unwrap_or(u32::MAX));
                out.put_slice(reason.as_bytes());
            }
        }
        out.put_slice(&delivery.raw);
        out.freeze()
    }

    fn decode(entry: &'a [u8]) -> Self {
        if let Some((&[1, a, b, c, d], rest)) = entry.split_first_chunk() {
            let length = u32::from_be_bytes([a, b, c, d]) as usize;
            let (reason, raw) = rest.split_at(length.min(rest.len()));
            return Self {
                raw,
                unreadable: Some(String::from_utf8_lossy(reason)),
            };
        }
        Self {
            raw: entry.split_first().map_or(entry, |(_, raw)| raw),
            unreadable: None,
        }
    }
}

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Checkpoint {
    /// Every entry up to this one is resolved.
    prefix: u64,
    /// Ranges beyond it, both ends included.
    done: Vec<(u64, u64)>,
}

/// Which entries are resolved. Its size follows the number of gaps, not that of entries: one that waits for hours costs no
/// more than one that waits for a moment.
#[derive(Debug, Default, Clone, PartialEq)]
struct Resolved {
    /// Every entry up to this one is.
    prefix: u64,
    /// Ranges beyond it, first to last, with gaps between them.
    ranges: BTreeMap<u64, u64>,
    /// How many entries the ranges hold.
    beyond: u64,
}

impl Resolved {
    /// From a checkpoint; entries beyond `newest` do not exist.
    fn new(prefix: u64, ranges: &[(u64, u64)], newest: u64) -> Self {
        let mut resolved = Self { prefix, ..Self::default() };
        for &(first, last) in ranges {
            let (first, last) = (first.max(resolved.prefix + 1), last.min(newest));
            if first <= last && !resolved.contains(first) && !resolved.contains(last) {
                resolved.insert(first, last);
            }
        }
        resolved
    }

    fn contains(&self, index: u64) -> bool {
        index <= self.prefix || self.ranges.range(..=index).next_back().is_some_and(|(_, last)| *last >= index)
    }

    fn add(&mut self, index: u64) {
        if !self.contains(index) {
            self.insert(index, index);
        }
    }

    /// Adds a range that touches none of the others' entries.
    fn insert(&mut self, mut first: u64, mut last: u64) {
        self.beyond += last - first + 1;
        if let Some((before, _)) = self.ranges.range(..first).next_back().filter(|(_, end)| **end + 1 == first) {
            first = *before;
        }
        if let Some(end) = self.ranges.remove(&(last + 1)) {
            last = end;
        }
        self.ranges.insert(first, last);
        if let Some(last) = self.ranges.remove(&(self.prefix + 1)) {
            self.beyond -= last - self.prefix;
            self.prefix = last;
        }
    }

    fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            prefix: self.prefix,
            done: self.ranges.iter().map(|(first, last)| (*first, *last)).collect(),
        }
    }
}

enum Command {
    Append(Vec<Delivery>),
    Checkpoint(Checkpoint),
}

#[derive(Default)]
struct Shared {
    next: AtomicU64,
    size: AtomicU64,
    room: Notify,
    problem: Mutex<Option<String>>,
}

/// The engine's end of the inbox.
pub(crate) struct Inbox {
    appender: Appender,
    done: Resolved,
    dirty: bool,
    writer: Option<thread::JoinHandle<()>>,
}

/// Entries that are read together, with their indexes.
type Chunk<T> = Result<Vec<(u64, T)>>;

/// Where the entries come out, in order.
pub(crate) struct Entries<T>(mpsc::Receiver<Chunk<T>>);

/// The intake's end. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Appender {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
    max_bytes: u64,
}

impl Inbox {
    /// Opens or makes `inbox/` in the instance's folder; a torn tail (never acknowledged) is cut off. The thread that reads
    /// the entries makes of each what `decode` gives.
    pub(crate) fn open<T: Send + 'static>(
        state: &Path,
        max_bytes: u64,
        decode: impl Fn(&Stored<'_>) -> T + Send + 'static,
    ) -> Result<(Self, Entries<T>)> {
        let dir = state.join("inbox");
        let (journal, recovery) = Journal::open(
            &dir,
            JournalOptions {
                segment_bytes: SEGMENT_BYTES,
                fsync: true,
            },
        )
        .map_err(|e| unusable(&dir, &e))?;
        if recovery.truncated_bytes > 0 {
            tracing::warn!(bytes = recovery.truncated_bytes, "cut an unfinished entry off the end of the inbox");
        }
        let file = dir.join("checkpoint.json");
        let checkpoint = read_checkpoint(&file)?;
        let prefix = checkpoint
            .prefix
            .max(journal.first_index().saturating_sub(1))
            .min(journal.next_index() - 1);
        let done = Resolved::new(prefix, &checkpoint.done, journal.next_index() - 1);
        // A checkpoint that knows of entries which a crash took with the tail must not speak of those that get their numbers.
        if done.checkpoint() != checkpoint {
            write_atomically(&file, &serde_json::to_vec(&done.checkpoint()).unwrap_or_default())?;
        }
        let shared = Arc::new(Shared::default());
        shared.next.store(journal.next_index(), Ordering::Release);
        shared.size.store(journal.size_bytes(), Ordering::Release);
        let (wake, woken) = blocking::sync_channel(1);
        let (chunks, entries) = mpsc::channel(2);
        let (commands, queue) = mpsc::channel(QUEUE);
        let reader = journal.reader(done.prefix + 1);
        let skip = done.clone();
        spawn("inbox-reader", move || read_entries(reader, &skip, decode, &woken, &chunks))?;
        let writer = Writer {
            journal,
            file,
            shared: Arc::clone(&shared),
            wake,
            handle: Handle::current(),
        };
        let writer = spawn("inbox-writer", move || writer.run(queue))?;
        let appender = Appender {
            commands,
            shared,
            max_bytes,
        };
        Ok((
            Self {
                appender,
                done,
                dirty: false,
                writer: Some(writer),
            },
            Entries(entries),
        ))
    }

    pub(crate) fn appender(&self) -> Appender {
        self.appender.clone()
    }

    /// This entry has its outcome.
    pub(crate) fn resolve(&mut self, index: u64) {
        self.dirty = true;
        self.done.add(index);
    }

    /// Entries without an outcome.
    pub(crate) fn backlog(&self) -> u64 {
        (self.appender.shared.next.load(Ordering::Acquire) - 1).saturating_sub(self.done.prefix + self.done.beyond)
    }

    /// Why nothing can be appended at the moment, for people.
    pub(crate) fn problem(&self) -> Option<String> {
        self.appender.shared.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Hands what is resolved to the writer thread, if it changed.
    pub(crate) async fn checkpoint(&mut self) {
        if !std::mem::take(&mut self.dirty) {
            return;
        }
        let mut checkpoint = self.done.checkpoint();
        if planted(Defect::CheckpointAhead) {
            checkpoint.prefix = self.appender.shared.next.load(Ordering::Acquire) - 1;
        }
        let checkpoint = Command::Checkpoint(checkpoint);
        let _ = self.appender.commands.send(checkpoint).await;
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
    /// The next entries. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Chunk<T> {
        let stopped = || Err(Error::undelivered("OC0231", "the inbox's reader has stopped"));
        self.0.recv().await.unwrap_or_else(stopped)
    }
}

impl Appender {
    /// Queues deliveries; each is acknowledged once it is on disk. Waits while the inbox is over its size.
    pub(crate) async fn append(&self, deliveries: Vec<Delivery>) -> std::result::Result<(), Failure> {
        loop {
            let room = self.shared.room.notified();
            if self.shared.size.load(Ordering::Acquire) < self.max_bytes {
                break;
            }
            room.await;
        }
        let gone = |_| Failure::fatal("OC0490", "the thread that writes the inbox ended abnormally; this is a bug");
        self.commands.send(Command::Append(deliveries)).await.map_err(gone)
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<thread::JoinHandle<()>> {
    thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK)
        .spawn(run)
        .map_err(|e| Error::unavailable("OC0230", format!("the thread {name} can't be started: {e}")))
}

fn unusable(path: &Path, error: &JournalError) -> Error {
    Error::unavailable("OC0230", format!("the inbox in {} can't be used: {error}", path.display()))
        .hint("If the disk is full, free space. If a file is damaged, restore it from a copy, or move the inbox away: the events in it are then lost to this sink.")
}

fn read_checkpoint(file: &PathBuf) -> Result<Checkpoint> {
    match std::fs::read(file) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| {
            Error::unavailable("OC0232", format!("{} is corrupt: {e}", file.display()))
                .hint("Remove it: every event in the inbox is then delivered once more.")
        }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Checkpoint::default()),
        Err(e) => Err(Error::unavailable("OC0232", format!("{} can't be read: {e}", file.display()))),
    }
}

fn read_entries<T>(
    mut reader: Reader,
    skip: &Resolved,
    decode: impl Fn(&Stored<'_>) -> T,
    woken: &blocking::Receiver<()>,
    chunks: &mpsc::Sender<Chunk<T>>,
) {
    loop {
        let mut chunk = Vec::new();
        let read = reader.read_each(CHUNK_EVENTS, CHUNK_BYTES, |index, entry| {
            if !skip.contains(index) {
                chunk.push((index, decode(&Stored::decode(entry))));
            }
        });
        match read {
            Ok(0) => {
                if woken.recv().is_err() {
                    return;
                }
            }
            Ok(_) => {
                if !chunk.is_empty() && chunks.blocking_send(Ok(chunk)).is_err() {
                    return;
                }
            }
            Err(e) => {
                let _ = chunks.blocking_send(Err(Error::undelivered("OC0231", format!("the inbox can't be read: {e}"))));
                return;
            }
        }
    }
}

struct Writer {
    journal: Journal,
    file: PathBuf,
    shared: Arc<Shared>,
    wake: blocking::SyncSender<()>,
    handle: Handle,
}

impl Writer {
    fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        let mut held: Vec<Delivery> = Vec::new();
        loop {
            let command = if held.is_empty() {
                queue.blocking_recv()
            } else {
                let wait = async { tokio::time::timeout(DISK_RETRY, queue.recv()).await };
                match self.handle.block_on(wait) {
                    Ok(command) => command,
                    Err(_) => {
                        self.append(&mut held);
                        continue;
                    }
                }
            };
            let Some(command) = command else { return };
            let mut checkpoint = None;
            let mut take = |command| match command {
                Command::Append(deliveries) => held.extend(deliveries),
                Command::Checkpoint(latest) => checkpoint = Some(latest),
            };
            take(command);
            while let Ok(command) = queue.try_recv() {
                take(command);
            }
            if let Some(checkpoint) = checkpoint {
                self.keep(&checkpoint);
            }
            self.append(&mut held);
        }
    }

    /// Appends and acknowledges all that is held; on failure everything stays held, unacknowledged.
    fn append(&mut self, held: &mut Vec<Delivery>) {
        if held.is_empty() {
            return;
        }
        let entries: Vec<Bytes> = held.iter().map(Stored::encode).collect();
        if planted(Defect::InboxAckBeforeWrite) {
            held.drain(..).map(|delivery| delivery.ack).for_each(Ack::ack);
            thread::park_timeout(Duration::from_millis(50));
        }
        let written = self.journal.append(&entries).and_then(|_| {
            reach(Failpoint::InboxAppended);
            self.journal.sync()
        });
        match written {
            Ok(()) => {
                reach(Failpoint::InboxSynced);
                self.shared.next.store(self.journal.next_index(), Ordering::Release);
                self.problem(None);
                held.drain(..).map(|delivery| delivery.ack).for_each(Ack::ack);
                let _ = self.wake.try_send(());
            }
            Err(e) => self.problem(Some(format!("the inbox can't be written: {e}"))),
        }
        self.shared.size.store(self.journal.size_bytes(), Ordering::Release);
    }

    fn keep(&mut self, checkpoint: &Checkpoint) {
        reach(Failpoint::BeforeCheckpoint);
        let bytes = serde_json::to_vec(checkpoint).unwrap_or_default();
        let kept = write_atomically(&self.file, &bytes).map_err(|e| e.to_string());
        reach(Failpoint::Checkpoint);
        let freed = kept.and_then(|()| self.journal.truncate_before(checkpoint.prefix + 1).map_err(|e| e.to_string()));
        if let Err(e) = freed {
            self.problem(Some(format!("the inbox's checkpoint can't be written: {e}")));
        }
        self.shared.size.store(self.journal.size_bytes(), Ordering::Release);
        self.shared.room.notify_waiters();
    }

    fn problem(&self, problem: Option<String>) {
        let mut known = self.shared.problem.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(text) = problem.as_ref().filter(|text| known.as_ref() != Some(*text)) {
            tracing::error!(code = "OC0233", "{text}");
        }
        *known = problem;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn resolved_entries_are_those_that_were_told(order in proptest::collection::vec(1_u64..200, 0..300)) {
            let (mut resolved, mut model) = (Resolved::default(), BTreeSet::new());
            for index in order {
                resolved.add(index);
                model.insert(index);
                let prefix = (1..).take_while(|i| model.contains(i)).last().unwrap_or(0);
                prop_assert_eq!(resolved.prefix, prefix);
                prop_assert_eq!(resolved.beyond, model.len() as u64 - prefix);
                prop_assert!((1..220).all(|i| resolved.contains(i) == model.contains(&i)));
                let Checkpoint { prefix, done } = resolved.checkpoint();
                prop_assert_eq!(&Resolved::new(prefix, &done, 1000), &resolved);
            }
        }
    }

    #[test]
    fn a_checkpoint_does_not_speak_of_entries_that_are_gone() {
        let resolved = Resolved::new(10, &[(5, 12), (20, 30)], 24);
        assert!(resolved.contains(12) && resolved.contains(24) && !resolved.contains(13) && !resolved.contains(25));
    }
}
