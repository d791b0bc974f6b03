//! HTTP source, durable mesh, HTTP sink, an endpoint that counts.

use std::time::Duration;

use openconnect_testkit::Result;
use openconnect_testkit::connector::Connector;
use openconnect_testkit::http::Client;
use openconnect_testkit::kit::{Kit, free_address};
use openconnect_testkit::mesh::Mesh;
use openconnect_testkit::receiver::Receiver;
use serde_json::json;
use tokio::task::JoinSet;

use super::{data, rate, show_process, show_rate};

/// Connections that send: enough to have requests waiting while others are committed.
const CONNECTIONS: usize = 64;

/// With `batch` events a request, in and out.
pub(crate) async fn run(kit: &Kit, batch: usize) -> Result<()> {
    let mesh = Mesh::start(kit, json!({})).await?;
    let receiver = Receiver::start_counting().await?;
    let address = free_address()?;
    let to_mesh = json!({ "url": mesh.url(), "topic": "bench" });
    let source = json!({ "mesh": to_mesh, "source": { "listen": address } });
    let mode = if batch > 1 { "batch" } else { "binary" };
    let sink = json!({
        "mesh": to_mesh,
        "sink": { "url": receiver.url(), "mode": mode },
        "delivery": { "ordering": "none", "batch": { "max_events": 500 }, "in_flight": 16 },
    });
    let mut source = Connector::start(kit, "openconnect-http-source", "in", source).await?;
    let mut sink = Connector::start(kit, "openconnect-http-sink", "out", sink).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let idle = [mesh.process.memory(), source.process()?.memory(), sink.process()?.memory()];
    let mut senders = JoinSet::new();
    for connection in 0..CONNECTIONS {
        senders.spawn(async move {
            let mut client = Client::new(address, Duration::from_secs(30));
            for number in 0_u64.. {
                let (kind, body) = request(connection, number, batch);
                match client.post("/", kind, body).await {
                    Ok(answer) if answer.status.is_success() => {}
                    _ => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        });
    }
    let rate = rate(|| receiver.count()).await;
    senders.abort_all();
    let (what, target) = if batch > 1 {
        ("HTTP source, mesh, HTTP sink, 100 events a request", 50_000.0)
    } else {
        ("HTTP source, mesh, HTTP sink, one event a request", 10_000.0)
    };
    show_rate(what, rate, target);
    let ready = [source.ready_after, sink.ready_after];
    show_process("http source", source.process()?, Some(ready[0]), idle[1]);
    show_process("mesh", &mesh.process, Some(mesh.ready_after), idle[0]);
    show_process("http sink", sink.process()?, Some(ready[1]), idle[2]);
    Ok(())
}

fn request(connection: usize, number: u64, batch: usize) -> (&'static str, String) {
    let data = data();
    let events: Vec<String> = (0..batch)
        .map(|at| {
            format!(
                r#"{{"specversion":"1.0","id":"{connection}-{number}-{at}","source":"/bench","type":"bench","datacontenttype":"application/json","data":{data}}}"#
            )
        })
        .collect();
    if batch > 1 {
        ("application/cloudevents-batch+json", format!("[{}]", events.join(",")))
    } else {
        ("application/cloudevents+json", events.concat())
    }
}
