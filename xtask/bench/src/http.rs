//! The HTTP connectors: the source into the mesh, the sink out of it, and both with the mesh between them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use openconnect_testkit::Result;
use openconnect_testkit::connector::{Connector, merge};
use openconnect_testkit::kit::{Kit, free_address};
use openconnect_testkit::mesh::Mesh;
use openconnect_testkit::receiver::{Fault, Receiver};
use serde_json::{Value, json};

use crate::load::{Load, Requests, Target};
use crate::mesh::filled;
use crate::run::{Sample, Setup, sample, sample_of};
use crate::usage::Watched;

/// Requests under way on each connection: the server answers one after the other, the next one is there already.
const DEPTH: usize = 2;
/// Bytes of requests under way: beyond 16 MiB the source answers 503 and closes, by default.
const UNDER_WAY: usize = 12 << 20;

/// The events of a request.
pub(crate) struct Encoded {
    /// Header lines that say what the body is.
    pub(crate) head: &'static str,
    pub(crate) body: Vec<u8>,
}

/// A request's CloudEvents: a batch, or one in binary mode.
pub(crate) fn cloud_events(setup: &Setup) -> Encoded {
    let data = setup.data();
    let event = |number: usize| {
        let key = setup
            .key(number as u64)
            .map_or(String::new(), |key| format!(r#""partitionkey":"{key}","#));
        format!(
            r#"{{"specversion":"1.0","id":"{number}","source":"/bench","type":"bench",{key}"datacontenttype":"application/json","data":{data}}}"#
        )
    };
    if setup.batch > 1 {
        let events: Vec<String> = (0..setup.batch).map(event).collect();
        Encoded {
            head: "Content-Type: application/cloudevents-batch+json\r\n",
            body: format!("[{}]", events.join(",")).into_bytes(),
        }
    } else {
        Encoded {
            head: "Content-Type: application/json\r\nce-specversion: 1.0\r\nce-id: 1\r\nce-source: /bench\r\nce-type: bench\r\n",
            body: data.into_bytes(),
        }
    }
}

/// The load for an HTTP server.
pub(crate) fn requests(setup: &Setup, address: SocketAddr, path: &str, events: &Encoded) -> Requests {
    let Encoded { head, body } = events;
    let mut text = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\n{head}Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    text.extend_from_slice(body);
    // Enough to have requests waiting while others are committed.
    let connections = if setup.batch > 1 { 32 } else { 256 };
    Requests {
        address,
        connections: connections.min(UNDER_WAY / (DEPTH * text.len())).max(1),
        text: text.into(),
        events: setup.batch as u64,
        depth: DEPTH,
        offered: setup.offered.map(|events| events / setup.batch as f64),
        target: None,
    }
}

/// The same, of a pipeline that ends at the receiver.
pub(crate) fn requests_to(setup: &Setup, address: SocketAddr, path: &str, events: &Encoded, receiver: &Receiver) -> Requests {
    Requests {
        target: Some(Target::new(setup, receiver.counter())),
        ..requests(setup, address, path, events)
    }
}

fn to_mesh(mesh: &Mesh) -> Value {
    json!({ "url": mesh.url(), "topic": "bench" })
}

fn sink_settings(setup: &Setup, mesh: &Mesh, receiver: &Receiver) -> Value {
    // In binary mode a write of many events is as many requests.
    let (mode, together) = if setup.batch > 1 { ("batch", setup.batch) } else { ("binary", 500) };
    json!({
        "mesh": to_mesh(mesh),
        "sink": { "url": receiver.url(), "mode": mode },
        "delivery": {
            "ordering": if setup.keys > 0 { "key" } else { "none" }, "batch": { "max_events": together }, "in_flight": 16,
            "acknowledge": setup.acknowledge,
        },
    })
}

/// Requests to durable in the mesh. Counted: the events that were confirmed, which the mesh then has.
pub(crate) async fn source(setup: &Setup) -> Result<Sample> {
    let kit = Kit::quiet(&setup.binaries)?;
    let mesh = Mesh::start(&kit, json!({})).await?;
    let address = free_address()?;
    let settings = json!({ "mesh": to_mesh(&mesh), "source": { "listen": address } });
    let mut source = Connector::start(&kit, "openconnect-http-source", "in", settings).await?;
    let ready = source.ready_after;
    let mut watched = [
        Watched::idle("http-source", source.process()?, ready),
        Watched::idle("mesh", &mesh.process, mesh.ready_after),
    ];
    let load = Load::start(&requests(setup, address, "/", &cloud_events(setup)), Instant::now() + setup.warm_up).await?;
    let mut sample = sample(setup, &mut watched, async || load.confirmed()).await?;
    sample.latency = setup.offered.map(|_| load.latency());
    Ok(sample)
}

/// Out of a mesh that is full to an endpoint that counts.
pub(crate) async fn sink(setup: &Setup) -> Result<Sample> {
    let kit = Kit::quiet(&setup.binaries)?;
    let events = (setup.warm_up + setup.counted).as_secs() * stock(setup);
    let mesh = filled(&kit, setup, events).await?;
    let receiver = Receiver::start_counting().await?;
    let mut sink = Connector::prepare(&kit, "openconnect-http-sink", "out", sink_settings(setup, &mesh, &receiver))?;
    sink.run().await?;
    let ready = sink.ready_after;
    let mut watched = [
        Watched::busy("http-sink", sink.process()?, ready),
        Watched::busy("mesh", &mesh.process, mesh.ready_after),
    ];
    sample_of(setup, &mut watched, events, || receiver.count() as u64).await
}

/// Out of an inbox that is full, with the mesh gone, to an endpoint that counts.
pub(crate) async fn sink_from_inbox(setup: &Setup) -> Result<Sample> {
    let setup = &Setup {
        acknowledge: "inbox".to_owned(),
        ..setup.clone()
    };
    let kit = Kit::quiet(&setup.binaries)?;
    let events = (setup.warm_up + setup.counted).as_secs() * stock(setup);
    let mesh = filled(&kit, setup, events).await?;
    let receiver = Receiver::start_counting().await?;
    receiver.set(Fault::Refuse);
    let mut settings = sink_settings(setup, &mesh, &receiver);
    merge(
        &mut settings,
        json!({ "state": { "inbox_max": "16GiB" }, "delivery": { "retry": { "max": "100ms" } } }),
    );
    let mut sink = Connector::prepare(&kit, "openconnect-http-sink", "out", settings)?;
    sink.run().await?;
    let ready = sink.ready_after;
    sink.wait_status("all is in the inbox", FILL, |status| status["backlog"].as_u64() == Some(events))
        .await?;
    drop(mesh);
    let mut watched = [Watched::busy("http-sink", sink.process()?, ready)];
    receiver.set(Fault::None);
    sample_of(setup, &mut watched, events, || receiver.count() as u64).await
}

/// How long an inbox may take to fill.
const FILL: Duration = Duration::from_secs(300);

/// Events that are kept ready for each second: what the sink may take, at most 600 MB.
fn stock(setup: &Setup) -> u64 {
    (600_000_000 / (setup.bytes as u64 + 200)).min(400_000)
}

/// HTTP source, durable mesh, HTTP sink, an endpoint that counts.
pub(crate) async fn pipeline(setup: &Setup) -> Result<Sample> {
    let kit = Kit::quiet(&setup.binaries)?;
    let mesh = Mesh::start(&kit, json!({})).await?;
    let receiver = Receiver::start_counting().await?;
    let address = free_address()?;
    let settings = json!({ "mesh": to_mesh(&mesh), "source": { "listen": address } });
    let mut source = Connector::start(&kit, "openconnect-http-source", "in", settings).await?;
    let mut sink = Connector::start(&kit, "openconnect-http-sink", "out", sink_settings(setup, &mesh, &receiver)).await?;
    let ready = [source.ready_after, sink.ready_after];
    let mut watched = [
        Watched::idle("http-source", source.process()?, ready[0]),
        Watched::idle("mesh", &mesh.process, mesh.ready_after),
        Watched::idle("http-sink", sink.process()?, ready[1]),
    ];
    let requests = requests_to(setup, address, "/", &cloud_events(setup), &receiver);
    let load = Load::start(&requests, Instant::now() + setup.warm_up).await?;
    let sample = sample(setup, &mut watched, async || Ok(receiver.count() as u64)).await?;
    // What was refused did not take part.
    load.confirmed().map(|_| sample)
}
