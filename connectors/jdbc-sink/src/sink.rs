//! The connector.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use openconnect_core::cloudevents::Event;
use openconnect_core::error::{Error, Result};
use openconnect_core::failure::Failure;
use openconnect_core::sink::{Batch, Ordering, Sink, SinkContext, SinkProfile, Target, WriteReport};
use openconnect_core::template::Template;
use openconnect_sql::codes::{SQL_CONNECTION, SQL_TIMEOUT, SQL_URL};
use openconnect_sql::{Dialect, Pool, PoolSettings, Statement, Transaction};

use crate::codes;
use crate::config::{JdbcSinkConfig, Mode, UnknownFields};
use crate::deduplicate::Delivered;
use crate::event::Reader;
use crate::expression::Data;
use crate::raw::RawStatement;
use crate::row::{Binding, Row};
use crate::statement::{Write, statements};
use crate::tables::Tables;

/// The SQL sink.
pub struct JdbcSink {
    pool: Pool,
    table: Template,
    /// Is each table a target?
    by_table: bool,
    tables: Tables,
    reader: Reader,
    raw: Option<RawStatement>,
    delivered: Option<Delivered>,
    mode: Mode,
    unknown: UnknownFields,
    timeout: Duration,
}

/// Events with what they ask for, and each event's outcome so far.
type Mapped<'b> = (Vec<(&'b Event, Work)>, Vec<Result<(), Failure>>);

/// What an event asks for.
enum Work {
    Rows(Vec<Row>),
    /// That of the configuration.
    Statement(Statement),
}

impl Sink for JdbcSink {
    const NAME: &'static str = "jdbc-sink";
    type Config = JdbcSinkConfig;

    /// A batch is one transaction. With a key, or with the ids of events in the database, a repeat leaves the table as it is; a plain
    /// insert makes another row. SQLite has one writer. Rows that come after a truncate must not be written before it.
    fn profile(config: &JdbcSinkConfig) -> SinkProfile {
        let sqlite = config.target().is_ok_and(|target| target.dialect() == Dialect::Sqlite);
        let profile = SinkProfile::new()
            .batch_events(500)
            .batch_bytes(4 << 20)
            .in_flight(if sqlite { 1 } else { 2 })
            .atomic(true)
            .idempotent(config.is_keyed() || config.deduplicate.is_some());
        if config.truncate {
            profile.require_ordering(Ordering::Total)
        } else {
            profile
        }
    }

    async fn check(config: JdbcSinkConfig) -> Result<()> {
        let pool = pool(&config, 1)?;
        let table = Template::compile(&config.table)?;
        let reached = async {
            drop(pool.acquire().await?);
            // One that is made, or that each event names, can't be looked at before.
            if config.sql.is_none() && !config.create_tables && table.is_constant() {
                Tables::new(&config, &pool, false).get(&config.table).await?;
            }
            Ok(())
        };
        let checked = reached.await.map_err(|failure: Failure| {
            Error::unavailable(SQL_CONNECTION, "the database can't be used")
                .because(failure)
                .hint("Check sink.url, user and password, sink.table and sink.key; for SQLite the file and its rights.")
        });
        pool.close().await;
        checked
    }

    async fn open(config: JdbcSinkConfig, cx: SinkContext) -> Result<Self> {
        let pool = pool(&config, cx.in_flight)?;
        let table = Template::compile(&config.table)?;
        Ok(Self {
            by_table: config.sql.is_none() && !table.is_constant() && cx.ordering != Ordering::Total,
            table,
            tables: Tables::new(&config, &pool, cx.ordering != Ordering::Total),
            reader: Reader::new(&config),
            raw: config
                .raw()
                .map_err(|reason| Error::config(codes::SQL_STATEMENT, format!("sink.sql {reason}")))?,
            delivered: config.deduplicate.as_ref().map(|table| Delivered::new(table, pool.dialect())),
            mode: config.mode(),
            unknown: config.unknown_fields,
            timeout: config.timeout.0,
            pool,
        })
    }

    /// Each table is a target of its own. With `ordering: total` all are one: a transaction over several tables keeps the order, where
    /// a batch of one table would end at each change of the table.
    fn target(&self, event: &Event) -> Result<Target, Failure> {
        if !self.by_table {
            return Ok(Target::ONE);
        }
        let name = self.table.render(event)?;
        self.tables.allow(&name)?;
        Ok(Target::new(name))
    }

    async fn write(&self, batch: &Batch) -> WriteReport {
        tokio::time::timeout(self.timeout, self.attempt(batch)).await.unwrap_or_else(|_| {
            WriteReport::Failed(Failure::retryable(
                SQL_TIMEOUT,
                format!("the batch was not written within {:?}", self.timeout),
            ))
        })
    }

    async fn close(self) -> Result<()> {
        self.pool.close().await;
        Ok(())
    }
}

fn pool(config: &JdbcSinkConfig, connections: usize) -> Result<Pool> {
    let target = config
        .target()
        .map_err(|reason| Error::config(SQL_URL, format!("sink.url {reason}")))?;
    let connections = if target.dialect() == Dialect::Sqlite { 1 } else { connections };
    Ok(Pool::new(
        &target,
        &PoolSettings {
            connections: u32::try_from(connections).unwrap_or(1),
            acquire: config.timeout.0,
            create: config.create,
            busy: config.busy_timeout.0,
            init: config.init_statements.clone(),
        },
    ))
}

impl JdbcSink {
    /// Events that can't be mapped are answered one by one; the rest is written as a whole or not at all. Before anything is refused for
    /// good the tables are looked at again: they may have been changed.
    async fn attempt(&self, batch: &Batch) -> WriteReport {
        let done = async {
            let (mut rows, mut results) = self.mapped(batch).await?;
            if results.iter().any(Result::is_err) && self.have_changed(batch).await? {
                (rows, results) = self.mapped(batch).await?;
            }
            match self.put(rows).await {
                Err(failure) if !failure.is_retryable() && self.have_changed(batch).await? => {
                    (rows, results) = self.mapped(batch).await?;
                    self.put(rows).await?;
                }
                done => done?,
            }
            Ok(results)
        };
        match done.await {
            Ok(results) if results.iter().all(Result::is_ok) => WriteReport::Delivered,
            Ok(results) => WriteReport::PerEvent(results),
            Err(failure) => {
                // The table may have been changed: look again next time.
                self.tables.forget();
                WriteReport::Failed(failure)
            }
        }
    }

    /// What is to be done for the events that can be mapped, and why for the others not.
    async fn mapped<'b>(&self, batch: &'b Batch) -> Result<Mapped<'b>, Failure> {
        let (mut rows, mut results) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        for event in batch.events() {
            match self.work(event, batch.target()).await {
                Ok(some) => {
                    rows.push((event, some));
                    results.push(Ok(()));
                }
                Err(failure) if failure.is_retryable() => return Err(failure),
                Err(failure) => results.push(Err(failure)),
            }
        }
        Ok((rows, results))
    }

    /// Has one of the batch's tables been changed since it was looked at?
    async fn have_changed(&self, batch: &Batch) -> Result<bool, Failure> {
        let names = match batch.target().as_str() {
            "" => batch.events().filter_map(|event| self.table.render(event).ok()).collect(),
            table => BTreeSet::from([table.to_owned()]),
        };
        self.tables.have_changed(&names).await
    }

    /// What is to be done for one event.
    async fn work(&self, event: &Event, target: &Target) -> Result<Work, Failure> {
        match &self.raw {
            Some(raw) => raw.bind(event).map(Work::Statement),
            None => self.rows(event, target).await.map(Work::Rows),
        }
    }

    async fn rows(&self, event: &Event, target: &Target) -> Result<Vec<Row>, Failure> {
        let name = match target.as_str() {
            "" => Cow::Owned(self.table.render(event)?),
            table => Cow::Borrowed(table),
        };
        self.tables.allow(&name)?;
        let data = Data::of(event);
        let key = match self.tables.configured_key() {
            Some(key) => key.clone(),
            None => self.tables.get(&name).await?.key,
        };
        let binding = Binding {
            dialect: self.pool.dialect(),
            unknown: self.unknown,
            mapped: self.reader.is_mapped(),
        };
        let mut rows = Vec::new();
        for change in self.reader.changes(event, &data, &key)? {
            let known = self.tables.fitting(&name, &change).await?;
            rows.push(Row::bind(&known.table, &known.key, &change, binding)?);
        }
        Ok(rows)
    }

    fn statements(&self, work: Vec<Work>) -> Vec<Write> {
        let (mut all, mut rows) = (Vec::new(), Vec::new());
        for work in work {
            match work {
                Work::Rows(some) => rows.extend(some),
                Work::Statement(statement) => all.push(statement.into()),
            }
        }
        all.extend(statements(rows, self.mode, self.pool.dialect()));
        all
    }

    async fn put(&self, rows: Vec<(&Event, Work)>) -> Result<(), Failure> {
        let Some(delivered) = &self.delivered else {
            let work = rows.into_iter().map(|(_, work)| work).collect();
            return self.execute(&self.statements(work)).await;
        };
        delivered.ready(&self.pool).await?;
        let mut transaction = self.pool.begin().await?;
        let done = async {
            let ids: Vec<String> = rows.iter().map(|(event, _)| Delivered::id(event)).collect();
            let mut known: HashSet<String> = delivered.known(&mut transaction, &ids).await?;
            let (mut fresh, mut new) = (Vec::new(), Vec::new());
            for (id, (_, work)) in ids.into_iter().zip(rows) {
                if known.insert(id.clone()) {
                    new.push(id);
                    fresh.push(work);
                }
            }
            delivered.note(&mut transaction, &new).await?;
            run(&mut transaction, &self.statements(fresh)).await
        };
        match done.await {
            Ok(()) => transaction.commit().await,
            Err(failure) => {
                transaction.rollback(&failure).await;
                Err(failure)
            }
        }
    }

    /// Runs the statements in one transaction: all of them, or nothing.
    async fn execute(&self, writes: &[Write]) -> Result<(), Failure> {
        if writes.is_empty() {
            return Ok(());
        }
        let mut transaction = self.pool.begin().await?;
        if let Err(failure) = run(&mut transaction, writes).await {
            transaction.rollback(&failure).await;
            return Err(failure);
        }
        transaction.commit().await
    }
}

async fn run(transaction: &mut Transaction, writes: &[Write]) -> Result<(), Failure> {
    for Write { statement, otherwise } in writes {
        let found = transaction.connection().execute(statement).await?;
        if let (0, Some(otherwise)) = (found, otherwise) {
            transaction.connection().execute(otherwise).await?;
        }
    }
    Ok(())
}
