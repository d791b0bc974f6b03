//! Segment files: `<base index, 20 digits>.seg`, a header (magic and base index), then entries.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::record::{self, Head};
use crate::{JournalError, Result};

pub(crate) const MAGIC: &[u8; 8] = b"OCJRNL01";
pub(crate) const FILE_HEADER: u64 = 16;
/// A place is remembered this often, so that a reader need not walk a whole segment.
const MARK_EVERY: u64 = 256 * 1024;

/// What is known about one segment.
#[derive(Debug, Clone)]
pub struct SegmentInfo {
    /// Index of its first entry.
    pub base: u64,
    /// Size of the file that holds good entries.
    pub bytes: u64,
    /// When its last entry was written, in ms since the epoch; 0 when it has none or that is not known yet.
    pub last_write_ms: u64,
}

/// A segment as writer and readers share it.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) info: SegmentInfo,
    pub(crate) path: PathBuf,
    /// (index, offset), ascending.
    pub(crate) marks: Vec<(u64, u64)>,
}

impl Segment {
    pub(crate) fn new(dir: &Path, base: u64) -> Self {
        Self {
            info: SegmentInfo {
                base,
                bytes: FILE_HEADER,
                last_write_ms: 0,
            },
            path: dir.join(format!("{base:020}.seg")),
            marks: Vec::new(),
        }
    }

    /// Remembers that `index` starts at `offset`, when the last such place is far enough back.
    pub(crate) fn mark(&mut self, index: u64, offset: u64) {
        let last = self.marks.last().map_or(FILE_HEADER, |(_, at)| *at);
        if offset >= last + MARK_EVERY {
            self.marks.push((index, offset));
        }
    }

    /// The nearest known place at or before `index`.
    pub(crate) fn place(&self, index: u64) -> (u64, u64) {
        let after = self.marks.partition_point(|(at, _)| *at <= index);
        after
            .checked_sub(1)
            .and_then(|i| self.marks.get(i))
            .copied()
            .unwrap_or((self.info.base, FILE_HEADER))
    }

    pub(crate) fn header(base: u64) -> [u8; FILE_HEADER as usize] {
        let mut header = [0; FILE_HEADER as usize];
        let (magic, index) = header.split_at_mut(MAGIC.len());
        magic.copy_from_slice(MAGIC);
        index.copy_from_slice(&base.to_le_bytes());
        header
    }
}

/// Lists the segments of a journal by base index. Sizes are those of the files; nothing is read.
pub(crate) fn list(dir: &Path) -> Result<Vec<Segment>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| JournalError::io(dir, e))? {
        let entry = entry.map_err(|e| JournalError::io(dir, e))?;
        let name = entry.file_name();
        let Some(base) = name
            .to_str()
            .and_then(|n| n.strip_suffix(".seg"))
            .and_then(|n| n.parse::<u64>().ok())
        else {
            continue;
        };
        let mut segment = Segment::new(dir, base);
        match entry.metadata() {
            Ok(meta) => {
                segment.info.bytes = meta.len();
                segment.info.last_write_ms = meta.modified().map_or(0, millis);
            }
            // The writer removed it between the listing and now.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(JournalError::io(&segment.path, e)),
        }
        found.push(segment);
    }
    found.sort_by_key(|s| s.info.base);
    Ok(found)
}

pub(crate) fn millis(at: std::time::SystemTime) -> u64 {
    at.duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// Where the good entries of a segment end.
pub(crate) struct Scan {
    pub(crate) next_index: u64,
    pub(crate) end: u64,
    pub(crate) file_len: u64,
    /// The bytes after `end` are the start of an interrupted write, not damage in the middle.
    pub(crate) torn: bool,
    /// The file's own header is incomplete or wrong.
    pub(crate) headless: bool,
}

/// Walks all entries of the segment, checks them, fills in marks, size and last write time.
pub(crate) fn scan(segment: &mut Segment) -> Result<Scan> {
    let path = segment.path.clone();
    let failed = |e| JournalError::io(&path, e);
    let file = File::open(&path).map_err(failed)?;
    let file_len = file.metadata().map_err(failed)?.len();
    let base = segment.info.base;
    let mut header = [0; FILE_HEADER as usize];
    let headless = file_len < FILE_HEADER || file.read_exact_at(&mut header, 0).is_err() || header != Segment::header(base);
    segment.marks.clear();
    segment.info.bytes = FILE_HEADER.min(file_len);
    if headless {
        return Ok(Scan {
            next_index: base,
            end: 0,
            file_len,
            torn: file_len <= FILE_HEADER,
            headless,
        });
    }
    let mut input = io::BufReader::with_capacity(1 << 18, &file);
    input.read_exact(&mut header).map_err(failed)?;
    let mut at = FILE_HEADER;
    let mut index = base;
    let mut last_ms = 0;
    let mut payload = Vec::new();
    while let Some(time) = good_entry(&mut input, file_len - at, &mut payload).map_err(failed)? {
        segment.mark(index, at);
        at += (record::HEADER + payload.len()) as u64;
        index += 1;
        last_ms = time;
    }
    segment.info.bytes = at;
    segment.info.last_write_ms = last_ms;
    let torn = at < file_len && !followed_by_good(&file, at, file_len).map_err(failed)?;
    Ok(Scan {
        next_index: index,
        end: at,
        file_len,
        torn: torn || at == file_len,
        headless,
    })
}

/// Reads one entry into `payload`; its time, or `None` when there is no whole and sound entry.
fn good_entry(input: &mut impl Read, left: u64, payload: &mut Vec<u8>) -> io::Result<Option<u64>> {
    if left < record::HEADER as u64 {
        return Ok(None);
    }
    let mut head = [0; record::HEADER];
    input.read_exact(&mut head)?;
    let Some(head) = Head::parse(&head) else {
        return Ok(None);
    };
    if u64::from(head.len) > left - record::HEADER as u64 {
        return Ok(None);
    }
    payload.resize(head.len as usize, 0);
    input.read_exact(payload)?;
    Ok(head.matches(payload).then(|| head.time_ms()))
}

/// Whether a sound entry starts where the bad one at `at` claims to end: then the file was damaged later, because
/// a file that grows by appending is torn only at its end.
fn followed_by_good(file: &File, at: u64, file_len: u64) -> io::Result<bool> {
    if file_len - at < record::HEADER as u64 {
        return Ok(false);
    }
    let mut head = [0; record::HEADER];
    file.read_exact_at(&mut head, at)?;
    let Some(head) = Head::parse(&head) else {
        return Ok(false);
    };
    let next = at + record::HEADER as u64 + u64::from(head.len);
    if next >= file_len {
        return Ok(false);
    }
    let mut input = io::BufReader::new(file);
    io::Seek::seek(&mut input, io::SeekFrom::Start(next))?;
    Ok(good_entry(&mut input, file_len - next, &mut Vec::new())?.is_some())
}

/// Makes creations and removals in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| JournalError::io(dir, e))
}
