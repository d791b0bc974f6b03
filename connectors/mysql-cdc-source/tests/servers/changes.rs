//! What the log tells, from where on, and after faults.

use std::time::Duration;

use openconnect_core::FailureKind;
use openconnect_core::cloudevents::AttributesReader;
use openconnect_sql_fixtures::{Server, System, database};
use serde_json::{Value, json};

use crate::support::{Offsets, TABLE, begin, data, databases, said, source, take};

#[tokio::test]
async fn rows_that_are_there_come_first_and_then_every_change() {
    for database in databases().await {
        let name = database.system().name();
        database.execute(TABLE).await.unwrap();
        database
            .execute("insert into orders values (1, 'a'), (2, 'b'), (3, null)")
            .await
            .unwrap();
        let mut offsets = Offsets::new();
        let mut reads = source(&database, json!({ "chunk_rows": 2 }), &offsets).await;
        let rows = take(&mut reads, &mut offsets, 3).await;
        assert_eq!(said(&rows), ["r - 1:a", "r - 2:b", "r - 3:null"], "{name}");
        for sql in [
            "insert into orders values (4, 'd'), (5, 'e')",
            "update orders set note = 'aa' where id = 1",
            "delete from orders where id = 2",
            "update orders set id = 30 where id = 3",
            "alter table orders add column extra integer default 7, rename column note to words",
            "insert into orders values (6, 'f', 8)",
        ] {
            database.execute(sql).await.unwrap();
        }
        let changes = take(&mut reads, &mut offsets, 7).await;
        let expected = ["c - 4:d", "c - 5:e", "u 1:a 1:aa", "d 2:b -", "d 3:null -", "c - 30:null"];
        assert_eq!(said(&changes)[..6], expected, "{name}");
        assert_eq!(data(&changes[6])["after"], json!({ "id": 6, "words": "f", "extra": 8 }), "{name}");
        // Rows that come with their table.
        for sql in [
            "create table copied (primary key (id)) select id, extra from orders where id < 6",
            "xa start 'x'; insert into orders values (7, 'g', 9); xa end 'x'; xa prepare 'x'; xa commit 'x'",
            "insert into orders values (8, 'h', 9)",
        ] {
            database.execute(sql).await.unwrap();
        }
        let copied = take(&mut reads, &mut offsets, 5).await;
        let ids: Vec<Value> = copied.iter().map(|event| data(event)["after"]["id"].clone()).collect();
        assert_eq!(ids, [1, 4, 5, 7, 8], "{name}");
        assert_eq!(changes[0].subject(), Some("4"), "{name}");
        let source = data(&changes[0])["source"].clone();
        assert_eq!(
            (source["table"].as_str(), source["snapshot"].as_bool()),
            (Some("orders"), Some(false)),
            "{name}"
        );
    }
}

#[tokio::test]
async fn it_goes_on_in_the_middle_of_a_table_and_of_a_transaction() {
    for database in databases().await {
        let name = database.system().name();
        database.execute(TABLE).await.unwrap();
        let values = |ids: std::ops::Range<u32>| ids.map(|id| format!("({id}, 'n')")).collect::<Vec<_>>().join(",");
        database
            .execute(&format!("insert into orders values {}", values(0..11)))
            .await
            .unwrap();
        let mut offsets = Offsets::new();
        let settings = json!({ "chunk_rows": 4 });
        let mut seen = Vec::new();
        // A new process after each few events.
        for count in [3, 3, 5] {
            let mut reads = source(&database, settings.clone(), &offsets).await;
            seen.extend(take(&mut reads, &mut offsets, count).await);
        }
        database
            .execute(&format!(
                "begin; insert into orders values {}; update orders set note = 'm' where id < 5; insert into orders values {}; commit",
                values(100..1100),
                values(2000..3000)
            ))
            .await
            .unwrap();
        for count in [1, 7, 500, 1, 600, 896] {
            let mut reads = source(&database, settings.clone(), &offsets).await;
            seen.extend(take(&mut reads, &mut offsets, count).await);
        }
        let ids: Vec<u64> = seen.iter().map(|event| data(event)["after"]["id"].as_u64().unwrap()).collect();
        let expected: Vec<u64> = (0..11).chain(100..1100).chain(0..5).chain(2000..3000).collect();
        let differs = (0..ids.len()).find(|at| ids[*at] != expected[*at]);
        let near = |all: &[u64], at: usize| all[at.saturating_sub(3)..(at + 8).min(all.len())].to_vec();
        assert!(
            differs.is_none(),
            "{name}: {differs:?} {:?}, not {:?}",
            near(&ids, differs.unwrap_or(0)),
            near(&expected, differs.unwrap_or(0))
        );
        let mut unique: Vec<_> = seen.iter().map(|event| event.id().to_owned()).collect();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), seen.len(), "{name}: each has an id of its own");
    }
}

#[tokio::test]
async fn an_idle_table_moves_the_offset_too() {
    for database in databases().await {
        let name = database.system().name();
        database.execute(TABLE).await.unwrap();
        database.execute("create table other (id integer primary key)").await.unwrap();
        let mut offsets = Offsets::new();
        let mut reads = source(&database, json!({ "tables": ["ord*"], "snapshot": "no_data" }), &offsets).await;
        database.execute("insert into orders values (1, 'a')").await.ok();
        take(&mut reads, &mut offsets, 0).await;
        let mut moved = Vec::new();
        for id in 0..40 {
            database.execute(&format!("insert into other values ({id})")).await.unwrap();
            if let Ok(polled) = tokio::time::timeout(Duration::from_millis(200), reads.next()).await {
                moved.extend(
                    polled
                        .unwrap()
                        .into_iter()
                        .filter(|record| record.as_event().is_none())
                        .map(|record| record.position().unwrap().clone()),
                );
            }
            if moved.len() > 1 {
                break;
            }
        }
        assert!(moved.len() > 1 && moved[0] != moved[1], "{name}: {moved:?}");
    }
}

#[tokio::test]
async fn a_server_that_was_killed_is_read_on_and_a_lost_position_is_told() {
    for system in [System::MySql, System::MariaDb] {
        let Some(server) = Server::start(system).await.unwrap() else {
            continue;
        };
        let database = server.database().await.unwrap();
        let name = system.name();
        database.execute(TABLE).await.unwrap();
        let mut offsets = Offsets::new();
        let mut reads = source(&database, json!({ "snapshot": "no_data" }), &offsets).await;
        let started = tokio::time::timeout(Duration::from_millis(500), reads.next());
        assert!(started.await.map_or(true, |polled| polled.is_ok()), "{name}");
        database.execute("insert into orders values (1, 'a')").await.unwrap();
        assert_eq!(said(&take(&mut reads, &mut offsets, 1).await), ["c - 1:a"], "{name}");
        server.kill().unwrap();
        assert!(reads.next().await.unwrap_err().is_retryable(), "{name}");
        server.restart().unwrap();
        database.execute("insert into orders values (2, 'b')").await.unwrap();
        assert_eq!(said(&take(&mut reads, &mut offsets, 1).await), ["c - 2:b"], "{name}");
        // The log is gone.
        database.execute("flush binary logs").await.unwrap();
        database.execute("insert into orders values (3, 'c')").await.unwrap();
        database.execute("flush binary logs").await.unwrap();
        let logs = database.query("select cast(1 as char)").await.unwrap();
        assert_eq!(logs.len(), 1);
        database
            .execute("purge binary logs before date_add(now(), interval 1 day)")
            .await
            .unwrap();
        let mut again = source(&database, json!({ "snapshot": "no_data" }), &offsets).await;
        let failure = loop {
            match tokio::time::timeout(Duration::from_secs(20), again.next()).await.unwrap() {
                Ok(_) => {}
                Err(failure) => break failure,
            }
        };
        assert!(
            failure.kind == FailureKind::Fatal && failure.code == "CDC_POSITION_LOST",
            "{name}: {failure:#}"
        );
        let mut anew = source(&database, json!({ "on_lost_position": "snapshot" }), &offsets).await;
        let rows = take(&mut anew, &mut offsets, 3).await;
        assert_eq!(said(&rows), ["r - 1:a", "r - 2:b", "r - 3:c"], "{name}");
        database.execute("insert into orders values (4, 'd')").await.unwrap();
        assert_eq!(said(&take(&mut anew, &mut offsets, 1).await), ["c - 4:d"], "{name}");
    }
}

#[tokio::test]
async fn the_log_and_the_snapshot_go_over_tls() {
    // The scripts give a certificate to MySQL only.
    let Some(database) = database(System::MySql).await.unwrap() else {
        return;
    };
    database.execute(TABLE).await.unwrap();
    database.execute("insert into orders values (1, 'a')").await.unwrap();
    let mut offsets = Offsets::new();
    let mut reads = source(&database, json!({ "tls": { "mode": "require" } }), &offsets).await;
    assert_eq!(said(&take(&mut reads, &mut offsets, 1).await), ["r - 1:a"]);
    database.execute("insert into orders values (2, 'b')").await.unwrap();
    assert_eq!(said(&take(&mut reads, &mut offsets, 1).await), ["c - 2:b"]);
    // A certificate that nobody knows is not taken unless it is said so.
    let mut careful = source(&database, json!({ "tls": {} }), &Offsets::new()).await;
    assert!(careful.next().await.unwrap_err().is_retryable());
}

#[tokio::test]
async fn a_log_that_was_reset_is_a_lost_position() {
    for (system, reset) in [(System::MySql, "reset binary logs and gtids"), (System::MariaDb, "reset master")] {
        let Some(server) = Server::start(system).await.unwrap() else {
            continue;
        };
        let database = server.database().await.unwrap();
        database.execute(TABLE).await.unwrap();
        let mut offsets = Offsets::new();
        let mut reads = source(&database, json!({ "snapshot": "no_data" }), &offsets).await;
        begin(&mut reads).await;
        let rows: Vec<String> = (0..500)
            .map(|id| format!("({id}, 'a long text, so that the log is not short')"))
            .collect();
        database
            .execute(&format!("insert into orders values {}", rows.join(",")))
            .await
            .unwrap();
        take(&mut reads, &mut offsets, 500).await;
        drop(reads);
        database.execute(reset).await.unwrap();
        database.execute("insert into orders values (1000, 'b')").await.unwrap();
        let mut again = source(&database, json!({ "snapshot": "no_data" }), &offsets).await;
        let failure = loop {
            if let Err(failure) = tokio::time::timeout(Duration::from_secs(20), again.next()).await.unwrap() {
                break failure;
            }
        };
        assert_eq!(failure.code, "CDC_POSITION_LOST", "{}: {failure}", system.name());
        // As the configuration allows it.
        let mut anew = source(&database, json!({ "snapshot": "when_needed" }), &offsets).await;
        let rows = take(&mut anew, &mut offsets, 501).await;
        assert_eq!(said(&rows).last().unwrap(), "r - 1000:b", "{}", system.name());
    }
}
