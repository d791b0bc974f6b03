//! The entries of one generation, by sequence: a few bytes of memory, the rest in a file.
//!
//! The file need not survive: after a crash the inbox says again what belongs to an open group, and a seal record what belongs to
//! one that has ended.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Bytes that stay in memory: about a thousand entries.
const IN_MEMORY: usize = 2 << 10;

/// Ascending sequences.
#[derive(Debug)]
pub(crate) struct EntryList {
    path: PathBuf,
    file: Option<File>,
    /// What is not in the file: the distance of each from the one before, 7 bits a byte.
    tail: Vec<u8>,
    last: u64,
    count: u64,
}

impl EntryList {
    /// An empty list that may use a file of this name.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            file: None,
            tail: Vec::new(),
            last: 0,
            count: 0,
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.count
    }

    /// Adds a sequence greater than all before.
    pub(crate) fn push(&mut self, sequence: u64) {
        let mut distance = sequence.saturating_sub(self.last);
        while distance >= 0x80 {
            self.tail.push((distance & 0x7f) as u8 | 0x80);
            distance >>= 7;
        }
        self.tail.push(distance as u8);
        (self.last, self.count) = (sequence, self.count + 1);
        if self.tail.len() >= IN_MEMORY && self.spill().is_ok() {
            self.tail.clear();
        }
    }

    /// When the disk has no room the list stays in memory, and is tried again with the next entry.
    fn spill(&mut self) -> io::Result<()> {
        let length = match &self.file {
            Some(file) => file.metadata()?.len(),
            None => 0,
        };
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(open(&self.path)?),
        };
        file.write_all(&self.tail).inspect_err(|_| {
            // Half of it would be read as entries.
            let _ = file.set_len(length);
        })
    }

    /// All of them, as ascending ranges.
    ///
    /// # Errors
    /// The file can't be read.
    pub(crate) fn ranges(&self) -> io::Result<Vec<(u64, u64)>> {
        let mut bytes = match &self.file {
            Some(_) => std::fs::read(&self.path)?,
            None => Vec::new(),
        };
        bytes.extend_from_slice(&self.tail);
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        let (mut last, mut distance, mut shift) = (0_u64, 0_u64, 0_u32);
        for byte in bytes {
            distance |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 != 0 {
                shift += 7;
                continue;
            }
            last += distance;
            (distance, shift) = (0, 0);
            match ranges.last_mut() {
                Some((_, end)) if *end + 1 == last => *end = last,
                _ => ranges.push((last, last)),
            }
        }
        Ok(ranges)
    }
}

impl Drop for EntryList {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(true).write(true).open(path)
}

/// How many entries ascending ranges hold.
pub(crate) fn count(ranges: &[(u64, u64)]) -> u64 {
    ranges.iter().map(|(first, last)| last - first + 1).sum()
}

/// Ascending ranges of entries: the first and the last of each.
type Ranges = Vec<(u64, u64)>;

/// The first `count` entries, and the rest.
pub(crate) fn split(ranges: &[(u64, u64)], count: u64) -> (Ranges, Ranges) {
    let (mut before, mut after, mut left) = (Vec::new(), Vec::new(), count);
    for &(first, last) in ranges {
        let taken = left.min(last - first + 1);
        left -= taken;
        if taken > 0 {
            before.push((first, first + taken - 1));
        }
        if first + taken <= last {
            after.push((first + taken, last));
        }
    }
    (before, after)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_list_gives_back_what_it_was_given(steps in proptest::collection::vec(prop_oneof![Just(1_u64), 1_u64..1_000_000], 0..4_000)) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("7.entries");
            let mut list = EntryList::new(path.clone());
            let mut model = Vec::new();
            for step in steps {
                model.push(model.last().unwrap_or(&0) + step);
                list.push(*model.last().unwrap());
                prop_assert!(list.tail.len() < IN_MEMORY + 10);
            }
            let ranges = list.ranges().unwrap();
            let flat: Vec<u64> = ranges.iter().flat_map(|&(first, last)| first..=last).collect();
            prop_assert_eq!(&flat, &model);
            prop_assert_eq!((list.len(), count(&ranges)), (model.len() as u64, model.len() as u64));
            let (before, after) = split(&ranges, model.len() as u64 / 3);
            prop_assert_eq!(count(&before), model.len() as u64 / 3);
            let flat: Vec<u64> = before.iter().chain(&after).flat_map(|&(first, last)| first..=last).collect();
            prop_assert_eq!(&flat, &model);
            drop(list);
            prop_assert!(!path.exists());
        }
    }
}
