//! What is in an SQLite file.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, SqliteConnection};

use crate::Result;

/// How long a lock is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(15);

async fn open(file: &Path) -> Result<SqliteConnection> {
    Ok(SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .busy_timeout(LOCK_WAIT)
        .connect()
        .await?)
}

/// Runs statements, for instance those that make a table.
pub async fn execute(file: &Path, sql: &str) -> Result<()> {
    let mut connection = open(file).await?;
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

/// Runs a query; every column must be text.
pub async fn query(file: &Path, sql: &str) -> Result<Vec<Vec<String>>> {
    let mut connection = open(file).await?;
    let rows = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await?;
    let rows = rows
        .iter()
        .map(|row| (0..row.len()).map(|column| row.try_get::<String, _>(column)).collect())
        .collect::<Result<_, _>>()?;
    connection.close().await?;
    Ok(rows)
}

/// Runs a query that gives one number.
pub async fn number(file: &Path, sql: &str) -> Result<i64> {
    let mut connection = open(file).await?;
    let number = sqlx::query_scalar::<_, i64>(AssertSqlSafe(sql.to_owned()))
        .fetch_one(&mut connection)
        .await?;
    connection.close().await?;
    Ok(number)
}

/// Nobody else can write to a file while this lives.
#[derive(Debug)]
pub struct Lock {
    _connection: SqliteConnection,
}

impl Lock {
    /// Waits for the write lock and takes it.
    pub async fn take(file: &Path) -> Result<Self> {
        let mut connection = open(file).await?;
        sqlx::raw_sql("begin immediate").execute(&mut connection).await?;
        Ok(Self { _connection: connection })
    }
}
