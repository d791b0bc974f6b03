//! Database servers: started by the scripts in `ci/services`, shared by all tests, or one of a test's own that may be killed.
//!
//! A shared server runs while a process of tests does; a watcher stops it when the last one has ended, however it ended. Each
//! test has its own database there, which is dropped with its [`Database`].

use std::fs::{File, OpenOptions};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use sqlx::{AssertSqlSafe, Connection, MySqlConnection, PgConnection, Row};
use tokio::sync::{Mutex, OnceCell, OwnedMutexGuard};

use crate::Result;
use crate::kit::free_address;

/// How long dropping a database may take.
const DROP: Duration = Duration::from_secs(10);
/// What all who share a server have to go on in before it is killed again.
const BETWEEN_KILLS: Duration = Duration::from_secs(4);

/// A kind of server.
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

    /// The name of its script.
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MySql => "mysql",
            Self::MariaDb => "mariadb",
        }
    }

    fn variable(self) -> String {
        format!("OPENCONNECT_TEST_{}", self.name().to_ascii_uppercase())
    }

    fn shared(self) -> &'static OnceCell<Result<Shared, String>> {
        static CELLS: [OnceCell<Result<Shared, String>>; 3] = [const { OnceCell::const_new() }; 3];
        &CELLS[self as usize]
    }
}

/// A server that this process shares with others.
struct Shared {
    url: String,
    /// Held until the process ends: the watcher waits for it.
    _in_use: Option<File>,
}

/// A fresh, empty database of the test's own. `None`, said on standard output, when no server can be had; an error instead
/// with `CI=true`.
pub async fn database(system: System) -> Result<Option<Database>> {
    let shared = system
        .shared()
        .get_or_init(|| async {
            tokio::task::spawn_blocking(move || share(system))
                .await
                .map_err(|e| e.to_string())?
        })
        .await;
    match shared {
        Ok(shared) => Ok(Some(Database::create(system, &shared.url).await?)),
        Err(reason) => missing(system, reason),
    }
}

fn missing<T>(system: System, reason: &str) -> Result<Option<T>> {
    if std::env::var("CI").is_ok_and(|ci| ci == "true") {
        return Err(format!("{} can't be had: {reason}", system.name()).into());
    }
    println!("skipped: {} can't be had: {reason}", system.name());
    Ok(None)
}

fn share(system: System) -> Result<Shared, String> {
    if let Ok(url) = std::env::var(system.variable()) {
        return Ok(Shared { url, _in_use: None });
    }
    let script = Script {
        system,
        environment: Vec::new(),
    };
    let in_use = script.hold("shared", "stop").map_err(|e| e.to_string())?;
    script.run(&["start"]).map_err(|e| e.to_string())?;
    Ok(Shared {
        url: script.url().map_err(|e| e.to_string())?,
        _in_use: Some(in_use),
    })
}

/// A script of `ci/services` and what chooses its instance.
#[derive(Debug)]
struct Script {
    system: System,
    environment: Vec<(String, String)>,
}

impl Script {
    fn command(&self, arguments: &[&str]) -> Command {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../ci/services");
        let mut command = Command::new(format!("{path}/{}.sh", self.system.name()));
        command
            .args(arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Runs a command of the script to its end; gives its output.
    fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command(arguments).output()?;
        if !output.status.success() {
            return Err(format!("{} {arguments:?}: {}", self.system.name(), String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The URL as an administrator.
    fn url(&self) -> Result<String> {
        let lead = format!("export {}=", self.system.variable());
        let output = self.run(&["env"])?;
        let url = output.lines().find_map(|line| line.strip_prefix(&lead));
        Ok(url.ok_or("the script names no URL")?.to_owned())
    }

    /// Takes a lock and starts a watcher that runs `command` of the script once no process holds it any more.
    fn hold(&self, instance: &str, command: &str) -> Result<File> {
        let cache = match std::env::var_os("OPENCONNECT_CACHE") {
            Some(cache) => PathBuf::from(cache),
            None => PathBuf::from(std::env::var_os("HOME").ok_or("HOME is not set")?).join(".cache/openconnect"),
        };
        let run = cache.join("run");
        std::fs::create_dir_all(&run)?;
        let path = run.join(format!("{}-{instance}.users", self.system.name()));
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
        // A watcher that is just stopping the server is waited for.
        flock(&file, FlockOperation::LockShared)?;
        let script = self.command(&[command]);
        Command::new("setsid")
            .args(["--fork", "flock", "--exclusive"])
            .arg(path)
            .arg(script.get_program())
            .arg(command)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        Ok(file)
    }
}

/// A server of the test's own, which may be killed. It ends, with its data, when this is dropped.
#[derive(Debug)]
pub struct Server {
    script: Script,
    url: String,
    killing: Arc<Mutex<()>>,
    _in_use: File,
}

impl Server {
    /// Starts one; `None` as with [`database`].
    pub async fn start(system: System) -> Result<Option<Self>> {
        match tokio::task::spawn_blocking(move || Self::start_blocking(system)).await? {
            Ok(server) => Ok(Some(server)),
            Err(e) => missing(system, &e.to_string()),
        }
    }

    /// The one that all of this process share, started by the first who asks; it may be killed, so all must bear that.
    pub async fn of_process(system: System) -> Result<Option<&'static Self>> {
        static SERVERS: [OnceCell<Option<Server>>; 3] = [const { OnceCell::const_new() }; 3];
        Ok(SERVERS[system as usize].get_or_try_init(|| Self::start(system)).await?.as_ref())
    }

    fn start_blocking(system: System) -> Result<Self> {
        let port = free_address()?.port();
        let instance = format!("{}-{port}", std::process::id());
        let script = Script {
            system,
            environment: vec![
                ("OPENCONNECT_INSTANCE".into(), instance.clone()),
                (format!("{}_PORT", system.variable()), port.to_string()),
            ],
        };
        let in_use = script.hold(&instance, "remove")?;
        script.run(&["start"])?;
        Ok(Self {
            url: script.url()?,
            script,
            killing: Arc::default(),
            _in_use: in_use,
        })
    }

    /// A fresh, empty database.
    pub async fn database(&self) -> Result<Database> {
        Database::create(self.script.system, &self.url).await
    }

    /// The right to kill a server that others use too; none while another has it. They need time to go on between two kills:
    /// it is given back some seconds after it was dropped.
    pub fn may_kill(&self) -> Option<MayKill> {
        Arc::clone(&self.killing).try_lock_owned().ok().map(|guard| MayKill(Some(guard)))
    }

    /// Kills the server at once (SIGKILL).
    pub fn kill(&self) -> Result<()> {
        self.script.run(&["kill"]).map(drop)
    }

    /// Starts it again, with what it had committed; it answers when this returns.
    pub fn restart(&self) -> Result<()> {
        self.script.run(&["start", "--keep"]).map(drop)
    }
}

/// See [`Server::may_kill`].
#[derive(Debug)]
pub struct MayKill(Option<OwnedMutexGuard<()>>);

impl Drop for MayKill {
    fn drop(&mut self) {
        let guard = self.0.take();
        std::thread::spawn(move || {
            std::thread::park_timeout(BETWEEN_KILLS);
            drop(guard);
        });
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

    /// Nobody else can write to a table while the session lives.
    pub async fn hold(&self, table: &str) -> Result<Session> {
        let mut session = self.session().await?;
        let sql = match self.system {
            System::Postgres => format!("BEGIN; LOCK TABLE {table} IN EXCLUSIVE MODE"),
            System::MySql | System::MariaDb => format!("LOCK TABLES {table} READ"),
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
