//! A table that a source reads, by queries or from the log. Rows get their numbers before their transactions commit, and several
//! transactions are open at once, so that rows appear among those that were read already; and the server is killed once in the
//! middle.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openconnect_testkit::kit::Kit;
use openconnect_testkit::oracle::{Sent, hash};
use openconnect_testkit::prove::PADDING;
use openconnect_testkit::prove::subject::{Input, Later, Produced};
use rand::Rng;
use rand::rngs::StdRng;
use rand::{SeedableRng, rng};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::tables::until_back;
use crate::{Database, Error, Result, Server, Session, System};

/// Transactions that are open at the same time.
const WRITERS: u64 = 4;
/// The longest transaction, in ms; the source is told to look for late rows for longer.
const LONGEST: u64 = 300;
const LAG: &str = "10s";

/// Which source reads it.
#[derive(Clone, Copy, PartialEq)]
enum By {
    Queries,
    Log,
}

struct Rows {
    by: By,
    database: Arc<Database>,
    server: Server,
    seed: u64,
    next: Arc<AtomicU64>,
    written: Arc<Mutex<Produced>>,
    stop: CancellationToken,
    writers: JoinSet<()>,
}

/// Read by queries, in PostgreSQL.
pub fn postgres(kit: &Kit) -> Later<'_, Box<dyn Input>> {
    Box::pin(make(By::Queries, System::Postgres, kit.seed()))
}

/// Read by queries, in MySQL.
pub fn mysql(kit: &Kit) -> Later<'_, Box<dyn Input>> {
    Box::pin(make(By::Queries, System::MySql, kit.seed()))
}

/// Read from MySQL's log.
pub fn mysql_log(kit: &Kit) -> Later<'_, Box<dyn Input>> {
    Box::pin(make(By::Log, System::MySql, kit.seed()))
}

/// Read from MariaDB's log.
pub fn mariadb_log(kit: &Kit) -> Later<'_, Box<dyn Input>> {
    Box::pin(make(By::Log, System::MariaDb, kit.seed()))
}

/// Read by queries, in MariaDB.
pub fn mariadb(kit: &Kit) -> Later<'_, Box<dyn Input>> {
    Box::pin(make(By::Queries, System::MariaDb, kit.seed()))
}

async fn make(by: By, system: System, seed: u64) -> Result<Box<dyn Input>> {
    let server = Server::lend(system).await?.ok_or_else(|| Error::from("the server can't be had"))?;
    let database = server.database().await?;
    let table =
        "create table rows_in (id bigint primary key, name varchar(40) not null, number bigint not null, text varchar(200) not null)";
    database.execute(table).await?;
    Ok(Box::new(Rows {
        by,
        server,
        database: Arc::new(database),
        seed,
        next: Arc::new(AtomicU64::new(1)),
        written: Arc::default(),
        stop: CancellationToken::new(),
        writers: JoinSet::new(),
    }))
}

impl Rows {
    fn written(&self) -> std::sync::MutexGuard<'_, Produced> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Input for Rows {
    fn binary(&self) -> &'static str {
        match self.by {
            By::Queries => "openconnect-jdbc-source",
            By::Log => "openconnect-mysql-cdc-source",
        }
    }

    fn section(&self) -> Value {
        if self.by == By::Log {
            return json!({ "url": self.database.url, "tables": ["rows_in"], "chunk_rows": 20, "timeout": "5s" });
        }
        json!({
            "url": self.database.url, "tables": ["rows_in"], "mode": "incrementing", "incrementing": "id", "key": ["name"],
            "interval": "20ms", "lag": LAG, "page_rows": 50, "timeout": "5s",
        })
    }

    fn start(&mut self) -> Later<'_, ()> {
        Box::pin(async {
            let mut random = StdRng::seed_from_u64(self.seed);
            let (instance, crash) = (
                Arc::clone(self.server.instance()),
                Duration::from_millis(random.random_range(100..1500)),
            );
            for _ in 0..WRITERS {
                let writer = write(
                    Arc::clone(&self.database),
                    Arc::clone(&self.next),
                    Arc::clone(&self.written),
                    self.stop.clone(),
                );
                self.writers.spawn(writer);
            }
            self.writers.spawn(async move {
                tokio::time::sleep(crash).await;
                // A server that does not come back fails the run, and is said here.
                let crash = tokio::task::spawn_blocking(move || instance.kill().and_then(|()| instance.restart()));
                match crash.await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => println!("the server did not come back: {error}"),
                    Err(error) => println!("the server may not have come back: {error}"),
                }
            });
            Ok(())
        })
    }

    fn confirmed(&self) -> usize {
        self.written().confirmed.len()
    }

    fn stop(&mut self) -> Later<'_, Produced> {
        Box::pin(async {
            self.stop.cancel();
            while self.writers.join_next().await.is_some() {}
            Ok(std::mem::take(&mut *self.written()))
        })
    }

    /// What lies before the part in which rows may still appear. A place in the log says nothing about numbers.
    fn before(&self, offsets: &Value) -> Vec<String> {
        if self.by == By::Log {
            return Vec::new();
        }
        let settled = |position: &Value| position["unsettled"]["after"][0].as_str()?.parse::<u64>().ok();
        let saved = offsets["offsets"].as_object().and_then(|all| all.values().next()).and_then(settled);
        let all = if offsets["offsets"][""].is_u64() { Some(u64::MAX) } else { saved };
        let written = self.written();
        let before = written.confirmed.iter().filter(|sent| sent.number <= all.unwrap_or(0));
        before.map(|sent| sent.id.clone()).collect()
    }
}

/// Transactions of one to three rows, one after the other, some of them slow.
async fn write(database: Arc<Database>, next: Arc<AtomicU64>, written: Arc<Mutex<Produced>>, stop: CancellationToken) {
    let mut session = None;
    while !stop.is_cancelled() {
        // Numbers are taken when there is a connection: a transaction must not be longer than the source looks for late rows.
        let open = match &mut session {
            Some(open) => open,
            None => match until_back(|| database.session()).await {
                Ok(open) => session.insert(open),
                Err(_) => return,
            },
        };
        let ids: Vec<u64> = (0..rng().random_range(1..=3)).map(|_| next.fetch_add(1, Relaxed)).collect();
        let open_for = if rng().random_bool(0.1) {
            rng().random_range(0..LONGEST)
        } else {
            rng().random_range(0..10)
        };
        let done = transaction(open, &ids, Duration::from_millis(open_for)).await;
        let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = ids.iter().map(|id| sent(*id));
        match done {
            Ok(()) => written.confirmed.extend(sent),
            Err(_) => {
                session = None;
                written.open.extend(sent);
            }
        }
    }
}

async fn transaction(session: &mut Session, ids: &[u64], open_for: Duration) -> Result<()> {
    session.run("begin").await?;
    for id in ids {
        let text = "x".repeat(PADDING);
        session
            .run(&format!("insert into rows_in values ({id}, 'row-{id}', {id}, '{text}')"))
            .await?;
    }
    tokio::time::sleep(open_for).await;
    session.run("commit").await
}

fn sent(id: u64) -> Sent {
    let text = "x".repeat(PADDING);
    // As the source writes a row: in the table's order.
    let data = format!("{{\"id\":{id},\"name\":\"row-{id}\",\"number\":{id},\"text\":\"{text}\"}}");
    Sent {
        id: format!("row-{id}"),
        hash: hash(data.as_bytes()),
        key: format!("row-{id}"),
        number: id,
    }
}
