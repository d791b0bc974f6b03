//! What every database does alike.

use openconnect_core::FailureKind;
use openconnect_core::config::{ConnectorConfig, Problems};
use openconnect_core::sink::{Sink, WriteReport};
use openconnect_jdbc_sink::{JdbcSink, JdbcSinkConfig};
use openconnect_sql::Dialect;
use serde_json::json;

use crate::support::{all, batch, delivered, event};

const ORDERS: &str = "create table orders (id varchar(40) primary key, total decimal(30,10), note varchar(5) not null default '')";
const ALL: &str = "select id, note from orders order by id";

fn order(id: &str, note: &str) -> openconnect_core::cloudevents::Event {
    event(id, Some(&format!("{{\"id\":\"{id}\",\"total\":1.5,\"note\":\"{note}\"}}")))
}

#[tokio::test]
async fn upsert_and_delete_keep_the_order_of_a_key() {
    for fixture in all().await {
        fixture.run(ORDERS).await;
        let sink = fixture.sink(json!({ "key": ["id"], "delete_on_null": true })).await;
        let mut events = vec![
            order("a", "1"),
            order("b", "2"),
            event("a", None),
            order("a", "3"),
            order("c", "4"),
            event("b", None),
            order("a", "5"),
        ];
        events.extend((0..300).map(|n| order(&format!("n{n}"), "x")));
        delivered(&sink, events).await;
        let rows = fixture.texts(ALL).await;
        assert_eq!(rows.len(), 302, "{}", fixture.name);
        assert_eq!(rows[..2], ["a 5", "c 4"], "{}", fixture.name);
        sink.close().await.unwrap();
    }
}

#[tokio::test]
async fn insert_leaves_and_update_changes_what_is_there() {
    for fixture in all().await {
        fixture.run(ORDERS).await;
        let insert = fixture.sink(json!({ "key": ["id"], "mode": "insert" })).await;
        delivered(&insert, vec![order("a", "1"), order("a", "2"), order("b", "1")]).await;
        delivered(&insert, vec![order("a", "3")]).await;
        assert_eq!(fixture.texts(ALL).await, ["a 1", "b 1"], "{}", fixture.name);
        // Without `key` it is the table's primary key.
        let update = fixture.sink(json!({ "mode": "update" })).await;
        delivered(&update, vec![order("a", "8"), order("none", "1"), order("a", "9"), order("b", "7")]).await;
        assert_eq!(fixture.texts(ALL).await, ["a 9", "b 7"], "{}", fixture.name);
        let plain = fixture.sink(json!({})).await;
        let WriteReport::Failed(failure) = plain.write(&batch(vec![order("a", "1")])).await else {
            panic!()
        };
        assert_eq!(failure.code, "SQL_CONSTRAINT", "{}", fixture.name);
    }
}

#[tokio::test]
async fn an_event_that_was_delivered_changes_nothing_also_without_a_key() {
    for fixture in all().await {
        fixture.run("create table orders (id varchar(40), note varchar(5))").await;
        let settings = json!({ "deduplicate": { "table": "seen" } });
        let config: JdbcSinkConfig = serde_json::from_value(json!({ "url": fixture.url, "table": "t", "deduplicate": {} })).unwrap();
        assert!(JdbcSink::profile(&config).idempotent);
        let sink = fixture.sink(settings.clone()).await;
        delivered(&sink, vec![order("a", "1"), order("a", "1"), order("b", "1")]).await;
        let again = fixture.sink(settings).await;
        delivered(&again, vec![order("b", "1"), order("c", "1")]).await;
        assert_eq!(fixture.texts(ALL).await, ["a 1", "b 1", "c 1"], "{}", fixture.name);
        // A refused batch leaves no trace: neither rows nor ids.
        let poison = event("e", Some("{\"id\":\"e\",\"note\":\"far too long\"}"));
        let report = again.write(&batch(vec![order("d", "1"), poison])).await;
        if fixture.dialect() != Dialect::Sqlite {
            assert!(
                matches!(report, WriteReport::Failed(f) if f.code == "SQL_VALUE"),
                "{}",
                fixture.name
            );
            delivered(&again, vec![order("d", "1")]).await;
            assert_eq!(fixture.texts(ALL).await, ["a 1", "b 1", "c 1", "d 1"], "{}", fixture.name);
        }
    }
}

#[tokio::test]
async fn a_refusal_names_the_column_and_never_the_value() {
    for fixture in all().await {
        fixture.run(ORDERS).await;
        fixture
            .run("create table checked (id integer not null, n smallint not null, constraint positive check (n > 0))")
            .await;
        let sink = fixture
            .sink(json!({ "table": "{{ subject }}", "tables": ["orders", "check*"] }))
            .await;
        let cases = [
            ("orders", "{\"id\":\"secret\",\"note\":null}", "note"),
            ("checked", "{\"id\":1,\"n\":-4711}", "positive"),
            ("checked", "{\"n\":4711}", "id"),
        ];
        let strict = [
            ("orders", "{\"id\":\"secret\",\"note\":\"a long secret\"}", "SQL_VALUE"),
            ("orders", "{\"id\":\"s\",\"total\":\"secret\"}", "SQL_VALUE"),
            ("checked", "{\"id\":1,\"n\":4711471147114711}", "SQL_VALUE"),
        ];
        // SQLite takes what does not fit.
        let strict = strict.iter().filter(|_| fixture.dialect() != Dialect::Sqlite);
        for (table, data, expected) in cases.iter().chain(strict) {
            let report = sink.write(&batch(vec![event(table, Some(data))])).await;
            let WriteReport::Failed(failure) = report else {
                panic!("{}: {data}: {report:?}", fixture.name)
            };
            assert_eq!(failure.kind, FailureKind::Permanent, "{}: {data}: {failure}", fixture.name);
            let said = failure.to_string();
            assert!(said.contains(expected), "{}: {data}: {said}", fixture.name);
            assert!(
                !said.contains("secret") && !said.contains("4711"),
                "{}: {data}: {said}",
                fixture.name
            );
        }
        let WriteReport::PerEvent(results) = sink.write(&batch(vec![event("other", Some("{}"))])).await else {
            panic!()
        };
        assert!(results[0].as_ref().is_err_and(|f| f.code == "SQL_TABLE_NOT_ALLOWED"));
    }
}

#[tokio::test]
async fn tables_and_columns_are_made_when_asked_for() {
    for fixture in all().await {
        let settings = json!({ "key": ["id"], "create_tables": true, "add_columns": true });
        let sink = fixture.sink(settings).await;
        let first = event("1", Some("{\"id\":\"a\",\"n\":1,\"empty\":null}"));
        let second = event(
            "2",
            Some("{\"id\":\"b\",\"n\":2,\"x\":1.25,\"ok\":true,\"o\":{\"k\":[1]},\"t\":\"text\"}"),
        );
        delivered(&sink, vec![first, second.clone()]).await;
        delivered(&sink, vec![second]).await;
        assert_eq!(fixture.json("orders", "n").await, ["1", "2"], "{}", fixture.name);
        assert_eq!(fixture.json("orders", "t").await, ["null", "\"text\""], "{}", fixture.name);
        let o = fixture.json("orders", "o").await[1].replace(' ', "");
        assert_eq!(o, "{\"k\":[1]}", "{}", fixture.name);
        let waits = fixture.sink(json!({ "table": "other" })).await;
        let WriteReport::Failed(failure) = waits.write(&batch(vec![order("a", "1")])).await else {
            panic!()
        };
        assert!(failure.is_retryable() && failure.code == "SQL_SCHEMA", "{failure}");
    }
}

#[tokio::test]
async fn an_upsert_without_a_unique_index_waits_instead_of_doubling_rows() {
    for fixture in all().await {
        fixture.run("create table orders (id varchar(40), note varchar(5))").await;
        let sink = fixture.sink(json!({ "key": ["id"] })).await;
        let WriteReport::Failed(failure) = sink.write(&batch(vec![order("a", "1")])).await else {
            panic!()
        };
        assert!(
            failure.is_retryable() && failure.code == "SQL_SCHEMA",
            "{}: {failure}",
            fixture.name
        );
        fixture.run("create unique index one on orders (id)").await;
        delivered(&sink, vec![order("a", "1"), order("a", "2")]).await;
        delivered(&sink, vec![order("a", "3")]).await;
        assert_eq!(fixture.texts(ALL).await, ["a 3"], "{}", fixture.name);
    }
}

#[tokio::test]
async fn a_wrong_password_is_waited_for_and_never_shown() {
    for fixture in all().await.into_iter().filter(|f| f.dialect() != Dialect::Sqlite) {
        let settings = json!({ "password": "a-wrong-secret" });
        let sink = fixture.sink(settings.clone()).await;
        let WriteReport::Failed(failure) = sink.write(&batch(vec![order("a", "1")])).await else {
            panic!()
        };
        assert!(failure.is_retryable(), "{}: {failure}", fixture.name);
        assert!(!failure.to_string().contains("a-wrong-secret"), "{failure}");
        let error = JdbcSink::check(fixture.config(settings)).await.unwrap_err();
        assert!(!format!("{error:?}").contains("a-wrong-secret"), "{error:?}");
    }
}

#[test]
fn what_cannot_work_is_refused_before_it_starts() {
    for (settings, at) in [
        (json!({ "table": "events_{{ type }}" }), "tables"),
        (json!({ "table": "t", "delete_on_null": true }), "key"),
        (json!({ "table": "t", "create": true }), "create"),
        (json!({ "table": "t", "format": "change", "columns": { "a": "data.a" } }), "columns"),
        (json!({ "table": "t", "url": "oracle://u:secret@h/d" }), "url"),
    ] {
        let mut config = json!({ "url": "postgresql://h/d" });
        config.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let config: JdbcSinkConfig = serde_json::from_value(config).unwrap();
        let mut problems = Problems::default();
        config.validate(&mut problems);
        let said = format!("{problems:?}");
        assert!(said.contains(at) && !said.contains("secret"), "{settings}: {said}");
    }
}

#[tokio::test]
async fn a_row_larger_than_a_megabyte_goes_through() {
    for fixture in all().await {
        let ty = if fixture.dialect() == Dialect::MySql { "longtext" } else { "text" };
        fixture
            .run(&format!("create table orders (id varchar(40) primary key, note {ty})"))
            .await;
        let sink = fixture.sink(json!({ "key": ["id"] })).await;
        delivered(&sink, vec![order("a", &"x".repeat(3 << 20)), order("b", "y")]).await;
        let lengths: Vec<usize> = fixture.json("orders", "note").await.iter().map(String::len).collect();
        assert_eq!(lengths, [(3 << 20) + 2, 3], "{}", fixture.name);
    }
}

#[tokio::test]
async fn a_statement_of_ones_own_gets_its_arguments() {
    for fixture in all().await {
        fixture
            .run("create table audit (id varchar(20) primary key, n bigint, body varchar(100))")
            .await;
        let cast = match fixture.dialect() {
            Dialect::Postgres => "cast(:n as bigint)",
            _ => ":n",
        };
        let config = json!({
            "table": "",
            "sql": format!("insert into audit (id, n, body) values (:id, {cast} + 1, concat(:body, ' :id'))"),
            "arguments": { "id": "id", "n": "data.n", "body": "data.text" },
            "deduplicate": {},
        });
        let sink = fixture.sink(config).await;
        let events = vec![
            event("a", Some(r#"{"n":9007199254740993,"text":"it's; drop table audit"}"#)),
            event("b", Some(r#"{"n":null,"text":"x"}"#)),
        ];
        delivered(&sink, events.clone()).await;
        delivered(&sink, events).await;
        assert_eq!(
            fixture.texts("select body from audit order by id").await,
            ["it's; drop table audit :id", "x :id"],
            "{}",
            fixture.name
        );
        let number = fixture.texts("select cast(n as char(20)) from audit where id = 'a'").await;
        assert_eq!(number[0].trim(), "9007199254740994", "{}", fixture.name);
    }
}

fn row(id: u32, field: &str, json: &str) -> openconnect_core::cloudevents::Event {
    event(&id.to_string(), Some(&format!("{{\"id\":{id},\"{field}\":{json}}}")))
}

#[tokio::test]
async fn a_column_takes_numbers_and_texts_in_turn() {
    for fixture in all().await {
        let integer = match fixture.dialect() {
            Dialect::MySql => "bigint unsigned",
            Dialect::Postgres => "numeric(20)",
            // A number would lose digits.
            Dialect::Sqlite => "text",
        };
        fixture
            .run(&format!(
                "create table orders (id int primary key, v varchar(40), d decimal(20,5), n {integer})"
            ))
            .await;
        let sink = fixture.sink(json!({ "key": ["id"] })).await;
        // One batch each: the statement stays prepared.
        for (id, json) in (0..).zip(["5", "\"x\"", "\"1e3\"", "7"]) {
            delivered(&sink, vec![row(id, "v", json)]).await;
        }
        for (id, json) in (10..).zip(["5", "1.5", "\"2.25\"", "7"]) {
            delivered(&sink, vec![row(id, "d", json)]).await;
        }
        for (id, json) in (20..).zip(["5", "18446744073709551615", "\"6\"", "7"]) {
            delivered(&sink, vec![row(id, "n", json)]).await;
        }
        let texts = fixture.texts("select v from orders where v is not null order by id").await;
        assert_eq!(texts, ["5", "x", "1e3", "7"], "{}", fixture.name);
        if fixture.dialect() == Dialect::MySql {
            let decimals = fixture
                .texts("select cast(d as char) from orders where d is not null order by id")
                .await;
            assert_eq!(decimals, ["5.00000", "1.50000", "2.25000", "7.00000"], "{}", fixture.name);
            let integers = fixture
                .texts("select cast(n as char) from orders where n is not null order by id")
                .await;
            assert_eq!(integers, ["5", "18446744073709551615", "6", "7"], "{}", fixture.name);
        }
    }
}

#[tokio::test]
async fn a_number_is_a_member_of_an_enum_or_refused() {
    for fixture in all().await.into_iter().filter(|fixture| fixture.dialect() == Dialect::MySql) {
        fixture
            .run("create table orders (id int primary key, e enum('3','2','1'), s set('a','b','c'))")
            .await;
        let sink = fixture.sink(json!({ "key": ["id"] })).await;
        for (id, json) in (0..).zip(["1", "\"1\"", "1", "\"3\""]) {
            delivered(&sink, vec![row(id, "e", json)]).await;
        }
        delivered(&sink, vec![row(10, "s", "\"a,c\"")]).await;
        for (field, json) in [("e", "4"), ("e", "\"4\""), ("s", "3"), ("s", "\"3\"")] {
            let WriteReport::PerEvent(results) = sink.write(&batch(vec![row(20, field, json)])).await else {
                panic!("{}: {field} {json}", fixture.name)
            };
            assert_eq!(
                results[0].as_ref().unwrap_err().code,
                "SQL_VALUE",
                "{}: {field} {json}",
                fixture.name
            );
        }
        let found = fixture
            .texts("select cast(id as char), coalesce(e, s) from orders order by id")
            .await;
        assert_eq!(found, ["0 1", "1 1", "2 1", "3 3", "10 a,c"], "{}", fixture.name);
    }
}

#[tokio::test]
async fn a_second_unique_index_refuses_a_row_and_no_other_row_is_changed() {
    for fixture in all().await {
        fixture
            .run("create table orders (id varchar(9) primary key, email varchar(20) unique, n varchar(9))")
            .await;
        fixture.run("insert into orders values ('2', 'a@x', '1')").await;
        let order = |id: u32, email: &str, n: u32| event("e", Some(&format!("{{\"id\":{id},\"email\":\"{email}\",\"n\":{n}}}")));
        for mode in ["upsert", "insert"] {
            let sink = fixture.sink(json!({ "key": ["id"], "mode": mode })).await;
            let WriteReport::Failed(failure) = sink.write(&batch(vec![order(44, "a@x", 9)])).await else {
                panic!("{}: {mode}", fixture.name)
            };
            assert_eq!(failure.code, "SQL_CONSTRAINT", "{}: {mode}", fixture.name);
        }
        let found = "select id, email, n from orders order by id";
        assert_eq!(fixture.texts(found).await, ["2 a@x 1"], "{}", fixture.name);
        let upsert = fixture.sink(json!({ "key": ["id"] })).await;
        delivered(&upsert, vec![order(2, "b@x", 3), order(3, "a@x", 4), order(2, "b@x", 3)]).await;
        let insert = fixture.sink(json!({ "key": ["id"], "mode": "insert" })).await;
        delivered(&insert, vec![order(3, "c@x", 9), order(4, "c@x", 5)]).await;
        assert_eq!(fixture.texts(found).await, ["2 b@x 3", "3 a@x 4", "4 c@x 5"], "{}", fixture.name);
    }
}
