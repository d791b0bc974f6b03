//! The binary log: files, transactions, statements. Rows are in `rows.rs`.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{FutureExt as _, StreamExt as _};
use metrics::counter;
use mysql_async::BinlogStream;
use mysql_async::binlog::EventType;
use mysql_async::binlog::events::{BinlogEventHeader, Event, EventData, TransactionPayloadEvent};
use openconnect_core::Failure;
use openconnect_core::budget::event_bytes;
use openconnect_core::record::Record;
use openconnect_sql::codes::SQL_CONNECTION;

use crate::codes;
use crate::compressed;
use crate::context::Context;
use crate::event::Boundary;
use crate::gtid::GtidSet;
use crate::held::Touched;
use crate::origin::Origin;
use crate::position::{Place, Position};
use crate::server::{failure, unreadable};
use crate::statement::{Statement, Verb};
use crate::table::LogTable;
use crate::value::uuid;

/// Records that one call gives, at the most, but for those of one row event.
pub(crate) const READ_BATCH: usize = 500;
/// Bytes of the events of one call, at the most, but for those of one row event.
const READ_BYTES: usize = 1 << 20;
/// How often a position is stored where nothing is told.
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// MariaDB's event at the beginning of each transaction.
const MARIADB_GTID: u8 = 162;

/// Events that are read.
const READ: [u8; 19] = [
    EventType::QUERY_EVENT as u8,
    EventType::ROTATE_EVENT as u8,
    EventType::FORMAT_DESCRIPTION_EVENT as u8,
    EventType::XID_EVENT as u8,
    EventType::EXECUTE_LOAD_QUERY_EVENT as u8,
    EventType::TABLE_MAP_EVENT as u8,
    EventType::WRITE_ROWS_EVENT_V1 as u8,
    EventType::UPDATE_ROWS_EVENT_V1 as u8,
    EventType::DELETE_ROWS_EVENT_V1 as u8,
    EventType::INCIDENT_EVENT as u8,
    EventType::WRITE_ROWS_EVENT as u8,
    EventType::UPDATE_ROWS_EVENT as u8,
    EventType::DELETE_ROWS_EVENT as u8,
    EventType::GTID_EVENT as u8,
    EventType::ANONYMOUS_GTID_EVENT as u8,
    EventType::XA_PREPARE_LOG_EVENT as u8,
    EventType::PARTIAL_UPDATE_ROWS_EVENT as u8,
    EventType::GTID_TAGGED_LOG_EVENT as u8,
    MARIADB_GTID,
];
/// Events that say nothing about rows: what comes before a statement, notes of the server; MySQL's second form of a heartbeat;
/// MariaDB's annotations, checkpoints, lists of transactions and the beginning of encryption.
const HARMLESS: [u8; 17] = [
    EventType::STOP_EVENT as u8,
    EventType::INTVAR_EVENT as u8,
    EventType::RAND_EVENT as u8,
    EventType::USER_VAR_EVENT as u8,
    EventType::APPEND_BLOCK_EVENT as u8,
    EventType::DELETE_FILE_EVENT as u8,
    EventType::BEGIN_LOAD_QUERY_EVENT as u8,
    EventType::HEARTBEAT_EVENT as u8,
    EventType::ROWS_QUERY_EVENT as u8,
    EventType::PREVIOUS_GTIDS_EVENT as u8,
    EventType::TRANSACTION_CONTEXT_EVENT as u8,
    EventType::VIEW_CHANGE_EVENT as u8,
    41,
    160,
    161,
    163,
    164,
];
/// A server says of such events that who does not know them may leave them out.
const IGNORABLE: u16 = 0x80;

/// The transaction that is being read.
#[derive(Debug)]
pub(crate) struct Transaction {
    /// Its origin and number there.
    pub(crate) gtid: Option<(String, u64)>,
    pub(crate) begin: u64,
    /// Row events of it.
    pub(crate) events: u64,
    /// Changes of it that are told, by table.
    pub(crate) told: BTreeMap<String, u64>,
    /// Where a statement ended that most often is a transaction of its own. `CREATE TABLE … SELECT` goes on with rows.
    ended: Option<u64>,
}

impl Transaction {
    /// Its GTID as text.
    pub(crate) fn gtid(&self) -> Option<String> {
        self.gtid.as_ref().map(|(origin, number)| format!("{origin}:{number}"))
    }

    /// What names it: the GTID, or file and place.
    pub(crate) fn id(&self, file: &str) -> String {
        self.gtid().unwrap_or_else(|| format!("{file}:{}", self.begin))
    }
}

/// The log from a position on.
pub(crate) struct Log {
    pub(crate) stream: BinlogStream,
    pub(crate) file: Arc<str>,
    /// All transactions before the current one.
    gtids: Option<GtidSet>,
    pub(crate) gtids_text: Option<Arc<str>>,
    pub(crate) transaction: Option<Transaction>,
    /// Where a transaction was left that was read in part; none once it has come.
    left: Option<Position>,
    /// Where to go on when the connection is lost.
    pub(crate) at: Position,
    /// How far the log is read; none before the server said where it begins, which need not be where it was asked to.
    place: Option<Place>,
    pub(crate) tables: HashMap<u64, Option<Arc<LogTable>>>,
    noted: Instant,
    /// When the server wrote the last event: seconds since 1970.
    seconds: u32,
    /// The connection that made the transaction.
    pub(crate) thread: u32,
    /// Why it can't go on, once what was read is told.
    failed: Option<Failure>,
    /// A table was changed: the server's catalog must be asked again.
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
            left: Some(position.clone()).filter(|position| position.events > 0 || position.rows > 0),
            at: position,
            place: None,
            tables: HashMap::new(),
            noted: Instant::now(),
            seconds: 0,
            thread: 0,
            failed: None,
            changed: false,
        }
    }

    /// Waits for the next changes.
    ///
    /// `touched` gets the keys of the rows that change; it is read as far as [`Touched::until`] at the most.
    pub(crate) async fn read(&mut self, context: &Context<'_>, touched: &mut Touched<'_>) -> Result<Vec<Record<Position>>, Failure> {
        if let Some(failure) = self.failed.take() {
            return Err(failure);
        }
        let mut records = Vec::new();
        let silence = context.config.timeout.0;
        let mut next = tokio::time::timeout(silence, self.stream.next())
            .await
            .map_err(|_| Failure::retryable(SQL_CONNECTION, format!("the server was silent for {silence:?}")))?;
        // Not before: while nothing changes, nothing is held.
        let mut memory = context.budget.reserve(READ_BYTES).await;
        let (mut counted, mut bytes) = (0, 0);
        loop {
            let handled = match next {
                Some(Ok(event)) => self.handle(context, &event, touched, &mut records),
                Some(Err(error)) => Err(failure(error)),
                None => Err(Failure::retryable(SQL_CONNECTION, "the server ended the log")),
            };
            let new = records.get(counted..).unwrap_or_default();
            bytes += new.iter().filter_map(Record::as_event).map(event_bytes).sum::<usize>();
            counted = records.len();
            let full = records.len() >= READ_BATCH || bytes >= memory.bytes();
            match handled {
                Err(failure) if records.is_empty() => return Err(failure),
                // What was read before it is told first; then the log is opened again behind that.
                Err(failure) => {
                    self.failed = Some(failure);
                    break;
                }
                Ok(()) if full || self.changed || touched.until().is_some_and(|until| self.reached(until)) => {
                    context.seen.set(&self.file, self.seconds);
                    break;
                }
                Ok(()) => match self.stream.next().now_or_never() {
                    Some(ready) => next = ready,
                    None => {
                        context.seen.set_newest(&self.file);
                        break;
                    }
                },
            }
        }
        self.note(context, &mut records);
        Ok(records.into_iter().map(|record| record.reserved_from(&mut memory)).collect())
    }

    /// Is everything before that place read, and no transaction open?
    pub(crate) fn reached(&self, place: &Place) -> bool {
        let between = self.transaction.as_ref().is_none_or(|transaction| transaction.ended.is_some());
        between && self.place.as_ref().is_some_and(|read| read >= place)
    }

    /// Ends what is known to have ended, so that [`at`](Self::at) is behind it.
    pub(crate) fn settle(&mut self) -> &Position {
        self.end();
        &self.at
    }

    /// Where nothing is told the position moves all the same, now and then.
    fn note(&mut self, context: &Context<'_>, records: &mut Vec<Record<Position>>) {
        let told = records.last().and_then(Record::position) == Some(&self.at);
        if self.transaction.is_none() && !told && self.noted.elapsed() >= NOTE_EVERY {
            self.noted = Instant::now();
            records.push(context.progress(self.at.clone()));
        }
    }

    fn handle(
        &mut self,
        context: &Context<'_>,
        event: &Event,
        touched: &mut Touched<'_>,
        records: &mut Vec<Record<Position>>,
    ) -> Result<(), Failure> {
        let header = event.header();
        let end = u64::from(header.log_pos());
        if end > 0 {
            self.place = Some(Place::new(&self.file, end));
        }
        if header.timestamp() > 0 {
            self.seconds = header.timestamp();
        }
        let begin = end.saturating_sub(u64::from(header.event_size()));
        if header.event_type_raw() == EventType::TRANSACTION_PAYLOAD_EVENT as u8 {
            // Its events come next; one that can't be read would be left out without a word.
            return event.read_event::<TransactionPayloadEvent<'_>>().map(drop).map_err(unreadable);
        }
        if header.event_type_raw() == MARIADB_GTID {
            self.begin(None, begin);
            return Ok(());
        }
        let plain = compressed::plain_event(event).map_err(unreadable)?;
        let kind = plain.header().event_type_raw();
        if !READ.contains(&kind) {
            let is_harmless = HARMLESS.contains(&kind) || header.flags_raw() & IGNORABLE != 0;
            return if is_harmless {
                Ok(())
            } else {
                Err(self.unknown_event(kind, begin))
            };
        }
        match plain.read_data().map_err(unreadable)? {
            Some(EventData::RotateEvent(rotate)) => {
                self.end();
                self.file = file_name(&rotate.name(), &self.file);
                self.place = Some(Place::new(&self.file, rotate.position()));
                self.tables.clear();
                if self.transaction.is_none() && self.left.is_none() {
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
                b"BEGIN" => {
                    self.thread = query.thread_id();
                    if self.transaction.is_none() {
                        self.begin(None, begin);
                    }
                }
                b"COMMIT" => self.commit(context, end, records)?,
                statement
                    if statement.starts_with(b"SAVEPOINT")
                        || statement.starts_with(b"ROLLBACK TO")
                        || statement.starts_with(b"XA START")
                        || statement.starts_with(b"XA END") => {}
                _ => {
                    let statement = LoggedStatement {
                        text: query.query(),
                        database: query.schema(),
                        thread: query.thread_id(),
                    };
                    self.statement(context, &header, &statement, touched, records)?;
                }
            },
            Some(EventData::ExecuteLoadQueryEvent(query)) => {
                let statement = LoggedStatement {
                    text: query.query(),
                    database: query.schema(),
                    thread: query.thread_id(),
                };
                self.statement(context, &header, &statement, touched, records)?;
            }
            Some(EventData::TableMapEvent(table)) => self.describe(context, &plain, &table)?,
            // What is prepared can't be told apart from what is committed, but by a statement much later.
            Some(EventData::XidEvent(_) | EventData::XaPrepareLogEvent(_)) => self.commit(context, end, records)?,
            Some(EventData::RowsEvent(rows)) => self.rows(context, &header, &rows, touched, records)?,
            Some(EventData::IncidentEvent(_)) => {
                return Err(Failure::fatal(
                    codes::CDC_INCIDENT,
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
            told: BTreeMap::new(),
            ended: None,
        });
    }

    /// Ends a transaction that consists of a statement, now that it is known to have no rows.
    fn end(&mut self) {
        if let Some(end) = self.transaction.as_ref().and_then(|transaction| transaction.ended) {
            self.move_behind(end);
        }
    }

    fn commit(&mut self, context: &Context<'_>, end: u64, records: &mut Vec<Record<Position>>) -> Result<(), Failure> {
        let done = self.transaction.as_ref().filter(|transaction| !transaction.told.is_empty());
        let told = done.filter(|_| context.config.transactions).map(|transaction| Boundary {
            id: transaction.id(&self.file),
            changes: Some(transaction.told.clone()),
            seconds: self.seconds,
        });
        self.move_behind(end);
        if let Some(boundary) = told {
            records.push(context.record(context.events.boundary(&boundary)?, self.at.clone()));
        }
        Ok(())
    }

    fn move_behind(&mut self, end: u64) {
        if self.is_left() {
            self.left = None;
        }
        if let (Some(set), Some((origin, number))) = (&mut self.gtids, self.transaction.take().and_then(|done| done.gtid)) {
            set.add(&origin, number);
            self.gtids_text = Some(set.to_string().into());
        }
        self.transaction = None;
        // Within a compressed transaction an event does not say where it ends.
        let end = if end > 0 { end } else { self.place.as_ref().map_or(0, Place::at) };
        self.at = Position {
            gtids: self.gtids_text.clone(),
            file: Arc::clone(&self.file),
            begin: end,
            ..self.left.clone().unwrap_or_default()
        };
    }

    /// Is the current transaction the one that was read in part?
    pub(crate) fn is_left(&self) -> bool {
        match (&self.left, &self.transaction) {
            (Some(left), Some(transaction)) => left.transaction.is_none() || left.transaction.as_deref() == transaction.gtid().as_deref(),
            _ => false,
        }
    }

    /// Where a transaction was left that is still to come.
    pub(crate) fn left(&self) -> Option<&Position> {
        self.left.as_ref()
    }

    /// What may change rows, or may not: it is not left out.
    fn unknown_event(&self, kind: u8, begin: u64) -> Failure {
        Failure::fatal(
            codes::CDC_LOG,
            format!(
                "the log has an event of the type {kind}, which this version does not know; {}",
                self.location(begin)
            ),
        )
    }

    fn location(&self, at: u64) -> String {
        format!("file {}, position {at}", self.file)
    }

    /// A statement in place of rows: most often of a table.
    fn statement(
        &mut self,
        context: &Context<'_>,
        header: &BinlogEventHeader,
        logged: &LoggedStatement<'_>,
        touched: &mut Touched<'_>,
        records: &mut Vec<Record<Position>>,
    ) -> Result<(), Failure> {
        self.tables.clear();
        let end = u64::from(header.log_pos());
        let begin = end.saturating_sub(u64::from(header.event_size()));
        let statement = match Statement::read(&logged.text) {
            Statement::Table(statement) => statement,
            Statement::DropDatabase(database) => {
                if context.about.is_database(&database) {
                    touched.all();
                    self.changed = true;
                    untold("DROP DATABASE", &database, &self.location(begin));
                }
                self.ends(end);
                return Ok(());
            }
            Statement::Harmless => {
                self.ends(end);
                return Ok(());
            }
            Statement::Rows(statement) => {
                if let Some(what) = context.concerns(&statement, &logged.database) {
                    return Err(Failure::fatal(
                        codes::CDC_STATEMENT,
                        format!(
                            "a change of {what} is in the log as a statement ({}), not as rows: its session has set binlog_format; {}",
                            statement.verb,
                            self.location(begin)
                        ),
                    ));
                }
                self.ends(end);
                return Ok(());
            }
            Statement::Unknown(verb) => {
                return Err(Failure::fatal(
                    codes::CDC_STATEMENT,
                    format!(
                        "the log has a statement of a kind that this version does not know ({verb}); {}",
                        self.location(begin)
                    ),
                ));
            }
        };
        let mut of_database = statement
            .tables
            .iter()
            .filter(|(database, _)| context.about.is_database(database.as_deref().unwrap_or(&logged.database)));
        self.changed |= of_database.clone().next().is_some();
        let Some((_, table)) = of_database.find(|(_, table)| context.wants(table)) else {
            self.ends(end);
            return Ok(());
        };
        touched.all();
        if let Some(what) = &statement.untold {
            untold(what, table, &self.location(begin));
        }
        let place = self
            .transaction
            .as_ref()
            .map(|transaction| (transaction.id(&self.file), transaction.gtid()));
        let (id, gtid) = place.unwrap_or_else(|| (format!("{}:{end}", self.file), None));
        let origin = Origin {
            id: format!("{id}/{}", if statement.verb == Verb::Truncate { "truncate" } else { "ddl" }),
            database: &context.about.database,
            table,
            gtid: gtid.as_deref(),
            file: &self.file.clone(),
            begin: self.transaction.as_ref().map_or(end, |transaction| transaction.begin),
            pos: begin,
            thread: logged.thread,
            server_id: header.server_id(),
            seconds: Some(header.timestamp()),
            ..Origin::default()
        };
        let mut told = Vec::new();
        if statement.verb == Verb::Truncate {
            told.push(context.events.truncate(origin.clone())?);
        }
        if context.config.schema_changes {
            told.push(context.events.schema_change(&logged.text, &origin)?);
        }
        if statement.verb == Verb::Create {
            self.ends(end);
        } else {
            self.move_behind(end);
        }
        // Told again if it is not stored: the position of a statement that may go on with rows is still before it.
        records.extend(told.into_iter().map(|event| context.record(event, self.at.clone())));
        Ok(())
    }

    fn ends(&mut self, end: u64) {
        match &mut self.transaction {
            Some(transaction) => transaction.ended = Some(end),
            None => self.move_behind(end),
        }
    }
}

/// A statement as the log has it.
struct LoggedStatement<'a> {
    text: Cow<'a, str>,
    /// The database of the session.
    database: Cow<'a, str>,
    thread: u32,
}

/// Rows went or came, and the log does not say which.
fn untold(what: &str, name: &str, location: &str) {
    counter!("openconnect_cdc_untold_statements_total").increment(1);
    tracing::warn!(
        name,
        statement = what,
        location,
        "rows changed without events: the log has the statement alone; `offsets reset` makes a new snapshot"
    );
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
