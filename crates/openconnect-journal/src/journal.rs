use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::RangeInclusive;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::segment::{self, FILE_HEADER, Segment};
use crate::{JournalError, Reader, Result, SegmentInfo, record};

/// A buffer for encoded entries is kept up to this size between appends.
const KEEP_BUFFER: usize = 4 << 20;

/// How a journal is kept.
#[derive(Debug, Clone)]
pub struct JournalOptions {
    /// A new segment is begun when the current one has reached this size.
    pub segment_bytes: u64,
    /// Whether [`Journal::sync`] waits for the disk. Without it, entries survive the process but not the machine.
    pub fsync: bool,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            fsync: true,
        }
    }
}

/// What opening found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Entries in the journal.
    pub records: u64,
    /// Bytes of an interrupted write that were cut off the end.
    pub truncated_bytes: u64,
}

/// What writer and readers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) segments: Vec<Segment>,
    pub(crate) next_index: u64,
}

pub(crate) fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The writing end of a journal. There is at most one per directory, in any process.
#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
    options: JournalOptions,
    shared: Arc<Mutex<Shared>>,
    file: File,
    path: PathBuf,
    /// End of the good entries in the current segment, and the index that comes there.
    end: u64,
    next_index: u64,
    /// The same, as of the last sync.
    synced_end: u64,
    synced_next: u64,
    buffer: Vec<u8>,
    _lock: File,
}

impl Journal {
    /// Opens the journal in `dir`, creating it when there is none, and cuts off what an interrupted write left. What is
    /// created is for this user only.
    pub fn open(dir: impl AsRef<Path>, options: JournalOptions) -> Result<(Self, Recovery)> {
        let dir = dir.as_ref().to_owned();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(|e| JournalError::io(&dir, e))?;
        let guard = take_lock(&dir)?;
        let mut segments = segment::list(&dir)?;
        let mut truncated_bytes = 0;
        let next_index = match segments.last_mut() {
            Some(last) => recover(last, &mut truncated_bytes)?,
            None => {
                segments.push(create(&dir, 1)?);
                1
            }
        };
        let first = segments.first().map_or(next_index, |s| s.info.base);
        let Some(current) = segments.last() else {
            unreachable!("there is always a segment")
        };
        let path = current.path.clone();
        let mut file = OpenOptions::new().write(true).open(&path).map_err(|e| JournalError::io(&path, e))?;
        let end = current.info.bytes;
        file.seek(SeekFrom::Start(end)).map_err(|e| JournalError::io(&path, e))?;
        // Entries that the last run wrote but did not sync are read from now on, so they must be as safe as the others.
        if options.fsync {
            file.sync_all().map_err(|e| JournalError::io(&path, e))?;
            segment::sync_dir(&dir)?;
        }
        let recovery = Recovery {
            records: next_index - first,
            truncated_bytes,
        };
        let journal = Self {
            shared: Arc::new(Mutex::new(Shared { segments, next_index })),
            dir,
            options,
            file,
            path,
            end,
            next_index,
            synced_end: end,
            synced_next: next_index,
            buffer: Vec::new(),
            _lock: guard,
        };
        Ok((journal, recovery))
    }

    /// Appends the entries with one write, all or none. Readers see them at once; they are safe after [`sync`](Self::sync).
    /// Without entries the range is empty.
    pub fn append(&mut self, entries: &[impl AsRef<[u8]>]) -> Result<RangeInclusive<u64>> {
        let first = self.next_index;
        if entries.is_empty() {
            return Ok(RangeInclusive::new(first, first - 1));
        }
        if self.end >= self.options.segment_bytes && self.end > FILE_HEADER {
            self.roll()?;
        }
        let now = segment::millis(SystemTime::now());
        self.buffer.clear();
        for entry in entries {
            let entry = entry.as_ref();
            let len = u32::try_from(entry.len()).map_err(|_| JournalError::TooLarge { bytes: entry.len() })?;
            record::encode(entry, len, now, &mut self.buffer);
        }
        if let Err(error) = self.file.write_all(&self.buffer) {
            let error = JournalError::write(&self.path, error);
            self.cut(self.end)?;
            return Err(error);
        }
        self.publish(entries, now);
        if self.buffer.capacity() > KEEP_BUFFER {
            self.buffer = Vec::new();
        }
        Ok(first..=self.next_index - 1)
    }

    /// Makes what was appended visible to readers.
    fn publish(&mut self, entries: &[impl AsRef<[u8]>], now: u64) {
        let mut shared = lock(&self.shared);
        let Shared { segments, next_index } = &mut *shared;
        if let Some(current) = segments.last_mut() {
            for entry in entries {
                current.mark(self.next_index, self.end);
                self.end += (record::HEADER + entry.as_ref().len()) as u64;
                self.next_index += 1;
            }
            current.info.bytes = self.end;
            current.info.last_write_ms = now;
        }
        *next_index = self.next_index;
    }

    /// Waits until everything appended is on the disk. When the disk fails here, everything appended since the last
    /// successful sync is taken back, because nobody can know which part of it is safe.
    pub fn sync(&mut self) -> Result<()> {
        if self.synced_next == self.next_index {
            return Ok(());
        }
        if self.options.fsync
            && let Err(error) = self.file.sync_data()
        {
            let error = JournalError::write(&self.path, error);
            self.take_back()?;
            return Err(error);
        }
        self.synced_end = self.end;
        self.synced_next = self.next_index;
        Ok(())
    }

    /// Goes back to the last synced state.
    fn take_back(&mut self) -> Result<()> {
        self.cut(self.synced_end)?;
        self.end = self.synced_end;
        self.next_index = self.synced_next;
        let mut shared = lock(&self.shared);
        shared.next_index = self.next_index;
        if let Some(current) = shared.segments.last_mut() {
            current.info.bytes = self.end;
            current.marks.retain(|(_, at)| *at < self.synced_end);
        }
        Ok(())
    }

    /// Cuts the current file to `end` and goes on writing there.
    fn cut(&mut self, end: u64) -> Result<()> {
        let result = self.file.set_len(end).and_then(|()| self.file.seek(SeekFrom::Start(end)));
        result.map(drop).map_err(|e| JournalError::io(&self.path, e))
    }

    /// Ends the current segment, if it holds anything, and begins a new one.
    pub fn roll(&mut self) -> Result<()> {
        if self.end <= FILE_HEADER {
            return Ok(());
        }
        self.sync()?;
        let fresh = create(&self.dir, self.next_index)?;
        if self.options.fsync {
            segment::sync_dir(&self.dir)?;
        }
        let mut file = OpenOptions::new()
            .write(true)
            .open(&fresh.path)
            .map_err(|e| JournalError::io(&fresh.path, e))?;
        file.seek(SeekFrom::Start(FILE_HEADER))
            .map_err(|e| JournalError::io(&fresh.path, e))?;
        self.file = file;
        self.path = fresh.path.clone();
        self.end = FILE_HEADER;
        self.synced_end = FILE_HEADER;
        self.synced_next = self.next_index;
        lock(&self.shared).segments.push(fresh);
        Ok(())
    }

    /// A reader that begins at `from`.
    #[must_use]
    pub fn reader(&self, from: u64) -> Reader {
        Reader::new(Arc::clone(&self.shared), from)
    }

    /// Removes the segments that hold only entries below `index`; never the current one. Says how many went.
    pub fn truncate_before(&mut self, index: u64) -> Result<usize> {
        let gone: Vec<Segment> = {
            let mut shared = lock(&self.shared);
            let keep = shared.segments.partition_point(|s| s.info.base <= index).saturating_sub(1);
            shared.segments.drain(..keep).collect()
        };
        for segment in &gone {
            match fs::remove_file(&segment.path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(JournalError::io(&segment.path, e));
                }
                _ => {}
            }
        }
        Ok(gone.len())
    }

    /// Index of the oldest entry that is kept; equal to [`next_index`](Self::next_index) when there is none.
    #[must_use]
    pub fn first_index(&self) -> u64 {
        lock(&self.shared).segments.first().map_or(self.next_index, |s| s.info.base)
    }

    /// Index that the next entry will get.
    #[must_use]
    pub fn next_index(&self) -> u64 {
        self.next_index
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        lock(&self.shared).segments.iter().map(|s| s.info.bytes).sum()
    }

    /// The segments, oldest first.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentInfo> {
        lock(&self.shared).segments.iter().map(|s| s.info.clone()).collect()
    }
}

fn create(dir: &Path, base: u64) -> Result<Segment> {
    let segment = Segment::new(dir, base);
    let mut new = OpenOptions::new();
    new.write(true).create(true).truncate(true).mode(0o600);
    if let Err(error) = new.open(&segment.path).and_then(|mut file| file.write_all(&Segment::header(base))) {
        // Half a header would be taken for a torn segment at the next start; better none.
        let _ = fs::remove_file(&segment.path);
        return Err(JournalError::write(&segment.path, error));
    }
    Ok(segment)
}

/// Finds the end of the last segment and cuts off what is behind it.
fn recover(last: &mut Segment, truncated: &mut u64) -> Result<u64> {
    let scan = segment::scan(last)?;
    let corrupt = |offset, what| JournalError::Corrupt {
        path: last.path.clone(),
        offset,
        what,
    };
    if !scan.torn {
        let what = if scan.headless {
            "not a journal segment"
        } else {
            "length or checksum is wrong"
        };
        return Err(corrupt(scan.end, what));
    }
    if scan.headless {
        *truncated = scan.file_len;
        fs::write(&last.path, Segment::header(last.info.base)).map_err(|e| JournalError::write(&last.path, e))?;
        last.info.bytes = FILE_HEADER;
    } else if scan.end < scan.file_len {
        *truncated = scan.file_len - scan.end;
        let file = OpenOptions::new()
            .write(true)
            .open(&last.path)
            .map_err(|e| JournalError::io(&last.path, e))?;
        file.set_len(scan.end).map_err(|e| JournalError::io(&last.path, e))?;
    }
    if *truncated > 0 {
        tracing::warn!(file = %last.path.display(), bytes = *truncated, "cut off the end of an interrupted write");
    }
    Ok(scan.next_index)
}

fn take_lock(dir: &Path) -> Result<File> {
    let path = dir.join("lock");
    let failed = |e| JournalError::io(&path, e);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0).map_err(failed)?;
            // Only a help for people: a disk without room for it is no reason to refuse.
            let _ = write!(file, "{}", std::process::id());
            Ok(file)
        }
        Err(fs::TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _ = file.take(20).read_to_string(&mut pid);
            let owner = if pid.is_empty() {
                "another process".to_owned()
            } else {
                format!("process {pid}")
            };
            Err(JournalError::Locked {
                path: dir.to_owned(),
                owner,
            })
        }
        Err(fs::TryLockError::Error(e)) => Err(failed(e)),
    }
}
