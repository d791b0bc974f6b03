//! `format: debezium` beside Debezium itself, on the same server.

use std::collections::BTreeMap;
use std::time::Duration;

use openconnect_sql_fixtures::{System, database};
use openconnect_testkit::debezium::{Debezium, Output};
use openconnect_testkit::kit::Kit;
use serde_json::{Value, json};

use crate::support::{Offsets, TABLE, data, source, take};
use crate::types::{TYPES, again, fill};

/// What need not be equal: clocks, names, and what a snapshot takes for its place.
const APART: [&str; 7] = ["version", "name", "ts_ms", "ts_us", "ts_ns", "thread", "snapshot"];
const OF_A_PLACE: [&str; 5] = ["file", "pos", "gtid", "row", "server_id"];

/// Where ours is what the server has, and theirs is not (docs/connectors/mysql-cdc-source.md): type and theirs.
const KNOWN: [(&str, &str); 3] = [
    // A year below 100 is taken for one with two digits.
    ("date", "11323"),
    // A snapshot's float is read from a text with six digits.
    ("float", "16777200.0"),
    // The server writes six digits of a second in a document.
    ("json", "12:34:56.5\\\"}\""),
];

/// A change under its operation, table and key, without what need not be equal.
fn keyed(mut change: Value) -> (String, Value) {
    let of_snapshot = change["op"] == "r";
    let source = change["source"].as_object_mut().unwrap();
    source.retain(|name, _| !(APART.contains(&name.as_str()) || of_snapshot && OF_A_PLACE.contains(&name.as_str())));
    let row = if change["after"].is_null() {
        &change["before"]
    } else {
        &change["after"]
    };
    let key = format!("{} {} {}", change["op"], change["source"]["table"], row["id"]);
    for time in ["ts_ms", "ts_us", "ts_ns"] {
        let removed = change.as_object_mut().unwrap().remove(time);
        assert!(removed.is_some_and(|time| time.is_u64()), "{key}");
    }
    (key, change)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_those_of_debezium() {
    let Some(debezium) = tokio::task::spawn_blocking(Debezium::build).await.unwrap().unwrap() else {
        return;
    };
    let Some(database) = database(System::MySql).await.unwrap() else {
        return;
    };
    let kit = Kit::quiet(std::path::Path::new("")).unwrap();
    database.execute("alter database character set utf8mb4").await.unwrap();
    let rows = fill(&database).await;
    database.execute(TABLE).await.unwrap();
    let mut theirs = debezium.start(&database.url, "initial", Output::Changes, kit.path()).unwrap();
    let mut offsets = Offsets::new();
    let mut reads = source(&database, json!({ "format": "debezium" }), &offsets).await;
    let mut ours: BTreeMap<String, Value> = BTreeMap::new();
    let mut other: BTreeMap<String, Value> = BTreeMap::new();
    for event in take(&mut reads, &mut offsets, rows).await {
        ours.extend([keyed(data(&event))]);
    }
    let mut read = async |count: usize| {
        while other.len() < count {
            let line = tokio::time::timeout(Duration::from_secs(60), theirs.line()).await.unwrap().unwrap();
            other.extend([keyed(serde_json::from_str(&line).unwrap())]);
        }
    };
    read(rows).await;
    again(&database).await;
    for sql in [
        "insert into orders values (1, 'a'), (2, 'b'), (3, 'c')",
        "begin; update orders set note = null where id < 3; delete from orders where id = 3; commit",
        "update orders set id = 20 where id = 2",
    ] {
        database.execute(sql).await.unwrap();
    }
    let changes = rows + 3 + 3 + 2;
    for event in take(&mut reads, &mut offsets, changes).await {
        ours.extend([keyed(data(&event))]);
    }
    read(rows + changes).await;
    let (mut differ, mut known) = (Vec::new(), 0);
    for (key, their) in &other {
        let our = ours.get(key).unwrap_or(&Value::Null);
        if our != their {
            let ty = key
                .split('"')
                .nth(3)
                .and_then(|table| TYPES.get(table.strip_prefix('t')?.parse::<usize>().ok()?));
            let their_value = their["after"]["v"].to_string();
            if KNOWN
                .iter()
                .any(|(known, value)| ty.is_some_and(|ty| ty.0 == *known) && their_value.ends_with(value))
            {
                known += 1;
                continue;
            }
            let values = if our["after"] == their["after"] {
                [our, their]
            } else {
                [&our["after"]["v"], &their["after"]["v"]]
            };
            differ.push(format!(
                "{key} {}: {} instead of {}",
                ty.map_or("", |ty| ty.0),
                values[0],
                values[1]
            ));
        }
    }
    assert!(differ.is_empty(), "{} differ: {differ:#?}", differ.len());
    assert_eq!((ours.len(), known), (other.len(), 4));
}
