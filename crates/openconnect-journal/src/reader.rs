use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::journal::{Shared, lock};
use crate::record::{self, Head};
use crate::{JournalError, Result};

const CHUNK: usize = 256 * 1024;

/// Reads entries in order from an index on, with a file handle of its own. It sees everything that has been appended.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Mutex<Shared>>,
    next: u64,
    open: Option<Open>,
    chunk: Vec<u8>,
}

#[derive(Debug)]
struct Open {
    base: u64,
    file: File,
    path: PathBuf,
    /// Index and offset of the entry that comes next in the file.
    index: u64,
    offset: u64,
}

/// What of a segment may be read now.
struct Span {
    base: u64,
    end_offset: u64,
    end_index: u64,
}

/// How much may still be read.
struct Left {
    entries: usize,
    bytes: usize,
}

impl Left {
    fn any(&self) -> bool {
        self.entries > 0 && self.bytes > 0
    }
}

impl Reader {
    pub(crate) fn new(shared: Arc<Mutex<Shared>>, from: u64) -> Self {
        Self {
            shared,
            next: from.max(1),
            open: None,
            chunk: Vec::new(),
        }
    }

    /// Index of the entry that the next read begins with.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.next
    }

    /// Another reader of the same journal, which begins at `from`.
    #[must_use]
    pub fn another(&self, from: u64) -> Self {
        Self::new(Arc::clone(&self.shared), from)
    }

    /// Goes on at `index`.
    pub fn seek(&mut self, index: u64) {
        self.next = index.max(1);
        self.open = None;
    }

    /// Reads entries up to both limits (but at least one, if there is any), appends them with their indexes to `out`
    /// and says how many. When entries were removed under the reader, it goes on with the oldest one left: the
    /// indexes show the gap.
    pub fn read(&mut self, max_entries: usize, max_bytes: usize, out: &mut Vec<(u64, Bytes)>) -> Result<usize> {
        self.read_each(max_entries, max_bytes, |index, entry| {
            out.push((index, Bytes::copy_from_slice(entry)))
        })
    }

    /// As [`read`](Self::read), but shows each entry to `seen` where it was read, without a copy of it.
    pub fn read_each(&mut self, max_entries: usize, max_bytes: usize, mut seen: impl FnMut(u64, &[u8])) -> Result<usize> {
        let mut left = Left {
            entries: max_entries,
            bytes: max_bytes,
        };
        while left.any() {
            let Some(span) = self.place()? else { break };
            let before = left.entries;
            self.read_span(&span, &mut left, &mut seen)?;
            if left.entries == before && self.next < span.end_index {
                break;
            }
        }
        self.chunk.clear();
        self.chunk.shrink_to(CHUNK);
        Ok(max_entries - left.entries)
    }

    /// Opens the segment that holds the next entry, if there is one to read.
    fn place(&mut self) -> Result<Option<Span>> {
        let shared = lock(&self.shared);
        let Some(first) = shared.segments.first() else {
            return Ok(None);
        };
        self.next = self.next.max(first.info.base);
        if self.next >= shared.next_index {
            return Ok(None);
        }
        let after = shared.segments.partition_point(|s| s.info.base <= self.next);
        let Some(segment) = after.checked_sub(1).and_then(|i| shared.segments.get(i)) else {
            return Ok(None);
        };
        let span = Span {
            base: segment.info.base,
            end_offset: segment.info.bytes,
            end_index: shared.segments.get(after).map_or(shared.next_index, |s| s.info.base),
        };
        if !self.open.as_ref().is_some_and(|o| o.base == span.base && o.index <= self.next) {
            let (index, offset) = segment.place(self.next);
            let path = segment.path.clone();
            let file = File::open(&path).map_err(|e| JournalError::io(&path, e))?;
            self.open = Some(Open {
                base: span.base,
                file,
                path,
                index,
                offset,
            });
        }
        Ok(Some(span))
    }

    fn read_span(&mut self, span: &Span, left: &mut Left, seen: &mut impl FnMut(u64, &[u8])) -> Result<()> {
        let Some(open) = self.open.as_mut() else {
            return Ok(());
        };
        while open.index < span.end_index && left.any() {
            load(open, span, CHUNK, &mut self.chunk)?;
            if let Some(needed) = first_len(&self.chunk).filter(|n| *n > self.chunk.len()) {
                load(open, span, needed, &mut self.chunk)?;
            }
            let mut at = 0;
            while open.index < span.end_index && left.any() {
                let rest = self.chunk.get(at..).unwrap_or_default();
                let Some(head) = Head::parse(rest) else { break };
                let whole = record::HEADER + head.len as usize;
                let Some(payload) = rest.get(record::HEADER..whole) else {
                    break;
                };
                if !head.matches(payload) {
                    return Err(damaged(open, at));
                }
                if open.index >= self.next {
                    seen(open.index, payload);
                    self.next = open.index + 1;
                    left.entries -= 1;
                    left.bytes = left.bytes.saturating_sub(payload.len());
                }
                open.index += 1;
                at += whole;
            }
            if at == 0 {
                return Err(damaged(open, 0));
            }
            open.offset += at as u64;
        }
        Ok(())
    }
}

fn damaged(open: &Open, at: usize) -> JournalError {
    JournalError::Corrupt {
        path: open.path.clone(),
        offset: open.offset + at as u64,
        what: "length or checksum is wrong",
    }
}

/// Size of the first entry in the chunk.
fn first_len(chunk: &[u8]) -> Option<usize> {
    Head::parse(chunk).map(|h| record::HEADER + h.len as usize)
}

/// Reads up to `want` bytes at the open place, within what is known to be good.
fn load(open: &Open, span: &Span, want: usize, chunk: &mut Vec<u8>) -> Result<()> {
    let left = usize::try_from(span.end_offset.saturating_sub(open.offset)).unwrap_or(usize::MAX);
    chunk.resize(want.min(left), 0);
    open.file
        .read_exact_at(chunk, open.offset)
        .map_err(|e| JournalError::io(&open.path, e))
}
