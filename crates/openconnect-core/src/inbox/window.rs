//! The identities of the last events that were taken, so that a repeat is dropped: a bounded window, saved with what the
//! journal forgets.

use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};

use super::entry::Identity;
use crate::codes;
use crate::error::{BoxError, Error, Result};
use crate::state::write_atomically;

/// How many events the window holds.
pub(crate) const WINDOW_EVENTS: usize = 1 << 16;
/// It is saved when so many have come since; a start reads as many entries of the journal to complete it.
const SAVE_EVERY: usize = WINDOW_EVENTS / 4;
const MAGIC: &[u8; 8] = b"OCSEEN01";

pub(super) struct IdentityWindow {
    file: PathBuf,
    known: HashSet<Identity>,
    order: VecDeque<Identity>,
    unsaved: usize,
    /// The newest entry of the journal that the file covers.
    pub(super) through: u64,
}

impl IdentityWindow {
    /// The window as it was last saved. Entries beyond [`Self::through`] are to be added from the journal.
    pub(super) fn open(file: PathBuf) -> Result<Self> {
        let mut window = Self {
            known: HashSet::new(),
            order: VecDeque::new(),
            unsaved: 0,
            through: 0,
            file,
        };
        // What a crash left of a save.
        let _ = std::fs::remove_file(window.file.with_extension("tmp"));
        match std::fs::read(&window.file) {
            Ok(bytes) => window.load(&bytes)?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(damaged(&window.file, e)),
        }
        Ok(window)
    }

    fn load(&mut self, bytes: &[u8]) -> Result<()> {
        let rest = bytes.strip_prefix(MAGIC).and_then(|rest| rest.split_first_chunk::<12>());
        let Some(([crc @ .., a, b, c, d, e, f, g, h], ids)) = rest else {
            return Err(damaged(&self.file, "it is not a window of identities"));
        };
        let through = [*a, *b, *c, *d, *e, *f, *g, *h];
        if checksum(&through, ids).to_be_bytes() != *crc {
            return Err(damaged(&self.file, "its checksum is wrong"));
        }
        self.through = u64::from_be_bytes(through);
        ids.as_chunks().0.iter().for_each(|identity| self.insert(*identity));
        self.unsaved = 0;
        Ok(())
    }

    pub(super) fn contains(&self, identity: &Identity) -> bool {
        self.known.contains(identity)
    }

    pub(super) fn insert(&mut self, identity: Identity) {
        if !self.known.insert(identity) {
            return;
        }
        self.order.push_back(identity);
        self.unsaved += 1;
        if self.order.len() > WINDOW_EVENTS
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// Have so many come that it is time to save?
    pub(super) fn is_due(&self) -> bool {
        self.unsaved >= SAVE_EVERY
    }

    /// Saves the window, which covers the journal's entries up to `through`. Durable when it returns.
    pub(super) fn save(&mut self, through: u64) -> Result<()> {
        if self.unsaved == 0 {
            return Ok(());
        }
        let ids: Vec<u8> = self.order.iter().flatten().copied().collect();
        let mut bytes = MAGIC.to_vec();
        bytes.extend(checksum(&through.to_be_bytes(), &ids).to_be_bytes());
        bytes.extend(through.to_be_bytes());
        bytes.extend(ids);
        write_atomically(&self.file, &bytes)?;
        (self.unsaved, self.through) = (0, through);
        Ok(())
    }
}

fn checksum(through: &[u8], ids: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(through);
    hasher.update(ids);
    hasher.finalize()
}

fn damaged(file: &Path, why: impl Into<BoxError>) -> Error {
    Error::unavailable(codes::WINDOW_DAMAGED, format!("{} can't be read", file.display()))
        .because(why)
        .hint("Remove it: an event that the mesh delivers again may then be visible twice.")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn identity(n: usize) -> Identity {
        (n as u128).to_be_bytes()
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named_with_its_cause() {
        let dir = tempfile::tempdir().unwrap();
        let error = IdentityWindow::open(dir.path().to_owned()).err().unwrap();
        let cause = std::error::Error::source(&error).unwrap();
        assert!(cause.is::<std::io::Error>() && error.code == "OC0234");
        assert_eq!(error.reason(), format!("{} can't be read: {cause}", dir.path().display()));
    }

    #[test]
    fn the_window_is_bounded_and_survives() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("window");
        let mut window = IdentityWindow::open(file.clone()).unwrap();
        (1..=WINDOW_EVENTS + 10).for_each(|n| window.insert(identity(n)));
        assert!(!window.contains(&identity(10)) && window.contains(&identity(11)));
        window.save(77).unwrap();
        let again = IdentityWindow::open(file.clone()).unwrap();
        assert_eq!((again.through, again.order.len()), (77, WINDOW_EVENTS));
        assert!(!again.contains(&identity(10)) && again.contains(&identity(WINDOW_EVENTS + 10)));
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[100] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        assert_eq!(IdentityWindow::open(file).err().unwrap().code, "OC0234");
    }
}
