//! A source's positions: one JSON value a partition, in a local transactional file.

use std::collections::BTreeMap;
use std::path::Path;

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use crate::error::{Error, Result};

const OFFSETS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("offsets");
/// Positions are few and small; the library's default cache of a gigabyte is for databases.
const CACHE: usize = 1 << 20;

/// The offsets of one instance. Every call blocks for the time of a disk write at the most.
pub struct OffsetStore {
    database: Database,
    file: String,
}

impl OffsetStore {
    /// Opens or makes `offsets.redb` in the instance's folder.
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join("offsets.redb");
        let file = path.display().to_string();
        let database = Database::builder()
            .set_cache_size(CACHE)
            .create(&path)
            .map_err(|e| unusable(&file, e))?;
        Ok(Self { database, file })
    }

    /// Every partition's position.
    pub fn all(&self) -> Result<BTreeMap<String, serde_json::Value>> {
        let read = self.database.begin_read().map_err(|e| unusable(&self.file, e))?;
        let table = match read.open_table(OFFSETS) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(BTreeMap::new()),
            Err(e) => return Err(unusable(&self.file, e)),
        };
        let mut all = BTreeMap::new();
        for entry in table.iter().map_err(|e| unusable(&self.file, e))? {
            let (partition, position) = entry.map_err(|e| unusable(&self.file, e))?;
            let position = serde_json::from_slice(position.value()).map_err(|e| unusable(&self.file, e))?;
            all.insert(partition.value().to_owned(), position);
        }
        Ok(all)
    }

    /// Stores these positions together; they are durable when it returns.
    pub fn commit(&self, positions: &[(&str, serde_json::Value)]) -> Result<()> {
        self.write(|table| {
            for (partition, position) in positions {
                table.insert(*partition, position.to_string().as_bytes())?;
            }
            Ok(())
        })
    }

    /// Sets one partition's position.
    pub fn set(&self, partition: &str, position: serde_json::Value) -> Result<()> {
        self.commit(&[(partition, position)])
    }

    /// Forgets one partition's position; says whether there was one.
    pub fn reset(&self, partition: &str) -> Result<bool> {
        let mut known = false;
        self.write(|table| {
            known = table.remove(partition)?.is_some();
            Ok(())
        })?;
        Ok(known)
    }

    fn write(&self, change: impl FnOnce(&mut redb::Table<'_, &str, &[u8]>) -> Result<(), redb::StorageError>) -> Result<()> {
        let run = || -> Result<(), redb::Error> {
            let mut write = self.database.begin_write()?;
            write.set_durability(Durability::Immediate)?;
            change(&mut write.open_table(OFFSETS)?)?;
            write.commit()?;
            Ok(())
        };
        run().map_err(|e| unusable(&self.file, e))
    }
}

fn unusable(file: &str, error: impl std::fmt::Display) -> Error {
    Error::unavailable("OC0210", format!("the offsets in {file} can't be used: {error}")).hint(
        "If another process holds the file, stop it. If it is damaged, restore a copy, or move it away: the source then starts from its beginning.",
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn positions_survive_a_reopen_and_a_reset_forgets_one() {
        let dir = tempfile::tempdir().unwrap();
        let store = OffsetStore::open(dir.path()).unwrap();
        assert!(store.all().unwrap().is_empty());
        store
            .commit(&[("a", json!({"lsn": 18446744073709551615u64})), ("b", json!(2))])
            .unwrap();
        drop(store);
        let store = OffsetStore::open(dir.path()).unwrap();
        assert_eq!(store.all().unwrap()["a"], json!({"lsn": 18446744073709551615u64}));
        assert!(store.reset("a").unwrap());
        assert!(!store.reset("a").unwrap());
        assert_eq!(store.all().unwrap().len(), 1);
    }

    #[test]
    fn a_damaged_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("offsets.redb"), vec![7; 8192]).unwrap();
        let error = OffsetStore::open(dir.path()).err().unwrap();
        assert!(error.message.contains("offsets.redb"), "{error}");
    }
}
