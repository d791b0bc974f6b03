//! What the engine does for a source whose system comes and goes, against a real mesh.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openconnect_core::admin::{State, StatusHandle};
use openconnect_core::cloudevents::{EventBuilder, EventBuilderV10};
use openconnect_core::config::{ConnectorConfig, Problems, Settings};
use openconnect_core::engine::{App, run_source};
use openconnect_core::error::Exit;
use openconnect_core::offsets::{FileStore, OffsetStore as _};
use openconnect_core::record::{Partition, Record};
use openconnect_core::source::{Source, SourceContext};
use openconnect_core::{Failure, Result};
use openconnect_mesh::{Config, Mesh, MeshHandle};
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// What the next polls give, and what the source was told.
#[derive(Debug, Clone, Default)]
struct Script {
    polls: Arc<Mutex<VecDeque<Result<u64, Failure>>>>,
    commits: Arc<Mutex<VecDeque<Result<(), Failure>>>>,
    told: Arc<Mutex<Vec<u64>>>,
}

impl Script {
    fn polls(self, polls: impl IntoIterator<Item = Result<u64, Failure>>) -> Self {
        self.polls.lock().unwrap().extend(polls);
        self
    }
}

#[derive(Debug, Default, serde::Deserialize, schemars::JsonSchema)]
struct NoConfig {
    #[serde(skip)]
    #[schemars(skip)]
    script: Script,
}

impl ConnectorConfig for NoConfig {
    fn validate(&self, _: &mut Problems) {}
}

/// The position of a record without an event.
const SILENT: u64 = 77;

struct Scripted(Script);

impl Source for Scripted {
    const NAME: &'static str = "scripted-source";
    type Config = NoConfig;
    type Position = u64;

    async fn open(config: NoConfig, _: SourceContext<u64>) -> Result<Self> {
        Ok(Self(config.script))
    }

    async fn poll(&mut self) -> Result<Vec<Record<u64>>, Failure> {
        let next = self.0.polls.lock().unwrap().pop_front();
        let Some(next) = next else { return std::future::pending().await };
        let number = next?;
        Ok(vec![Record {
            event: (number != SILENT).then(|| EventBuilderV10::new().id(number.to_string()).source("/s").ty("t").build().unwrap()),
            partition: Partition::new("p"),
            position: Some(number),
            receipt: None,
        }])
    }

    async fn commit(&mut self, _: &Partition, position: &u64) -> Result<(), Failure> {
        let answer = self.0.commits.lock().unwrap().pop_front().unwrap_or(Ok(()));
        if answer.is_ok() {
            self.0.told.lock().unwrap().push(*position);
        }
        answer
    }
}

struct Running {
    status: StatusHandle,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<Result<Exit>>,
    state: std::path::PathBuf,
    _dir: tempfile::TempDir,
    _mesh: MeshHandle,
}

async fn run(script: &Script, retry: Duration) -> Running {
    let dir = tempfile::tempdir().unwrap();
    let mesh = Mesh::start(Config::embedded(dir.path().join("mesh"))).await.unwrap();
    let settings: Settings = serde_json::from_value(json!({
        "name": "scripted",
        "mesh": { "url": format!("tcp://{}", mesh.tcp_addr()), "topic": "t" },
        "state": { "dir": dir.path(), "flush_interval": "10ms" },
        "delivery": { "retry": { "initial": format!("{}ms", retry.as_millis()) } },
    }))
    .unwrap();
    let status = StatusHandle::new("scripted", Scripted::NAME, "0");
    let shutdown = CancellationToken::new();
    let app = App {
        settings,
        config: NoConfig { script: script.clone() },
        shared_offsets: None,
        status: status.clone(),
        shutdown: shutdown.clone(),
    };
    Running {
        status,
        shutdown,
        task: tokio::spawn(run_source::<Scripted>(app)),
        state: dir.path().join("scripted"),
        _dir: dir,
        _mesh: mesh,
    }
}

impl Running {
    async fn saved(&self) -> serde_json::Value {
        FileStore::open(&self.state).unwrap().all().await.unwrap()["p"].clone()
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(tokio::time::Instant::now() < end, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_comes_and_goes_is_asked_again_and_the_status_tells() {
    let down = || Err(Failure::retryable("SYSTEM_DOWN", "the system is down"));
    let script = Script::default().polls([Ok(1), down(), down()]);
    let mut running = run(&script, Duration::from_millis(400)).await;
    until(
        "blocked",
        || matches!(running.status.state(), State::Blocked(reason) if reason.contains("the system is down")),
    )
    .await;
    script.polls.lock().unwrap().extend([Ok(2), Ok(3)]);
    until("told of the last", || script.told.lock().unwrap().last() == Some(&3)).await;
    assert_eq!(running.status.state(), State::Running);
    running.shutdown.cancel();
    assert_eq!((&mut running.task).await.unwrap().unwrap(), Exit::Clean);
    assert_eq!(running.saved().await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_cannot_be_told_now_is_told_again() {
    let script = Script::default().polls([Ok(1)]);
    script.commits.lock().unwrap().extend([
        Err(Failure::retryable("SYSTEM_DOWN", "not now")),
        Err(Failure::retryable("SYSTEM_DOWN", "not now")),
    ]);
    let mut running = run(&script, Duration::from_millis(1)).await;
    until("told", || *script.told.lock().unwrap() == [1]).await;
    running.shutdown.cancel();
    assert_eq!((&mut running.task).await.unwrap().unwrap(), Exit::Clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_confirmed_before_a_fatal_failure_is_stored() {
    let script = Script::default().polls([Ok(1), Ok(2), Err(Failure::fatal("SYSTEM_GONE", "no rights any more"))]);
    let mut running = run(&script, Duration::from_millis(1)).await;
    let error = (&mut running.task).await.unwrap().unwrap_err();
    assert!(error.code == "OC0421" && error.message.contains("no rights any more"), "{error}");
    assert_eq!(running.saved().await, 2);
    assert_eq!(script.told.lock().unwrap().last(), Some(&2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_without_an_event_moves_the_offset_and_counts_as_nothing() {
    let script = Script::default().polls([Ok(1), Ok(SILENT)]);
    let mut running = run(&script, Duration::from_millis(1)).await;
    until("told", || script.told.lock().unwrap().last() == Some(&SILENT)).await;
    let counts = running.status.counts();
    let counts = [&counts.received, &counts.delivered, &counts.filtered].map(|count| count.load(std::sync::atomic::Ordering::Relaxed));
    assert_eq!(counts, [1, 1, 0]);
    running.shutdown.cancel();
    assert_eq!((&mut running.task).await.unwrap().unwrap(), Exit::Clean);
    assert_eq!(running.saved().await, SILENT);
}
