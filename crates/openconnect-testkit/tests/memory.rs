//! The promise of `limits.memory`: resident memory stays below it and 32 MiB, also when everything that holds events is full.
//!
//! Each connector is filled until its budget is spent, as its own status says, and stays so under load; then what blocked it goes
//! away, and everything that waits goes through. The largest resident memory of all that is compared with the promise.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use openconnect_sql_fixtures::table;
use openconnect_testkit::connector::{Connector, merge};
use openconnect_testkit::http::Client;
use openconnect_testkit::kit::{Kit, free_address};
use openconnect_testkit::mesh::Mesh;
use openconnect_testkit::process::until;
use openconnect_testkit::receiver::{Fault, Receiver};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const LONG: Duration = Duration::from_secs(120);
/// As it is where nothing is set.
const MEMORY: u64 = 64 << 20;
/// What a process may take beside `limits.memory`. These are debug builds, with more code and larger stacks than a release has: they are
/// held to the same.
const BESIDE: u64 = 32 << 20;
/// Percent of the budget that are spent when there is no room: what is left is less than what the next ones need.
const FULL: u64 = 90;
/// Percent that a sink spends on what waits for its target. The rest is for what was received, and small events do not fill it: their
/// number is bounded too.
const WAITING: u64 = 70;
/// The same of a staging sink. It keeps a quarter free for entries that are read once more; none is before it was staged.
const FULL_STAGING: u64 = 65;
const WAITING_STAGING: u64 = 45;

/// Rows of a table; their number in the window is bounded, so that small ones do not fill the memory.
const ROWS: u64 = 10_000;
const ROW_BYTES: u64 = 4000;

/// What the events are like.
#[derive(Debug, Clone, Copy)]
struct Shape {
    /// Bytes of data.
    data: usize,
    /// Extension attributes.
    attributes: usize,
    /// Events a request.
    batch: usize,
}

const LARGE: Shape = Shape {
    data: 250_000,
    attributes: 0,
    batch: 1,
};
const SMALL: Shape = Shape {
    data: 20,
    attributes: 0,
    batch: 200,
};
const MANY_ATTRIBUTES: Shape = Shape {
    data: 20,
    attributes: 200,
    batch: 20,
};

impl Shape {
    /// A request; the ids begin with `number`.
    fn request(self, number: usize) -> String {
        let mut attributes = String::new();
        for attribute in 0..self.attributes {
            let _ = write!(attributes, r#""a{attribute}":"v","#);
        }
        let data = "x".repeat(self.data);
        let event = |index| {
            format!(
                r#"{{"specversion":"1.0","id":"{number}-{index}","source":"/memory","type":"t",{attributes}"datacontenttype":"text/plain","data":"{data}"}}"#
            )
        };
        format!("[{}]", (0..self.batch).map(event).collect::<Vec<_>>().join(","))
    }
}

/// Clients that send requests until they are stopped, each again until it is confirmed.
struct Senders {
    clients: JoinSet<()>,
    stop: CancellationToken,
    refused: Arc<AtomicUsize>,
    confirmed: Arc<AtomicUsize>,
}

impl Senders {
    fn start(address: SocketAddr, shape: Shape, clients: usize) -> Self {
        let mut senders = Self {
            clients: JoinSet::new(),
            stop: CancellationToken::new(),
            refused: Arc::default(),
            confirmed: Arc::default(),
        };
        let numbers = Arc::new(AtomicUsize::new(0));
        for _ in 0..clients {
            let (stop, numbers) = (senders.stop.clone(), Arc::clone(&numbers));
            let (refused, confirmed) = (Arc::clone(&senders.refused), Arc::clone(&senders.confirmed));
            senders.clients.spawn(async move {
                let mut client = Client::new(address, LONG);
                while !stop.is_cancelled() {
                    let request = shape.request(numbers.fetch_add(1, Ordering::Relaxed));
                    loop {
                        let answer = client.post("/", "application/cloudevents-batch+json", request.clone()).await;
                        if answer.is_ok_and(|answer| answer.status.is_success()) {
                            confirmed.fetch_add(shape.batch, Ordering::Relaxed);
                            break;
                        }
                        refused.fetch_add(1, Ordering::Relaxed);
                        if stop.is_cancelled() {
                            return;
                        }
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            });
        }
        senders
    }

    /// Waits until so many requests were refused from now on.
    async fn wait_refused(&self, more: usize) {
        let wanted = self.refused.load(Ordering::Relaxed) + more;
        let refused = || async { (self.refused.load(Ordering::Relaxed) >= wanted).then_some(()) };
        until("requests are refused", LONG, refused).await.unwrap();
    }

    /// Waits for the answers to what was sent; how many events were confirmed.
    async fn finish(mut self) -> usize {
        self.stop.cancel();
        let all = async { while self.clients.join_next().await.is_some() {} };
        tokio::time::timeout(LONG, all).await.unwrap();
        self.confirmed.load(Ordering::Relaxed)
    }
}

fn settings(mesh: &Mesh, more: Value) -> Value {
    let mut settings = json!({
        "mesh": { "url": mesh.url(), "topic": "orders", "request_timeout": "2m", "heartbeat": "2m" },
        "limits": { "memory": MEMORY.to_string() },
        "delivery": { "retry": { "initial": "100ms", "max": "1s" } },
    });
    merge(&mut settings, more);
    settings
}

/// Waits until so many percent of the budget are spent.
async fn wait_full(connector: &Connector, percent: u64) {
    let full = |status: &Value| {
        let bytes = |name: &str| status["memory"][name].as_u64().unwrap();
        bytes("limit") > 0 && bytes("used") * 100 >= bytes("limit") * percent
    };
    let status = connector.wait_status("its budget is spent", LONG, full).await.unwrap();
    println!("{}: {}", connector.name, status["memory"]);
}

/// Waits until nothing waits any more, and compares the largest resident memory with the promise.
async fn check(connector: &mut Connector, shape: &str) {
    let empty = |status: &Value| status["memory"]["used"] == 0 && status["backlog"] == 0;
    connector.wait_status("everything went through", LONG, empty).await.unwrap();
    let peak = connector.process().unwrap().peak_memory().unwrap();
    println!(
        "{}, {shape}: peak {} MiB of {}",
        connector.name,
        peak >> 20,
        (MEMORY + BESIDE) >> 20
    );
    assert!(peak < MEMORY + BESIDE, "{}, {shape}: {peak} bytes", connector.name);
}

/// Bodies and events of a source whose mesh has stopped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http_source_keeps_to_its_memory() {
    for (shape, clients) in [(LARGE, 100), (SMALL, 300), (MANY_ATTRIBUTES, 300)] {
        let kit = Kit::new("an_http_source_keeps_to_its_memory").unwrap();
        let mesh = Mesh::start(&kit, json!({})).await.unwrap();
        let address = free_address().unwrap();
        let own = json!({ "source": { "listen": address, "response_timeout": "100s" } });
        let mut source = Connector::start(&kit, "openconnect-http-source", "hook", settings(&mesh, own))
            .await
            .unwrap();
        mesh.process.signal(Signal::STOP).unwrap();
        let senders = Senders::start(address, shape, clients);
        wait_full(&source, FULL).await;
        senders.wait_refused(200).await;
        mesh.process.signal(Signal::CONT).unwrap();
        assert!(senders.finish().await > 0);
        check(&mut source, &format!("{shape:?}")).await;
    }
}

async fn sink(kit: &Kit, binary: &str, section: Value) -> (Mesh, Connector) {
    let mesh = Mesh::start(kit, json!({})).await.unwrap();
    let own = json!({ "sink": section, "state": { "inbox_max": "64MiB" }, "delivery": { "acknowledge": "inbox" } });
    let sink = Connector::start(kit, binary, "out", settings(&mesh, own)).await.unwrap();
    (mesh, sink)
}

/// Fills a sink whose target is blocked: what waits for the target, the inbox, and what was received and does not fit in there.
async fn fill(kit: &Kit, mesh: &Mesh, sink: &Connector, shape: Shape, percent: u64) {
    let address = free_address().unwrap();
    let own = json!({ "source": { "listen": address } });
    let _source = Connector::start(kit, "openconnect-http-source", "hook", settings(mesh, own))
        .await
        .unwrap();
    let senders = Senders::start(address, shape, 16);
    wait_full(sink, percent).await;
    assert!(senders.finish().await > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_keeps_to_its_memory() {
    for (shape, percent) in [(LARGE, FULL), (SMALL, WAITING), (MANY_ATTRIBUTES, WAITING)] {
        let kit = Kit::new("a_sink_keeps_to_its_memory").unwrap();
        let receiver = Receiver::start_counting().await.unwrap();
        receiver.set(Fault::Status(503));
        let section = json!({ "url": receiver.url(), "mode": "batch" });
        let (mesh, mut sink) = sink(&kit, "openconnect-http-sink", section).await;
        fill(&kit, &mesh, &sink, shape, percent).await;
        receiver.set(Fault::None);
        check(&mut sink, &format!("{shape:?}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_staging_sink_keeps_to_its_memory() {
    for (shape, percent) in [(LARGE, FULL_STAGING), (SMALL, WAITING_STAGING), (MANY_ATTRIBUTES, WAITING_STAGING)] {
        let kit = Kit::new("a_staging_sink_keeps_to_its_memory").unwrap();
        let (folder, away) = (kit.file("files"), kit.file("away"));
        std::fs::create_dir(&folder).unwrap();
        let section = json!({ "folder": folder, "group": "{{ type }}", "max_events": 100_000, "max_age": "1s" });
        let (mesh, mut sink) = sink(&kit, "examples/files_sink", section).await;
        std::fs::rename(&folder, &away).unwrap();
        fill(&kit, &mesh, &sink, shape, percent).await;
        std::fs::rename(&away, &folder).unwrap();
        check(&mut sink, &format!("{shape:?}")).await;
    }
}

/// Rows of a source whose mesh has stopped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jdbc_source_keeps_to_its_memory() {
    let kit = Kit::new("a_jdbc_source_keeps_to_its_memory").unwrap();
    let mesh = Mesh::start(&kit, json!({})).await.unwrap();
    let file = kit.file("rows.db");
    table::execute(&file, "create table items (id integer primary key, text text)")
        .await
        .unwrap();
    let section = json!({ "url": format!("sqlite://{}", file.display()), "tables": ["items"], "mode": "incrementing", "incrementing": "id", "interval": "100ms" });
    let mut source = Connector::start(
        &kit,
        "openconnect-jdbc-source",
        "rows",
        settings(&mesh, json!({ "source": section })),
    )
    .await
    .unwrap();
    mesh.process.signal(Signal::STOP).unwrap();
    let insert = format!(
        "insert into items with recursive n(i) as (select 1 union all select i + 1 from n where i < {ROWS}) \
         select i, hex(zeroblob({ROW_BYTES} / 2)) from n"
    );
    table::execute(&file, &insert).await.unwrap();
    wait_full(&source, FULL).await;
    mesh.process.signal(Signal::CONT).unwrap();
    let all = |status: &Value| status["counts"]["delivered"] == json!(ROWS);
    source.wait_status("all rows are published", LONG, all).await.unwrap();
    check(&mut source, "rows").await;
}
