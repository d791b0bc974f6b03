//! Positions and the lease of one instance, in two tables.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::Value;
use sqlx::any::{AnyConnectOptions, AnyQueryResult, AnyRow};
use sqlx::{AnyConnection, AssertSqlSafe, ConnectOptions, Connection, Row};

use openconnect_core::codes::{OFFSET_UNREADABLE, OFFSETS_DATABASE};
use openconnect_core::offsets::{Acquired, Fence, OffsetStore, Positions};
use openconnect_core::{Error, Result};

use crate::address::Address;
use crate::codes;
use crate::dialect::Dialect;

/// Longest position as JSON, in bytes.
const MAX_POSITION: usize = 1 << 20;
/// Longest name of a partition, in characters.
const MAX_PARTITION: usize = 500;
/// Rows of one statement; each has two parameters.
const ROWS: usize = 200;
/// Connections kept for the next call: one for the lease, one for the offsets.
const IDLE: usize = 2;

/// The offsets of one instance in two tables, `<prefix>offsets` and `<prefix>leases`, shared by all instances.
pub struct SqlStore {
    options: AnyConnectOptions,
    dialect: Dialect,
    prefix: String,
    instance: String,
    place: String,
    /// How long one call may take.
    limit: Duration,
    idle: Mutex<Vec<AnyConnection>>,
}

impl SqlStore {
    /// Connects to `url` and makes the tables where they do not exist. One call takes a third of `lease_ttl` at the most, and
    /// between 1 s and 10 s.
    ///
    /// # Errors
    ///
    /// `OC0215`: the URL is of no supported database, or of one whose driver is not in this build. `OC0212`: the database
    /// cannot be reached, or refuses.
    pub async fn open(url: &str, prefix: &str, instance: &str, lease_ttl: Duration) -> Result<Self> {
        sqlx::any::install_default_drivers();
        let Address { options, dialect, place } = Address::parse(url)?;
        let store = Self {
            options,
            dialect,
            prefix: prefix.to_owned(),
            instance: instance.to_owned(),
            place,
            limit: (lease_ttl / 3).clamp(Duration::from_secs(1), Duration::from_secs(10)),
            idle: Mutex::new(Vec::new()),
        };
        store.make_tables().await?;
        Ok(store)
    }

    /// Makes the tables; one that is there needs no right to make one.
    async fn make_tables(&self) -> Result<()> {
        let tables = [
            (
                "{p}offsets",
                "instance VARCHAR(160) NOT NULL, partition_name VARCHAR(500) NOT NULL, position {text} NOT NULL, fence {integer} NOT NULL, \
                 PRIMARY KEY (instance, partition_name)",
            ),
            (
                "{p}leases",
                "instance VARCHAR(160) NOT NULL PRIMARY KEY, fence {integer} NOT NULL, owner VARCHAR(255) NOT NULL, expires_ms {integer} NOT NULL",
            ),
        ];
        for (name, columns) in tables {
            let there = format!("SELECT 1 FROM {name} WHERE 1 = 0");
            let make = format!("CREATE TABLE IF NOT EXISTS {name} ({columns}){}", self.dialect.table);
            self.bounded(async {
                let mut connection = self.connection().await?;
                if self.run(&mut connection, &there, &[]).await.is_err() {
                    // Two processes that make it at the same time: one of them may fail, and then finds it there.
                    if let Err(e) = self.run(&mut connection, &make, &[]).await
                        && self.run(&mut connection, &there, &[]).await.is_err()
                    {
                        return Err(e);
                    }
                }
                self.keep(connection);
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// Fills in a statement: `{p}` is the prefix, `{name}` a part of the dialect, `?` a parameter.
    fn statement(&self, template: &str) -> String {
        let Dialect {
            now,
            integer,
            text,
            cast,
            lock,
            on_conflict: [on_lease, on_offset],
            inserted: [before, after],
            ..
        } = self.dialect;
        let mut sql = template
            .replace("{p}", &self.prefix)
            .replace("{now}", now)
            .replace("{integer}", integer)
            .replace("{text}", text)
            .replace("{cast}", cast)
            .replace("{lock}", lock)
            .replace("{on lease}", on_lease)
            .replace("{on offset}", on_offset)
            .replace("{new ", before)
            .replace(" new}", after);
        if self.dialect.numbered {
            let mut parts = sql.split('?');
            let mut numbered = parts.next().unwrap_or_default().to_owned();
            for (n, part) in parts.enumerate() {
                numbered.push_str(&format!("${}{part}", n + 1));
            }
            sql = numbered;
        }
        sql
    }

    async fn run(&self, connection: &mut AnyConnection, template: &str, values: &[Bind<'_>]) -> sqlx::Result<AnyQueryResult> {
        let sql = self.statement(template);
        bind(&sql, values).execute(connection).await
    }

    async fn rows(&self, connection: &mut AnyConnection, template: &str, values: &[Bind<'_>]) -> sqlx::Result<Vec<AnyRow>> {
        let sql = self.statement(template);
        bind(&sql, values).fetch_all(connection).await
    }

    /// A connection that answers: a kept one, or a new one.
    async fn connection(&self) -> sqlx::Result<AnyConnection> {
        let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(mut connection) = kept
            && connection.ping().await.is_ok()
        {
            return Ok(connection);
        }
        self.options.connect().await
    }

    /// Keeps a connection whose last statement went well; one that failed is dropped, and closed with it.
    fn keep(&self, connection: AnyConnection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE {
            idle.push(connection);
        }
    }

    async fn bounded<T>(&self, work: impl Future<Output = sqlx::Result<T>>) -> Result<T> {
        let failed = |reason: String| {
            Error::unavailable(OFFSETS_DATABASE, format!("the offsets in {} can't be used: {reason}", self.place))
                .hint("Is the database up, and may this user use the tables? docs/scaling.md has the rights it needs.")
        };
        match tokio::time::timeout(self.limit, work).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(e)) => Err(failed(reason(&e))),
            Err(_) => Err(failed(format!("no answer within {:?}", self.limit))),
        }
    }

    /// One statement; how many rows it changed.
    async fn change(&self, template: &str, values: &[Bind<'_>]) -> Result<u64> {
        self.bounded(async {
            let mut connection = self.connection().await?;
            let changed = self.run(&mut connection, template, values).await?;
            self.keep(connection);
            Ok(changed.rows_affected())
        })
        .await
    }

    async fn read(&self) -> Result<Positions> {
        let rows = self
            .bounded(async {
                let mut connection = self.connection().await?;
                let query = "SELECT partition_name, position FROM {p}offsets WHERE instance = ?";
                let rows = self.rows(&mut connection, query, &[Bind::Text(&self.instance)]).await?;
                self.keep(connection);
                rows.iter()
                    .map(|row| Ok((row.try_get::<String, _>(0)?, row.try_get::<String, _>(1)?)))
                    .collect::<sqlx::Result<Vec<_>>>()
            })
            .await?;
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
    async fn store(&self, positions: &[(String, String)], fence: Fence) -> Result<bool> {
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
        values.extend([Bind::Text(&self.instance), Bind::Number(fence)]);
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
        let row = self
            .bounded(async {
                let mut connection = self.connection().await?;
                let values = [Bind::Text(&self.instance), Bind::Text(owner), Bind::Number(millis(ttl))];
                self.run(&mut connection, &take, &values).await?;
                let rows = self.rows(&mut connection, look, &[Bind::Text(&self.instance)]).await?;
                self.keep(connection);
                let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
                Ok((row.try_get::<i64, _>(0)?, row.try_get::<String, _>(1)?, row.try_get::<i64, _>(2)?))
            })
            .await?;
        let (fence, holder, left) = row;
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

/// A parameter.
#[derive(Clone, Copy)]
enum Bind<'a> {
    Text(&'a str),
    Number(i64),
}

fn bind<'q>(sql: &str, values: &[Bind<'_>]) -> sqlx::query::Query<'q, sqlx::Any, sqlx::any::AnyArguments> {
    // Not kept prepared: poolers between here and the database may not know it the next time.
    let query = sqlx::query(AssertSqlSafe(sql.to_owned())).persistent(false);
    values.iter().fold(query, |query, value| match value {
        Bind::Text(text) => query.bind((*text).to_owned()),
        Bind::Number(number) => query.bind(*number),
    })
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

/// What went wrong, without what a driver might repeat of the URL.
fn reason(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Configuration(_) => "the URL has a setting that the driver does not take".to_owned(),
        other => other.to_string(),
    }
}

impl OffsetStore for SqlStore {
    fn all(&self) -> BoxFuture<'_, Result<Positions>> {
        self.read().boxed()
    }

    fn commit<'a>(&'a self, positions: &'a [(String, Value)], fence: Fence) -> BoxFuture<'a, Result<bool>> {
        async move {
            for chunk in positions.chunks(ROWS) {
                let rows = chunk.iter().map(|(partition, position)| row(partition, position));
                let rows = rows.collect::<Result<Vec<_>>>()?;
                if !self.store(&rows, fence).await? {
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
            let instance = Bind::Text(&self.instance);
            let values = [instance, Bind::Text(partition), instance, Bind::Number(fence)];
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
            let values = [Bind::Number(millis(ttl)), Bind::Text(&self.instance), Bind::Number(fence)];
            Ok(self.change(renew, &values).await? > 0)
        }
        .boxed()
    }

    fn release(&self, fence: Fence) -> BoxFuture<'_, Result<()>> {
        async move {
            let release = "UPDATE {p}leases SET expires_ms = 0 WHERE instance = ? AND fence = ?";
            self.change(release, &[Bind::Text(&self.instance), Bind::Number(fence)]).await?;
            Ok(())
        }
        .boxed()
    }

    fn place(&self) -> &str {
        &self.place
    }

    fn is_shared(&self) -> bool {
        true
    }
}
