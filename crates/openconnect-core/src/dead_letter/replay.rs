//! How a sink gets dead letters back: one file a replay in `replay/`, put there as a whole, removed when every event of it
//! has its outcome. After a crash in between the file is delivered again.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cloudevents::Event;
use openconnect_protocol::json;

use crate::codes;
use crate::error::{BoxError, Error, Result};
use crate::failure::Failure;
use crate::state::write_atomically;

/// How often the folder of replays is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Events handed over at once, and the bytes from which on no other is added.
const CHUNK: usize = 64;
const CHUNK_BYTES: usize = 256 << 10;

/// Which event of which replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReplayToken {
    file: PathBuf,
}

impl ReplayToken {
    /// The name of the replay.
    pub(crate) fn replay(&self) -> String {
        self.file.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// The sink's end.
#[derive(Clone)]
pub(crate) struct ReplayQueue {
    folder: PathBuf,
    files: Arc<Mutex<HashMap<PathBuf, Progress>>>,
}

/// A file that is being delivered.
struct Progress {
    reader: BufReader<fs::File>,
    /// All of it was handed over.
    ended: bool,
    /// Why the rest of it can't be read.
    failed: Option<Failure>,
    /// Handed over and without outcome.
    open: usize,
}

impl ReplayQueue {
    /// The queue of this instance; the folder is made by the first replay.
    pub(crate) fn open(state: &Path) -> Result<Self> {
        Ok(Self {
            folder: state.join("replay"),
            files: Arc::default(),
        })
    }

    /// Is anything left to replay? What can't be read counts.
    pub(crate) fn has_files(&self) -> bool {
        self.pending().map_or(true, |files| !files.is_empty())
    }

    /// Waits until there is something to replay. Cancel-safe.
    pub(crate) async fn next(&self) -> Vec<(ReplayToken, Event)> {
        loop {
            match self.poll() {
                Ok(events) if events.is_empty() => tokio::time::sleep(POLL_INTERVAL).await,
                Ok(events) => return events,
                Err(failure) => {
                    tracing::error!(code = %failure.code, "dead letters can't be replayed: {}", failure.reason());
                    tokio::time::sleep(POLL_INTERVAL * 10).await;
                }
            }
        }
    }

    /// The next events; empty when there is nothing to replay.
    fn poll(&self) -> std::result::Result<Vec<(ReplayToken, Event)>, Failure> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        for file in self.pending()? {
            if !files.contains_key(&file) {
                files.insert(file.clone(), Progress::open(&file)?);
            }
            let Some(progress) = files.get_mut(&file) else { continue };
            let chunk = progress.next(&file)?;
            if !chunk.is_empty() {
                return Ok(chunk.into_iter().map(|event| (ReplayToken { file: file.clone() }, event)).collect());
            }
        }
        Ok(Vec::new())
    }

    /// One event has its outcome; with the last one of a replay its file goes.
    pub(crate) fn done(&self, token: ReplayToken) -> std::result::Result<(), Failure> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(progress) = files.get_mut(&token.file) else {
            return Ok(());
        };
        progress.open = progress.open.saturating_sub(1);
        if progress.open > 0 || !progress.ended {
            return Ok(());
        }
        fs::remove_file(&token.file).map_err(|e| {
            Failure::retryable(
                codes::REPLAY_UNUSABLE,
                format!("{} can't be removed; it will be delivered again", token.file.display()),
            )
            .because(e)
        })
    }

    fn pending(&self) -> std::result::Result<Vec<PathBuf>, Failure> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(unreadable(&self.folder, e)),
        };
        let mut files: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|x| x == "jsonl"))
            .collect();
        files.sort();
        Ok(files)
    }

    /// Puts events into the queue of the instance in `state`; they are durable when it returns.
    pub(crate) fn put(state: &Path, events: &[Event]) -> Result<()> {
        let folder = state.join("replay");
        fs::create_dir_all(&folder)
            .map_err(|e| Error::unavailable(codes::REPLAY_UNUSABLE, format!("{} can't be made", folder.display())).because(e))?;
        let mut lines = Vec::new();
        for event in events {
            json::encode_into(event, &mut lines);
            lines.push(b'\n');
        }
        write_atomically(&folder.join(format!("{}.jsonl", uuid::Uuid::now_v7())), &lines)
    }
}

impl Progress {
    fn open(file: &Path) -> std::result::Result<Self, Failure> {
        Ok(Self {
            reader: BufReader::new(fs::File::open(file).map_err(|e| unreadable(file, e))?),
            ended: false,
            failed: None,
            open: 0,
        })
    }

    /// The next events; none at the end. What can be read before a damaged line comes first.
    fn next(&mut self, file: &Path) -> std::result::Result<Vec<Event>, Failure> {
        let (mut chunk, mut bytes) = (Vec::new(), 0);
        while self.failed.is_none() && !self.ended && chunk.len() < CHUNK && bytes < CHUNK_BYTES {
            match self.line() {
                Ok((event, length)) => {
                    chunk.extend(event);
                    bytes += length;
                }
                Err(e) => self.failed = Some(unreadable(file, e)),
            }
        }
        self.open += chunk.len();
        match &self.failed {
            Some(failure) if chunk.is_empty() => Err(failure.clone()),
            _ => Ok(chunk),
        }
    }

    /// The event of the next line, and how long that is.
    fn line(&mut self) -> std::result::Result<(Option<Event>, usize), BoxError> {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line)?;
        self.ended = self.reader.fill_buf()?.is_empty();
        if line.is_empty() {
            return Ok((None, 0));
        }
        Ok((Some(json::decode(&line)?), line.len()))
    }
}

fn unreadable(path: &Path, error: impl Into<BoxError>) -> Failure {
    Failure::retryable(codes::REPLAY_UNUSABLE, format!("{} can't be read", path.display())).because(error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use cloudevents::{AttributesReader, EventBuilder, EventBuilderV10};

    #[test]
    fn a_folder_that_cannot_be_read_is_named_with_its_cause() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("replay");
        fs::write(&folder, "no folder").unwrap();
        let failure = ReplayQueue::open(dir.path()).unwrap().poll().unwrap_err();
        let cause = std::error::Error::source(&failure).unwrap();
        assert!(cause.is::<std::io::Error>());
        assert_eq!(failure.reason(), format!("{} can't be read: {cause}", folder.display()));
    }

    #[test]
    fn a_replay_goes_only_when_every_event_has_its_outcome() {
        let dir = tempfile::tempdir().unwrap();
        let events: Vec<Event> = (0..70)
            .map(|n| EventBuilderV10::new().id(n.to_string()).source("/s").ty("t").build().unwrap())
            .collect();
        ReplayQueue::put(dir.path(), &events).unwrap();
        let queue = ReplayQueue::open(dir.path()).unwrap();
        let mut taken = queue.poll().unwrap();
        taken.extend(queue.poll().unwrap());
        assert!(queue.poll().unwrap().is_empty());
        let ids: Vec<_> = taken.iter().map(|(_, event)| event.id().to_owned()).collect();
        assert_eq!(ids, (0..70).map(|n| n.to_string()).collect::<Vec<_>>());
        let last = taken.pop().unwrap();
        taken.into_iter().for_each(|(token, _)| queue.done(token).unwrap());
        // A crash here: the next process delivers all of it again.
        assert_eq!(ReplayQueue::open(dir.path()).unwrap().poll().unwrap().len(), 64);
        queue.done(last.0).unwrap();
        assert!(ReplayQueue::open(dir.path()).unwrap().poll().unwrap().is_empty());
    }
}
