//! The metrics of running connectors are what really happened.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use openconnect_testkit::connector::Connector;
use openconnect_testkit::http;
use openconnect_testkit::kit::{Kit, free_address};
use openconnect_testkit::mesh::Mesh;
use openconnect_testkit::process::until;
use openconnect_testkit::receiver::{Fault, Receiver};
use openconnect_testkit::sender::{Load, Sender};
use rustix::process::Signal;
use serde_json::json;

const LONG: Duration = Duration::from_secs(60);

/// The metrics of one connector: each with its labels but `connector` and `name`.
struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    async fn of(connector: &Connector) -> Self {
        let page = http::get(connector.admin, "/metrics").await.unwrap().text();
        let samples = page.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(|line| {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = sample.trim_end_matches('}').split_once('{').unwrap_or((sample, ""));
            let own: Vec<&str> = labels
                .split(',')
                .filter(|label| !label.starts_with("connector=") && !label.starts_with("name="))
                .collect();
            (format!("{name}{{{}}}", own.join(",")), value.parse().unwrap())
        });
        Self(samples.collect())
    }

    fn get(&self, sample: &str) -> f64 {
        *self.0.get(sample).unwrap_or_else(|| panic!("no {sample} in {:?}", self.0))
    }

    fn events(&self, outcome: &str) -> f64 {
        self.get(&format!("openconnect_events_total{{outcome=\"{outcome}\"}}"))
    }

    /// Number and sum of the writes; the largest bucket counts all of them.
    fn writes(&self) -> (f64, f64) {
        let count = self.get("openconnect_write_seconds_count{}");
        assert_eq!(count, self.get("openconnect_write_seconds_bucket{le=\"+Inf\"}"));
        (count, self.get("openconnect_write_seconds_sum{}"))
    }

    /// What waits, and the memory that it takes.
    fn waits(&self) -> (f64, f64) {
        (self.get("openconnect_backlog{}"), self.get("openconnect_memory_used_bytes{}"))
    }
}

async fn wait(connector: &Connector, what: &str, wanted: impl Fn(&Metrics) -> bool) -> Metrics {
    let find = || async {
        let metrics = Metrics::of(connector).await;
        wanted(&metrics).then_some(metrics)
    };
    until(what, LONG, find).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_tells_what_it_published_how_long_that_took_and_what_waits() {
    const EVENTS: usize = 16;
    const BYTES: usize = 50_000;
    let kit = Kit::new("a_source_tells").unwrap();
    let mesh = Mesh::start(&kit, json!({})).await.unwrap();
    let address = free_address().unwrap();
    let settings = json!({
        "mesh": { "url": mesh.url(), "topic": "orders" },
        "source": { "listen": address },
        "limits": { "memory": "64MiB" },
    });
    let source = Connector::start(&kit, "openconnect-http-source", "hook", settings).await.unwrap();
    let before = Metrics::of(&source).await;
    assert_eq!((before.writes(), before.waits()), ((0.0, 0.0), (0.0, 0.0)));
    assert_eq!(before.get("openconnect_memory_budget_bytes{}"), f64::from(16 << 20));
    mesh.process.signal(Signal::STOP).unwrap();
    let began = Instant::now();
    let load = Load {
        padding: BYTES,
        ..Load::new(address)
    };
    let sender = Sender::start(&load, EVENTS);
    let waiting = wait(&source, "all wait for the mesh", |metrics| metrics.waits().0 == EVENTS as f64).await;
    let memory = waiting.waits().1;
    // The data, and beside it what is small.
    assert!((1.0..1.1).contains(&(memory / (EVENTS * BYTES) as f64)), "{memory}");
    assert_eq!((waiting.events("received"), waiting.events("delivered")), (EVENTS as f64, 0.0));
    let all_waiting = Instant::now();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let waited = all_waiting.elapsed().as_secs_f64();
    mesh.process.signal(Signal::CONT).unwrap();
    let sending = sender.finish(LONG).await.unwrap();
    let took = began.elapsed().as_secs_f64();
    assert_eq!(sending.confirmed.len(), EVENTS);
    let after = wait(&source, "nothing waits", |metrics| metrics.waits() == (0.0, 0.0)).await;
    assert_eq!((after.events("delivered"), after.events("failed")), (EVENTS as f64, 0.0));
    let (count, sum) = after.writes();
    assert_eq!(count, EVENTS as f64);
    let mean = sum / count;
    assert!((waited..took).contains(&mean), "{mean} s, but each took {waited} to {took} s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_tells_what_it_wrote_how_long_that_took_and_what_waits() {
    const EVENTS: usize = 64;
    const SLOW: Duration = Duration::from_millis(200);
    let kit = Kit::new("a_sink_tells").unwrap();
    let mesh = Mesh::start(&kit, json!({})).await.unwrap();
    let receiver = Receiver::start_recording().await.unwrap();
    receiver.set(Fault::Status(503));
    let settings = json!({
        "mesh": { "url": mesh.url(), "topic": "orders" },
        "sink": { "url": receiver.url() },
        "delivery": { "retry": { "initial": "20ms", "max": "100ms" } },
    });
    let sink = Connector::start(&kit, "openconnect-http-sink", "out", settings).await.unwrap();
    let address = free_address().unwrap();
    let settings = json!({ "mesh": { "url": mesh.url(), "topic": "orders" }, "source": { "listen": address } });
    let _source = Connector::start(&kit, "openconnect-http-source", "hook", settings).await.unwrap();
    let sending = Sender::start(&Load::new(address), EVENTS).finish(LONG).await.unwrap();
    let tried = |metrics: &Metrics| metrics.waits().0 == EVENTS as f64 && metrics.get("openconnect_retries_total{}") > 0.0;
    let waiting = wait(&sink, "all wait for the target", tried).await;
    assert!(waiting.waits().1 > 0.0);
    assert_eq!((waiting.events("delivered"), waiting.events("received")), (0.0, EVENTS as f64));
    assert!(waiting.writes().0 > 0.0, "attempts that failed are writes");
    let poison = [0, 1, 2].map(|index| sending.confirmed[index].id.clone());
    receiver.set(Fault::Poison(poison.into_iter().collect()));
    let ended = |metrics: &Metrics| metrics.waits() == (0.0, 0.0);
    let after = wait(&sink, "nothing waits", ended).await;
    assert_eq!(
        (after.events("delivered"), after.events("dead_lettered")),
        ((EVENTS - 3) as f64, 3.0)
    );
    assert_eq!(receiver.arrived().len(), EVENTS - 3);
    // From here on each request takes as long as the target says.
    receiver.set(Fault::Slow(SLOW));
    let requests = receiver.requests().len();
    let began = Instant::now();
    let _sending = Sender::start(
        &Load {
            keys: 8,
            ..Load::new(address)
        },
        8,
    )
    .finish(LONG)
    .await
    .unwrap();
    let slow = wait(&sink, "nothing waits again", |metrics| {
        metrics.events("delivered") == (EVENTS + 5) as f64 && ended(metrics)
    })
    .await;
    let took = began.elapsed().as_secs_f64();
    let (count, sum) = (slow.writes().0 - after.writes().0, slow.writes().1 - after.writes().1);
    assert_eq!(count, (receiver.requests().len() - requests) as f64);
    assert!((SLOW.as_secs_f64()..took).contains(&(sum / count)), "{sum} s for {count} requests");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_event_of_a_batch_that_is_repeated_counts_each_time() {
    const BATCH: usize = 8;
    let kit = Kit::new("each_event_of_a_batch").unwrap();
    let mesh = Mesh::start(&kit, json!({})).await.unwrap();
    let receiver = Receiver::start().await.unwrap();
    receiver.set(Fault::Status(503));
    let settings = json!({
        "mesh": { "url": mesh.url(), "topic": "orders" },
        "sink": { "url": receiver.url(), "mode": "batch" },
        "delivery": { "batch": { "max_events": BATCH, "max_age": "60s" }, "retry": { "initial": "20ms", "max": "100ms" } },
    });
    let sink = Connector::start(&kit, "openconnect-http-sink", "out", settings).await.unwrap();
    let address = free_address().unwrap();
    let settings = json!({ "mesh": { "url": mesh.url(), "topic": "orders" }, "source": { "listen": address } });
    let _source = Connector::start(&kit, "openconnect-http-source", "hook", settings).await.unwrap();
    // One batch: it is closed by its number of events alone.
    Sender::start(&Load::new(address), BATCH).finish(LONG).await.unwrap();
    wait(&sink, "it was repeated", |metrics| metrics.writes().0 >= 3.0).await;
    receiver.set(Fault::None);
    let after = wait(&sink, "nothing waits", |metrics| metrics.events("delivered") == BATCH as f64).await;
    let repeated = after.writes().0 - 1.0;
    assert_eq!(after.get("openconnect_retries_total{}"), repeated * BATCH as f64);
}
