//! State of a source's own, in a table beside the offsets. Only the holder of the lease writes it.
//!
//! A write is one statement, which takes its own lock on the lease, as every write of offsets is. It also looks whether the writer
//! of the store is still the one that sent it: a row says which. A writer whose statement failed can't know whether the database
//! still has it on the way; it becomes another writer before the next one, and the old statement finds the row changed.
//!
//! | key | value |
//! |---|---|
//! | a key of the store | its value; none when the key was removed, until the row is deleted |
//! | `FE` | the writer |
//! | `FF`, the writer, a key | a part of a batch that is too large for one statement |
//!
//! No key of the store begins with `FE` or `FF`: it is UTF-8. The rows of a large batch take effect together, by one statement.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use openconnect_core::codes::STORE_FAILED;
use openconnect_core::failure::{Failure, FailureKind};
use openconnect_core::offsets::{Fence, lease_lost};
use openconnect_core::store::{Change, StoreBackend, StoreEntry, StoreUsage};
use sqlx::Row;
use sqlx::any::AnyRow;
use tokio::sync::Mutex;

use crate::database::{Bind, DatabaseError, StateDatabase};

/// How long one statement may take. It is longer than for offsets: at its first use the store is measured.
const LIMIT: Duration = Duration::from_secs(10);
/// Entries of one statement; SQLite takes 500 parts of a union.
const CHUNK_ENTRIES: usize = 200;
/// Bytes of keys and values in one statement: with its text less than the smallest packet that MySQL is commonly set to take (1 MiB).
const CHUNK_BYTES: usize = 800 << 10;

/// The key of the row that names the writer. Also the first key after all keys of the store.
const WRITER_KEY: &[u8] = &[0xFE];
/// Before the writer and the key of a part of a large batch.
const STAGED: u8 = 0xFF;

/// The store of the instance whose lease has the number `fence`.
pub(crate) struct SqlBackend {
    database: StateDatabase,
    fence: Fence,
    writing: Mutex<Writing>,
}

/// Where the one that writes is, and how much is in the store.
#[derive(Default)]
struct Writing {
    writers: u64,
    /// None before the first write, and after one that failed.
    usage: Option<StoreUsage>,
}

/// Changes by key, the last one of each.
type Changes = BTreeMap<String, Option<Vec<u8>>>;
type Part<'a> = Vec<(&'a [u8], Option<&'a [u8]>)>;

/// One holder of a lease is many writers, one after the other. Their names grow, also over leases.
#[derive(Clone, Copy)]
struct Writer {
    fence: Fence,
    number: u64,
}

impl Writer {
    fn name(self) -> [u8; 16] {
        let mut name = [0; 16];
        name[..8].copy_from_slice(&self.fence.to_be_bytes());
        name[8..].copy_from_slice(&self.number.to_be_bytes());
        name
    }

    /// Before the keys of a large batch.
    fn prefix(self) -> Vec<u8> {
        let mut prefix = vec![STAGED];
        prefix.extend(self.name());
        prefix
    }

    fn next(self) -> Self {
        Self {
            number: self.number + 1,
            ..self
        }
    }
}

impl SqlBackend {
    pub(crate) fn new(database: &StateDatabase, fence: Fence) -> Self {
        Self {
            database: database.with_limit(LIMIT),
            fence,
            writing: Mutex::new(Writing::default()),
        }
    }

    fn instance(&self) -> Bind<'_> {
        Bind::Text(&self.database.instance)
    }

    fn unusable(&self, error: DatabaseError) -> Failure {
        let message = format!("the store in {} can't be used at the moment", self.database.place);
        Failure::retryable(STORE_FAILED, message).because(error)
    }

    async fn change(&self, template: &str, values: &[Bind<'_>]) -> Result<u64, Failure> {
        self.database.change(template, values).await.map_err(|e| self.unusable(e))
    }

    /// A write that the lease and the writer's row allow: none changed means that another process has the lease.
    async fn fenced(&self, template: &str, values: &[Bind<'_>]) -> Result<(), Failure> {
        match self.change(template, values).await? {
            0 => Err(Failure::of(FailureKind::Fatal, lease_lost(&self.database.place))),
            _ => Ok(()),
        }
    }

    async fn entries<T>(
        &self,
        template: &str,
        values: &[Bind<'_>],
        decode: impl Fn(&AnyRow) -> sqlx::Result<T>,
    ) -> Result<Vec<T>, Failure> {
        self.database.query(template, values, decode).await.map_err(|e| self.unusable(e))
    }

    /// Shuts out the statements of all writers before this one, and what they left; then measures.
    async fn begin(&self, writer: Writer) -> Result<StoreUsage, Failure> {
        let begin = "INSERT INTO {p}store (instance, entry_key, value, fence) \
                     SELECT l.instance, v.entry_key, v.value, l.fence FROM {p}leases l \
                     CROSS JOIN (SELECT entry_key, value FROM {p}store WHERE 1 = 0 UNION ALL SELECT ?, ?) v \
                     WHERE l.instance = ? AND l.fence = ? {lock} \
                     {on entry} value = {new value new}, fence = {new fence new}";
        let name = writer.name();
        let row = [Bind::Bytes(Some(WRITER_KEY)), Bind::Bytes(Some(&name))];
        self.fenced(begin, &[row[0], row[1], self.instance(), Bind::Number(self.fence)])
            .await?;
        self.clean(writer).await?;
        self.measure("entry_key < ?", &[Bind::Bytes(Some(WRITER_KEY))]).await
    }

    /// Deletes what nobody sees: removed keys, and parts of the batches of writers before this one. An older process may do it too.
    async fn clean(&self, writer: Writer) -> Result<(), Failure> {
        let delete = "DELETE FROM {p}store WHERE instance = ? AND (entry_key >= ? AND entry_key < ? OR entry_key < ? AND value IS NULL)";
        let (first, end) = ([STAGED], writer.prefix());
        let keys = [first.as_slice(), &end, WRITER_KEY].map(|key| Bind::Bytes(Some(key)));
        self.change(delete, &[self.instance(), keys[0], keys[1], keys[2]]).await.map(drop)
    }

    async fn measure(&self, which: &str, keys: &[Bind<'_>]) -> Result<StoreUsage, Failure> {
        let query = format!(
            "SELECT COUNT(*), CAST(COALESCE(SUM(LENGTH(entry_key) + LENGTH(value)), 0) AS {{whole}}) FROM {{p}}store \
             WHERE instance = ? AND value IS NOT NULL AND {which}"
        );
        let values: Vec<_> = std::iter::once(self.instance()).chain(keys.iter().copied()).collect();
        let number = |row: &AnyRow, column| Ok::<_, sqlx::Error>(usize::try_from(row.try_get::<i64, _>(column)?).unwrap_or(0));
        let decode = |row: &AnyRow| {
            Ok(StoreUsage {
                entries: number(row, 0)?,
                bytes: number(row, 1)?,
            })
        };
        Ok(self.entries(&query, &values, decode).await?.into_iter().next().unwrap_or_default())
    }

    /// How much there would be after the changes.
    async fn usage_after(&self, before: StoreUsage, changes: &Changes) -> Result<StoreUsage, Failure> {
        let mut usage = before;
        for (key, value) in changes {
            if let Some(value) = value {
                usage.add(key, value.len());
            }
        }
        let keys: Vec<_> = changes.keys().map(|key| Bind::Bytes(Some(key.as_bytes()))).collect();
        for keys in keys.chunks(CHUNK_ENTRIES) {
            usage.subtract(self.measure(&format!("entry_key IN ({})", list(keys.len())), keys).await?);
        }
        Ok(usage)
    }

    async fn make(&self, changes: &Changes) -> Result<(), Failure> {
        let mut writing = self.writing.lock().await;
        let parts = parts(changes);
        // A large batch has the rows of its writer for itself.
        let known = writing.usage.take().filter(|_| parts.len() == 1);
        let before = match known {
            Some(usage) => usage,
            None => {
                writing.writers += 1;
                self.begin(self.writer(&writing)).await?
            }
        };
        let writer = self.writer(&writing);
        let after = self.usage_after(before, changes).await?;
        if let Err(full) = after.check(before) {
            writing.usage = Some(before);
            return Err(full);
        }
        match parts.as_slice() {
            [all] => self.write(writer, all).await?,
            parts => self.write_in_parts(writer, parts).await?,
        }
        // The changes are durable. What can't be deleted now, the next writer deletes.
        if self.delete_leftovers(writer, changes, parts.len()).await.is_ok() {
            writing.usage = Some(after);
        }
        Ok(())
    }

    fn writer(&self, writing: &Writing) -> Writer {
        Writer {
            fence: self.fence,
            number: writing.writers,
        }
    }

    async fn write(&self, writer: Writer, part: &Part<'_>) -> Result<(), Failure> {
        // The empty first part of the union gives the others the types of the columns.
        let write = format!(
            "INSERT INTO {{p}}store (instance, entry_key, value, fence) \
             SELECT l.instance, v.entry_key, v.value, l.fence FROM {{p}}leases l JOIN {{p}}store w ON w.instance = l.instance \
             CROSS JOIN (SELECT entry_key, value FROM {{p}}store WHERE 1 = 0{}) v \
             WHERE l.instance = ? AND l.fence = ? AND w.entry_key = ? AND w.value = ? {{lock writer}} \
             {{on entry}} value = {{new value new}}, fence = {{new fence new}}",
            " UNION ALL SELECT ?, ?".repeat(part.len())
        );
        let name = writer.name();
        let mut values = Vec::with_capacity(part.len() * 2 + 4);
        for (key, value) in part {
            values.extend([Bind::Bytes(Some(key)), Bind::Bytes(*value)]);
        }
        values.extend(self.allowed(&name));
        self.fenced(&write, &values).await
    }

    /// Lays the parts aside, then takes all of them with one statement.
    async fn write_in_parts(&self, writer: Writer, parts: &[Part<'_>]) -> Result<(), Failure> {
        let prefix = writer.prefix();
        for part in parts {
            let keys: Vec<_> = part.iter().map(|(key, _)| [prefix.as_slice(), key].concat()).collect();
            let staged = keys.iter().zip(part).map(|(key, (_, value))| (key.as_slice(), *value)).collect();
            self.write(writer, &staged).await?;
        }
        let take = format!(
            "INSERT INTO {{p}}store (instance, entry_key, value, fence) \
             SELECT l.instance, SUBSTR(s.entry_key, {}), s.value, l.fence FROM {{p}}leases l JOIN {{p}}store w ON w.instance = l.instance \
             JOIN {{p}}store s ON s.instance = l.instance \
             WHERE l.instance = ? AND l.fence = ? AND w.entry_key = ? AND w.value = ? AND s.entry_key >= ? AND s.entry_key < ? {{lock writer}} \
             {{on entry}} value = {{new value new}}, fence = {{new fence new}}",
            prefix.len() + 1
        );
        let (name, end) = (writer.name(), writer.next().prefix());
        let mut values = self.allowed(&name).to_vec();
        values.extend([Bind::Bytes(Some(&prefix)), Bind::Bytes(Some(&end))]);
        self.fenced(&take, &values).await
    }

    /// What the lease and the writer's row must be.
    fn allowed<'a>(&'a self, name: &'a [u8; 16]) -> [Bind<'a>; 4] {
        [
            self.instance(),
            Bind::Number(self.fence),
            Bind::Bytes(Some(WRITER_KEY)),
            Bind::Bytes(Some(name)),
        ]
    }

    async fn delete_leftovers(&self, writer: Writer, changes: &Changes, parts: usize) -> Result<(), Failure> {
        if parts > 1 {
            return self.clean(writer.next()).await;
        }
        let removed = changes.iter().filter(|(_, value)| value.is_none());
        let mut values = vec![self.instance()];
        values.extend(removed.map(|(key, _)| Bind::Bytes(Some(key.as_bytes()))));
        if values.len() == 1 {
            return Ok(());
        }
        let delete = format!(
            "DELETE FROM {{p}}store WHERE instance = ? AND value IS NULL AND entry_key IN ({})",
            list(values.len() - 1)
        );
        self.change(&delete, &values).await.map(drop)
    }
}

/// That many parameters.
fn list(parameters: usize) -> String {
    vec!["?"; parameters].join(", ")
}

/// The changes of each statement.
fn parts(changes: &Changes) -> Vec<Part<'_>> {
    let mut parts: Vec<Part<'_>> = Vec::new();
    let mut bytes = 0;
    for (key, value) in changes {
        let size = key.len() + value.as_ref().map_or(0, Vec::len);
        match parts.last_mut() {
            Some(part) if part.len() < CHUNK_ENTRIES && bytes + size <= CHUNK_BYTES => {
                part.push((key.as_bytes(), value.as_deref()));
                bytes += size;
            }
            _ => {
                parts.push(vec![(key.as_bytes(), value.as_deref())]);
                bytes = size;
            }
        }
    }
    parts
}

/// The first key after all that begin with `prefix`.
fn after(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    match end.last_mut() {
        // UTF-8 has no byte FF.
        Some(last) => *last += 1,
        None => end = WRITER_KEY.to_vec(),
    }
    end
}

impl StoreBackend for SqlBackend {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, Failure>> {
        async move {
            let query = "SELECT value FROM {p}store WHERE instance = ? AND entry_key = ? AND value IS NOT NULL";
            let values = [self.instance(), Bind::Bytes(Some(key.as_bytes()))];
            let found = self.entries(query, &values, |row| row.try_get(0)).await?;
            Ok(found.into_iter().next())
        }
        .boxed()
    }

    fn list<'a>(&'a self, prefix: &'a str, limit: usize) -> BoxFuture<'a, Result<Vec<StoreEntry>, Failure>> {
        async move {
            let query = format!(
                "SELECT entry_key, value FROM {{p}}store WHERE instance = ? AND entry_key >= ? AND entry_key < ? AND value IS NOT NULL \
                 ORDER BY entry_key LIMIT {limit}"
            );
            let end = after(prefix);
            let values = [self.instance(), Bind::Bytes(Some(prefix.as_bytes())), Bind::Bytes(Some(&end))];
            let entry = |row: &AnyRow| {
                let key = String::from_utf8(row.try_get(0)?).map_err(|e| sqlx::Error::Decode(e.into()))?;
                Ok((key, row.try_get(1)?))
            };
            self.entries(&query, &values, entry).await
        }
        .boxed()
    }

    fn apply(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<(), Failure>> {
        async move {
            let changes: Changes = changes.into_iter().map(Change::into_parts).collect();
            if changes.is_empty() {
                return Ok(());
            }
            self.make(&changes).await
        }
        .boxed()
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use openconnect_core::offsets::{Acquired, OffsetStore as _};

    use super::*;
    use crate::SqlOffsetStore;

    #[tokio::test]
    async fn what_an_earlier_writer_has_on_the_way_changes_nothing_later() {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", dir.path().join("state.db").display());
        let offsets = SqlOffsetStore::open(&url, "oc_", "a/a", Duration::from_secs(60)).await.unwrap();
        let Acquired::Granted(fence) = offsets.acquire("me", Duration::from_secs(60)).await.unwrap() else {
            panic!("the lease is free")
        };
        let backend = SqlBackend::new(offsets.database(), fence);
        let [first, second] = [1, 2].map(|number| Writer { fence, number });
        backend.begin(first).await.unwrap();
        let changes: Part<'_> = vec![(b"k", Some(b"late"))];
        backend.write(first, &changes).await.unwrap();
        backend.begin(second).await.unwrap();
        backend.write(second, &vec![(b"k", Some(b"new"))]).await.unwrap();
        // One statement, a part of a batch that is laid aside, and the one that takes all parts.
        assert!(backend.write(first, &changes).await.is_err());
        assert!(backend.write_in_parts(first, &[changes.clone(), changes]).await.is_err());
        assert_eq!(backend.get("k").await.unwrap().unwrap(), b"new");
        // It deletes nothing that a later one has laid aside.
        let aside = [second.prefix().as_slice(), b"j"].concat();
        backend.write(second, &vec![(&aside, Some(b"v"))]).await.unwrap();
        backend.clean(first.next()).await.unwrap();
        backend.write_in_parts(second, &[]).await.unwrap();
        assert_eq!(backend.get("j").await.unwrap().unwrap(), b"v");
    }

    #[test]
    fn a_statement_has_a_bounded_number_of_entries_and_bytes() {
        let change = |n: usize, bytes: usize| (format!("{n:06}"), Some(vec![0; bytes]));
        let sizes = |changes: Changes| parts(&changes).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes((0..401).map(|n| change(n, 1)).collect()), [200, 200, 1]);
        assert_eq!(sizes((0..7).map(|n| change(n, 256 << 10)).collect()), [3, 3, 1]);
    }
}
