//! One database of each kind, sinks on it, and what is in its tables.

use std::sync::Arc;
use std::time::Duration;

use openconnect_change::{Cell, Decimals, push_json};
use openconnect_core::cloudevents::{Event, EventBuilder, EventBuilderV10};
use openconnect_core::sink::{Batch, Sink, SinkContext, WriteReport};
use openconnect_jdbc_sink::{JdbcSink, JdbcSinkConfig};
use openconnect_sql::{Dialect, Login, Pool, PoolSettings, Statement, Table, TableName, Target};
use openconnect_sql_fixtures::EmptyDatabase;
use serde_json::{Value, json};

pub(crate) struct Fixture {
    pub(crate) name: &'static str,
    pub(crate) url: String,
    pub(crate) pool: Pool,
    _database: EmptyDatabase,
}

/// All that can be had.
pub(crate) async fn all() -> Vec<Fixture> {
    let databases = EmptyDatabase::of_each_kind().await.unwrap();
    databases.into_iter().map(Fixture::new).collect()
}

impl Fixture {
    fn new(database: EmptyDatabase) -> Self {
        let settings = PoolSettings {
            connections: 2,
            acquire: Duration::from_secs(10),
            create: true,
            busy: Duration::from_secs(5),
            init: Vec::new(),
        };
        // As a Java connector's configuration has it.
        let url = database.url.replace("sqlite://", "jdbc:sqlite:");
        Self {
            name: database.name,
            pool: Pool::new(&Target::parse(&url, Login::default()).unwrap(), &settings),
            url,
            _database: database,
        }
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.pool.dialect()
    }

    pub(crate) async fn run(&self, sql: &str) {
        let done = self.pool.acquire().await.unwrap().run(sql).await;
        done.unwrap_or_else(|failure| panic!("{}: {sql}: {failure}", self.name));
    }

    pub(crate) fn config(&self, settings: Value) -> JdbcSinkConfig {
        let mut config = json!({ "url": self.url, "table": "orders" });
        config.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        if self.dialect() == Dialect::Sqlite {
            config["create"] = json!(true);
        }
        serde_json::from_value(config).unwrap()
    }

    pub(crate) async fn sink(&self, settings: Value) -> JdbcSink {
        let config = self.config(settings);
        let context = SinkContext::alone("t", &JdbcSink::profile(&config));
        JdbcSink::open(config, context).await.unwrap()
    }

    /// The rows as texts, in order.
    pub(crate) async fn texts(&self, sql: &str) -> Vec<String> {
        let mut connection = self.pool.acquire().await.unwrap();
        let found = connection.query(&Statement::new(sql, Vec::new()), usize::MAX).await;
        let (rows, _) = found.unwrap_or_else(|failure| panic!("{}: {sql}: {failure}", self.name));
        let text = |cell: &Cell| match cell {
            Cell::Null => "null".to_owned(),
            Cell::Text(text) => text.clone(),
            Cell::Integer(number) => number.to_string(),
            other => format!("{other:?}"),
        };
        rows.iter().map(|row| row.iter().map(text).collect::<Vec<_>>().join(" ")).collect()
    }

    /// A column's values as JSON, as the source connectors read them.
    pub(crate) async fn json(&self, table: &str, column: &str) -> Vec<String> {
        let mut connection = self.pool.acquire().await.unwrap();
        let name = TableName::parse(self.dialect(), table);
        let table = Table::load(&mut connection, &name).await.unwrap().unwrap();
        let column = table.column(column).unwrap();
        let sql = format!("select {} from {}", self.dialect().selected(column), name.quoted(self.dialect()));
        let (rows, _) = connection.query(&Statement::new(sql, Vec::new()), usize::MAX).await.unwrap();
        let json = |row: &Vec<Cell>| {
            let mut out = String::new();
            push_json(&mut out, column.kind, Decimals::Text, &row[0]);
            out
        };
        rows.iter().map(json).collect()
    }
}

pub(crate) fn event(id: &str, data: Option<&str>) -> Event {
    let builder = EventBuilderV10::new().id(id).source("/s").ty("order").subject(id);
    match data {
        Some(data) => builder.data("application/json", data.to_owned()).build().unwrap(),
        None => builder.build().unwrap(),
    }
}

pub(crate) fn batch(events: Vec<Event>) -> Batch {
    Batch::new(events.into_iter().map(Arc::new).collect())
}

pub(crate) async fn delivered(sink: &JdbcSink, events: Vec<Event>) {
    let report = sink.write(&batch(events)).await;
    assert_eq!(report, WriteReport::Delivered);
}
