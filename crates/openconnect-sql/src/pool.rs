//! Connections; statements and queries, in a transaction that is committed, or gone.

use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use openconnect_change::{Cell, Column};
use openconnect_core::{Failure, FailureKind};
use sqlx::mysql::{MySqlArguments, MySqlConnectOptions, MySqlPool, MySqlPoolOptions, MySqlRow, MySqlSslMode};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPool, PgPoolOptions, PgRow, PgSslMode};
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous};
use sqlx::{
    Arguments as _, AssertSqlSafe, Column as _, ConnectOptions as _, Executor as _, MySql, Postgres, Row as _, SqlSafeStr as _, Sqlite,
    Statement as _, TypeInfo as _, ValueRef as _,
};

use crate::dialect::Dialect;
use crate::failure::failure;
use crate::kind;
use crate::target::{Login, Place, Target, TlsMode};

/// A statement's parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `NULL`.
    Null,
    /// A 64-bit integer.
    Integer(i64),
    /// A 64-bit integer of MySQL's.
    Unsigned(u64),
    /// A double.
    Real(f64),
    /// A text; also what the database shall read as something else.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// PostgreSQL's `text[]`.
    Texts(Vec<Option<String>>),
    /// PostgreSQL's `bytea[]`.
    ByteStrings(Vec<Option<Vec<u8>>>),
}

impl Value {
    /// About how many bytes it takes.
    pub fn size(&self) -> usize {
        match self {
            Self::Null => 1,
            Self::Integer(_) | Self::Unsigned(_) | Self::Real(_) => 8,
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::Texts(all) => all.iter().flatten().map(String::len).sum(),
            Self::ByteStrings(all) => all.iter().flatten().map(Vec::len).sum(),
        }
    }
}

/// One statement with its parameters in order. Names in it are quoted ([`Dialect::quote`]), values are parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// The text.
    pub sql: String,
    /// Its parameters.
    pub values: Vec<Value>,
}

impl Statement {
    /// A statement.
    pub fn new(sql: impl Into<String>, values: Vec<Value>) -> Self {
        Self { sql: sql.into(), values }
    }
}

/// How connections are made.
#[derive(Debug, Clone)]
pub struct PoolSettings {
    /// How many at the most; SQLite has one writer, so one.
    pub connections: u32,
    /// How long to wait for one.
    pub acquire: Duration,
    /// SQLite: make the file when it is missing.
    pub create: bool,
    /// SQLite: how long a statement waits for another writer.
    pub busy: Duration,
    /// Run on each new connection.
    pub init: Vec<String>,
}

/// Connections to one database, made when they are needed.
#[derive(Debug, Clone)]
pub enum Pool {
    /// PostgreSQL.
    Postgres(PgPool),
    /// MySQL, MariaDB.
    MySql(MySqlPool),
    /// SQLite.
    Sqlite(SqlitePool),
}

/// MySQL takes what does not fit and cuts it, unless it is told to refuse; a 0 in an automatic column would become another number.
const MYSQL_SESSION: &str = "SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO'), \
                             SESSION transaction_isolation = 'READ-COMMITTED'";
/// MariaDB before 11.1 calls it otherwise.
const MARIADB_SESSION: &str = "SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO'), \
                               SESSION tx_isolation = 'READ-COMMITTED'";

macro_rules! pool {
    ($options:ty, $settings:expr, $connect:expr, $first:expr) => {{
        let init: Arc<[String]> = $settings.init.clone().into();
        <$options>::new()
            .max_connections($settings.connections)
            .acquire_timeout($settings.acquire)
            .after_connect(move |connection, _| {
                let init = Arc::clone(&init);
                Box::pin(async move {
                    $first(&mut *connection).await?;
                    for sql in init.iter() {
                        connection.execute(sqlx::raw_sql(AssertSqlSafe(sql.clone()))).await?;
                    }
                    Ok(())
                })
            })
            .connect_lazy_with($connect)
    }};
}

impl Pool {
    /// A pool. Nothing is opened yet, so that a database that is down is no error here.
    pub fn new(target: &Target, settings: &PoolSettings) -> Self {
        match &target.place {
            Place::File(path) => {
                let options = SqliteConnectOptions::new()
                    .filename(path)
                    .create_if_missing(settings.create)
                    .journal_mode(SqliteJournalMode::Wal)
                    // What is committed must outlive a power cut.
                    .synchronous(SqliteSynchronous::Full)
                    .busy_timeout(settings.busy)
                    .disable_statement_logging();
                Self::Sqlite(pool!(SqlitePoolOptions, settings, options, async |_: &mut _| Ok::<_, sqlx::Error>(
                    ()
                )))
            }
            Place::Server {
                dialect: Dialect::MySql,
                host,
                port,
                database,
            } => {
                let options = MySqlConnectOptions::new()
                    .host(host)
                    .port(*port)
                    .database(database)
                    .pipes_as_concat(false);
                let options = mysql_login(options, &target.login).disable_statement_logging();
                Self::MySql(pool!(MySqlPoolOptions, settings, options, mysql_session))
            }
            Place::Server { host, port, database, .. } => {
                let options = PgConnectOptions::new_without_pgpass()
                    .host(host)
                    .port(*port)
                    .database(database)
                    .application_name("openconnect");
                let options = postgres_login(options, &target.login).disable_statement_logging();
                Self::Postgres(pool!(PgPoolOptions, settings, options, async |_: &mut _| Ok::<_, sqlx::Error>(())))
            }
        }
    }

    /// How the database talks.
    pub fn dialect(&self) -> Dialect {
        match self {
            Self::Postgres(_) => Dialect::Postgres,
            Self::MySql(_) => Dialect::MySql,
            Self::Sqlite(_) => Dialect::Sqlite,
        }
    }

    /// A connection.
    pub async fn acquire(&self) -> Result<Connection, Failure> {
        let acquired = match self {
            Self::Postgres(pool) => pool.acquire().await.map(Connection::Postgres),
            Self::MySql(pool) => pool.acquire().await.map(Connection::MySql),
            Self::Sqlite(pool) => pool.acquire().await.map(Connection::Sqlite),
        };
        acquired.map_err(|e| failure(&e))
    }

    /// A transaction that has begun.
    pub async fn begin(&self) -> Result<Transaction, Failure> {
        let connection = self.acquire().await?;
        let mut transaction = Transaction { connection, open: true };
        // SQLite: a lock that is taken later may not be had at all, once something was read.
        let begin = if self.dialect() == Dialect::Sqlite {
            "BEGIN IMMEDIATE"
        } else {
            "BEGIN"
        };
        transaction.connection.run(begin).await?;
        Ok(transaction)
    }

    /// Closes all connections, once they are given back.
    pub async fn close(&self) {
        match self {
            Self::Postgres(pool) => pool.close().await,
            Self::MySql(pool) => pool.close().await,
            Self::Sqlite(pool) => pool.close().await,
        }
    }
}

async fn mysql_session(connection: &mut sqlx::MySqlConnection) -> Result<(), sqlx::Error> {
    if connection.execute(sqlx::raw_sql(MYSQL_SESSION)).await.is_ok() {
        return Ok(());
    }
    connection.execute(sqlx::raw_sql(MARIADB_SESSION)).await.map(drop)
}

fn mysql_login(mut options: MySqlConnectOptions, login: &Login) -> MySqlConnectOptions {
    if let Some(user) = &login.user {
        options = options.username(user);
    }
    if let Some(password) = &login.password {
        options = options.password(password.expose());
    }
    let Some(tls) = &login.tls else { return options };
    options = options.ssl_mode(match tls.mode {
        TlsMode::Disable => MySqlSslMode::Disabled,
        TlsMode::Require => MySqlSslMode::Required,
        TlsMode::VerifyCa => MySqlSslMode::VerifyCa,
        TlsMode::VerifyFull => MySqlSslMode::VerifyIdentity,
    });
    if let Some(file) = &tls.ca_file {
        options = options.ssl_ca(file);
    }
    if let (Some(cert), Some(key)) = (&tls.cert_file, &tls.key_file) {
        options = options.ssl_client_cert(cert).ssl_client_key(key);
    }
    options
}

fn postgres_login(mut options: PgConnectOptions, login: &Login) -> PgConnectOptions {
    if let Some(user) = &login.user {
        options = options.username(user);
    }
    if let Some(password) = &login.password {
        options = options.password(password.expose());
    }
    let Some(tls) = &login.tls else { return options };
    options = options.ssl_mode(match tls.mode {
        TlsMode::Disable => PgSslMode::Disable,
        TlsMode::Require => PgSslMode::Require,
        TlsMode::VerifyCa => PgSslMode::VerifyCa,
        TlsMode::VerifyFull => PgSslMode::VerifyFull,
    });
    if let Some(file) = &tls.ca_file {
        options = options.ssl_root_cert(file);
    }
    if let (Some(cert), Some(key)) = (&tls.cert_file, &tls.key_file) {
        options = options.ssl_client_cert(cert).ssl_client_key(key);
    }
    options
}

/// A connection, given back when it is dropped.
#[derive(Debug)]
pub enum Connection {
    /// PostgreSQL.
    Postgres(PoolConnection<Postgres>),
    /// MySQL, MariaDB.
    MySql(PoolConnection<MySql>),
    /// SQLite.
    Sqlite(PoolConnection<Sqlite>),
}

impl Connection {
    /// How the database talks.
    pub fn dialect(&self) -> Dialect {
        match self {
            Self::Postgres(_) => Dialect::Postgres,
            Self::MySql(_) => Dialect::MySql,
            Self::Sqlite(_) => Dialect::Sqlite,
        }
    }

    /// Runs a text without parameters; it may be several statements.
    pub async fn run(&mut self, sql: &str) -> Result<(), Failure> {
        let query = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        let done = match self {
            Self::Postgres(connection) => query.execute(&mut **connection).await.map(drop),
            Self::MySql(connection) => query.execute(&mut **connection).await.map(drop),
            Self::Sqlite(connection) => query.execute(&mut **connection).await.map(drop),
        };
        done.map_err(|e| failure(&e))
    }

    /// Runs a statement; how many rows it changed, as the database counts.
    pub async fn execute(&mut self, statement: &Statement) -> Result<u64, Failure> {
        let sql = AssertSqlSafe(statement.sql.clone());
        let done = match self {
            Self::Postgres(connection) => {
                let query = sqlx::query_with(sql, encoded(postgres_arguments(&statement.values))?);
                query.execute(&mut **connection).await.map(|done| done.rows_affected())
            }
            Self::MySql(connection) => {
                let query = sqlx::query_with(sql, encoded(mysql_arguments(&statement.values))?);
                query.execute(&mut **connection).await.map(|done| done.rows_affected())
            }
            Self::Sqlite(connection) => {
                let query = sqlx::query_with(sql, encoded(sqlite_arguments(&statement.values))?);
                query.execute(&mut **connection).await.map(|done| done.rows_affected())
            }
        };
        done.map_err(|e| failure(&e))
    }

    /// The rows of a query, as far as they go into `max_bytes`, but at least one; and whether there are more.
    pub async fn query(&mut self, statement: &Statement, max_bytes: usize) -> Result<(Vec<Vec<Cell>>, bool), Failure> {
        macro_rules! fetch {
            ($connection:expr, $arguments:expr, $cells:expr) => {{
                let query = sqlx::query_with(AssertSqlSafe(statement.sql.clone()), encoded($arguments(&statement.values))?);
                let mut stream = query.fetch(&mut **$connection);
                let (mut rows, mut bytes) = (Vec::new(), 0);
                loop {
                    match stream.try_next().await {
                        Ok(Some(row)) if bytes < max_bytes => {
                            let cells = $cells(&row).map_err(|e| failure(&e))?;
                            bytes += cells.iter().map(Cell::size).sum::<usize>();
                            rows.push(cells);
                        }
                        Ok(more) => break Ok((rows, more.is_some())),
                        Err(error) => break Err(failure(&error)),
                    }
                }
            }};
        }
        match self {
            Self::Postgres(connection) => fetch!(connection, postgres_arguments, postgres_cells),
            Self::MySql(connection) => fetch!(connection, mysql_arguments, mysql_cells),
            Self::Sqlite(connection) => fetch!(connection, sqlite_arguments, sqlite_cells),
        }
    }

    /// The columns that a query gives.
    pub async fn describe(&mut self, sql: &str) -> Result<Vec<Column>, Failure> {
        let sql = AssertSqlSafe(sql.to_owned()).into_sql_str();
        macro_rules! columns {
            ($connection:expr) => {{
                let statement = (&mut **$connection).prepare(sql).await.map_err(|e| failure(&e))?;
                let columns = statement.columns().iter();
                columns
                    .map(|column| (column.name().to_owned(), column.type_info().name().to_ascii_lowercase()))
                    .collect::<Vec<_>>()
            }};
        }
        let columns = match self {
            Self::Postgres(connection) => columns!(connection),
            Self::MySql(connection) => columns!(connection),
            Self::Sqlite(connection) => columns!(connection),
        };
        let dialect = self.dialect();
        let column = |(name, ty): (String, String)| Column {
            kind: kind::described(dialect, &ty),
            name,
            type_name: ty,
            generated: true,
        };
        Ok(columns.into_iter().map(column).collect())
    }

    /// Not given back when it is dropped, but closed.
    fn close_on_drop(&mut self) {
        match self {
            Self::Postgres(connection) => connection.close_on_drop(),
            Self::MySql(connection) => connection.close_on_drop(),
            Self::Sqlite(connection) => connection.close_on_drop(),
        }
    }
}

/// A transaction. Dropped without [`commit`](Self::commit), its connection is closed, and the database forgets it: whatever went
/// wrong, the next transaction begins on a connection that is sound.
#[derive(Debug)]
pub struct Transaction {
    connection: Connection,
    open: bool,
}

impl Transaction {
    /// Its connection.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Everything is durable when this returns. After a failure it is not known whether it is.
    pub async fn commit(mut self) -> Result<(), Failure> {
        self.connection.run("COMMIT").await?;
        self.open = false;
        Ok(())
    }

    /// Undoes it and keeps the connection, where the database has just answered with a refusal. After anything else it is
    /// closed: after a disk error SQLite has rolled back by itself.
    pub async fn rollback(mut self, why: &Failure) {
        if why.kind == FailureKind::Permanent && self.connection.run("ROLLBACK").await.is_ok() {
            self.open = false;
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if self.open {
            self.connection.close_on_drop();
        }
    }
}

type Encoded<A> = Result<A, sqlx::error::BoxDynError>;

fn encoded<A>(arguments: Encoded<A>) -> Result<A, Failure> {
    arguments.map_err(|e| Failure::permanent("SQL_VALUE", format!("a parameter can't be sent: {e}")))
}

fn postgres_arguments(values: &[Value]) -> Encoded<PgArguments> {
    let mut arguments = PgArguments::default();
    for value in values {
        match value {
            Value::Null => arguments.add(None::<&str>)?,
            Value::Integer(value) => arguments.add(value)?,
            Value::Unsigned(value) => arguments.add(value.to_string())?,
            Value::Real(value) => arguments.add(value)?,
            Value::Text(value) => arguments.add(value.as_str())?,
            Value::Bytes(value) => arguments.add(value.as_slice())?,
            Value::Texts(values) => arguments.add(values.as_slice())?,
            Value::ByteStrings(values) => arguments.add(values.as_slice())?,
        }
    }
    Ok(arguments)
}

fn mysql_arguments(values: &[Value]) -> Encoded<MySqlArguments> {
    let mut arguments = MySqlArguments::default();
    for value in values {
        match value {
            Value::Null => arguments.add(None::<&str>)?,
            Value::Integer(value) => arguments.add(value)?,
            Value::Unsigned(value) => arguments.add(value)?,
            Value::Real(value) => arguments.add(value)?,
            Value::Text(value) => arguments.add(value.as_str())?,
            Value::Bytes(value) => arguments.add(value.as_slice())?,
            Value::Texts(_) | Value::ByteStrings(_) => return Err("MySQL has no arrays".into()),
        }
    }
    Ok(arguments)
}

fn sqlite_arguments(values: &[Value]) -> Encoded<SqliteArguments> {
    let mut arguments = SqliteArguments::default();
    for value in values {
        match value {
            Value::Null => arguments.add(None::<String>)?,
            Value::Integer(value) => arguments.add(*value)?,
            Value::Unsigned(value) => arguments.add(value.to_string())?,
            Value::Real(value) => arguments.add(*value)?,
            Value::Text(value) => arguments.add(value.clone())?,
            Value::Bytes(value) => arguments.add(value.clone())?,
            Value::Texts(_) | Value::ByteStrings(_) => return Err("SQLite has no arrays".into()),
        }
    }
    Ok(arguments)
}

fn postgres_cells(row: &PgRow) -> Result<Vec<Cell>, sqlx::Error> {
    let cell = |at| {
        let raw = row.try_get_raw(at)?;
        Ok(match (raw.is_null(), raw.type_info().name()) {
            (true, _) => Cell::Null,
            (false, "BYTEA") => Cell::Bytes(row.try_get(at)?),
            _ => Cell::Text(row.try_get_unchecked(at)?),
        })
    };
    (0..row.len()).map(cell).collect()
}

fn mysql_cells(row: &MySqlRow) -> Result<Vec<Cell>, sqlx::Error> {
    let cell = |at| {
        let raw = row.try_get_raw(at)?;
        Ok(match (raw.is_null(), raw.type_info().name()) {
            (true, _) => Cell::Null,
            (false, "BINARY" | "VARBINARY" | "TINYBLOB" | "BLOB" | "MEDIUMBLOB" | "LONGBLOB" | "GEOMETRY") => {
                Cell::Bytes(row.try_get_unchecked(at)?)
            }
            _ => text_or_bytes(row.try_get_unchecked(at)?),
        })
    };
    (0..row.len()).map(cell).collect()
}

fn sqlite_cells(row: &SqliteRow) -> Result<Vec<Cell>, sqlx::Error> {
    let cell = |at| {
        let raw = row.try_get_raw(at)?;
        Ok(match (raw.is_null(), raw.type_info().name()) {
            (true, _) => Cell::Null,
            (false, "INTEGER") => Cell::Integer(row.try_get_unchecked(at)?),
            (false, "REAL") => Cell::Real(row.try_get_unchecked(at)?),
            (false, "BLOB") => Cell::Bytes(row.try_get_unchecked(at)?),
            _ => text_or_bytes(row.try_get_unchecked(at)?),
        })
    };
    (0..row.len()).map(cell).collect()
}

/// What is declared as text need not be text everywhere.
fn text_or_bytes(bytes: Vec<u8>) -> Cell {
    match String::from_utf8(bytes) {
        Ok(text) => Cell::Text(text),
        Err(error) => Cell::Bytes(error.into_bytes()),
    }
}
