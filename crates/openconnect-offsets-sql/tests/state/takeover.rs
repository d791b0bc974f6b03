//! A source that runs twice: its own state goes from the active process to the standby.

use std::time::Duration;

use openconnect_core::admin::{State, StatusHandle};
use openconnect_core::config::{ConnectorConfig, Problems, Settings};
use openconnect_core::engine::{App, run_source};
use openconnect_core::error::{Error, Exit};
use openconnect_core::source::{Emitter, NoCommit, Replay, Source, SourceContext, SourceProfile};
use openconnect_core::store::Store;
use openconnect_core::{Failure, Result};
use openconnect_mesh::{Config, Mesh, MeshHandle};
use openconnect_offsets_sql::SqlOffsets;
use openconnect_sql_fixtures::EmptyDatabase;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::place::open;

const TTL: Duration = Duration::from_secs(2);
const LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
struct CountConfig {
    /// What is durable in the store.
    #[serde(skip)]
    #[schemars(skip)]
    stored: Option<mpsc::Sender<u64>>,
}

impl ConnectorConfig for CountConfig {
    fn validate(&self, _: &mut Problems) {}
}

/// Counts in its store.
struct CountSource {
    store: Store,
    count: u64,
    stored: mpsc::Sender<u64>,
}

impl Source for CountSource {
    const NAME: &'static str = "count-source";
    type Config = CountConfig;
    type Position = u64;
    type Committer = NoCommit;

    fn profile(_: &CountConfig) -> SourceProfile {
        SourceProfile::new(Replay::FromPosition)
    }

    async fn open(config: CountConfig, cx: SourceContext<u64>) -> Result<(Self, NoCommit)> {
        let stored = cx.store.get("count").await;
        let stored = stored.map_err(|failure| Error::unavailable(failure.code, "no count").because(failure))?;
        let count = stored.map_or(0, |count| u64::from_be_bytes(count.try_into().unwrap()));
        let source = Self {
            store: cx.store,
            count,
            stored: config.stored.unwrap(),
        };
        Ok((source, NoCommit))
    }

    async fn read(&mut self, _: &mut Emitter<u64>) -> Result<(), Failure> {
        let next = self.count + 1;
        self.store.put("count", &next.to_be_bytes()).await?;
        self.count = next;
        let _ = self.stored.send(next).await;
        Ok(())
    }
}

struct Process {
    stored: mpsc::Receiver<u64>,
    status: StatusHandle,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<Result<Exit>>,
    _dir: tempfile::TempDir,
}

fn start(database: &EmptyDatabase, mesh: &MeshHandle) -> Process {
    let dir = tempfile::tempdir().unwrap();
    let settings: Settings = serde_json::from_value(json!({
        "name": "count",
        "mesh": { "url": format!("tcp://{}", mesh.tcp_addr()), "topic": "t" },
        "state": {
            "dir": dir.path(), "offsets": database.url, "table_prefix": "oc_", "lease_ttl": format!("{}ms", TTL.as_millis()),
        },
    }))
    .unwrap();
    let status = StatusHandle::new("count", CountSource::NAME, "0");
    let shutdown = CancellationToken::new();
    let (sender, stored) = mpsc::channel(1 << 16);
    let app = App {
        settings,
        config: CountConfig { stored: Some(sender) },
        shared_offsets: Some(&SqlOffsets),
        status: status.clone(),
        drain: false,
        shutdown: shutdown.clone(),
    };
    Process {
        stored,
        status,
        shutdown,
        task: tokio::spawn(run_source::<CountSource>(app)),
        _dir: dir,
    }
}

async fn next(process: &mut Process) -> u64 {
    tokio::time::timeout(LIMIT, process.stored.recv()).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_goes_on_from_the_state_of_the_active_process_which_is_shut_out() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = Mesh::start(Config::embedded(dir.path().join("mesh"))).await.unwrap();
    for database in EmptyDatabase::of_each_kind().await.unwrap() {
        let name = database.name;
        let mut active = start(&database, &mesh);
        assert_eq!(next(&mut active).await, 1, "{name}");
        let mut standby = start(&database, &mesh);
        let until = tokio::time::Instant::now() + LIMIT;
        while standby.status.state() != State::Standby {
            assert!(tokio::time::Instant::now() < until, "{name}: {:?}", standby.status.state());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // The database takes the lease for over, as when the active process has not renewed it.
        let offsets = open(&database.url, "count-source/count").await;
        let first = tokio::time::timeout(LIMIT, async {
            loop {
                offsets.renew(1, Duration::ZERO).await.unwrap();
                tokio::select! {
                    first = standby.stored.recv() => break first.unwrap(),
                    () = tokio::time::sleep(Duration::from_millis(10)) => {}
                }
            }
        })
        .await
        .unwrap();
        let error = tokio::time::timeout(LIMIT, active.task).await.unwrap().unwrap().unwrap_err();
        assert!(error.code == "OC0213" && error.exit == Exit::LeaseLost, "{name}: {error:#}");
        let mut last = 1;
        while let Some(count) = active.stored.recv().await {
            last = count;
        }
        // The write that was refused, or dropped with the process, is not there; what was durable is.
        assert!(first == last + 1 || first == last + 2, "{name}: {first} follows {last}");
        assert!(next(&mut standby).await == first + 1, "{name}");
        standby.shutdown.cancel();
        assert_eq!(standby.task.await.unwrap().unwrap(), Exit::Clean, "{name}");
    }
}
