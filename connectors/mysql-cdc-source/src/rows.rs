//! Rows of the log: what changed, as events.

use std::cmp::Ordering;
use std::sync::Arc;

use mysql_async::binlog::events::{BinlogEventHeader, Event, RowsEventData, TableMapEvent};
use openconnect_change::{Cell, Change, Op, TransactionOrder};
use openconnect_core::Failure;
use openconnect_core::record::Record;

use crate::codes;
use crate::context::Context;
use crate::event::Boundary;
use crate::held::Touched;
use crate::image::{Images, Rows};
use crate::log::{Log, READ_BATCH, Transaction};
use crate::origin::Origin;
use crate::position::Position;
use crate::table::LogTable;

impl Log {
    pub(crate) fn rows(
        &mut self,
        context: &Context<'_>,
        header: &BinlogEventHeader,
        rows: &RowsEventData<'_>,
        touched: &mut Touched<'_>,
        records: &mut Vec<Record<Position>>,
    ) -> Result<(), Failure> {
        let table = self.tables.get(&rows.table_id()).cloned();
        let table = table.ok_or_else(|| Failure::fatal(codes::CDC_LOG, "the log has rows of a table that it does not describe"))?;
        let is_left = self.is_left();
        let (skip_events, skip_rows) = self.left().filter(|_| is_left).map_or((0, 0), |left| (left.events, left.rows));
        // Until that one has come, the position stays before what comes earlier.
        let waits = self.left().is_some() && !is_left;
        let fixed = waits.then(|| self.at.clone());
        let Some(transaction) = &mut self.transaction else {
            return Err(Failure::fatal(
                codes::CDC_LOG,
                "the log has rows outside of a transaction; this is a bug",
            ));
        };
        let number = transaction.events;
        transaction.events += 1;
        let skip = match number.cmp(&skip_events) {
            // Who tells transactions counts all their changes.
            Ordering::Less if !context.config.transactions => return Ok(()),
            Ordering::Less => u64::MAX,
            Ordering::Equal => skip_rows,
            Ordering::Greater => 0,
        };
        let Some(table) = table else { return Ok(()) };
        let reading = RowEvent {
            context,
            table: &table,
            gtids: self.gtids_text.clone(),
            file: &self.file,
            thread: self.thread,
            header: *header,
            gtid: transaction.gtid().map(Arc::from),
            fixed,
            place: transaction.id(&self.file),
            begin: transaction.begin,
            number,
        };
        if records.is_empty() {
            records.reserve(READ_BATCH);
        }
        let images = Images::new(rows, &table, &context.catalog.charsets)?;
        for (row, images) in (0_u64..).zip(images) {
            let (before, after) = images?;
            for cells in [&before, &after].into_iter().flatten() {
                touched.row(&table, cells);
            }
            let told = row >= skip;
            reading.tell(transaction, (before, after), row, told, records)?;
            if told {
                self.at = reading.position(row + 1);
            }
        }
        Ok(())
    }

    /// The description of a table, which comes before its rows.
    pub(crate) fn describe(&mut self, context: &Context<'_>, event: &Event, map: &TableMapEvent<'_>) -> Result<(), Failure> {
        if self.tables.contains_key(&map.table_id()) {
            return Ok(());
        }
        let is_read = context.about.is_database(&map.database_name()) && context.wants(&map.table_name());
        let table = is_read.then(|| LogTable::read(event, context)).transpose()?;
        let table = table.filter(|table| !table.is_sequence());
        self.tables.insert(map.table_id(), table.map(Arc::new));
        Ok(())
    }
}

/// The rows of one event of the log.
struct RowEvent<'a> {
    context: &'a Context<'a>,
    table: &'a LogTable,
    gtids: Option<Arc<str>>,
    file: &'a Arc<str>,
    thread: u32,
    header: BinlogEventHeader,
    gtid: Option<Arc<str>>,
    /// The position of all of its rows, when it may not move.
    fixed: Option<Position>,
    place: String,
    begin: u64,
    /// Which of the transaction's row events it is.
    number: u64,
}

impl RowEvent<'_> {
    /// Once so many rows of it are told.
    fn position(&self, rows: u64) -> Position {
        if let Some(fixed) = &self.fixed {
            return fixed.clone();
        }
        Position {
            gtids: self.gtids.clone(),
            file: Arc::clone(self.file),
            begin: self.begin,
            transaction: self.gtid.clone(),
            events: self.number,
            rows,
            snapshot: None,
        }
    }

    fn tell(
        &self,
        transaction: &mut Transaction,
        (before, after): Rows,
        row: u64,
        told: bool,
        records: &mut Vec<Record<Position>>,
    ) -> Result<(), Failure> {
        let context = self.context;
        let table = self.table;
        let new_key = matches!((&before, &after), (Some(old), Some(new)) if table.key.iter().any(|at| old.get(*at) != new.get(*at)));
        let view = |row: Option<Vec<Cell>>| row.map(|row| table.view.row(row));
        let (before, after) = (view(before), view(after));
        for step in steps(new_key, before.as_deref(), after.as_deref(), row) {
            if context.config.transactions && transaction.told.is_empty() && told {
                let boundary = Boundary {
                    id: self.place.clone(),
                    changes: None,
                    seconds: self.header.timestamp(),
                };
                records.push(context.record(context.events.boundary(&boundary)?, self.position(row)));
            }
            let numbers = context.config.transactions.then(|| {
                *transaction.told.entry(table.name.clone()).or_default() += 1;
                (
                    transaction.told.values().sum(),
                    transaction.told.get(&table.name).copied().unwrap_or(0),
                )
            });
            if !told {
                continue;
            }
            let end = u64::from(self.header.log_pos());
            let origin = Origin {
                id: format!("{}/{}/{row}{}", self.place, self.number, step.part),
                database: &table.database,
                table: &table.name,
                gtid: self.gtid.as_deref(),
                file: self.file,
                begin: self.begin,
                pos: end.saturating_sub(u64::from(self.header.event_size())),
                row,
                thread: self.thread,
                server_id: self.header.server_id(),
                seconds: Some(self.header.timestamp()),
            };
            let change = Change {
                op: step.op,
                before: step.before,
                after: step.after,
                columns: &table.view.columns,
                transaction: numbers.map(|(total, of_table)| TransactionOrder {
                    id: &self.place,
                    total,
                    of_table,
                }),
            };
            let event = context.events.change(&table.view.key, &change, origin)?;
            records.push(context.record(event, self.position(step.rows)));
        }
        Ok(())
    }
}

/// A change of a row that becomes one event.
struct Step<'r> {
    /// What its id ends with, where a row becomes several events.
    part: &'static str,
    op: Op,
    before: Option<&'r [Cell]>,
    after: Option<&'r [Cell]>,
    /// The rows that are read once it is published.
    rows: u64,
}

/// The changes of a row. Where the key changes, one row goes and another comes: each in the order of its own key.
fn steps<'r>(new_key: bool, before: Option<&'r [Cell]>, after: Option<&'r [Cell]>, row: u64) -> Vec<Step<'r>> {
    let step = |part, op, before, after, rows| Step {
        part,
        op,
        before,
        after,
        rows,
    };
    match (before, after) {
        (Some(_), Some(_)) if new_key => vec![
            step("/d", Op::Delete, before, None, row),
            step("/c", Op::Create, None, after, row + 1),
        ],
        (Some(_), Some(_)) => vec![step("", Op::Update, before, after, row + 1)],
        (None, _) => vec![step("", Op::Create, None, after, row + 1)],
        (_, None) => vec![step("", Op::Delete, before, None, row + 1)],
    }
}
