//! Where the log was read to, as it is stored.

use std::sync::Arc;

use openconnect_sql::Mark;
use serde::{Deserialize, Serialize};

/// A place in the binary log, between two rows: always told from the beginning of a transaction, for only there a server can go
/// on, and with what of it was read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// MySQL with GTIDs: all transactions before this one. It goes before file and place, and holds on any server of the
    /// topology.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gtids: Option<Arc<str>>,
    /// The log's file.
    pub file: Arc<str>,
    /// Where in it the transaction begins.
    pub begin: u64,
    /// The transaction of which a part was read, by its GTID: on another server others may come before it. Without GTIDs it is the
    /// first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction: Option<Arc<str>>,
    /// How many of the transaction's row events were read as a whole.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub events: u64,
    /// How many rows of the one after them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rows: u64,
    /// The snapshot that is being made, while the log is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotPosition>,
}

/// How far a snapshot has come.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotPosition {
    /// Tables up to this one, in the order of their names, are done, but for what is after `after`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<Arc<str>>,
    /// The last row of it, by its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Vec<Mark>>,
    /// How many rows of it were read; none once the log has told a change of it meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<u64>,
    /// Where the log ended when it was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Arc<str>>,
    /// All tables are done (`initial_only` stays here).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub done: bool,
}

/// A place in one server's log. Files are numbered in order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    file: u64,
    at: u64,
}

impl Place {
    pub(crate) fn new(file: &str, at: u64) -> Self {
        let number = file.rsplit_once('.').and_then(|(_, number)| number.parse().ok());
        Self {
            file: number.unwrap_or(0),
            at,
        }
    }

    /// Where in its file.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn positions_are_stored_as_they_always_were() {
        let position = Position {
            gtids: Some("a:1-3".into()),
            file: "binlog.000001".into(),
            begin: 157,
            rows: 2,
            snapshot: Some(SnapshotPosition {
                table: Some("orders".into()),
                after: Some(vec![Mark::Text("7".into())]),
                started: Some("binlog.000001:4".into()),
                ..SnapshotPosition::default()
            }),
            ..Position::default()
        };
        let json = r#"{"gtids":"a:1-3","file":"binlog.000001","begin":157,"rows":2,"snapshot":{"table":"orders","after":["7"],"started":"binlog.000001:4"}}"#;
        assert_eq!(serde_json::to_string(&position).unwrap(), json);
        assert_eq!(serde_json::from_str::<Position>(json).unwrap(), position);
    }
}
