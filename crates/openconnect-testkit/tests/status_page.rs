//! `/status` in a browser: what is in the JSON is on the page, and nothing comes from elsewhere.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use openconnect_testkit::browser;
use openconnect_testkit::connector::Connector;
use openconnect_testkit::http::{self, Client};
use openconnect_testkit::kit::{Kit, free_address};
use openconnect_testkit::mesh::Mesh;
use openconnect_testkit::receiver::{Fault, Receiver};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_shows_state_guarantee_and_dead_letters() {
    let kit = Kit::new("status_page").unwrap();
    let mesh = Mesh::start(&kit, json!({})).await.unwrap();
    let receiver = Receiver::start().await.unwrap();
    let to_mesh = json!({ "url": mesh.url(), "topic": "orders" });
    let settings = json!({ "mesh": to_mesh, "sink": { "url": receiver.url() } });
    let sink = Connector::start(&kit, "openconnect-http-sink", "to-billing", settings)
        .await
        .unwrap();
    receiver.set(Fault::Status(400));
    let address = free_address().unwrap();
    let source = json!({ "mesh": to_mesh, "source": { "listen": address } });
    let _source = Connector::start(&kit, "openconnect-http-source", "hook", source).await.unwrap();
    let mut client = Client::new(address, Duration::from_secs(10));
    for _ in 0..3 {
        assert!(client.post("/", "application/json", "{}").await.unwrap().status.is_success());
    }
    sink.wait_status("three dead letters", Duration::from_secs(20), |status| {
        status["counts"]["dead_lettered"] == 3
    })
    .await
    .unwrap();
    let json = http::get(sink.admin, "/status").await.unwrap().text();
    assert!(json.starts_with('{'), "programs get JSON: {json}");
    let profile = kit.file("profile");
    let url = format!("http://{}/status", sink.admin);
    let Some(page) = tokio::task::spawn_blocking(move || browser::look(&url, &profile))
        .await
        .unwrap()
        .unwrap()
    else {
        return;
    };
    for shown in [
        "to-billing",
        "running",
        "at-least-once",
        "openconnect-mesh",
        "<td>dead lettered</td><td>3</td>",
        "HTTP_400",
    ] {
        assert!(page.contains(shown), "{shown} is not on the page: {page}");
    }
}
