//! The writer thread: appends, syncs, acknowledges, keeps the checkpoint, and frees what is resolved.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, mpsc as blocking};
use std::thread;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use openconnect_fault::{Defect, Failpoint, planted, reach};
use openconnect_journal::{Journal, JournalError};
use openconnect_protocol::wire;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::entry::{Header, Identity, Stored, identity};
use super::resolved::Checkpoint;
use super::window::IdentityWindow;
use super::{CHUNK_BYTES, CHUNK_EVENTS, Shared, now_ms};
use crate::budget::Reservation;
use crate::codes;
use crate::error::BoxError;
use crate::failure::Failure;
use crate::mesh::{Ack, Delivery};
use crate::state::write_atomically;

/// How often a full or failing disk is tried again.
const DISK_RETRY: Duration = Duration::from_secs(1);
/// The shortest time between two copies: each copies a segment at the most.
const COPY_INTERVAL: Duration = Duration::from_secs(1);

/// Who learns that an event is durable.
pub(super) enum Confirm {
    Mesh(Ack),
    /// The replay of dead letters, or a source's spool.
    Call(Box<dyn FnOnce() + Send>),
    /// One after it does.
    Nobody,
}

/// An event to append.
pub(super) struct Arriving {
    pub(super) raw: Bytes,
    pub(super) unreadable: Option<String>,
    /// The replay that it comes from; empty for the mesh.
    pub(super) scope: String,
    pub(super) confirm: Confirm,
    pub(super) _reservation: Option<Reservation>,
}

impl Arriving {
    pub(super) fn unconfirmed(raw: Bytes) -> Self {
        Self {
            raw,
            unreadable: None,
            scope: String::new(),
            confirm: Confirm::Nobody,
            _reservation: None,
        }
    }
}

impl From<Delivery> for Arriving {
    fn from(delivery: Delivery) -> Self {
        Self {
            unreadable: delivery.unreadable,
            confirm: Confirm::Mesh(delivery.ack),
            _reservation: delivery.reservation,
            ..Self::unconfirmed(delivery.raw)
        }
    }
}

pub(super) enum Command {
    Append(Vec<Arriving>),
    Checkpoint {
        checkpoint: Checkpoint,
        /// May entries be copied to the end, so that the front becomes free?
        may_copy: bool,
        /// Dropped without an answer when the checkpoint was not written.
        written: Option<oneshot::Sender<()>>,
    },
}

/// An entry that was copied.
#[derive(Debug, Clone, Copy)]
pub(super) struct Copied {
    pub(super) sequence: u64,
    pub(super) from: u64,
    pub(super) to: u64,
}

pub(super) struct Writer {
    pub(super) journal: Journal,
    pub(super) file: PathBuf,
    pub(super) shared: Arc<Shared>,
    pub(super) wake: blocking::SyncSender<()>,
    pub(super) handle: Handle,
    pub(super) max_bytes: u64,
    /// Do entries have headers?
    pub(super) is_timed: bool,
    /// There for a staging sink: repeats are dropped.
    pub(super) window: Option<IdentityWindow>,
    /// Everything up to this index is resolved or was copied.
    pub(super) copied_through: u64,
    pub(super) last_copy: Option<Instant>,
}

impl Writer {
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        let mut held: Vec<Arriving> = Vec::new();
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
            let mut latest = None;
            let mut waiting = Vec::new();
            let mut take = |command| match command {
                Command::Append(arriving) => held.extend(arriving),
                Command::Checkpoint {
                    checkpoint,
                    may_copy,
                    written,
                } => {
                    latest = Some((checkpoint, may_copy));
                    waiting.extend(written);
                }
            };
            take(command);
            while let Ok(command) = queue.try_recv() {
                take(command);
            }
            if let Some((checkpoint, may_copy)) = latest {
                if self.keep(&checkpoint) {
                    for written in waiting {
                        // Nobody may wait any more.
                        let _ = written.send(());
                    }
                }
                if may_copy {
                    self.copy_forward(&checkpoint);
                }
                self.shared.size.store(self.journal.size_bytes(), Ordering::Release);
                self.shared.room.notify_waiters();
            }
            self.append(&mut held);
        }
    }

    /// Appends and acknowledges all that is held; on failure everything stays held, unacknowledged.
    fn append(&mut self, held: &mut Vec<Arriving>) {
        if held.is_empty() {
            return;
        }
        let (entries, identities) = self.encode(held);
        if planted(Defect::InboxAckBeforeWrite) {
            held.drain(..).for_each(confirm);
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
                self.works();
                self.remember(identities);
                held.drain(..).for_each(confirm);
                let _ = self.wake.try_send(());
            }
            Err(e) => self.failed("the inbox can't be written", e),
        }
        self.shared.size.store(self.journal.size_bytes(), Ordering::Release);
    }

    /// The bytes of what is to be appended. A staging sink's inbox leaves out what it has already taken.
    fn encode(&self, held: &[Arriving]) -> (Vec<Bytes>, Vec<Identity>) {
        let (mut entries, mut identities) = (Vec::with_capacity(held.len()), Vec::new());
        let mut together = HashSet::new();
        for arriving in held {
            let mut entry = BytesMut::new();
            let mut known_by = None;
            if let Some(window) = &self.window {
                known_by = match &arriving.unreadable {
                    None => wire::decode(&arriving.raw).ok().map(|event| identity(&event, &arriving.scope)),
                    Some(_) => None,
                };
                if let Some(identity) = known_by {
                    let repeated = window.contains(&identity) || !together.insert(identity);
                    if repeated && !planted(Defect::TakeRepeats) {
                        continue;
                    }
                    identities.push(identity);
                }
            }
            if self.is_timed {
                let header = Header {
                    arrived_ms: now_ms(),
                    copy_of: None,
                    identity: known_by,
                };
                header.encode(&mut entry);
            }
            Stored::encode(&arriving.raw, arriving.unreadable.as_deref(), &mut entry);
            entries.push(entry.freeze());
        }
        (entries, identities)
    }

    fn remember(&mut self, identities: Vec<Identity>) {
        let through = self.journal.next_index() - 1;
        let Some(window) = &mut self.window else { return };
        identities.into_iter().for_each(|identity| window.insert(identity));
        if window.is_due()
            && let Err(e) = window.save(through)
        {
            // The journal still has them.
            self.failed("the inbox's window of identities can't be written", e);
        }
    }

    /// Writes the checkpoint and removes what it covers; true when it is durable.
    fn keep(&mut self, checkpoint: &Checkpoint) -> bool {
        reach(Failpoint::BeforeCheckpoint);
        let written = serde_json::to_vec(checkpoint)
            .map_err(BoxError::from)
            .and_then(|bytes| Ok(write_atomically(&self.file, &bytes)?));
        reach(Failpoint::Checkpoint);
        let durable = written.is_ok();
        if let Err(e) = written.and_then(|()| self.free(checkpoint.prefix)) {
            self.failed("the inbox's checkpoint can't be written", e);
        }
        durable
    }

    /// Removes the segments that hold only entries up to `prefix`; the window of identities must know them before.
    fn free(&mut self, prefix: u64) -> Result<(), BoxError> {
        let through = self.journal.next_index() - 1;
        let frees = self.journal.segments().get(1).is_some_and(|second| second.base <= prefix + 1);
        if frees && let Some(window) = &mut self.window {
            window.save(through)?;
        }
        self.journal.truncate_before(prefix + 1)?;
        Ok(())
    }

    /// Copies what is not resolved in the oldest segment to the end of the journal, when that frees more than it costs. The
    /// engine learns of it by [`Shared::copied`], and its next checkpoint lets the segment go.
    fn copy_forward(&mut self, checkpoint: &Checkpoint) {
        let segments = self.journal.segments();
        let (Some(oldest), Some(second)) = (segments.first(), segments.get(1)) else {
            return;
        };
        let (size, newest, last) = (self.journal.size_bytes(), self.journal.next_index() - 1, second.base - 1);
        let kept = newest.saturating_sub(oldest.base - 1).max(1);
        let share = |part: u64, of: u64| part as f64 / of.max(1) as f64;
        let held = share(checkpoint.unresolved(newest), kept);
        let held_here = share(
            (checkpoint.prefix.max(oldest.base - 1) + 1..=last)
                .filter(|index| !checkpoint.contains(*index))
                .count() as u64,
            last - oldest.base + 1,
        );
        let pays = held < 0.5 || (share(size, self.max_bytes) >= super::PRESSURE && held_here < 0.75);
        let rested = self.last_copy.is_none_or(|at| at.elapsed() >= COPY_INTERVAL);
        let handed_over = last < self.shared.read.load(Ordering::Acquire);
        if !pays || !rested || !handed_over || checkpoint.prefix < self.copied_through || segments.len() < 3 {
            return;
        }
        self.last_copy = Some(Instant::now());
        match self.copy_segment(checkpoint, last) {
            Ok(copied) => {
                self.copied_through = last;
                self.shared.next.store(self.journal.next_index(), Ordering::Release);
                self.shared.copied.lock().unwrap_or_else(PoisonError::into_inner).extend(copied);
                let _ = self.wake.try_send(());
            }
            Err(e) => self.failed("the inbox can't be written", e),
        }
    }

    fn copy_segment(&mut self, checkpoint: &Checkpoint, last: u64) -> Result<Vec<Copied>, JournalError> {
        let mut copied = Vec::new();
        if let Err(e) = self.append_copies(checkpoint, last, &mut copied) {
            // What was appended before the failure is of no use; what a failed sync took back is not there.
            if self.journal.sync().is_ok() {
                let mut orphans = self.shared.orphans.lock().unwrap_or_else(PoisonError::into_inner);
                orphans.extend(copied.iter().map(|copied| copied.to));
            }
            return Err(e);
        }
        self.journal.sync()?;
        reach(Failpoint::InboxCopied);
        Ok(copied)
    }

    fn append_copies(&mut self, checkpoint: &Checkpoint, last: u64, copied: &mut Vec<Copied>) -> Result<(), JournalError> {
        let mut reader = self.journal.reader(checkpoint.prefix + 1);
        while reader.position() <= last {
            let (mut entries, mut from) = (Vec::new(), Vec::new());
            let read = reader.read_each(CHUNK_EVENTS, CHUNK_BYTES, |index, entry| {
                if index <= last && !checkpoint.contains(index) {
                    let (header, rest) = Header::split(entry);
                    let header = header.unwrap_or(Header {
                        arrived_ms: now_ms(),
                        copy_of: None,
                        identity: None,
                    });
                    let sequence = header.copy_of.unwrap_or(index);
                    let mut copy = BytesMut::with_capacity(entry.len() + 40);
                    let copy_of = Some(sequence);
                    Header { copy_of, ..header }.encode(&mut copy);
                    copy.extend_from_slice(rest);
                    entries.push(copy);
                    from.push((sequence, index));
                }
            })?;
            if read == 0 {
                break;
            }
            let to = self.journal.append(&entries)?;
            copied.extend(to.zip(from).map(|(to, (sequence, from))| Copied { sequence, from, to }));
        }
        Ok(())
    }

    fn works(&self) {
        *self.shared.problem.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn failed(&self, what: &str, cause: impl Into<BoxError>) {
        let failure = Failure::retryable(codes::INBOX_UNWRITABLE, what).because(cause);
        let mut known = self.shared.problem.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().map(Failure::reason) != Some(failure.reason()) {
            tracing::error!(code = %failure.code, "{}", failure.reason());
        }
        *known = Some(failure);
    }
}

fn confirm(arriving: Arriving) {
    match arriving.confirm {
        Confirm::Mesh(ack) => ack.ack(),
        Confirm::Call(done) => done(),
        Confirm::Nobody => {}
    }
}
