//! Values of every type of each database go through JSON and back without loss.

use openconnect_sql::Dialect;
use serde_json::json;

use crate::support::{Fixture, all, delivered, event};

/// Type, and values as JSON that come back as they went.
type Case = (&'static str, &'static [&'static str]);

const POSTGRES: &[Case] = &[
    ("boolean", &["true", "false"]),
    ("smallint", &["-32768", "32767"]),
    ("integer", &["-2147483648"]),
    ("bigint", &["9223372036854775807", "-9223372036854775808"]),
    (
        "numeric",
        &["\"0.1000000000000000000000000000000000000000000000000001\"", "\"NaN\""],
    ),
    (
        "numeric(65,30)",
        &["\"99999999999999999999999999999999999.999999999999999999999999999999\""],
    ),
    ("real", &["0.1", "1.1754944e-38", "\"NaN\"", "\"-Infinity\""]),
    ("double precision", &["0.1", "1.7976931348623157e+308", "5e-324", "\"Infinity\""]),
    ("money", &["\"$1,234.56\""]),
    ("text", &["\"\"", "\"日本 \\\"quoted\\\" \\\\ \\n\"", "\"null\""]),
    ("varchar(5)", &["\"abc  \""]),
    // PostgreSQL pads it, and takes the padding off.
    ("char(5)", &["\"ab\""]),
    ("bytea", &["\"\"", "\"AAH/\""]),
    ("date", &["\"2024-02-29\"", "\"infinity\""]),
    ("time", &["\"23:59:59.999999\""]),
    ("timetz", &["\"12:00:00.5+02\""]),
    ("timestamp", &["\"2024-02-29T12:34:56.123456\"", "\"infinity\""]),
    ("timestamptz", &["\"2024-02-29T12:34:56.123456Z\"", "\"2024-02-29T12:34:56Z\""]),
    ("interval", &["\"1 year 2 mons 3 days 04:05:06.789\""]),
    ("uuid", &["\"8b0e8c7c-7b9c-4a52-9d1c-0d8b6f9a1c2e\""]),
    ("json", &["{\"a\": 1.50, \"b\": [null, \"x\"]}"]),
    ("jsonb", &["{\"a\": 1.50, \"b\": [null, \"x\"]}", "\"text\"", "7"]),
    ("inet", &["\"192.0.2.1/24\""]),
    ("macaddr", &["\"08:00:2b:01:02:03\""]),
    ("bit(3)", &["\"101\""]),
    ("bit varying(8)", &["\"10101\""]),
    ("point", &["\"(1.5,2)\""]),
    ("int4range", &["\"[1,10)\""]),
    ("tsvector", &["\"'cat' 'fat'\""]),
    ("xml", &["\"<a>1</a>\""]),
    ("mood", &["\"so so\""]),
    ("positive", &["7"]),
    ("integer[]", &["[1,2,null]", "[[1,2],[3,4]]", "[]"]),
    ("text[]", &["[\"a,\\\"b\\\\\",null,\"\"]"]),
    ("jsonb[]", &["[{\"a\": 1},\"x\"]"]),
    ("timestamptz[]", &["[\"2024-02-29T12:34:56.5+00:00\"]"]),
    ("mood[]", &["[\"so so\",\"ok\"]"]),
];

const MYSQL: &[Case] = &[
    ("tinyint", &["-128", "127"]),
    ("tinyint unsigned", &["255"]),
    ("boolean", &["0", "1"]),
    ("smallint", &["-32768"]),
    ("mediumint unsigned", &["16777215"]),
    ("int", &["-2147483648"]),
    ("bigint", &["-9223372036854775808"]),
    ("bigint unsigned", &["18446744073709551615", "0"]),
    (
        "decimal(65,30)",
        &["\"-99999999999999999999999999999999999.999999999999999999999999999999\""],
    ),
    ("float", &["0.1", "1.1754944e-38", "16777216.0"]),
    ("double", &["0.1", "1.7976931348623157e308"]),
    ("bit(1)", &["true", "false"]),
    ("bit(64)", &["18446744073709551615"]),
    ("year", &["1999"]),
    ("date", &["\"2024-02-29\""]),
    ("time(6)", &["\"-838:59:58.999999\""]),
    ("datetime(6)", &["\"2024-02-29T12:34:56.123456\""]),
    ("datetime", &["\"9999-12-31T23:59:59\""]),
    ("timestamp(6) null", &["\"2024-02-29T12:34:56.123456Z\""]),
    ("char(5)", &["\"abc\""]),
    ("varchar(50) character set utf8mb4", &["\"\"", "\"日本 \\\"quoted\\\" \\\\ 😀\""]),
    ("text", &["\"null\""]),
    ("varchar(20) character set latin1", &["\"Größe\""]),
    ("varchar(20) character set gbk", &["\"中文\""]),
    ("longtext", &["\"x\""]),
    ("binary(4)", &["\"AAH/AA==\""]),
    ("varbinary(10)", &["\"\"", "\"AAH/\""]),
    ("longblob", &["\"gIGC\""]),
    ("enum('so so','ok')", &["\"so so\""]),
    ("set('a','b','c')", &["\"a,c\"", "\"\""]),
    ("geometry", &["\"5hAAAAEBAAAAAAAAAAAA8D8AAAAAAAAAQA==\""]),
];

const MYSQL_JSON: Case = ("json", &["{\"a\": 1.5, \"b\": [null, \"x\"]}", "\"text\"", "7"]);

const SQLITE: &[Case] = &[
    ("", &["1", "9223372036854775807", "1.5", "\"text\"", "\"\""]),
    ("integer", &["-1"]),
    ("real", &["0.1"]),
    ("text", &["\"x\"", "\"9007199254740993\""]),
    ("blob", &["\"AAH/\""]),
    ("json", &["{\"a\": 1.50}"]),
    ("boolean", &["true", "false"]),
];

/// What did not come back as it went.
async fn round_trip(fixture: &Fixture, case: &Case, number: usize) -> Option<String> {
    let (ty, values) = case;
    let table = format!("t{number}");
    fixture.run(&format!("create table {table} (id integer primary key, v {ty})")).await;
    let sink = fixture.sink(json!({ "table": table, "key": ["id"] })).await;
    let mut events: Vec<_> = values
        .iter()
        .enumerate()
        .map(|(id, value)| event("e", Some(&format!("{{\"id\":{id},\"v\":{value}}}"))))
        .collect();
    events.push(event("e", Some("{\"id\":99,\"v\":null}")));
    let report = openconnect_core::sink::Sink::write(&sink, &crate::support::batch(events)).await;
    if report != openconnect_core::sink::WriteReport::Delivered {
        return Some(format!("{}: {ty}: {report:?}", fixture.name));
    }
    let mut expected: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
    expected.push("null".to_owned());
    let found = fixture.json(&table, "v").await;
    (found != expected).then(|| format!("{}: {ty}: {found:?}, not {expected:?}", fixture.name))
}

#[tokio::test]
async fn values_of_every_type_go_to_the_database_and_back_without_loss() {
    let mut wrong = Vec::new();
    for fixture in all().await {
        let mut cases = match fixture.dialect() {
            Dialect::Postgres => POSTGRES.to_vec(),
            Dialect::MySql => MYSQL.to_vec(),
            Dialect::Sqlite => SQLITE.to_vec(),
        };
        if fixture.dialect() == Dialect::Postgres {
            fixture
                .run("create type mood as enum ('so so', 'ok'); create domain positive as integer check (value > 0)")
                .await;
        }
        if fixture.dialect() == Dialect::MySql {
            cases.push(MYSQL_JSON);
        }
        for (number, case) in cases.iter().enumerate() {
            wrong.extend(round_trip(&fixture, case, number).await);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn times_with_another_zone_mean_the_same_instant() {
    for fixture in all().await.iter().filter(|f| f.dialect() != Dialect::Sqlite) {
        let (naive, zoned) = match fixture.dialect() {
            Dialect::Postgres => ("timestamp(3)", "timestamptz(3)"),
            _ => ("datetime(3)", "timestamp(3) null"),
        };
        fixture
            .run(&format!("create table orders (id integer primary key, a {naive}, b {zoned})"))
            .await;
        let sink = fixture.sink(json!({ "key": ["id"] })).await;
        let time = "2024-02-29T01:30:00.250+02:00";
        delivered(
            &sink,
            vec![event("1", Some(&format!("{{\"id\":1,\"a\":\"{time}\",\"b\":\"{time}\"}}")))],
        )
        .await;
        let (a, b) = (fixture.json("orders", "a").await, fixture.json("orders", "b").await);
        let expected = "2024-02-28T23:30:00.25";
        assert!(a[0].trim_matches('"').starts_with(expected), "{}: {a:?}", fixture.name);
        assert!(
            b[0].trim_matches('"').starts_with(expected) && b[0].ends_with("Z\""),
            "{}: {b:?}",
            fixture.name
        );
    }
}
