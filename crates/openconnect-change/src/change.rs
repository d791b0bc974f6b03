//! A change of a row, as it is written.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};

use crate::cell::{Cell, Column};
use crate::to_json::push_text;

/// What happened to a row, or to all rows of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// A row was inserted: `c`.
    Create,
    /// A row was updated: `u`.
    Update,
    /// A row was deleted: `d`.
    Delete,
    /// A row was there when a snapshot was taken: `r`.
    Read,
    /// All rows of a table were removed: `t`.
    Truncate,
    /// A message in the log that changes no row: `m`.
    Message,
}

impl Op {
    /// The letter that stands for it in both formats.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "c",
            Self::Update => "u",
            Self::Delete => "d",
            Self::Read => "r",
            Self::Truncate => "t",
            Self::Message => "m",
        }
    }

    /// The operation for which the letter stands.
    pub fn parse(letter: &str) -> Option<Self> {
        let all = [Self::Create, Self::Update, Self::Delete, Self::Read, Self::Truncate, Self::Message];
        all.into_iter().find(|op| op.as_str() == letter)
    }
}

/// A change of a row.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// What happened.
    pub op: Op,
    /// The columns of both rows.
    pub columns: &'a [Column],
    /// The row before the change, where it is known.
    pub before: Option<&'a [Cell]>,
    /// The row after the change; none where it is gone.
    pub after: Option<&'a [Cell]>,
    /// Its place in its transaction, where transactions are written.
    pub transaction: Option<TransactionOrder<'a>>,
}

/// Where a change stands in its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionOrder<'a> {
    /// The transaction's id.
    pub id: &'a str,
    /// The change's number among all changes of the transaction, from 1 on.
    pub total: u64,
    /// The change's number among those of its table, from 1 on.
    pub of_table: u64,
}

impl TransactionOrder<'_> {
    /// Appends it as JSON: the same in both formats.
    pub(crate) fn push_json(&self, out: &mut String) {
        out.push_str("{\"id\":");
        push_text(out, self.id);
        // Writing to a text cannot fail.
        let _ = write!(out, ",\"total_order\":{},\"data_collection_order\":{}}}", self.total, self.of_table);
    }
}

/// Where a change comes from, in the terms of its system: each system has its own fields.
pub trait ChangeSource {
    /// Appends the JSON object `source` of our format.
    fn push_native(&self, out: &mut String);

    /// Appends the fields of Debezium's `source` that belong to the system: those between `name` and the times, each with a
    /// comma before it.
    fn push_debezium(&self, out: &mut String);

    /// The system as Debezium names it.
    fn connector(&self) -> &str;

    /// Whether it was read by a snapshot.
    fn is_snapshot(&self) -> bool;

    /// When it was committed, where the system says.
    fn time(&self) -> Option<DateTime<Utc>>;
}
