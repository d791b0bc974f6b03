//! Which entries have their outcome, and where those are that were copied: in memory, and in the checkpoint's file.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::codes;
use crate::error::{Error, Result};

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    /// Every entry up to this one is resolved.
    pub(super) prefix: u64,
    /// Ranges beyond it, both ends included.
    pub(super) done: Vec<(u64, u64)>,
    /// Entries that were copied: sequence and index of the first, and how many follow both.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) moved: Vec<(u64, u64, u64)>,
}

impl Checkpoint {
    /// Is the entry of this index resolved?
    pub(super) fn contains(&self, index: u64) -> bool {
        let after = self.done.partition_point(|(first, _)| *first <= index);
        let before = after.checked_sub(1).and_then(|at| self.done.get(at));
        index <= self.prefix || before.is_some_and(|(_, last)| *last >= index)
    }

    /// How many entries up to `newest` are not resolved.
    pub(super) fn unresolved(&self, newest: u64) -> u64 {
        let beyond: u64 = self.done.iter().map(|(first, last)| last - first + 1).sum();
        newest.saturating_sub(self.prefix).saturating_sub(beyond)
    }
}

/// Where the entries are whose index is no longer their sequence, because they were copied to the journal's end.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct CopiedEntries(BTreeMap<u64, u64>);

impl CopiedEntries {
    pub(super) fn from_runs(runs: &[(u64, u64, u64)]) -> Self {
        let entries = runs
            .iter()
            .flat_map(|&(sequence, index, count)| (0..count).map(move |n| (sequence + n, index + n)));
        Self(entries.collect())
    }

    /// As few runs as say it, in the order of the sequence.
    pub(super) fn runs(&self) -> Vec<(u64, u64, u64)> {
        let mut runs: Vec<(u64, u64, u64)> = Vec::new();
        for (&sequence, &index) in &self.0 {
            match runs.last_mut() {
                Some((first, at, count)) if *first + *count == sequence && *at + *count == index => *count += 1,
                _ => runs.push((sequence, index, 1)),
            }
        }
        runs
    }

    /// The index of an entry.
    pub(super) fn index(&self, sequence: u64) -> u64 {
        self.0.get(&sequence).copied().unwrap_or(sequence)
    }

    pub(super) fn set(&mut self, sequence: u64, index: u64) {
        self.0.insert(sequence, index);
    }

    pub(super) fn remove(&mut self, sequence: u64) {
        self.0.remove(&sequence);
    }
}

/// Which entries are resolved. Its size follows the number of gaps, not that of entries: one that waits for hours costs no
/// more than one that waits for a moment.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Resolved {
    /// Every entry up to this one is.
    pub(super) prefix: u64,
    /// Ranges beyond it, first to last, with gaps between them.
    ranges: BTreeMap<u64, u64>,
    /// How many entries the ranges hold.
    pub(super) beyond: u64,
}

impl Resolved {
    /// From a checkpoint; entries beyond `newest` do not exist.
    pub(super) fn new(prefix: u64, ranges: &[(u64, u64)], newest: u64) -> Self {
        let mut resolved = Self { prefix, ..Self::default() };
        for &(first, last) in ranges {
            let (first, last) = (first.max(resolved.prefix + 1), last.min(newest));
            if first <= last && !resolved.contains(first) && !resolved.contains(last) {
                resolved.insert(first, last);
            }
        }
        resolved
    }

    pub(super) fn contains(&self, index: u64) -> bool {
        index <= self.prefix || self.ranges.range(..=index).next_back().is_some_and(|(_, last)| *last >= index)
    }

    pub(super) fn add(&mut self, index: u64) {
        if !self.contains(index) {
            self.insert(index, index);
        }
    }

    /// Adds a range that touches none of the others' entries.
    pub(super) fn insert(&mut self, mut first: u64, mut last: u64) {
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

    pub(super) fn checkpoint(&self, moved: &CopiedEntries) -> Checkpoint {
        Checkpoint {
            prefix: self.prefix,
            done: self.ranges.iter().map(|(first, last)| (*first, *last)).collect(),
            moved: moved.runs(),
        }
    }
}

pub(super) fn read_checkpoint(file: &Path) -> Result<Checkpoint> {
    match std::fs::read(file) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| {
            Error::unavailable(codes::CHECKPOINT_CORRUPT, format!("{} is corrupt", file.display()))
                .because(e)
                .hint("Remove it: every event in the inbox is then delivered once more.")
        }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Checkpoint::default()),
        Err(e) => Err(Error::unavailable(codes::CHECKPOINT_CORRUPT, format!("{} can't be read", file.display())).because(e)),
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
                let checkpoint = resolved.checkpoint(&CopiedEntries::default());
                prop_assert!((1..220).all(|i| checkpoint.contains(i) == model.contains(&i)));
                prop_assert_eq!(checkpoint.unresolved(220), 220 - model.len() as u64);
                let Checkpoint { prefix, done, .. } = checkpoint;
                prop_assert_eq!(&Resolved::new(prefix, &done, 1000), &resolved);
            }
        }
    }

    #[test]
    fn moved_entries_are_kept_as_runs() {
        let runs = [(3, 100, 4), (8, 104, 1), (9, 200, 2)];
        let mut moved = CopiedEntries::from_runs(&runs);
        assert_eq!((moved.index(6), moved.index(7), moved.index(10)), (103, 7, 201));
        assert_eq!(moved.runs(), runs);
        moved.remove(4);
        assert_eq!(moved.runs(), [(3, 100, 1), (5, 102, 2), (8, 104, 1), (9, 200, 2)]);
    }

    #[test]
    fn a_checkpoint_does_not_speak_of_entries_that_are_gone() {
        let resolved = Resolved::new(10, &[(5, 12), (20, 30)], 24);
        assert!(resolved.contains(12) && resolved.contains(24) && !resolved.contains(13) && !resolved.contains(25));
    }
}
