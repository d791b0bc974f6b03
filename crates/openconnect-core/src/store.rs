//! State of a connector's own: a small, durable key-value store of the instance.
//!
//! For what a connector has to remember across restarts and the engine does not know: message ids, stored answers, which objects were
//! read, what a rate limit has spent. It is not a place for events. It is a file in the state folder, or, where a source's offsets are
//! in a database, a table beside them, so that a standby finds it when it takes over (see [`StoreBackend`]).
//!
//! What a method of [`Store`] has written is durable when it returns: it survives a kill and a power failure. A write that was
//! interrupted has happened whole or not at all. Keys that begin
//! with `_` belong to the engine.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), openconnect_core::Failure> {
//! use openconnect_core::store::{Change, Store};
//!
//! let store = Store::in_memory();
//! store.put("message/4711", b"1738").await?;
//! assert_eq!(store.get("message/4711").await?.as_deref(), Some(&b"1738"[..]));
//! // Several changes together, all or none:
//! store.apply(vec![Change::remove("message/4711"), Change::put("last", b"4711")]).await?;
//! assert!(store.list("message/", 10).await?.is_empty());
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use openconnect_error::codes::TASK_ENDED;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use crate::codes;
use crate::failure::Failure;

/// Longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 512;
/// Largest value, in bytes.
pub const MAX_VALUE_BYTES: usize = 256 << 10;
/// Largest number of entries.
pub const MAX_ENTRIES: usize = 100_000;
/// Largest size of all keys and values, in bytes.
pub const MAX_TOTAL_BYTES: usize = 64 << 20;
/// Entries that [`Store::list`] gives at once, at the most.
pub const MAX_LISTED: usize = 1_000;

const ENTRIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("entries");
/// Cache of the database library, whose default of a gigabyte is for large databases.
const CACHE_BYTES: usize = 1 << 20;

/// One change of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    key: String,
    value: Option<Vec<u8>>,
}

impl Change {
    /// Sets the value of a key.
    pub fn put(key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        let value = Some(value.into());
        Self { key: key.into(), value }
    }

    /// Removes a key; one that is absent is no error.
    pub fn remove(key: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            value: None,
        }
    }

    /// The key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The new value; none removes the key.
    pub fn value(&self) -> Option<&[u8]> {
        self.value.as_deref()
    }

    /// The key, and its new value; none removes the key.
    pub fn into_parts(self) -> (String, Option<Vec<u8>>) {
        (self.key, self.value)
    }
}

/// Key and value.
pub type StoreEntry = (String, Vec<u8>);

/// Where a store is kept. The core has a file and, for tests, memory; offsets in a database bring one of their own
/// ([`OffsetStore::store`](crate::offsets::OffsetStore::store)). Sizes of single keys and values are checked before it is called.
pub trait StoreBackend: Send + Sync + 'static {
    /// The value of a key.
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, Failure>>;

    /// The first entries whose keys begin with `prefix`, in the order of their keys, at most `limit`.
    fn list<'a>(&'a self, prefix: &'a str, limit: usize) -> BoxFuture<'a, Result<Vec<StoreEntry>, Failure>>;

    /// Makes all changes or none, durably, in their order where they name a key twice; refuses what would go beyond
    /// [`MAX_ENTRIES`] or [`MAX_TOTAL_BYTES`] ([`StoreUsage::check`]).
    fn apply(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<(), Failure>>;
}

/// The store of one instance. Cheap to clone. See the [module](self).
#[derive(Clone)]
pub struct Store(Arc<dyn StoreBackend>);

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

impl Store {
    /// A store that is kept there.
    pub fn new(backend: impl StoreBackend) -> Self {
        Self(Arc::new(backend))
    }

    /// A store that ends with the process, for tests.
    pub fn in_memory() -> Self {
        Self::new(MemoryStore::default())
    }

    /// The store in `store.redb` of a folder, which no other process uses. The file is opened, or made, at the first use.
    pub fn in_folder(folder: &Path) -> Self {
        Self::new(FileStore(Arc::new(Lazy {
            path: folder.join("store.redb"),
            opened: Mutex::new(None),
        })))
    }

    /// The value of a key.
    ///
    /// # Errors
    ///
    /// Retryable when the store can't be read at the moment (`OC0241`); fatal when its file can't be opened (`OC0240`).
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        self.0.get(key).await
    }

    /// The first entries whose keys begin with `prefix`, in the order of their keys: at most `limit`, and never more than
    /// [`MAX_LISTED`].
    ///
    /// # Errors
    ///
    /// Retryable when the store can't be read at the moment (`OC0241`); fatal when its file can't be opened (`OC0240`).
    pub async fn list(&self, prefix: &str, limit: usize) -> Result<Vec<StoreEntry>, Failure> {
        self.0.list(prefix, limit.min(MAX_LISTED)).await
    }

    /// Sets the value of a key. It is durable when this returns.
    ///
    /// # Errors
    ///
    /// As [`Self::apply`].
    pub async fn put(&self, key: &str, value: &[u8]) -> Result<(), Failure> {
        self.apply(vec![Change::put(key, value)]).await
    }

    /// Removes a key. It is durably gone when this returns.
    ///
    /// # Errors
    ///
    /// As [`Self::apply`].
    pub async fn remove(&self, key: &str) -> Result<(), Failure> {
        self.apply(vec![Change::remove(key)]).await
    }

    /// Makes all changes or none. They are durable when this returns; when it is dropped before, they may or may not have been made.
    ///
    /// # Errors
    ///
    /// Permanent when a key or a value is too large (`OC0242`); retryable when the store is full (`OC0243`: remove entries first) or
    /// can't be written at the moment (`OC0241`: the changes may have been made or not); fatal when its file can't be opened
    /// (`OC0240`), or when another process has taken over this one's lease (`OC0213`).
    pub async fn apply(&self, changes: Vec<Change>) -> Result<(), Failure> {
        for Change { key, value } in &changes {
            let (bytes, value_bytes) = (key.len(), value.as_ref().map_or(0, Vec::len));
            if key.is_empty() || bytes > MAX_KEY_BYTES || value_bytes > MAX_VALUE_BYTES {
                let limits = format!("a key has 1 to {MAX_KEY_BYTES} bytes, a value at most {MAX_VALUE_BYTES}");
                let message = format!("an entry of {bytes} and {value_bytes} bytes can't be stored: {limits}");
                return Err(Failure::permanent(codes::STORE_ENTRY_TOO_LARGE, message));
            }
        }
        self.0.apply(changes).await
    }
}

/// How much is in a store.
#[derive(Debug, Clone, Copy, Default)]
pub struct StoreUsage {
    /// Entries.
    pub entries: usize,
    /// Bytes of all keys and values.
    pub bytes: usize,
}

impl StoreUsage {
    /// An entry more.
    pub fn add(&mut self, key: &str, value_bytes: usize) {
        self.entries += 1;
        self.bytes += key.len() + value_bytes;
    }

    /// What of it is no longer there.
    pub fn subtract(&mut self, gone: Self) {
        self.entries = self.entries.saturating_sub(gone.entries);
        self.bytes = self.bytes.saturating_sub(gone.bytes);
    }

    /// Refuses what is beyond the bounds, unless it got less.
    ///
    /// # Errors
    ///
    /// Retryable, `OC0243`.
    pub fn check(self, before: Self) -> Result<(), Failure> {
        let fits = |now: usize, before: usize, most: usize| now <= most || now <= before;
        if fits(self.entries, before.entries, MAX_ENTRIES) && fits(self.bytes, before.bytes, MAX_TOTAL_BYTES) {
            return Ok(());
        }
        let limits = format!("it holds at most {MAX_ENTRIES} entries and {MAX_TOTAL_BYTES} bytes");
        Err(Failure::retryable(
            codes::STORE_FULL,
            format!("the connector's store is full: {limits}"),
        ))
    }
}

/// The file in the state folder. The folder's lock keeps other processes away.
struct FileStore(Arc<Lazy>);

struct Lazy {
    path: PathBuf,
    opened: Mutex<Option<Arc<Opened>>>,
}

struct Opened {
    database: Database,
    path: String,
    /// Locked by the one that writes, for as long as it does.
    usage: Mutex<StoreUsage>,
}

/// Why a write transaction was given up.
enum Refused {
    Database(redb::Error),
    Full(Failure),
}

impl<E: Into<redb::Error>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self::Database(error.into())
    }
}

impl FileStore {
    /// Runs what waits for the disk on a thread for that.
    fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Opened) -> Result<T, Failure> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, Failure>> {
        let file = Arc::clone(&self.0);
        async move {
            let done = tokio::task::spawn_blocking(move || work(&*file.open()?)).await;
            done.map_err(|e| Failure::fatal(TASK_ENDED, "the store ended abnormally").because(e))?
        }
        .boxed()
    }
}

impl Lazy {
    fn open(&self) -> Result<Arc<Opened>, Failure> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(opened) = &*opened {
            return Ok(Arc::clone(opened));
        }
        let path = self.path.display().to_string();
        let open = || -> Result<_, redb::Error> {
            let database = Database::builder().set_cache_size(CACHE_BYTES).create(&self.path)?;
            let usage = Mutex::new(measure(&database)?);
            Ok((database, usage))
        };
        let (database, usage) = open().map_err(|e| {
            let advice = "if it is damaged, restore a copy, or move it away: the connector then starts without what it remembered";
            Failure::fatal(codes::STORE_UNAVAILABLE, format!("the store {path} can't be opened; {advice}")).because(e)
        })?;
        Ok(Arc::clone(opened.insert(Arc::new(Opened { database, path, usage }))))
    }
}

fn measure(database: &Database) -> Result<StoreUsage, redb::Error> {
    // Makes the table, so that every later read finds it.
    let write = database.begin_write()?;
    write.open_table(ENTRIES)?;
    write.commit()?;
    let mut usage = StoreUsage::default();
    for entry in database.begin_read()?.open_table(ENTRIES)?.iter()? {
        let (key, value) = entry?;
        usage.add(key.value(), value.value().len());
    }
    Ok(usage)
}

impl Opened {
    fn unusable(&self, error: redb::Error) -> Failure {
        Failure::retryable(codes::STORE_FAILED, format!("the store {} can't be used at the moment", self.path)).because(error)
    }

    fn read<T>(&self, read: impl FnOnce(redb::ReadOnlyTable<&'static str, &'static [u8]>) -> Result<T, redb::Error>) -> Result<T, Failure> {
        let table = || -> Result<_, redb::Error> { Ok(self.database.begin_read()?.open_table(ENTRIES)?) };
        table().and_then(read).map_err(|e| self.unusable(e))
    }

    fn apply(&self, changes: &[Change]) -> Result<(), Failure> {
        let mut usage = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        match self.write(changes, *usage) {
            Ok(now) => *usage = now,
            Err(Refused::Full(failure)) => return Err(failure),
            Err(Refused::Database(error)) => return Err(self.unusable(error)),
        }
        Ok(())
    }

    /// Gives the usage after the changes. A transaction that is dropped leaves nothing.
    fn write(&self, changes: &[Change], before: StoreUsage) -> Result<StoreUsage, Refused> {
        let mut usage = before;
        let mut write = self.database.begin_write()?;
        write.set_durability(Durability::Immediate)?;
        {
            let mut table = write.open_table(ENTRIES)?;
            for Change { key, value } in changes {
                let old = match value {
                    Some(value) => table.insert(key.as_str(), value.as_slice())?.map(|old| old.value().len()),
                    None => table.remove(key.as_str())?.map(|old| old.value().len()),
                };
                if let Some(old) = old {
                    usage.subtract(StoreUsage {
                        entries: 1,
                        bytes: key.len() + old,
                    });
                }
                if let Some(value) = value {
                    usage.add(key, value.len());
                }
            }
        }
        usage.check(before).map_err(Refused::Full)?;
        write.commit()?;
        Ok(usage)
    }
}

impl StoreBackend for FileStore {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, Failure>> {
        let key = key.to_owned();
        self.blocking(move |file| file.read(|table| Ok(table.get(key.as_str())?.map(|value| value.value().to_vec()))))
    }

    fn list<'a>(&'a self, prefix: &'a str, limit: usize) -> BoxFuture<'a, Result<Vec<StoreEntry>, Failure>> {
        let prefix = prefix.to_owned();
        self.blocking(move |file| {
            file.read(|table| {
                let mut found = Vec::new();
                for entry in table.range(prefix.as_str()..)?.take(limit) {
                    let (key, value) = entry?;
                    if !key.value().starts_with(&prefix) {
                        break;
                    }
                    found.push((key.value().to_owned(), value.value().to_vec()));
                }
                Ok(found)
            })
        })
    }

    fn apply(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<(), Failure>> {
        self.blocking(move |file| file.apply(&changes))
    }
}

/// For tests. It has the same bounds.
#[derive(Default)]
struct MemoryStore(Mutex<BTreeMap<String, Vec<u8>>>);

impl MemoryStore {
    fn entries(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn usage_of(entries: &BTreeMap<String, Vec<u8>>) -> StoreUsage {
    let mut usage = StoreUsage::default();
    entries.iter().for_each(|(key, value)| usage.add(key, value.len()));
    usage
}

impl StoreBackend for MemoryStore {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, Failure>> {
        std::future::ready(Ok(self.entries().get(key).cloned())).boxed()
    }

    fn list<'a>(&'a self, prefix: &'a str, limit: usize) -> BoxFuture<'a, Result<Vec<StoreEntry>, Failure>> {
        let entries = self.entries();
        let found = entries
            .range(prefix.to_owned()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(limit);
        std::future::ready(Ok(found.map(|(key, value)| (key.clone(), value.clone())).collect())).boxed()
    }

    fn apply(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<(), Failure>> {
        let mut entries = self.entries();
        let mut changed = entries.clone();
        for Change { key, value } in changes {
            match value {
                Some(value) => drop(changed.insert(key, value)),
                None => drop(changed.remove(&key)),
            }
        }
        let checked = usage_of(&changed).check(usage_of(&entries));
        if checked.is_ok() {
            *entries = changed;
        }
        std::future::ready(checked).boxed()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn what_was_written_is_there_after_a_crash() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::in_folder(dir.path());
        store.put("a/1", b"one").await.unwrap();
        store
            .apply(vec![Change::put("a/2", b"two"), Change::put("b", b"three"), Change::remove("a/1")])
            .await
            .unwrap();
        // The file as a killed process leaves it: copied while it is open.
        let after = tempfile::tempdir().unwrap();
        std::fs::copy(dir.path().join("store.redb"), after.path().join("store.redb")).unwrap();
        let found = Store::in_folder(after.path());
        assert_eq!(found.get("a/1").await.unwrap(), None);
        assert_eq!(found.list("a/", 10).await.unwrap(), [("a/2".to_owned(), b"two".to_vec())]);
        assert_eq!(found.list("", 1).await.unwrap().len(), 1);
        assert_eq!(found.get("b").await.unwrap().unwrap(), b"three");
    }

    #[tokio::test]
    async fn a_damaged_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("store.redb"), vec![7; 8192]).unwrap();
        let failure = Store::in_folder(dir.path()).get("a").await.unwrap_err();
        assert!(failure.code == "OC0240" && failure.to_string().contains("store.redb"), "{failure}");
        let cause = std::error::Error::source(&failure).map(ToString::to_string).unwrap();
        assert_eq!(failure.reason().matches(&cause).count(), 1, "{failure:#}");
    }
}
