//! The connector.

use std::collections::HashMap;
use std::time::Duration;

use mysql_async::Opts;
use mysql_async::prelude::Queryable as _;
use openconnect_core::error::{Error, Result};
use openconnect_core::failure::Failure;
use openconnect_core::record::{Partition, Record};
use openconnect_core::source::{Source, SourceContext};
use openconnect_sql::{Pool, PoolSettings};

use crate::config::{LostPosition, MySqlCdcConfig, SnapshotMode};
use crate::event::Events;
use crate::log::{Context, Log};
use crate::position::{Position, SnapshotPosition};
use crate::server::{self, About, LOST};
use crate::snapshot::Snapshot;

/// The log has one order: it is one partition.
const PARTITION: &str = "binlog";

/// The MySQL CDC source.
pub struct MySqlCdcSource {
    config: MySqlCdcConfig,
    options: Opts,
    pool: Pool,
    database: String,
    server_id: u32,
    events: Events,
    partition: Partition,
    /// Where to go on; none before anything was read.
    position: Option<Position>,
    stage: Stage,
}

enum Stage {
    /// Nothing is open.
    Closed,
    Snapshot(Box<Snapshot>),
    Log(Box<Reading>),
    /// `initial_only`: there is nothing more to read.
    Done,
}

struct Reading {
    log: Log,
    about: About,
    json: HashMap<String, Vec<String>>,
}

impl Source for MySqlCdcSource {
    const NAME: &'static str = "mysql-cdc-source";
    type Config = MySqlCdcConfig;
    type Position = Position;

    async fn open(config: MySqlCdcConfig, cx: SourceContext<Position>) -> Result<Self> {
        let wrong = |reason: String| Error::config("SQL_URL", format!("source.url {reason}"));
        let target = config.target().map_err(wrong)?;
        let server = target.server().ok_or_else(|| wrong("names no server".into()))?;
        let settings = PoolSettings {
            connections: 1,
            acquire: config.timeout.0,
            create: false,
            busy: config.timeout.0,
            init: Vec::new(),
        };
        let partition = Partition::new(PARTITION);
        let position = cx.offsets.get(&partition).cloned();
        if position.is_none() && config.snapshot == SnapshotMode::Recovery {
            return Err(Error::config(
                "CDC_NO_POSITION",
                "source.snapshot is recovery, and there is no stored position to recover from",
            )
            .hint("Start with snapshot: initial, or with no_data to read from now on."));
        }
        Ok(Self {
            options: server::options(server),
            database: server.database.to_owned(),
            server_id: config.server_id.unwrap_or_else(|| rand::random_range(1 << 30..u32::MAX)),
            events: Events {
                source: format!("mysql://{}:{}", server.host, server.port),
                ty: config.event_type.clone(),
                decimals: config.decimals,
            },
            pool: Pool::new(&target, &settings),
            partition,
            position,
            stage: Stage::Closed,
            config,
        })
    }

    async fn check(&self) -> Result<()> {
        let look = async {
            let mut connection = server::connect(&self.options, self.config.timeout.0).await?;
            let about = server::about(&mut connection).await?;
            server::now(&mut connection, &about).await
        };
        look.await.map(drop).map_err(|failure| {
            Error::unavailable("SQL_CONNECTION", failure.to_string())
                .hint("The user needs SELECT, REPLICATION SLAVE and REPLICATION CLIENT.")
        })
    }

    async fn poll(&mut self) -> Result<Vec<Record<Position>>, Failure> {
        loop {
            let polled = match &mut self.stage {
                Stage::Closed => self.begin().await.map(|()| Vec::new()),
                Stage::Snapshot(_) => self.snapshot().await,
                Stage::Log(_) => self.log().await,
                Stage::Done => std::future::pending().await,
            };
            match polled {
                Ok(records) if records.is_empty() => {}
                Ok(records) => return Ok(records),
                Err(failure) => {
                    self.stage = Stage::Closed;
                    if failure.code == LOST && self.config.when_lost() != LostPosition::Fail {
                        self.lost(&failure).await?;
                        continue;
                    }
                    return Err(failure);
                }
            }
        }
    }

    async fn close(self) -> Result<()> {
        self.pool.close().await;
        Ok(())
    }
}

impl MySqlCdcSource {
    /// Connects, and decides what is to be read.
    async fn begin(&mut self) -> Result<(), Failure> {
        let mut connection = server::connect(&self.options, self.config.timeout.0).await?;
        let about = server::about(&mut connection).await?;
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
        if position.snapshot.as_ref().is_some_and(|snapshot| !snapshot.done) {
            let snapshot = Snapshot::begin(&self.config, &self.pool, &self.database, position).await?;
            tracing::info!(
                file = &*snapshot.position.file,
                position = snapshot.position.begin,
                "makes a snapshot"
            );
            self.stage = Stage::Snapshot(Box::new(snapshot));
            return Ok(());
        }
        if self.config.snapshot == SnapshotMode::InitialOnly {
            tracing::info!("the snapshot is done; the log is not read (snapshot: initial_only)");
            self.stage = Stage::Done;
            return Ok(());
        }
        let from = Position {
            snapshot: None,
            ..position
        };
        let json = if about.mariadb {
            json_columns(&mut connection, &self.database).await?
        } else {
            HashMap::new()
        };
        let stream = server::log(connection, &about, &from, self.server_id, self.config.timeout.0).await?;
        tracing::info!(
            file = &*from.file,
            position = from.begin,
            gtids = from.gtids.as_deref(),
            "reads the log"
        );
        let log = Log::new(stream, from);
        self.stage = Stage::Log(Box::new(Reading { log, about, json }));
        Ok(())
    }

    async fn snapshot(&mut self) -> Result<Vec<Record<Position>>, Failure> {
        let Stage::Snapshot(snapshot) = &mut self.stage else {
            return Ok(Vec::new());
        };
        let page = snapshot
            .next(&self.pool, &self.events, &self.partition, self.config.page_rows)
            .await?;
        if let Some(records) = page {
            self.position = Some(snapshot.position.clone());
            return Ok(records);
        }
        let only = self.config.snapshot == SnapshotMode::InitialOnly;
        let done = Position {
            snapshot: only.then(|| SnapshotPosition {
                done: true,
                ..SnapshotPosition::default()
            }),
            ..snapshot.position.clone()
        };
        self.position = Some(done.clone());
        self.stage = Stage::Closed;
        Ok(vec![Record {
            event: None,
            partition: self.partition.clone(),
            position: Some(done),
            receipt: None,
        }])
    }

    async fn log(&mut self) -> Result<Vec<Record<Position>>, Failure> {
        let Stage::Log(reading) = &mut self.stage else {
            return Ok(Vec::new());
        };
        if reading.log.changed {
            let mut connection = server::connect(&self.options, self.config.timeout.0).await?;
            reading.json = json_columns(&mut connection, &self.database).await?;
            reading.log.changed = false;
        }
        let context = Context {
            config: &self.config,
            database: &self.database,
            about: &reading.about,
            events: &self.events,
            partition: &self.partition,
            json: &reading.json,
        };
        let read = reading.log.read(&context).await;
        // Also after a failure: what was read before it was told.
        self.position = Some(reading.log.at.clone());
        read
    }

    /// Another position in place of one that the server does not know any more.
    async fn lost(&mut self, failure: &Failure) -> Result<(), Failure> {
        tracing::error!(code = %failure.code, on_lost_position = ?self.config.when_lost(), "{}", failure.message);
        let mut connection = server::connect(&self.options, self.config.timeout.0).await?;
        let about = server::about(&mut connection).await?;
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

/// MariaDB's columns of JSON, by table: text with a check.
async fn json_columns(connection: &mut mysql_async::Conn, database: &str) -> Result<HashMap<String, Vec<String>>, Failure> {
    let sql = "SELECT table_name, check_clause FROM information_schema.check_constraints \
               WHERE constraint_schema = ? AND check_clause LIKE 'json_valid(`%`)'";
    let found: Vec<(String, String)> = connection.exec(sql, (database,)).await.map_err(|e| server::failure(&e))?;
    let mut columns: HashMap<String, Vec<String>> = HashMap::new();
    for (table, clause) in found {
        let name = clause.trim_start_matches("json_valid(`").trim_end_matches("`)").replace("``", "`");
        columns.entry(table).or_default().push(name);
    }
    Ok(columns)
}
