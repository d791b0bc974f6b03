//! Dashboards and alerts ask for metrics that the connectors export, and the counters say what happened.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use openconnect_testkit::connector::Connector;
use openconnect_testkit::http;
use openconnect_testkit::kit::{Kit, free_address};
use openconnect_testkit::mesh::Mesh;
use openconnect_testkit::process::until;
use openconnect_testkit::receiver::Receiver;
use openconnect_testkit::sender::{Load, Sender};
use serde_json::json;

/// What only exists with a MySQL behind it: the test of the CDC source sees them.
const OF_CDC: [&str; 2] = ["openconnect_cdc_retention_headroom_seconds", "openconnect_cdc_older_log_files"];
/// Only where several processes share a lease.
const OF_LEASES: &str = "openconnect_role";

/// Names of metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let ends = |c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    text.match_indices("openconnect_")
        .map(|(at, _)| text[at..].split(ends).next().unwrap_or_default().to_owned())
        .collect()
}

/// How many events had this outcome, by `/metrics`.
async fn events(connector: &Connector, outcome: &str) -> Option<u64> {
    let page = http::get(connector.admin, "/metrics").await.unwrap().text();
    let label = format!("outcome=\"{outcome}\"");
    let line = page
        .lines()
        .find(|line| line.starts_with("openconnect_events_total{") && line.contains(&label))?;
    line.rsplit(' ').next()?.parse().ok()
}

async fn exported(connector: &Connector) -> BTreeSet<String> {
    let page = http::get(connector.admin, "/metrics").await.unwrap().text();
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split(['{', ' ']).next()).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_in_a_dashboard_or_an_alert_is_exported() {
    let kit = Kit::new("dashboards").unwrap();
    let mesh = Mesh::start(&kit, json!({})).await.unwrap();
    let receiver = Receiver::start().await.unwrap();
    let to_mesh = json!({ "url": mesh.url(), "topic": "orders" });
    // With a spool it has the metrics of one.
    let source = json!({ "mesh": to_mesh, "source": { "listen": free_address().unwrap(), "accept": "spool" } });
    let source = Connector::start(&kit, "openconnect-http-source", "in", source).await.unwrap();
    let sink = json!({ "mesh": to_mesh, "sink": { "url": receiver.url() } });
    let sink = Connector::start(&kit, "openconnect-http-sink", "out", sink).await.unwrap();
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
    let read = |file: &str| std::fs::read_to_string(deploy.join(file)).unwrap();
    let known: BTreeSet<String> = OF_CDC.iter().chain([&OF_LEASES]).map(|name| (*name).to_owned()).collect();
    let page = names(&std::fs::read_to_string(deploy.join("../docs/metrics.md")).unwrap());
    for connector in [&source, &sink] {
        let parts = ["_bucket", "_sum", "_count"];
        let told = |name: &String| {
            page.contains(name)
                || parts
                    .iter()
                    .any(|part| name.strip_suffix(part).is_some_and(|name| page.contains(name)))
        };
        let missing: Vec<String> = exported(connector).await.into_iter().filter(|name| !told(name)).collect();
        assert!(missing.is_empty(), "docs/metrics.md does not tell of {missing:?}");
    }
    let (of_source, of_sink) = (exported(&source).await, exported(&sink).await);
    let of_both = of_source.union(&of_sink).cloned().collect();
    for (file, exported) in [
        ("grafana/openconnect-source.json", &of_source),
        ("grafana/openconnect-sink.json", &of_sink),
        ("prometheus/openconnect.rules.yaml", &of_both),
    ] {
        let asked = names(&read(file));
        assert!(asked.len() > 5, "{file}: {asked:?}");
        let known: BTreeSet<String> = exported.union(&known).cloned().collect();
        let missing: Vec<&String> = asked.difference(&known).collect();
        assert!(missing.is_empty(), "{file} asks for {missing:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_say_what_happened() {
    const EVENTS: usize = 40;
    let kit = Kit::new("counters").unwrap();
    let mesh = Mesh::start(&kit, json!({})).await.unwrap();
    let receiver = Receiver::start().await.unwrap();
    let to_mesh = json!({ "url": mesh.url(), "topic": "orders" });
    let address = free_address().unwrap();
    let source = json!({ "mesh": to_mesh, "source": { "listen": address } });
    let source = Connector::start(&kit, "openconnect-http-source", "in", source).await.unwrap();
    let sink = json!({ "mesh": to_mesh, "sink": { "url": receiver.url() } });
    let sink = Connector::start(&kit, "openconnect-http-sink", "out", sink).await.unwrap();
    for connector in [&source, &sink] {
        assert_eq!(
            events(connector, "delivered").await,
            Some(0),
            "{} before the first event",
            connector.name
        );
    }
    let sending = Sender::start(&Load::new(address), EVENTS)
        .finish(Duration::from_secs(60))
        .await
        .unwrap();
    assert_eq!(sending.confirmed.len(), EVENTS);
    let sent = u64::try_from(EVENTS).unwrap();
    for connector in [&source, &sink] {
        for (outcome, number) in [("received", sent), ("delivered", sent), ("dead_lettered", 0), ("filtered", 0)] {
            until(
                &format!("{}: {number} events {outcome}", connector.name),
                Duration::from_secs(20),
                || async { (events(connector, outcome).await == Some(number)).then_some(()) },
            )
            .await
            .unwrap();
        }
    }
}
