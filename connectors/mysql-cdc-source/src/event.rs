//! Changes, statements and boundaries of transactions as CloudEvents.

use std::collections::BTreeMap;

use chrono::DateTime;
use openconnect_change::debezium::DebeziumWriter;
use openconnect_change::{Change, Decimals, Op, json_text, key_text, native, ordering_text};
use openconnect_core::Failure;
use openconnect_core::cloudevents::{Event, EventBuilder, EventBuilderV10};

use crate::codes;
use crate::config::{Format, MySqlCdcConfig};
use crate::origin::Origin;

/// What events have in common.
#[derive(Debug, Clone)]
pub(crate) struct Events {
    /// The server, without user and password.
    source: String,
    ty: String,
    writer: Writer,
}

/// Writes an event's data.
#[derive(Debug, Clone)]
enum Writer {
    Native(Decimals),
    Debezium(DebeziumWriter),
}

impl Writer {
    fn change(&self, change: &Change<'_>, origin: &Origin<'_>) -> String {
        match self {
            Self::Native(decimals) => native::change(change, origin, *decimals),
            Self::Debezium(writer) => writer.change(change, origin),
        }
    }

    fn schema_change(&self, statement: &str, origin: &Origin<'_>) -> String {
        match self {
            Self::Native(_) => native::schema_change(statement, origin.database, origin),
            Self::Debezium(writer) => writer.schema_change(statement, origin.database, origin),
        }
    }
}

/// Where a transaction begins, or ends.
pub(crate) struct Boundary {
    pub(crate) id: String,
    /// At the end: how many changes are told, by table.
    pub(crate) changes: Option<BTreeMap<String, u64>>,
    /// Seconds since 1970.
    pub(crate) seconds: u32,
}

impl Events {
    /// `name` is the instance's: Debezium's prefix of the topic.
    pub(crate) fn new(config: &MySqlCdcConfig, server: String, name: String) -> Self {
        Self {
            source: server,
            ty: config.event_type.clone(),
            writer: match config.format {
                Format::Native => Writer::Native(config.decimals),
                Format::Debezium => Writer::Debezium(DebeziumWriter::new(name, env!("CARGO_PKG_VERSION"))),
            },
        }
    }

    /// The event of a change; `key` are the places of its key's columns.
    pub(crate) fn change(&self, key: &[usize], change: &Change<'_>, origin: Origin<'_>) -> Result<Event, Failure> {
        let row = change.after.or(change.before).unwrap_or_default();
        let order = ordering_text(change.columns, key, row);
        let key = key_text(key, row);
        let data = self.writer.change(change, &origin);
        let mut ordered = String::with_capacity(origin.database.len() + origin.table.len() + order.len() + 2);
        for part in [origin.database, ".", origin.table, "/", &order] {
            ordered.push_str(part);
        }
        let mut builder = self.builder(origin, &self.ty).extension("partitionkey", ordered);
        if !key.is_empty() {
            builder = builder.subject(key);
        }
        if let Some(transaction) = &change.transaction {
            builder = builder
                .extension("txid", transaction.id)
                .extension("txseq", i64::try_from(transaction.total).unwrap_or(i64::MAX));
        }
        built(builder.extension("op", change.op.as_str()).data("application/json", data))
    }

    /// All rows of a table were removed by `TRUNCATE`.
    pub(crate) fn truncate(&self, origin: Origin<'_>) -> Result<Event, Failure> {
        let change = Change {
            op: Op::Truncate,
            columns: &[],
            before: None,
            after: None,
            transaction: None,
        };
        let data = self.writer.change(&change, &origin);
        let table = format!("{}.{}", origin.database, origin.table);
        let builder = self.builder(origin, &self.ty).extension("partitionkey", table);
        built(builder.extension("op", change.op.as_str()).data("application/json", data))
    }

    /// A statement that makes, changes, renames or drops a table.
    pub(crate) fn schema_change(&self, statement: &str, origin: &Origin<'_>) -> Result<Event, Failure> {
        let data = self.writer.schema_change(statement, origin);
        let origin = Origin {
            id: format!("{}/schema", origin.id),
            ..origin.clone()
        };
        let table = format!("{}.{}", origin.database, origin.table);
        let builder = self
            .builder(origin, &format!("{}.schema", self.ty))
            .extension("partitionkey", table);
        built(builder.data("application/json", data))
    }

    /// Where a transaction begins or ends.
    pub(crate) fn boundary(&self, boundary: &Boundary) -> Result<Event, Failure> {
        let status = if boundary.changes.is_some() { "END" } else { "BEGIN" };
        let mut builder = EventBuilderV10::new()
            .id(format!("{}/{status}", boundary.id))
            .source(self.source.as_str())
            .ty(format!("{}.transaction", self.ty))
            .subject(boundary.id.as_str())
            .extension("partitionkey", boundary.id.as_str())
            .extension("txid", boundary.id.as_str());
        if let Some(time) = DateTime::from_timestamp(boundary.seconds.into(), 0) {
            builder = builder.time(time);
        }
        let millis = u64::from(boundary.seconds) * 1000;
        let (mut count, mut tables) = ("null".to_owned(), "null".to_owned());
        if let Some(changes) = &boundary.changes {
            count = changes.values().sum::<u64>().to_string();
            let table = |(table, count): (&String, &u64)| format!("{{\"data_collection\":{},\"event_count\":{count}}}", json_text(table));
            tables = format!("[{}]", changes.iter().map(table).collect::<Vec<_>>().join(","));
        }
        let data = format!(
            "{{\"status\":\"{status}\",\"id\":{},\"event_count\":{count},\"data_collections\":{tables},\"ts_ms\":{millis}}}",
            json_text(&boundary.id)
        );
        built(builder.data("application/json", data))
    }

    fn builder(&self, origin: Origin<'_>, ty: &str) -> EventBuilderV10 {
        let (mut source, mut table) = (
            String::with_capacity(self.source.len() + origin.database.len() + origin.table.len() + 2),
            String::with_capacity(origin.database.len() + origin.table.len() + 1),
        );
        for part in [origin.database, ".", origin.table] {
            table.push_str(part);
        }
        for part in [&self.source, "/", &table] {
            source.push_str(part);
        }
        let builder = EventBuilderV10::new()
            .id(origin.id)
            .source(source)
            .ty(ty)
            .extension("sqltable", table);
        match origin.seconds.and_then(|seconds| DateTime::from_timestamp(seconds.into(), 0)) {
            Some(time) => builder.time(time),
            None => builder,
        }
    }
}

fn built(builder: EventBuilderV10) -> Result<Event, Failure> {
    builder
        .build()
        .map_err(|e| Failure::fatal(codes::CDC_EVENT, "a change can't be an event").because(e))
}
