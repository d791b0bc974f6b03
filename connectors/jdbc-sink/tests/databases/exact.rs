//! Nothing is rounded or cut: the value that is read back is the value that was sent, or it is refused. And the table is looked at again
//! before anything is refused.

use openconnect_core::FailureKind;
use openconnect_core::sink::{Sink as _, WriteReport};
use openconnect_jdbc_sink::JdbcSink;
use openconnect_sql::Dialect;
use serde_json::json;

use crate::support::{Fixture, all, batch, delivered, event};

fn row(id: u32, fields: &str) -> openconnect_core::cloudevents::Event {
    event(&id.to_string(), Some(&format!("{{\"id\":{id},{fields}}}")))
}

async fn refused(sink: &JdbcSink, fields: &str) -> bool {
    match sink.write(&batch(vec![row(1, fields)])).await {
        WriteReport::Delivered => false,
        WriteReport::PerEvent(results) => results[0].is_err(),
        WriteReport::Failed(failure) => {
            assert_eq!(failure.kind, FailureKind::Permanent, "{fields}: {failure}");
            true
        }
    }
}

/// Types with values, and what is read back of them; none where they must be refused.
fn values(fixture: &Fixture) -> Vec<(&'static str, &'static str, Option<&'static str>)> {
    let common = [
        ("numeric(10,2)", "1.005", None),
        ("numeric(10,2)", "\"1.005\"", None),
        ("date", "\"2024-01-31T23:59:59\"", None),
        ("date", "\"2024-01-31\"", Some("\"2024-01-31\"")),
        ("varchar(3)", "\"abc   \"", None),
        ("varchar(3)", "\"abcd\"", None),
        ("varchar(6)", "\"abc   \"", Some("\"abc   \"")),
        ("int", "7.5", None),
        ("int", "\"7.5\"", None),
        ("int", "7.0", Some("7")),
    ];
    let postgres = [
        ("numeric(10,2)", "1.50", Some("\"1.50\"")),
        ("timestamp(0)", "\"2024-01-31T00:00:00.6\"", None),
        (
            "timestamp",
            "\"2024-01-31T00:00:00.123456\"",
            Some("\"2024-01-31T00:00:00.123456\""),
        ),
        ("timestamp", "\"2024-01-31T00:00:00.1234567\"", None),
        ("time(0)", "\"12:34:56.789\"", None),
        ("real", "0.1234567890123", None),
        ("real", "0.1", Some("0.1")),
    ];
    let mysql = [
        ("decimal(10,2)", "1.50", Some("\"1.50\"")),
        ("datetime", "\"2024-01-31T00:00:00.6\"", None),
        ("datetime(3)", "\"2024-01-31T00:00:00.125\"", Some("\"2024-01-31T00:00:00.125\"")),
        ("timestamp(3)", "\"2024-01-31T00:00:00.1255Z\"", None),
        ("time", "\"12:34:56.789\"", None),
        ("float", "0.1234567890123", None),
        ("float", "0.1", Some("0.1")),
    ];
    let sqlite = [
        ("decimal(20,2)", "\"12345678901234567.89\"", None),
        ("decimal(20,2)", "12.5", Some("12.5")),
        ("text", "\"12345678901234567.89\"", Some("\"12345678901234567.89\"")),
    ];
    match fixture.dialect() {
        Dialect::Postgres => [&common[..], &postgres[..]].concat(),
        Dialect::MySql => [&common[..], &mysql[..]].concat(),
        Dialect::Sqlite => sqlite.to_vec(),
    }
}

#[tokio::test]
async fn what_is_read_back_is_what_was_sent_or_it_is_refused() {
    for fixture in all().await {
        for (number, (ty, value, back)) in values(&fixture).into_iter().enumerate() {
            let table = format!("t{number}");
            fixture.run(&format!("create table {table} (id int primary key, v {ty})")).await;
            let sink = fixture.sink(json!({ "table": table, "key": ["id"] })).await;
            let is_refused = refused(&sink, &format!("\"v\":{value}")).await;
            let read = fixture.json(&table, "v").await;
            let expected: Vec<String> = back.iter().map(|back| (*back).to_owned()).collect();
            assert_eq!((is_refused, read), (back.is_none(), expected), "{} {ty} {value}", fixture.name);
        }
    }
}

#[tokio::test]
async fn a_table_that_was_changed_is_looked_at_again() {
    for fixture in all().await {
        fixture.run("create table orders (id int primary key, v int, e varchar(2))").await;
        let sink = fixture.sink(json!({ "key": ["id"], "unknown_fields": "fail" })).await;
        delivered(&sink, vec![row(1, "\"v\":1")]).await;
        // What had no column has one now.
        fixture.run("alter table orders add column w varchar(20)").await;
        delivered(&sink, vec![row(2, "\"v\":2,\"w\":\"new\"")]).await;
        assert_eq!(
            fixture.texts("select w from orders order by id").await,
            ["null", "new"],
            "{}",
            fixture.name
        );
        match fixture.dialect() {
            Dialect::Postgres => {
                fixture
                    .run("alter table orders alter column v type bigint, alter column e type varchar(20)")
                    .await
            }
            Dialect::MySql => fixture.run("alter table orders modify v bigint, modify e varchar(20)").await,
            Dialect::Sqlite => continue,
        }
        delivered(&sink, vec![row(4, "\"v\":9999999999,\"e\":\"ab      \"")]).await;
        // Where fields without a column are left out, the column is found after a while.
        let sink = fixture.sink(json!({ "key": ["id"] })).await;
        delivered(&sink, vec![row(5, "\"v\":1,\"late\":\"x\"")]).await;
        fixture.run("alter table orders add column late varchar(20)").await;
        let from = std::time::Instant::now();
        while fixture.texts("select late from orders where id = 5").await != ["x"] {
            assert!(from.elapsed().as_secs() < 30, "{}: the column is not found", fixture.name);
            delivered(&sink, vec![row(5, "\"v\":1,\"late\":\"x\"")]).await;
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    }
}

#[tokio::test]
async fn what_postgresql_can_never_take_is_refused_and_what_it_counts_itself_is_left_to_it() {
    for fixture in all().await.into_iter().filter(|fixture| fixture.dialect() == Dialect::Postgres) {
        fixture
            .run("create table orders (sku text primary key, id int generated always as identity, v int)")
            .await;
        let sink = fixture.sink(json!({ "key": ["sku"] })).await;
        for v in [1, 2] {
            delivered(&sink, vec![event("a", Some(&format!("{{\"sku\":\"a\",\"id\":50,\"v\":{v}}}")))]).await;
        }
        assert_eq!(fixture.texts("select sku, id::text, v::text from orders").await, ["a 50 2"]);
        let extension = fixture.pool.acquire().await.unwrap().run("create extension hstore").await;
        if extension.is_err() {
            continue;
        }
        fixture.run("create table h (id int primary key, h hstore)").await;
        let sink = fixture.sink(json!({ "table": "h", "key": ["id"] })).await;
        assert!(refused(&sink, "\"h\":{\"a\":\"1\"}").await);
    }
}

#[tokio::test]
async fn a_check_looks_at_the_table() {
    for fixture in all().await {
        if fixture.dialect() == Dialect::Sqlite {
            fixture.run("create table other (id int primary key)").await;
        }
        let check = |settings| JdbcSink::check(fixture.config(settings));
        let refused = check(json!({ "key": ["id"] })).await.unwrap_err();
        assert!(
            format!("{refused:#}").contains("no table `orders`"),
            "{}: {refused:#}",
            fixture.name
        );
        check(json!({ "key": ["id"], "create_tables": true })).await.unwrap();
        fixture.run("create table orders (id int primary key)").await;
        check(json!({ "key": ["id"] })).await.unwrap();
    }
}
