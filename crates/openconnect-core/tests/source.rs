//! What the engine does for a source whose system comes and goes, against a real mesh.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openconnect_core::admin::{AdminServer, State, StatusHandle};
use openconnect_core::cloudevents::{EventBuilder, EventBuilderV10};
use openconnect_core::config::{ConnectorConfig, Problems, Settings};
use openconnect_core::engine::{App, run_source};
use openconnect_core::error::Exit;
use openconnect_core::offsets::{FileStore, OffsetStore as _};
use openconnect_core::record::{Partition, Record};
use openconnect_core::source::{Accept, Committer, Emitter, OffsetKeeper, Replay, Source, SourceContext, SourceProfile};
use openconnect_core::{Failure, Result};
use openconnect_mesh::{Config, Mesh, MeshHandle};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

openconnect_core::code_table! {
    /// The system does not answer for now.
    SYSTEM_DOWN,
    /// The system can never be used again.
    SYSTEM_GONE,
}

type Reads = VecDeque<Result<Vec<u64>, Failure>>;

/// What the next reads give, what the committer answers, and what it was told.
#[derive(Debug, Clone, Default)]
struct Script {
    reads: Arc<Mutex<Reads>>,
    commits: Arc<Mutex<VecDeque<Result<(), Failure>>>>,
    committed: Arc<Mutex<Vec<u64>>>,
    upstream: bool,
    accept: Accept,
}

impl Script {
    fn reads(self, reads: impl IntoIterator<Item = Result<u64, Failure>>) -> Self {
        self.then(reads);
        self
    }

    fn then(&self, reads: impl IntoIterator<Item = Result<u64, Failure>>) {
        let reads = reads.into_iter().map(|read| read.map(|number| vec![number]));
        self.reads.lock().unwrap().extend(reads);
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
/// The source has come to its end.
const END: u64 = 78;

struct Scripted(Script);

impl Source for Scripted {
    const NAME: &'static str = "scripted-source";
    type Config = NoConfig;
    type Position = u64;
    type Committer = ScriptedCommitter;

    fn profile(config: &NoConfig) -> SourceProfile {
        let profile = SourceProfile::new(Replay::FromPosition).with_accept(config.script.accept);
        if config.script.upstream {
            profile.with_offsets(OffsetKeeper::Upstream)
        } else {
            profile
        }
    }

    async fn open(config: NoConfig, _: SourceContext<u64>) -> Result<(Self, ScriptedCommitter)> {
        let committer = ScriptedCommitter(config.script.clone());
        Ok((Self(config.script), committer))
    }

    async fn read(&mut self, out: &mut Emitter<u64>) -> Result<(), Failure> {
        let next = self.0.reads.lock().unwrap().pop_front();
        let Some(next) = next else {
            tokio::time::sleep(Duration::from_millis(1)).await;
            return Ok(());
        };
        let partition = Partition::new("p");
        for number in next? {
            match number {
                SILENT => out.emit(Record::progress(partition.clone(), number)).await,
                END => out.finish(),
                _ => {
                    let event = EventBuilderV10::new().id(number.to_string()).source("/s").ty("t").build().unwrap();
                    out.emit(Record::event(partition.clone(), event).with_position(number)).await;
                }
            }
        }
        Ok(())
    }
}

struct ScriptedCommitter(Script);

impl Committer<u64> for ScriptedCommitter {
    async fn commit(&mut self, _: &Partition, position: &u64) -> Result<(), Failure> {
        let answer = self.0.commits.lock().unwrap().pop_front().unwrap_or(Ok(()));
        if answer.is_ok() {
            self.0.committed.lock().unwrap().push(*position);
        }
        answer
    }
}

struct Running {
    script: Script,
    status: StatusHandle,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<Result<Exit>>,
    state: std::path::PathBuf,
    _dir: tempfile::TempDir,
    mesh: Option<MeshHandle>,
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
        drain: false,
        shutdown: shutdown.clone(),
    };
    Running {
        script: script.clone(),
        status,
        shutdown,
        task: tokio::spawn(run_source::<Scripted>(app)),
        state: dir.path().join("scripted"),
        _dir: dir,
        mesh: Some(mesh),
    }
}

impl Running {
    async fn saved(&self) -> serde_json::Value {
        FileStore::open(&self.state).unwrap().all().await.unwrap()["p"].clone()
    }

    async fn stop_mesh(&mut self) {
        self.mesh.take().unwrap().shutdown().await;
        let status = &self.status;
        until("no session", || matches!(status.state(), State::Blocked(_))).await;
    }

    /// The page of `/metrics`.
    async fn metrics(&self) -> String {
        let server = AdminServer::bind("127.0.0.1:0", self.status.clone(), "0", None).await.unwrap();
        let (address, stop) = (server.address(), CancellationToken::new());
        let serving = tokio::spawn(server.serve(stop.clone()));
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).await.unwrap();
        stop.cancel();
        let _ = serving.await;
        page
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
    let down = || Err(Failure::retryable(SYSTEM_DOWN, "the system is down"));
    let script = Script::default().reads([Ok(1), down(), down()]);
    let mut running = run(&script, Duration::from_millis(400)).await;
    until(
        "blocked",
        || matches!(running.status.state(), State::Blocked(reason) if reason.contains("the system is down")),
    )
    .await;
    script.then([Ok(2), Ok(3)]);
    until("committed to the last", || script.committed.lock().unwrap().last() == Some(&3)).await;
    assert_eq!(running.status.state(), State::Running);
    running.shutdown.cancel();
    assert_eq!((&mut running.task).await.unwrap().unwrap(), Exit::Clean);
    assert_eq!(running.saved().await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_fails_for_now_is_repeated() {
    let script = Script::default().reads([Ok(1)]);
    script.commits.lock().unwrap().extend([
        Err(Failure::retryable(SYSTEM_DOWN, "not now")),
        Err(Failure::retryable(SYSTEM_DOWN, "not now")),
    ]);
    let mut running = run(&script, Duration::from_millis(1)).await;
    until("committed", || *script.committed.lock().unwrap() == [1]).await;
    running.shutdown.cancel();
    assert_eq!((&mut running.task).await.unwrap().unwrap(), Exit::Clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_confirmed_before_a_fatal_failure_is_stored() {
    let script = Script::default().reads([Ok(1), Ok(2), Err(Failure::fatal(SYSTEM_GONE, "no rights any more"))]);
    let mut running = run(&script, Duration::from_millis(1)).await;
    let error = (&mut running.task).await.unwrap().unwrap_err();
    assert!(error.code == "OC0421" && error.reason().contains("no rights any more"), "{error}");
    assert_eq!(running.saved().await, 2);
    assert_eq!(script.committed.lock().unwrap().last(), Some(&2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_without_an_event_moves_the_offset_and_counts_as_nothing() {
    let script = Script::default().reads([Ok(1), Ok(SILENT)]);
    let mut running = run(&script, Duration::from_millis(1)).await;
    until("committed", || script.committed.lock().unwrap().last() == Some(&SILENT)).await;
    let counts = running.status.counts();
    let counts = [&counts.received, &counts.delivered, &counts.filtered].map(|count| count.load(Relaxed));
    assert_eq!(counts, [1, 1, 0]);
    running.shutdown.cancel();
    assert_eq!((&mut running.task).await.unwrap().unwrap(), Exit::Clean);
    assert_eq!(running.saved().await, SILENT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_has_finished_ends_the_connector_once_everything_is_safe() {
    let script = Script::default().reads([Ok(1), Ok(2), Ok(END)]);
    let mut running = run(&script, Duration::from_millis(1)).await;
    assert_eq!((&mut running.task).await.unwrap().unwrap(), Exit::Clean);
    assert_eq!(running.saved().await, 2);
    assert_eq!(script.committed.lock().unwrap().last(), Some(&2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_hangs_does_not_keep_the_source_from_reading() {
    let script = Script::default().reads([Ok(1)]);
    script
        .commits
        .lock()
        .unwrap()
        .extend((0..3).map(|_| Err(Failure::retry_after(Duration::from_secs(3600), SYSTEM_DOWN, "not now"))));
    let mut running = run(&script, Duration::from_millis(1)).await;
    until("tried", || script.commits.lock().unwrap().len() < 3).await;
    script.then((2..=50).map(Ok));
    let delivered = || running.status.counts().delivered.load(Relaxed);
    until("delivered", || delivered() == 50).await;
    running.shutdown.cancel();
    assert_eq!((&mut running.task).await.unwrap().unwrap(), Exit::Clean);
    assert_eq!(running.saved().await, 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_fails_for_good_stops_the_connector() {
    let script = Script::default().reads([Ok(1)]);
    script
        .commits
        .lock()
        .unwrap()
        .push_back(Err(Failure::fatal(SYSTEM_GONE, "no rights any more")));
    let mut running = run(&script, Duration::from_millis(1)).await;
    let error = (&mut running.task).await.unwrap().unwrap_err();
    assert!(error.code == "OC0421" && error.reason().contains("no rights any more"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_that_are_kept_upstream_go_to_the_committer_alone() {
    let script = Script {
        upstream: true,
        ..Script::default()
    };
    let mut running = run(&script.reads([Ok(1), Ok(2)]), Duration::from_millis(1)).await;
    let script = running.script.clone();
    until("committed", || script.committed.lock().unwrap().last() == Some(&2)).await;
    running.shutdown.cancel();
    assert_eq!((&mut running.task).await.unwrap().unwrap(), Exit::Clean);
    assert!(!running.state.join("offsets.redb").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_metrics_say_is_what_happened() {
    let script = Script::default().reads((1..=20).map(Ok));
    let mut running = run(&script, Duration::from_millis(1)).await;
    let status = running.status.clone();
    until("delivered", || status.counts().delivered.load(Relaxed) == 20).await;
    until("nothing waits", || status.backlog() == 0 && status.memory().0 == 0).await;
    // The default of limits.memory, of which events may take a quarter.
    assert_eq!(status.memory().1, 16 << 20);
    let page = running.metrics().await;
    assert!(
        page.contains("openconnect_write_seconds_count{connector=\"scripted-source\",name=\"scripted\"} 20\n"),
        "{page}"
    );
    assert!(
        page.contains("openconnect_events_total{connector=\"scripted-source\",name=\"scripted\",outcome=\"received\"} 20\n"),
        "{page}"
    );
    // Without the mesh, events wait, and take memory.
    running.stop_mesh().await;
    script.then((21..=25).map(Ok));
    until("waiting", || status.backlog() == 5 && status.memory().0 >= 5 * 512).await;
    let page = running.metrics().await;
    assert!(
        page.contains("openconnect_backlog{connector=\"scripted-source\",name=\"scripted\"} 5\n"),
        "{page}"
    );
    running.task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_is_refused_for_a_source_that_reads_from_positions() {
    for upstream in [false, true] {
        let script = Script {
            upstream,
            accept: Accept::Spool,
            ..Script::default()
        };
        let mut running = run(&script, Duration::from_millis(1)).await;
        let error = (&mut running.task).await.unwrap().unwrap_err();
        assert!(error.code == "OC0217" && error.exit == Exit::Config);
        assert!(!running.state.join("inbox").exists());
    }
}
