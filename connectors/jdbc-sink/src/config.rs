//! The `sink:` section of the SQL sink.

use std::collections::BTreeMap;
use std::time::Duration;

use openconnect_core::config::{ConnectorConfig, Problems};
use openconnect_core::duration::HumanDuration;
use openconnect_core::template::Template;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::url::Target;

/// Where rows go and what is in them.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JdbcSinkConfig {
    /// `sqlite:///path/file.db` or `jdbc:sqlite:/path/file.db`.
    pub url: String,
    /// Table name, optionally as a template over the event, e.g. `events_{{ type }}`. Quoted, so it can't be anything else.
    pub table: String,
    /// What to do with an event's row. Default `upsert` when `key` is set, `insert` otherwise.
    pub mode: Option<Mode>,
    /// Columns that identify a row. They need a unique index or primary key in the table.
    #[serde(default)]
    pub key: Vec<String>,
    /// Column to expression: `id`, `source`, `type`, `subject`, `time`, an extension's name, `data` (whole, as text) or
    /// `data.field.field`. Default: every top-level field of the data that is a column of the table.
    #[serde(default)]
    pub columns: BTreeMap<String, String>,
    /// Fields of the data that are no column (without `columns`). Default `ignore`.
    #[serde(default)]
    pub unknown_fields: UnknownFields,
    /// Delete the row of an event without data (a tombstone). Needs `key`. Default false: such events are dead letters
    /// unless every column is an attribute.
    #[serde(default)]
    pub delete_on_null: bool,
    /// Delete the row of events of these types. Needs `key`.
    #[serde(default)]
    pub delete_types: Vec<String>,
    /// Make the database file when it is missing. Default false.
    #[serde(default)]
    pub create: bool,
    /// Statements run once after connecting, for instance `create table if not exists …`.
    #[serde(default)]
    pub init_statements: Vec<String>,
    /// How long a statement waits for another writer. Default 5s.
    #[serde(default = "five")]
    pub busy_timeout: HumanDuration,
    /// How long one batch may take. Default 30s.
    #[serde(default = "thirty")]
    pub timeout: HumanDuration,
}

fn five() -> HumanDuration {
    HumanDuration(Duration::from_secs(5))
}

fn thirty() -> HumanDuration {
    HumanDuration(Duration::from_secs(30))
}

/// What to do with an event's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Insert; with `key`, a row that is there already is left as it is.
    Insert,
    /// Insert, or update the row with the same key.
    Upsert,
}

/// What to do with fields that are no column.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UnknownFields {
    /// Leave them out.
    #[default]
    Ignore,
    /// The event is a dead letter.
    Fail,
}

impl JdbcSinkConfig {
    /// The mode, by configuration or by the key.
    pub(crate) fn mode(&self) -> Mode {
        self.mode.unwrap_or(if self.key.is_empty() { Mode::Insert } else { Mode::Upsert })
    }
}

impl ConnectorConfig for JdbcSinkConfig {
    fn validate(&self, problems: &mut Problems) {
        if let Err(reason) = Target::parse(&self.url) {
            problems.add("url", reason);
        }
        if let Err(error) = Template::compile(&self.table) {
            problems.add("table", error.message);
        }
        if self.table.trim().is_empty() {
            problems.add("table", "must not be empty");
        }
        if self.key.is_empty() {
            if self.mode == Some(Mode::Upsert) {
                problems.add("key", "is needed for mode: upsert");
            }
            if self.delete_on_null || !self.delete_types.is_empty() {
                problems.add("key", "is needed to delete rows");
            }
        }
        if !self.columns.is_empty() {
            for (at, key) in self.key.iter().enumerate().filter(|(_, key)| !self.columns.contains_key(*key)) {
                problems.add(format!("key.{at}"), format!("`{key}` is not one of the columns"));
            }
        }
        for (column, expression) in &self.columns {
            if expression.is_empty() || expression.split('.').any(str::is_empty) {
                problems.add(
                    format!("columns.{column}"),
                    "is no expression; write for instance id, subject or data.order.id",
                );
            }
        }
    }
}
