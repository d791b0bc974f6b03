//! A connection: statements and queries, the same for each driver.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use openconnect_change::{Cell, Column};
use openconnect_core::Failure;
use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, Column as _, Database, Executor as _, SqlSafeStr as _, Statement as _, TypeInfo as _};

use crate::codes;
use crate::dialect::Dialect;
use crate::driver::{Driver, each_driver};
use crate::failure::failure;
use crate::kind;
use crate::statement::{Statement, Value};

/// A connection, given back when it is dropped. A driver's variant is there when the driver is in the build.
#[derive(Debug)]
pub enum Connection {
    /// PostgreSQL.
    #[cfg(feature = "postgres")]
    Postgres(PoolConnection<sqlx::Postgres>),
    /// MySQL, MariaDB.
    #[cfg(feature = "mysql")]
    MySql(PoolConnection<sqlx::MySql>),
    /// SQLite.
    #[cfg(feature = "sqlite")]
    Sqlite(PoolConnection<sqlx::Sqlite>),
}

impl Connection {
    /// Its dialect.
    pub fn dialect(&self) -> Dialect {
        fn dialect<D: Driver>(_: &PoolConnection<D>) -> Dialect {
            D::DIALECT
        }
        each_driver!(self, connection => dialect(connection))
    }

    /// Runs a text without parameters; it may be several statements.
    ///
    /// # Errors
    ///
    /// What the database refuses, as a failure of its kind.
    pub async fn run(&mut self, sql: &str) -> Result<(), Failure> {
        let query = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        let done = each_driver!(self, connection => query.execute(&mut **connection).await.map(drop));
        done.map_err(failure)
    }

    /// Runs a statement; how many rows it changed, as the database counts.
    ///
    /// # Errors
    ///
    /// What the database refuses, as a failure of its kind.
    pub async fn execute(&mut self, statement: &Statement) -> Result<u64, Failure> {
        let sql = AssertSqlSafe(statement.sql.clone());
        let done = each_driver!(self, connection => {
            let query = sqlx::query_with(sql, arguments(connection, &statement.values)?);
            query.execute(&mut **connection).await.map(|done| done.rows_affected())
        });
        done.map_err(failure)
    }

    /// The rows of a query, as far as they go into `max_bytes`, but at least one; and whether there are more.
    ///
    /// # Errors
    ///
    /// What the database refuses, as a failure of its kind.
    pub async fn query(&mut self, statement: &Statement, max_bytes: usize) -> Result<(Vec<Vec<Cell>>, bool), Failure> {
        each_driver!(self, connection => {
            let cells = cells_of(connection);
            let query = sqlx::query_with(AssertSqlSafe(statement.sql.clone()), arguments(connection, &statement.values)?);
            let mut stream = query.fetch(&mut **connection);
            let (mut rows, mut bytes) = (Vec::new(), 0);
            loop {
                match stream.try_next().await {
                    Ok(Some(row)) if bytes < max_bytes => {
                        let cells = cells(&row).map_err(failure)?;
                        bytes += cells.iter().map(Cell::size).sum::<usize>();
                        rows.push(cells);
                    }
                    Ok(more) => break Ok((rows, more.is_some())),
                    Err(error) => break Err(failure(error)),
                }
            }
        })
    }

    /// The one row of a query, or none when it does not come in time: then the connection is closed.
    ///
    /// # Errors
    ///
    /// What the database refuses, as a failure of its kind.
    pub async fn row_within(mut self, statement: &Statement, within: Duration) -> Result<Option<Vec<Cell>>, Failure> {
        match tokio::time::timeout(within, self.query(statement, usize::MAX)).await {
            Ok(found) => Ok(found?.0.into_iter().next()),
            Err(_) => {
                self.close_on_drop();
                Ok(None)
            }
        }
    }

    /// The columns that a query gives.
    ///
    /// # Errors
    ///
    /// What the database refuses, as a failure of its kind.
    pub async fn describe(&mut self, sql: &str) -> Result<Vec<Column>, Failure> {
        let sql = AssertSqlSafe(sql.to_owned()).into_sql_str();
        let dialect = self.dialect();
        let described: Vec<(String, String)> = each_driver!(self, connection => {
            let statement = (&mut **connection).prepare(sql).await.map_err(failure)?;
            let columns = statement.columns().iter();
            columns
                .map(|column| (column.name().to_owned(), column.type_info().name().to_ascii_lowercase()))
                .collect()
        });
        let column = |(name, ty): (String, String)| Column {
            kind: kind::described(dialect, &ty),
            name,
            type_name: ty,
            generated: true,
        };
        Ok(described.into_iter().map(column).collect())
    }

    /// Not given back when it is dropped, but closed.
    pub(crate) fn close_on_drop(&mut self) {
        each_driver!(self, connection => connection.close_on_drop());
    }
}

/// The parameters as the connection's driver takes them.
fn arguments<D: Driver>(_: &PoolConnection<D>, values: &[Value]) -> Result<<D as Database>::Arguments, Failure> {
    D::arguments(values).map_err(|e| Failure::permanent(codes::SQL_VALUE, "a parameter can't be sent").because(e))
}

/// Reads rows as the connection's driver gives them.
fn cells_of<D: Driver>(_: &PoolConnection<D>) -> fn(&<D as Database>::Row) -> Result<Vec<Cell>, sqlx::Error> {
    D::cells
}
