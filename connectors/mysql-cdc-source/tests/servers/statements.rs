//! Statements about tables, transactions, and forms of the log that a server has on demand.

use openconnect_core::cloudevents::AttributesReader;
use openconnect_sql_fixtures::{System, database};
use serde_json::{Value, json};

use crate::support::{Offsets, TABLE, begin, data, databases, source, take};

#[tokio::test]
async fn truncate_is_told_and_other_statements_on_demand() {
    for database in databases().await {
        let name = database.system().name();
        database.execute(TABLE).await.unwrap();
        let mut offsets = Offsets::new();
        let settings = json!({ "tables": ["orders"], "snapshot": "no_data", "schema_changes": true });
        let mut reads = source(&database, settings, &offsets).await;
        begin(&mut reads).await;
        database.execute("insert into orders values (1, 'a')").await.unwrap();
        let mut events = take(&mut reads, &mut offsets, 1).await;
        for sql in [
            "truncate table orders",
            "create table other (id int primary key)",
            "alter table orders add column extra int",
            // As an online schema change ends.
            "create table _orders_new like orders",
            "insert into _orders_new values (5, 'e', 1)",
            "rename table orders to _orders_old, _orders_new to orders",
            "insert into orders values (6, 'f', 2)",
            "drop table orders",
        ] {
            database.execute(sql).await.unwrap();
        }
        events.extend(take(&mut reads, &mut offsets, 6).await);
        let texts: Vec<String> = events
            .iter()
            .map(|event| {
                let data = data(event);
                match data["ddl"].as_str() {
                    Some(ddl) => ddl.split('/').next().unwrap().trim().to_ascii_lowercase().replace('`', ""),
                    None => format!("{} {}", data["op"].as_str().unwrap(), data["after"]),
                }
            })
            .collect();
        assert_eq!(
            texts,
            [
                "c {\"id\":1,\"note\":\"a\"}",
                "t null",
                "truncate table orders",
                "alter table orders add column extra int",
                "rename table orders to _orders_old, _orders_new to orders",
                "c {\"extra\":2,\"id\":6,\"note\":\"f\"}",
                "drop table orders",
            ],
            "{name}"
        );
        assert_eq!(events[2].ty(), "eventmesh.openconnect.cdc.change.schema", "{name}");
        let mut ids: Vec<&str> = events.iter().map(AttributesReader::id).collect();
        ids.dedup();
        assert_eq!(ids.len(), events.len(), "{name}: {ids:?}");
    }
}

#[tokio::test]
async fn transactions_are_told_with_the_number_of_their_changes() {
    for database in databases().await {
        let name = database.system().name();
        for table in ["orders", "parts", "other"] {
            database.execute(&TABLE.replace("orders", table)).await.unwrap();
        }
        let mut offsets = Offsets::new();
        let settings = json!({ "tables": ["orders", "parts"], "snapshot": "no_data", "transactions": true });
        let mut reads = source(&database, settings.clone(), &offsets).await;
        begin(&mut reads).await;
        database.execute("insert into orders values (0, 'z')").await.unwrap();
        take(&mut reads, &mut offsets, 3).await;
        for sql in [
            "insert into other values (1, 'a')",
            "begin; insert into orders values (1, 'a'), (2, 'b'); insert into parts values (1, 'c'); update orders set note = 'd' where id = 1; commit",
        ] {
            database.execute(sql).await.unwrap();
        }
        let mut events = take(&mut reads, &mut offsets, 3).await;
        // The count goes on after a restart in the middle.
        let mut reads = source(&database, settings, &offsets).await;
        events.extend(take(&mut reads, &mut offsets, 3).await);
        let numbers: Vec<Value> = events
            .iter()
            .map(|event| {
                let data = data(event);
                match data["status"].as_str() {
                    Some(_) => json!([data["status"], data["event_count"], data["data_collections"]]),
                    None => json!([
                        data["source"]["table"],
                        data["transaction"]["total_order"],
                        data["transaction"]["data_collection_order"]
                    ]),
                }
            })
            .collect();
        assert_eq!(
            numbers,
            [
                json!(["BEGIN", null, null]),
                json!(["orders", 1, 1]),
                json!(["orders", 2, 2]),
                json!(["parts", 3, 1]),
                json!(["orders", 4, 3]),
                json!(["END", 4, [{ "data_collection": "orders", "event_count": 3 }, { "data_collection": "parts", "event_count": 1 }]]),
            ],
            "{name}"
        );
        let id = events[0].extension("txid").unwrap().to_string();
        assert!(
            events.iter().all(|event| event.extension("txid").unwrap().to_string() == id),
            "{name}"
        );
    }
}

#[tokio::test]
async fn compressed_transactions_and_partial_json_are_read() {
    let Some(database) = database(System::MySql).await.unwrap() else {
        return;
    };
    database.execute("create table docs (id int primary key, v json)").await.unwrap();
    let mut offsets = Offsets::new();
    let mut reads = source(&database, json!({ "snapshot": "no_data" }), &offsets).await;
    begin(&mut reads).await;
    let document = r#"{"a": [1, 2, {"b.c": "x"}], "d": "a long text, so that a partial update is shorter than the whole", "e": null}"#;
    database
        .execute(&format!("insert into docs values (0, '{{}}'), (1, '{document}')"))
        .await
        .unwrap();
    take(&mut reads, &mut offsets, 2).await;
    let updates = [
        "json_set(v, '$.a[0]', 7)",
        "json_replace(v, '$.a[2].\"b.c\"', 'y\"z')",
        "json_remove(v, '$.a[1]')",
        "json_set(v, '$.a[0]', json_object('k', 1.5))",
        "json_remove(v, '$.e')",
        "json_set(v, '$.d', 'short')",
    ];
    for update in updates {
        database
            .execute(&format!(
                "set session binlog_row_value_options = 'PARTIAL_JSON', session binlog_transaction_compression = on; \
                 update docs set v = {update} where id = 1"
            ))
            .await
            .unwrap();
    }
    let events = take(&mut reads, &mut offsets, updates.len()).await;
    let last = data(events.last().unwrap())["after"]["v"].clone();
    assert_eq!(last, json!({ "a": [{ "k": 1.5 }, { "b.c": "y\"z" }], "d": "short" }));
    let server = database.query("select cast(v as char) from docs where id = 1").await.unwrap();
    assert_eq!(serde_json::from_str::<Value>(&server[0][0]).unwrap(), last);
    // On in the middle of a compressed transaction.
    database
        .execute(
            "set session binlog_transaction_compression = on; begin; insert into docs values (10, '1'), (11, '2'); \
             insert into docs values (12, '3'); commit; insert into docs values (13, '4')",
        )
        .await
        .unwrap();
    let mut ids = Vec::new();
    for _ in 0..4 {
        let mut again = source(&database, json!({ "snapshot": "no_data" }), &offsets).await;
        for event in take(&mut again, &mut offsets, 1).await {
            ids.push(data(&event)["after"]["id"].clone());
        }
    }
    assert_eq!(ids, [10, 11, 12, 13]);
}
