use std::io;
use std::path::{Path, PathBuf};

use crate::codes;

/// Why a journal could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// No room for the entry: the disk, a quota or the file size limit is exhausted. Nothing was appended, and the
    /// journal can be used again as soon as there is room.
    #[error("{code}: no room to append to the journal {}: {source}", path.display(), code = codes::JOURNAL_FULL)]
    Full {
        /// The segment that could not grow.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file could not be read or written.
    #[error("{code}: journal file {}: {source}", path.display(), code = codes::JOURNAL_IO)]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An entry that is followed by good ones is damaged, so it is not the torn end of an interrupted write.
    #[error("{code}: journal file {} is damaged at offset {offset}: {what}", path.display(), code = codes::JOURNAL_DAMAGED)]
    Corrupt {
        /// The damaged segment.
        path: PathBuf,
        /// Where the damaged entry starts.
        offset: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Another process has the journal open.
    #[error("{code}: the journal {} is in use by {owner}", path.display(), code = codes::JOURNAL_IN_USE)]
    Locked {
        /// The journal's directory.
        path: PathBuf,
        /// Who holds it, as far as the lock file tells.
        owner: String,
    },
    /// One entry is larger than the format can hold.
    #[error("{code}: an entry of {bytes} bytes is too large for the journal", code = codes::ENTRY_TOO_LARGE)]
    TooLarge {
        /// The entry's size.
        bytes: usize,
    },
}

impl JournalError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }

    /// Tells a full disk, which may get room again, from a broken one.
    pub(crate) fn write(path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => Self::Full {
                path: path.to_owned(),
                source,
            },
            _ => Self::io(path, source),
        }
    }

    /// Whether the same append may succeed later.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }
}
