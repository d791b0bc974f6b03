//! What each mode reads, how it pages, and where it goes on.

use openconnect_core::cloudevents::AttributesReader;
use openconnect_core::config::{ConnectorConfig, Problems};
use openconnect_jdbc_source::JdbcSourceConfig;
use openconnect_sql::Dialect;
use serde_json::json;

use crate::support::{Fixture, Offsets, all, data, drain, ids, keep, numbers};

async fn rows(fixture: &Fixture, table: &str, ids: std::ops::RangeInclusive<i64>) {
    let values: Vec<String> = ids.map(|id| format!("({id}, 'n{id}')")).collect();
    fixture
        .run(&format!("insert into {table} (id, note) values {}", values.join(", ")))
        .await;
}

fn time(fixture: &Fixture) -> &'static str {
    match fixture.dialect() {
        Dialect::Postgres => "timestamp(6)",
        Dialect::MySql => "datetime(6)",
        Dialect::Sqlite => "text",
    }
}

#[tokio::test]
async fn pages_that_are_read_at_the_same_time_are_told_in_order() {
    for fixture in all().await {
        fixture
            .run("create table orders (a bigint, b bigint, note varchar(40), primary key (a, b))")
            .await;
        let values: Vec<String> = (0..95).map(|id| format!("({}, {id}, 'n')", id / 7)).collect();
        fixture.run(&format!("insert into orders values {}", values.join(", "))).await;
        let settings = json!({
            "tables": ["orders"], "mode": "bulk", "page_rows": 10, "parallel_pages": 4, "interval": "1h",
        });
        let mut offsets = Offsets::new();
        let mut source = fixture.source(settings, &offsets).await;
        let told: Vec<i64> = drain(&mut source, &mut offsets, 95)
            .await
            .iter()
            .map(|event| data(event)["b"].as_i64().unwrap())
            .collect();
        assert_eq!(told, (0..95).collect::<Vec<_>>(), "{}", fixture.name);
    }
}

#[tokio::test]
async fn incrementing_reads_each_row_once_and_goes_on_after_a_restart() {
    for fixture in all().await {
        fixture.run("create table orders (id bigint primary key, note varchar(40))").await;
        rows(&fixture, "orders", 1..=25).await;
        let settings = json!({ "tables": ["orders"], "mode": "incrementing", "incrementing": "id", "page_rows": 10 });
        let mut offsets = Offsets::new();
        let mut source = fixture.source(settings.clone(), &offsets).await;
        let events = drain(&mut source, &mut offsets, 25).await;
        assert_eq!(numbers(&events), (1..=25).collect::<Vec<_>>(), "{}", fixture.name);
        assert_eq!(data(&events[0]), json!({ "id": 1, "note": "n1" }));
        assert_eq!(events[0].subject(), Some("1"));
        rows(&fixture, "orders", 26..=30).await;
        assert_eq!(
            numbers(&drain(&mut source, &mut offsets, 5).await),
            [26, 27, 28, 29, 30],
            "{}",
            fixture.name
        );
        source.close().await.unwrap();
        // Nothing comes twice once all is stored but the last page, and that with the same ids.
        let mut again = fixture.source(settings, &offsets).await;
        rows(&fixture, "orders", 31..=31).await;
        let mut told = Vec::new();
        while told.last() != Some(&31) {
            told.extend(numbers(&drain(&mut again, &mut offsets, 1).await));
        }
        assert!(told.iter().all(|id| *id > 25), "{}: {told:?}", fixture.name);
    }
}

#[tokio::test]
async fn equal_times_at_the_border_of_a_page_lose_nothing() {
    for fixture in all().await {
        let time = time(&fixture);
        fixture
            .run(&format!(
                "create table orders (id bigint primary key, note varchar(40), changed {time})"
            ))
            .await;
        let values: Vec<String> = (1..=50).map(|id| format!("({id}, 'x', '2024-01-31 12:00:0{}')", id / 20)).collect();
        fixture.run(&format!("insert into orders values {}", values.join(", "))).await;
        fixture.run("insert into orders values (99, 'never changed', null)").await;
        for mode in [
            json!({ "mode": "timestamp", "timestamp": "changed" }),
            json!({ "mode": "timestamp+incrementing", "timestamp": "changed", "incrementing": "id" }),
        ] {
            let mut settings = json!({ "tables": ["ord*"], "page_rows": 7 });
            settings.as_object_mut().unwrap().extend(mode.as_object().unwrap().clone());
            let mut offsets = Offsets::new();
            let mut source = fixture.source(settings.clone(), &offsets).await;
            let found = drain(&mut source, &mut offsets, 50).await;
            assert_eq!(numbers(&found), (1..=50).collect::<Vec<_>>(), "{}", fixture.name);
            // A change comes as an event of its own.
            fixture
                .run("update orders set changed = '2024-02-01 00:00:00', note = 'y' where id = 3")
                .await;
            let changed = drain(&mut source, &mut offsets, 1).await;
            assert_eq!(numbers(&changed), [3], "{}", fixture.name);
            assert_ne!(ids(&changed)[0], ids(&found)[2]);
            fixture
                .run("update orders set changed = '2024-01-31 12:00:00', note = 'x' where id = 3")
                .await;
        }
    }
}

#[tokio::test]
async fn bulk_reads_all_rows_again_and_resumes_in_the_middle() {
    for fixture in all().await {
        fixture
            .run("create table orders (id bigint, part varchar(5), note varchar(40), primary key (part, id))")
            .await;
        let values: Vec<String> = (1..=20).map(|id| format!("({id}, 'p{}', 'x')", id % 3)).collect();
        fixture.run(&format!("insert into orders values {}", values.join(", "))).await;
        let settings = json!({ "tables": ["orders"], "mode": "bulk", "page_rows": 6, "interval": "700ms" });
        let mut offsets = Offsets::new();
        let mut source = fixture.source(settings.clone(), &offsets).await;
        let first: Vec<_> = source
            .next()
            .await
            .unwrap()
            .into_iter()
            .map(|record| keep(record, &mut offsets))
            .collect();
        assert_eq!(first.len(), 6);
        source.close().await.unwrap();
        let mut source = fixture.source(settings, &offsets).await;
        let mut rest = Vec::new();
        while rest.len() < 14 {
            rest.extend(source.next().await.unwrap().into_iter().map(|record| keep(record, &mut offsets)));
        }
        let mut all: Vec<i64> = numbers(&first).into_iter().chain(numbers(&rest)).collect();
        all.sort_unstable();
        assert_eq!(all, (1..=20).collect::<Vec<_>>(), "{}", fixture.name);
        let again: Vec<_> = source
            .next()
            .await
            .unwrap()
            .into_iter()
            .map(|record| keep(record, &mut offsets))
            .collect();
        assert_eq!(numbers(&again), numbers(&first), "{}", fixture.name);
        assert!(
            ids(&again).iter().all(|id| !ids(&first).contains(id)),
            "another reading has other ids"
        );
    }
}

#[tokio::test]
async fn a_query_is_read_as_a_table_is() {
    for fixture in all().await {
        fixture.run("create table orders (id bigint primary key, note varchar(40))").await;
        rows(&fixture, "orders", 1..=9).await;
        let settings = json!({
            "query": "select id, upper(note) as big from orders where id % 2 = 1;", "mode": "incrementing", "incrementing": "id", "page_rows": 2,
        });
        let mut offsets = Offsets::new();
        let mut source = fixture.source(settings, &offsets).await;
        let events = drain(&mut source, &mut offsets, 5).await;
        assert_eq!(numbers(&events), [1, 3, 5, 7, 9], "{}", fixture.name);
        assert_eq!(data(&events[4]), json!({ "id": 9, "big": "N9" }), "{}", fixture.name);
    }
}

#[tokio::test]
async fn tables_are_found_by_pattern_and_one_without_a_key_is_named() {
    for fixture in all().await {
        for table in ["log_a", "log_b", "log_x", "other"] {
            fixture
                .run(&format!("create table {table} (id bigint primary key, note varchar(40))"))
                .await;
            rows(&fixture, table, 1..=3).await;
        }
        fixture.run("create table log_keyless (note varchar(40))").await;
        let settings = json!({ "tables": ["log_*"], "exclude": ["*_x"], "mode": "bulk", "interval": "1h" });
        let mut offsets = Offsets::new();
        let mut source = fixture.source(settings, &offsets).await;
        let events = drain(&mut source, &mut offsets, 6).await;
        assert_eq!(events.len(), 6, "{}", fixture.name);
        assert_eq!(offsets.len(), 2, "{}: a partition a table", fixture.name);
        for (tables, said) in [("log_keyless", "source.key"), ("nowhere", "no table")] {
            let mut source = fixture.source(json!({ "tables": [tables], "mode": "bulk" }), &Offsets::new()).await;
            let failure = source.next().await.unwrap_err();
            assert!(
                failure.is_retryable() && failure.reason().contains(said),
                "{}: {failure}",
                fixture.name
            );
        }
    }
}

#[test]
fn what_cannot_work_is_refused_before_it_starts() {
    for (settings, at) in [
        (json!({ "mode": "bulk" }), "tables"),
        (json!({ "tables": ["a"], "query": "select 1", "mode": "bulk" }), "query"),
        (json!({ "query": "select 1", "mode": "bulk" }), "key"),
        (json!({ "tables": ["a"], "mode": "incrementing" }), "incrementing"),
        (json!({ "tables": ["a"], "mode": "bulk", "timestamp": "t" }), "timestamp"),
        (json!({ "tables": ["a"], "mode": "bulk", "page_rows": 0 }), "page_rows"),
        (json!({ "tables": ["a"], "mode": "bulk", "url": "h2://u:secret@h/d" }), "url"),
    ] {
        let mut config = json!({ "url": "postgresql://h/d" });
        config.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let config: JdbcSourceConfig = serde_json::from_value(config).unwrap();
        let mut problems = Problems::default();
        config.validate(&mut problems);
        let said = format!("{problems:?}");
        assert!(said.contains(at) && !said.contains("secret"), "{settings}: {said}");
    }
}

#[tokio::test]
async fn rows_of_the_future_wait_for_their_time_and_keep_no_other_from_being_read() {
    for fixture in all().await.into_iter().filter(|fixture| fixture.dialect() != Dialect::Sqlite) {
        let (zoned, plain, far) = match fixture.dialect() {
            Dialect::Postgres => ("timestamptz", "timestamp", "'infinity'"),
            _ => ("timestamp(6) null", "datetime(6)", "'2037-12-31'"),
        };
        // With all digits: rows of the same time are ordered by their keys.
        let now = if fixture.dialect() == Dialect::Postgres {
            "now()"
        } else {
            "now(6)"
        };
        for (table, ty) in [("zoned", zoned), ("plain", plain)] {
            fixture.run(&format!("create table {table} (id int primary key, ts {ty})")).await;
            fixture
                .run(&format!(
                    "insert into {table} values (1, {now}), (2, {far}), (3, {now} + interval '{}' {})",
                    if fixture.dialect() == Dialect::Postgres { "2 days" } else { "2" },
                    if fixture.dialect() == Dialect::Postgres { "" } else { "day" }
                ))
                .await;
            let settings = json!({ "tables": [table], "mode": "timestamp", "timestamp": "ts", "lag": "2s" });
            let mut offsets = Offsets::new();
            let mut source = fixture.source(settings, &offsets).await;
            assert_eq!(numbers(&drain(&mut source, &mut offsets, 1).await), [1], "{} {table}", fixture.name);
            fixture.run(&format!("insert into {table} values (4, {now})")).await;
            assert_eq!(numbers(&drain(&mut source, &mut offsets, 1).await), [4], "{} {table}", fixture.name);
            fixture.run(&format!("update {table} set ts = {now} where id in (1, 2)")).await;
            let mut changed = numbers(&drain(&mut source, &mut offsets, 2).await);
            changed.sort_unstable();
            assert_eq!(changed, [1, 2], "{} {table}", fixture.name);
        }
    }
}

#[tokio::test]
async fn a_query_may_end_in_a_comment() {
    for fixture in all().await {
        fixture.run("create table t (id int primary key, a int)").await;
        fixture.run("insert into t values (1, 7)").await;
        for query in [
            "select id, a from t -- all of them",
            "select id, a from t; -- all",
            "select id, a from t /* ; */ ;",
        ] {
            let settings = json!({ "query": query, "mode": "bulk", "key": ["id"], "interval": "1h" });
            let mut offsets = Offsets::new();
            let mut source = fixture.source(settings, &offsets).await;
            assert_eq!(numbers(&drain(&mut source, &mut offsets, 1).await), [1], "{} {query}", fixture.name);
        }
    }
}

#[tokio::test]
async fn a_table_that_is_missing_does_not_keep_the_others_from_being_read() {
    for fixture in all().await {
        fixture.run("create table t (id int primary key)").await;
        fixture.run("insert into t values (1)").await;
        let settings = json!({ "tables": ["t", "gone"], "mode": "bulk", "interval": "1h" });
        let mut offsets = Offsets::new();
        let mut source = fixture.source(settings, &offsets).await;
        assert_eq!(numbers(&drain(&mut source, &mut offsets, 1).await), [1], "{}", fixture.name);
    }
}

/// What orders the rows is compared as the server orders it.
#[tokio::test]
async fn keys_of_mysql_are_read_in_its_own_order() {
    for fixture in all().await.into_iter().filter(|fixture| fixture.dialect() == Dialect::MySql) {
        for (number, (ty, values)) in [
            ("enum('z','m','a')", "'z' 'm' 'a'"),
            ("set('z','m','a')", "'z' 'm' 'z,m' 'a' 'z,m,a'"),
            ("bit(12)", "0 9 10 99 100 4095"),
            (
                "decimal(45,0)",
                "1 100000000000000000000000000000000000 100000000000000000000000000000000001",
            ),
        ]
        .into_iter()
        .enumerate()
        {
            let table = format!("k{number}");
            fixture
                .run(&format!("create table {table} (k {ty}, id int, primary key (k, id))"))
                .await;
            let mut expected = Vec::new();
            for (at, value) in (0..).zip(values.split(' ')) {
                fixture
                    .run(&format!(
                        "insert into {table} values ({value}, {}), ({value}, {})",
                        2 * at,
                        2 * at + 1
                    ))
                    .await;
                expected.extend([2 * at, 2 * at + 1]);
            }
            let settings = json!({ "tables": [table], "mode": "bulk", "page_rows": 1, "interval": "1h" });
            let mut offsets = Offsets::new();
            let mut source = fixture.source(settings, &offsets).await;
            let mut read = numbers(&drain(&mut source, &mut offsets, expected.len()).await);
            read.sort_unstable();
            assert_eq!(read, expected, "{} {ty}", fixture.name);
        }
    }
}
