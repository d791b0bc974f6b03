//! What staging keeps on disk beside the inbox, in `staging/` of the instance's folder: seal records and handles.
//!
//! | file | what is in it |
//! |---|---|
//! | `identity` | 32 digits that no other inbox has: part of every token |
//! | `<token>.seal` | generations of one group whose seal was begun, in their order; replaced as a whole |
//! | `<token>.handle` | what the sink has begun for a generation |
//! | `<generation>.entries` | the entries of an open generation; of no use to another run |

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use crate::codes;
use crate::error::{BoxError, Error, Result};
use crate::failure::Failure;
use crate::staging::{Group, Handle, KeepHandle};
use crate::state::{private_folder, write_atomically};

const SEAL: &str = "seal";
const HANDLE: &str = "handle";
const ENTRIES: &str = "entries";

/// A generation whose seal was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SealRecord {
    pub(crate) token: Arc<str>,
    pub(crate) group: Group,
    pub(crate) generation: u64,
    /// Sequences in the inbox, as ascending ranges.
    pub(crate) entries: Vec<(u64, u64)>,
    /// The id of the last event; none when the generation was not staged yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) handle: Option<Handle>,
}

/// One file of records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    /// The token that the file is called by.
    pub(crate) name: Arc<str>,
    pub(crate) records: Vec<SealRecord>,
}

/// What a start finds.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    pub(crate) chains: Vec<Chain>,
    /// Of generations without a seal record: to be discarded.
    pub(crate) handles: Vec<(String, Handle)>,
}

/// The folder.
#[derive(Debug)]
pub(crate) struct Records {
    dir: PathBuf,
    identity: String,
}

impl Records {
    /// Opens or makes the folder and reads what the last run left.
    pub(crate) fn open(state: &Path) -> Result<(Self, Recovered)> {
        let dir = state.join("staging");
        private_folder(&dir).map_err(|e| unusable(&dir, e))?;
        let mut recovered = Recovered::default();
        let mut sealing: Vec<Arc<str>> = Vec::new();
        for entry in fs::read_dir(&dir).map_err(|e| unusable(&dir, e))? {
            let path = entry.map_err(|e| unusable(&dir, e))?.path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some(SEAL) => {
                    let records: Vec<SealRecord> = read(&path)?;
                    sealing.extend(records.iter().map(|record| Arc::clone(&record.token)));
                    recovered.chains.push(Chain {
                        name: name.into(),
                        records,
                    });
                }
                Some(HANDLE) => recovered.handles.push((name, read(&path)?)),
                Some(ENTRIES | "tmp") => fs::remove_file(&path).map_err(|e| unusable(&dir, e))?,
                _ => {}
            }
        }
        recovered
            .handles
            .retain(|(token, _)| !sealing.iter().any(|sealing| **sealing == **token));
        recovered
            .chains
            .sort_by_key(|chain| chain.records.first().map(|record| record.generation));
        let identity = identity(&dir.join("identity"))?;
        Ok((Self { dir, identity }, recovered))
    }

    /// The token of a generation; `part` is the number of its events when it is a part of one that was halved or cut.
    pub(crate) fn token(&self, group: &Group, generation: u64, part: Option<u64>) -> Arc<str> {
        let mut hash = Context::new(&SHA256);
        for text in [self.identity.as_str(), group.as_str(), &generation.to_string()] {
            hash.update(&(text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        }
        hash.update(&part.unwrap_or(0).to_be_bytes());
        let digits: String = hash.finish().as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        digits.into()
    }

    /// Where a list of entries may be.
    pub(crate) fn list(&self, generation: u64) -> PathBuf {
        self.dir.join(format!("{generation}.{ENTRIES}"))
    }

    /// Replaces a file of records, or removes it when there are none. Durable when it returns.
    pub(crate) fn write(&self, chain: &Chain) -> Result<(), Failure> {
        let file = self.dir.join(format!("{}.{SEAL}", chain.name));
        if chain.records.is_empty() {
            return remove(&file);
        }
        let bytes = serde_json::to_vec(&chain.records).map_err(|e| not_written(&file, e))?;
        write_atomically(&file, &bytes).map_err(|e| not_written(&file, e))
    }

    /// Forgets the handle of a generation.
    pub(crate) fn forget_handle(&self, token: &str) -> Result<(), Failure> {
        remove(&self.dir.join(format!("{token}.{HANDLE}")))
    }
}

impl KeepHandle for Records {
    fn keep(&self, token: &str, handle: &Handle) -> Result<(), Failure> {
        let file = self.dir.join(format!("{token}.{HANDLE}"));
        let bytes = serde_json::to_vec(handle).map_err(|e| not_written(&file, e))?;
        write_atomically(&file, &bytes).map_err(|e| not_written(&file, e))
    }
}

fn remove(file: &Path) -> Result<(), Failure> {
    match fs::remove_file(file) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(not_written(file, e)),
        _ => Ok(()),
    }
}

fn not_written(file: &Path, error: impl Into<BoxError>) -> Failure {
    Failure::retryable(codes::STAGING_UNWRITTEN, format!("{} can't be written", file.display())).because(error)
}

fn unusable(dir: &Path, error: std::io::Error) -> Error {
    Error::unavailable(codes::STAGING_FOLDER, format!("the folder {} can't be used", dir.display()))
        .because(error)
        .hint("Make it writable for this user, or free some space.")
}

fn read<T: serde::de::DeserializeOwned>(file: &Path) -> Result<T> {
    let bytes = fs::read(file).map_err(|e| unusable(file, e))?;
    serde_json::from_slice(&bytes).map_err(|e| {
        Error::unavailable(codes::STAGING_CORRUPT, format!("{} is corrupt", file.display()))
            .because(e)
            .hint("Restore it from a copy. Without it what its group shows is shown once more.")
    })
}

/// Another inbox, after the first was lost, begins to count anew: its tokens must not be the same.
fn identity(file: &Path) -> Result<String> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(text),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let fresh = uuid::Uuid::new_v4().simple().to_string();
            write_atomically(file, fresh.as_bytes())?;
            Ok(fresh)
        }
        Err(e) => Err(unusable(file, e)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn records_and_handles_survive_and_tokens_stay() {
        let dir = tempfile::tempdir().unwrap();
        let (records, recovered) = Records::open(dir.path()).unwrap();
        assert!(recovered.chains.is_empty() && recovered.handles.is_empty());
        let group = Group::new("a/b");
        let token = records.token(&group, 7, None);
        assert_ne!(token, records.token(&group, 8, None));
        assert_ne!(token, records.token(&group, 7, Some(3)));
        let record = SealRecord {
            token: Arc::clone(&token),
            group: group.clone(),
            generation: 7,
            entries: vec![(7, 9), (12, 12)],
            last: Some("x".to_owned()),
            handle: Some(Handle::new("upload")),
        };
        let mut chain = Chain {
            name: Arc::clone(&token),
            records: vec![record],
        };
        records.write(&chain).unwrap();
        records.keep(&token, &Handle::new("upload")).unwrap();
        let open = records.token(&group, 13, None);
        records.keep(&open, &Handle::new("other")).unwrap();
        drop(records);
        let (records, recovered) = Records::open(dir.path()).unwrap();
        assert_eq!(recovered.chains, [chain.clone()]);
        assert_eq!(recovered.handles, [(open.to_string(), Handle::new("other"))]);
        assert_eq!(records.token(&group, 7, None), token);
        chain.records.clear();
        records.write(&chain).unwrap();
        records.write(&chain).unwrap();
        assert!(Records::open(dir.path()).unwrap().1.chains.is_empty());
    }
}
