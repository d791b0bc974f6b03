//! A segmented, checksummed, group-committed append-only log.
//!
//! One writer, any number of readers, entries are plain bytes with a dense index from 1 upwards. The map:
//!
//! * [`Journal`] (`journal.rs`): the writer. Opens and recovers, appends, syncs, rolls and drops segments.
//! * [`Reader`] (`reader.rs`): reads from an index on, through a file handle of its own.
//! * [`ReadOnlyJournal`] (`view.rs`): looks at a journal that another process may be writing to.
//! * `segment.rs`: names of segment files, the scan that finds where the good entries end.
//! * `record.rs`: the bytes of one entry.
//!
//! Everything here blocks: call it from a thread that may.

pub mod codes;
mod error;
mod journal;
mod reader;
mod record;
mod segment;
mod view;

pub use error::JournalError;
pub use journal::{Journal, JournalOptions, Recovery};
pub use reader::Reader;
pub use segment::SegmentInfo;
pub use view::ReadOnlyJournal;

/// What the functions of this crate return.
pub type Result<T> = std::result::Result<T, JournalError>;
