//! One relation: what comes next.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::future::try_join_all;
use openconnect_change::Cell;
use openconnect_core::Failure;
use openconnect_core::record::{Partition, Record};
use openconnect_sql::{Connection, Keyset, Mark, PageRows, Pool, Select, Split, Statement};

use crate::config::{JdbcSourceConfig, Mode};
use crate::event::Events;
use crate::position::{Marks, Position, Unsettled, identity};
use crate::relation::Relation;
use crate::window::Window;

/// Bytes of one page, where there is as much.
pub(crate) const PAGE_BYTES: usize = 8 << 20;
/// Rows of the window that are looked at with one statement, and rows that are read by their marks with one.
const LOOK: u32 = 10_000;
const LATE: usize = 50;
/// How often rows whose time has not come are looked for.
const FUTURE_EVERY: Duration = Duration::from_secs(3600);

/// Rows of one page with their marks.
struct Page {
    rows: Vec<(Marks, Vec<Cell>)>,
    /// There may be more after them.
    more: bool,
}

/// Reads one relation. Whatever it returns it remembers at once, and nothing else: a call that takes too long is dropped half-way.
pub(crate) struct Reader {
    pub(crate) relation: Relation,
    partition: Partition,
    mode: Mode,
    page_rows: PageRows,
    parallel: usize,
    /// There was more behind the last page.
    behind: bool,
    interval: Duration,
    position: Position,
    window: Window,
    /// When the window is looked through again.
    look: Instant,
    /// How far into the window the current look has come.
    looked: Option<Marks>,
    /// When there may be something new.
    due: Instant,
    /// When rows whose time has not come are looked for again.
    future: Instant,
}

impl Reader {
    pub(crate) fn new(config: &JdbcSourceConfig, relation: Relation, saved: Option<&Position>) -> Self {
        let now = Instant::now();
        // A whole reading has no window: the next one sees what came meanwhile.
        let lag = if config.mode == Mode::Bulk { Duration::ZERO } else { config.lag.0 };
        let mut window = Window::new(lag);
        let mut position = saved.cloned().unwrap_or_default();
        match position.unsettled.take().filter(|_| !lag.is_zero()) {
            // Which rows of the window were read is not known: it is read again.
            Some(unsettled) if unsettled.read.is_none() => position.after.clone_from(&unsettled.after),
            Some(unsettled) => window.restore(&unsettled, now),
            None => {}
        }
        Self {
            partition: Partition::new(relation.name.as_str()),
            relation,
            mode: config.mode,
            page_rows: PageRows::new(config.page_rows),
            parallel: config.parallel_pages as usize,
            behind: false,
            interval: config.interval.0,
            position,
            window,
            look: now,
            looked: None,
            due: now,
            future: now,
        }
    }

    /// When there may be something to read.
    pub(crate) fn due(&self) -> Instant {
        if self.window.period().is_zero() {
            self.due
        } else {
            self.due.min(self.look)
        }
    }

    /// What is next; nothing when it is not time, or nothing has come. Rows are read up to the one that makes them `bytes` large.
    pub(crate) async fn next(&mut self, pool: &Pool, events: &Events, bytes: usize) -> Result<Vec<Record<Position>>, Failure> {
        let now = Instant::now();
        if self.mode == Mode::Bulk {
            return self.bulk(pool, events, now, bytes).await;
        }
        if !self.window.period().is_zero() && self.look <= now {
            let late = self.late(&mut pool.acquire().await?, events, now, bytes).await?;
            if !late.is_empty() {
                return Ok(late);
            }
        }
        if self.due > now {
            return Ok(Vec::new());
        }
        let page = self.page(pool, self.position.after.clone(), bytes).await?;
        self.behind = page.more;
        if !page.more {
            self.due = now + self.interval;
            self.note_future(pool, now).await?;
        }
        self.window.advance(now, self.position.after.as_ref());
        // As it is before the page: after a crash in the middle of it, the page comes again at the most.
        let unsettled = self.window.unsettled();
        page.rows
            .into_iter()
            .map(|(marks, cells)| self.new_row(marks, &cells, events, &unsettled))
            .collect()
    }

    /// Says now and then that rows wait for their time.
    async fn note_future(&mut self, pool: &Pool, now: Instant) -> Result<(), Failure> {
        let Keyset { from, condition, .. } = &self.relation.rows;
        let Some(condition) = condition.as_ref().filter(|_| self.future <= now) else {
            return Ok(());
        };
        self.future = now + FUTURE_EVERY;
        let sql = format!("select 'x' from {from} as r where not ({condition}) limit 1");
        let (rows, _) = pool.acquire().await?.query(&Statement::new(sql, Vec::new()), 1).await?;
        if !rows.is_empty() {
            tracing::warn!(
                relation = self.relation.name,
                "some rows have times in the future: they are read when these times have come"
            );
        }
        Ok(())
    }

    fn new_row(
        &mut self,
        marks: Marks,
        cells: &[Cell],
        events: &Events,
        unsettled: &Option<Arc<Unsettled>>,
    ) -> Result<Record<Position>, Failure> {
        self.window.note(identity(&marks));
        let version = self.version(&marks);
        self.position = Position {
            after: Some(marks),
            unsettled: unsettled.clone(),
            ..Position::default()
        };
        self.record(cells, events, version.as_deref())
    }

    /// Rows of the window that were not there before. Empty once it was looked through.
    async fn late(
        &mut self,
        connection: &mut Connection,
        events: &Events,
        now: Instant,
        bytes: usize,
    ) -> Result<Vec<Record<Position>>, Failure> {
        let Some(last) = self.position.after.clone() else {
            self.look = now + self.window.period();
            return Ok(Vec::new());
        };
        loop {
            let from = match (&self.looked, self.window.after()) {
                (Some(looked), _) => Some(looked.clone()),
                (None, Some(after)) => after.cloned(),
                (None, None) => Some(last.clone()),
            };
            let select = Select::marks(&self.relation.rows, connection.dialect())
                .after(from.as_deref())?
                .up_to(&last)?;
            let (rows, cut) = connection.query(&select.page(LOOK), bytes).await?;
            let more = cut || rows.len() >= LOOK as usize;
            let all: Vec<Marks> = rows.iter().filter_map(|row| row.iter().map(Mark::of).collect()).collect();
            let unknown: Vec<Marks> = all
                .iter()
                .filter(|marks| !self.window.knows(identity(marks)))
                .take(LATE)
                .cloned()
                .collect();
            let (found, cut) = if unknown.is_empty() {
                (Vec::new(), false)
            } else {
                self.by_marks(connection, &unknown, bytes).await?
            };
            if unknown.is_empty() {
                self.looked = all.last().cloned().filter(|_| more);
                if !more {
                    self.look = now + self.window.period();
                    return Ok(Vec::new());
                }
                continue;
            }
            // They are known from now on, also those that are gone again, but for those that had no room: this part of the window
            // is looked at once more.
            let all_known = if cut { &[][..] } else { &unknown };
            for marks in all_known.iter().chain(found.iter().map(|(marks, _)| marks)) {
                self.window.note(identity(marks));
            }
            if !found.is_empty() {
                return self.late_rows(found, events);
            }
        }
    }

    fn late_rows(&mut self, rows: Vec<(Marks, Vec<Cell>)>, events: &Events) -> Result<Vec<Record<Position>>, Failure> {
        tracing::debug!(relation = self.relation.name, rows = rows.len(), "rows that were committed late");
        let mut records = Vec::with_capacity(rows.len());
        for (marks, cells) in rows {
            let version = self.version(&marks);
            records.push(self.record(&cells, events, version.as_deref())?);
        }
        // Only with the last of them all are known; a crash before it reads them again.
        self.position.unsettled = self.window.unsettled();
        if let Some(last) = records.pop() {
            records.push(last.with_position(self.position.clone()));
        }
        Ok(records)
    }

    /// These rows, and whether some of them had no room.
    async fn by_marks(
        &self,
        connection: &mut Connection,
        marks: &[Marks],
        bytes: usize,
    ) -> Result<(Vec<(Marks, Vec<Cell>)>, bool), Failure> {
        let select = Select::rows(&self.relation.rows, connection.dialect()).only(marks)?;
        let statement = select.page(u32::try_from(marks.len()).unwrap_or(u32::MAX));
        let dialect = connection.dialect();
        let (rows, cut) = connection.query(&statement, bytes).await?;
        let keyed = |mut cells: Vec<Cell>| Some((self.relation.rows.take_marks(dialect, &mut cells)?.into(), cells));
        Ok((rows.into_iter().filter_map(keyed).collect(), cut))
    }

    /// All rows, and again after the interval.
    async fn bulk(&mut self, pool: &Pool, events: &Events, now: Instant, bytes: usize) -> Result<Vec<Record<Position>>, Failure> {
        if self.due > now {
            return Ok(Vec::new());
        }
        let clock = clock_ms();
        let interval = u64::try_from(self.interval.as_millis()).unwrap_or(u64::MAX);
        if self.position.complete {
            let next = self.position.began_ms.unwrap_or(0).saturating_add(interval);
            if next > clock && next - clock <= interval {
                self.due = now + Duration::from_millis(next - clock);
                return Ok(Vec::new());
            }
        }
        let begins = self.position.complete || self.position.began_ms.is_none();
        let (after, began) = if begins {
            (None, clock)
        } else {
            (self.position.after.clone(), self.position.began_ms.unwrap_or(clock))
        };
        let page = self.page(pool, after.clone(), bytes).await?;
        self.behind = page.more;
        self.position = Position {
            after,
            began_ms: Some(began),
            complete: !page.more && page.rows.is_empty(),
            unsettled: None,
        };
        let last = page.rows.len().saturating_sub(1);
        let version = began.to_string();
        let mut records = Vec::with_capacity(page.rows.len());
        for (at, (marks, cells)) in page.rows.into_iter().enumerate() {
            self.position.after = Some(marks);
            self.position.complete = at == last && !page.more;
            records.push(self.record(&cells, events, Some(&version))?);
        }
        Ok(records)
    }

    /// The next page; several of them, read at the same time, where the last one was not the end.
    async fn page(&mut self, pool: &Pool, after: Option<Marks>, bytes: usize) -> Result<Page, Failure> {
        let (relation, page_rows) = (&self.relation.rows, self.page_rows.get());
        let parallel = if self.behind { self.parallel } else { 1 };
        let splits = Split::all(
            &mut pool.acquire().await?,
            relation,
            after.map(|after| after.to_vec()),
            page_rows,
            parallel,
        )
        .await?;
        let reads = splits.iter().map(async |split| {
            let mut connection = pool.acquire().await?;
            split.read(&mut connection, relation, page_rows, bytes / splits.len()).await
        });
        let (mut rows, mut more) = (Vec::new(), false);
        for part in try_join_all(reads).await? {
            more = part.next.is_some();
            self.page_rows.note(part.rows.len(), part.cut);
            rows.extend(part.rows.into_iter().map(|(marks, cells)| (marks.into(), cells)));
            if part.cut {
                break;
            }
        }
        Ok(Page { rows, more })
    }

    /// What makes this state of a row differ from others: the time of its last change, where there is one.
    fn version(&self, marks: &[Mark]) -> Option<String> {
        match self.mode {
            Mode::Timestamp | Mode::TimestampIncrementing => marks.first().map(Mark::text),
            Mode::Incrementing | Mode::Bulk => None,
        }
    }

    /// The record of a row, with the position as it is now.
    fn record(&self, cells: &[Cell], events: &Events, version: Option<&str>) -> Result<Record<Position>, Failure> {
        let event = events.event(&self.relation, cells, version)?;
        Ok(Record::event(self.partition.clone(), event).with_position(self.position.clone()))
    }
}

fn clock_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
