//! Connections to one database, made when they are needed.

use openconnect_core::Failure;

use crate::connection::Connection;
use crate::dialect::Dialect;
use crate::driver::{PoolSettings, each_driver};
use crate::failure::failure;
use crate::target::{Place, Target};
use crate::transaction::Transaction;

/// Connections to one database. A driver's variant is there when the driver is in the build.
#[derive(Debug, Clone)]
pub enum Pool {
    /// PostgreSQL.
    #[cfg(feature = "postgres")]
    Postgres(sqlx::PgPool),
    /// MySQL, MariaDB.
    #[cfg(feature = "mysql")]
    MySql(sqlx::MySqlPool),
    /// SQLite.
    #[cfg(feature = "sqlite")]
    Sqlite(sqlx::SqlitePool),
}

impl Pool {
    /// A pool. Nothing is opened yet, so that a database that is down is no error here.
    pub fn new(target: &Target, settings: &PoolSettings) -> Self {
        match &target.place {
            #[cfg(feature = "postgres")]
            Place::Postgres(address) => Self::Postgres(crate::driver::postgres::pool(address, &target.login, settings)),
            #[cfg(feature = "mysql")]
            Place::MySql(address) => Self::MySql(crate::driver::mysql::pool(address, &target.login, settings)),
            #[cfg(feature = "sqlite")]
            Place::File(path) => Self::Sqlite(crate::driver::sqlite::pool(path, settings)),
        }
    }

    /// Its dialect.
    pub fn dialect(&self) -> Dialect {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => Dialect::Postgres,
            #[cfg(feature = "mysql")]
            Self::MySql(_) => Dialect::MySql,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => Dialect::Sqlite,
        }
    }

    /// A connection: one that is free, or a new one.
    ///
    /// # Errors
    ///
    /// The database can't be reached, or none was free within [`PoolSettings::acquire`].
    pub async fn acquire(&self) -> Result<Connection, Failure> {
        let acquired = match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(pool) => pool.acquire().await.map(Connection::Postgres),
            #[cfg(feature = "mysql")]
            Self::MySql(pool) => pool.acquire().await.map(Connection::MySql),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(pool) => pool.acquire().await.map(Connection::Sqlite),
        };
        acquired.map_err(failure)
    }

    /// A transaction that has begun.
    ///
    /// # Errors
    ///
    /// As [`Pool::acquire`], or the database refuses to begin one.
    pub async fn begin(&self) -> Result<Transaction, Failure> {
        let connection = self.acquire().await?;
        // SQLite: a lock that is taken later may not be had at all, once something was read.
        let begin = if self.dialect() == Dialect::Sqlite {
            "BEGIN IMMEDIATE"
        } else {
            "BEGIN"
        };
        Transaction::begin(connection, begin).await
    }

    /// Closes all connections, once they are given back.
    pub async fn close(&self) {
        each_driver!(self, pool => pool.close().await);
    }
}
