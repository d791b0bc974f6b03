//! What the SQL sink has written: queries on its SQLite file.

use std::path::Path;
use std::time::Duration;

use openconnect_testkit::Result;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

/// The sink writes to the file at the same time.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The types that most rows have, and how many.
pub(crate) async fn most_frequent(file: &Path, count: i64) -> Result<Vec<(String, i64)>> {
    let sql = "select type, count(*) from deliveries group by type order by count(*) desc, type limit ?";
    let mut connection = open(file).await?;
    let rows = sqlx::query_as(sql).bind(count).fetch_all(&mut connection).await?;
    connection.close().await?;
    Ok(rows)
}

/// How many rows there are.
pub(crate) async fn rows(file: &Path) -> Result<i64> {
    let mut connection = open(file).await?;
    let rows = sqlx::query_scalar("select count(*) from deliveries")
        .fetch_one(&mut connection)
        .await?;
    connection.close().await?;
    Ok(rows)
}

async fn open(file: &Path) -> Result<SqliteConnection> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .busy_timeout(BUSY_TIMEOUT)
        .read_only(true);
    Ok(options.connect().await?)
}
