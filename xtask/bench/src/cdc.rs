//! The MySQL CDC source beside Debezium: a snapshot, and the log, each of the same rows of the same server, with nobody behind
//! them. Both are processes that write how many changes they have told.

use std::process::Stdio;
use std::time::{Duration, Instant};

use openconnect_sql_fixtures::{Database, Server, System};
use openconnect_testkit::Result;
use openconnect_testkit::debezium::{Debezium, Output, Running};
use openconnect_testkit::kit::Kit;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use tokio::sync::OnceCell;

use crate::run::{Sample, Setup};
use crate::usage::Watched;

/// Rows of 600 bytes, as the published figures of others have them.
const ROWS: u64 = 400_000;
const BYTES: usize = 600;
/// Rows of a transaction.
const TOGETHER: u64 = 1000;

/// Who reads.
enum Reader {
    Ours {
        child: Child,
        lines: Lines<BufReader<ChildStdout>>,
    },
    Debezium(Running),
}

/// Which one, and what it reads.
#[derive(Clone, Copy)]
pub(crate) enum Side {
    Ours,
    Debezium,
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Self::Ours => "openconnect",
            Self::Debezium => "debezium",
        }
    }
}

impl Reader {
    fn start(setup: &Setup, kit: &Kit, side: Side, database: &Database, snapshot: &str) -> Result<Self> {
        if let Side::Debezium = side {
            let debezium = Debezium::build()?.ok_or("Java or Maven is missing")?;
            return Ok(Self::Debezium(debezium.start(
                &database.url,
                snapshot,
                Output::Count,
                kit.path(),
            )?));
        }
        let mut child = tokio::process::Command::new(setup.binaries.join("examples/null_consumer"))
            .args([database.url.as_str(), snapshot])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let lines = BufReader::new(child.stdout.take().ok_or("no standard output")?).lines();
        Ok(Self::Ours { child, lines })
    }

    fn pid(&self) -> Result<u32> {
        let pid = match self {
            Self::Ours { child, .. } => child.id(),
            Self::Debezium(running) => running.pid(),
        };
        pid.ok_or_else(|| "the reader has ended".into())
    }

    /// Waits until it has told so many.
    async fn reaches(&mut self, wanted: u64) -> Result<u64> {
        loop {
            let line = match self {
                Self::Ours { lines, .. } => lines.next_line().await?.ok_or("the reader has ended")?,
                Self::Debezium(running) => running.line().await?,
            };
            let count: u64 = line.parse()?;
            if count >= wanted {
                return Ok(count);
            }
        }
    }

    fn signal(&self, signal: &str) -> Result<()> {
        let done = std::process::Command::new("kill")
            .args([signal, &self.pid()?.to_string()])
            .status()?;
        if done.success() {
            Ok(())
        } else {
            Err("the signal could not be sent".into())
        }
    }

    /// From now until it has told so many: how fast, and what it took.
    async fn measure(&mut self, name: &'static str, from: u64, until: u64) -> Result<Sample> {
        let mut watched = Watched::by_id(name, self.pid()?);
        watched.begin();
        let started = Instant::now();
        let told = tokio::time::timeout(Duration::from_secs(300), self.reaches(until)).await??;
        let events = told.saturating_sub(from) as f64;
        Ok(Sample {
            events_per_second: events / started.elapsed().as_secs_f64(),
            latency: None,
            processes: [watched.end(events)].into(),
        })
    }
}

/// A server with a table that is full.
async fn stocked() -> Result<&'static (Server, Database)> {
    static STOCKED: OnceCell<(Server, Database)> = OnceCell::const_new();
    STOCKED
        .get_or_try_init(|| async {
            let server = Server::start(System::MySql).await?.ok_or("MySQL can't be had")?;
            let database = server.database().await?;
            make(&database).await?;
            fill(&database).await?;
            Ok((server, database))
        })
        .await
}

async fn make(database: &Database) -> Result<()> {
    database
        .execute("create table numbers (id bigint primary key, text varchar(1000) character set latin1 not null, n int, at datetime(6))")
        .await
}

async fn fill(database: &Database) -> Result<()> {
    let text = "x".repeat(BYTES - 30);
    // A reader that is stopped must not be given up meanwhile.
    database.execute("set global net_write_timeout = 600").await?;
    let mut session = database.session().await?;
    for first in (0..ROWS).step_by(usize::try_from(TOGETHER)?) {
        let rows: Vec<String> = (first..first + TOGETHER)
            .map(|id| format!("({id}, '{text}', {id}, '2024-02-29 12:34:56.123456')"))
            .collect();
        session.run(&format!("insert into numbers values {}", rows.join(","))).await?;
    }
    Ok(())
}

/// All rows that are there, from the first that is told on.
pub(crate) async fn snapshot(setup: &Setup, side: Side) -> Result<Sample> {
    let kit = Kit::quiet(&setup.binaries)?;
    let (_, database) = stocked().await?;
    let mut reader = Reader::start(setup, &kit, side, database, "initial")?;
    reader.reaches(1).await?;
    reader.measure(side.name(), 1, ROWS).await
}

/// As many rows from the log. They are written while the reader is stopped, so that the server has nothing else to do later.
pub(crate) async fn log(setup: &Setup, side: Side) -> Result<Sample> {
    let kit = Kit::quiet(&setup.binaries)?;
    let (server, _) = stocked().await?;
    let database = server.database().await?;
    make(&database).await?;
    let mut reader = Reader::start(setup, &kit, side, &database, "no_data")?;
    // It reads once it has told one.
    let mut id = 1_000_000_000_u64;
    while tokio::time::timeout(Duration::from_secs(1), reader.reaches(1)).await.is_err() {
        id += 1;
        database.execute(&format!("insert into numbers values ({id}, '', 0, null)")).await?;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let told = reader.reaches(0).await?;
    reader.signal("-STOP")?;
    fill(&database).await?;
    reader.signal("-CONT")?;
    reader.measure(side.name(), told, told + ROWS).await
}
