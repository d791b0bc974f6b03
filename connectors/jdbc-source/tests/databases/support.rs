//! One database of each kind, sources on it, and what they give.

use std::collections::BTreeMap;
use std::time::Duration;

use openconnect_core::cloudevents::{AttributesReader, Event};
use openconnect_core::record::{Partition, Record};
use openconnect_core::source::{SourceContext, SourceRunner};
use openconnect_jdbc_source::{JdbcSource, JdbcSourceConfig, Position};
use openconnect_sql::{Dialect, Login, Pool, PoolSettings, Target};
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
            connections: 3,
            acquire: Duration::from_secs(10),
            create: true,
            busy: Duration::from_secs(5),
            init: Vec::new(),
        };
        let url = database.url.clone();
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

    pub(crate) async fn source(&self, settings: Value, offsets: &Offsets) -> SourceRunner<JdbcSource> {
        let mut config = json!({ "url": self.url, "interval": "20ms", "lag": "10s" });
        config.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let config: JdbcSourceConfig = serde_json::from_value(config).unwrap();
        // As they are stored.
        let stored = |(partition, position): (&Partition, &Position)| {
            let json = serde_json::to_string(position).unwrap();
            (partition.clone(), serde_json::from_str(&json).unwrap())
        };
        let context = SourceContext::alone("t", offsets.iter().map(stored).collect());
        SourceRunner::start(config, context).await.unwrap()
    }
}

pub(crate) type Offsets = BTreeMap<Partition, Position>;

/// Takes until `expected` events have come, and what follows within a fifth of a second, which should be nothing; offsets are those of
/// the last event of each partition.
pub(crate) async fn drain(source: &mut SourceRunner<JdbcSource>, offsets: &mut Offsets, expected: usize) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        let wait = Duration::from_millis(if events.len() < expected { 30_000 } else { 200 });
        let Ok(records) = tokio::time::timeout(wait, source.next()).await else {
            return events;
        };
        events.extend(records.unwrap().into_iter().map(|record| keep(record, offsets)));
    }
}

pub(crate) fn keep(record: Record<Position>, offsets: &mut Offsets) -> Event {
    offsets.insert(record.partition().clone(), record.position().unwrap().clone());
    record.into_event().unwrap()
}

pub(crate) fn data(event: &Event) -> Value {
    serde_json::from_str(&openconnect_protocol::payload::json(event).unwrap()).unwrap()
}

/// The values of `id`.
pub(crate) fn numbers(events: &[Event]) -> Vec<i64> {
    events.iter().map(|event| data(event)["id"].as_i64().unwrap()).collect()
}

pub(crate) fn ids(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| event.id().to_owned()).collect()
}
