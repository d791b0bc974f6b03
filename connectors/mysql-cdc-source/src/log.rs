//! The binary log: transactions, tables, rows.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{FutureExt as _, StreamExt as _};
use mysql_async::BinlogStream;
use mysql_async::binlog::EventType;
use mysql_async::binlog::events::{Event, EventData, RowsEventData, TransactionPayloadEvent};
use mysql_async::binlog::row::BinlogRow;
use openconnect_core::Failure;
use openconnect_core::record::{Partition, Record};
use openconnect_sql::Cell;

use crate::config::MySqlCdcConfig;
use crate::event::{Change, Events, Origin};
use crate::gtid::GtidSet;
use crate::position::Position;
use crate::server::{About, failure};
use crate::table::LogTable;
use crate::value::cell;

/// Records that are given together, at the most, but for those of one row event.
const TOGETHER: usize = 500;
/// How often a position is stored where nothing is told.
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// MariaDB's event at the beginning of each transaction.
const MARIADB_GTID: u8 = 162;

/// What does not change while a log is read.
pub(crate) struct Context<'a> {
    pub(crate) config: &'a MySqlCdcConfig,
    pub(crate) database: &'a str,
    pub(crate) about: &'a About,
    pub(crate) events: &'a Events,
    pub(crate) partition: &'a Partition,
    /// MariaDB's columns of JSON, by table.
    pub(crate) json: &'a HashMap<String, Vec<String>>,
}

/// The transaction that is being read.
#[derive(Debug)]
struct Transaction {
    /// Its origin and number there.
    gtid: Option<(String, u64)>,
    begin: u64,
    /// Row events of it.
    events: u64,
    /// Where a statement ended that most often is a transaction of its own. `CREATE TABLE … SELECT` goes on with rows.
    ended: Option<u64>,
}

/// The log from a position on.
pub(crate) struct Log {
    stream: BinlogStream,
    file: Arc<str>,
    /// All transactions before the current one.
    gtids: Option<GtidSet>,
    gtids_text: Option<Arc<str>>,
    transaction: Option<Transaction>,
    /// What of the first transaction was read before.
    skip: (u64, u64),
    /// Where to go on when the connection is lost.
    pub(crate) at: Position,
    tables: HashMap<u64, Option<Arc<LogTable>>>,
    noted: Instant,
    /// Why it can't go on, once what was read is told.
    failed: Option<Failure>,
    /// A table was changed: MariaDB's JSON columns must be asked for again.
    pub(crate) changed: bool,
}

impl Log {
    pub(crate) fn new(stream: BinlogStream, position: Position) -> Self {
        Self {
            stream,
            file: Arc::clone(&position.file),
            gtids: position.gtids.as_deref().and_then(GtidSet::parse),
            gtids_text: position.gtids.clone(),
            transaction: None,
            skip: (position.events, position.rows),
            at: position,
            tables: HashMap::new(),
            noted: Instant::now(),
            failed: None,
            changed: false,
        }
    }

    /// Waits for the next changes. May be dropped while it waits: it waits only when it holds nothing.
    pub(crate) async fn read(&mut self, context: &Context<'_>) -> Result<Vec<Record<Position>>, Failure> {
        if let Some(failure) = self.failed.take() {
            return Err(failure);
        }
        let mut records = Vec::new();
        let silence = context.config.timeout.0;
        let mut next = tokio::time::timeout(silence, self.stream.next())
            .await
            .map_err(|_| Failure::retryable("SQL_CONNECTION", format!("the server was silent for {silence:?}")))?;
        loop {
            let handled = match next {
                Some(Ok(event)) => self.handle(context, &event, &mut records),
                Some(Err(error)) => Err(failure(&error)),
                None => Err(Failure::retryable("SQL_CONNECTION", "the server ended the log")),
            };
            match handled {
                Err(failure) if records.is_empty() => return Err(failure),
                // What was read before it is told first; then the log is opened again behind that.
                Err(failure) => {
                    self.failed = Some(failure);
                    break;
                }
                Ok(()) if records.len() >= TOGETHER || self.changed => break,
                Ok(()) => match self.stream.next().now_or_never() {
                    Some(ready) => next = ready,
                    None => break,
                },
            }
        }
        self.note(context, &mut records);
        Ok(records)
    }

    /// Where nothing is told the position moves all the same, now and then.
    fn note(&mut self, context: &Context<'_>, records: &mut Vec<Record<Position>>) {
        let told = records.last().and_then(|record| record.position.as_ref()) == Some(&self.at);
        if self.transaction.is_none() && !told && self.noted.elapsed() >= NOTE_EVERY {
            self.noted = Instant::now();
            records.push(Record {
                event: None,
                partition: context.partition.clone(),
                position: Some(self.at.clone()),
                receipt: None,
            });
        }
    }

    fn handle(&mut self, context: &Context<'_>, event: &Event, records: &mut Vec<Record<Position>>) -> Result<(), Failure> {
        let header = event.header();
        let end = u64::from(header.log_pos());
        let begin = end.saturating_sub(u64::from(header.event_size()));
        if header.event_type_raw() == EventType::TRANSACTION_PAYLOAD_EVENT as u8 {
            // Its events come next; one that can't be read would be left out without a word.
            return event.read_event::<TransactionPayloadEvent<'_>>().map(drop).map_err(unreadable);
        }
        if header.event_type_raw() == MARIADB_GTID {
            self.begin(None, begin);
            return Ok(());
        }
        match event.read_data().map_err(unreadable)? {
            Some(EventData::RotateEvent(rotate)) => {
                self.end();
                self.file = file_name(&rotate.name(), &self.file);
                self.tables.clear();
                if self.transaction.is_none() && self.skip == (0, 0) {
                    self.at.file = Arc::clone(&self.file);
                    self.at.begin = rotate.position();
                }
            }
            Some(EventData::GtidEvent(gtid)) => {
                let mut origin = uuid(&gtid.sid());
                if let Some(tag) = gtid.tag() {
                    origin = format!("{origin}:{}", tag.as_str());
                }
                self.begin(Some((origin, gtid.gno())), begin);
            }
            Some(EventData::AnonymousGtidEvent(_)) => self.begin(None, begin),
            Some(EventData::QueryEvent(query)) => match query.query_raw() {
                b"BEGIN" if self.transaction.is_none() => self.begin(None, begin),
                b"BEGIN" => {}
                b"COMMIT" => self.commit(end),
                statement
                    if statement.starts_with(b"SAVEPOINT")
                        || statement.starts_with(b"ROLLBACK TO")
                        || statement.starts_with(b"XA START")
                        || statement.starts_with(b"XA END") => {}
                _ => {
                    self.tables.clear();
                    self.changed = context.about.mariadb;
                    match &mut self.transaction {
                        Some(transaction) => transaction.ended = Some(end),
                        None => self.commit(end),
                    }
                }
            },
            // What is prepared can't be told apart from what is committed, but by a statement much later.
            Some(EventData::XidEvent(_) | EventData::XaPrepareLogEvent(_)) => self.commit(end),
            Some(EventData::RowsEvent(rows)) => self.rows(context, event, &rows, records)?,
            Some(EventData::IncidentEvent(_)) => {
                return Err(Failure::fatal(
                    "CDC_INCIDENT",
                    "the log says that something is missing in it (an incident event); make a new snapshot: reset the offset",
                ));
            }
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, gtid: Option<(String, u64)>, begin: u64) {
        self.end();
        self.transaction = Some(Transaction {
            gtid,
            begin,
            events: 0,
            ended: None,
        });
    }

    /// Ends a transaction that consists of a statement, now that it is known to have no rows.
    fn end(&mut self) {
        if let Some(end) = self.transaction.as_ref().and_then(|transaction| transaction.ended) {
            self.commit(end);
        }
    }

    fn commit(&mut self, end: u64) {
        if let (Some(set), Some((origin, number))) = (&mut self.gtids, self.transaction.take().and_then(|done| done.gtid)) {
            set.add(&origin, number);
            self.gtids_text = Some(set.to_string().into());
        }
        self.skip = (0, 0);
        self.at = Position {
            gtids: self.gtids_text.clone(),
            file: Arc::clone(&self.file),
            begin: end,
            ..Position::default()
        };
    }

    fn rows(
        &mut self,
        context: &Context<'_>,
        event: &Event,
        rows: &RowsEventData<'_>,
        records: &mut Vec<Record<Position>>,
    ) -> Result<(), Failure> {
        let header = event.header();
        let Some(transaction) = &mut self.transaction else {
            return Err(Failure::fatal(
                "CDC_LOG",
                "the log has rows outside of a transaction; this is a bug",
            ));
        };
        let number = transaction.events;
        transaction.events += 1;
        let (begin, gtid) = (
            transaction.begin,
            transaction.gtid.as_ref().map(|(origin, number)| format!("{origin}:{number}")),
        );
        let id = rows.table_id();
        if !self.tables.contains_key(&id) {
            let table = self.describe(context, id)?;
            self.tables.insert(id, table);
        }
        let table = self.tables.get(&id).cloned().flatten();
        let skip = match number.cmp(&self.skip.0) {
            std::cmp::Ordering::Less => return Ok(()),
            std::cmp::Ordering::Equal => self.skip.1,
            std::cmp::Ordering::Greater => 0,
        };
        let Some(table) = table else { return Ok(()) };
        let map = self
            .stream
            .get_tme(id)
            .ok_or_else(|| Failure::fatal("CDC_LOG", "the log has rows of a table that it does not describe"))?;
        for (row, images) in (0_u64..).zip(rows.rows(map)) {
            let (before, after) = images.map_err(unreadable)?;
            if row < skip {
                continue;
            }
            let read = |image: Option<BinlogRow>| image.map(|image| cells(context, &table, image)).transpose();
            let (before, after) = (read(before)?, read(after)?);
            let position = |rows| Position {
                gtids: self.gtids_text.clone(),
                file: Arc::clone(&self.file),
                begin,
                events: number,
                rows,
                snapshot: None,
            };
            let place = gtid.clone().unwrap_or_else(|| format!("{}:{begin}", self.file));
            let origin = |part: &str| Origin {
                id: format!("{place}/{number}/{row}{part}"),
                database: &table.database,
                table: &table.name,
                gtid: gtid.as_deref(),
                file: &self.file,
                begin,
                row,
                server_id: header.server_id(),
                seconds: Some(header.timestamp()),
            };
            for (part, change, rows) in changes(&table, before.as_deref(), after.as_deref(), row) {
                let event = context.events.event(&table.columns, &table.key, &change, &origin(part))?;
                records.push(Record {
                    event: Some(event),
                    partition: context.partition.clone(),
                    position: Some(position(rows)),
                    receipt: None,
                });
            }
            self.at = position(row + 1);
        }
        Ok(())
    }

    /// The table, when it is one that is read.
    fn describe(&self, context: &Context<'_>, id: u64) -> Result<Option<Arc<LogTable>>, Failure> {
        let map = self
            .stream
            .get_tme(id)
            .ok_or_else(|| Failure::fatal("CDC_LOG", "the log has rows of a table that it does not describe"))?;
        let name = map.table_name();
        if map.database_name() != context.database || !context.config.wants(&name) {
            return Ok(None);
        }
        let json = context.json.get(&*name).map_or(&[][..], Vec::as_slice);
        LogTable::read(map, json).map(|table| Some(Arc::new(table))).map_err(unreadable)
    }
}

/// The changes of a row, each with the rows that are read once it is told. Where the key changes, one row goes and another comes:
/// each in the order of its own key.
fn changes<'r>(table: &LogTable, before: Option<&'r [Cell]>, after: Option<&'r [Cell]>, row: u64) -> Vec<(&'static str, Change<'r>, u64)> {
    let change = |op, before, after| Change { op, before, after };
    match (before, after) {
        (Some(old), Some(new)) if table.key.iter().any(|at| old.get(*at) != new.get(*at)) => vec![
            ("/d", change("d", Some(old), None), row),
            ("/c", change("c", None, Some(new)), row + 1),
        ],
        (Some(_), Some(_)) => vec![("", change("u", before, after), row + 1)],
        (None, _) => vec![("", change("c", None, after), row + 1)],
        (_, None) => vec![("", change("d", before, None), row + 1)],
    }
}

fn cells(context: &Context<'_>, table: &LogTable, image: BinlogRow) -> Result<Vec<Cell>, Failure> {
    if image.len() != table.columns.len() {
        return Err(Failure::fatal(
            "CDC_SETUP",
            format!(
                "a change of `{}` has not all columns: the server must have binlog_row_image=FULL",
                table.name
            ),
        ));
    }
    let values = image.unwrap().into_iter().zip(&table.log_columns).zip(&table.columns);
    values
        .map(|((value, log), column)| {
            cell(log, &context.about.charsets, value)
                .map_err(|why| Failure::fatal("CDC_VALUE", format!("the column `{}` of `{}`: {why}", column.name, table.name)))
        })
        .collect()
}

/// The name of a log file. The event that a server makes up at the beginning has its checksum behind the name, and nothing says
/// so yet: a name has as many digits as the one before.
fn file_name(name: &str, before: &str) -> Arc<str> {
    let (base, digits) = before.rsplit_once('.').unwrap_or_default();
    let digits = digits.len().max(6);
    match name.strip_prefix(base).and_then(|rest| rest.strip_prefix('.')) {
        Some(rest) => {
            let number: String = rest.chars().take(digits).take_while(char::is_ascii_digit).collect();
            format!("{base}.{number}").into()
        }
        None => name.into(),
    }
}

fn unreadable(error: std::io::Error) -> Failure {
    Failure::fatal("CDC_LOG", format!("the log can't be read: {error}"))
}

fn uuid(bytes: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_behind_a_file_name_is_not_part_of_it() {
        assert_eq!(&*file_name("binlog.000012", "binlog.000011"), "binlog.000012");
        assert_eq!(&*file_name("binlog.0000127\u{fffd}a", "binlog.000011"), "binlog.000012");
        assert_eq!(&*file_name("binlog.1000001", "binlog.1000000"), "binlog.1000001");
    }
}
