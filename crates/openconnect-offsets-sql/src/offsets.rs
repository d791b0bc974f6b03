//! Positions and the lease of one instance, in two tables.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::Value;
use sqlx::Row;
use sqlx::any::AnyRow;

use openconnect_core::codes::{OFFSET_UNREADABLE, OFFSETS_DATABASE};
use openconnect_core::offsets::{Acquired, Fence, OffsetStore, Positions};
use openconnect_core::store::Store;
use openconnect_core::{Error, Result};

use crate::address::Address;
use crate::codes;
use crate::database::{Bind, DatabaseError, StateDatabase};
use crate::store::SqlBackend;

/// Longest position as JSON, in bytes.
const MAX_POSITION: usize = 1 << 20;
/// Longest name of a partition, in characters.
const MAX_PARTITION: usize = 500;
/// Rows of one statement; each has two parameters.
const ROWS: usize = 200;

/// The offsets and the lease of one instance in the tables `<prefix>offsets` and `<prefix>leases`, and beside them a source's own
/// state in `<prefix>store`. All instances share the tables.
pub struct SqlOffsetStore(StateDatabase);

impl SqlOffsetStore {
    /// Connects to `url` and makes the tables where they do not exist. One call takes a third of `lease_ttl` at the most, and
    /// between 1 s and 10 s.
    ///
    /// # Errors
    ///
    /// `OC0215`: the URL is of no supported database, or of one whose driver is not in this build. `OC0212`: the database
    /// cannot be reached, or refuses.
    pub async fn open(url: &str, prefix: &str, instance: &str, lease_ttl: Duration) -> Result<Self> {
        sqlx::any::install_default_drivers();
        let limit = (lease_ttl / 3).clamp(Duration::from_secs(1), Duration::from_secs(10));
        let store = Self(StateDatabase::new(Address::parse(url)?, prefix, instance, limit));
        store.0.make_tables().await.map_err(|e| store.unusable(e))?;
        Ok(store)
    }

    #[cfg(test)]
    pub(crate) fn database(&self) -> &StateDatabase {
        &self.0
    }

    fn unusable(&self, error: DatabaseError) -> Error {
        Error::unavailable(OFFSETS_DATABASE, format!("the offsets in {} can't be used", self.0.place))
            .because(error)
            .hint("Is the database up, and may this user use the tables? docs/scaling.md has the rights it needs.")
    }

    /// One statement; how many rows it changed.
    async fn change(&self, template: &str, values: &[Bind<'_>]) -> Result<u64> {
        self.0.change(template, values).await.map_err(|e| self.unusable(e))
    }

    fn instance(&self) -> Bind<'_> {
        Bind::Text(&self.0.instance)
    }

    async fn read(&self) -> Result<Positions> {
        let query = "SELECT partition_name, position FROM {p}offsets WHERE instance = ?";
        let decode = |row: &AnyRow| Ok((row.try_get::<String, _>(0)?, row.try_get::<String, _>(1)?));
        let rows = self
            .0
            .query(query, &[self.instance()], decode)
            .await
            .map_err(|e| self.unusable(e))?;
        rows.into_iter()
            .map(|(partition, position)| match serde_json::from_str(&position) {
                Ok(position) => Ok((partition, position)),
                Err(e) => Err(Error::unavailable(
                    OFFSET_UNREADABLE,
                    format!("the saved offset of partition `{partition}` can't be read"),
                )
                .because(e)
                .hint("Set it with `offsets set`, or forget it with `offsets reset`.")),
            })
            .collect()
    }

    /// The rows come from the lease, joined with the positions: when it is no longer this one there are none.
    async fn upsert(&self, positions: &[(String, String)], fence: Fence) -> Result<bool> {
        let mut selects = String::from("SELECT CAST(? AS {cast}) AS partition_name, CAST(? AS {cast}) AS position");
        for _ in 1..positions.len() {
            selects.push_str(" UNION ALL SELECT CAST(? AS {cast}), CAST(? AS {cast})");
        }
        let insert = format!(
            "INSERT INTO {{p}}offsets (instance, partition_name, position, fence) \
             SELECT l.instance, v.partition_name, v.position, l.fence FROM {{p}}leases l CROSS JOIN ({selects}) v \
             WHERE l.instance = ? AND l.fence = ? {{lock}} \
             {{on offset}} position = {{new position new}}, fence = {{new fence new}}"
        );
        let mut values = Vec::with_capacity(positions.len() * 2 + 2);
        for (partition, position) in positions {
            values.extend([Bind::Text(partition), Bind::Text(position)]);
        }
        values.extend([self.instance(), Bind::Number(fence)]);
        Ok(self.change(&insert, &values).await? > 0)
    }

    /// Takes the lease where it may be taken, then looks whose it is.
    async fn take(&self, owner: &str, ttl: Duration) -> Result<Acquired> {
        // MySQL assigns from left to right: the owner is the new one from the second assignment on, and decides the third.
        let free = "({p}leases.expires_ms <= {now} OR {p}leases.owner = {new owner new})";
        let take = format!(
            "INSERT INTO {{p}}leases (instance, fence, owner, expires_ms) VALUES (?, 1, ?, {{now}} + ?) {{on lease}} \
             fence = CASE WHEN {free} THEN {{p}}leases.fence + 1 ELSE {{p}}leases.fence END, \
             owner = CASE WHEN {free} THEN {{new owner new}} ELSE {{p}}leases.owner END, \
             expires_ms = CASE WHEN {free} THEN {{new expires_ms new}} ELSE {{p}}leases.expires_ms END"
        );
        let look = "SELECT fence, owner, expires_ms - {now} AS left_ms FROM {p}leases WHERE instance = ?";
        let values = [self.instance(), Bind::Text(owner), Bind::Number(millis(ttl))];
        let row = self.0.bounded(async |connection| {
            self.0.run(connection, &take, &values).await?;
            let rows = self.0.rows(connection, look, &[self.instance()]).await?;
            let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
            Ok((row.try_get::<i64, _>(0)?, row.try_get::<String, _>(1)?, row.try_get::<i64, _>(2)?))
        });
        let (fence, holder, left) = row.await.map_err(|e| self.unusable(e))?;
        Ok(if holder == owner {
            Acquired::Granted(fence)
        } else {
            Acquired::Held {
                owner: holder,
                left: Duration::from_millis(left.try_into().unwrap_or(0)),
            }
        })
    }
}

/// A row that every database takes whole.
fn row(partition: &str, position: &Value) -> Result<(String, String)> {
    let position = position.to_string();
    if position.len() > MAX_POSITION || partition.chars().count() > MAX_PARTITION {
        return Err(Error::undelivered(
            codes::OFFSET_TOO_LARGE,
            format!(
                "the offset of partition `{partition:.100}` is too large for a database: a name may have {MAX_PARTITION} characters, a position \
                 {MAX_POSITION} bytes"
            ),
        )
        .hint("Leave state.offsets out: the file takes any size."));
    }
    Ok((partition.to_owned(), position))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 2)
}

impl OffsetStore for SqlOffsetStore {
    fn all(&self) -> BoxFuture<'_, Result<Positions>> {
        self.read().boxed()
    }

    fn commit<'a>(&'a self, positions: &'a [(String, Value)], fence: Fence) -> BoxFuture<'a, Result<bool>> {
        async move {
            for chunk in positions.chunks(ROWS) {
                let rows = chunk.iter().map(|(partition, position)| row(partition, position));
                let rows = rows.collect::<Result<Vec<_>>>()?;
                if !self.upsert(&rows, fence).await? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        .boxed()
    }

    fn reset<'a>(&'a self, partition: &'a str, fence: Fence) -> BoxFuture<'a, Result<bool>> {
        async move {
            let delete = "DELETE FROM {p}offsets WHERE instance = ? AND partition_name = ? \
                          AND EXISTS (SELECT 1 FROM {p}leases l WHERE l.instance = ? AND l.fence = ?)";
            let values = [self.instance(), Bind::Text(partition), self.instance(), Bind::Number(fence)];
            Ok(self.change(delete, &values).await? > 0)
        }
        .boxed()
    }

    fn acquire<'a>(&'a self, owner: &'a str, ttl: Duration) -> BoxFuture<'a, Result<Acquired>> {
        self.take(owner, ttl).boxed()
    }

    fn renew(&self, fence: Fence, ttl: Duration) -> BoxFuture<'_, Result<bool>> {
        async move {
            let renew = "UPDATE {p}leases SET expires_ms = {now} + ? WHERE instance = ? AND fence = ?";
            let values = [Bind::Number(millis(ttl)), self.instance(), Bind::Number(fence)];
            Ok(self.change(renew, &values).await? > 0)
        }
        .boxed()
    }

    fn release(&self, fence: Fence) -> BoxFuture<'_, Result<()>> {
        async move {
            let release = "UPDATE {p}leases SET expires_ms = 0 WHERE instance = ? AND fence = ?";
            self.change(release, &[self.instance(), Bind::Number(fence)]).await?;
            Ok(())
        }
        .boxed()
    }

    fn store(&self, fence: Fence) -> Option<Store> {
        Some(Store::new(SqlBackend::new(&self.0, fence)))
    }

    fn place(&self) -> &str {
        &self.0.place
    }

    fn is_shared(&self) -> bool {
        true
    }
}
