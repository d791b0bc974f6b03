use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::journal::{Shared, lock};
use crate::{Reader, Result, SegmentInfo, segment};

/// A journal looked at without owning it: takes no lock, changes nothing, and shows what was there at the last
/// [`refresh`](Self::refresh). The owner may be running or not.
#[derive(Debug)]
pub struct ReadOnlyJournal {
    dir: PathBuf,
    shared: Arc<Mutex<Shared>>,
}

impl ReadOnlyJournal {
    /// Looks at the journal in `dir`.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        let shared = Arc::new(Mutex::new(Shared {
            segments: Vec::new(),
            next_index: 1,
        }));
        let view = Self {
            dir: dir.as_ref().to_owned(),
            shared,
        };
        view.refresh()?;
        Ok(view)
    }

    /// Looks again. Readers see what was added.
    pub fn refresh(&self) -> Result<()> {
        let mut segments = segment::list(&self.dir)?;
        let next_index = match segments.last_mut() {
            Some(last) => segment::scan(last)?.next_index,
            None => 1,
        };
        *lock(&self.shared) = Shared { segments, next_index };
        Ok(())
    }

    /// A reader that begins at `from`.
    #[must_use]
    pub fn reader(&self, from: u64) -> Reader {
        Reader::new(Arc::clone(&self.shared), from)
    }

    /// Index of the oldest entry; equal to [`next_index`](Self::next_index) when there is none.
    #[must_use]
    pub fn first_index(&self) -> u64 {
        let shared = lock(&self.shared);
        shared.segments.first().map_or(shared.next_index, |s| s.info.base)
    }

    /// Index that the next entry will get.
    #[must_use]
    pub fn next_index(&self) -> u64 {
        lock(&self.shared).next_index
    }

    /// The segments, oldest first.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentInfo> {
        lock(&self.shared).segments.iter().map(|s| s.info.clone()).collect()
    }
}
