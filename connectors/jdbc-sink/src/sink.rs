//! The connector.

use std::time::Duration;

use openconnect_core::cloudevents::Event;
use openconnect_core::error::{Error, Result};
use openconnect_core::failure::Failure;
use openconnect_core::sink::{Batch, Ordering, Sink, SinkContext, SinkDefaults, WriteReport};

use crate::config::{JdbcSinkConfig, Mode};
use crate::database::Database;
use crate::row::{Mapper, Row};
use crate::statement::statements;

/// The SQL sink.
pub struct JdbcSink {
    database: Database,
    mapper: Mapper,
    mode: Mode,
    key: Vec<String>,
    timeout: Duration,
}

impl Sink for JdbcSink {
    const NAME: &'static str = "jdbc-sink";
    const DEFAULTS: SinkDefaults = SinkDefaults {
        batch_events: 500,
        batch_bytes: 4 << 20,
        batch_age: Duration::from_millis(10),
        // SQLite has one writer.
        in_flight: 1,
        ordering: Ordering::Key,
        idempotent: false,
    };
    type Config = JdbcSinkConfig;

    /// With a key a repeat leaves the table as it is; a plain insert makes another row.
    fn defaults(config: &JdbcSinkConfig) -> SinkDefaults {
        SinkDefaults {
            idempotent: !config.key.is_empty(),
            ..Self::DEFAULTS
        }
    }

    async fn open(config: JdbcSinkConfig, _: SinkContext) -> Result<Self> {
        Ok(Self {
            database: Database::new(&config)?,
            mapper: Mapper::new(&config)?,
            mode: config.mode(),
            key: config.key.clone(),
            timeout: config.timeout.0,
        })
    }

    async fn check(&self) -> Result<()> {
        self.database
            .ready()
            .await
            .map_err(|failure| Error::unavailable("SQL_CONNECTION", failure.to_string()).hint("Check sink.url, the file and its rights."))
    }

    /// One transaction a batch.
    fn atomic(&self) -> bool {
        true
    }

    async fn write(&self, batch: &Batch) -> WriteReport {
        tokio::time::timeout(self.timeout, self.attempt(batch)).await.unwrap_or_else(|_| {
            WriteReport::Failed(Failure::retryable(
                "SQL_TIMEOUT",
                format!("the batch was not written within {:?}", self.timeout),
            ))
        })
    }

    async fn close(self) -> Result<()> {
        self.database.close().await;
        Ok(())
    }
}

impl JdbcSink {
    /// Events that can't be mapped are answered one by one; the rest is written as a whole or not at all.
    async fn attempt(&self, batch: &Batch) -> WriteReport {
        if let Err(failure) = self.database.ready().await {
            return WriteReport::Failed(failure);
        }
        let mut rows = Vec::with_capacity(batch.len());
        let mut results = Vec::with_capacity(batch.len());
        for event in batch.events() {
            match self.row(event).await {
                Ok(row) => {
                    rows.push(row);
                    results.push(Ok(()));
                }
                Err(failure) if failure.is_retryable() => return WriteReport::Failed(failure),
                Err(failure) => results.push(Err(failure)),
            }
        }
        if !rows.is_empty()
            && let Err(failure) = self.database.execute(statements(rows, self.mode, &self.key)).await
        {
            return WriteReport::Failed(failure);
        }
        if results.iter().all(Result::is_ok) {
            WriteReport::Delivered
        } else {
            WriteReport::PerEvent(results)
        }
    }

    async fn row(&self, event: &Event) -> Result<Row, Failure> {
        let table = self.mapper.table(event)?;
        if self.mapper.needs_columns() {
            let columns = self.database.columns(&table).await?;
            return self.mapper.row(event, table, &columns);
        }
        self.mapper.row(event, table, &[])
    }
}
