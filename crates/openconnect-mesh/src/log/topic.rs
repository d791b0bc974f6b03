//! A topic: its journal with group commit and retention, its tail in memory, and its consumer groups.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use openconnect_fault::{Defect, Failpoint, planted, reach};
use openconnect_journal::{Journal, JournalOptions};

use super::cursors::{self, Cursors};
use super::entries::Entries;
use crate::MeshError;
use crate::clock::{millis, now_ms};
use crate::config::{Config, Start, WhenFull};
use crate::group::Group;
use crate::lock::locked;
use crate::refusal::Refusal;

/// Is called once, on a thread that must not be kept.
pub(crate) type Done = Box<dyn FnOnce(Result<(), Refusal>) + Send>;

/// Entries of one publisher, to be committed together and in order.
pub(crate) struct Publish {
    pub(crate) entries: Vec<Bytes>,
    pub(crate) bytes: usize,
    /// Set once a publish of the same connection was refused for a passing reason: later ones must not overtake it.
    pub(crate) latch: Option<Arc<AtomicBool>>,
    pub(crate) done: Done,
}

pub(crate) const LATCHED: &str = "an earlier publish of this connection was refused";
/// Bytes that may wait for one topic's commit.
const MAX_QUEUED: usize = 64 << 20;
/// One commit takes up to this many bytes.
const MAX_COMMIT: usize = 8 << 20;

#[derive(Default)]
struct Queue {
    waiting: Vec<Publish>,
    bytes: usize,
    /// A commit is running, and will look again before it ends.
    running: bool,
}

pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    dir: PathBuf,
    config: Arc<Config>,
    entries: Arc<Entries>,
    queue: Mutex<Queue>,
    groups: RwLock<BTreeMap<String, Arc<Group>>>,
    /// Groups of one subscriber each, that live as long as it does.
    broadcasts: Mutex<Vec<Arc<Group>>>,
    saved: Mutex<Cursors>,
    /// The last save failed.
    unsaved: AtomicBool,
}

impl Topic {
    /// Opens or creates the topic. Blocks.
    pub(crate) fn open(name: &str, dir: &Path, config: &Arc<Config>) -> Result<Arc<Self>, MeshError> {
        let segment_bytes = config.segment_bytes.min(config.retention.max_bytes / 8).max(4096);
        let (log, recovery) = Journal::open(
            dir,
            JournalOptions {
                segment_bytes,
                fsync: config.fsync,
            },
        )?;
        if recovery.truncated_bytes > 0 {
            tracing::warn!(topic = name, bytes = recovery.truncated_bytes, "cut off an unfinished write");
        }
        let cursors = cursors::load(dir).map_err(|source| MeshError::Io {
            path: dir.to_owned(),
            source,
        })?;
        let share = config.limits.memory / 16;
        let next = log.next_index();
        let name: Arc<str> = name.into();
        let mut groups = BTreeMap::new();
        for (group, cursor) in &cursors {
            let cursor = (*cursor).clamp(log.first_index(), next);
            groups.insert(group.clone(), Group::new(group, &name, cursor, true, config));
        }
        Ok(Arc::new(Self {
            name,
            dir: dir.to_owned(),
            config: Arc::clone(config),
            entries: Entries::new(log, usize::try_from(share).unwrap_or(usize::MAX).max(1 << 20)),
            queue: Mutex::default(),
            groups: RwLock::new(groups),
            broadcasts: Mutex::default(),
            saved: Mutex::new(cursors),
            unsaved: AtomicBool::new(false),
        }))
    }

    /// Queues the entries; `done` is told when they are safe, or why not.
    pub(crate) fn publish(self: &Arc<Self>, publish: Publish) {
        let mut queue = locked(&self.queue);
        if queue.bytes > MAX_QUEUED {
            drop(queue);
            return refuse(publish, &Refusal::passing("Tps overload, global flow control"));
        }
        queue.bytes += publish.bytes;
        queue.waiting.push(publish);
        if !std::mem::replace(&mut queue.running, true) {
            drop(queue);
            let topic = Arc::clone(self);
            tokio::task::spawn_blocking(move || topic.commit_all());
        }
    }

    /// Commits until nothing is queued.
    fn commit_all(&self) {
        let mut entries = Vec::new();
        loop {
            let mut batch = Vec::new();
            {
                let mut queue = locked(&self.queue);
                let mut bytes = 0;
                let mut take = 0;
                for publish in &queue.waiting {
                    take += 1;
                    bytes += publish.bytes;
                    if bytes >= MAX_COMMIT {
                        break;
                    }
                }
                queue.bytes -= bytes;
                batch.extend(queue.waiting.drain(..take));
                if batch.is_empty() {
                    queue.running = false;
                    queue.waiting = Vec::new();
                    return;
                }
            }
            self.commit(batch, &mut entries);
            entries.clear();
        }
    }

    fn commit(&self, batch: Vec<Publish>, entries: &mut Vec<Bytes>) {
        let mut accepted = Vec::with_capacity(batch.len());
        for mut publish in batch {
            if planted(Defect::MeshAckBeforeAppend) {
                std::mem::replace(&mut publish.done, Box::new(|_| ()))(Ok(()));
                std::thread::park_timeout(Duration::from_millis(5));
            }
            if publish.latch.as_ref().is_some_and(|l| l.load(Ordering::Acquire)) {
                (publish.done)(Err(Refusal::passing(LATCHED)));
            } else {
                entries.extend(publish.entries.iter().cloned());
                accepted.push(publish);
            }
        }
        if let Err(refusal) = self.append(entries) {
            for publish in accepted {
                refuse(publish, &refusal);
            }
            return;
        }
        reach(Failpoint::MeshAppended);
        self.entries.commit(entries.drain(..));
        self.wake();
        for publish in accepted {
            (publish.done)(Ok(()));
        }
    }

    fn append(&self, entries: &[Bytes]) -> Result<(), Refusal> {
        if entries.is_empty() {
            return Ok(());
        }
        let bytes: usize = entries.iter().map(|e| e.len() + 16).sum();
        let mut log = self.entries.journal();
        if log.size_bytes().saturating_add(bytes as u64) > self.config.retention.max_bytes {
            self.make_room(&mut log, bytes as u64)?;
        }
        reach(Failpoint::MeshBeforeAppend);
        log.append(entries).and_then(|_| log.sync()).map_err(|error| {
            tracing::error!(topic = &*self.name, %error, "could not write");
            if error.is_full() {
                Refusal::passing("mesh full: no room on the disk")
            } else {
                Refusal::passing(error.to_string())
            }
        })
    }

    /// Removes what is consumed, and what may be dropped, until `bytes` more fit.
    fn make_room(&self, log: &mut Journal, bytes: u64) -> Result<(), Refusal> {
        let limit = self.config.retention.max_bytes;
        let consumed = self.consumed(log.next_index());
        let failed = |e: openconnect_journal::JournalError| Refusal::passing(e.to_string());
        if consumed >= log.next_index() {
            log.roll().map_err(failed)?;
        }
        let dropping = self.config.retention.when_full == WhenFull::DropOldest;
        while log.size_bytes().saturating_add(bytes) > limit {
            let segments = log.segments();
            let Some(second) = segments.get(1) else { break };
            if second.base > consumed {
                if !dropping {
                    return Err(Refusal::passing(format!(
                        "mesh full: topic `{}` holds {} bytes that its groups have not consumed",
                        self.name,
                        log.size_bytes()
                    )));
                }
                tracing::warn!(topic = &*self.name, before = second.base, "dropped events that were not consumed");
                self.skip_to(second.base);
            }
            log.truncate_before(second.base).map_err(failed)?;
        }
        if log.size_bytes().saturating_add(bytes) > limit && !dropping && consumed < log.next_index() {
            return Err(Refusal::passing(format!("mesh full: topic `{}`", self.name)));
        }
        Ok(())
    }

    /// Everything below is consumed by all known groups; without groups nobody waits for anything.
    fn consumed(&self, next: u64) -> u64 {
        self.read_groups(|groups| groups.values().map(|g| g.cursor()).min()).unwrap_or(next)
    }

    fn skip_to(&self, index: u64) {
        self.read_groups(|groups| groups.values().for_each(|g| g.skip_to(index)));
    }

    fn read_groups<T>(&self, f: impl FnOnce(&BTreeMap<String, Arc<Group>>) -> T) -> T {
        f(&self.groups.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells every group that there is something to look at.
    pub(crate) fn wake(&self) {
        self.read_groups(|groups| groups.values().for_each(|g| g.wake()));
        locked(&self.broadcasts).iter().for_each(|g| g.wake());
    }

    /// The group of that name, new when there is none. Blocks when it is new.
    pub(crate) fn group(&self, name: &str) -> Result<(Arc<Group>, bool), Refusal> {
        if let Some(group) = self.read_groups(|groups| groups.get(name).cloned()) {
            return Ok((group, false));
        }
        let (first, next) = {
            let log = self.entries.journal();
            (log.first_index(), log.next_index())
        };
        let start = if self.config.delivery.new_group == Start::Latest {
            next
        } else {
            first
        };
        {
            let mut groups = self.groups.write().unwrap_or_else(PoisonError::into_inner);
            if let Some(group) = groups.get(name) {
                return Ok((Arc::clone(group), false));
            }
            if groups.len() >= self.config.limits.max_groups {
                return Err(Refusal::for_good(format!(
                    "topic `{}` has the most groups that are allowed",
                    self.name
                )));
            }
            groups.insert(name.to_owned(), Group::new(name, &self.name, start, true, &self.config));
        }
        self.save_cursors();
        let group = self.read_groups(|groups| groups.get(name).cloned());
        group.map(|g| (g, true)).ok_or_else(|| Refusal::passing("the group was forgotten"))
    }

    /// The groups and how many subscribers each has.
    pub(crate) fn members(&self) -> Vec<(String, usize)> {
        self.read_groups(|groups| groups.iter().map(|(name, group)| (name.clone(), group.members())).collect())
    }

    /// A group for one broadcast subscriber, beginning with the next event.
    pub(crate) fn broadcast_group(&self, name: &str) -> Arc<Group> {
        let group = Group::new(name, &self.name, self.entries.committed(), false, &self.config);
        locked(&self.broadcasts).push(Arc::clone(&group));
        group
    }

    pub(crate) fn end_broadcast(&self, group: &Arc<Group>) {
        locked(&self.broadcasts).retain(|g| !Arc::ptr_eq(g, group));
        group.close();
    }

    /// Forgets a group and its cursor; refused while it has members. Blocks.
    pub(crate) fn forget(&self, name: &str) -> Result<bool, String> {
        {
            let mut groups = self.groups.write().unwrap_or_else(PoisonError::into_inner);
            match groups.get(name) {
                None => return Ok(false),
                Some(group) if group.members() > 0 => {
                    return Err(format!("group `{name}` has subscribers"));
                }
                Some(_) => groups.remove(name).map(|g| g.close()),
            };
        }
        self.save_cursors();
        Ok(true)
    }

    /// What the groups read.
    pub(crate) fn entries(&self) -> &Arc<Entries> {
        &self.entries
    }

    /// Saves the groups' cursors when they have moved. Blocks.
    pub(crate) fn save_cursors(&self) {
        let mut saved = locked(&self.saved);
        let unchanged =
            self.read_groups(|groups| groups.len() == saved.len() && groups.iter().all(|(name, g)| saved.get(name) == Some(&g.cursor())));
        if unchanged {
            return;
        }
        let now: Cursors = self.read_groups(|groups| groups.iter().map(|(name, g)| (name.clone(), g.cursor())).collect());
        reach(Failpoint::MeshBeforeCursors);
        let result = cursors::save(&self.dir, &now, self.config.fsync);
        let failed = result.is_err();
        let failed_before = self.unsaved.swap(failed, Ordering::Relaxed);
        match result {
            Ok(()) => *saved = now,
            // It is tried again all the time; once is enough to be told.
            Err(error) if !failed_before => {
                tracing::error!(topic = &*self.name, %error, "could not save the groups' cursors")
            }
            Err(_) => {}
        }
    }

    /// Removes consumed segments that are too old, and cached entries that nobody will read soon. Blocks.
    pub(crate) fn tidy(&self) {
        let next = self.entries.committed();
        let consumed = self.consumed(next);
        let oldest = now_ms().saturating_sub(millis(self.config.retention.max_age));
        {
            let mut log = self.entries.journal();
            let segments = log.segments();
            let mut keep = log.first_index();
            for (segment, after) in segments.iter().zip(segments.iter().skip(1)) {
                if segment.last_write_ms > oldest || after.base > consumed {
                    break;
                }
                keep = after.base;
            }
            if keep > log.first_index()
                && let Err(error) = log.truncate_before(keep)
            {
                tracing::error!(topic = &*self.name, %error, "could not remove old events");
            }
        }
        if consumed >= next && locked(&self.broadcasts).is_empty() {
            self.entries.forget_before(next);
        }
    }
}

fn refuse(publish: Publish, refusal: &Refusal) {
    if refusal.kind.may_pass()
        && let Some(latch) = &publish.latch
    {
        latch.store(true, Ordering::Release);
    }
    (publish.done)(Err(refusal.clone()));
}
