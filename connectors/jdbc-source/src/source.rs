//! The connector.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use openconnect_core::budget::Budget;
use openconnect_core::error::{Error, Result};
use openconnect_core::failure::Failure;
use openconnect_core::record::{Partition, Record};
use openconnect_core::source::{Emitter, NoCommit, Replay, Source, SourceContext, SourceProfile};
use openconnect_sql::codes::{SQL_CONNECTION, SQL_TIMEOUT, SQL_URL};
use openconnect_sql::{Pool, PoolSettings, Target};

use crate::config::JdbcSourceConfig;
use crate::event::Events;
use crate::position::Position;
use crate::reader::{PAGE_BYTES, Reader};
use crate::relation;

/// How often tables are looked for again: new ones, and columns that have changed.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// The SQL source.
pub struct JdbcSource {
    config: JdbcSourceConfig,
    budget: Budget,
    pool: Pool,
    events: Events,
    offsets: BTreeMap<Partition, Position>,
    readers: BTreeMap<String, Reader>,
    /// The relation that was read last: the next one is the next to be asked.
    last: Option<String>,
    looked: Option<Instant>,
    /// A table that is named and was missing then.
    absent: Option<String>,
}

impl Source for JdbcSource {
    const NAME: &'static str = "jdbc-source";
    type Config = JdbcSourceConfig;
    type Position = Position;
    type Committer = NoCommit;

    fn profile(_: &JdbcSourceConfig) -> SourceProfile {
        SourceProfile::new(Replay::FromPosition)
    }

    async fn open(config: JdbcSourceConfig, cx: SourceContext<Position>) -> Result<(Self, NoCommit)> {
        let target = target(&config)?;
        let source = Self {
            budget: cx.budget,
            pool: pool(&config, &target),
            events: Events {
                source: target.name(),
                ty: config.event_type.clone(),
                decimals: config.decimals,
            },
            offsets: cx.offsets,
            readers: BTreeMap::new(),
            last: None,
            looked: None,
            absent: None,
            config,
        };
        Ok((source, NoCommit))
    }

    async fn check(config: JdbcSourceConfig) -> Result<()> {
        let pool = pool(&config, &target(&config)?);
        let looked = async {
            let mut connection = pool.acquire().await?;
            relation::find(&config, &mut connection).await?.complete()
        };
        looked.await.map(drop).map_err(|failure| {
            Error::unavailable(SQL_CONNECTION, "the database can't be used")
                .because(failure)
                .hint("Check source.url, user, password, and the right to select from the tables.")
        })
    }

    async fn read(&mut self, out: &mut Emitter<Position>) -> Result<(), Failure> {
        // Before anything is asked of the database: how long this waits is not its fault.
        let pages = PAGE_BYTES.saturating_mul(self.config.parallel_pages as usize);
        let mut memory = self.budget.reserve(pages).await;
        let attempt = tokio::time::timeout(self.config.timeout.0, self.attempt(memory.bytes())).await;
        let records = attempt.unwrap_or_else(|_| {
            Err(Failure::retryable(
                SQL_TIMEOUT,
                format!("the database did not answer within {:?}", self.config.timeout.0),
            ))
        });
        match records {
            Ok(records) if records.is_empty() => {
                drop(memory);
                tokio::time::sleep_until(self.due().into()).await;
            }
            Ok(records) => {
                let records: Vec<_> = records.into_iter().map(|record| record.reserved_from(&mut memory)).collect();
                drop(memory);
                out.emit_all(records).await;
            }
            Err(failure) => {
                // A column may have come or gone.
                self.looked = None;
                return Err(failure);
            }
        }
        Ok(())
    }

    async fn close(self) -> Result<()> {
        self.pool.close().await;
        Ok(())
    }
}

fn target(config: &JdbcSourceConfig) -> Result<Target> {
    let target = config.target();
    target.map_err(|reason| Error::config(SQL_URL, format!("source.url {reason}")))
}

fn pool(config: &JdbcSourceConfig, target: &Target) -> Pool {
    let settings = PoolSettings {
        connections: config.parallel_pages,
        acquire: config.timeout.0,
        create: false,
        busy: config.timeout.0,
        init: config.init_statements.clone(),
    };
    Pool::new(target, &settings)
}

impl JdbcSource {
    /// When there is something to do again.
    fn due(&self) -> Instant {
        let look = self.looked.map_or_else(Instant::now, |looked| looked + LOOK_AGAIN);
        self.readers.values().map(Reader::due).fold(look, Instant::min)
    }

    /// Asks each relation in turn; the first that has something gives it, of about so many bytes.
    async fn attempt(&mut self, bytes: usize) -> Result<Vec<Record<Position>>, Failure> {
        if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK_AGAIN) {
            let mut connection = self.pool.acquire().await?;
            let found = relation::find(&self.config, &mut connection).await?;
            drop(connection);
            if found.relations.is_empty() {
                found.complete()?;
            }
            self.note_absent(found.absent);
            self.use_relations(found.relations);
        }
        let names: Vec<String> = self.readers.keys().cloned().collect();
        let first = self.last.as_ref().map_or(0, |last| names.partition_point(|name| name <= last));
        for at in 0..names.len() {
            let Some(name) = names.get((first + at) % names.len()) else {
                continue;
            };
            let Some(reader) = self.readers.get_mut(name) else { continue };
            let records = reader.next(&self.pool, &self.events, bytes).await?;
            if !records.is_empty() {
                self.last = Some(name.clone());
                return Ok(records);
            }
        }
        Ok(Vec::new())
    }

    /// A table that is missing is waited for, and does not keep the others from being read.
    fn note_absent(&mut self, absent: Option<String>) {
        if absent != self.absent
            && let Some(name) = &absent
        {
            tracing::warn!(
                table = name,
                "there is no such table that may be read; the others are read, and it once it is there"
            );
        }
        self.absent = absent;
    }

    fn use_relations(&mut self, found: BTreeMap<String, relation::Relation>) {
        self.looked = Some(Instant::now());
        self.readers.retain(|name, _| {
            let there = found.contains_key(name);
            if !there {
                tracing::warn!(relation = name, "is not there any more; it is not read");
            }
            there
        });
        for (name, relation) in found {
            if let Some(reader) = self.readers.get_mut(&name) {
                reader.relation = relation;
                continue;
            }
            let saved = self.offsets.get(&Partition::new(name.as_str()));
            tracing::info!(relation = name, resumed = saved.is_some(), "reads");
            let reader = Reader::new(&self.config, relation, saved);
            self.readers.insert(name, reader);
        }
    }
}
