//! Which events were delivered: their ids in a table of the same database, written in the transaction of their rows.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use openconnect_change::Cell;
use openconnect_core::Failure;
use openconnect_core::cloudevents::{AttributesReader, Event};
use openconnect_sql::codes::SQL_CONFLICT;
use openconnect_sql::{Dialect, Pool, Statement, TableName, Transaction, Value};
use ring::digest::{Context, SHA256};

use crate::config::Deduplicate;

/// How often old ids are removed, and how many at once.
const TIDY_EVERY: Duration = Duration::from_secs(10);
const TIDY_AT_ONCE: u32 = 50_000;
/// Ids of one statement, where each is a parameter.
const AT_ONCE: usize = 512;
/// More bytes than the ids of a batch have.
const IDS: usize = 16 << 20;

/// The table of delivered events.
pub(crate) struct Delivered {
    table: String,
    keep: Duration,
    dialect: Dialect,
    made: tokio::sync::OnceCell<()>,
    tidied: Mutex<Option<Instant>>,
}

impl Delivered {
    pub(crate) fn new(config: &Deduplicate, dialect: Dialect) -> Self {
        Self {
            table: TableName::parse(dialect, &config.table).quoted(dialect),
            keep: config.keep.0,
            dialect,
            made: tokio::sync::OnceCell::new(),
            tidied: Mutex::new(None),
        }
    }

    /// What identifies an event: a hash of its source and id, as text of 64 characters.
    pub(crate) fn id(event: &Event) -> String {
        let mut hash = Context::new(&SHA256);
        hash.update(event.source().as_bytes());
        // In neither of them.
        hash.update(&[0]);
        hash.update(event.id().as_bytes());
        hex::encode(hash.finish())
    }

    /// Makes the table where it is missing, and removes old ids now and then.
    pub(crate) async fn ready(&self, pool: &Pool) -> Result<(), Failure> {
        self.made.get_or_try_init(|| self.make(pool)).await?;
        let now = Instant::now();
        {
            let mut tidied = self.tidied.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if tidied.is_some_and(|last| now.duration_since(last) < TIDY_EVERY) {
                return Ok(());
            }
            *tidied = Some(now);
        }
        self.tidy(pool).await
    }

    async fn make(&self, pool: &Pool) -> Result<(), Failure> {
        let mut connection = pool.acquire().await?;
        let there = Statement::new(format!("select 1 from {} where 1 = 0", self.table), Vec::new());
        if connection.execute(&there).await.is_ok() {
            // One that is there needs no right to make one.
            return Ok(());
        }
        let table = &self.table;
        let sql = match self.dialect {
            Dialect::MySql => format!(
                "create table if not exists {table} (event char(64) character set ascii primary key, \
                 delivered_at bigint not null, index (delivered_at))"
            ),
            Dialect::Postgres | Dialect::Sqlite => {
                format!("create table if not exists {table} (event char(64) primary key, delivered_at bigint not null)")
            }
        };
        connection.run(&sql).await?;
        if self.dialect != Dialect::MySql {
            let name = self.dialect.quote(&format!("{}_by_time", table.replace(['"', '.'], "")));
            connection
                .run(&format!("create index if not exists {name} on {table} (delivered_at)"))
                .await?;
        }
        Ok(())
    }

    async fn tidy(&self, pool: &Pool) -> Result<(), Failure> {
        let (table, parameter) = (&self.table, self.dialect.parameter(1));
        let old = format!("delivered_at < {parameter} order by delivered_at limit {TIDY_AT_ONCE}");
        let sql = match self.dialect {
            Dialect::MySql => format!("delete from {table} where {old}"),
            Dialect::Postgres | Dialect::Sqlite => format!("delete from {table} where event in (select event from {table} where {old})"),
        };
        let oldest = seconds().saturating_sub(i64::try_from(self.keep.as_secs()).unwrap_or(i64::MAX));
        let statement = Statement::new(sql, vec![Value::Integer(oldest)]);
        pool.acquire().await?.execute(&statement).await.map(drop)
    }

    /// Of these ids, those that were delivered before.
    pub(crate) async fn known(&self, transaction: &mut Transaction, ids: &[String]) -> Result<HashSet<String>, Failure> {
        let mut known = HashSet::new();
        for some in ids.chunks(AT_ONCE) {
            let statement = match self.dialect {
                Dialect::Postgres => Statement::new(
                    format!("select event::text from {} where event = any($1::text[])", self.table),
                    vec![Value::Texts(some.iter().cloned().map(Some).collect())],
                ),
                Dialect::MySql | Dialect::Sqlite => {
                    // Few different statements: the last id is asked for several times.
                    let size = some.len().next_power_of_two();
                    let padded = some
                        .iter()
                        .chain(std::iter::repeat_n(some.last().unwrap_or(&some[0]), size - some.len()));
                    Statement::new(
                        format!("select event from {} where event in ({})", self.table, vec!["?"; size].join(", ")),
                        padded.map(|id| Value::Text(id.clone())).collect(),
                    )
                }
            };
            let (rows, _) = transaction.connection().query(&statement, IDS).await?;
            let ids = rows.into_iter().filter_map(|row| row.into_iter().next());
            known.extend(ids.filter_map(|cell| match cell {
                Cell::Text(id) => Some(id.trim_end().to_owned()),
                _ => None,
            }));
        }
        Ok(known)
    }

    /// Notes these ids as delivered. Two writers with the same event: the second one fails, and finds it delivered next time.
    pub(crate) async fn note(&self, transaction: &mut Transaction, ids: &[String]) -> Result<(), Failure> {
        let now = seconds();
        let mut left = ids;
        while !left.is_empty() {
            let take = if self.dialect == Dialect::Postgres {
                left.len()
            } else {
                1 << left.len().min(AT_ONCE).ilog2()
            };
            let (some, rest) = left.split_at(take);
            left = rest;
            let statement = match self.dialect {
                Dialect::Postgres => Statement::new(
                    format!("insert into {} select e, $2 from unnest($1::text[]) as g(e)", self.table),
                    vec![Value::Texts(some.iter().cloned().map(Some).collect()), Value::Integer(now)],
                ),
                Dialect::MySql | Dialect::Sqlite => Statement::new(
                    format!("insert into {} values {}", self.table, vec!["(?, ?)"; some.len()].join(", ")),
                    some.iter().flat_map(|id| [Value::Text(id.clone()), Value::Integer(now)]).collect(),
                ),
            };
            transaction.connection().execute(&statement).await.map_err(|failure| {
                if failure.is_retryable() {
                    return failure;
                }
                Failure::retryable(SQL_CONFLICT, "another writer has just delivered one of these events")
            })?;
        }
        Ok(())
    }
}

fn seconds() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}
