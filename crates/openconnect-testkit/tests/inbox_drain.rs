//! `inbox drain`: a replica that goes for good leaves nothing in its inbox, also when the mesh is gone.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
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

/// Starts a sink and an HTTP source that publishes to it, and waits until the sink has every event in its inbox. The source and the
/// mesh are gone when this returns.
async fn fill(kit: &Kit, binary: &str, section: Value) -> (Connector, Sending) {
    let mesh = Mesh::start(kit, json!({})).await.unwrap();
    let settings = json!({
        "mesh": { "url": mesh.url(), "topic": "orders" },
        "sink": section,
        "delivery": { "acknowledge": "inbox", "shutdown_timeout": "300ms", "retry": { "initial": "20ms", "max": "100ms" } },
    });
    let sink = Connector::start(kit, binary, "out", settings).await.unwrap();
    let address = free_address().unwrap();
    let settings = json!({ "mesh": { "url": mesh.url(), "topic": "orders" }, "source": { "listen": address } });
    let _source = Connector::start(kit, "openconnect-http-source", "hook", settings).await.unwrap();
    let sending = Sender::start(&Load::new(address), EVENTS).finish(LONG).await.unwrap();
    sink.wait_status("has all in its inbox", LONG, |status| {
        status["backlog"].as_u64() >= Some(EVENTS as u64)
    })
    .await
    .unwrap();
    (sink, sending)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_delivers_its_inbox_and_ends() {
    let kit = Kit::new("a_sink_delivers_its_inbox").unwrap();
    let receiver = Receiver::start().await.unwrap();
    receiver.set(Fault::Status(503));
    let (mut sink, sending) = fill(&kit, "openconnect-http-sink", json!({ "url": receiver.url() })).await;
    let ended = sink.process().unwrap().terminate(Duration::from_secs(10)).await.unwrap();
    assert_eq!(ended, Some(70), "{}", sink.log());
    assert!(receiver.arrived().is_empty());
    receiver.set(Fault::None);
    let drained = sink.command(&["inbox", "drain"]).await.unwrap();
    assert_eq!(drained.code, Some(0), "{}", drained.text());
    assert!(judge(&sending.confirmed, &[], &receiver.arrived()).is_clean());
    let again = sink.command(&["inbox", "drain"]).await.unwrap();
    assert_eq!(again.code, Some(0), "{}", again.text());
    assert_eq!(receiver.arrived().len(), EVENTS, "a second drain delivered something");
}

/// Events wait for their file to be full when the process is killed; the drain shows each of them once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_staging_sink_completes_what_is_open_and_ends() {
    let kit = Kit::new("a_staging_sink_completes_what_is_open").unwrap();
    let folder = kit.file("files");
    std::fs::create_dir(&folder).unwrap();
    let section = json!({ "folder": folder, "group": "{{ partitionkey }}", "max_events": 1_000_000, "max_age": "1h" });
    let (mut sink, sending) = fill(&kit, "examples/files_sink", section).await;
    sink.kill().await.unwrap();
    let shown = || {
        let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let complete = files.filter(|file| file.extension().is_some_and(|extension| extension == "jsonl"));
        let text = |file| std::fs::read_to_string(file).unwrap();
        complete.map(text).collect::<String>()
    };
    assert_eq!(shown(), "");
    let drained = sink.command(&["inbox", "drain"]).await.unwrap();
    assert_eq!(drained.code, Some(0), "{}", drained.text());
    let lines = shown();
    assert_eq!(lines.lines().count(), sending.confirmed.len());
    let id = |line: &str| serde_json::from_str::<Value>(line).unwrap()["id"].to_string();
    let ids: BTreeSet<String> = lines.lines().map(id).collect();
    assert_eq!(ids.len(), sending.confirmed.len(), "an event was shown twice");
}
