//! From a server to its replica, by GTIDs.

use std::time::Duration;

use openconnect_sql_fixtures::{Database, Server, System};
use serde_json::{Value, json};

use crate::support::{Offsets, TABLE, data, source, take};

async fn text(database: &Database, sql: &str) -> String {
    database.query(sql).await.unwrap()[0][0].clone()
}

/// Makes the second server a replica of the first; both are fresh.
async fn replicate(from: &Database, to: &Database) {
    let executed = text(from, "select cast(@@global.gtid_executed as char)").await;
    let port = url::Url::parse(&from.url).unwrap().port().unwrap();
    for sql in [
        "set global server_id = 4242".to_owned(),
        "reset binary logs and gtids".to_owned(),
        format!("set global gtid_purged = '{executed}'"),
        format!(
            "change replication source to source_host = '127.0.0.1', source_port = {port}, source_user = 'openconnect', \
             source_password = 'openconnect', source_auto_position = 1, get_source_public_key = 1, source_ssl = 1"
        ),
        "start replica".to_owned(),
    ] {
        to.execute(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

#[tokio::test]
async fn a_replica_is_read_on_from_where_its_source_was_left() {
    let (Some(first), Some(second)) = (
        Server::start(System::MySql).await.unwrap(),
        Server::start(System::MySql).await.unwrap(),
    ) else {
        return;
    };
    let own = second.database().await.unwrap();
    replicate(&first.database().await.unwrap(), &own).await;
    let database = first.database().await.unwrap();
    // The same database there.
    let mut replica = second.database().await.unwrap();
    let name = database.url.rsplit_once('/').unwrap().1.to_owned();
    replica.url = format!("{}/{name}", replica.url.rsplit_once('/').unwrap().0);
    database.execute(TABLE).await.unwrap();
    database.execute("insert into orders values (1, 'a')").await.unwrap();
    let mut offsets = Offsets::new();
    let settings = json!({ "snapshot": "initial" });
    let mut reads = source(&database, settings.clone(), &offsets).await;
    let mut events = take(&mut reads, &mut offsets, 1).await;
    // Another file of the log has another number there.
    database.execute("flush binary logs").await.unwrap();
    database
        .execute("begin; insert into orders values (2, 'b'), (3, 'c'); insert into orders values (4, 'd'); commit; insert into orders values (5, 'e')")
        .await
        .unwrap();
    // Left in the middle of a transaction.
    events.extend(take(&mut reads, &mut offsets, 2).await);
    let executed = text(&database, "select cast(@@global.gtid_executed as char)").await;
    let applied = format!("select cast(wait_for_executed_gtid_set('{executed}', 20) as char)");
    assert_eq!(text(&replica, &applied).await, "0", "the replica has not come so far");
    first.kill().unwrap();
    replica.execute("stop replica; reset replica all").await.unwrap();
    replica.execute("insert into orders values (6, 'f')").await.unwrap();
    let mut reads = source(&replica, settings, &offsets).await;
    events.extend(take(&mut reads, &mut offsets, 3).await);
    let ids: Vec<Value> = events.iter().map(|event| data(event)["after"]["id"].clone()).collect();
    assert_eq!(ids, [1, 2, 3, 4, 5, 6]);
    // Nothing more, and nothing twice.
    let more = tokio::time::timeout(Duration::from_millis(500), take(&mut reads, &mut offsets, 1)).await;
    assert!(more.is_err());
    first.restart().unwrap();
}
