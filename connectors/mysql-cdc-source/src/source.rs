//! The connector.

use std::time::Duration;

use mysql_async::Opts;
use openconnect_core::budget::Budget;
use openconnect_core::cloudevents::{AttributesReader as _, Data, Event};
use openconnect_core::error::{Error, Result};
use openconnect_core::failure::Failure;
use openconnect_core::record::{Partition, Record};
use openconnect_core::source::{Emitter, NoCommit, Replay, Source, SourceContext, SourceProfile};
use openconnect_sql::codes::{SQL_CONNECTION, SQL_URL};
use openconnect_sql::{Pool, PoolSettings};
use tokio_util::task::AbortOnDropHandle;

use crate::catalog::Catalog;
use crate::charset::Charsets;
use crate::check;
use crate::codes;
use crate::config::{LostPosition, MySqlCdcConfig, Oversize, SnapshotMode};
use crate::context::Context;
use crate::event::Events;
use crate::headroom::{self, Seen};
use crate::held::Touched;
use crate::log::Log;
use crate::position::{Position, SnapshotPosition};
use crate::server::{self, About, LOST};
use crate::snapshot::Snapshot;

/// The log has one order: it is one partition.
const PARTITION: &str = "binlog";

/// The MySQL CDC source.
pub struct MySqlCdcSource {
    config: MySqlCdcConfig,
    budget: Budget,
    options: Opts,
    pool: Pool,
    database: String,
    server_id: u32,
    events: Events,
    partition: Partition,
    /// Where to go on; none before anything was read.
    position: Option<Position>,
    stage: Stage,
    /// How far the log is read, for who watches how long it will be there.
    seen: Seen,
    limits: Limits,
    max_event_bytes: usize,
    watching: Option<AbortOnDropHandle<()>>,
}

enum Stage {
    /// Nothing is open.
    Closed,
    Reading(Box<Reading>),
    /// `initial_only`: there is nothing more to read.
    Done,
}

/// What the log does not tell, as it was said last.
#[derive(Default)]
struct Limits {
    cascades: Vec<String>,
    no_table: bool,
}

impl Limits {
    /// Says what is new.
    fn note(&mut self, catalog: &Catalog) {
        if !catalog.cascades.is_empty() && catalog.cascades != self.cascades {
            tracing::warn!(
                tables = catalog.cascades.join(", "),
                "foreign keys change rows of these tables with others (CASCADE, SET NULL), and the server does not log that: no events"
            );
        }
        if catalog.tables.is_empty() && !self.no_table {
            tracing::warn!("no table of the database is named by source.tables; nothing is read until there is one");
        }
        self.cascades.clone_from(&catalog.cascades);
        self.no_table = catalog.tables.is_empty();
    }
}

struct Reading {
    about: About,
    /// None where the rows alone are read.
    log: Option<Log>,
    catalog: Catalog,
    /// None once all rows are told.
    snapshot: Option<Snapshot>,
}

impl Source for MySqlCdcSource {
    const NAME: &'static str = "mysql-cdc-source";
    type Config = MySqlCdcConfig;
    type Position = Position;
    type Committer = NoCommit;

    fn profile(_: &MySqlCdcConfig) -> SourceProfile {
        SourceProfile::new(Replay::FromPosition)
    }

    async fn open(config: MySqlCdcConfig, cx: SourceContext<Position>) -> Result<(Self, NoCommit)> {
        let target = config.target().map_err(wrong)?;
        let server = target.server().ok_or_else(|| wrong("names no server".into()))?;
        let settings = PoolSettings {
            connections: config.parallel_chunks,
            acquire: config.timeout.0,
            create: false,
            busy: config.timeout.0,
            init: Vec::new(),
        };
        let partition = Partition::new(PARTITION);
        let position = cx.offsets.get(&partition).cloned();
        if position.is_none() && config.snapshot == SnapshotMode::Recovery {
            return Err(Error::config(
                codes::CDC_NO_POSITION,
                "source.snapshot is recovery, and there is no stored position to recover from",
            )
            .hint("Start with snapshot: initial, or with no_data to read from now on."));
        }
        let source = Self {
            budget: cx.budget,
            options: server::options(server),
            database: server.database.to_owned(),
            server_id: config.server_id.unwrap_or_else(|| rand::random_range(1 << 30..u32::MAX)),
            events: Events::new(&config, format!("mysql://{}:{}", server.host, server.port), cx.name.to_string()),
            pool: Pool::new(&target, &settings),
            partition,
            position,
            stage: Stage::Closed,
            seen: Seen::new(cx.intake),
            limits: Limits::default(),
            max_event_bytes: cx.max_event_bytes,
            watching: None,
            config,
        };
        Ok((source, NoCommit))
    }

    async fn check(config: MySqlCdcConfig) -> Result<()> {
        let target = config.target().map_err(wrong)?;
        let server = target.server().ok_or_else(|| wrong("names no server".into()))?;
        check::check(&config, server).await.map_err(|failure| {
            Error::unavailable(SQL_CONNECTION, "the server can't be used")
                .because(failure)
                .hint("The user needs SELECT, REPLICATION SLAVE and REPLICATION CLIENT.")
        })
    }

    async fn read(&mut self, out: &mut Emitter<Position>) -> Result<(), Failure> {
        let read = match &mut self.stage {
            Stage::Closed => self.begin().await.map(|()| Vec::new()),
            Stage::Reading(_) => self.next().await,
            Stage::Done => std::future::pending().await,
        };
        match read {
            Ok(mut records) => {
                let oversize = self.cut_oversize(&mut records);
                out.emit_all(records).await;
                oversize?;
            }
            Err(failure) => {
                self.stage = Stage::Closed;
                if failure.code != LOST || self.config.when_lost() == LostPosition::Fail {
                    return Err(failure);
                }
                self.lost(&failure).await?;
            }
        }
        Ok(())
    }

    async fn close(self) -> Result<()> {
        self.pool.close().await;
        Ok(())
    }
}

fn wrong(reason: String) -> Error {
    Error::config(SQL_URL, format!("source.url {reason}"))
}

impl MySqlCdcSource {
    /// Takes an event that is too large, and what is behind it, away, where the configuration says so.
    fn cut_oversize(&self, records: &mut Vec<Record<Position>>) -> Result<(), Failure> {
        if self.config.on_oversize == Oversize::DeadLetter {
            return Ok(());
        }
        let size = |event: &Event| match event.data() {
            Some(Data::String(text)) => text.len(),
            _ => 0,
        };
        let is_large = |record: &Record<Position>| record.as_event().is_some_and(|event| size(event) > self.max_event_bytes);
        let Some(at) = records.iter().position(is_large) else {
            return Ok(());
        };
        let cut = records.split_off(at);
        let Some(event) = cut.first().and_then(Record::as_event) else {
            return Ok(());
        };
        let table = event.extension("sqltable").map(ToString::to_string).unwrap_or_default();
        Err(Failure::fatal(
            codes::CDC_OVERSIZE,
            format!(
                "a change of `{table}` with the key `{}` has {} bytes, limits.max_event_bytes is {}",
                event.subject().unwrap_or_default(),
                size(event),
                self.max_event_bytes
            ),
        ))
    }

    /// Connects, and decides what is to be read.
    async fn begin(&mut self) -> Result<(), Failure> {
        let within = self.config.timeout.0;
        let mut connection = server::connect(&self.options, within).await?;
        let about = server::about(&mut connection, &self.database).await?;
        let position = match &self.position {
            Some(position) => position.clone(),
            None => {
                let with_rows = !matches!(self.config.snapshot, SnapshotMode::NoData | SnapshotMode::Recovery);
                Position {
                    snapshot: with_rows.then(SnapshotPosition::default),
                    ..server::now(&mut connection, &about).await?
                }
            }
        };
        self.position = Some(position.clone());
        let only_rows = self.config.snapshot == SnapshotMode::InitialOnly;
        let is_done = position.snapshot.as_ref().is_none_or(|snapshot| snapshot.done);
        if only_rows && is_done {
            tracing::info!("the snapshot is done; the log is not read (snapshot: initial_only)");
            self.stage = Stage::Done;
            return Ok(());
        }
        let charsets = Charsets::load(&mut connection).await?;
        let catalog = Catalog::load(&mut connection, &about, &self.config, charsets).await?;
        self.limits.note(&catalog);
        let from = Position {
            snapshot: None,
            ..position.clone()
        };
        let log = if only_rows {
            None
        } else {
            let stream = server::log(connection, &about, &from, self.server_id, within).await?;
            Some(Log::new(stream, from.clone()))
        };
        let snapshot = if is_done {
            None
        } else {
            let connection = server::connect(&self.options, within).await?;
            let mut snapshot = Snapshot::begin(&self.config, &self.pool, &self.budget, connection, &about, &position).await?;
            snapshot.start(&about, &from);
            Some(snapshot)
        };
        tracing::info!(
            file = &*from.file,
            position = from.begin,
            gtids = from.gtids.as_deref(),
            snapshot = snapshot.is_some(),
            "reads the log"
        );
        if log.is_some() && self.watching.is_none() {
            self.watching = Some(headroom::observe(self.options.clone(), within, self.seen.clone()));
        }
        self.stage = Stage::Reading(Box::new(Reading {
            about,
            log,
            catalog,
            snapshot,
        }));
        Ok(())
    }

    /// The next changes, or the next rows of the snapshot.
    async fn next(&mut self) -> Result<Vec<Record<Position>>, Failure> {
        let Stage::Reading(reading) = &mut self.stage else {
            return Ok(Vec::new());
        };
        let Reading {
            about,
            log,
            catalog,
            snapshot,
        } = &mut **reading;
        if let Some(log) = log.as_mut().filter(|log| log.changed) {
            let mut connection = server::connect(&self.options, self.config.timeout.0).await?;
            *catalog = Catalog::load(&mut connection, about, &self.config, std::mem::take(&mut catalog.charsets)).await?;
            self.limits.note(catalog);
            log.changed = false;
        }
        let context = Context {
            config: &self.config,
            about,
            catalog,
            events: &self.events,
            partition: &self.partition,
            seen: &self.seen,
            budget: &self.budget,
        };
        match (log, snapshot) {
            (Some(log), None) => {
                let read = log.read(&context, &mut Touched::Nobody).await;
                // Also after a failure: what was read before it was told.
                self.position = Some(log.at.clone());
                read
            }
            (log, Some(snapshot)) if !snapshot.is_done() => {
                let held = snapshot.held().await?;
                let at = match log {
                    None => self.position.clone().unwrap_or_default(),
                    Some(log) if log.reached(&held.until) => log.settle().clone(),
                    Some(log) => {
                        let read = log.read(&context, &mut Touched::Held(held)).await;
                        let position = snapshot.stamped(&log.at);
                        self.position = Some(position);
                        return read.map(|records| stamped(records, snapshot));
                    }
                };
                if held.stale {
                    snapshot.forget_count();
                    // Behind the statement, so that it is not met again.
                    self.position = Some(snapshot.stamped(&at));
                    tracing::info!("a table was changed while its rows were read; they are read again");
                    self.stage = Stage::Closed;
                    return Ok(Vec::new());
                }
                let records = snapshot.release(&context, &at)?;
                self.position = Some(snapshot.stamped(&at));
                snapshot.start(about, &at);
                Ok(records)
            }
            (log, snapshot) => {
                tracing::info!("the snapshot is done");
                *snapshot = None;
                let at = log
                    .as_ref()
                    .map_or_else(|| self.position.clone().unwrap_or_default(), |log| log.at.clone());
                let done = Position {
                    snapshot: log.is_none().then(|| SnapshotPosition {
                        done: true,
                        ..SnapshotPosition::default()
                    }),
                    ..at
                };
                let record = context.progress(done.clone());
                self.position = Some(done);
                if log.is_none() {
                    self.stage = Stage::Closed;
                }
                Ok(vec![record])
            }
        }
    }

    /// Another position in place of one that the server does not know any more.
    async fn lost(&mut self, failure: &Failure) -> Result<(), Failure> {
        tracing::error!(code = %failure.code, on_lost_position = ?self.config.when_lost(), "{}", failure.reason());
        let mut connection = server::connect(&self.options, self.config.timeout.0).await?;
        let about = server::about(&mut connection, &self.database).await?;
        self.position = match self.config.when_lost() {
            LostPosition::Earliest => Some(server::oldest(&mut connection, &about).await?),
            LostPosition::Snapshot | LostPosition::Fail => Some(Position {
                snapshot: Some(SnapshotPosition::default()),
                ..server::now(&mut connection, &about).await?
            }),
        };
        // What is not there any more can't be waited for.
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(())
    }
}

/// Changes that are told while a snapshot is made.
fn stamped(records: Vec<Record<Position>>, snapshot: &Snapshot) -> Vec<Record<Position>> {
    let stamp = |record: Record<Position>| match record.position().map(|position| snapshot.stamped(position)) {
        Some(position) => record.with_position(position),
        None => record,
    };
    records.into_iter().map(stamp).collect()
}
