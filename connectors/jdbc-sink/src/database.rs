//! SQLite: connection, columns of a table, what an error means.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use openconnect_core::{Error, Failure, FailureKind, Result};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Connection, Sqlite, query::Query, sqlite::SqliteArguments};

use crate::config::JdbcSinkConfig;
use crate::row::SqlValue;
use crate::statement::Statement;
use crate::url::Target;

/// Tables whose columns are remembered.
const TABLES: usize = 256;

/// The target database.
pub(crate) struct Database {
    pool: SqlitePool,
    init: Vec<String>,
    ready: tokio::sync::OnceCell<()>,
    columns: Mutex<HashMap<String, Arc<[String]>>>,
}

impl Database {
    /// Prepares the connection; nothing is opened yet, so that a target that is down is no error here.
    pub(crate) fn new(config: &JdbcSinkConfig) -> Result<Self> {
        let Target::Sqlite(path) = Target::parse(&config.url).map_err(|reason| Error::config("SQL_URL", format!("sink.url {reason}")))?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(config.create)
            .journal_mode(SqliteJournalMode::Wal)
            // An event is acknowledged once its row is committed: the commit must outlive a power cut.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(config.busy_timeout.0);
        // SQLite has one writer: more connections would only wait for each other.
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(config.timeout.0)
            .connect_lazy_with(options);
        Ok(Self {
            pool,
            init: config.init_statements.clone(),
            ready: tokio::sync::OnceCell::new(),
            columns: Mutex::default(),
        })
    }

    /// Connects and runs the initial statements, once.
    pub(crate) async fn ready(&self) -> Result<(), Failure> {
        let init = async {
            for sql in &self.init {
                sqlx::query(AssertSqlSafe(sql.clone()))
                    .execute(&self.pool)
                    .await
                    .map_err(|e| failure(&e))?;
            }
            self.pool.acquire().await.map_err(|e| failure(&e)).map(drop)
        };
        self.ready.get_or_try_init(|| init).await.copied()
    }

    /// The columns of a table.
    pub(crate) async fn columns(&self, table: &str) -> Result<Arc<[String]>, Failure> {
        if let Some(known) = self.columns.lock().unwrap_or_else(PoisonError::into_inner).get(table) {
            return Ok(Arc::clone(known));
        }
        let columns: Vec<String> = sqlx::query_scalar("select name from pragma_table_info(?)")
            .bind(table)
            .fetch_all(&self.pool)
            .await
            .map_err(|e| failure(&e))?;
        if columns.is_empty() {
            return Err(missing(format!("there is no table `{table}`")));
        }
        let columns: Arc<[String]> = columns.into();
        let mut cache = self.columns.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= TABLES {
            cache.clear();
        }
        cache.insert(table.to_owned(), Arc::clone(&columns));
        Ok(columns)
    }

    /// Runs the statements in one transaction: all of them, or nothing.
    pub(crate) async fn execute(&self, statements: Vec<Statement>) -> Result<(), Failure> {
        let mut connection = self.pool.acquire().await.map_err(|e| failure(&e))?;
        in_transaction(&mut connection, statements).await.map_err(|error| {
            // The table may have been changed: look again next time.
            self.columns.lock().unwrap_or_else(PoisonError::into_inner).clear();
            let failure = failure(&error);
            if failure.kind != FailureKind::Permanent {
                // After a disk error SQLite has rolled back by itself, and the driver takes a transaction for open that is
                // not: a later commit would end a savepoint only, and the rows would be gone.
                connection.close_on_drop();
            }
            failure
        })
    }

    pub(crate) async fn close(self) {
        self.pool.close().await;
    }
}

async fn in_transaction(connection: &mut SqliteConnection, statements: Vec<Statement>) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    for Statement { sql, values } in statements {
        let query = sqlx::query(AssertSqlSafe(sql));
        values.into_iter().fold(query, bind).execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

fn bind<'q>(query: Query<'q, Sqlite, SqliteArguments>, value: SqlValue) -> Query<'q, Sqlite, SqliteArguments> {
    match value {
        SqlValue::Null => query.bind(None::<String>),
        SqlValue::Bool(value) => query.bind(value),
        SqlValue::Integer(value) => query.bind(value),
        SqlValue::Real(value) => query.bind(value),
        SqlValue::Text(value) => query.bind(value),
        SqlValue::Blob(value) => query.bind(value),
    }
}

/// A missing table or column is worth waiting for: it is the schema's fault, and dead letters would empty the stream.
fn missing(what: String) -> Failure {
    Failure::retryable("SQL_SCHEMA", format!("{what}; the sink waits until the table fits"))
}

/// What an error means, by SQLite's primary result code. SQLite's texts name tables and columns, never values.
fn failure(error: &sqlx::Error) -> Failure {
    let Some(database) = error.as_database_error() else {
        return Failure::retryable("SQL_CONNECTION", format!("the database can't be used: {error}"));
    };
    let code: i64 = database.code().and_then(|code| code.parse().ok()).unwrap_or_default();
    let text = database.message().to_owned();
    match code & 0xff {
        // SQLITE_ERROR: no such table or column, among others.
        1 => missing(text),
        5 | 6 => Failure::retryable("SQL_BUSY", text),
        8 => Failure::retryable("SQL_READONLY", text),
        13 => Failure::retryable("SQL_FULL", text),
        10 | 14 => Failure::retryable("SQL_IO", text),
        11 | 26 => Failure::fatal("SQL_CORRUPT", format!("{text}; restore the database")),
        18 | 19 | 20 | 25 => Failure::permanent("SQL_CONSTRAINT", text),
        _ => Failure::retryable("SQL_ERROR", text),
    }
}
