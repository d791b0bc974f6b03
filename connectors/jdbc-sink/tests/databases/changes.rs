//! Change events: one table repeats another.

use openconnect_core::sink::{Sink, WriteReport};
use serde_json::{Value, json};

use crate::support::{all, batch, delivered, event};

fn change(id: &str, op: &str, before: Value, after: Value) -> openconnect_core::cloudevents::Event {
    let data = json!({ "op": op, "before": before, "after": after, "source": { "table": "orders" } });
    event(id, Some(&data.to_string()))
}

#[tokio::test]
async fn inserts_updates_deletes_and_key_changes_are_repeated() {
    for fixture in all().await {
        fixture
            .run("create table orders (id integer primary key, note varchar(40), total decimal(20,5))")
            .await;
        let sink = fixture
            .sink(json!({ "table": "{{ data.source.table }}", "tables": ["orders"], "format": "change" }))
            .await;
        let row = |id: i32, note: &str| json!({ "id": id, "note": note, "total": "12345678901.5" });
        let events = vec![
            change("1", "r", Value::Null, row(1, "a")),
            change("2", "c", Value::Null, row(2, "b")),
            change("3", "u", row(1, "a"), row(1, "c")),
            change("4", "u", row(2, "b"), row(20, "b")),
            change("5", "c", Value::Null, row(2, "new")),
            change("6", "d", row(1, "c"), Value::Null),
            // As Debezium's converter writes it with schemas.
            event(
                "7",
                Some(&json!({ "schema": {}, "payload": { "op": "c", "before": null, "after": row(7, "p"), "source": { "table": "x" } }, "source": { "table": "orders" } }).to_string()),
            ),
        ];
        delivered(&sink, events.clone()).await;
        let expected = ["2 new", "20 b", "7 p"];
        let all = "select cast(id as char(10)), note from orders order by id";
        let rows = || async {
            let mut rows: Vec<String> = fixture
                .texts(all)
                .await
                .iter()
                .map(|row| row.split_whitespace().collect::<Vec<_>>().join(" "))
                .collect();
            rows.sort();
            rows
        };
        assert_eq!(rows().await, expected, "{}", fixture.name);
        // All of it again, as after a crash.
        delivered(&sink, events).await;
        assert_eq!(rows().await, expected, "{}", fixture.name);
        let no_before = change("8", "d", Value::Null, Value::Null);
        let WriteReport::PerEvent(results) = sink.write(&batch(vec![no_before])).await else {
            panic!()
        };
        assert!(results[0].as_ref().is_err_and(|f| f.code == "SQL_NOT_A_CHANGE"));
    }
}

#[tokio::test]
async fn values_of_debezium_are_read_by_their_schema() {
    for fixture in all().await {
        let ty = |postgres: &'static str, other: &'static str| if fixture.name == "postgres" { postgres } else { other };
        fixture
            .run(&format!(
                "create table orders (id integer primary key, amount decimal(20,5), day date, moment {}, span time, doc {}, raw {})",
                ty("timestamp(6)", "datetime(6)"),
                ty("jsonb", "json"),
                ty("bytea", "blob"),
            ))
            .await;
        let sink = fixture.sink(json!({ "format": "change" })).await;
        let field = |name: &str, ty: &str, meaning: Option<&str>| json!({ "field": name, "type": ty, "optional": true, "name": meaning });
        let mut decimal = field("amount", "bytes", Some("org.apache.kafka.connect.data.Decimal"));
        decimal["parameters"] = json!({ "scale": "5", "connect.decimal.precision": "20" });
        let row = json!([
            field("id", "int32", None),
            decimal,
            field("day", "int32", Some("io.debezium.time.Date")),
            field("moment", "int64", Some("io.debezium.time.MicroTimestamp")),
            field("span", "int64", Some("io.debezium.time.MicroTime")),
            field("doc", "string", Some("io.debezium.data.Json")),
            field("raw", "bytes", None),
        ]);
        let schema = json!({ "type": "struct", "fields": [
            { "type": "struct", "field": "before", "fields": row },
            { "type": "struct", "field": "after", "fields": row },
            { "type": "string", "field": "op" },
        ] });
        let after = json!({
            "id": 1, "amount": "/2NpV4c=", "day": 19782, "moment": 1_709_210_096_123_456_i64, "span": 45_296_000_000_i64,
            "doc": "{\"a\": [1]}", "raw": "AAE=",
        });
        let data = json!({ "schema": schema, "payload": { "op": "c", "before": null, "after": after } });
        delivered(&sink, vec![event("1", Some(&data.to_string()))]).await;
        let amount = "cast(amount as char(30))";
        let texts = fixture.texts(&format!("select {amount} from orders")).await;
        assert!(texts[0].trim() == "-26271.19225", "{}: {texts:?}", fixture.name);
        let day = if fixture.name == "sqlite" { "day" } else { "cast(day as char(10))" };
        assert_eq!(
            fixture.texts(&format!("select {day} from orders")).await,
            ["2024-02-29"],
            "{}",
            fixture.name
        );
        let moment = fixture
            .texts(&format!(
                "select {} from orders",
                if fixture.name == "sqlite" {
                    "moment"
                } else {
                    "cast(moment as char(26))"
                }
            ))
            .await;
        assert_eq!(moment, ["2024-02-29 12:34:56.123456"], "{}", fixture.name);
        let span = fixture
            .texts(&format!(
                "select {} from orders",
                if fixture.name == "sqlite" {
                    "span"
                } else {
                    "cast(span as char(8))"
                }
            ))
            .await;
        assert_eq!(span, ["12:34:56"], "{}", fixture.name);
        let document = fixture
            .texts(&format!(
                "select {} from orders",
                ty("doc ->> 'a'", "cast(json_extract(doc, '$.a') as char(10))")
            ))
            .await;
        assert_eq!(document, ["[1]"], "{}", fixture.name);
        let hex = match fixture.name {
            "postgres" => "encode(raw, 'hex')",
            _ => "hex(raw)",
        };
        assert_eq!(
            fixture.texts(&format!("select {hex} from orders")).await,
            ["0001"],
            "{}",
            fixture.name
        );
    }
}

#[tokio::test]
async fn a_truncate_is_repeated_where_it_is_allowed() {
    for fixture in all().await {
        fixture.run("create table orders (id integer primary key, note varchar(40))").await;
        let truncate = || change("t", "t", Value::Null, Value::Null);
        let row = |id: i32| change(&id.to_string(), "c", Value::Null, json!({ "id": id, "note": "a" }));
        let sink = fixture.sink(json!({ "format": "change" })).await;
        delivered(&sink, vec![row(1)]).await;
        let WriteReport::PerEvent(results) = sink.write(&batch(vec![truncate()])).await else {
            panic!()
        };
        assert!(results[0].as_ref().is_err_and(|f| f.code == "SQL_NOT_A_CHANGE"));
        let sink = fixture.sink(json!({ "format": "change", "truncate": true })).await;
        delivered(&sink, vec![row(2), truncate(), row(3), row(4), truncate(), row(5)]).await;
        assert_eq!(fixture.texts("select note from orders").await.len(), 1, "{}", fixture.name);
    }
}
