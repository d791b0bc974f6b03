//! PostgreSQL, MySQL and MariaDB: a database for each test on a server that all tests share, or a server of one's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use openconnect_testkit::services::{self, Instance, Lent, Service};
use sqlx::{AssertSqlSafe, Connection, MySqlConnection, PgConnection, Row};

use crate::Result;

/// How long dropping a database may take.
const DROP: Duration = Duration::from_secs(10);
/// How long a lock is waited for.
pub const LOCK_WAIT: Duration = Duration::from_secs(15);

/// A database system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// PostgreSQL; `OPENCONNECT_TEST_POSTGRES` overrides.
    Postgres,
    /// MySQL, or MariaDB where it can't be had (the script says so); `OPENCONNECT_TEST_MYSQL` overrides.
    MySql,
    /// MariaDB; `OPENCONNECT_TEST_MARIADB` overrides.
    MariaDb,
}

impl System {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Postgres, Self::MySql, Self::MariaDb];

    /// The service that runs it.
    pub const fn service(self) -> Service {
        match self {
            Self::Postgres => Service::named("postgres"),
            Self::MySql => Service::named("mysql"),
            Self::MariaDb => Service::named("mariadb"),
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.service().name()
    }
}

/// A fresh, empty database of the test's own on the shared server. `None`, said on standard output, when no server can be had.
///
/// # Errors
/// With `CI=true`, when no server can be had.
pub async fn database(system: System) -> Result<Option<Database>> {
    match system.service().shared().await? {
        Some(url) => Ok(Some(Database::create(system, &url).await?)),
        None => Ok(None),
    }
}

/// A server that only its holder uses, and may kill. It ends, with its data, when this is dropped.
#[derive(Debug)]
pub struct Server {
    system: System,
    instance: Arc<Instance>,
    /// None when the server was started for this holder alone.
    _lent: Option<Lent>,
}

impl Server {
    /// Starts one; `None` as with [`database`].
    ///
    /// # Errors
    /// As with [`database`].
    pub async fn start(system: System) -> Result<Option<Self>> {
        Self::start_with(system, "").await
    }

    /// As [`start`](Self::start), with more arguments for the server.
    ///
    /// # Errors
    /// As with [`database`].
    pub async fn start_with(system: System, arguments: &str) -> Result<Option<Self>> {
        let instance = Instance::start_with(system.service(), arguments).await?;
        Ok(instance.map(|instance| Self {
            system,
            instance: Arc::new(instance),
            _lent: None,
        }))
    }

    /// One that earlier runs of this process have used and that nobody uses now, or a fresh one: for a series of runs.
    ///
    /// # Errors
    /// As with [`database`].
    pub async fn lend(system: System) -> Result<Option<Self>> {
        let lent = services::lend(system.service()).await?;
        Ok(lent.map(|lent| Self {
            system,
            instance: Arc::clone(lent.instance()),
            _lent: Some(lent),
        }))
    }

    /// A fresh, empty database.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn database(&self) -> Result<Database> {
        Database::create(self.system, self.instance.url()).await
    }

    /// What runs it.
    pub fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }

    /// Kills the server at once (SIGKILL).
    ///
    /// # Errors
    /// When the script of the service fails.
    pub fn kill(&self) -> Result<()> {
        self.instance.kill()
    }

    /// Starts it again, with what it had committed; it answers when this returns.
    ///
    /// # Errors
    /// When the script of the service fails.
    pub fn restart(&self) -> Result<()> {
        self.instance.restart()
    }
}

/// An empty database, dropped with this value.
#[derive(Debug)]
pub struct Database {
    /// Where it is, with the password.
    pub url: String,
    system: System,
    name: String,
    admin: String,
}

impl Database {
    async fn create(system: System, admin: &str) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}_{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let (server, _) = admin.rsplit_once('/').ok_or("the URL names no database")?;
        let database = Self {
            url: format!("{server}/{name}"),
            system,
            name,
            admin: admin.to_owned(),
        };
        // One of an earlier process with the same number.
        database.remove().await?;
        run(system, admin, &format!("CREATE DATABASE {}", database.name)).await?;
        Ok(database)
    }

    async fn remove(&self) -> Result<()> {
        let force = if self.system == System::Postgres { " WITH (FORCE)" } else { "" };
        run(self.system, &self.admin, &format!("DROP DATABASE IF EXISTS {}{force}", self.name)).await
    }

    /// Which kind of server it is on.
    pub fn system(&self) -> System {
        self.system
    }

    /// Runs statements.
    pub async fn execute(&self, sql: &str) -> Result<()> {
        run(self.system, &self.url, sql).await
    }

    /// A connection of its own.
    pub async fn session(&self) -> Result<Session> {
        Ok(match self.system {
            System::Postgres => Session::Postgres(PgConnection::connect(&self.url).await?),
            System::MySql | System::MariaDb => Session::MySql(MySqlConnection::connect(&self.url).await?),
        })
    }

    /// Nobody else can write to a table while the session lives. Waits for those who write to it now.
    ///
    /// # Errors
    /// When another session holds the table for longer than [`LOCK_WAIT`].
    pub async fn hold(&self, table: &str) -> Result<Session> {
        let mut session = self.session().await?;
        let seconds = LOCK_WAIT.as_secs();
        let sql = match self.system {
            System::Postgres => format!("SET lock_timeout = '{seconds}s'; BEGIN; LOCK TABLE {table} IN EXCLUSIVE MODE"),
            System::MySql | System::MariaDb => format!("SET lock_wait_timeout = {seconds}; LOCK TABLES {table} READ"),
        };
        session.run(&sql).await?;
        Ok(session)
    }

    /// Runs a query; every column must be text.
    pub async fn query(&self, sql: &str) -> Result<Vec<Vec<String>>> {
        match self.system {
            System::Postgres => {
                let mut connection = PgConnection::connect(&self.url).await?;
                let rows = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await?;
                connection.close().await?;
                texts(&rows)
            }
            System::MySql | System::MariaDb => {
                let mut connection = MySqlConnection::connect(&self.url).await?;
                let rows = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await?;
                connection.close().await?;
                texts(&rows)
            }
        }
    }
}

/// A connection to a database.
#[derive(Debug)]
pub enum Session {
    /// PostgreSQL.
    Postgres(PgConnection),
    /// MySQL, MariaDB.
    MySql(MySqlConnection),
}

impl Session {
    /// Runs statements.
    pub async fn run(&mut self, sql: &str) -> Result<()> {
        let statement = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        match self {
            Self::Postgres(connection) => statement.execute(connection).await.map(drop)?,
            Self::MySql(connection) => statement.execute(connection).await.map(drop)?,
        }
        Ok(())
    }
}

fn texts<R: Row>(rows: &[R]) -> Result<Vec<Vec<String>>>
where
    usize: sqlx::ColumnIndex<R>,
    for<'r> String: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
{
    let text = |row: &R| (0..row.len()).map(|column| Ok(row.try_get::<String, _>(column)?)).collect();
    rows.iter().map(text).collect()
}

async fn run(system: System, url: &str, sql: &str) -> Result<()> {
    let statement = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
    match system {
        System::Postgres => {
            let mut connection = PgConnection::connect(url).await?;
            statement.execute(&mut connection).await?;
            connection.close().await?;
        }
        System::MySql | System::MariaDb => {
            let mut connection = MySqlConnection::connect(url).await?;
            statement.execute(&mut connection).await?;
            connection.close().await?;
        }
    }
    Ok(())
}

impl Drop for Database {
    /// On a thread with a runtime of its own: the test's may be ending.
    fn drop(&mut self) {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                if let Ok(runtime) = runtime {
                    // Best effort: a server that is gone took the database along.
                    let _ = runtime.block_on(async { tokio::time::timeout(DROP, self.remove()).await });
                }
            });
        });
    }
}
