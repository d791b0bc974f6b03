//! `accept: spool`, through the running program: callers are answered while the mesh is down, and every event they sent arrives.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use openconnect_testkit::connector::{Connector, merge};
use openconnect_testkit::http;
use openconnect_testkit::kit::{Kit, free_address};
use openconnect_testkit::mesh::Mesh;
use openconnect_testkit::process::until;
use openconnect_testkit::receiver::Receiver;
use openconnect_testkit::sender;
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(60);

fn settings(mesh: &Mesh, listen: SocketAddr, over: Value) -> Value {
    let mut settings = json!({
        "mesh": { "url": mesh.url(), "topic": "orders", "reconnect_max": "100ms" },
        "source": { "listen": listen, "accept": "spool", "response_timeout": "1s" },
        "delivery": { "shutdown_timeout": "500ms" },
    });
    merge(&mut settings, over);
    settings
}

/// Posts event `number` of key `k`.
async fn post(address: SocketAddr, number: u64, padding: usize) -> http::Answer {
    let (_, body) = sender::event("k", number, padding);
    let mut client = http::Client::new(address, Duration::from_secs(10));
    client.post("/", "application/cloudevents+json", body).await.unwrap()
}

/// Posts these events; each is taken.
async fn post_all(address: SocketAddr, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        assert_eq!(post(address, number, 10).await.status, 202, "event {number}");
    }
}

async fn sink(kit: &Kit, mesh: &Mesh, receiver: &Receiver) -> Connector {
    let settings = json!({
        "mesh": { "url": mesh.url(), "topic": "orders", "reconnect_max": "100ms" },
        "sink": { "url": receiver.url(), "mode": "batch" },
    });
    Connector::start(kit, "openconnect-http-sink", "out", settings).await.unwrap()
}

/// How often each event arrived, in the order of the first arrivals, once there are `count` events.
async fn arrived(receiver: &Receiver, count: usize) -> (Vec<String>, BTreeMap<String, usize>) {
    until("everything has arrived", LONG, || async {
        let ids: std::collections::BTreeSet<String> = receiver.arrived().into_iter().map(|arrived| arrived.id).collect();
        (ids.len() >= count).then_some(())
    })
    .await
    .unwrap();
    let (mut order, mut times) = (Vec::new(), BTreeMap::new());
    for event in receiver.arrived() {
        let seen = times.entry(event.id.clone()).or_insert(0);
        *seen += 1;
        if *seen == 1 {
            order.push(event.id);
        }
    }
    (order, times)
}

fn ids(numbers: std::ops::RangeInclusive<u64>) -> Vec<String> {
    numbers.map(|number| format!("k-{number}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_while_the_mesh_was_down_arrives_once_after_a_kill() {
    let kit = Kit::new("what_was_answered_while_the_mesh_was_down_arrives_once_after_a_kill").unwrap();
    let mut mesh = Mesh::start(&kit, json!({})).await.unwrap();
    let receiver = Receiver::start().await.unwrap();
    let _sink = sink(&kit, &mesh, &receiver).await;
    let listen = free_address().unwrap();
    let mut source = Connector::start(&kit, "openconnect-http-source", "hook", settings(&mesh, listen, json!({})))
        .await
        .unwrap();
    mesh.process.kill().await.unwrap();
    post_all(listen, 1..=50).await;
    let status = source
        .wait_status("the mesh is missed", LONG, |status| {
            status["spool"]["waits_for"].is_string() && status["spool"]["events"] == 50
        })
        .await
        .unwrap();
    assert_eq!(
        (&status["ready"], &status["state"], &status["backlog"]),
        (&json!(true), &json!("running"), &json!(50))
    );
    let page = http::get(source.admin, "/metrics").await.unwrap().text();
    let of_spool = |what: &str| {
        let labels = "{connector=\"http-source\",name=\"hook\"} ";
        let value = page.split_once(&format!("\nopenconnect_spool_{what}{labels}")).unwrap().1;
        value.lines().next().unwrap().parse::<f64>().unwrap()
    };
    assert_eq!((of_spool("events"), of_spool("limit_bytes")), (50.0, 1_073_741_824.0));
    assert!(of_spool("bytes") > 50.0 * 100.0 && of_spool("oldest_seconds") > 0.0, "{page}");
    assert!(
        source.log().contains("only after the event is in the spool on disk"),
        "{}",
        source.log()
    );
    source.kill().await.unwrap();
    // It starts without the mesh, and goes on taking events.
    source.run().await.unwrap();
    post_all(listen, 51..=60).await;
    source.kill().await.unwrap();
    mesh.restart().await.unwrap();
    source.run().await.unwrap();
    let (order, times) = arrived(&receiver, 60).await;
    assert_eq!(order, ids(1..=60));
    assert!(times.values().all(|times| *times == 1), "{times:?}");
    source
        .wait_status("the spool is empty", LONG, |status| {
            status["spool"]["events"] == 0 && status["backlog"] == 0
        })
        .await
        .unwrap();
    assert_eq!(source.process().unwrap().terminate(LONG).await.unwrap(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_spool_refuses_and_a_shutdown_says_what_is_left() {
    let kit = Kit::new("a_full_spool_refuses_and_a_shutdown_says_what_is_left").unwrap();
    let mut mesh = Mesh::start(&kit, json!({})).await.unwrap();
    let receiver = Receiver::start().await.unwrap();
    let _sink = sink(&kit, &mesh, &receiver).await;
    let listen = free_address().unwrap();
    let over = json!({ "state": { "inbox_max": "1MiB" } });
    let mut source = Connector::start(&kit, "openconnect-http-source", "hook", settings(&mesh, listen, over))
        .await
        .unwrap();
    mesh.process.kill().await.unwrap();
    let mut taken = 0;
    let refused = loop {
        let answer = post(listen, taken + 1, 64 << 10).await;
        if answer.status != 202 {
            break answer;
        }
        taken += 1;
        assert!(taken < 40, "1 MiB holds no {taken} events of 64 KiB");
    };
    assert_eq!(refused.status, 503);
    assert!(!refused.header("retry-after").is_empty(), "{refused:?}");
    assert!(taken >= 14, "{taken}");
    let status = source
        .wait_status("it is blocked", LONG, |status| status["state"] == "blocked")
        .await
        .unwrap();
    assert!(status["reason"].as_str().unwrap().contains("spool is full"), "{status}");
    assert_eq!(source.process().unwrap().terminate(LONG).await.unwrap(), Some(70));
    // Without the setting it takes no event before those of the spool are published.
    mesh.restart().await.unwrap();
    let direct = json!({ "source": { "accept": "mesh" }, "state": { "inbox_max": "1MiB" } });
    let mut source = Connector::start(&kit, "openconnect-http-source", "hook", settings(&mesh, listen, direct))
        .await
        .unwrap();
    assert!(
        source.log().contains("publishing what an earlier run left in the spool"),
        "{}",
        source.log()
    );
    post_all(listen, 1000..=1000).await;
    let (order, times) = arrived(&receiver, usize::try_from(taken).unwrap() + 1).await;
    let mut expected = ids(1..=taken);
    // The one that was refused may have been in the spool by then.
    if order.len() > expected.len() + 1 {
        expected.push(format!("k-{}", taken + 1));
    }
    expected.push("k-1000".to_owned());
    assert_eq!(order, expected);
    assert!(times.values().all(|times| *times == 1), "{times:?}");
    assert_eq!(source.process().unwrap().terminate(LONG).await.unwrap(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_says_what_the_spool_keeps() {
    let kit = Kit::new("check_says_what_the_spool_keeps").unwrap();
    let mesh = Mesh::start(&kit, json!({})).await.unwrap();
    let config = settings(&mesh, free_address().unwrap(), json!({}));
    let source = Connector::prepare(&kit, "openconnect-http-source", "hook", config).unwrap();
    let checked = source.command(&["check", "--output", "json"]).await.unwrap();
    let report: Value = serde_json::from_str(&checked.out).unwrap();
    let line = |what: &str| {
        let checks = report["checks"].as_array().unwrap();
        let line = checks.iter().find(|line| line["check"] == what).unwrap();
        line["message"].as_str().unwrap().to_owned()
    };
    assert_eq!(report["guarantee"], "at-least-once");
    assert!(line("guarantee").contains("in the spool on disk"), "{report}");
    assert!(line("spool").contains("1GiB at the most"), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_publishes_what_the_spool_holds_and_ends() {
    let kit = Kit::new("a_drain_publishes_what_the_spool_holds_and_ends").unwrap();
    let mut mesh = Mesh::start(&kit, json!({})).await.unwrap();
    let receiver = Receiver::start().await.unwrap();
    let _sink = sink(&kit, &mesh, &receiver).await;
    let listen = free_address().unwrap();
    let mut source = Connector::start(&kit, "openconnect-http-source", "hook", settings(&mesh, listen, json!({})))
        .await
        .unwrap();
    mesh.process.kill().await.unwrap();
    post_all(listen, 1..=20).await;
    source.kill().await.unwrap();
    mesh.restart().await.unwrap();
    for _ in 0..2 {
        let drained = source.command(&["inbox", "drain"]).await.unwrap();
        assert_eq!(drained.code, Some(0), "{}", drained.text());
        let (order, times) = arrived(&receiver, 20).await;
        assert_eq!((order, times.len()), (ids(1..=20), 20));
    }
    let config = settings(&mesh, listen, json!({ "source": { "accept": "mesh" } }));
    let other = Connector::prepare(&kit, "openconnect-http-source", "other", config).unwrap();
    let refused = other.command(&["inbox", "drain"]).await.unwrap();
    assert_eq!(refused.code, Some(78), "{}", refused.text());
    assert!(refused.text().contains("OC0510"), "{}", refused.text());
}
