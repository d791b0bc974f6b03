//! What only SQLite does: one writer, and values of any type in any column.

use std::sync::Arc;

use openconnect_core::FailureKind;
use openconnect_core::cloudevents::{Event, EventBuilder, EventBuilderV10};
use openconnect_core::sink::{Batch, Sink, SinkContext, WriteReport};
use openconnect_jdbc_sink::{JdbcSink, JdbcSinkConfig};
use sqlx::{Connection, Row, SqliteConnection};

struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn url(&self) -> String {
        format!("jdbc:sqlite:{}", self.dir.path().join("t.db").display())
    }

    async fn sink(&self, extra: serde_json::Value) -> JdbcSink {
        let mut config = serde_json::json!({
            "url": self.url(), "table": "orders", "create": true,
            "init_statements": ["create table if not exists orders (id text primary key, total, note text not null default '')"],
        });
        config.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let config: JdbcSinkConfig = serde_json::from_value(config).unwrap();
        let context = SinkContext::alone("t", &JdbcSink::profile(&config));
        JdbcSink::open(config, context).await.unwrap()
    }

    async fn rows(&self, sql: &'static str) -> Vec<String> {
        let mut db = SqliteConnection::connect(&format!("sqlite://{}", self.dir.path().join("t.db").display()))
            .await
            .unwrap();
        sqlx::query(sql)
            .fetch_all(&mut db)
            .await
            .unwrap()
            .iter()
            .map(|row| row.get::<String, _>(0))
            .collect()
    }
}

fn event(id: &str, data: Option<&str>) -> Event {
    let builder = EventBuilderV10::new().id(id).source("/s").ty("order").subject(id);
    match data {
        Some(data) => builder.data("application/json", data.to_owned()).build().unwrap(),
        None => builder.build().unwrap(),
    }
}

fn batch(events: Vec<Event>) -> Batch {
    Batch::new(events.into_iter().map(Arc::new).collect())
}

#[tokio::test]
async fn upsert_and_delete_keep_the_order_of_a_key() {
    let fixture = Fixture::new();
    let columns = serde_json::json!({ "key": ["id"], "columns": { "id": "subject", "total": "data.total" }, "delete_on_null": true });
    let sink = fixture.sink(columns).await;
    let events = vec![
        event("a", Some("{\"total\":1}")),
        event("b", Some("{\"total\":12345678901234567}")),
        event("a", None),
        event("a", Some("{\"total\":3.25}")),
        event("c", Some("{\"total\":0.10000000000000000001}")),
        event("b", None),
    ];
    assert_eq!(sink.write(&batch(events)).await, WriteReport::Delivered);
    let all = "select id || '=' || total || ':' || typeof(total) from orders order by id";
    assert_eq!(fixture.rows(all).await, ["a=3.25:real", "c=0.10000000000000000001:text"]);
}

#[tokio::test]
async fn a_repeat_with_a_key_changes_nothing_and_a_poison_row_fails_the_whole_batch() {
    let fixture = Fixture::new();
    let sink = fixture.sink(serde_json::json!({ "key": ["id"] })).await;
    let good = || event("1", Some("{\"id\":\"1\",\"total\":1,\"unknown\":true}"));
    assert_eq!(sink.write(&batch(vec![good()])).await, WriteReport::Delivered);
    assert_eq!(sink.write(&batch(vec![good()])).await, WriteReport::Delivered);
    let poison = event("2", Some("{\"id\":\"2\",\"note\":null}"));
    let WriteReport::Failed(failure) = sink.write(&batch(vec![event("3", Some("{\"id\":\"3\"}")), poison])).await else {
        panic!()
    };
    assert_eq!(failure.kind, FailureKind::Permanent);
    assert_eq!(
        fixture.rows("select id from orders").await,
        ["1"],
        "nothing of a failed batch is there"
    );
}

#[tokio::test]
async fn an_event_that_cannot_be_mapped_fails_alone() {
    let fixture = Fixture::new();
    let sink = fixture.sink(serde_json::json!({ "key": ["id"] })).await;
    let events = vec![
        event("1", Some("{\"id\":\"1\"}")),
        event("2", Some("[1]")),
        event("3", Some("{\"id\":\"3\"}")),
    ];
    let WriteReport::PerEvent(results) = sink.write(&batch(events)).await else {
        panic!()
    };
    assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(fixture.rows("select id from orders order by id").await, ["1", "3"]);
}

#[tokio::test]
async fn a_missing_table_or_a_locked_database_is_waited_for() {
    let fixture = Fixture::new();
    let sink = fixture
        .sink(serde_json::json!({ "table": "no\" such; drop table orders", "busy_timeout": "50ms" }))
        .await;
    let WriteReport::Failed(failure) = sink.write(&batch(vec![event("1", Some("{\"id\":\"1\"}"))])).await else {
        panic!()
    };
    assert!(failure.is_retryable(), "{failure}");
    let sink = fixture.sink(serde_json::json!({ "key": ["id"], "busy_timeout": "50ms" })).await;
    assert_eq!(
        sink.write(&batch(vec![event("1", Some("{\"id\":\"1\"}"))])).await,
        WriteReport::Delivered
    );
    let mut other = SqliteConnection::connect(&format!("sqlite://{}", fixture.dir.path().join("t.db").display()))
        .await
        .unwrap();
    sqlx::query("begin immediate").execute(&mut other).await.unwrap();
    let WriteReport::Failed(failure) = sink.write(&batch(vec![event("2", Some("{\"id\":\"2\"}"))])).await else {
        panic!()
    };
    assert_eq!(failure.code, "SQL_BUSY");
    sqlx::query("rollback").execute(&mut other).await.unwrap();
    assert_eq!(
        sink.write(&batch(vec![event("2", Some("{\"id\":\"2\"}"))])).await,
        WriteReport::Delivered
    );
}
