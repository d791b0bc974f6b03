//! What every mesh must do for its client: run against `openconnect-mesh`, and against the servers that
//! `OPENCONNECT_TEST_EVENTMESH=tcp://host:port,grpc://host:port` names. What EventMesh 1.x is known not to do is reported as
//! a limit of that server.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cloudevents::{AttributesReader, AttributesWriter, Event, EventBuilder, EventBuilderV10};
use openconnect_core::budget::Budget;
use openconnect_core::mesh::{Capabilities, Delivery, Publisher, Subscriber};
use openconnect_mesh::{Config, Mesh};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{WAIT, confirmed, settings, within};

/// How long something is waited for that a server may never do.
const MAYBE: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openconnect_mesh_does_all_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::embedded(dir.path());
    config.fsync = false;
    let mesh = Mesh::start(config).await.unwrap();
    let addresses = [
        format!("tcp://{}", mesh.tcp_addr()),
        format!("grpc://{}", mesh.grpc_addr().unwrap()),
    ];
    for url in addresses {
        let limits = suite(&url).await;
        assert!(limits.is_empty(), "{url}: {limits:?}");
    }
    mesh.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limits_of_eventmesh_1x_are_found() {
    let limits = suite(&crate::simulated::start().await).await;
    assert_eq!(
        limits,
        [
            "an event of 1100 characters is refused",
            "an event of 100000 characters is refused",
            "what is not acknowledged does not come again",
            "only one group gets the events of a topic",
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_eventmesh_does_what_it_can() {
    let Ok(servers) = std::env::var("OPENCONNECT_TEST_EVENTMESH") else {
        println!("skipped: EventMesh 1.x: OPENCONNECT_TEST_EVENTMESH is not set");
        return;
    };
    for url in servers.split(',') {
        for limit in suite(url).await {
            println!("{url}: a limit of this server: {limit}");
        }
    }
}

/// Runs everything; gives the server's limits. What is no known limit fails.
async fn suite(url: &str) -> Vec<String> {
    let mut limits = Vec::new();
    let bench = Bench::new(url).await;
    println!("{url}: {:?}", bench.told);
    bench.every_kind_of_content_comes_as_it_went(&mut limits).await;
    let mut bench = Bench::new(url).await;
    bench.many_in_flight_arrive_in_order_of_their_key(&mut limits).await;
    let mut bench = Bench::new(url).await;
    bench.large_events_arrive_or_are_refused_clearly(&mut limits).await;
    let bench = Bench::new(url).await;
    bench.what_is_not_acknowledged_comes_again(&mut limits).await;
    let bench = Bench::new(url).await;
    bench.every_group_gets_every_event(&mut limits).await;
    limits
}

/// A topic of its own with a publisher and a subscriber.
struct Bench {
    url: String,
    topic: String,
    publisher: Publisher,
    subscriber: Subscriber,
    told: Capabilities,
}

async fn subscribe(url: &str, topic: &str, group: &str) -> Subscriber {
    let settings = settings(url, json!({"topic": topic}));
    let subscriber = Subscriber::connect(&settings, group, Budget::with_bytes(64 << 20), CancellationToken::new());
    within("a subscription", subscriber).await.unwrap()
}

impl Bench {
    async fn new(url: &str) -> Self {
        let topic = format!("openconnect-{}", rand::random::<u64>());
        // Subscribed first: EventMesh's standalone storage knows no topic before. A server that is down comes first in the list.
        let subscriber = subscribe(url, &topic, &format!("{topic}-a")).await;
        let (scheme, address) = url.split_once("://").unwrap();
        let over = json!({"topic": topic, "window": 64});
        let listed = settings(&format!("{scheme}://127.0.0.1:1,{address}"), over);
        let group = format!("{topic}-p");
        let publisher = Publisher::connect(&listed, &group, CancellationToken::new());
        Self {
            publisher: within("a session", publisher).await.unwrap(),
            told: subscriber.capabilities(),
            url: url.to_owned(),
            topic,
            subscriber,
        }
    }

    async fn send(&self, event: &Event) -> openconnect_core::mesh::Published {
        self.publisher.send(&self.topic, Some("key"), event).await
    }

    /// Takes what comes until `count` different events are there or nothing more does; acknowledges it.
    async fn take(&mut self, count: usize, wait: Duration) -> Vec<Event> {
        take(&mut self.subscriber, count, wait)
            .await
            .into_iter()
            .map(|(event, delivery)| {
                delivery.ack.ack();
                event
            })
            .collect()
    }

    async fn close(self) {
        within("the end of the publisher", self.publisher.close()).await;
        within("the end of the subscriber", self.subscriber.close()).await;
    }

    /// Over gRPC EventMesh 1.x forgets what it has written to a stream.
    fn may_lose(&self) -> bool {
        !self.told.acknowledges
    }

    async fn every_kind_of_content_comes_as_it_went(mut self, limits: &mut Vec<String>) {
        let sent: BTreeMap<String, Event> = contents().into_iter().map(|event| (event.id().to_owned(), event)).collect();
        for event in sent.values() {
            confirmed(self.send(event).await).await;
        }
        let got = self.take(sent.len(), WAIT).await;
        for event in &got {
            assert_eq!(event, &sent[event.id()], "{}", self.url);
        }
        self.complete(got.len(), sent.len(), limits);
        self.close().await;
    }

    fn complete(&self, got: usize, sent: usize, limits: &mut Vec<String>) {
        if self.may_lose() && got < sent {
            limits.push(format!(
                "of {sent} events pushed over a stream {got} arrived: there are no acknowledgements"
            ));
        } else {
            assert_eq!(got, sent, "{}: events are missing", self.url);
        }
    }

    async fn many_in_flight_arrive_in_order_of_their_key(&mut self, limits: &mut Vec<String>) {
        let mut published = Vec::new();
        for number in 0..200 {
            published.push(self.send(&event(&number.to_string(), "application/json", "{\"n\":1}")).await);
        }
        for published in published {
            confirmed(published).await;
        }
        let got = self.take(200, WAIT).await;
        let numbers: Vec<u32> = got.iter().map(|event| event.id().parse().unwrap()).collect();
        if !numbers.is_sorted() {
            assert!(!self.told.ordered_refusal, "{}: {numbers:?}", self.url);
            limits.push("events that are in flight together may overtake each other".into());
        }
        self.complete(got.len(), 200, limits);
    }

    async fn large_events_arrive_or_are_refused_clearly(&mut self, limits: &mut Vec<String>) {
        for characters in [900, 1100, 100_000] {
            let large = event(&characters.to_string(), "text/plain", &"x".repeat(characters));
            let sent = self.send(&large).await;
            match within("an outcome", sent).await {
                Ok(()) => {
                    let got = self.take(1, WAIT).await;
                    self.complete(got.len(), 1, limits);
                    assert!(got.iter().all(|event| *event == large));
                }
                Err(failure) => {
                    assert_eq!(failure.code, "OC0311", "{}: {failure}", self.url);
                    assert!(failure.reason().contains("eventMesh.server.maxEventSize"), "{failure}");
                    assert!(characters > 1000, "{}: {characters} characters are refused", self.url);
                    limits.push(format!("an event of {characters} characters is refused"));
                }
            }
        }
    }

    async fn what_is_not_acknowledged_comes_again(mut self, limits: &mut Vec<String>) {
        confirmed(self.send(&event("left", "application/json", "1")).await).await;
        let got = take(&mut self.subscriber, 1, WAIT).await;
        self.complete(got.len(), 1, limits);
        drop(got);
        within("the end of the subscriber", self.subscriber.close()).await;
        let mut again = subscribe(&self.url, &self.topic, &format!("{}-a", self.topic)).await;
        let wait = if self.told.redelivers { WAIT } else { MAYBE };
        if take(&mut again, 1, wait).await.is_empty() {
            assert!(!self.told.redelivers, "{}: says that it redelivers, and does not", self.url);
            limits.push("what is not acknowledged does not come again".into());
        }
    }

    async fn every_group_gets_every_event(mut self, limits: &mut Vec<String>) {
        let mut other = subscribe(&self.url, &self.topic, &format!("{}-b", self.topic)).await;
        let wait = if self.told.redelivers { WAIT } else { MAYBE };
        confirmed(self.send(&event("both", "application/json", "1")).await).await;
        let got = [self.take(1, wait).await.len(), take(&mut other, 1, wait).await.len()];
        if got != [1, 1] {
            assert!(!self.told.redelivers, "{}: {got:?}", self.url);
            limits.push("only one group gets the events of a topic".into());
        }
        within("the end of the subscriber", other.close()).await;
        self.close().await;
    }
}

async fn take(subscriber: &mut Subscriber, count: usize, wait: Duration) -> Vec<(Event, Delivery)> {
    let (mut taken, mut ids) = (Vec::new(), BTreeSet::new());
    let end = tokio::time::Instant::now() + wait;
    let mut came = Vec::new();
    while taken.len() < count && matches!(tokio::time::timeout_at(end, subscriber.recv(&mut came, count)).await, Ok(Ok(_))) {
        for delivery in came.drain(..) {
            assert_eq!(delivery.unreadable, None);
            let event = openconnect_protocol::wire::decode(&delivery.raw).unwrap();
            if ids.insert(event.id().to_owned()) {
                taken.push((event, delivery));
            }
        }
    }
    taken
}

fn event(id: &str, content_type: &str, data: &str) -> Event {
    let mut event = EventBuilderV10::new().id(id).source("/openconnect").ty("test").build().unwrap();
    event.set_datacontenttype(Some(content_type));
    event.set_data_unchecked(data);
    event
}

/// Events with every kind of content.
fn contents() -> Vec<Event> {
    let mut binary = event("binary", "application/octet-stream", "");
    binary.set_data_unchecked(vec![0, 159, 146, 150, 255]);
    let mut rich = event("rich", "application/json", "{\"a\":[1,{\"b\":null}]}");
    rich.set_subject(Some("its own subject"));
    rich.set_time(chrono::DateTime::from_timestamp_millis(1_767_323_045_678));
    rich.set_extension("text", "grüße");
    rich.set_extension("number", 7i64);
    rich.set_extension("flag", true);
    rich.set_extension("ttl", "mine");
    vec![
        event("json", "application/json", "{\"n\":1}"),
        event(
            "numbers",
            "application/json",
            "{\"big\":9007199254740993,\"decimal\":1.50,\"tiny\":1e-30}",
        ),
        event("string", "application/json", "\"text\""),
        event("suffix", "application/vnd.mine+json", "{\"x\": 2}"),
        event("text", "text/plain; charset=utf-8", "grüße 😀\n\"quoted\""),
        event("xml", "application/xml", "<a/>"),
        binary,
        rich,
        EventBuilderV10::new().id("none").source("/openconnect").ty("test").build().unwrap(),
    ]
}
