//! What is found out at the start: by `check`, and by two readers of one number.

use std::time::Duration;

use openconnect_core::cloudevents::AttributesReader;
use openconnect_core::source::Source as _;
use openconnect_mysql_cdc_source::{MySqlCdcConfig, MySqlCdcSource};
use openconnect_sql_fixtures::Database;
use serde_json::{Value, json};

use crate::support::{Offsets, TABLE, begin, data, databases, source, take};

async fn check(database: &Database, settings: Value) -> Result<(), String> {
    let mut config = json!({ "url": database.url, "user": "cdc", "password": "cdc", "tables": ["*"] });
    config.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    let config: MySqlCdcConfig = serde_json::from_value(config).unwrap();
    MySqlCdcSource::check(config).await.map_err(|error| format!("{error:#}"))
}

#[tokio::test]
async fn a_check_tries_what_reading_needs() {
    for database in databases().await {
        let name = database.system().name();
        database.execute(TABLE).await.unwrap();
        check(&database, json!({})).await.unwrap();
        let own = database.url.rsplit_once('/').unwrap().1.to_owned();
        for (user, rights) in [
            ("norows", "REPLICATION CLIENT, REPLICATION SLAVE ON *.*".to_owned()),
            ("nolog", "SELECT, REPLICATION CLIENT ON *.*".to_owned()),
            ("noplace", format!("SELECT ON {own}.*")),
        ] {
            database
                .execute(&format!(
                    "create user if not exists {user}@'%' identified by 'x'; grant {rights} to {user}@'%'"
                ))
                .await
                .unwrap();
            let refused = check(&database, json!({ "user": user, "password": "x" })).await;
            let reason = refused.expect_err(user).to_lowercase();
            assert!(reason.contains("denied") || reason.contains("may"), "{name} {user}: {reason}");
        }
        for (settings, said) in [
            (json!({ "url": database.url.replace(&own, "nosuchdb") }), "no database `nosuchdb`"),
            (json!({ "tables": ["nope"] }), "names no table"),
        ] {
            let refused = check(&database, settings).await.unwrap_err();
            assert!(refused.contains(said), "{name}: {refused}");
        }
    }
}

#[tokio::test]
async fn two_readers_with_one_number_are_no_lost_position() {
    for database in databases().await {
        let name = database.system().name();
        database.execute(TABLE).await.unwrap();
        let settings = json!({ "server_id": 4711, "snapshot": "no_data" });
        let mut first = source(&database, settings.clone(), &Offsets::new()).await;
        begin(&mut first).await;
        let mut second = source(&database, settings, &Offsets::new()).await;
        begin(&mut second).await;
        let failure = loop {
            let polled = tokio::time::timeout(Duration::from_secs(20), first.next()).await;
            if let Err(failure) = polled.expect("the first reader is not thrown out") {
                break failure;
            }
        };
        assert!(failure.code == "CDC_SERVER_ID" && failure.is_retryable(), "{name}: {failure:#}");
    }
}

#[tokio::test]
async fn a_key_that_changes_only_in_case_stays_in_order() {
    for database in databases().await {
        let name = database.system().name();
        database
            .execute("create table t (k varchar(20) character set utf8mb4 collate utf8mb4_general_ci primary key, v int)")
            .await
            .unwrap();
        database.execute("insert into t values ('größe', 1)").await.unwrap();
        let mut offsets = Offsets::new();
        let mut reads = source(&database, json!({}), &offsets).await;
        let mut events = take(&mut reads, &mut offsets, 1).await;
        database
            .execute("update t set k = 'GROSE', v = 2 where k = 'grose'; update t set v = 3")
            .await
            .unwrap();
        events.extend(take(&mut reads, &mut offsets, 3).await);
        let ops: Vec<Value> = events.iter().map(|event| data(event)["op"].clone()).collect();
        assert_eq!(ops, ["r", "d", "c", "u"], "{name}");
        let order = |at: usize| events[at].extension("partitionkey").unwrap().to_string();
        assert!(
            (1..4).all(|at| order(at) == order(0)),
            "{name}: {} {} {} {}",
            order(0),
            order(1),
            order(2),
            order(3)
        );
        assert_eq!((events[1].subject(), events[2].subject()), (Some("größe"), Some("GROSE")), "{name}");
    }
}

#[tokio::test]
async fn a_change_that_is_too_large_stops_the_source_where_it_shall() {
    for database in databases().await {
        let name = database.system().name();
        database.execute("create table t (id int primary key, v longtext)").await.unwrap();
        database
            .execute("insert into t values (1, ''), (2, repeat('y', 1500000)), (3, '')")
            .await
            .unwrap();
        let mut offsets = Offsets::new();
        let mut reads = source(&database, json!({ "on_oversize": "stop" }), &offsets).await;
        assert_eq!(data(&take(&mut reads, &mut offsets, 1).await[0])["after"]["id"], 1, "{name}");
        let failure = crate::support::failure(&mut reads).await;
        assert_eq!(failure.code, "CDC_OVERSIZE", "{name}: {failure}");
        assert!(
            failure.reason().contains(".t` with the key `2` has 1500") && !failure.is_retryable(),
            "{name}: {failure}"
        );
        // Otherwise it is given on, and the engine makes a dead letter of it.
        let mut reads = source(&database, json!({}), &Offsets::new()).await;
        take(&mut reads, &mut Offsets::new(), 3).await;
    }
}
