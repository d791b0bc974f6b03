//! The `source:` section of the MySQL CDC source.

use std::time::Duration;

use openconnect_change::Decimals;
use openconnect_core::config::Import;
use openconnect_core::config::{ConnectorConfig, EventKind, NO_EFFECT, Problems};
use openconnect_core::duration::HumanDuration;
use openconnect_sql::{Dialect, Login, NamePattern, Target};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::columns::ColumnSettings;
use crate::import;

// What a change does to events, where several settings say the same.
const OTHER_TABLES: &str = "tables that are added are told from their next change on; their rows so far are NOT TOLD, until `offsets \
    reset` begins with a new snapshot, which REPEATS";
const OTHER_EVENTS: &str = "events look different from the restart on: consumers must know both forms";
const MORE_EVENTS: &str = "there are events more, or less, from the restart on: consumers must know both forms";

/// Which tables of which server, and from where on.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MySqlCdcConfig {
    /// `mysql://host/database` or `mariadb://host/database`; each also after `jdbc:`. Snapshots are made of this database.
    #[schemars(
        example = &"mysql://127.0.0.1/shop",
        extend(
            "x-effect" = "goes on by GTID where the new server has the same transactions (a failover); else the position is lost, and \
             `on_lost_position` decides"
        )
    )]
    pub url: String,
    /// Who logs in.
    #[serde(flatten)]
    pub login: Login,
    /// Tables of the database; `*` stands for any characters, so that tables that are made later are read too.
    #[schemars(example = &["*"], extend("x-effect" = OTHER_TABLES))]
    pub tables: Vec<String>,
    /// Tables that are not read, though `tables` names them.
    #[serde(default)]
    #[schemars(extend("x-effect" = OTHER_TABLES))]
    pub exclude: Vec<String>,
    /// Which of the tables' columns are told, and how. Absent: all, as they are.
    #[serde(default)]
    #[schemars(extend("x-effect" = "events have other columns, or other masks, from the restart on; what was published stays as it is"))]
    pub columns: ColumnSettings,
    /// What is read of the rows that are there at the first start.
    #[serde(default)]
    #[schemars(extend("x-effect" = "matters at the first start, or after `offsets reset`; a snapshot that has begun is read to its end"))]
    pub snapshot: SnapshotMode,
    /// What to do when the server no longer has the log from where it is to be read on.
    #[serde(default)]
    #[schemars(extend(
        "x-effect" = "matters when the server no longer has the log from where it is to be read on: `snapshot` REPEATS then, \
         `earliest` goes on with changes MISSED"
    ))]
    pub on_lost_position: LostPosition,
    /// What to do with a change whose event is larger than `limits.max_event_bytes`. A mesh with a lower limit refuses it, and it becomes
    /// a dead letter in any case.
    #[serde(default)]
    #[schemars(extend("x-effect" = "matters for changes that are too large, from the restart on"))]
    pub on_oversize: Oversize,
    /// The number by which the server knows this reader; no replica and no other reader may have the same. Absent: a random
    /// one at each start.
    #[schemars(example = &5701, extend("x-effect" = NO_EFFECT))]
    pub server_id: Option<u32>,
    /// Rows of one chunk of a snapshot.
    #[serde(default = "default_chunk_rows")]
    #[schemars(extend("x-effect" = NO_EFFECT))]
    pub chunk_rows: u32,
    /// Chunks of a snapshot that are read at the same time, each over a connection of its own; 1 to 16.
    #[serde(default = "default_parallel_chunks")]
    #[schemars(extend("x-effect" = NO_EFFECT))]
    pub parallel_chunks: u32,
    /// How events look.
    #[serde(default)]
    #[schemars(extend("x-effect" = OTHER_EVENTS))]
    pub format: Format,
    /// Tells where transactions begin and end, with the number of their changes.
    #[serde(default)]
    #[schemars(extend("x-effect" = MORE_EVENTS))]
    pub transactions: bool,
    /// Tells statements that make, change, rename or drop one of the tables. `TRUNCATE` is told in any case.
    #[serde(default)]
    #[schemars(extend("x-effect" = MORE_EVENTS))]
    pub schema_changes: bool,
    /// How decimals are written.
    #[serde(default)]
    #[schemars(extend("x-effect" = OTHER_EVENTS))]
    pub decimals: Decimals,
    /// The events' type.
    #[serde(default = "default_event_type")]
    #[schemars(extend("x-effect" = OTHER_EVENTS))]
    pub event_type: String,
    /// How long the server may be silent; it is asked to say something three times as often.
    #[serde(default = "default_timeout")]
    #[schemars(extend("x-effect" = NO_EFFECT))]
    pub timeout: HumanDuration,
}

fn default_chunk_rows() -> u32 {
    1000
}

fn default_parallel_chunks() -> u32 {
    2
}

fn default_event_type() -> String {
    "eventmesh.openconnect.cdc.change".into()
}

fn default_timeout() -> HumanDuration {
    HumanDuration::seconds(30)
}

/// How events look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Values as SQL and JSON write them, the same in every SQL connector.
    #[default]
    Native,
    /// What Debezium's consumers know: its envelope, and its numbers for decimals and times.
    Debezium,
}

/// What is read of the rows that are there at the first start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotMode {
    /// All of them, then the log.
    #[default]
    Initial,
    /// All of them, and no log.
    InitialOnly,
    /// None: the log from now on.
    NoData,
    /// All of them, and again when the position is lost.
    WhenNeeded,
    /// None: the log from the stored position on; without one the source does not start.
    Recovery,
}

/// What to do when the position is lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LostPosition {
    /// Stop: somebody must decide.
    #[default]
    Fail,
    /// Read all rows again, then the log from then on. Deletes that were lost stay unknown.
    Snapshot,
    /// Go on with the oldest log that there is. Changes that were lost stay unknown.
    Earliest,
}

/// What to do with a change that is too large for an event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Oversize {
    /// It becomes a dead letter, and the reading goes on.
    #[default]
    DeadLetter,
    /// Stop: somebody must decide.
    Stop,
}

impl MySqlCdcConfig {
    pub(crate) fn target(&self) -> Result<Target, String> {
        let target = Target::parse(&self.url, self.login.clone())?;
        if target.dialect() == Dialect::MySql {
            Ok(target)
        } else {
            Err("is not one of MySQL or MariaDB".into())
        }
    }

    /// Is a table of the database to be read? A server may take names that differ in case alone for the same.
    pub(crate) fn wants(&self, table: &str, ignores_case: bool) -> bool {
        let named = |names: &[String]| {
            names.iter().any(|name| {
                NamePattern::new(name).matches(table)
                    || (ignores_case && NamePattern::new(&name.to_lowercase()).matches(&table.to_lowercase()))
            })
        };
        named(&self.tables) && !named(&self.exclude)
    }

    /// What a lost position means here.
    pub(crate) fn when_lost(&self) -> LostPosition {
        if self.snapshot == SnapshotMode::WhenNeeded {
            LostPosition::Snapshot
        } else {
            self.on_lost_position
        }
    }
}

impl ConnectorConfig for MySqlCdcConfig {
    fn events() -> &'static [EventKind] {
        &[
            EventKind {
                ty: "<source.event_type>",
                when: "a row is in the snapshot, or was inserted, updated or deleted; a table was truncated",
                data: "`op` (`r`, `c`, `u`, `d`, `t`), `before`, `after` and `source`; with `format: debezium` its envelope",
                attributes: "`subject` the row's key, `sqltable` database and table, `partitionkey` table and key, `op`; with `transactions` also `txid` and `txseq`",
            },
            EventKind {
                ty: "<source.event_type>.schema",
                when: "with `schema_changes`: a statement has made, changed, renamed or dropped a table",
                data: "`ddl`, `database` and `source`",
                attributes: "`sqltable` and `partitionkey` the table",
            },
            EventKind {
                ty: "<source.event_type>.transaction",
                when: "with `transactions`: a transaction begins, and ends",
                data: "`status` (`BEGIN`, `END`), `id`, `ts_ms`; at the end `event_count` and `data_collections`",
                attributes: "`subject`, `partitionkey` and `txid` the transaction",
            },
        ]
    }

    fn import(import: &mut Import) {
        import::import(import);
    }

    fn validate(&self, problems: &mut Problems) {
        if let Err(reason) = self.target() {
            problems.add("url", reason);
        }
        if self.tables.is_empty() {
            problems.add("tables", "names no table; `*` means all");
        }
        if self.server_id == Some(0) {
            problems.add("server_id", "must not be 0");
        }
        if self.chunk_rows == 0 || self.chunk_rows > 100_000 {
            problems.add("chunk_rows", "must be 1 to 100000");
        }
        if self.parallel_chunks == 0 || self.parallel_chunks > 16 {
            problems.add("parallel_chunks", "must be 1 to 16");
        }
        self.columns.validate(problems);
        if self.timeout.0 < Duration::from_secs(3) {
            problems.add("timeout", "must be 3s or more");
        }
        if self.event_type.is_empty() {
            problems.add("event_type", "must not be empty");
        }
    }
}

#[cfg(test)]
mod tests {
    use openconnect_core::config::{Section, contradictions};

    use super::*;

    #[test]
    fn the_example_and_the_defaults_hold() {
        let found = contradictions::<MySqlCdcConfig>("mysql-cdc-source", Section::Source);
        assert!(found.is_empty(), "{found:#?}");
    }
}
