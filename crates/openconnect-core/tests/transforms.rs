//! Programs in the engine: keys that are expressions, and programs that go wrong, from a source over a real mesh to a sink.
#![allow(clippy::unwrap_used)]

use std::collections::{HashSet, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openconnect_core::admin::StatusHandle;
use openconnect_core::cloudevents::{Event, EventBuilder, EventBuilderV10};
use openconnect_core::config::{ConnectorConfig, Problems, Settings};
use openconnect_core::engine::{App, run_sink, run_source};
use openconnect_core::error::Exit;
use openconnect_core::record::{Partition, Record};
use openconnect_core::sink::{Batch, Ordering, Sink, SinkContext, SinkProfile, WriteReport};
use openconnect_core::source::{Emitter, NoCommit, Replay, Source, SourceContext, SourceProfile};
use openconnect_core::{Failure, Result};
use openconnect_mesh::{Config, Mesh, MeshHandle};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

openconnect_core::code_table! {
    /// The target does not take events for now.
    NOT_YET,
}

/// Events to give, or events that have come.
#[derive(Debug, Clone, Default, serde::Deserialize, schemars::JsonSchema)]
struct Shared {
    #[serde(skip)]
    #[schemars(skip)]
    events: Arc<Mutex<VecDeque<Event>>>,
}

impl ConnectorConfig for Shared {
    fn validate(&self, _: &mut Problems) {}
}

struct Given(Shared);

impl Source for Given {
    const NAME: &'static str = "given-source";
    type Config = Shared;
    type Position = u64;
    type Committer = NoCommit;

    fn profile(_: &Shared) -> SourceProfile {
        SourceProfile::new(Replay::FromPosition)
    }

    async fn open(config: Shared, _: SourceContext<u64>) -> Result<(Self, NoCommit)> {
        Ok((Self(config), NoCommit))
    }

    async fn read(&mut self, out: &mut Emitter<u64>) -> Result<(), Failure> {
        let events = std::mem::take(&mut *self.0.events.lock().unwrap());
        if events.is_empty() {
            return std::future::pending().await;
        }
        let records = events.into_iter().zip(0..);
        out.emit_all(records.map(|(event, at)| Record::event(Partition::new("p"), event).with_position(at)))
            .await;
        Ok(())
    }
}

/// Refuses the first event of each tenant once, so that another could overtake it.
struct Arriving {
    arrived: Shared,
    refused: Mutex<HashSet<String>>,
}

impl Sink for Arriving {
    const NAME: &'static str = "arriving-sink";
    type Config = Shared;

    fn profile(_: &Shared) -> SinkProfile {
        let profile = SinkProfile::new().batch_events(4).batch_age(Duration::from_millis(1)).in_flight(4);
        profile.ordering(Ordering::None).idempotent(true)
    }

    async fn check(_: Shared) -> Result<()> {
        Ok(())
    }

    async fn open(config: Shared, _: SinkContext) -> Result<Self> {
        Ok(Self {
            arrived: config,
            refused: Mutex::default(),
        })
    }

    async fn write(&self, batch: &Batch) -> WriteReport {
        let answers = batch.events().map(|event| {
            if self.refused.lock().unwrap().insert(tenant(event)) {
                return Err(Failure::retryable(NOT_YET, "not yet"));
            }
            self.arrived.events.lock().unwrap().push_back(event.clone());
            Ok(())
        });
        WriteReport::PerEvent(answers.collect())
    }
}

fn data(event: &Event) -> Value {
    serde_json::from_slice(&openconnect_protocol::payload::bytes(event).unwrap()).unwrap()
}

fn tenant(event: &Event) -> String {
    data(event)["tenant"].to_string()
}

fn event(id: usize, data: &Value) -> Event {
    let event = EventBuilderV10::new().id(id.to_string()).source("/s").ty("t");
    event.data("application/json", data.to_string()).build().unwrap()
}

struct Running {
    arrived: Shared,
    shutdown: CancellationToken,
    tasks: Vec<JoinHandle<Result<Exit>>>,
    dir: tempfile::TempDir,
    _mesh: MeshHandle,
}

/// A source that gives the events, a mesh and a sink; `extra` is merged into the settings of the one that `at` names.
async fn run(events: impl IntoIterator<Item = Event>, at: &str, extra: Value) -> Running {
    let dir = tempfile::tempdir().unwrap();
    let mesh = Mesh::start(Config::embedded(dir.path().join("mesh"))).await.unwrap();
    let shutdown = CancellationToken::new();
    let settings = |name: &str| -> Settings {
        let mut settings = json!({
            "name": name,
            "mesh": { "url": format!("tcp://{}", mesh.tcp_addr()), "topic": "t" },
            "state": { "dir": dir.path() },
            "delivery": { "retry": { "initial": "20ms" } },
        });
        if name == at {
            for (name, section) in extra.as_object().unwrap() {
                match (settings.get_mut(name).and_then(Value::as_object_mut), section) {
                    (Some(known), Value::Object(more)) => known.extend(more.clone()),
                    _ => settings[name] = section.clone(),
                }
            }
        }
        serde_json::from_value(settings).unwrap()
    };
    let arrived = Shared::default();
    let given = Shared {
        events: Arc::new(Mutex::new(events.into_iter().collect())),
    };
    let sink = App {
        settings: settings("sink"),
        config: arrived.clone(),
        shared_offsets: None,
        status: StatusHandle::new("sink", Arriving::NAME, "0"),
        drain: false,
        shutdown: shutdown.clone(),
    };
    let source = App {
        settings: settings("source"),
        config: given,
        shared_offsets: None,
        status: StatusHandle::new("source", Given::NAME, "0"),
        drain: false,
        shutdown: shutdown.clone(),
    };
    let tasks = vec![tokio::spawn(run_sink::<Arriving>(sink)), tokio::spawn(run_source::<Given>(source))];
    Running {
        arrived,
        shutdown,
        tasks,
        dir,
        _mesh: mesh,
    }
}

impl Running {
    /// Waits for what must arrive, stops both, and gives what has arrived and the dead letters of the one that `at` names.
    async fn finish(self, at: &str, arrivals: usize, dead: usize) -> (Vec<Value>, Vec<Value>) {
        let end = tokio::time::Instant::now() + Duration::from_secs(60);
        let letters = self.dir.path().join(at).join("dead-letters.jsonl");
        while self.arrived.events.lock().unwrap().len() < arrivals || lines(&letters).len() < dead {
            assert!(tokio::time::Instant::now() < end, "not in time");
            assert!(self.tasks.iter().all(|task| !task.is_finished()), "a connector stopped");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.shutdown.cancel();
        for task in self.tasks {
            assert_eq!(task.await.unwrap().map_err(|e| e.reason()), Ok(Exit::Clean));
        }
        let arrived = self.arrived.events.lock().unwrap().iter().map(data).collect();
        (arrived, lines(&letters))
    }
}

fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_one_expressions_key_keep_their_order_and_one_without_is_a_dead_letter() {
    let mut events: Vec<Event> = (0..60)
        .map(|n| event(n, &json!({ "tenant": n % 6, "order": { "id": n % 3 }, "n": n })))
        .collect();
    events.push(event(60, &json!({ "tenant": "no order", "order": 1, "n": 60 })));
    let key = r#".data | "\(.tenant)-\(.order.id)""#;
    let running = run(events, "sink", json!({ "delivery": { "ordering": "key", "key": key } })).await;
    let (arrived, dead) = running.finish("sink", 60, 1).await;
    for tenant in 0..6 {
        let of_tenant = arrived.iter().filter(|data| data["tenant"] == tenant);
        let numbers: Vec<u64> = of_tenant.map(|data| data["n"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (0..10).map(|n| tenant + 6 * n).collect::<Vec<_>>());
    }
    assert_eq!(
        (dead.len(), &dead[0]["id"], &dead[0]["dlqcode"]),
        (1, &json!("60"), &json!("OC0127"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_takes_too_much_costs_its_event_only() {
    for at in ["source", "sink"] {
        let events = (0..40).map(|n| event(n, &json!({ "tenant": 0, "n": n, "loop": n % 10 == 7 })));
        let program = "if .data.loop then (def f: 1 + f; f) elif .data.n == 3 then empty else .data.seen = true end";
        let running = run(events, at, json!({ "transforms": [{ "jq": program }] })).await;
        let (arrived, dead) = running.finish(at, 35, 4).await;
        assert!(
            arrived.len() == 35 && arrived.iter().all(|data| data["seen"] == true),
            "{at}: {arrived:?}"
        );
        // Dead letters are written beside each other, in any order.
        let ids: HashSet<&str> = dead.iter().filter_map(|letter| letter["id"].as_str()).collect();
        assert_eq!(ids, HashSet::from(["7", "17", "27", "37"]), "{at}");
        assert!(
            dead.iter()
                .all(|letter| letter["dlqcode"] == "OC0125" && letter["data"]["loop"] == true),
            "{at}: {dead:?}"
        );
    }
}
