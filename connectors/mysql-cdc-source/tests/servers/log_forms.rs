//! Forms of the log in which rows are not rows, or not as they are: nothing is left out without a word.

use openconnect_core::FailureKind;
use openconnect_sql_fixtures::{Server, System, database};
use serde_json::{Value, json};

use crate::support::{Offsets, TABLE, begin, data, databases, failure, said, source, take};

#[tokio::test]
async fn a_change_that_is_logged_as_a_statement_stops_the_source() {
    for database in databases().await {
        let name = database.system().name();
        for table in ["orders", "other"] {
            database.execute(&TABLE.replace("orders", table)).await.unwrap();
        }
        database.execute("insert into orders values (1, 'a')").await.unwrap();
        let settings = json!({ "tables": ["orders"], "snapshot": "no_data" });
        for (sql, names) in [
            ("insert into orders values (2, 'secret')", "`orders`"),
            ("update orders set note = 'secret' where id > 0", "`orders`"),
            ("delete from orders where note = 'secret'", "`orders`"),
            ("replace into orders select id, 'secret' from other", "`orders`"),
            (
                "update orders join other using (id) set orders.note = 'secret'",
                "does not name alone",
            ),
        ] {
            let mut offsets = Offsets::new();
            let mut reads = source(&database, settings.clone(), &offsets).await;
            begin(&mut reads).await;
            // What does not concern the table is no reason to stop.
            database
                .execute("set session binlog_format = statement; insert into other values (1, 'a'); delete from other where id = 1")
                .await
                .unwrap();
            database.execute("insert into orders values (10, 'x')").await.unwrap();
            assert_eq!(said(&take(&mut reads, &mut offsets, 1).await), ["c - 10:x"], "{name}");
            database
                .execute(&format!("set session binlog_format = statement; {sql}"))
                .await
                .unwrap();
            let failure = failure(&mut reads).await;
            let reason = failure.reason();
            assert_eq!(
                (failure.code.to_string().as_str(), failure.kind),
                ("CDC_STATEMENT", FailureKind::Fatal),
                "{name} {sql}: {failure}"
            );
            assert!(
                reason.contains(names) && reason.contains("position") && !reason.contains("secret"),
                "{name} {sql}: {reason}"
            );
            database.execute("delete from orders where id = 10").await.unwrap();
        }
    }
}

#[tokio::test]
async fn statements_that_move_whole_partitions_are_noticed() {
    for database in databases().await {
        let name = database.system().name();
        let parts = "partition by range (id) (partition p0 values less than (10), partition p1 values less than (20))";
        database
            .execute(&format!("create table t (id int primary key) {parts}"))
            .await
            .unwrap();
        database.execute("create table u (id int primary key)").await.unwrap();
        database.execute("insert into t values (1), (11)").await.unwrap();
        let mut offsets = Offsets::new();
        let settings = json!({ "tables": ["t", "u"], "snapshot": "no_data", "schema_changes": true });
        let mut reads = source(&database, settings, &offsets).await;
        begin(&mut reads).await;
        for sql in [
            "alter table t truncate partition p0",
            "alter table t exchange partition p1 with table u",
            "alter table t drop partition p0",
            "drop table u",
        ] {
            database.execute(sql).await.unwrap();
            // It is told, and said in the log.
            let told = take(&mut reads, &mut offsets, 1).await;
            let ddl = data(&told[0])["ddl"].as_str().unwrap().to_lowercase().replace('`', "");
            assert!(ddl.starts_with(sql), "{name}: {ddl}");
        }
    }
}

#[tokio::test]
async fn what_mariadb_compresses_is_read() {
    let Some(server) = Server::start(System::MariaDb).await.unwrap() else {
        return;
    };
    let database = server.database().await.unwrap();
    database
        .execute("set global log_bin_compress = on; set global log_bin_compress_min_len = 10")
        .await
        .unwrap();
    let mut offsets = Offsets::new();
    let mut reads = source(&database, json!({ "snapshot": "no_data" }), &offsets).await;
    begin(&mut reads).await;
    for sql in [
        "create table t (id int primary key, s text character set utf8mb4, c varchar(200) compressed, b blob compressed)",
        "insert into t values (1, repeat('ä', 500), repeat('ab', 90), repeat('c', 9)), (2, 'x', '', null)",
        "update t set s = repeat('b', 500), c = 'short' where id = 1",
        "delete from t where id = 1",
        "truncate table t",
    ] {
        database.execute(sql).await.unwrap();
    }
    let events = take(&mut reads, &mut offsets, 5).await;
    let ops: Vec<Value> = events.iter().map(|event| data(event)["op"].clone()).collect();
    assert_eq!(ops, ["c", "c", "u", "d", "t"]);
    let row = json!({ "id": 1, "s": "ä".repeat(500), "c": "ab".repeat(90), "b": "Y2NjY2NjY2Nj" });
    assert_eq!(data(&events[0])["after"], row);
    assert_eq!(data(&events[1])["after"], json!({ "id": 2, "s": "x", "c": "", "b": null }));
    assert_eq!(data(&events[2])["after"]["c"], "short");
    assert_eq!(data(&events[3])["before"]["s"], "b".repeat(500));
}

#[tokio::test]
async fn a_database_that_is_not_logged_is_refused() {
    let Some(database) = database(System::MySql).await.unwrap() else {
        return;
    };
    let mut reads = source(
        &database,
        json!({ "url": database.url.replace("/test_", "/not_") }),
        &Offsets::new(),
    )
    .await;
    let failure = failure(&mut reads).await;
    assert!(failure.reason().contains("no database `not_"), "{failure}");
}

#[tokio::test]
async fn names_are_compared_as_the_server_compares_them() {
    let Some(server) = Server::start_with(System::MariaDb, "--lower-case-table-names=1").await.unwrap() else {
        return;
    };
    let database = server.database().await.unwrap();
    let url = database.url.replace("/test_", "/Test_");
    database
        .execute("create table Orders (id bigint primary key, note varchar(100))")
        .await
        .unwrap();
    database.execute("insert into ORDERS values (1, 'a')").await.unwrap();
    let mut offsets = Offsets::new();
    let mut reads = source(&database, json!({ "url": url, "tables": ["Ord*"] }), &offsets).await;
    assert_eq!(said(&take(&mut reads, &mut offsets, 1).await), ["r - 1:a"]);
    database
        .execute("insert into oRDERs values (2, 'b'); truncate table Orders")
        .await
        .unwrap();
    assert_eq!(said(&take(&mut reads, &mut offsets, 2).await), ["c - 2:b", "t - -"]);
}
