//! `inbox drain`: a replica that goes for good leaves nothing in its inbox, also when the mesh is gone.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use openconnect_testkit::connector::Connector;
use openconnect_testkit::kit::{Kit, free_address};
use openconnect_testkit::mesh::Mesh;
use openconnect_testkit::oracle::judge;
use openconnect_testkit::receiver::{Fault, Receiver};
use openconnect_testkit::sender::{Load, Sender, Sending};
use serde_json::{Value, json};

const EVENTS: usize = 300;
const LONG: Duration = Duration::from_secs(60);

/// Publishes events through an HTTP source.
async fn publish(kit: &Kit, mesh: &Mesh) -> (Connector, Sending) {
    let address = free_address().unwrap();
    let settings = json!({ "mesh": { "url": mesh.url(), "topic": "orders" }, "source": { "listen": address } });
    let source = Connector::start(kit, "openconnect-http-source", "hook", settings).await.unwrap();
    let sending = Sender::start(&Load::new(address), EVENTS).finish(LONG).await.unwrap();
    (source, sending)
}

/// Starts a sink that has everything in its inbox, and stops it.
async fn fill(kit: &Kit, mesh: Mesh, settings: Value) -> (Connector, Sending) {
    let mut all = json!({
        "mesh": { "url": mesh.url(), "topic": "orders" },
        "delivery": { "acknowledge": "inbox", "shutdown_timeout": "300ms", "retry": { "initial": "20ms", "max": "100ms" } },
    });
    openconnect_testkit::connector::merge(&mut all, settings);
    let mut sink = Connector::start(kit, "openconnect-http-sink", "out", all).await.unwrap();
    let (_source, sending) = publish(kit, &mesh).await;
    sink.wait_status("has all in its inbox", LONG, |status| {
        status["backlog"].as_u64() >= Some(EVENTS as u64)
    })
    .await
    .unwrap();
    let ended = sink.process().unwrap().terminate(Duration::from_secs(10)).await.unwrap();
    assert_eq!(ended, Some(70), "{}", sink.log());
    (sink, sending)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_delivers_its_inbox_and_ends() {
    let kit = Kit::new("a_sink_delivers_its_inbox").unwrap();
    let mesh = Mesh::start(&kit, json!({})).await.unwrap();
    let receiver = Receiver::start().await.unwrap();
    receiver.set(Fault::Status(503));
    let target = json!({ "sink": { "url": receiver.url() } });
    let (sink, sending) = fill(&kit, mesh, target).await;
    assert!(receiver.arrived().is_empty());
    receiver.set(Fault::None);
    let drained = sink.command(&["inbox", "drain"]).await.unwrap();
    assert_eq!(drained.code, Some(0), "{}", drained.text());
    assert!(judge(&sending.confirmed, &[], &receiver.arrived()).is_clean());
    let again = sink.command(&["inbox", "drain"]).await.unwrap();
    assert_eq!(again.code, Some(0), "{}", again.text());
    assert_eq!(receiver.arrived().len(), EVENTS, "a second drain delivered something");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_has_no_inbox_to_drain() {
    let kit = Kit::new("a_source_has_no_inbox").unwrap();
    let settings = json!({ "mesh": { "topic": "orders" }, "source": { "listen": free_address().unwrap() } });
    let source = Connector::prepare(&kit, "openconnect-http-source", "hook", settings).unwrap();
    let refused = source.command(&["inbox", "drain"]).await.unwrap();
    assert_eq!(refused.code, Some(78), "{}", refused.text());
    assert!(refused.text().contains("OC0510"), "{}", refused.text());
}
