//! The SQL connectors and PostgreSQL, beside what its driver alone does with the same rows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openconnect_change::Cell;
use openconnect_core::budget::Budget;
use openconnect_core::config::MeshSettings;
use openconnect_core::mesh::Subscriber;
use openconnect_core::sink::{Batch, Ordering as Order, Sink as _, SinkContext, SinkProfile, WriteReport};
use openconnect_core::source::{SourceContext, SourceRunner};
use openconnect_jdbc_sink::JdbcSink;
use openconnect_jdbc_source::JdbcSource;
use openconnect_sql::{Dialect, Login, Pool, PoolSettings, Statement, Target, Value};
use openconnect_sql_fixtures::{self as fixtures, Database, System};
use openconnect_testkit::Result;
use openconnect_testkit::connector::Connector;
use openconnect_testkit::kit::Kit;
use openconnect_testkit::mesh::Mesh;
use serde_json::json;
use sqlx::postgres::PgPoolCopyExt as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::mesh::{event, filled};
use crate::run::{Sample, Setup, sample};
use crate::usage::Watched;

/// Rows of a transaction, and writers at the same time: as the sink has it.
const BATCH: usize = 500;
const WRITERS: usize = 2;
/// More than goes into a table, or out of one, in a second.
const STOCK: u64 = 250_000;
const ROWS_OF_A_PAGE: u32 = 1000;

async fn database() -> Result<(Database, Pool)> {
    let database = fixtures::database(System::Postgres).await?.ok_or("PostgreSQL can't be had")?;
    let settings = PoolSettings {
        connections: 4,
        acquire: Duration::from_secs(10),
        create: false,
        busy: Duration::from_secs(10),
        init: Vec::new(),
    };
    let pool = Pool::new(&Target::parse(&database.url, Login::default())?, &settings);
    Ok((database, pool))
}

/// The first number of the only row.
async fn number(pool: &Pool, sql: &str) -> Result<u64> {
    let (rows, _) = pool.acquire().await?.query(&Statement::new(sql, Vec::new()), usize::MAX).await?;
    let text = rows.first().and_then(|row| row.first()).and_then(Cell::text).ok_or("no number")?;
    Ok(text.parse()?)
}

const TABLE: &str = "create table rows (id bigint, text text not null)";

/// Out of a mesh that is full into a table.
pub(crate) async fn sink(setup: &Setup) -> Result<Sample> {
    let kit = Kit::quiet(&setup.binaries)?;
    let (database, pool) = database().await?;
    database.execute(TABLE).await?;
    let events = (setup.warm_up + setup.counted).as_secs() * STOCK;
    let mesh = filled(&kit, setup, events).await?;
    let settings = json!({
        "mesh": { "url": mesh.url(), "topic": "bench" },
        "sink": sink_settings(&database),
        "delivery": { "ordering": "none", "batch": { "max_events": BATCH } },
    });
    let mut sink = Connector::start(&kit, "openconnect-jdbc-sink", "out", settings).await?;
    let ready = sink.ready_after;
    let mut watched = [
        Watched::busy("jdbc-sink", sink.process()?, ready),
        Watched::busy("mesh", &mesh.process, mesh.ready_after),
    ];
    let sample = sample(setup, &mut watched, async || count(&pool).await).await?;
    if count(&pool).await? >= events {
        return Err(format!("all {events} events were written before the end: the figure would be too low").into());
    }
    Ok(sample)
}

fn sink_settings(database: &Database) -> serde_json::Value {
    json!({ "url": database.url, "table": "rows", "columns": { "id": "id", "text": "data.text" } })
}

/// The connector fed from memory, with as many writers as the engine has. What the driver alone does is compared with this; the
/// rest of [`sink`] is the mesh and the way to it, which share the cores.
pub(crate) async fn fed_sink(setup: &Setup) -> Result<Sample> {
    let (database, pool) = database().await?;
    database.execute(TABLE).await?;
    let profile = SinkProfile::new().batch_events(BATCH).in_flight(WRITERS).ordering(Order::None);
    let context = SinkContext::alone("fed", &profile);
    let sink = Arc::new(JdbcSink::open(serde_json::from_value(sink_settings(&database))?, context).await?);
    let data = setup.data();
    let mut numbers = 0..;
    let batch = |_| -> Result<Batch> {
        let events = numbers.by_ref().take(BATCH).map(|number| event(number, None, &data).map(Arc::new));
        Ok(Batch::new(events.collect::<Result<_>>()?))
    };
    let batches = (0..WRITERS).map(batch).collect::<Result<Vec<_>>>()?;
    let writer = |batch: Batch| {
        let sink = Arc::clone(&sink);
        AbortOnDropHandle::new(tokio::spawn(
            async move { while sink.write(&batch).await == WriteReport::Delivered {} },
        ))
    };
    let _writers: Vec<_> = batches.into_iter().map(writer).collect();
    sample(setup, &mut [], async || count(&pool).await).await
}

async fn count(pool: &Pool) -> Result<u64> {
    number(pool, "select count(*)::text from rows").await
}

/// The same rows with as large statements by the driver alone.
pub(crate) async fn bare_insert(setup: &Setup) -> Result<Sample> {
    bare(setup, |pool, text, first| async move {
        let ids = (first..first + BATCH as u64).map(|id| Some(id.to_string())).collect();
        let texts = vec![Some(text.to_string()); BATCH];
        let sql = "insert into rows select a::bigint, b from unnest($1::text[], $2::text[]) as g(a, b)";
        let mut transaction = pool.begin().await?;
        let statement = Statement::new(sql, vec![Value::Texts(ids), Value::Texts(texts)]);
        transaction.connection().execute(&statement).await?;
        Ok(transaction.commit().await?)
    })
    .await
}

/// The same rows with `COPY`, as many in a transaction.
pub(crate) async fn bare_copy(setup: &Setup) -> Result<Sample> {
    bare(setup, |pool, text, first| async move {
        let Pool::Postgres(pool) = pool else {
            return Err("not PostgreSQL".into());
        };
        let mut copy = pool.copy_in_raw("copy rows (id, text) from stdin").await?;
        let mut lines = String::with_capacity(BATCH * (text.len() + 12));
        for id in first..first + BATCH as u64 {
            lines.push_str(&format!("{id}\t{text}\n"));
        }
        copy.send(lines.as_bytes()).await?;
        copy.finish().await?;
        Ok(())
    })
    .await
}

async fn bare<F: Future<Output = Result<()>> + Send + 'static>(setup: &Setup, write: fn(Pool, Arc<str>, u64) -> F) -> Result<Sample> {
    let (database, pool) = database().await?;
    database.execute(TABLE).await?;
    let text: Arc<str> = "x".repeat(setup.bytes.saturating_sub(11)).into();
    let next = Arc::new(AtomicU64::new(0));
    let writer = || {
        let (pool, text, next) = (pool.clone(), Arc::clone(&text), Arc::clone(&next));
        AbortOnDropHandle::new(tokio::spawn(async move {
            while write(pool.clone(), Arc::clone(&text), next.fetch_add(BATCH as u64, Ordering::Relaxed))
                .await
                .is_ok()
            {}
        }))
    };
    let _writers: Vec<_> = (0..WRITERS).map(|_| writer()).collect();
    sample(setup, &mut [], async || count(&pool).await).await
}

/// A table with rows enough.
async fn stocked(setup: &Setup) -> Result<(Database, Pool)> {
    let (database, pool) = database().await?;
    let rows = (setup.warm_up + setup.counted).as_secs() * STOCK;
    let bytes = setup.bytes.saturating_sub(11);
    database
        .execute(&format!(
            "create table rows (id bigint primary key, text text not null); \
             insert into rows select id, repeat('x', {bytes}) from generate_series(1, {rows}) as g(id); analyze rows"
        ))
        .await?;
    Ok((database, pool))
}

/// Out of a table to durable in the mesh. Counted: what a subscriber gets.
pub(crate) async fn source(setup: &Setup) -> Result<Sample> {
    let kit = Kit::quiet(&setup.binaries)?;
    let (database, _) = stocked(setup).await?;
    let mesh = Mesh::start(&kit, json!({})).await?;
    let to_mesh: MeshSettings = serde_json::from_value(json!({ "url": mesh.url(), "topic": "bench" }))?;
    let ends = CancellationToken::new();
    let _stop = ends.clone().drop_guard();
    let mut subscriber = Subscriber::connect(&to_mesh, "bench", Budget::with_bytes(16 << 20), ends).await?;
    let received = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&received);
    let _receiving = AbortOnDropHandle::new(tokio::spawn(async move {
        let mut deliveries = Vec::new();
        while subscriber.recv(&mut deliveries, 1024).await.is_ok() {
            counted.fetch_add(deliveries.len() as u64, Ordering::Relaxed);
            deliveries.drain(..).for_each(|delivery| delivery.ack.ack());
        }
    }));
    let settings = json!({
        "mesh": { "url": mesh.url(), "topic": "bench" },
        "source": { "url": database.url, "tables": ["rows"], "mode": "incrementing", "incrementing": "id", "page_rows": ROWS_OF_A_PAGE },
    });
    let mut source = Connector::start(&kit, "openconnect-jdbc-source", "in", settings).await?;
    let ready = source.ready_after;
    let mut watched = [
        Watched::busy("jdbc-source", source.process()?, ready),
        Watched::busy("mesh", &mesh.process, mesh.ready_after),
    ];
    sample(setup, &mut watched, async || Ok(received.load(Ordering::Relaxed))).await
}

/// The connector with nobody behind it: every event is made, and dropped. What the driver alone does is compared with this;
/// the rest of [`source`] is the mesh, which shares the cores.
pub(crate) async fn null_source(setup: &Setup) -> Result<Sample> {
    let (database, _) = stocked(setup).await?;
    let config = json!({
        "url": database.url, "tables": ["rows"], "mode": "incrementing", "incrementing": "id", "page_rows": ROWS_OF_A_PAGE,
    });
    let context = SourceContext::alone("null", BTreeMap::new());
    let mut source = SourceRunner::<JdbcSource>::start(serde_json::from_value(config)?, context).await?;
    let made = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&made);
    let _reading = AbortOnDropHandle::new(tokio::spawn(async move {
        while let Ok(records) = source.next().await {
            counted.fetch_add(records.len() as u64, Ordering::Relaxed);
        }
    }));
    sample(setup, &mut [], async || Ok(made.load(Ordering::Relaxed))).await
}

/// The same rows by the driver alone, in the same pages.
pub(crate) async fn bare_select(setup: &Setup) -> Result<Sample> {
    let (_database, pool) = stocked(setup).await?;
    let read = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&read);
    let _reader = AbortOnDropHandle::new(tokio::spawn(async move {
        let mut last = 0;
        let sql = format!(
            "select r.id::text, r.text from rows as r where r.id > {} order by r.id limit {ROWS_OF_A_PAGE}",
            Dialect::Postgres.parameter(1)
        );
        while let Ok(mut connection) = pool.acquire().await {
            let statement = Statement::new(sql.clone(), vec![Value::Integer(last)]);
            let Ok((rows, _)) = connection.query(&statement, usize::MAX).await else {
                return;
            };
            let end = rows
                .last()
                .and_then(|row| row.first())
                .and_then(Cell::text)
                .and_then(|id| id.parse().ok());
            let Some(end) = end else { return };
            last = end;
            counted.fetch_add(rows.len() as u64, Ordering::Relaxed);
        }
    }));
    sample(setup, &mut [], async || Ok(read.load(Ordering::Relaxed))).await
}
