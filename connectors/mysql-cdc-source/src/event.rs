//! A change to events: `{"op", "before", "after", "source"}`, as Debezium has it.

use chrono::DateTime;
use openconnect_core::Failure;
use openconnect_core::cloudevents::{Event, EventBuilder, EventBuilderV10};
use openconnect_sql::{Cell, Column, Decimals, json_text, key_text, row_json};

/// What events have in common.
#[derive(Debug, Clone)]
pub(crate) struct Events {
    /// The server, without user and password.
    pub(crate) source: String,
    pub(crate) ty: String,
    pub(crate) decimals: Decimals,
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
    pub(crate) begin: u64,
    pub(crate) row: u64,
    pub(crate) server_id: u32,
    /// Seconds since 1970; none in a snapshot.
    pub(crate) seconds: Option<u32>,
}

/// Rows before and after the change.
pub(crate) struct Change<'a> {
    pub(crate) op: &'static str,
    pub(crate) before: Option<&'a [Cell]>,
    pub(crate) after: Option<&'a [Cell]>,
}

impl Events {
    /// The event of a change. `key` are the places of the columns that identify a row.
    pub(crate) fn event(&self, columns: &[Column], key: &[usize], change: &Change<'_>, origin: &Origin<'_>) -> Result<Event, Failure> {
        let row = change.after.or(change.before).unwrap_or_default();
        let key = key_text(key, row);
        let table = format!("{}.{}", origin.database, origin.table);
        let mut builder = EventBuilderV10::new()
            .id(origin.id.as_str())
            .source(format!("{}/{table}", self.source))
            .ty(self.ty.as_str())
            .extension("op", change.op)
            .extension("sqltable", table.as_str())
            .extension("partitionkey", format!("{table}/{key}"));
        if !key.is_empty() {
            builder = builder.subject(key);
        }
        if let Some(time) = origin.seconds.and_then(|seconds| DateTime::from_timestamp(seconds.into(), 0)) {
            builder = builder.time(time);
        }
        let event = builder.data("application/json", self.json(columns, change, origin)).build();
        event.map_err(|e| Failure::fatal("CDC_EVENT", format!("a row of `{table}` can't be an event: {e}")))
    }

    fn json(&self, columns: &[Column], change: &Change<'_>, origin: &Origin<'_>) -> String {
        let row = |row: Option<&[Cell]>| row.map_or_else(|| "null".to_owned(), |row| row_json(columns, row, self.decimals));
        let gtid = origin.gtid.map_or_else(|| "null".to_owned(), json_text);
        format!(
            "{{\"op\":\"{}\",\"before\":{},\"after\":{},\"source\":{{\"connector\":\"mysql\",\"db\":{},\"table\":{},\"server_id\":{},\
             \"gtid\":{gtid},\"file\":{},\"pos\":{},\"row\":{},\"ts_ms\":{},\"snapshot\":{}}}}}",
            change.op,
            row(change.before),
            row(change.after),
            json_text(origin.database),
            json_text(origin.table),
            origin.server_id,
            json_text(origin.file),
            origin.begin,
            origin.row,
            origin.seconds.map_or(0, |seconds| u64::from(seconds) * 1000),
            origin.seconds.is_none(),
        )
    }
}
