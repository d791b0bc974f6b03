//! A row to an event.

use chrono::{DateTime, NaiveDateTime, Utc};
use openconnect_change::{Cell, Decimals, Kind, attribute_text, key_text, row_json};
use openconnect_core::Failure;
use openconnect_core::cloudevents::{Event, EventBuilder, EventBuilderV10};

use crate::codes;
use crate::relation::Relation;

/// What events have in common.
#[derive(Debug, Clone)]
pub(crate) struct Events {
    /// The database, without user and password.
    pub(crate) source: String,
    pub(crate) ty: String,
    pub(crate) decimals: Decimals,
}

impl Events {
    /// The event of a row. Its id is made of the key and `version` (what makes this state of the row differ from others), so
    /// that the same row read again has the same id.
    pub(crate) fn event(&self, relation: &Relation, cells: &[Cell], version: Option<&str>) -> Result<Event, Failure> {
        let identity = if relation.key.is_empty() {
            &relation.rows.order
        } else {
            &relation.key
        };
        let key = key_text(identity, cells);
        let id = match version {
            Some(version) => attribute_text([&key, "@", version].concat()),
            None => key.clone(),
        };
        let ordered = [&relation.name, "/", &key].concat();
        let mut builder = EventBuilderV10::new()
            .id(id)
            .source([&self.source, "/", &relation.name].concat())
            .ty(self.ty.as_str())
            .subject(key)
            .extension("sqltable", relation.name.as_str())
            .extension("partitionkey", ordered);
        if let Some(time) = time(relation, cells) {
            builder = builder.time(time);
        }
        let event = builder
            .data("application/json", row_json(&relation.rows.columns, cells, self.decimals))
            .build();
        event.map_err(|e| Failure::fatal(codes::SQL_EVENT, format!("a row of `{}` can't be an event", relation.name)).because(e))
    }
}

/// The row's own time, where it is ordered by one that is an instant.
fn time(relation: &Relation, cells: &[Cell]) -> Option<DateTime<Utc>> {
    let at = *relation.rows.order.first()?;
    if relation.rows.columns.get(at)?.kind != Kind::TimestampTz {
        return None;
    }
    let text = cells.get(at)?.text()?;
    let text = text.strip_suffix("+00").unwrap_or(text);
    NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f")
        .ok()
        .map(|time| time.and_utc())
}
