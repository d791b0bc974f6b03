//! What a snapshot has read and not told yet: the log takes out of it the rows that it tells itself.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use openconnect_change::{Cell, Column, Decimals, push_json};
use openconnect_core::budget::Reservation;
use openconnect_sql::{Keyset, Mark};

use crate::columns::View;
use crate::position::Place;
use crate::table::LogTable;

/// A table of which rows are read.
pub(crate) struct SnapshotTable {
    pub(crate) name: Arc<str>,
    pub(crate) keyset: Keyset,
    pub(crate) view: View,
}

/// Chunks that are read, and wait until the log is read as far.
pub(crate) struct Held {
    pub(crate) chunks: VecDeque<Chunk>,
    pub(crate) until: Place,
    /// A table was changed meanwhile: it must be read again.
    pub(crate) stale: bool,
}

/// A row's ordering values, and the row.
pub(crate) type ChunkRow = (Vec<Mark>, Vec<Cell>);

/// Rows of one table that follow each other.
pub(crate) struct Chunk {
    pub(crate) table: Arc<SnapshotTable>,
    pub(crate) rows: Vec<Option<ChunkRow>>,
    /// Places of rows by key; made when the log tells a row of the table.
    pub(crate) by_key: Option<HashMap<String, usize>>,
    /// Where the table goes on; none when this was the last of it.
    pub(crate) next: Option<Vec<Mark>>,
    /// It was too large, so that it ends before its end.
    pub(crate) cut: bool,
    /// The log has told a change of its table since it was read, or before that what it may not have seen.
    pub(crate) changed: bool,
    /// How many rows the table has, where it ends with these and was counted in time.
    pub(crate) total: Option<u64>,
    /// The memory of its rows, which goes on with their events.
    pub(crate) memory: Reservation,
}

impl Held {
    /// The log has told this row.
    pub(crate) fn drop_row(&mut self, table: &LogTable, cells: &[Cell]) {
        for chunk in self.chunks.iter_mut().filter(|chunk| *chunk.table.name == *table.name) {
            chunk.changed = true;
            let keyset = &chunk.table.keyset;
            let key = |cells: &[Cell], columns: &[Column], places: &[usize]| {
                let mut text = String::new();
                for place in places {
                    if let (Some(column), Some(cell)) = (columns.get(*place), cells.get(*place)) {
                        push_json(&mut text, column.kind, Decimals::Text, cell);
                    }
                    text.push(',');
                }
                text
            };
            let rows = &chunk.rows;
            let by_key = chunk.by_key.get_or_insert_with(|| {
                let rows = rows.iter().enumerate();
                rows.filter_map(|(at, row)| Some((key(&row.as_ref()?.1, &keyset.columns, &keyset.order), at)))
                    .collect()
            });
            let told = key(cells, &table.columns, &table.key);
            if let Some(row) = by_key.get(&told).and_then(|at| chunk.rows.get_mut(*at)) {
                *row = None;
            }
        }
    }
}

/// Who wants to know which rows the log tells.
pub(crate) enum Touched<'a> {
    Nobody,
    /// What a snapshot has read.
    Held(&'a mut Held),
}

impl Touched<'_> {
    /// Where to stop reading.
    pub(crate) fn until(&self) -> Option<&Place> {
        match self {
            Self::Nobody => None,
            Self::Held(held) => Some(&held.until),
        }
    }

    /// A statement changed a table.
    pub(crate) fn all(&mut self) {
        if let Self::Held(held) = self {
            held.stale = true;
        }
    }

    pub(crate) fn row(&mut self, table: &LogTable, cells: &[Cell]) {
        if let Self::Held(held) = self {
            held.drop_row(table, cells);
        }
    }
}
