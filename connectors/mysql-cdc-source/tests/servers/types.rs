//! Every type.

use openconnect_sql_fixtures::{Database, System};
use serde_json::json;

use crate::support::{Offsets, data, databases, source, take};

/// Type and literals; every value is read by the snapshot and from the log, and must look the same.
pub(crate) const TYPES: &[(&str, &[&str])] = &[
    ("tinyint", &["-128", "127"]),
    ("tinyint unsigned", &["255"]),
    ("smallint", &["-32768"]),
    ("mediumint", &["-8388608"]),
    ("mediumint unsigned", &["16777215"]),
    ("int unsigned", &["4294967295"]),
    ("bigint", &["-9223372036854775808"]),
    ("int(8) unsigned zerofill", &["42", "0"]),
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
            "json_object('d', 12345678901234.5678901234, 't', cast('2024-02-29 12:34:56.5' as datetime(6)), 'e', cast('2024-02-29' as date))",
        ],
    ),
];

/// What MariaDB alone has.
const MARIADB_TYPES: &[(&str, &[&str])] = &[
    (
        "uuid",
        &["'123e4567-e89b-12d3-a456-426655440000'", "'00000000-0000-0000-0000-000000000000'"],
    ),
    ("inet4", &["'192.168.1.1'", "'0.0.0.0'"]),
    (
        "inet6",
        &[
            "'2001:db8::1'",
            "'::'",
            "'::1'",
            "'1:0:2:3:4:5:6:7'",
            "'1:0:0:2:0:0:0:3'",
            "'::ffff:1.2.3.4'",
            "'::1.2.3.4'",
            "'1::'",
        ],
    ),
    ("varchar(200) compressed", &["''", "'short'", "repeat('ab', 90)"]),
    ("mediumblob compressed", &["''", "x'00ff'", "repeat('ab', 90)"]),
    ("text compressed character set latin1", &["'Größe'", "repeat('é', 300)"]),
];

/// What MySQL alone has.
const MYSQL_TYPES: &[(&str, &[&str])] = &[("vector(3)", &["string_to_vector('[1,-2,3.5]')"])];

fn types_of(database: &Database) -> Vec<(&'static str, &'static [&'static str])> {
    let own = if database.system() == System::MariaDb {
        MARIADB_TYPES
    } else {
        MYSQL_TYPES
    };
    TYPES.iter().chain(own).copied().collect()
}

/// A table for each type; how many rows they have.
pub(crate) async fn fill(database: &Database) -> usize {
    let mut expected = 0;
    for (number, (ty, literals)) in types_of(database).into_iter().enumerate() {
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
    expected
}

/// The same values once more.
pub(crate) async fn again(database: &Database) {
    for number in 0..types_of(database).len() {
        let table = format!("t{number:02}");
        database
            .execute(&format!("insert into {table} select id + 100, v from {table} order by id"))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn every_type_looks_the_same_in_the_snapshot_and_in_the_log() {
    for database in databases().await {
        let name = database.system().name();
        database.execute("alter database character set utf8mb4").await.unwrap();
        let expected = fill(&database).await;
        let mut offsets = Offsets::new();
        let mut reads = source(&database, json!({}), &offsets).await;
        let snapshot = take(&mut reads, &mut offsets, expected).await;
        again(&database).await;
        let log = take(&mut reads, &mut offsets, expected).await;
        let mut wrong = Vec::new();
        for (row, change) in snapshot.iter().zip(&log) {
            let (row, change) = (data(row), data(change));
            assert_eq!(row["source"]["table"], change["source"]["table"], "{name}");
            let (read, logged) = (&row["after"]["v"], &change["after"]["v"]);
            if read != logged {
                let table = row["source"]["table"].as_str().unwrap();
                let number: usize = table[1..].parse().unwrap();
                wrong.push(format!("{name} {}: snapshot {read}, log {logged}", types_of(&database)[number].0));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

#[tokio::test]
async fn dates_that_no_calendar_has_look_the_same_too() {
    for database in databases().await {
        let name = database.system().name();
        database
            .execute("create table odd (id integer primary key, d date, t datetime(3), s timestamp null, y year)")
            .await
            .unwrap();
        let lax = "set session sql_mode = ''";
        database
            .execute(&format!(
                "{lax}; insert into odd values (0, '0000-00-00', '0000-00-00', '0000-00-00', 0), (1, '2024-00-00', '2024-02-00 01:02:03.456', null, 1)"
            ))
            .await
            .unwrap();
        let mut offsets = Offsets::new();
        let mut reads = source(&database, json!({}), &offsets).await;
        let rows = take(&mut reads, &mut offsets, 2).await;
        database
            .execute(&format!("{lax}; insert into odd select id + 10, d, t, s, y from odd order by id"))
            .await
            .unwrap();
        let changes = take(&mut reads, &mut offsets, 2).await;
        for (row, change) in rows.iter().zip(&changes) {
            let (mut row, mut change) = (data(row)["after"].clone(), data(change)["after"].clone());
            row["id"] = json!(0);
            change["id"] = json!(0);
            assert_eq!(row, change, "{name}");
        }
        assert_eq!(data(&changes[0])["after"]["d"], "0000-00-00", "{name}");
    }
}

/// A text in every character set that the server knows, beside a column that MariaDB counts among texts.
#[tokio::test]
async fn every_character_set_looks_the_same_in_the_snapshot_and_in_the_log() {
    for database in databases().await {
        let name = database.system().name();
        let sets = "select cast(character_set_name as char) from information_schema.character_sets where character_set_name <> 'binary' order by 1";
        let sets: Vec<String> = database.query(sets).await.unwrap().into_iter().flatten().collect();
        assert!(sets.len() > 30, "{name}: {sets:?}");
        let mut columns = String::new();
        for set in &sets {
            columns.push_str(&format!(
                ", g_{set} point, c_{set} varchar(300) character set {set}, e_{set} enum('A', 'Z') character set {set}"
            ));
        }
        database
            .execute(&format!("create table sets (id int primary key{columns}) character set utf8mb4"))
            .await
            .unwrap();
        // Whatever of these characters a set has; others are question marks.
        let texts = [
            "AZ [\\\\]{|}~^ $#@`",
            "ÄÖÅäöåéßø¤§",
            "Ωλя жšžłř",
            "あア中文한字～〜－―∥￠",
            "€™…„“",
            "אבשաბცกขع",
        ];
        database
            .execute("set session sql_mode = ''; insert into sets (id) values (0)")
            .await
            .unwrap();
        for (id, text) in (1..).zip(texts) {
            let values: Vec<String> = sets
                .iter()
                .map(|set| format!("c_{set} = convert('{text}' using {set}), e_{set} = 'Z', g_{set} = point(1, 2)"))
                .collect();
            let sql = format!(
                "set names utf8mb4; set session sql_mode = ''; insert into sets (id) values ({id}); update sets set {} where id = {id}",
                values.join(", ")
            );
            database.execute(&sql).await.unwrap();
        }
        let mut offsets = Offsets::new();
        let mut reads = source(&database, json!({}), &offsets).await;
        let rows = take(&mut reads, &mut offsets, texts.len() + 1).await;
        database.execute("update sets set id = id + 100").await.unwrap();
        let changes = take(&mut reads, &mut offsets, 2 * (texts.len() + 1)).await;
        let changes = changes.iter().map(data).filter(|change| change["op"] == "c");
        let mut wrong = Vec::new();
        for (row, change) in rows.iter().map(data).zip(changes) {
            for (column, value) in row["after"].as_object().unwrap().iter().filter(|(column, _)| *column != "id") {
                if change["after"][column] != *value {
                    wrong.push(format!("{name} {column}: snapshot {value}, log {}", change["after"][column]));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
