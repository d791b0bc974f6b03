//! The rows that are there, in chunks, while the log is read. It can be gone on with in the middle of a table.
//!
//! No lock is taken. A round reads some chunks that follow each other, at the same time, and then asks where the log ends. What
//! can be seen of them is in the log before that place, so the log is read up to there first; a row whose key the log tells on
//! the way is dropped from its chunk, for the log has told it as it is now. The rest is told, and stands between the changes
//! before it and those after it as if it had been read at that place.
//!
//! A round begins once everything that the log told can be seen: what it reads is never older than what was told.
//!
//! At the end of a table of which the log has told no change meanwhile, the rows that were read are compared with those that the
//! server counts: a row that was left out does not stay unnoticed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use mysql_async::Conn;
use openconnect_change::{Cell, Change, Column, Kind, Op, key_text, plain_number};
use openconnect_core::Failure;
use openconnect_core::budget::{Budget, Reservation};
use openconnect_core::record::Record;
use openconnect_sql::{Dialect, Keyset, Mark, PageRows, Pool, Split, Statement, Table, missing};
use tokio_util::task::AbortOnDropHandle;

use crate::codes;
use crate::columns::{ColumnSettings, View};
use crate::config::MySqlCdcConfig;
use crate::context::Context;
use crate::event::Events;
use crate::held::{Chunk, Held, SnapshotTable};
use crate::origin::Origin;
use crate::position::{Place, Position, SnapshotPosition};
use crate::server::{self, About};
use crate::value::{double, single};

/// Bytes of one chunk, where there is as much.
const CHUNK_BYTES: usize = 8 << 20;

/// A snapshot that is being made.
pub(crate) struct Snapshot {
    /// What is left, by name; the first one may be begun.
    tables: VecDeque<Arc<SnapshotTable>>,
    /// The last row that was told of the first of them.
    after: Option<Vec<Mark>>,
    /// Rows that were read of the first of them; none once it has changed meanwhile.
    counted: Option<u64>,
    /// How far it has come, as it is stored.
    pub(crate) progress: SnapshotPosition,
    /// Where the log ended when it was begun: tells one snapshot's events from another's.
    started: Arc<str>,
    rows: PageRows,
    parallel: usize,
    within: Duration,
    pool: Pool,
    budget: Budget,
    round: Round,
}

/// What is being done.
enum Round {
    /// Nothing; the connection for the next one.
    Idle(Box<Conn>),
    Reading(AbortOnDropHandle<Result<(Box<Conn>, Held), Failure>>),
    /// Read, and waiting for the log.
    Waiting(Box<Conn>, Held),
    /// After a failure.
    Broken,
}

/// What a chunk is to be.
type Plan = (Arc<SnapshotTable>, Split);

impl Snapshot {
    /// Looks at the tables. `position` says how far the snapshot has come.
    pub(crate) async fn begin(
        config: &MySqlCdcConfig,
        pool: &Pool,
        budget: &Budget,
        log: Conn,
        about: &About,
        position: &Position,
    ) -> Result<Self, Failure> {
        let progress = position.snapshot.clone().unwrap_or_default();
        let mut connection = pool.acquire().await?;
        let mut tables = VecDeque::new();
        for name in Table::names(&mut connection).await? {
            let text: Arc<str> = name.to_string().into();
            let is_done = progress
                .table
                .as_ref()
                .is_some_and(|last| text < *last || (text == *last && progress.after.is_none()));
            if !config.wants(&text, about.ignores_case) || is_done {
                continue;
            }
            let Some(table) = Table::load(&mut connection, &name).await? else {
                continue;
            };
            if table.key.is_empty() {
                return Err(missing(format!(
                    "`{text}` has no primary key, so its rows can't be read in chunks; exclude it or give it one"
                )));
            }
            let (columns, order, view) = told(&config.columns, &text, table)?;
            let keyset = Keyset {
                from: name.quoted(Dialect::MySql),
                columns,
                order,
                condition: None,
            };
            tables.push_back(Arc::new(SnapshotTable { name: text, keyset, view }));
        }
        let begun = tables.front().filter(|table| progress.table.as_ref() == Some(&table.name));
        let after = begun.and_then(|_| progress.after.clone());
        let counted = if after.is_some() { progress.counted } else { Some(0) };
        let started = progress.started.clone();
        let started = started.unwrap_or_else(|| format!("{}:{}", position.file, position.begin).into());
        Ok(Self {
            tables,
            after,
            counted,
            progress: SnapshotPosition {
                started: Some(Arc::clone(&started)),
                ..progress
            },
            started,
            rows: PageRows::new(config.chunk_rows),
            parallel: config.parallel_chunks as usize,
            within: config.timeout.0,
            pool: pool.clone(),
            budget: budget.clone(),
            round: Round::Idle(Box::new(log)),
        })
    }

    /// Are all rows told?
    pub(crate) fn is_done(&self) -> bool {
        self.tables.is_empty()
    }

    /// Reads the next chunks meanwhile, once what the log told up to `position` can be seen.
    pub(crate) fn start(&mut self, about: &About, position: &Position) {
        if self.is_done() {
            return;
        }
        self.round = match std::mem::replace(&mut self.round, Round::Broken) {
            Round::Idle(connection) => {
                let reader = Reader {
                    pool: self.pool.clone(),
                    budget: self.budget.clone(),
                    tables: self.tables.clone(),
                    after: self.after.clone(),
                    rows: self.rows.get(),
                    parallel: self.parallel,
                    within: self.within,
                };
                let (about, position) = (about.clone(), position.clone());
                Round::Reading(AbortOnDropHandle::new(tokio::spawn(async move {
                    reader.read(connection, &about, &position).await
                })))
            }
            round => round,
        };
    }

    /// What waits for the log; comes once the chunks are read.
    pub(crate) async fn held(&mut self) -> Result<&mut Held, Failure> {
        if let Round::Reading(task) = &mut self.round {
            let read = task.await;
            self.round = Round::Broken;
            let read = read.map_err(|e| Failure::retryable(codes::CDC_SNAPSHOT, "the reader of the rows ended").because(e))?;
            let (connection, held) = read?;
            for chunk in &held.chunks {
                self.rows.note(chunk.rows.len(), chunk.cut);
            }
            self.round = Round::Waiting(connection, held);
        }
        match &mut self.round {
            Round::Waiting(_, held) => Ok(held),
            _ => Err(Failure::retryable(
                codes::CDC_SNAPSHOT,
                "the reader of the rows was stopped; it begins again",
            )),
        }
    }

    /// Tells the next of the chunks, the log being read up to `at`; after the last of them the next ones may be read.
    pub(crate) fn release(&mut self, context: &Context<'_>, at: &Position) -> Result<Vec<Record<Position>>, Failure> {
        let Round::Waiting(_, held) = &mut self.round else {
            return Ok(Vec::new());
        };
        let chunk = held.chunks.pop_front();
        if held.chunks.is_empty()
            && let Round::Waiting(connection, _) = std::mem::replace(&mut self.round, Round::Broken)
        {
            self.round = Round::Idle(connection);
        }
        let Some(mut chunk) = chunk else { return Ok(Vec::new()) };
        let mut records = Vec::with_capacity(chunk.rows.len() + 1);
        // Which of its rows the log has told is not counted.
        self.counted = self.counted.filter(|_| !chunk.changed);
        for (marks, cells) in chunk.rows.into_iter().flatten() {
            let table = &chunk.table;
            self.counted = self.counted.map(|rows| rows + 1);
            self.progress = self.up_to(&table.name, Some(marks));
            let event = row_event(context.events, &context.about.database, table, cells, &self.started, at)?;
            records.push(context.record(event, self.stamped(at)).reserved_from(&mut chunk.memory));
        }
        if chunk.next.is_none() {
            self.tables.pop_front();
            if let (Some(read), Some(there)) = (self.counted, chunk.total)
                && read != there
            {
                return Err(Failure::fatal(
                    codes::CDC_ROWS,
                    format!("the snapshot has read {read} rows of `{}`, and {there} are there", chunk.table.name),
                ));
            }
            self.counted = Some(0);
        }
        self.progress = self.up_to(&chunk.table.name, chunk.next.clone());
        self.after = chunk.next;
        // Also where the log has told all the rows of the chunk.
        records.push(context.progress(self.stamped(at)));
        Ok(records)
    }

    fn up_to(&self, table: &Arc<str>, after: Option<Vec<Mark>>) -> SnapshotPosition {
        SnapshotPosition {
            table: Some(Arc::clone(table)),
            counted: self.counted.filter(|_| after.is_some()),
            after,
            started: Some(Arc::clone(&self.started)),
            done: false,
        }
    }

    /// A table has changed as a whole: which of its rows were read says nothing any more.
    pub(crate) fn forget_count(&mut self) {
        self.counted = None;
        self.progress.counted = None;
    }

    /// A position with the progress of the snapshot.
    pub(crate) fn stamped(&self, at: &Position) -> Position {
        Position {
            snapshot: Some(self.progress.clone()),
            ..at.clone()
        }
    }
}

/// The columns that are selected, those of the key among them, and what is told of them. What is left out is not selected either.
fn told(settings: &ColumnSettings, name: &str, table: Table) -> Result<(Vec<Column>, Vec<usize>, View), Failure> {
    let order = |columns: &[Column]| -> Vec<usize> {
        let place = |key: &String| columns.iter().position(|column| column.name == *key);
        table.key.iter().filter_map(place).collect()
    };
    // Also what would be wrong with those that are left out.
    View::new(settings, name, &table.columns, &order(&table.columns))?;
    let columns: Vec<Column> = table
        .columns
        .iter()
        .filter(|column| settings.wants(name, &column.name))
        .cloned()
        .collect();
    let order = order(&columns);
    let view = View::new(settings, name, &columns, &order)?;
    Ok((columns, order, view))
}

struct Reader {
    pool: Pool,
    budget: Budget,
    tables: VecDeque<Arc<SnapshotTable>>,
    after: Option<Vec<Mark>>,
    rows: u32,
    parallel: usize,
    within: Duration,
}

impl Reader {
    async fn read(mut self, mut connection: Box<Conn>, about: &About, position: &Position) -> Result<(Box<Conn>, Held), Failure> {
        server::visible(&mut connection, about, position, self.within).await?;
        // What is held for the log to come is at most half of the budget: the log's own changes have room beside it.
        let mut memory = self.budget.reserve(CHUNK_BYTES.saturating_mul(self.parallel)).await;
        let plans = self.plan().await?;
        let mut parts: Vec<_> = (1..=plans.len()).rev().map(|left| memory.split(memory.bytes() / left)).collect();
        let chunks = plans
            .into_iter()
            .filter_map(|plan| Some((plan, parts.pop()?)))
            .map(|(plan, memory)| self.chunk(plan, memory));
        let mut chunks = try_join_all(chunks).await?;
        for chunk in chunks.iter_mut().filter(|chunk| chunk.next.is_none()) {
            chunk.total = self.count(&chunk.table).await?;
        }
        let (file, at) = server::end(&mut connection).await?;
        let mut held = Held {
            chunks: VecDeque::new(),
            until: Place::new(&file, at),
            stale: false,
        };
        for chunk in chunks {
            let cut = chunk.cut;
            held.chunks.push_back(chunk);
            // What follows a chunk that was too large does not follow what was read of it.
            if cut {
                break;
            }
        }
        Ok((connection, held))
    }

    /// Chunks that follow each other, as many as are read at the same time.
    async fn plan(&mut self) -> Result<Vec<Plan>, Failure> {
        let mut plans = Vec::with_capacity(self.parallel);
        let mut connection = self.pool.acquire().await?;
        while plans.len() < self.parallel {
            let Some(table) = self.tables.pop_front() else { break };
            let count = self.parallel - plans.len();
            let splits = Split::all(&mut connection, &table.keyset, self.after.take(), self.rows, count).await?;
            plans.extend(splits.into_iter().map(|split| (Arc::clone(&table), split)));
        }
        Ok(plans)
    }

    /// How many rows a table has; none when counting takes too long: the log is not read meanwhile.
    async fn count(&self, table: &SnapshotTable) -> Result<Option<u64>, Failure> {
        let connection = self.pool.acquire().await?;
        let count = Statement::new(format!("select cast(count(*) as char) from {}", table.keyset.from), Vec::new());
        let row = connection.row_within(&count, self.within).await?;
        if row.is_none() {
            tracing::info!(
                table = &*table.name,
                "rows not counted in time; the snapshot is not compared with their number"
            );
        }
        let count = row.as_ref().and_then(|row| row.first()).and_then(Cell::text);
        Ok(count.and_then(|count| count.parse().ok()))
    }

    /// Reads one into this memory, and keeps what it takes of it.
    async fn chunk(&self, (table, split): Plan, mut memory: Reservation) -> Result<Chunk, Failure> {
        let mut connection = self.pool.acquire().await?;
        let read = split.read(&mut connection, &table.keyset, self.rows, memory.bytes()).await?;
        let bytes = read.rows.iter().flat_map(|(_, cells)| cells).map(Cell::size).sum();
        Ok(Chunk {
            table,
            rows: read.rows.into_iter().map(Some).collect(),
            by_key: None,
            next: read.next,
            cut: read.cut,
            changed: false,
            total: None,
            memory: memory.split(bytes),
        })
    }
}

/// Numbers as the log has them: their text is a part of keys.
fn as_logged(columns: &[Column], mut cells: Vec<Cell>) -> Vec<Cell> {
    for (column, cell) in columns.iter().zip(&mut cells) {
        let Cell::Text(text) = &*cell else { continue };
        let logged = match column.kind {
            Kind::Float => text.parse().ok().map(single),
            Kind::Double => text.parse().ok().map(double),
            Kind::Integer | Kind::Decimal if text.starts_with('0') => Some(Cell::Text(plain_number(text).to_owned())),
            _ => None,
        };
        if let Some(logged) = logged {
            *cell = logged;
        }
    }
    cells
}

fn row_event(
    events: &Events,
    database: &str,
    table: &SnapshotTable,
    cells: Vec<Cell>,
    started: &str,
    at: &Position,
) -> Result<openconnect_core::cloudevents::Event, Failure> {
    let cells = table.view.row(as_logged(&table.keyset.columns, cells));
    let origin = Origin {
        id: format!("snapshot/{started}/{}/{}", table.name, key_text(&table.view.key, &cells)),
        database,
        table: &table.name,
        file: &at.file,
        begin: at.begin,
        pos: at.begin,
        ..Origin::default()
    };
    let change = Change {
        op: Op::Read,
        columns: &table.view.columns,
        before: None,
        after: Some(&cells),
        transaction: None,
    };
    events.change(&table.view.key, &change, origin)
}
