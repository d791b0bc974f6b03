//! MySQL and MariaDB to PostgreSQL through the mesh: random changes, kills of everything on the way, and at the end the same tables.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::{Duration, Instant};

use openconnect_sql_fixtures::{Database, System, database};
use openconnect_testkit::connector::Connector;
use openconnect_testkit::kit::Kit;
use openconnect_testkit::mesh::Mesh;
use serde_json::json;

const MYSQL: &str = "create table orders (id bigint primary key, n bigint unsigned, amount decimal(30,10), note varchar(100) character set utf8mb4, \
                     raw varbinary(20), at datetime(6))";
const POSTGRES: &str =
    "create table orders (id bigint primary key, n numeric(20), amount numeric(30,10), note varchar(100), raw bytea, at timestamp(6))";
/// The same text on both sides for the same row.
const MYSQL_ROWS: &str = "select concat_ws('|', id, ifnull(n, '-'), ifnull(amount, '-'), ifnull(note, '-'), ifnull(lower(hex(raw)), '-'), ifnull(at, '-')) \
                          from orders order by id";
const POSTGRES_ROWS: &str = "select concat_ws('|', id, coalesce(n::text, '-'), coalesce(amount::text, '-'), coalesce(note, '-'), \
                             coalesce(encode(raw, 'hex'), '-'), coalesce(to_char(at, 'YYYY-MM-DD HH24:MI:SS.US'), '-')) from orders order by id";

/// Another one of the changes: an insert, an update, a delete or a change of the key, sometimes several in a transaction, and seldom
/// all rows go.
fn change(kit: &mut Kit) -> String {
    if kit.pick(0..80) == 0 {
        return "truncate table orders".to_owned();
    }
    let id = kit.pick(1..60);
    match kit.pick(0..10) {
        0..4 => {
            let n = u64::MAX - kit.pick(0..1000);
            let note = ["'größe'", "''", "null", "'it''s'"][usize::try_from(kit.pick(0..4)).unwrap()];
            format!(
                "insert ignore into orders values ({id}, {n}, {}.5, {note}, x'00{:02x}', now(6))",
                kit.pick(0..1_000_000),
                kit.pick(0..256)
            )
        }
        4..7 => format!(
            "update orders set amount = ifnull(amount, 0) + 0.0000000001, note = concat(ifnull(note, ''), 'x') where id = {id} and length(ifnull(note, '')) < 90"
        ),
        7 => format!("delete from orders where id = {id}"),
        8 => format!("update ignore orders set id = id + {} where id = {id}", kit.pick(1..30)),
        _ => format!("begin; {}; {}; commit", change(kit), change(kit)),
    }
}

async fn same(from: &Database, to: &Database) -> bool {
    from.query(MYSQL_ROWS).await.unwrap() == to.query(POSTGRES_ROWS).await.unwrap()
}

async fn replicate(system: System) {
    let mut kit = Kit::new(&format!("replica of {}", system.name())).unwrap();
    let (Some(from), Some(to)) = (database(system).await.unwrap(), database(System::Postgres).await.unwrap()) else {
        return;
    };
    from.execute(MYSQL).await.unwrap();
    to.execute(POSTGRES).await.unwrap();
    for _ in 0..50 {
        let sql = change(&mut kit);
        from.execute(&sql).await.unwrap();
    }
    let mesh = Mesh::start(&kit, json!({ "delivery": { "redeliver_after": "2s" } })).await.unwrap();
    let to_mesh = json!({ "url": mesh.url(), "topic": "changes", "reconnect_max": "100ms" });
    let short = json!({ "retry": { "initial": "20ms", "max": "200ms" } });
    let sink = json!({
        "mesh": to_mesh, "delivery": short,
        "sink": { "url": to.url, "table": "{{ data.source.table }}", "tables": ["orders"], "format": "change", "truncate": true },
    });
    let source = json!({
        "mesh": to_mesh, "delivery": short, "state": { "flush_interval": "20ms" },
        "source": { "url": from.url, "tables": ["orders"], "chunk_rows": 7 },
    });
    let mut sink = Connector::start(&kit, "openconnect-jdbc-sink", "out", sink).await.unwrap();
    let mut source = Connector::start(&kit, "openconnect-mysql-cdc-source", "in", source).await.unwrap();
    for _ in 0..12 {
        for _ in 0..15 {
            let sql = change(&mut kit);
            from.execute(&sql).await.unwrap();
        }
        let killed = if kit.pick(0..2) == 0 { &mut sink } else { &mut source };
        killed.process().unwrap().kill().await.unwrap();
        killed.launch().unwrap();
    }
    from.execute("replace into orders values (999, 1, null, 'the end', null, null)")
        .await
        .unwrap();
    let end = Instant::now() + Duration::from_secs(40);
    while !same(&from, &to).await {
        if Instant::now() > end {
            let (from, to) = (from.query(MYSQL_ROWS).await.unwrap(), to.query(POSTGRES_ROWS).await.unwrap());
            panic!("{}:\n{from:?}\nis not\n{to:?}\n{}\n{}", system.name(), source.log(), sink.log());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!from.query(MYSQL_ROWS).await.unwrap().is_empty());
    let refused = std::fs::read_to_string(sink.state.join("dead-letters.jsonl")).unwrap_or_default();
    assert_eq!(refused, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_of_mysql_is_the_same_in_postgresql() {
    replicate(System::MySql).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_of_mariadb_is_the_same_in_postgresql() {
    replicate(System::MariaDb).await;
}
