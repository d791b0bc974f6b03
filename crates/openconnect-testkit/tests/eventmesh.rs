//! HTTP in, a mesh, HTTP out: with the binaries, over the servers that `OPENCONNECT_TEST_EVENTMESH=tcp://host:port,grpc://host:port`
//! names. The same over `openconnect-mesh` is in `delivery.rs`.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::time::Duration;

use openconnect_testkit::connector::Connector;
use openconnect_testkit::kit::{Kit, free_address};
use openconnect_testkit::oracle::judge;
use openconnect_testkit::receiver::Receiver;
use openconnect_testkit::sender::{Load, Sender};
use serde_json::json;

const LONG: Duration = Duration::from_secs(120);
const EVENTS: usize = 320;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_to_http_over_a_real_eventmesh() {
    let Ok(servers) = std::env::var("OPENCONNECT_TEST_EVENTMESH") else {
        println!("skipped: EventMesh 1.x: OPENCONNECT_TEST_EVENTMESH is not set");
        return;
    };
    for url in servers.split(',') {
        // Of what EventMesh 1.x writes to a stream nobody knows whether it arrives: a loss is its limit, and must be accepted.
        let streams = url.starts_with("grpc");
        let mut kit = Kit::new("http_to_http_over_a_real_eventmesh").unwrap();
        let topic = format!("openconnect-{}", kit.pick(0..u64::MAX));
        let (address, receiver) = (free_address().unwrap(), Receiver::start().await.unwrap());
        let mesh = json!({ "url": url, "topic": topic });
        let require = if streams { "at-most-once" } else { "at-least-once" };
        let settings = json!({ "mesh": mesh, "sink": { "url": receiver.url() }, "delivery": { "require": require } });
        // Subscribed first: EventMesh's standalone storage knows no topic before.
        let mut out = Connector::start(&kit, "openconnect-http-sink", "out", settings).await.unwrap();
        let settings = json!({ "mesh": mesh, "source": { "listen": address } });
        let mut hook = Connector::start(&kit, "openconnect-http-source", "hook", settings).await.unwrap();
        let sending = Sender::start(&Load::new(address), EVENTS).finish(LONG).await.unwrap();
        let arrived = receiver
            .wait_for(sending.confirmed.len(), if streams { LONG / 8 } else { LONG })
            .await;
        let verdict = judge(&sending.confirmed, &sending.open, &receiver.arrived());
        println!("{url}: {verdict}");
        match arrived {
            Err(error) if streams => println!("{url}: a limit of this server: its streams lose events: {error}"),
            _ => assert!(verdict.is_clean(), "{verdict}\n{}\n{}", hook.log(), out.log()),
        }
        for connector in [&mut hook, &mut out] {
            let code = connector.process().unwrap().terminate(Duration::from_secs(60)).await.unwrap();
            assert_eq!(code, Some(0), "{}", connector.log());
        }
    }
}
