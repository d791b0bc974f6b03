//! Snapshots of tables that change meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use openconnect_sql_fixtures::Database;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng, rng};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::{Offsets, data, databases, source};

const TABLES: [&str; 3] = ["big", "small", "words"];
const ROWS: u64 = 3000;

/// Tables as the events say they are: by table and key.
#[derive(Default)]
struct Rebuilt {
    rows: BTreeMap<(String, String), Value>,
    /// Events that don't fit to those before them.
    unfit: Vec<String>,
}

impl Rebuilt {
    fn apply(&mut self, event: &Value) {
        let table = event["source"]["table"].as_str().unwrap().to_owned();
        let key = |row: &Value| (table.clone(), row["id"].to_string());
        let (op, before, after) = (event["op"].as_str().unwrap(), &event["before"], &event["after"]);
        let known = |rows: &BTreeMap<_, _>, row: &Value| rows.get(&key(row)).cloned().unwrap_or(Value::Null);
        let fits = match op {
            "c" => known(&self.rows, after) == Value::Null,
            // The log may have told it before.
            "r" => [&Value::Null, after].contains(&&known(&self.rows, after)),
            // A row that the snapshot has not come to yet is not known.
            _ => [Value::Null, before.clone()].contains(&known(&self.rows, before)),
        };
        if !fits {
            self.unfit.push(format!(
                "{op} {table} {before} {after}, known {}",
                known(&self.rows, if op == "r" || op == "c" { after } else { before })
            ));
        }
        match op {
            "d" => drop(self.rows.remove(&key(before))),
            "t" => self.rows.retain(|(of, _), _| *of != table),
            _ => drop(self.rows.insert(key(after), after.clone())),
        }
    }

    /// One text for each row, as the server would say it.
    fn table(&self, table: &str) -> Vec<String> {
        self.rows
            .iter()
            .filter(|((of, _), _)| of == table)
            .map(|(_, row)| {
                format!(
                    "{}|{}|{}",
                    row["id"].as_str().map_or(row["id"].to_string(), str::to_owned),
                    row["n"],
                    row["note"].as_str().unwrap_or("-")
                )
            })
            .collect()
    }
}

/// A random one, or that of the variable `OPENCONNECT_SEED`.
fn seed() -> u64 {
    let given = std::env::var("OPENCONNECT_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| rng().random_range(0..1_000_000));
    println!("seed {seed}");
    seed
}

async fn make(database: &Database) {
    let numbers: Vec<String> = (0..ROWS).map(|id| format!("({id}, 0, null)")).collect();
    for table in TABLES {
        let id = if table == "words" {
            "varchar(40) character set latin1"
        } else {
            "bigint"
        };
        database
            .execute(&format!(
                "create table {table} (id {id} primary key, n bigint unsigned not null, note varchar(40) character set utf8mb4)"
            ))
            .await
            .unwrap();
        let rows = if table == "big" {
            numbers.join(",")
        } else {
            numbers[..50].join(",")
        };
        database.execute(&format!("insert into {table} values {rows}")).await.unwrap();
    }
}

/// Changes of a writer: single ones, and transactions of several.
fn change(random: &mut StdRng, statements: bool) -> String {
    let table = TABLES[random.random_range(0..3)];
    let id = random.random_range(0..if table == "big" { ROWS + 300 } else { 80 });
    let note = ["'größe'", "null", "''", "'it''s'"][random.random_range(0..4)];
    match random.random_range(0..40) {
        0..10 => format!("insert ignore into {table} values ({id}, {}, {note})", u64::MAX - id),
        10..24 => format!("update {table} set n = n - (n > 0) + (n = 0), note = {note} where id = {id}"),
        24..30 => format!("delete from {table} where id = {id}"),
        30..34 => format!(
            "update ignore {table} set id = {} where id = {id}",
            random.random_range(0..ROWS + 300)
        ),
        34 if statements => "truncate table small".to_owned(),
        35 if statements => format!(
            "alter table {table} modify note varchar({}) character set utf8mb4",
            random.random_range(40..60)
        ),
        36 if statements => format!("alter table {table} drop primary key, add primary key (id)"),
        _ => format!("begin; {}; {}; commit", change(random, false), change(random, false)),
    }
}

async fn write(database: Arc<Database>, seed: u64, statements: bool, left: Arc<AtomicU64>, stop: CancellationToken) {
    let mut random = StdRng::seed_from_u64(seed);
    while !stop.is_cancelled() && left.load(Relaxed) > 0 {
        left.fetch_sub(1, Relaxed);
        let sql = change(&mut random, statements && seed.is_multiple_of(2));
        // Writers may be in each other's way.
        let _ = database.execute(&sql).await;
    }
}

/// Reads until the rebuilt tables are the tables. `restart` says how often the source begins anew from what was stored.
async fn follow(database: &Arc<Database>, settings: &Value, seed: u64, restart: f64, statements: bool) -> Rebuilt {
    make(database).await;
    let stop = CancellationToken::new();
    let left = Arc::new(AtomicU64::new(500));
    let mut writers = JoinSet::new();
    for number in 0..3 {
        writers.spawn(write(
            Arc::clone(database),
            seed + number,
            statements,
            Arc::clone(&left),
            stop.clone(),
        ));
    }
    let mut random = StdRng::seed_from_u64(seed);
    let mut offsets = Offsets::new();
    let mut rebuilt = Rebuilt::default();
    let mut reads = source(database, settings.clone(), &offsets).await;
    let (mut marked, mut ended, mut failed) = (false, false, None);
    let end = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let polled = tokio::time::timeout(Duration::from_secs(15), reads.next()).await;
        let (Ok(polled), true) = (polled, tokio::time::Instant::now() < end) else {
            let differ = differences(database, &rebuilt).await;
            panic!(
                "the end was not reached; seed {seed}; {offsets:?}; last failure {failed:?}; {} differ: {:?}",
                differ.len(),
                &differ[..differ.len().min(6)]
            )
        };
        // As many as are stored before a crash.
        let records = polled.unwrap_or_else(|failure| {
            failed = Some(failure);
            Vec::new()
        });
        let crash = random.random_bool(restart);
        let kept = if crash {
            random.random_range(0..=records.len())
        } else {
            records.len()
        };
        for (number, record) in records.into_iter().enumerate() {
            if let Some(event) = record.as_event() {
                let data = data(event);
                ended |= data["after"]["note"] == json!("the end");
                rebuilt.apply(&data);
            }
            if number < kept {
                offsets.insert(record.partition().clone(), record.position().unwrap().clone());
            }
        }
        if crash {
            reads = source(database, settings.clone(), &offsets).await;
        }
        if !marked && writers.try_join_next().is_some() {
            while writers.join_next().await.is_some() {}
            marked = true;
            database.execute("replace into small values (77, 0, 'the end')").await.unwrap();
        }
        // What was not stored is told again.
        if ended && is_whole(&offsets) && differences(database, &rebuilt).await.is_empty() {
            return rebuilt;
        }
    }
}

/// Is the snapshot done?
fn is_whole(offsets: &Offsets) -> bool {
    offsets.values().all(|position| position.snapshot.is_none())
}

/// Rows that are in the tables alone, or in what was told alone.
async fn differences(database: &Database, rebuilt: &Rebuilt) -> Vec<String> {
    let mut all = Vec::new();
    for table in TABLES {
        let sql = format!("select concat(id, '|', n, '|', ifnull(note, '-')) from {table}");
        let rows: BTreeSet<String> = database.query(&sql).await.unwrap().into_iter().flatten().collect();
        let told: BTreeSet<String> = rebuilt.table(table).into_iter().collect();
        all.extend(rows.difference(&told).map(|row| format!("{table} has {row}")));
        all.extend(told.difference(&rows).map(|row| format!("{table} has not {row}")));
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_and_changes_are_told_in_the_order_in_which_they_were() {
    for database in databases().await {
        let seed = seed();
        let database = Arc::new(database);
        let settings = json!({ "chunk_rows": 40, "parallel_chunks": 3, "tables": TABLES, "timeout": "3s" });
        let rebuilt = follow(&database, &settings, seed, 0.0, false).await;
        let unfit = rebuilt.unfit.len();
        assert!(
            unfit == 0,
            "{} seed {seed}: {unfit}, the first {:?}",
            database.system().name(),
            &rebuilt.unfit[..unfit.min(3)]
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_is_right_through_restarts_and_statements() {
    for database in databases().await {
        let seed = seed();
        let database = Arc::new(database);
        let settings = json!({ "chunk_rows": 40, "parallel_chunks": 3, "tables": TABLES, "timeout": "3s" });
        follow(&database, &settings, seed, 0.05, true).await;
    }
}

#[tokio::test]
async fn a_chunk_that_is_too_large_is_told_in_parts() {
    for database in databases().await {
        let name = database.system().name();
        database
            .execute("create table wide (id int primary key, v longtext)")
            .await
            .unwrap();
        for id in 0..6 {
            database
                .execute(&format!("insert into wide values ({id}, repeat('x', 3000000))"))
                .await
                .unwrap();
        }
        let mut offsets = Offsets::new();
        let mut reads = source(&database, json!({ "chunk_rows": 4, "parallel_chunks": 3 }), &offsets).await;
        let rows = crate::support::take(&mut reads, &mut offsets, 6).await;
        let ids: Vec<Value> = rows.iter().map(|event| data(event)["after"]["id"].clone()).collect();
        assert_eq!(ids, [0, 1, 2, 3, 4, 5], "{name}");
    }
}
