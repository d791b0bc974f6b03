//! Sources and databases of the tests.

use std::collections::BTreeMap;
use std::time::Duration;

use openconnect_core::cloudevents::Event;
use openconnect_core::record::Partition;
use openconnect_core::source::{SourceContext, SourceRunner};
use openconnect_mysql_cdc_source::{MySqlCdcConfig, MySqlCdcSource, Position};
use openconnect_protocol::payload;
use openconnect_sql_fixtures::{Database, System, database};
use serde_json::{Value, json};

pub(crate) type Offsets = BTreeMap<Partition, Position>;

/// One of each kind.
pub(crate) async fn databases() -> Vec<Database> {
    let mut all = Vec::new();
    for system in [System::MySql, System::MariaDb] {
        all.extend(database(system).await.unwrap());
    }
    all
}

pub(crate) async fn source(database: &Database, settings: Value, offsets: &Offsets) -> SourceRunner<MySqlCdcSource> {
    // The rights that the documentation asks for, and no more.
    let mut config = json!({ "url": database.url, "user": "cdc", "password": "cdc", "tables": ["*"] });
    config.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    let config: MySqlCdcConfig = serde_json::from_value(config).unwrap();
    // As they are stored.
    let stored = |(partition, position): (&Partition, &Position)| {
        let json = serde_json::to_string(position).unwrap();
        (partition.clone(), serde_json::from_str(&json).unwrap())
    };
    let context = SourceContext::alone("t", offsets.iter().map(stored).collect());
    SourceRunner::start(config, context).await.unwrap()
}

/// Lets it take the place in the log from where it tells changes.
pub(crate) async fn begin(source: &mut SourceRunner<MySqlCdcSource>) {
    if let Ok(polled) = tokio::time::timeout(Duration::from_millis(500), source.next()).await {
        polled.unwrap();
    }
}

/// So many events, and the offset behind the last of them; what comes beyond is forgotten, as in a crash.
pub(crate) async fn take(source: &mut SourceRunner<MySqlCdcSource>, offsets: &mut Offsets, count: usize) -> Vec<Event> {
    let mut events = Vec::new();
    while events.len() < count {
        let polled = tokio::time::timeout(Duration::from_secs(20), source.next()).await;
        for record in polled
            .unwrap_or_else(|_| panic!("only {} of {count} events came", events.len()))
            .unwrap()
        {
            // What has no event belongs to the one before it.
            if events.len() == count && record.as_event().is_some() {
                break;
            }
            offsets.insert(record.partition().clone(), record.position().unwrap().clone());
            events.extend(record.into_event());
        }
    }
    events
}

pub(crate) fn data(event: &Event) -> Value {
    serde_json::from_str(&payload::json(event).unwrap()).unwrap()
}

pub(crate) fn said(events: &[Event]) -> Vec<String> {
    let row = |row: &Value| match row {
        Value::Null => "-".to_owned(),
        row => format!("{}:{}", row["id"], row["note"].as_str().unwrap_or("null")),
    };
    let event = |event: &Event| {
        let data = data(event);
        format!("{} {} {}", data["op"].as_str().unwrap(), row(&data["before"]), row(&data["after"]))
    };
    events.iter().map(event).collect()
}

pub(crate) const TABLE: &str = "create table orders (id bigint primary key, note varchar(100))";

/// The failure that it comes to.
pub(crate) async fn failure(source: &mut SourceRunner<MySqlCdcSource>) -> openconnect_core::Failure {
    loop {
        let polled = tokio::time::timeout(Duration::from_secs(20), source.next()).await;
        if let Err(failure) = polled.expect("no failure came") {
            return failure;
        }
    }
}
