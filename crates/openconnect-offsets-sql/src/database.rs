//! The database behind `state.offsets`: its tables, and statements that end within a time limit.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyQueryResult, AnyRow};
use sqlx::{AnyConnection, AssertSqlSafe, ConnectOptions, Connection};

use crate::address::Address;
use crate::dialect::Dialect;

/// Connections kept for the next call.
const IDLE: usize = 2;

/// The tables, each after its prefix.
const TABLES: [(&str, &str); 3] = [
    (
        "{p}offsets",
        "instance VARCHAR(160) NOT NULL, partition_name VARCHAR(500) NOT NULL, position {text} NOT NULL, fence {integer} NOT NULL, \
         PRIMARY KEY (instance, partition_name)",
    ),
    (
        "{p}leases",
        "instance VARCHAR(160) NOT NULL PRIMARY KEY, fence {integer} NOT NULL, owner VARCHAR(255) NOT NULL, expires_ms {integer} NOT NULL",
    ),
    (
        "{p}store",
        "instance VARCHAR(160) NOT NULL, entry_key {key} NOT NULL, value {bytes}, fence {integer} NOT NULL, \
         PRIMARY KEY (instance, entry_key)",
    ),
];

/// Why the database gave no answer. A driver's text about the URL is left out: it may repeat the password.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    #[error("{0}")]
    Refused(#[source] sqlx::Error),
    #[error("the URL has a setting that the driver does not take")]
    Setting,
    #[error("no answer within {0:?}")]
    NoAnswer(Duration),
}

impl From<sqlx::Error> for DatabaseError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Configuration(_) => Self::Setting,
            other => Self::Refused(other),
        }
    }
}

pub(crate) type DatabaseResult<T> = Result<T, DatabaseError>;

/// Statements in one database for one instance, each within a time limit.
pub(crate) struct StateDatabase {
    options: AnyConnectOptions,
    pub(crate) dialect: Dialect,
    prefix: String,
    pub(crate) instance: String,
    pub(crate) place: String,
    limit: Duration,
    idle: Mutex<Vec<AnyConnection>>,
}

impl StateDatabase {
    /// Connects at the first statement. `limit` is how long one may take, with connecting.
    pub(crate) fn new(address: Address, prefix: &str, instance: &str, limit: Duration) -> Self {
        let Address { options, dialect, place } = address;
        Self {
            options,
            dialect,
            prefix: prefix.to_owned(),
            instance: instance.to_owned(),
            place,
            limit,
            idle: Mutex::new(Vec::new()),
        }
    }

    /// The same database over connections of its own, with another limit.
    pub(crate) fn with_limit(&self, limit: Duration) -> Self {
        Self {
            options: self.options.clone(),
            prefix: self.prefix.clone(),
            instance: self.instance.clone(),
            place: self.place.clone(),
            dialect: self.dialect,
            limit,
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Makes the tables; one that is there needs no right to make one.
    pub(crate) async fn make_tables(&self) -> DatabaseResult<()> {
        for (name, columns) in TABLES {
            let there = format!("SELECT 1 FROM {name} WHERE 1 = 0");
            let make = format!("CREATE TABLE IF NOT EXISTS {name} ({columns}){}", self.dialect.table);
            self.bounded(async |connection| {
                if self.run(connection, &there, &[]).await.is_err() {
                    // Two processes that make it at the same time: one of them may fail, and then finds it there.
                    if let Err(e) = self.run(connection, &make, &[]).await
                        && self.run(connection, &there, &[]).await.is_err()
                    {
                        return Err(e);
                    }
                }
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// One statement; how many rows it changed.
    pub(crate) async fn change(&self, template: &str, values: &[Bind<'_>]) -> DatabaseResult<u64> {
        self.bounded(async |connection| Ok(self.run(connection, template, values).await?.rows_affected()))
            .await
    }

    /// One query, and what `decode` makes of each row.
    pub(crate) async fn query<T>(
        &self,
        template: &str,
        values: &[Bind<'_>],
        decode: impl Fn(&AnyRow) -> sqlx::Result<T>,
    ) -> DatabaseResult<Vec<T>> {
        self.bounded(async |connection| self.rows(connection, template, values).await?.iter().map(&decode).collect())
            .await
    }

    /// Statements on one connection, within the limit together.
    pub(crate) async fn bounded<T>(&self, work: impl AsyncFnOnce(&mut AnyConnection) -> sqlx::Result<T>) -> DatabaseResult<T> {
        let done = tokio::time::timeout(self.limit, async {
            let mut connection = self.connection().await?;
            let value = work(&mut connection).await?;
            self.keep(connection);
            Ok::<_, sqlx::Error>(value)
        });
        match done.await {
            Ok(done) => Ok(done?),
            Err(_) => Err(DatabaseError::NoAnswer(self.limit)),
        }
    }

    pub(crate) async fn run(&self, connection: &mut AnyConnection, template: &str, values: &[Bind<'_>]) -> sqlx::Result<AnyQueryResult> {
        let sql = self.dialect.statement(template, &self.prefix);
        bind(&sql, values).execute(connection).await
    }

    pub(crate) async fn rows(&self, connection: &mut AnyConnection, template: &str, values: &[Bind<'_>]) -> sqlx::Result<Vec<AnyRow>> {
        let sql = self.dialect.statement(template, &self.prefix);
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
}

/// A parameter.
#[derive(Clone, Copy)]
pub(crate) enum Bind<'a> {
    Text(&'a str),
    Number(i64),
    Bytes(Option<&'a [u8]>),
}

fn bind<'q>(sql: &str, values: &[Bind<'_>]) -> sqlx::query::Query<'q, sqlx::Any, sqlx::any::AnyArguments> {
    // Not kept prepared: poolers between here and the database may not know it the next time.
    let query = sqlx::query(AssertSqlSafe(sql.to_owned())).persistent(false);
    values.iter().fold(query, |query, value| match value {
        Bind::Text(text) => query.bind((*text).to_owned()),
        Bind::Number(number) => query.bind(*number),
        Bind::Bytes(bytes) => query.bind(bytes.map(<[u8]>::to_vec)),
    })
}
