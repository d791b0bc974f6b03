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
