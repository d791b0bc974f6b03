//! The rows of one event of the log: a row's image before the change, and after it.
//!
//! The driver reads such rows too, but makes a description of all columns for each of them.

use std::io;

use mysql_async::binlog::events::RowsEventData;
use mysql_async::binlog::value::BinlogValue;
use mysql_async::consts::ColumnType;
use mysql_common::io::ParseBuf;
use mysql_common::misc::raw::RawInt;
use mysql_common::misc::raw::bytes::LenEnc;
use mysql_common::proto::MyDeserialize as _;
use openconnect_change::Cell;
use openconnect_core::Failure;

use crate::charset::Charsets;
use crate::codes;
use crate::server::unreadable;
use crate::table::LogTable;
use crate::value::{cell, time, time_fraction_bytes};

/// A row before and after its change.
pub(crate) type Rows = (Option<Vec<Cell>>, Option<Vec<Cell>>);

/// The images of an event, one row after the other.
pub(crate) struct Images<'a> {
    table: &'a LogTable,
    charsets: &'a Charsets,
    rest: ParseBuf<'a>,
    before: bool,
    after: bool,
    /// Images after the change may hold parts of JSON documents.
    partial: bool,
}

impl<'a> Images<'a> {
    pub(crate) fn new(event: &'a RowsEventData<'a>, table: &'a LogTable, charsets: &'a Charsets) -> Result<Self, Failure> {
        let (before, after) = (event.columns_before_image(), event.columns_after_image());
        let whole =
            |columns: Option<&bitvec::slice::BitSlice<u8>>| columns.is_none_or(|columns| columns.count_ones() == table.columns.len());
        if !whole(before) || !whole(after) {
            return Err(Failure::fatal(
                codes::CDC_SETUP,
                format!(
                    "a change of `{}` has not all columns: the server must have binlog_row_image=FULL",
                    table.name
                ),
            ));
        }
        Ok(Self {
            table,
            charsets,
            rest: ParseBuf(event.rows_data()),
            before: before.is_some(),
            after: after.is_some(),
            partial: matches!(event, RowsEventData::PartialUpdateRowsEvent(_)),
        })
    }

    fn rows(&mut self) -> Result<Rows, Failure> {
        let before = if self.before { Some(self.image(None, false)?) } else { None };
        let after = if self.after {
            Some(self.image(before.as_deref(), self.partial)?)
        } else {
            None
        };
        Ok((before, after))
    }

    fn image(&mut self, before: Option<&[Cell]>, partial: bool) -> Result<Vec<Cell>, Failure> {
        let partial = if partial {
            self.partial_columns().map_err(unreadable)?
        } else {
            &[]
        };
        let columns = &self.table.log_columns;
        let nulls: &[u8] = self.rest.parse(columns.len().div_ceil(8)).map_err(unreadable)?;
        let is_set = |bits: &[u8], at: usize| bits.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1);
        let (mut cells, mut documents) = (Vec::with_capacity(columns.len()), 0);
        for (at, column) in columns.iter().enumerate() {
            let is_document = column.ty == ColumnType::MYSQL_TYPE_JSON;
            let is_partial = is_document && is_set(partial, documents);
            documents += usize::from(is_document);
            if is_set(nulls, at) {
                cells.push(Cell::Null);
                continue;
            }
            // The driver can't read one below zero that has a fraction.
            if column.ty == ColumnType::MYSQL_TYPE_TIME2 {
                let digits = column.meta.first().copied().unwrap_or(0);
                let bytes: &[u8] = self.rest.parse(3 + time_fraction_bytes(digits)).map_err(unreadable)?;
                cells.push(time(bytes, digits));
                continue;
            }
            let how = (column.ty, column.meta.as_slice(), column.unsigned, is_partial);
            let value = BinlogValue::deserialize(how, &mut self.rest).map_err(unreadable)?;
            let old = before.and_then(|before| before.get(at));
            let read = cell(column, self.charsets, value, old);
            cells.push(read.map_err(|why| {
                let name = self.table.columns.get(at).map_or("", |column| column.name.as_str());
                Failure::fatal(codes::CDC_VALUE, format!("the column `{name}` of `{}`: {why}", self.table.name))
            })?);
        }
        Ok(cells)
    }

    /// Which of the columns of JSON hold parts only.
    fn partial_columns(&mut self) -> io::Result<&'a [u8]> {
        let options: RawInt<LenEnc> = self.rest.parse(())?;
        if *options & 1 == 0 {
            return Ok(&[]);
        }
        let documents = self
            .table
            .log_columns
            .iter()
            .filter(|column| column.ty == ColumnType::MYSQL_TYPE_JSON);
        self.rest.parse(documents.count().div_ceil(8))
    }
}

impl Iterator for Images<'_> {
    type Item = Result<Rows, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let rows = self.rows();
        if rows.is_err() {
            self.rest = ParseBuf(&[]);
        }
        Some(rows)
    }
}
