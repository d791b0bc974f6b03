//! The `source:` section of the SQL source.

use std::time::Duration;

use openconnect_change::Decimals;
use openconnect_core::config::Import;
use openconnect_core::config::{ConnectorConfig, EventKind, NO_EFFECT, Problems};
use openconnect_core::duration::HumanDuration;
use openconnect_sql::{Login, Target};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::import;

// What a change does to events, where several settings say the same.
const OTHER_TABLES: &str = "new tables are read from their first row; tables that are left out keep their positions";
const OTHER_COLUMNS: &str = "stored positions are values of the old columns: stop, `offsets reset` and start, which REPEATS all rows; \
    without it rows may be MISSED";
const OTHER_EVENTS: &str = "events look different from the restart on; another key means other ids for the same rows";

/// Rows of which tables, and how new ones are found.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JdbcSourceConfig {
    /// `postgresql://host/database`, `mysql://host/database`, `mariadb://host/database` or `sqlite:///path/file.db`; each also
    /// after `jdbc:`.
    #[schemars(
        example = &"postgresql://127.0.0.1/shop",
        extend(
            "x-effect" = "the stored positions are used in the new database: rows before them are NOT READ there; `offsets reset` \
             reads it from the start, and REPEATS"
        )
    )]
    pub url: String,
    /// Who logs in.
    #[serde(flatten)]
    pub login: Login,
    /// Tables to read; `*` stands for any characters, so that tables that are made later are read too. In PostgreSQL those of
    /// another schema than the current one are `schema.table`.
    #[serde(default)]
    #[schemars(example = &["orders"], extend("x-in-example" = true, "x-effect" = OTHER_TABLES))]
    pub tables: Vec<String>,
    /// Tables that are not read, though `tables` names them.
    #[serde(default)]
    #[schemars(extend("x-effect" = OTHER_TABLES))]
    pub exclude: Vec<String>,
    /// A query to read instead of tables. It is read as a table is, so `mode` and `key` go with it.
    #[schemars(example = &"select * from orders where total > 100", extend("x-instead-of" = "`tables`", "x-effect" = OTHER_COLUMNS))]
    pub query: Option<String>,
    /// How rows are found that were not read yet.
    #[schemars(example = &"incrementing", extend("x-effect" = OTHER_COLUMNS))]
    pub mode: Mode,
    /// A column that only grows from row to row, for `incrementing` and `timestamp+incrementing`.
    #[schemars(example = &"id", extend("x-in-example" = true, "x-effect" = OTHER_COLUMNS))]
    pub incrementing: Option<String>,
    /// A column with the time of a row's last change, for `timestamp` and `timestamp+incrementing`. Rows where it is null are not
    /// read.
    #[schemars(example = &"updated_at", extend("x-instead-of" = "`incrementing`, with another mode", "x-effect" = OTHER_COLUMNS))]
    pub timestamp: Option<String>,
    /// Columns that identify a row. Absent: the table's primary key. A query needs it for `bulk` and `timestamp`.
    #[serde(default)]
    #[schemars(extend("x-effect" = OTHER_EVENTS))]
    pub key: Vec<String>,
    /// How often new rows are looked for, once all are read; with `bulk` from one beginning to the next.
    #[serde(default = "default_interval")]
    #[schemars(extend("x-effect" = NO_EFFECT))]
    pub interval: HumanDuration,
    /// For how long a transaction may stay open and its rows are still found: so long they are looked for among the rows that
    /// were read already. 0s looks for none, and loses rows of transactions that commit out of order.
    #[serde(default = "default_lag")]
    #[schemars(extend("x-effect" = "shorter: rows whose transactions take longer to commit are MISSED from the restart on"))]
    pub lag: HumanDuration,
    /// Rows of one page.
    #[serde(default = "default_page_rows")]
    #[schemars(extend("x-effect" = NO_EFFECT))]
    pub page_rows: u32,
    /// Pages that are read at the same time while there is much to be read, each over a connection of its own; 1 to 16.
    #[serde(default = "default_parallel_pages")]
    #[schemars(extend("x-effect" = NO_EFFECT))]
    pub parallel_pages: u32,
    /// How decimals are written.
    #[serde(default)]
    #[schemars(extend("x-effect" = OTHER_EVENTS))]
    pub decimals: Decimals,
    /// The events' type.
    #[serde(default = "default_event_type")]
    #[schemars(extend("x-effect" = OTHER_EVENTS))]
    pub event_type: String,
    /// Statements run on each new connection.
    #[serde(default)]
    #[schemars(extend(
        "x-effect" = "run on each connection from the restart on: what they change for reading (a time zone, an isolation level) shows \
         in events"
    ))]
    pub init_statements: Vec<String>,
    /// How long one statement may take.
    #[serde(default = "default_timeout")]
    #[schemars(extend("x-effect" = NO_EFFECT))]
    pub timeout: HumanDuration,
}

fn default_interval() -> HumanDuration {
    HumanDuration::seconds(5)
}

fn default_lag() -> HumanDuration {
    HumanDuration::seconds(60)
}

fn default_timeout() -> HumanDuration {
    HumanDuration::seconds(60)
}

fn default_page_rows() -> u32 {
    1000
}

fn default_parallel_pages() -> u32 {
    1
}

fn default_event_type() -> String {
    "eventmesh.openconnect.sql.row".into()
}

/// How rows are found that were not read yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Mode {
    /// All rows, again and again.
    #[serde(rename = "bulk")]
    Bulk,
    /// New rows, by a column that grows. Changed rows are not seen.
    #[serde(rename = "incrementing")]
    Incrementing,
    /// New and changed rows, by the time of the last change.
    #[serde(rename = "timestamp")]
    Timestamp,
    /// The same, where many rows have the same time, by the time and then the column that grows.
    #[serde(rename = "timestamp+incrementing")]
    TimestampIncrementing,
}

impl JdbcSourceConfig {
    pub(crate) fn target(&self) -> Result<Target, String> {
        Target::parse(&self.url, self.login.clone())
    }

    /// The columns that order rows, where they don't depend on the table's key; and whether the key comes behind them.
    pub(crate) fn order(&self) -> (Vec<String>, bool) {
        let (timestamp, incrementing) = (self.timestamp.iter().cloned(), self.incrementing.iter().cloned());
        match self.mode {
            Mode::Bulk => (Vec::new(), true),
            Mode::Incrementing => (incrementing.collect(), false),
            Mode::Timestamp => (timestamp.collect(), true),
            Mode::TimestampIncrementing => (timestamp.chain(incrementing).collect(), false),
        }
    }

    fn check_columns(&self, problems: &mut Problems) {
        let times = matches!(self.mode, Mode::Timestamp | Mode::TimestampIncrementing);
        let counts = matches!(self.mode, Mode::Incrementing | Mode::TimestampIncrementing);
        for (name, column, needed) in [("timestamp", &self.timestamp, times), ("incrementing", &self.incrementing, counts)] {
            match column {
                None if needed => problems.add(name, "is needed for this mode: the column's name"),
                Some(_) if !needed => problems.add(name, "does not go with this mode"),
                _ => {}
            }
        }
        if self.query.is_some() && self.key.is_empty() && self.order().1 {
            problems.add("key", "is needed for a query in this mode: the columns that identify a row");
        }
    }
}

impl ConnectorConfig for JdbcSourceConfig {
    fn events() -> &'static [EventKind] {
        &[EventKind {
            ty: "<source.event_type>",
            when: "a row is new, or was changed since it was read",
            data: "the row as a JSON object: a member for each column",
            attributes: "`subject` the row's key, `sqltable` the table, `partitionkey` both, `time` the row's timestamp where it is read by one with a zone",
        }]
    }

    fn import(import: &mut Import) {
        import::import(import);
    }

    fn validate(&self, problems: &mut Problems) {
        if let Err(reason) = self.target() {
            problems.add("url", reason);
        }
        match (self.tables.is_empty(), &self.query) {
            (true, None) => problems.add("tables", "names no table; name one, or write a query"),
            (false, Some(_)) => problems.add("query", "does not go with tables"),
            _ => {}
        }
        self.check_columns(problems);
        if self.page_rows == 0 || self.page_rows > 100_000 {
            problems.add("page_rows", "must be 1 to 100000");
        }
        if self.parallel_pages == 0 || self.parallel_pages > 16 {
            problems.add("parallel_pages", "must be 1 to 16");
        }
        if self.interval.0 < Duration::from_millis(10) {
            problems.add("interval", "must be 10ms or more");
        }
        if self.event_type.is_empty() {
            problems.add("event_type", "must not be empty");
        }
        if self.lag.0 > Duration::from_secs(24 * 3600) {
            problems.add("lag", "must be a day at the most");
        }
    }
}

#[cfg(test)]
mod tests {
    use openconnect_core::config::{Section, contradictions};

    use super::*;

    #[test]
    fn the_example_and_the_defaults_hold() {
        let found = contradictions::<JdbcSourceConfig>("jdbc-source", Section::Source);
        assert!(found.is_empty(), "{found:#?}");
    }
}
