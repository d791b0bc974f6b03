//! Keys of every type that can be one: a snapshot in chunks of one row has each row once, whatever order the server has.

use std::collections::BTreeSet;

use openconnect_sql_fixtures::Database;
use serde_json::json;

use crate::support::{Offsets, data, databases, source, take};

/// Types of a first key column, with values that our order and the server's do not agree about.
const FIRST: &[(&str, &[&str])] = &[
    ("enum('z','m','a','10','9')", &["'z'", "'m'", "'a'", "'10'", "'9'"]),
    ("set('z','m','a')", &["''", "'z'", "'m'", "'z,m'", "'a'", "'z,a'", "'z,m,a'"]),
    ("bit(12)", &["0", "9", "10", "99", "100", "4095"]),
    ("bit(64)", &["0", "9", "18446744073709551615", "9223372036854775808"]),
    (
        "decimal(45,0)",
        &[
            "1",
            "100000000000000000000000000000000000",
            "100000000000000000000000000000000001",
            "999999999999999999999999999999999999999",
            "-999999999999999999999999999999999999999",
        ],
    ),
    (
        "decimal(65,30)",
        &[
            "-1.5",
            "0",
            "0.000000000000000000000000000001",
            "12345678901234567890123456789012345.1",
        ],
    ),
    ("decimal(10,2) unsigned zerofill", &["1.5", "10", "9.99"]),
    ("int zerofill", &["9", "10", "100"]),
    (
        "bigint unsigned",
        &["9", "10", "9007199254740993", "9007199254740992", "18446744073709551615"],
    ),
    ("float", &["0.1", "-0.1", "16777216", "1.17549e-38", "3e38"]),
    (
        "double",
        &["0.1", "0.30000000000000004", "0.3", "-5e-324", "1.7976931348623157e308"],
    ),
    ("year", &["1901", "2155", "1999"]),
    ("date", &["'0001-01-01'", "'2024-02-29'", "'9999-12-31'"]),
    (
        "time(3)",
        &["'-838:59:59'", "'-00:00:00.5'", "'00:00:00'", "'100:00:00'", "'99:00:00'"],
    ),
    (
        "datetime(6)",
        &["'2024-02-29 12:34:56.1'", "'2024-02-29 12:34:56.01'", "'0099-01-01'"],
    ),
    (
        "timestamp(2)",
        &["'2024-03-31 02:30:00'", "'2024-03-31 01:30:00.1'", "'1970-01-02 00:00:00'"],
    ),
    (
        "char(5) character set utf8mb4 collate utf8mb4_general_ci",
        &["'a'", "'B'", "'c'", "'Ä1'", "'a2'", "''"],
    ),
    (
        "varchar(40) character set utf8mb4 collate utf8mb4_unicode_ci",
        &["'strasse1'", "'Straße'", "'ｗｉｄｅ'", "'wida'"],
    ),
    ("varchar(20) character set latin1", &["'größe'", "'Zz'", "'a'", "'_'"]),
    (
        "varchar(20) character set cp932 collate cp932_japanese_ci",
        &["'～'", "'∥'", "'あ'", "'ｱ'", "'a'"],
    ),
    ("varchar(20) character set gbk", &["'中文'", "'a'", "'文'"]),
    ("varchar(20) character set ucs2", &["'ü'", "'z'", "'中'"]),
    ("varchar(20) character set utf8mb4 collate utf8mb4_bin", &["'a'", "'A'", "'á'"]),
    ("binary(3)", &["x'00'", "x'0001'", "x'ff'", "x'20'", "x'202020'"]),
    ("varbinary(10)", &["x''", "x'00'", "x'0000'", "x'ff'"]),
];

/// A table for each type, with a second key column behind the first; how many rows they have.
async fn fill(database: &Database, types: &[(&str, &[&str])]) -> usize {
    let mut rows = 0;
    for (number, (ty, literals)) in types.iter().enumerate() {
        let table = format!("k{number:02}");
        database
            .execute(&format!("create table {table} (k {ty}, i int, v int, primary key (k, i))"))
            .await
            .unwrap();
        let values = literals
            .iter()
            .flat_map(|literal| (1..=3).map(move |i| format!("({literal}, {i}, 0)")));
        let values: Vec<String> = values.collect();
        database
            .execute(&format!("insert into {table} values {}", values.join(", ")))
            .await
            .unwrap_or_else(|e| panic!("{ty}: {e}"));
        rows += values.len();
    }
    rows
}

#[tokio::test]
async fn a_snapshot_has_each_row_once_whatever_the_type_of_its_key() {
    for database in databases().await {
        let name = database.system().name();
        let expected = fill(&database, FIRST).await;
        for chunks in [1, 3] {
            let mut offsets = Offsets::new();
            let settings = json!({ "chunk_rows": 1, "parallel_chunks": chunks });
            let mut reads = source(&database, settings, &offsets).await;
            let rows = take(&mut reads, &mut offsets, expected).await;
            let unique: BTreeSet<&str> = rows.iter().map(openconnect_core::cloudevents::AttributesReader::id).collect();
            assert_eq!(unique.len(), expected, "{name}: with {chunks} chunks at the same time");
            // The log goes on behind the same keys.
            for (number, (ty, literals)) in FIRST.iter().enumerate() {
                database.execute(&format!("update k{number:02} set v = v + 1")).await.unwrap();
                let changes = take(&mut reads, &mut offsets, literals.len() * 3).await;
                let keys = |field: &str, events: &[openconnect_core::cloudevents::Event]| -> BTreeSet<String> {
                    let rows = events
                        .iter()
                        .map(data)
                        .filter(|event| event["source"]["table"] == json!(format!("k{number:02}")));
                    rows.map(|event| format!("{} {}", event[field]["k"], event[field]["i"])).collect()
                };
                assert_eq!(keys("after", &rows), keys("before", &changes), "{name}: {ty}");
            }
        }
    }
}

#[tokio::test]
async fn rows_that_the_snapshot_has_not_are_noticed() {
    for database in databases().await {
        let name = database.system().name();
        database.execute("create table t (id int primary key)").await.unwrap();
        database.execute("insert into t values (1), (2), (3), (4)").await.unwrap();
        let mut offsets = Offsets::new();
        let mut reads = source(&database, json!({ "chunk_rows": 2, "parallel_chunks": 1 }), &offsets).await;
        take(&mut reads, &mut offsets, 2).await;
        // Before the place where it goes on, and the log does not tell it.
        database
            .execute("set session sql_log_bin = 0; insert into t values (-1)")
            .await
            .unwrap();
        let mut reads = source(&database, json!({ "chunk_rows": 2, "parallel_chunks": 1 }), &offsets).await;
        let failure = loop {
            if let Err(failure) = reads.next().await {
                break failure;
            }
        };
        assert_eq!(failure.code, "CDC_ROWS", "{name}: {failure}");
        assert!(
            failure.reason().contains("read 4 rows of `t`, and 5 are there"),
            "{name}: {failure}"
        );
        // What the log tells is no reason to stop.
        let mut offsets = Offsets::new();
        let mut reads = source(&database, json!({ "chunk_rows": 2, "parallel_chunks": 1 }), &offsets).await;
        take(&mut reads, &mut offsets, 2).await;
        database.execute("insert into t values (-2)").await.unwrap();
        let rest = take(&mut reads, &mut offsets, 4).await;
        let ids: BTreeSet<i64> = rest.iter().map(|event| data(event)["after"]["id"].as_i64().unwrap()).collect();
        assert_eq!(ids, BTreeSet::from([-2, 2, 3, 4]), "{name}");
    }
}
