//! A change to events: `{"op", "before", "after", "source"}`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chrono::DateTime;
use openconnect_core::Failure;
use openconnect_core::cloudevents::{Event, EventBuilder, EventBuilderV10};
use openconnect_sql::{Cell, Decimals, json_text, key_text, push_row, push_text, row_size};

use crate::columns::View;
use crate::config::{Format, MySqlCdcConfig};
use crate::debezium;

/// What events have in common.
#[derive(Debug, Clone)]
pub(crate) struct Events {
    /// The server, without user and password.
    source: String,
    ty: String,
    decimals: Decimals,
    format: Format,
    /// The instance's name: what Debezium calls the topic's prefix.
    name: String,
}

/// Where a change comes from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origin<'a> {
    /// `gtid/event/row`, `file:begin/event/row`, or that of a snapshot.
    pub(crate) id: String,
    pub(crate) database: &'a str,
    pub(crate) table: &'a str,
    pub(crate) gtid: Option<&'a str>,
    pub(crate) file: &'a str,
    /// Where its transaction begins.
    pub(crate) begin: u64,
    /// Where its event in the log begins.
    pub(crate) pos: u64,
    /// Which of the event's rows it is.
    pub(crate) row: u64,
    /// The connection that made it; 0 in a snapshot.
    pub(crate) thread: u32,
    pub(crate) server_id: u32,
    /// Seconds since 1970; none in a snapshot.
    pub(crate) seconds: Option<u32>,
    /// The transaction's id, the change's number in it, and its number among those of the table.
    pub(crate) transaction: Option<(&'a str, u64, u64)>,
}

/// Rows before and after the change, as they are told.
pub(crate) struct Change<'a> {
    pub(crate) op: &'static str,
    pub(crate) before: Option<&'a [Cell]>,
    pub(crate) after: Option<&'a [Cell]>,
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
    pub(crate) fn new(config: &MySqlCdcConfig, server: String, name: String) -> Self {
        Self {
            source: server,
            ty: config.event_type.clone(),
            decimals: config.decimals,
            format: config.format,
            name,
        }
    }

    /// The event of a change.
    pub(crate) fn change(&self, view: &View, change: &Change<'_>, origin: Origin<'_>) -> Result<Event, Failure> {
        let row = change.after.or(change.before).unwrap_or_default();
        let key = key_text(&view.key, row);
        let data = match self.format {
            Format::Native => self.native(view, change, &origin),
            Format::Debezium => {
                let row = |row: Option<&[Cell]>| row.map_or_else(|| "null".to_owned(), |row| debezium::row(&view.columns, row));
                debezium::envelope(&self.name, change.op, &row(change.before), &row(change.after), &origin)
            }
        };
        let mut ordered = String::with_capacity(origin.database.len() + origin.table.len() + key.len() + 2);
        for part in [origin.database, ".", origin.table, "/", &key] {
            ordered.push_str(part);
        }
        let transaction = origin.transaction;
        let mut builder = self.builder(origin, &self.ty).extension("partitionkey", ordered);
        if !key.is_empty() {
            builder = builder.subject(key);
        }
        if let Some((id, number, _)) = transaction {
            builder = builder
                .extension("txid", id)
                .extension("txseq", i64::try_from(number).unwrap_or(i64::MAX));
        }
        built(builder.extension("op", change.op).data("application/json", data))
    }

    /// All rows of a table were removed by `TRUNCATE`.
    pub(crate) fn truncate(&self, origin: Origin<'_>) -> Result<Event, Failure> {
        let change = Change {
            op: "t",
            before: None,
            after: None,
        };
        let data = match self.format {
            Format::Native => self.native(&View::default(), &change, &origin),
            Format::Debezium => debezium::envelope(&self.name, "t", "null", "null", &origin),
        };
        let table = format!("{}.{}", origin.database, origin.table);
        let builder = self.builder(origin, &self.ty).extension("partitionkey", table);
        built(builder.extension("op", "t").data("application/json", data))
    }

    /// A statement that makes, changes, renames or drops a table.
    pub(crate) fn schema_change(&self, statement: &str, origin: &Origin<'_>) -> Result<Event, Failure> {
        let (statement, database) = (json_text(statement), json_text(origin.database));
        let data = match self.format {
            Format::Native => {
                let mut out = format!("{{\"ddl\":{statement},\"database\":{database},\"source\":");
                push_source(&mut out, origin);
                out.push('}');
                out
            }
            Format::Debezium => debezium::schema_change(&self.name, &statement, origin),
        };
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

    fn native(&self, view: &View, change: &Change<'_>, origin: &Origin<'_>) -> String {
        let rows = [("\",\"before\":", change.before), (",\"after\":", change.after)];
        let size: usize = rows
            .iter()
            .filter_map(|(_, row)| *row)
            .map(|row| row_size(&view.columns, row))
            .sum();
        let mut out = String::with_capacity(size + 320);
        out.push_str("{\"op\":\"");
        out.push_str(change.op);
        for (lead, row) in rows {
            out.push_str(lead);
            match row {
                Some(row) => push_row(&mut out, &view.columns, row, self.decimals),
                None => out.push_str("null"),
            }
        }
        out.push_str(",\"source\":");
        push_source(&mut out, origin);
        if let Some(transaction) = origin.transaction {
            out.push_str(",\"transaction\":");
            out.push_str(&transaction_json(transaction));
        }
        out.push('}');
        out
    }
}

/// As Debezium has it.
pub(crate) fn transaction_json((id, total, of_table): (&str, u64, u64)) -> String {
    format!(
        "{{\"id\":{},\"total_order\":{total},\"data_collection_order\":{of_table}}}",
        json_text(id)
    )
}

fn push_source(out: &mut String, origin: &Origin<'_>) {
    out.push_str("{\"connector\":\"mysql\",\"db\":");
    push_text(out, origin.database);
    out.push_str(",\"table\":");
    push_text(out, origin.table);
    // A text takes everything.
    let _ = write!(out, ",\"server_id\":{},\"gtid\":", origin.server_id);
    match origin.gtid {
        Some(gtid) => push_text(out, gtid),
        None => out.push_str("null"),
    }
    out.push_str(",\"file\":");
    push_text(out, origin.file);
    let _ = write!(
        out,
        ",\"pos\":{},\"row\":{},\"ts_ms\":{},\"snapshot\":{}}}",
        origin.begin,
        origin.row,
        origin.seconds.map_or(0, |seconds| u64::from(seconds) * 1000),
        origin.seconds.is_none(),
    );
}

fn built(builder: EventBuilderV10) -> Result<Event, Failure> {
    builder
        .build()
        .map_err(|e| Failure::fatal("CDC_EVENT", format!("a change can't be an event: {e}")))
}
