//! Columns that are left out or masked.

use openconnect_core::cloudevents::AttributesReader;
use serde_json::json;

use crate::support::{Offsets, data, databases, source, take};

#[tokio::test]
async fn what_is_hidden_is_hidden_in_the_snapshot_and_in_the_log() {
    for database in databases().await {
        let name = database.system().name();
        database
            .execute(
                "create table people (email varchar(50) primary key, name varchar(50), card varchar(20), password varchar(20), age int)",
            )
            .await
            .unwrap();
        database
            .execute("insert into people values ('a@example.org', 'Größe', '4111-1111', 'hunter2', 7)")
            .await
            .unwrap();
        let settings = json!({ "columns": {
            "exclude": ["people.password"],
            "masks": [
                { "columns": ["people.email"], "hash": { "salt": "pepper" } },
                { "columns": ["*.name"], "truncate": 3 },
                { "columns": ["*.card"], "fixed": "****" },
            ],
        } });
        let mut offsets = Offsets::new();
        let mut reads = source(&database, settings, &offsets).await;
        let mut events = take(&mut reads, &mut offsets, 1).await;
        for sql in ["update people set age = 8, card = null", "delete from people"] {
            database.execute(sql).await.unwrap();
        }
        events.extend(take(&mut reads, &mut offsets, 2).await);
        let texts: Vec<String> = events.iter().map(|event| format!("{event:?} {}", data(event))).collect();
        for hidden in ["example.org", "Größe", "4111", "hunter2"] {
            assert!(!texts.iter().any(|text| text.contains(hidden)), "{name}: {hidden}");
        }
        let hash = "7d96fc39f9bac9acaa64cc4ea3bbe9c0f5e0a4d3d7d3e0f1c0b8a1f7c2d4e5f6".len();
        let row = data(&events[0])["after"].clone();
        let email = row["email"].as_str().unwrap();
        assert_eq!((email.len(), events[0].subject()), (hash, Some(email)), "{name}");
        assert_eq!(row, json!({ "email": email, "name": "Grö", "card": "****", "age": 7 }), "{name}");
        let row = data(&events[1])["after"].clone();
        assert_eq!(row, json!({ "email": email, "name": "Grö", "card": null, "age": 8 }), "{name}");
        assert_eq!(events[2].subject(), Some(email), "{name}: the key is the same in all of them");
    }
}

#[tokio::test]
async fn a_key_that_would_not_be_one_is_refused() {
    for database in databases().await {
        database.execute("create table people (id int primary key)").await.unwrap();
        for settings in [
            json!({ "columns": { "exclude": ["*.id"] } }),
            json!({ "columns": { "masks": [{ "columns": ["*.id"], "truncate": 1 }] } }),
        ] {
            let mut reads = source(&database, settings, &Offsets::new()).await;
            let failure = reads.next().await.unwrap_err();
            assert!(failure.code == "CDC_COLUMNS" && failure.reason().contains("people.id"), "{failure}");
        }
    }
}
