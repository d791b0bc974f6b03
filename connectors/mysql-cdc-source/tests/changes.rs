//! The source on real servers: MySQL and MariaDB.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::time::Duration;

use openconnect_core::FailureKind;
use openconnect_core::cloudevents::{AttributesReader, Event};
use openconnect_core::config::{ConnectorConfig, Problems};
use openconnect_core::record::Partition;
use openconnect_core::source::{Intake, Source, SourceContext};
use openconnect_mysql_cdc_source::{MySqlCdcConfig, MySqlCdcSource, Position};
use openconnect_protocol::payload;
use openconnect_testkit::services::{Database, Server, System, database};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

type Offsets = BTreeMap<Partition, Position>;

async fn databases() -> Vec<Database> {
    let mut all = Vec::new();
    for system in [System::MySql, System::MariaDb] {
        all.extend(database(system).await.unwrap());
    }
    all
}

async fn source(database: &Database, settings: Value, offsets: &Offsets) -> MySqlCdcSource {
    let mut config = json!({ "url": database.url, "tables": ["*"] });
    config.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    let config: MySqlCdcConfig = serde_json::from_value(config).unwrap();
    // As they are stored.
    let stored = |(partition, position): (&Partition, &Position)| {
        let json = serde_json::to_string(position).unwrap();
        (partition.clone(), serde_json::from_str(&json).unwrap())
    };
    let (_, intake) = watch::channel(Intake::Open);
    let context = SourceContext {
        name: "t".into(),
        offsets: offsets.iter().map(stored).collect(),
        intake,
        max_event_bytes: 1 << 20,
        shutdown: CancellationToken::new(),
    };
    MySqlCdcSource::open(config, context).await.unwrap()
}

/// So many events, and the offset behind the last of them; what comes beyond is forgotten, as in a crash.
async fn take(source: &mut MySqlCdcSource, offsets: &mut Offsets, count: usize) -> Vec<Event> {
    let mut events = Vec::new();
    while events.len() < count {
        let polled = tokio::time::timeout(Duration::from_secs(20), source.poll()).await;
        for record in polled
            .unwrap_or_else(|_| panic!("only {} of {count} events came", events.len()))
            .unwrap()
        {
            // What has no event belongs to the one before it.
            if events.len() == count && record.event.is_some() {
                break;
            }
            offsets.insert(record.partition, record.position.unwrap());
            events.extend(record.event);
        }
    }
    events
}

fn data(event: &Event) -> Value {
    serde_json::from_str(&payload::json(event).unwrap()).unwrap()
}

fn said(events: &[Event]) -> Vec<String> {
    let row = |row: &Value| match row {
        Value::Null => "-".to_owned(),
        row => format!("{}:{}", row["id"], row["note"].as_str().unwrap_or("null")),
    };
    let event = |event: &Event| {
        let data = data(event);
        format!("{} {} {}", data["op"].as_str().unwrap(), row(&data["before"]), row(&data["after"]))
    };
    events.iter().map(event).collect()
}

const TABLE: &str = "create table orders (id bigint primary key, note varchar(100))";

#[tokio::test]
async fn rows_that_are_there_come_first_and_then_every_change() {
    for database in databases().await {
        let name = database.system().name();
        database.execute(TABLE).await.unwrap();
        database
            .execute("insert into orders values (1, 'a'), (2, 'b'), (3, null)")
            .await
            .unwrap();
        let mut offsets = Offsets::new();
        let mut reads = source(&database, json!({ "chunk_rows": 2 }), &offsets).await;
        let rows = take(&mut reads, &mut offsets, 3).await;
        assert_eq!(said(&rows), ["r - 1:a", "r - 2:b", "r - 3:null"], "{name}");
        for sql in [
            "insert into orders values (4, 'd'), (5, 'e')",
            "update orders set note = 'aa' where id = 1",
            "delete from orders where id = 2",
            "update orders set id = 30 where id = 3",
            "alter table orders add column extra integer default 7, rename column note to words",
            "insert into orders values (6, 'f', 8)",
        ] {
            database.execute(sql).await.unwrap();
        }
        let changes = take(&mut reads, &mut offsets, 7).await;
        let expected = ["c - 4:d", "c - 5:e", "u 1:a 1:aa", "d 2:b -", "d 3:null -", "c - 30:null"];
        assert_eq!(said(&changes)[..6], expected, "{name}");
        assert_eq!(data(&changes[6])["after"], json!({ "id": 6, "words": "f", "extra": 8 }), "{name}");
        // Rows that come with their table.
        for sql in [
            "create table copied (primary key (id)) select id, extra from orders where id < 6",
            "xa start 'x'; insert into orders values (7, 'g', 9); xa end 'x'; xa prepare 'x'; xa commit 'x'",
            "insert into orders values (8, 'h', 9)",
        ] {
            database.execute(sql).await.unwrap();
        }
        let copied = take(&mut reads, &mut offsets, 5).await;
        let ids: Vec<Value> = copied.iter().map(|event| data(event)["after"]["id"].clone()).collect();
        assert_eq!(ids, [1, 4, 5, 7, 8], "{name}");
        assert_eq!(changes[0].subject(), Some("4"), "{name}");
        let source = data(&changes[0])["source"].clone();
        assert_eq!(
            (source["table"].as_str(), source["snapshot"].as_bool()),
            (Some("orders"), Some(false)),
            "{name}"
        );
    }
}

#[tokio::test]
async fn it_goes_on_in_the_middle_of_a_table_and_of_a_transaction() {
    for database in databases().await {
        let name = database.system().name();
        database.execute(TABLE).await.unwrap();
        let values = |ids: std::ops::Range<u32>| ids.map(|id| format!("({id}, 'n')")).collect::<Vec<_>>().join(",");
        database
            .execute(&format!("insert into orders values {}", values(0..11)))
            .await
            .unwrap();
        let mut offsets = Offsets::new();
        let settings = json!({ "chunk_rows": 4 });
        let mut seen = Vec::new();
        // A new process after each few events.
        for count in [3, 3, 5] {
            let mut reads = source(&database, settings.clone(), &offsets).await;
            seen.extend(take(&mut reads, &mut offsets, count).await);
        }
        database
            .execute(&format!(
                "begin; insert into orders values {}; update orders set note = 'm' where id < 5; insert into orders values {}; commit",
                values(100..1100),
                values(2000..3000)
            ))
            .await
            .unwrap();
        for count in [1, 7, 500, 1, 600, 896] {
            let mut reads = source(&database, settings.clone(), &offsets).await;
            seen.extend(take(&mut reads, &mut offsets, count).await);
        }
        let ids: Vec<u64> = seen.iter().map(|event| data(event)["after"]["id"].as_u64().unwrap()).collect();
        let expected: Vec<u64> = (0..11).chain(100..1100).chain(0..5).chain(2000..3000).collect();
        let differs = (0..ids.len()).find(|at| ids[*at] != expected[*at]);
        let near = |all: &[u64], at: usize| all[at.saturating_sub(3)..(at + 8).min(all.len())].to_vec();
        assert!(
            differs.is_none(),
            "{name}: {differs:?} {:?}, not {:?}",
            near(&ids, differs.unwrap_or(0)),
            near(&expected, differs.unwrap_or(0))
        );
        let mut unique: Vec<_> = seen.iter().map(|event| event.id().to_owned()).collect();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), seen.len(), "{name}: each has an id of its own");
    }
}

/// Type and literals; every value is read by the snapshot and from the log, and must look the same.
const TYPES: &[(&str, &[&str])] = &[
    ("tinyint", &["-128", "127"]),
    ("tinyint unsigned", &["255"]),
    ("smallint", &["-32768"]),
    ("mediumint", &["-8388608"]),
    ("mediumint unsigned", &["16777215"]),
    ("int unsigned", &["4294967295"]),
    ("bigint", &["-9223372036854775808"]),
    ("bigint unsigned", &["18446744073709551615"]),
    (
        "decimal(65,30)",
        &[
            "-99999999999999999999999999999999999.999999999999999999999999999999",
            "0.5",
            "-0.000000000000000000000000000001",
        ],
    ),
    ("decimal(10,0)", &["0", "-7"]),
    ("decimal(5,5)", &["0.12345"]),
    ("float", &["0.1", "1.17549e-38", "16777216", "-3.5"]),
    ("double", &["0.1", "1.7976931348623157e308", "5e-324", "100"]),
    ("bit(1)", &["b'1'", "b'0'"]),
    (
        "bit(64)",
        &["b'1111111111111111111111111111111111111111111111111111111111111111'", "b'101'"],
    ),
    ("year", &["1999", "2155", "1901"]),
    ("date", &["'2024-02-29'", "'0001-01-01'"]),
    ("time", &["'23:59:59'", "'-838:59:59'"]),
    ("time(6)", &["'-00:00:00.5'", "'12:00:00.123456'"]),
    ("time(2)", &["'12:00:00.12'"]),
    ("datetime", &["'9999-12-31 23:59:59'"]),
    ("datetime(6)", &["'2024-02-29 12:34:56.123456'"]),
    ("datetime(3)", &["'2024-02-29 12:34:56.100'"]),
    ("timestamp(6) null", &["'2024-02-29 12:34:56.000001'"]),
    ("timestamp null", &["'2038-01-19 03:14:07'"]),
    ("char(5)", &["'ab'", "''"]),
    ("char(255) character set utf8mb4", &["'größe'"]),
    ("varchar(50) character set utf8mb4", &["'日本 \"quoted\" 😀'", "''"]),
    ("varchar(300) character set latin1", &["'Größe'"]),
    ("varchar(20) character set gbk", &["'中文'"]),
    ("varchar(20) character set ucs2", &["'ü'"]),
    ("text character set utf8mb4", &["'null'"]),
    ("longtext character set latin1", &["'é'"]),
    ("binary(4)", &["x'00010000'", "x'ff'"]),
    ("varbinary(10)", &["''", "x'0001ff00'"]),
    ("tinyblob", &["x'00'"]),
    ("longblob", &["x'80'"]),
    ("enum('so so','ok','größe')", &["'so so'", "'größe'"]),
    ("set('a','b','größe')", &["'a,größe'", "''"]),
    (
        "geometry",
        &[
            "st_geomfromtext('POINT(1 2)', 0)",
            "st_geomfromtext('POLYGON((0 0,0 1,1 1,0 0))', 0)",
        ],
    ),
    (
        "json",
        &[
            "'{\"a\": [1, -2, 1.5, true, null, \"x\"], \"b\": {\"c\": 18446744073709551615}}'",
            "'\"text\"'",
            "'[]'",
        ],
    ),
];

#[tokio::test]
async fn every_type_looks_the_same_in_the_snapshot_and_in_the_log() {
    for database in databases().await {
        let name = database.system().name();
        database.execute("alter database character set utf8mb4").await.unwrap();
        let mut expected = 0;
        for (number, (ty, literals)) in TYPES.iter().enumerate() {
            let table = format!("t{number:02}");
            database
                .execute(&format!("create table {table} (id integer primary key, v {ty})"))
                .await
                .unwrap();
            for (id, literal) in literals.iter().chain(&["null"]).enumerate() {
                database
                    .execute(&format!("insert into {table} values ({id}, {literal})"))
                    .await
                    .unwrap();
                expected += 1;
            }
        }
        let mut offsets = Offsets::new();
        let mut reads = source(&database, json!({}), &offsets).await;
        let snapshot = take(&mut reads, &mut offsets, expected).await;
        for number in 0..TYPES.len() {
            let table = format!("t{number:02}");
            database
                .execute(&format!("insert into {table} select id + 100, v from {table} order by id"))
                .await
                .unwrap();
        }
        let log = take(&mut reads, &mut offsets, expected).await;
        let mut wrong = Vec::new();
        for (row, change) in snapshot.iter().zip(&log) {
            let (row, change) = (data(row), data(change));
            assert_eq!(row["source"]["table"], change["source"]["table"], "{name}");
            let (read, logged) = (&row["after"]["v"], &change["after"]["v"]);
            if read != logged {
                let table = row["source"]["table"].as_str().unwrap();
                let number: usize = table[1..].parse().unwrap();
                wrong.push(format!("{name} {}: snapshot {read}, log {logged}", TYPES[number].0));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

#[tokio::test]
async fn an_idle_table_moves_the_offset_too() {
    for database in databases().await {
        let name = database.system().name();
        database.execute(TABLE).await.unwrap();
        database.execute("create table other (id integer primary key)").await.unwrap();
        let mut offsets = Offsets::new();
        let mut reads = source(&database, json!({ "tables": ["ord*"], "snapshot": "no_data" }), &offsets).await;
        database.execute("insert into orders values (1, 'a')").await.ok();
        take(&mut reads, &mut offsets, 0).await;
        let mut moved = Vec::new();
        for id in 0..40 {
            database.execute(&format!("insert into other values ({id})")).await.unwrap();
            if let Ok(polled) = tokio::time::timeout(Duration::from_millis(200), reads.poll()).await {
                moved.extend(
                    polled
                        .unwrap()
                        .into_iter()
                        .filter(|record| record.event.is_none())
                        .map(|record| record.position.unwrap()),
                );
            }
            if moved.len() > 1 {
                break;
            }
        }
        assert!(moved.len() > 1 && moved[0] != moved[1], "{name}: {moved:?}");
    }
}

#[tokio::test]
async fn a_server_that_was_killed_is_read_on_and_a_lost_position_is_told() {
    for system in [System::MySql, System::MariaDb] {
        let Some(server) = Server::start(system).await.unwrap() else {
            continue;
        };
        let database = server.database().await.unwrap();
        let name = system.name();
        database.execute(TABLE).await.unwrap();
        let mut offsets = Offsets::new();
        let mut reads = source(&database, json!({ "snapshot": "no_data" }), &offsets).await;
        let started = tokio::time::timeout(Duration::from_millis(500), reads.poll());
        assert!(started.await.map_or(true, |polled| polled.is_ok()), "{name}");
        database.execute("insert into orders values (1, 'a')").await.unwrap();
        assert_eq!(said(&take(&mut reads, &mut offsets, 1).await), ["c - 1:a"], "{name}");
        server.kill().unwrap();
        assert!(reads.poll().await.unwrap_err().is_retryable(), "{name}");
        server.restart().unwrap();
        database.execute("insert into orders values (2, 'b')").await.unwrap();
        assert_eq!(said(&take(&mut reads, &mut offsets, 1).await), ["c - 2:b"], "{name}");
        // The log is gone.
        database.execute("flush binary logs").await.unwrap();
        database.execute("insert into orders values (3, 'c')").await.unwrap();
        database.execute("flush binary logs").await.unwrap();
        let logs = database.query("select cast(1 as char)").await.unwrap();
        assert_eq!(logs.len(), 1);
        database
            .execute("purge binary logs before date_add(now(), interval 1 day)")
            .await
            .unwrap();
        let mut again = source(&database, json!({ "snapshot": "no_data" }), &offsets).await;
        let failure = loop {
            match tokio::time::timeout(Duration::from_secs(20), again.poll()).await.unwrap() {
                Ok(_) => {}
                Err(failure) => break failure,
            }
        };
        assert_eq!(
            (failure.kind, failure.code.as_str()),
            (FailureKind::Fatal, "CDC_POSITION_LOST"),
            "{name}: {failure}"
        );
        let mut anew = source(&database, json!({ "on_lost_position": "snapshot" }), &offsets).await;
        let rows = take(&mut anew, &mut offsets, 3).await;
        assert_eq!(said(&rows), ["r - 1:a", "r - 2:b", "r - 3:c"], "{name}");
        database.execute("insert into orders values (4, 'd')").await.unwrap();
        assert_eq!(said(&take(&mut anew, &mut offsets, 1).await), ["c - 4:d"], "{name}");
    }
}

#[tokio::test]
async fn the_log_and_the_snapshot_go_over_tls() {
    // The scripts give a certificate to MySQL only.
    let Some(database) = database(System::MySql).await.unwrap() else {
        return;
    };
    database.execute(TABLE).await.unwrap();
    database.execute("insert into orders values (1, 'a')").await.unwrap();
    let mut offsets = Offsets::new();
    let mut reads = source(&database, json!({ "tls": { "mode": "require" } }), &offsets).await;
    assert_eq!(said(&take(&mut reads, &mut offsets, 1).await), ["r - 1:a"]);
    database.execute("insert into orders values (2, 'b')").await.unwrap();
    assert_eq!(said(&take(&mut reads, &mut offsets, 1).await), ["c - 2:b"]);
    // A certificate that nobody knows is not taken unless it is said so.
    let mut careful = source(&database, json!({ "tls": {} }), &Offsets::new()).await;
    assert!(careful.poll().await.unwrap_err().is_retryable());
}

#[test]
fn what_cannot_work_is_refused_before_it_starts() {
    for (settings, at) in [
        (json!({ "url": "postgresql://u:secret@h/d" }), "url"),
        (json!({ "tables": [] }), "tables"),
        (json!({ "server_id": 0 }), "server_id"),
        (json!({ "timeout": "1s" }), "timeout"),
    ] {
        let mut config = json!({ "url": "mysql://h/d", "tables": ["*"] });
        config.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let config: MySqlCdcConfig = serde_json::from_value(config).unwrap();
        let mut problems = Problems::default();
        config.validate(&mut problems);
        let said = format!("{problems:?}");
        assert!(said.contains(at) && !said.contains("secret"), "{settings}: {said}");
    }
}
