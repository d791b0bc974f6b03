//! The `sink:` section of the SQL sink.

use std::collections::BTreeMap;
use std::time::Duration;

use openconnect_core::config::Import;
use openconnect_core::config::{ConnectorConfig, NO_EFFECT, Problems};
use openconnect_core::duration::HumanDuration;
use openconnect_core::template::Template;
use openconnect_sql::{Dialect, Login, Target};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::import;
use crate::raw::RawStatement;

// What a change does to events, where several settings say the same.
const ANOTHER_PLACE: &str = "rows are written to the new place from the restart on; those in the old one stay";
const OTHER_ROWS: &str = "rows look different from the restart on; those that were written stay as they are";
const OTHER_REPEATS: &str = "how a repeat is recognised: an event that is delivered again across the change may be written twice";
const OTHER_DELETES: &str = "which events delete rows from the restart on; a row that was deleted stays deleted";

/// Where rows go and what is in them.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JdbcSinkConfig {
    /// `postgresql://host/database`, `mysql://host/database`, `mariadb://host/database` or `sqlite:///path/file.db`; each also
    /// after `jdbc:`.
    #[schemars(example = &"postgresql://127.0.0.1/shop", extend("x-effect" = ANOTHER_PLACE))]
    pub url: String,
    /// Who logs in.
    #[serde(flatten)]
    pub login: Login,
    /// Table name, optionally with its schema (`schema.table`), or a template over the event, e.g. `events_{{ type }}`, which
    /// needs `tables`. Quoted, so it can't be anything else. None with `sql`.
    #[serde(default)]
    #[schemars(example = &"orders", extend("x-in-example" = true, "x-effect" = ANOTHER_PLACE))]
    pub table: String,
    /// Tables that a template may name; `*` stands for any characters. An event for another one is a dead letter.
    #[serde(default)]
    #[schemars(extend("x-effect" = "an event for a table that is not among them is a dead letter"))]
    pub tables: Vec<String>,
    /// A statement to run for each event, in place of rows: `:name` stands for one of `arguments`. Values are parameters, never part
    /// of the text; on PostgreSQL all of them are texts, which the statement casts: `cast(:id as bigint)`.
    #[schemars(
        example = &"insert into orders (id) values (:id)",
        extend(
            "x-instead-of" = "`table`",
            "x-effect" = "the new statement runs for each event from the restart on; what the old one has written stays"
        )
    )]
    pub sql: Option<String>,
    /// Name to expression, as in `columns`, for `sql`.
    #[serde(default)]
    #[schemars(extend("x-effect" = OTHER_ROWS))]
    pub arguments: BTreeMap<String, String>,
    /// What the data is.
    #[serde(default)]
    #[schemars(extend("x-effect" = OTHER_ROWS))]
    pub format: Format,
    /// What to do with an event's row. Absent: `upsert` when `key` is set or with `format: change`, `insert` otherwise.
    #[schemars(example = &"upsert", extend("x-effect" = OTHER_REPEATS))]
    pub mode: Option<Mode>,
    /// Columns that identify a row. They need a unique index or primary key in the table. Absent, with `mode: upsert` or
    /// `update`: the table's primary key.
    #[serde(default)]
    #[schemars(extend("x-effect" = OTHER_REPEATS))]
    pub key: Vec<String>,
    /// Column to expression: `id`, `source`, `type`, `subject`, `time`, an extension's name, `data` (whole, as text) or
    /// `data.field.field`. Absent: every top-level field of the data that is a column of the table.
    #[serde(default)]
    #[schemars(extend("x-effect" = OTHER_ROWS))]
    pub columns: BTreeMap<String, String>,
    /// Fields of the data that are no column (without `columns`).
    #[serde(default)]
    #[schemars(extend("x-effect" = "with `fail`, events with such a field become dead letters"))]
    pub unknown_fields: UnknownFields,
    /// Delete the row of an event without data (a tombstone). Needs a key. Otherwise such events are dead letters
    /// unless every column is an attribute.
    #[serde(default)]
    #[schemars(extend("x-effect" = OTHER_DELETES))]
    pub delete_on_null: bool,
    /// Delete the row of events of these types. Needs a key.
    #[serde(default)]
    #[schemars(extend("x-effect" = OTHER_DELETES))]
    pub delete_types: Vec<String>,
    /// With `format: change`: removes all rows where the source's table was truncated. No event may overtake such a one, so that
    /// the default of `delivery.ordering` is `total` then. Otherwise such events are dead letters.
    #[serde(default)]
    #[schemars(extend(
        "x-effect" = "with it, all rows go where the source's table was truncated; without it, such events become dead letters"
    ))]
    pub truncate: bool,
    /// Writes the ids of events into a table of the same database, in the same transaction as their rows, so that a repeat
    /// changes nothing: effectively-once also without a key.
    #[schemars(extend("x-effect" = OTHER_REPEATS))]
    pub deduplicate: Option<Deduplicate>,
    /// Make a table that is missing, from the first event's fields.
    #[serde(default)]
    #[schemars(extend("x-effect" = "with it, a table that is missing is made from the first event; without it, none is"))]
    pub create_tables: bool,
    /// Add columns that are missing; never changes or drops one.
    #[serde(default)]
    #[schemars(extend("x-effect" = "with it, columns that are missing are added; none is ever changed or dropped"))]
    pub add_columns: bool,
    /// SQLite: make the database file when it is missing.
    #[serde(default)]
    #[schemars(extend("x-effect" = NO_EFFECT))]
    pub create: bool,
    /// Statements run on each new connection, for instance `create table if not exists …`.
    #[serde(default)]
    #[schemars(extend("x-effect" = "run on each connection from the restart on; what they have made stays"))]
    pub init_statements: Vec<String>,
    /// SQLite: how long a statement waits for another writer.
    #[serde(default = "default_busy_timeout")]
    #[schemars(extend("x-effect" = NO_EFFECT))]
    pub busy_timeout: HumanDuration,
    /// How long one batch may take.
    #[serde(default = "default_timeout")]
    #[schemars(extend("x-effect" = NO_EFFECT))]
    pub timeout: HumanDuration,
}

fn default_busy_timeout() -> HumanDuration {
    HumanDuration::seconds(5)
}

fn default_timeout() -> HumanDuration {
    HumanDuration::seconds(30)
}

/// What the data is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A row.
    #[default]
    Row,
    /// A change of a row: an object with `before`, `after` and `op` (`c`, `r`, `u`, `d`), as Debezium and this project's CDC
    /// sources write it, also inside of `payload`.
    Change,
}

/// What to do with an event's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Insert; with `key`, a row that is there already is left as it is.
    Insert,
    /// Insert, or update the row with the same key.
    Upsert,
    /// Update the row with the same key; where there is none, nothing happens.
    Update,
}

/// What to do with fields that are no column.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UnknownFields {
    /// Leave them out.
    #[default]
    Ignore,
    /// The event is a dead letter.
    Fail,
}

/// Where the ids of delivered events are kept.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Deduplicate {
    /// The table; made when it is missing.
    #[serde(default = "default_deduplicate_table")]
    pub table: String,
    /// How long an id is kept: longer than the mesh may take to deliver an event again.
    #[serde(default = "default_keep")]
    #[schemars(extend("x-effect" = "shorter: an event that is delivered again after that time is written twice"))]
    pub keep: HumanDuration,
}

fn default_deduplicate_table() -> String {
    "openconnect_delivered".into()
}

fn default_keep() -> HumanDuration {
    HumanDuration(Duration::from_secs(7 * 24 * 3600))
}

impl JdbcSinkConfig {
    /// The mode, by configuration or by the key.
    pub(crate) fn mode(&self) -> Mode {
        let keyed = !self.key.is_empty() || self.format == Format::Change;
        self.mode.unwrap_or(if keyed { Mode::Upsert } else { Mode::Insert })
    }

    /// Is a row found by its key? Where none is configured, by the table's primary key.
    pub(crate) fn is_keyed(&self) -> bool {
        !self.key.is_empty() || self.mode() != Mode::Insert || self.format == Format::Change
    }

    pub(crate) fn target(&self) -> Result<Target, String> {
        Target::parse(&self.url, self.login.clone())
    }

    /// The statement of `sql`.
    pub(crate) fn raw(&self) -> Result<Option<RawStatement>, String> {
        let dialect = self.target().map(|target| target.dialect()).unwrap_or(Dialect::Sqlite);
        let sql = self.sql.as_deref();
        sql.map(|sql| RawStatement::new(sql, &self.arguments, dialect)).transpose()
    }

    fn check_sql(&self, problems: &mut Problems) {
        if let Err(reason) = self.raw() {
            problems.add("sql", reason);
        }
        if self.sql.is_none() {
            if !self.arguments.is_empty() {
                problems.add("arguments", "are for sql; rows are made of columns");
            }
            return;
        }
        let with_rows = [
            ("table", !self.table.is_empty()),
            ("mode", self.mode.is_some()),
            ("key", !self.key.is_empty()),
            ("columns", !self.columns.is_empty()),
            ("format", self.format != Format::Row),
            ("delete_on_null", self.delete_on_null),
            ("delete_types", !self.delete_types.is_empty()),
            ("create_tables", self.create_tables),
            ("add_columns", self.add_columns),
        ];
        for (name, _) in with_rows.into_iter().filter(|(_, given)| *given) {
            problems.add(name, "does not go with sql, which says itself what is done");
        }
    }

    fn check_keys(&self, problems: &mut Problems) {
        let deletes = self.delete_on_null || !self.delete_types.is_empty();
        if deletes && !self.is_keyed() {
            problems.add("key", "is needed to delete rows");
        }
        if self.columns.is_empty() {
            return;
        }
        if self.format == Format::Change {
            problems.add("columns", "does not go with format: change, which has a field for each column");
        }
        for (at, key) in self.key.iter().enumerate().filter(|(_, key)| !self.columns.contains_key(*key)) {
            problems.add(format!("key.{at}"), format!("`{key}` is not one of the columns"));
        }
    }
}

impl ConnectorConfig for JdbcSinkConfig {
    fn import(import: &mut Import) {
        import::import(import);
    }

    fn validate(&self, problems: &mut Problems) {
        match self.target() {
            Err(reason) => problems.add("url", reason),
            Ok(target) if target.dialect() != Dialect::Sqlite && self.create => {
                problems.add("create", "is for SQLite; a server's databases are made by its administrator");
            }
            Ok(_) => {}
        }
        match Template::compile(&self.table) {
            Err(error) => problems.add("table", error.reason()),
            Ok(template) if !template.is_constant() && self.tables.is_empty() => {
                problems.add(
                    "tables",
                    "is needed when table is a template: whoever writes events must not choose any table",
                );
            }
            Ok(_) => {}
        }
        if self.table.trim().is_empty() && self.sql.is_none() {
            problems.add("table", "must not be empty, unless there is sql");
        }
        if self.truncate && self.format != Format::Change {
            problems.add("truncate", "is for format: change");
        }
        self.check_sql(problems);
        self.check_keys(problems);
        let columns = self
            .columns
            .iter()
            .map(|(column, expression)| (format!("columns.{column}"), expression));
        let arguments = self
            .arguments
            .iter()
            .map(|(name, expression)| (format!("arguments.{name}"), expression));
        for (at, expression) in columns.chain(arguments) {
            if expression.is_empty() || expression.split('.').any(str::is_empty) {
                problems.add(at, "is no expression; write for instance id, subject or data.order.id");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use openconnect_core::config::{Section, contradictions};

    use super::*;

    #[test]
    fn the_example_and_the_defaults_hold() {
        let found = contradictions::<JdbcSinkConfig>("jdbc-sink", Section::Sink);
        assert!(found.is_empty(), "{found:#?}");
    }
}
