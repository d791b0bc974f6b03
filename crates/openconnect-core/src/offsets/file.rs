//! Offsets in a local transactional file. One process at a time opens it.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use openconnect_error::codes::TASK_ENDED;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use serde_json::Value;

use super::{Acquired, Fence, OffsetStore, Positions};
use crate::codes;
use crate::error::{BoxError, Error, Result};
use crate::store::Store;

const OFFSETS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("offsets");
/// One row: the number of the last lease.
const LEASE: TableDefinition<'_, (), Fence> = TableDefinition::new("lease");
/// Positions are few and small; the library's default cache of a gigabyte is for databases.
const CACHE: usize = 1 << 20;

/// The offsets of one instance in `offsets.redb`.
#[derive(Clone)]
pub struct FileStore(Arc<Inner>);

struct Inner {
    database: Database,
    file: String,
    /// Who holds the lease and until when. The file has one process, so this need not outlive it.
    holder: Mutex<Option<(String, Instant)>>,
}

type Written<T> = Result<T, redb::Error>;

impl FileStore {
    /// Opens or makes `offsets.redb` in the instance's folder.
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join("offsets.redb");
        let file = path.display().to_string();
        let database = Database::builder()
            .set_cache_size(CACHE)
            .create(&path)
            .map_err(|e| unusable(&file, e))?;
        Ok(Self(Arc::new(Inner {
            database,
            file,
            holder: Mutex::new(None),
        })))
    }

    /// Runs what waits for the disk on a thread for that.
    fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Inner) -> Result<T> + Send + 'static) -> BoxFuture<'static, Result<T>> {
        let inner = Arc::clone(&self.0);
        async move {
            tokio::task::spawn_blocking(move || work(&inner))
                .await
                .map_err(|e| Error::undelivered(TASK_ENDED, "storing offsets ended abnormally").because(e))?
        }
        .boxed()
    }
}

impl Inner {
    fn all(&self) -> Result<Positions> {
        let read = self.database.begin_read().map_err(|e| unusable(&self.file, e))?;
        let table = match read.open_table(OFFSETS) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Positions::new()),
            Err(e) => return Err(unusable(&self.file, e)),
        };
        let mut all = Positions::new();
        for entry in table.iter().map_err(|e| unusable(&self.file, e))? {
            let (partition, position) = entry.map_err(|e| unusable(&self.file, e))?;
            let position = serde_json::from_slice(position.value()).map_err(|e| unusable(&self.file, e))?;
            all.insert(partition.value().to_owned(), position);
        }
        Ok(all)
    }

    fn write<T>(&self, change: impl FnOnce(&WriteTransaction) -> Written<T>) -> Result<T> {
        let run = || -> Written<T> {
            let mut write = self.database.begin_write()?;
            write.set_durability(Durability::Immediate)?;
            let changed = change(&write)?;
            write.commit()?;
            Ok(changed)
        };
        run().map_err(|e| unusable(&self.file, e))
    }

    /// The next number, when the lease is not another's.
    fn acquire(&self, owner: String, ttl: Duration) -> Result<Acquired> {
        let mut holder = self.holder.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some((other, until)) = &*holder
            && *other != owner
            && *until > now
        {
            return Ok(Acquired::Held {
                owner: other.clone(),
                left: *until - now,
            });
        }
        let fence = self.write(|write| {
            let mut lease = write.open_table(LEASE)?;
            let fence = lease.get(())?.map_or(0, |last| last.value()) + 1;
            lease.insert((), fence)?;
            Ok(fence)
        })?;
        *holder = Some((owner, now + ttl));
        Ok(Acquired::Granted(fence))
    }

    /// Sets the end of the lease when `fence` is the last one.
    fn last_until(&self, fence: Fence, until: Instant) -> Result<bool> {
        let mut holder = self.holder.lock().unwrap_or_else(PoisonError::into_inner);
        let last = self.write(|write| is_last(write, fence))?;
        if let (true, Some(holder)) = (last, &mut *holder) {
            holder.1 = until;
        }
        Ok(last)
    }
}

fn is_last(write: &WriteTransaction, fence: Fence) -> Written<bool> {
    Ok(write.open_table(LEASE)?.get(())?.is_some_and(|last| last.value() == fence))
}

impl OffsetStore for FileStore {
    fn all(&self) -> BoxFuture<'_, Result<Positions>> {
        self.blocking(Inner::all)
    }

    fn commit<'a>(&'a self, positions: &'a [(String, Value)], fence: Fence) -> BoxFuture<'a, Result<bool>> {
        let rows: Vec<(String, String)> = positions
            .iter()
            .map(|(partition, position)| (partition.clone(), position.to_string()))
            .collect();
        self.blocking(move |inner| {
            inner.write(|write| {
                if !is_last(write, fence)? {
                    return Ok(false);
                }
                let mut table = write.open_table(OFFSETS)?;
                for (partition, position) in &rows {
                    table.insert(partition.as_str(), position.as_bytes())?;
                }
                Ok(true)
            })
        })
    }

    fn reset<'a>(&'a self, partition: &'a str, fence: Fence) -> BoxFuture<'a, Result<bool>> {
        let partition = partition.to_owned();
        self.blocking(move |inner| {
            inner.write(|write| Ok(is_last(write, fence)? && write.open_table(OFFSETS)?.remove(partition.as_str())?.is_some()))
        })
    }

    fn acquire<'a>(&'a self, owner: &'a str, ttl: Duration) -> BoxFuture<'a, Result<Acquired>> {
        let owner = owner.to_owned();
        self.blocking(move |inner| inner.acquire(owner, ttl))
    }

    fn renew(&self, fence: Fence, ttl: Duration) -> BoxFuture<'_, Result<bool>> {
        self.blocking(move |inner| inner.last_until(fence, Instant::now() + ttl))
    }

    fn release(&self, fence: Fence) -> BoxFuture<'_, Result<()>> {
        self.blocking(move |inner| inner.last_until(fence, Instant::now()).map(drop))
    }

    fn store(&self, _: Fence) -> Option<Store> {
        None
    }

    fn place(&self) -> &str {
        &self.0.file
    }

    fn is_shared(&self) -> bool {
        false
    }
}

fn unusable(file: &str, error: impl Into<BoxError>) -> Error {
    Error::unavailable(codes::OFFSETS_UNUSABLE, format!("the offsets in {file} can't be used")).because(error).hint(
        "If another process holds the file, stop it. If it is damaged, restore a copy, or move it away: the source then starts from its beginning.",
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_damaged_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("offsets.redb"), vec![7; 8192]).unwrap();
        let error = FileStore::open(dir.path()).err().unwrap();
        assert!(error.reason().contains("offsets.redb"), "{error}");
    }
}
