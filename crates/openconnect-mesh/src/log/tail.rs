//! The newest committed entries of a topic, in memory and bounded, so that subscribers that keep up cost no disk reads.

use std::collections::VecDeque;

use bytes::Bytes;

#[derive(Debug)]
pub(crate) struct Tail {
    entries: VecDeque<Bytes>,
    bytes: usize,
    /// Index that the next committed entry gets.
    next: u64,
}

/// Where an entry is.
pub(crate) enum Place {
    /// Copied to the output.
    Here,
    /// Not committed yet.
    Ahead,
    /// Only on the disk.
    Disk,
}

impl Tail {
    pub(crate) fn new(next: u64) -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            next,
        }
    }

    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    pub(crate) fn push(&mut self, entries: impl IntoIterator<Item = Bytes>, limit: usize) {
        for entry in entries {
            self.bytes += entry.len();
            self.next += 1;
            self.entries.push_back(entry);
        }
        while self.bytes > limit {
            let Some(old) = self.entries.pop_front() else {
                break;
            };
            self.bytes -= old.len();
        }
        if self.entries.is_empty() {
            self.entries.shrink_to(64);
        }
    }

    /// Copies up to `max` entries from `index` on.
    pub(crate) fn read(&self, index: u64, max: usize, out: &mut Vec<(u64, Bytes)>) -> Place {
        if index >= self.next {
            return Place::Ahead;
        }
        let base = self.next - self.entries.len() as u64;
        let Some(skip) = index.checked_sub(base).and_then(|n| usize::try_from(n).ok()) else {
            return Place::Disk;
        };
        let found = self.entries.range(skip..).take(max).cloned();
        out.extend((index..).zip(found));
        Place::Here
    }

    /// Forgets what no group needs any more.
    pub(crate) fn drop_before(&mut self, index: u64) {
        while self.next - (self.entries.len() as u64) < index {
            let Some(old) = self.entries.pop_front() else {
                break;
            };
            self.bytes -= old.len();
        }
        if self.entries.is_empty() {
            self.entries = VecDeque::new();
        }
    }
}
